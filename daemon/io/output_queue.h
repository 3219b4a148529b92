/*
 * Output queue: what one connection has yet to send, in order, by reference where it can be.
 *
 * A piece is either octets in an app process's arena (the block is given back when they are sent), or octets in a
 * scratch buffer of our own: heads, chunk framing, small bodies, parts of files, and what was taken off an
 * application's hands because its client is slow; or a part of a file that the kernel is to send by itself.
 * Neighbouring octets of one scratch buffer, or of one file, are one piece, so many small responses are one send.
 *
 * Owns:    its pieces and scratch buffers; holds the app memory and the files that they point to.
 * Threads: the loop. One send at a time is in flight; what it covers stays untouched until output_queue_sent().
 */
#ifndef DAEMON_IO_OUTPUT_QUEUE_H
#define DAEMON_IO_OUTPUT_QUEUE_H

#include "daemon/io/app_memory.h"
#include "daemon/io/slab.h"
#include "proto/bytes.h"

#include <sys/uio.h>

enum {
    OUTPUT_SCRATCH_BYTES = 4'032,
    OUTPUT_COPY_MAX = 2'048, /* a body this small travels beside its head rather than in a part of its own */
    OUTPUT_PARTS_MAX = 16,
    OUTPUT_SEND_MAX = 262'144, /* octets of one send: half of a response's window stays free to be refilled */
    OUTPUT_SINK_BYTES = 65'536,
};

/* Shared by all queues of an I/O process. */
struct output_pools {
    struct slab pieces;
    struct slab scratches;
    struct slab files;
    uint8_t *sink;           /* see output_pools_sink() */
    uint64_t detached_bytes; /* octets copied off applications' hands, all connections together */
    uint64_t file_bytes;     /* in buffers for parts of files */
    uint64_t large_bytes;    /* of scratches that are no slab's */
};

struct output_scratch {
    uint32_t used;
    uint32_t capacity;
    uint32_t holders; /* pieces, and the queue while it is the one being filled */
    uint32_t detached;
    uint32_t file_bytes; /* what of the pools' it counts */
    uint8_t data[];
};

/* A descriptor: closed when the last holder drops it. */
struct output_file {
    int fd;
    uint32_t holders; /* pieces, and whoever made it */
};

struct output_piece {
    union {
        const uint8_t *data;
        uint64_t offset; /* in `file` */
    };
    uint32_t length;
    uint32_t block;
    struct app_memory *memory;      /* either this ... */
    struct output_scratch *scratch; /* ... or this ... */
    struct output_file *file;       /* ... or this */
    struct output_piece *next;
};

/* Octets of a file, as many as one send is to take. */
struct output_file_part {
    int fd;
    uint32_t length;
    uint64_t offset;
};

struct output_queue {
    struct output_pools *pools;
    struct output_piece *first;
    struct output_piece *last;
    struct output_scratch *filling;
    uint64_t bytes;
    uint32_t piece_count;
    uint32_t in_flight_pieces;
    uint64_t in_flight_bytes;                  /* of the last send */
    const struct output_piece *in_flight_last; /* must not grow: the kernel was told its length */
};

void output_pools_init(struct output_pools *pools);
void output_pools_deinit(struct output_pools *pools);

/* OUTPUT_SINK_BYTES for what is read only so that it is in the page cache; whoever reads, reads to the same place. NULL
 * without memory. */
uint8_t *output_pools_sink(struct output_pools *pools);

void output_queue_init(struct output_queue *queue, struct output_pools *pools);
void output_queue_deinit(struct output_queue *queue);

/* Memory that the queue holds, here or in arenas: a piece of one octet takes more than that. */
static inline uint64_t output_queue_cost(const struct output_queue *queue)
{
    return queue->bytes + (uint64_t)queue->piece_count * sizeof(struct output_piece);
}

/* Room for `bytes` in one run; NULL without memory. What of it is used is said by the next call, before any other. */
uint8_t *output_queue_reserve(struct output_queue *queue, uint32_t bytes, uint32_t *ret_capacity);
void output_queue_commit(struct output_queue *queue, uint32_t bytes);

/* Copies. -ENOMEM. */
[[nodiscard]] int output_queue_copy(struct output_queue *queue, struct bytes data);

/* By reference: holds `memory`, gives `block` back when sent (MESSAGE_NO_BLOCK: it is another piece's). -ENOMEM. */
[[nodiscard]] int output_queue_lend(struct output_queue *queue, struct app_memory *memory, uint32_t block,
                                    struct bytes data);

/* By reference: holds `scratch`, of which `data` is a part. -ENOMEM. */
[[nodiscard]] int output_queue_adopt(struct output_queue *queue, struct output_scratch *scratch, struct bytes data);

/* A buffer for a part of a file, held once; NULL without memory. */
struct output_scratch *output_scratch_create_file(struct output_pools *pools, uint32_t bytes);
/* For octets that are taken off an application's hands, held once. NULL where it would take more than `bytes_max`, or
 * there is no memory. */
struct output_scratch *output_scratch_create_detached(struct output_pools *pools, uint32_t bytes, uint64_t bytes_max);
void output_scratch_drop(struct output_pools *pools, struct output_scratch *scratch);

/* Takes `fd`, and holds it once. NULL without memory; then it is closed. */
struct output_file *output_file_create(struct output_pools *pools, int fd);
/* NULL is harmless. */
void output_file_drop(struct output_pools *pools, struct output_file *file);

/* By reference: holds `file`. -ENOMEM. */
[[nodiscard]] int output_queue_append_file(struct output_queue *queue, struct output_file *file, uint64_t offset,
                                           uint32_t length);

/* Whether the next send is one of a file, and begins it: marks the piece, which may still grow, as in flight. */
bool output_queue_begin_file(struct output_queue *queue);
/* The part that is in flight: at most `max` octets of what is first. */
struct output_file_part output_queue_file_part(const struct output_queue *queue, uint32_t max);

/* Whether a part of a file comes right behind the send in flight. */
static inline bool output_queue_file_follows(const struct output_queue *queue)
{
    const struct output_piece *last = queue->in_flight_last;
    return last != NULL && last->next != NULL && last->next->file != NULL;
}

/* The first `bytes` of `from`, which has so many and nothing in flight, leave it for the end of `to`. -ENOMEM: a part
 * may have moved. Both queues have the same pools. */
[[nodiscard]] int output_queue_move(struct output_queue *from, struct output_queue *to, uint32_t bytes);

/* The next send, at most OUTPUT_PARTS_MAX parts, up to a part of a file, which must not be first; marks them as in
 * flight. Returns how many. */
uint32_t output_queue_gather(struct output_queue *queue, struct iovec *parts);

/* The send in flight is made shorter, to its first `bytes` octets, before it begins. Returns how many parts it has. */
uint32_t output_queue_shorten(struct output_queue *queue, struct iovec *parts, uint64_t bytes);

/* The send in flight took `bytes` octets (0 when it failed). */
void output_queue_sent(struct output_queue *queue, uint64_t bytes);

/* Copies pieces that are not in flight off their application's hands, while this queue holds at most `queue_max` and
 * all of them at most `total_max` octets of copies. Small pieces become one. */
void output_queue_detach(struct output_queue *queue, uint32_t queue_max, uint64_t total_max);

#endif
