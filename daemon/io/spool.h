/*
 * Spool: the file in which parts of request bodies wait that memory has no room for. One per I/O process, unlinked.
 *
 * It is cut into blocks; a body has runs of consecutive ones, so that what was received is written in one call, and a
 * run is a single piece for whoever reads it. A run begins where much is free behind it, and grows while nobody else
 * is in its way. App processes read it for themselves, through a descriptor with which nothing can be written
 * (`reader_fd`); as with the inbound arena, what they may see is all that clients sent.
 *
 * Blocks that came back are used again first, lowest ones first: writing where the page cache has pages already costs
 * half. When there are more than SPOOL_WARM_BLOCKS of them, or nothing was written for a while, they give their disk
 * space back, a few in each turn of the loop and as many as possible by one call. Writing goes through the page cache,
 * so the loop waits for a disk only when the machine has no memory for that, or the disk cannot keep up.
 *
 * Owns:    both descriptors and the table of blocks.
 * Threads: the loop.
 * Life:    opened before the sandbox is locked. A run must be released before its owner forgets it, and not before the
 *          app process that reads it is done or gone.
 */
#ifndef DAEMON_IO_SPOOL_H
#define DAEMON_IO_SPOOL_H

#include "daemon/exchange/message.h"
#include "proto/bytes.h"

enum {
    SPOOL_BLOCK_BYTES = MESSAGE_FILE_BLOCK_BYTES,
    SPOOL_RUN_BLOCKS = 4'096,
    SPOOL_WARM_BLOCKS = 2'048, /* 128 MiB */
    SPOOL_TURN_BLOCKS = 64,    /* 4 MiB, whose pages the kernel takes back in 0.3 ms */
    SPOOL_QUIET_MS = 1'000,
};

/* The state of 32 consecutive blocks, a bit for each. */
struct spool_word {
    uint32_t used;
    uint32_t stale; /* not used, and still taking space */
};

struct spool {
    int fd;
    int reader_fd; /* of the same file, for reading only */
    bool open;
    bool written;      /* since the last turn */
    uint32_t capacity; /* blocks */
    uint32_t live;
    uint32_t stale;
    uint32_t first_free;  /* no word before this one has a free block ... */
    uint32_t first_empty; /* ... nor is one before this one wholly free */
    struct spool_word *words;
    uint32_t word_count; /* it grows with the blocks in use; all behind them are free */
    uint64_t quiet_at_ms;
};

/* Consecutive blocks, all but the last full. Zeroed: none. */
struct spool_run {
    uint32_t first;
    uint32_t blocks;
    uint32_t bytes;
};

/* Makes the file in `directory` and unlinks it; it will hold at most `bytes_max`. */
[[nodiscard]] int spool_init(struct spool *spool, const char *directory, uint64_t bytes_max);
void spool_deinit(struct spool *spool);

/* False of a zeroed spool: there is no file to write to. */
static inline bool spool_is_open(const struct spool *spool)
{
    return spool->open;
}

static inline uint64_t spool_bytes_max(const struct spool *spool)
{
    return (uint64_t)spool->capacity * SPOOL_BLOCK_BYTES;
}

/* Writes as much of `data`, which is not empty, as the run has room for: *ret_length octets. A run without a block
 * begins; 0 octets: it cannot grow, and another one must begin. -ENOBUFS: the spool is full; -ENOMEM; or what the
 * kernel said of the file. Then the run is as it was. */
[[nodiscard]] int spool_append(struct spool *spool, struct spool_run *run, struct bytes data, size_t *ret_length);

/* The octets of the run are gone. Harmless for a run without a block. */
void spool_release(struct spool *spool, struct spool_run *run);

/* Gives the space of some free blocks back if it is time. Returns when it is time again; UINT64_MAX: never. */
uint64_t spool_turn(struct spool *spool, uint64_t now_ms);

#endif
