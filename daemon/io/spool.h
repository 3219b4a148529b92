/*
 * Spool: the file in which parts of request bodies wait that memory has no room for. One per I/O process, unlinked.
 *
 * It is cut into blocks; a body has a chain of them, which is written at its end and read at its beginning. Blocks that
 * came back are used again first. The others give their disk space back, a few in each turn of the loop, since the
 * kernel takes 15 us for each: for a body of 1 GiB a quarter of a second. Writing and reading go through the page
 * cache, so the loop waits for a disk only when the machine has no memory for that, or the disk cannot keep up.
 *
 * Owns:    the descriptor and the table of blocks.
 * Threads: the loop.
 * Life:    opened before the sandbox is locked. A chain must be released before its owner forgets it.
 */
#ifndef DAEMON_IO_SPOOL_H
#define DAEMON_IO_SPOOL_H

#include "proto/bytes.h"

enum { SPOOL_BLOCK_BYTES = 65'536, SPOOL_TURN_BLOCKS = 16 };

struct spool {
    int fd;
    bool open;
    uint32_t capacity; /* blocks */
    uint32_t live;
    uint32_t fresh;   /* blocks from this number on were never used */
    uint32_t stale;   /* the first of the free blocks that still take space */
    uint32_t free;    /* the first of the other free ones */
    uint32_t *next;   /* per block: the one behind it, in its chain or among the free ones */
    uint32_t entries; /* of `next`: it grows with the blocks in use */
};

/* The part of one body that is in the file. Zeroed: nothing. While `bytes` is 0 it has no block. */
struct spool_chain {
    uint64_t bytes;
    uint32_t first, last;
    uint32_t read_at;  /* in the first block */
    uint32_t write_at; /* in the last block */
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

/* -ENOBUFS: the spool is full; -ENOMEM; or what the kernel said of the file. Then a part may have been appended: the
 * chain is of no use but to be released. */
[[nodiscard]] int spool_append(struct spool *spool, struct spool_chain *chain, struct bytes data);

/* Moves octets from the front of the chain to `memory`, at least one when there is any. */
[[nodiscard]] int spool_take(struct spool *spool, struct spool_chain *chain, uint8_t *memory, size_t capacity,
                             size_t *ret_length);

/* What is left of the chain is gone. */
void spool_release(struct spool *spool, struct spool_chain *chain);

/* Gives the space of some free blocks back; true: there are more. */
bool spool_turn(struct spool *spool);

#endif
