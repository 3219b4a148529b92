/*
 * SPSC ring: one writer, one reader, messages of 64 bytes, no lock.
 *
 * The entries and the tail lie in the writer's arena, the head lies in the reader's: neither process can write what
 * the other relies on. Positions run freely over 32 bits; `tail - head <= capacity` is checked on every look at the
 * other side's word, and a violation is the other side's fault (-EPROTO), never an out-of-bounds access.
 *
 * An arena outlives its peers: the process that takes the place of a dead one finds the positions that the survivor
 * used with its predecessor until the survivor has heard of the change. Each position therefore carries the epoch of
 * the pair (layout_epoch()); one of another epoch reads as "nothing pushed yet", "nothing popped yet".
 *
 * Threads: one thread at a time pushes, one at a time pops (an app process holds its one lock around each).
 */
#ifndef DAEMON_EXCHANGE_SPSC_RING_H
#define DAEMON_EXCHANGE_SPSC_RING_H

#include "daemon/exchange/message.h"

#include <stdatomic.h>
#include <stdbool.h>

/* One position in the low half, its epoch in the high half, alone on its cache line. */
struct spsc_position {
    _Alignas(64) _Atomic uint64_t value;
};
static_assert(sizeof(struct spsc_position) == 64, "a position shares its line with nothing");

struct spsc_writer {
    struct message *entries;          /* own arena */
    struct spsc_position *tail;       /* own arena */
    const struct spsc_position *head; /* the reader's arena */
    uint32_t capacity;                /* power of two */
    uint32_t epoch;                   /* of the pair; both ends set the same */
    uint32_t position;                /* what was published, or is about to be */
    uint32_t head_seen;
};

struct spsc_reader {
    const struct message *entries;    /* the writer's arena */
    const struct spsc_position *tail; /* the writer's arena */
    struct spsc_position *head;       /* own arena */
    uint32_t capacity;
    uint32_t epoch;
    uint32_t position;
    uint32_t tail_seen;
};

/* Places that a push would find; 0 when full. Also 0 when the reader's head makes no sense. */
uint32_t spsc_writer_room(struct spsc_writer *writer);

/* Appends and publishes one message. false when there is no room. */
[[nodiscard]] bool spsc_push(struct spsc_writer *writer, const struct message *message);

/* Copies the oldest message out and frees its place: 1, 0 when empty, -EPROTO when the writer's tail is impossible. */
[[nodiscard]] int spsc_pop(struct spsc_reader *reader, struct message *ret_message);

/* Whether a pop would find something; sequentially consistent, for the look between "I sleep" and sleeping. */
bool spsc_reader_pending(struct spsc_reader *reader);

#endif
