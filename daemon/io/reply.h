/*
 * Reply: what an app process said of a response, checked as far as offsets go. The octets are in its arena and may
 * change under us.
 *
 * Owns:    the blocks, until they are given back or lent to an output queue.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_REPLY_H
#define DAEMON_IO_REPLY_H

#include "proto/bytes.h"

struct app_memory;
struct file_source;
struct io_core;
struct output_file;
struct output_scratch;

struct reply {
    uint8_t kind;  /* MESSAGE_RESPONSE, MESSAGE_INTERIM or MESSAGE_BODY */
    uint8_t flags; /* MESSAGE_END, MESSAGE_FAILED, MESSAGE_TRAILERS */
    uint16_t status;
    int64_t content_length;
    struct bytes head;
    struct bytes body;
    uint32_t head_block;
    uint32_t body_block;
    struct app_memory *memory; /* of the octets; ... */
    struct output_scratch
        *scratch;                /* ... or this: a part of a file, held for the call, or a copy, held with the reply */
    struct file_source *file;    /* the body goes on with it; NULL: with `body` */
    struct output_file *part_of; /* `body` has a length only: its octets are in this file ... */
    uint64_t part_offset;        /* ... from here on */
    struct reply *next;
};

/* Gives the blocks back unused. */
void reply_discard(struct reply *reply);

/* A reply that has to wait: holds the memory. NULL without memory of ours; then `reply` is as it was. */
struct reply *reply_keep(struct io_core *core, const struct reply *reply);

/* Copies what one that is kept says off its application's hands, within response_buffer_total. Returns what that takes
 * up; 0 where it would be more than `bytes_max`, or there is no memory: then it stays where it is. */
uint32_t reply_detach(struct io_core *core, struct reply *kept, uint64_t bytes_max);

/* The end of one that is kept: what nobody took goes back. */
void reply_release(struct io_core *core, struct reply *kept);

#endif
