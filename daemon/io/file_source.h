/*
 * File source: a file that is a part of a response, and the pump that reads it as fast as the client takes it.
 *
 * Where a session takes references, parts of the file come to it as such, and the kernel sends them from the page
 * cache. Elsewhere the octets are read through the ring, into buffers that the output queue then holds. Either way a
 * file that is not in the page cache delays nobody but its own reader. Parts come to the session as replies like an
 * application's own.
 *
 *   OPEN --(the response has come so far)--> FEEDING --(read whole, or broken)--> gone
 *     +------------------------------------------+--(client gone)--> gone, after the read under way
 *
 * How far it reads ahead of a client: FILE_WINDOW_BYTES (references, which hold no memory: FILE_AHEAD_BYTES); less when
 * all of them together hold much; then only where nothing else is queued, and little. So clients that do not read take
 * memory from each other, and stop nobody.
 *
 * Owns:    a hold of the file, the buffer of the read under way, replies that came behind the file.
 * Threads: the loop.
 * Life:    from the message that brings it. The exchange has it until it is read or the session lets go; while a read
 *          is under way it lives on, for the kernel still writes to its buffer.
 */
#ifndef DAEMON_IO_FILE_SOURCE_H
#define DAEMON_IO_FILE_SOURCE_H

#include "daemon/exchange/file_handover.h"
#include "daemon/io/output_queue.h"
#include "daemon/io/ring.h"

enum {
    FILE_READ_BYTES = 65'536,
    FILE_WINDOW_BYTES = 262'144,
    FILE_SCARCE_READ_BYTES = 16'384,
    FILE_MEMORY_BYTES = 64 << 20, /* of all of them; beyond that FILE_SCARCE_READ_BYTES for each */
    FILE_SOURCES_MAX = 4'096,     /* beyond that 503 */
    FILE_AHEAD_BYTES = 1 << 20,
    FILE_REFERENCE_BYTES = FILE_AHEAD_BYTES / 2,
};

/* Decided when the session takes references for the first time. */
enum file_way {
    FILE_WAY_UNDECIDED,
    FILE_WAY_READ, /* short, or its file system cannot tell what is in the page cache */
    FILE_WAY_REFERENCES,
};

struct io_core;
struct http_exchange;
struct reply;

struct file_source {
    struct http_exchange *exchange;       /* NULL: nobody has it (any more) */
    struct output_scratch *reading;       /* NULL: no read is under way */
    struct reply *held_first, *held_last; /* said behind it */
    struct file_source *next_free;
    uint64_t offset;
    uint64_t left;
    uint32_t index;
    uint32_t held_count;
    struct output_file *file; /* NULL: free; parts of it may be queued for longer than this lives */
    enum file_way way;
    bool ends;       /* the response ends with it */
    bool delivering; /* lives until that is over */
};

/* All of an I/O process. Zeroed: none. */
struct file_sources {
    struct file_source **by_index;
    struct file_source *free;
    uint32_t allocated;
    uint32_t live;
};

/* After the ring is gone. */
void file_sources_deinit(struct io_core *core);

/* Takes `fd` and checks it. -EMFILE: there are too many; -EINVAL: nothing to send a part of. */
[[nodiscard]] int file_source_open(struct io_core *core, const struct file_handover *handover, int fd,
                                   struct file_source **ret_source);

/* Nobody waits for it any more. NULL is harmless. */
void file_source_drop(struct io_core *core, struct file_source *source);

/* A reply of the exchange goes to its session; with its file, which is taken, or behind the file that is under way.
 * The exchange may be gone afterwards. */
void file_source_deliver(struct io_core *core, struct http_exchange *exchange, struct reply *reply);

/* The session has room: reads on, unless a read is under way. For exchanges that have a file. */
void file_source_advance(struct io_core *core, struct http_exchange *exchange);

/* A read has completed. */
void file_sources_on_read(struct io_core *core, const struct ring_event *event);

#endif
