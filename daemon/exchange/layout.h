/*
 * Layout: where everything stands in the arenas, computed by each process for itself from the same few numbers.
 *
 * The supervisor chooses the shape once and tells every child; no offset of the layout is ever read from shared
 * memory. All counts are bounded by LAYOUT_* below, so the sums cannot overflow 32 bits.
 *
 *   inbound arena, written by one I/O process          outbound arena, written by one app process
 *   +---------------------------------------+          +---------------------------------------+
 *   | status                                |          | status (heartbeat, places)            |
 *   | per app: queue tail, reply head       |          | per ring: queue tail, request head    |
 *   | per app: entries of the request queue |          | per ring: entries of the reply queue  |
 *   | slot records                          |          | blocks: small, then large             |
 *   | receive buffers, upload buffers       |          +---------------------------------------+
 *   | staging blocks: small, then large     |
 *   +---------------------------------------+
 */
#ifndef DAEMON_EXCHANGE_LAYOUT_H
#define DAEMON_EXCHANGE_LAYOUT_H

#include "daemon/exchange/slot.h"
#include "daemon/exchange/spsc_ring.h"

enum {
    LAYOUT_RINGS_MAX = 64,
    LAYOUT_APPS_MAX = 512,
    LAYOUT_SLOTS_MAX = 65'536,
    LAYOUT_FIELDS_MAX = 4'096,
    LAYOUT_QUEUE_MAX = 65'536,
    LAYOUT_SMALL_BLOCK_BYTES = 4'096,
    LAYOUT_LARGE_BLOCK_BYTES = 65'536,
};

struct exchange_shape {
    uint32_t version;         /* EXCHANGE_VERSION */
    uint32_t rings;           /* I/O processes */
    uint32_t apps;            /* app indices that may be in use, old and new generations at once */
    uint32_t slots;           /* per I/O process */
    uint32_t fields_max;      /* per request */
    uint32_t request_entries; /* per (ring, app), power of two */
    uint32_t reply_entries;   /* per (ring, app), power of two */
    uint32_t recv_buffers;    /* power of two */
    uint32_t recv_buffer_bytes;
    uint32_t upload_buffers; /* power of two */
    uint32_t upload_buffer_bytes;
    uint32_t staging_small; /* blocks */
    uint32_t staging_large;
    uint32_t outbound_small; /* blocks, per app */
    uint32_t outbound_large;
};

/* 0, or -EINVAL when a count is out of bounds or no power of two where it has to be, or the sum passes 4 GiB. */
[[nodiscard]] int exchange_shape_check(const struct exchange_shape *shape);

struct inbound_layout {
    uint32_t queues;  /* struct queue_ends[apps] */
    uint32_t entries; /* struct message[apps][request_entries] */
    uint32_t records;
    uint32_t record_bytes;
    uint32_t recv_buffers;
    uint32_t upload_buffers;
    uint32_t staging;
    uint32_t bytes;
};

struct outbound_layout {
    uint32_t queues;  /* struct queue_ends[rings] */
    uint32_t entries; /* struct message[rings][reply_entries] */
    uint32_t blocks;
    uint32_t bytes;
};

/* The tail of the queue that this arena's owner writes, and the head of the one it reads. */
struct queue_ends {
    struct spsc_position tail;
    struct spsc_position head;
};

/* First thing in an outbound arena: what an app process lets everybody see. Written by it alone. */
struct app_status {
    _Alignas(64) _Atomic uint64_t heartbeat; /* an event loop adds one per turn, at least one per second */
    _Atomic uint64_t requests_done;
    _Atomic uint32_t requests_open;
};

void inbound_layout_compute(const struct exchange_shape *shape, struct inbound_layout *ret_layout);
void outbound_layout_compute(const struct exchange_shape *shape, struct outbound_layout *ret_layout);
size_t pair_page_bytes(const struct exchange_shape *shape);

/* Both processes of a pair know both generations (control.h); the epoch changes when either is another one. */
static inline uint32_t layout_epoch(uint32_t ring_generation, uint32_t app_generation)
{
    return ring_generation << 16 | (app_generation & 0xffff);
}

/* Both ends of the pair (ring, app), once both arenas are mapped. `epoch` is layout_epoch(). */
void layout_request_writer(const struct exchange_shape *shape, const struct arena *inbound,
                           const struct arena *outbound, uint32_t ring, uint32_t app, uint32_t epoch,
                           struct spsc_writer *ret_writer);
void layout_request_reader(const struct exchange_shape *shape, const struct arena *inbound,
                           const struct arena *outbound, uint32_t ring, uint32_t app, uint32_t epoch,
                           struct spsc_reader *ret_reader);
void layout_reply_writer(const struct exchange_shape *shape, const struct arena *inbound, const struct arena *outbound,
                         uint32_t ring, uint32_t app, uint32_t epoch, struct spsc_writer *ret_writer);
void layout_reply_reader(const struct exchange_shape *shape, const struct arena *inbound, const struct arena *outbound,
                         uint32_t ring, uint32_t app, uint32_t epoch, struct spsc_reader *ret_reader);

/* The record of a slot below shape->slots. */
static inline struct slot_record *layout_record(const struct arena *inbound, const struct inbound_layout *layout,
                                                uint32_t slot)
{
    return (struct slot_record *)(void *)(inbound->base + layout->records + (size_t)slot * layout->record_bytes);
}

#endif
