/*
 * HTTP/2 priority (RFC 9218): who is sent next.
 *
 * Streams that have something to send stand in one queue per urgency. The most urgent queue is served first. In it the
 * streams that are not incremental go one after the other in the order of their ids, each until it has nothing to send;
 * the incremental ones take turns, HTTP2_PRIORITY_TURN octets each. Where both kinds wait, they take turns as well, so
 * that neither starves the other (RFC 9218 10 leaves it to the server).
 *
 * A turn that ends early, because its stream leaves the queue, is a turn all the same.
 *
 * Owns:    nothing; the entry is part of a stream. No tree, no weights: RFC 9113 dropped those.
 */
#ifndef PROTO_HTTP2_PRIORITY_H
#define PROTO_HTTP2_PRIORITY_H

#include "proto/bytes.h"

enum {
    HTTP2_URGENCIES = 8,
    HTTP2_URGENCY_DEFAULT = 3,
    HTTP2_PRIORITY_TURN = 16'384,
    HTTP2_PRIORITY_VALUE_MAX = 128, /* octets of a value; a longer one is not looked at */
};

struct http2_priority {
    uint8_t urgency; /* 0 (most urgent) to 7 */
    bool incremental;
};

/* Part of a stream. Zeroed but for id and priority before it is first used; those two the caller may set while the
 * stream does not wait, http2_schedule_change() at any time. */
struct http2_turn {
    struct http2_turn *next, *previous;
    uint32_t id;
    uint32_t turn_bytes; /* sent in this turn */
    struct http2_priority priority;
    bool waiting;
};

/* Two rings of streams, each named by its first. */
struct http2_queue {
    struct http2_turn *sequential;  /* by id */
    struct http2_turn *incremental; /* by turns */
    bool incremental_next;          /* where both wait: whose turn it is */
};

struct http2_schedule {
    struct http2_queue queues[HTTP2_URGENCIES];
    uint8_t occupied; /* bit n: in queue n somebody waits */
    uint32_t waiting_count;
};

/* `u=` and `i` of a structured-fields dictionary (RFC 9218 4, RFC 8941 3.2); members that are unknown, out of range or
 * of the wrong type are ignored, a value that is no dictionary changes nothing. */
void http2_priority_parse(struct bytes value, struct http2_priority *priority);

/* The stream has something that it may send. Harmless when it waits already. */
void http2_schedule_add(struct http2_schedule *schedule, struct http2_turn *turn);
/* It has nothing, or may not. Harmless when it does not wait. */
void http2_schedule_remove(struct http2_schedule *schedule, struct http2_turn *turn);
/* Whether it waits or not. */
void http2_schedule_change(struct http2_schedule *schedule, struct http2_turn *turn, struct http2_priority priority);

/* Who is sent next; NULL: nobody waits. It stays in its queue. */
struct http2_turn *http2_schedule_next(const struct http2_schedule *schedule);
/* It was sent so much: perhaps its turn is over. */
void http2_schedule_sent(struct http2_schedule *schedule, struct http2_turn *turn, uint32_t bytes);

#endif
