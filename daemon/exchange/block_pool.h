/*
 * Block pool: loans of fixed-size blocks of an arena, in two sizes.
 *
 * Owns:    its lists, which are private memory of the process that lends; the blocks lie in the arena.
 * Threads: one at a time (an app process: under its lock).
 * Life:    `deinit` frees the lists only.
 *
 * Block numbers cross between processes, so give_back answers whether the number was on loan at all. Small blocks are
 * 0 .. small-1, large ones follow.
 */
#ifndef DAEMON_EXCHANGE_BLOCK_POOL_H
#define DAEMON_EXCHANGE_BLOCK_POOL_H

#include "daemon/exchange/layout.h"

struct block_pool {
    uint32_t *free_small; /* stacks of free numbers: the block used last is used next, and is warm */
    uint32_t *free_large;
    uint32_t *lent_to; /* per block; BLOCK_FREE, or what the borrower said it is for */
    uint32_t free_small_count;
    uint32_t free_large_count;
    uint32_t small;
    uint32_t large;
    uint32_t offset; /* of block 0 in the arena */
};

enum { BLOCK_FREE = 0xffffffff };

[[nodiscard]] int block_pool_init(struct block_pool *pool, uint32_t arena_offset, uint32_t small, uint32_t large);
void block_pool_deinit(struct block_pool *pool);

/* The number of a free block, marked as lent to `borrower` (anything but BLOCK_FREE), or -ENOBUFS. */
[[nodiscard]] int64_t block_pool_borrow_small(struct block_pool *pool, uint32_t borrower);
[[nodiscard]] int64_t block_pool_borrow_large(struct block_pool *pool, uint32_t borrower);

/* false when the number is no block on loan; *ret_borrower (may be NULL) says for whom it was. */
bool block_pool_give_back(struct block_pool *pool, uint32_t block, uint32_t *ret_borrower);

uint32_t block_pool_lent(const struct block_pool *pool);

static inline uint32_t block_pool_count(const struct block_pool *pool)
{
    return pool->small + pool->large;
}

static inline uint32_t block_pool_bytes(const struct block_pool *pool, uint32_t block)
{
    return block < pool->small ? (uint32_t)LAYOUT_SMALL_BLOCK_BYTES : (uint32_t)LAYOUT_LARGE_BLOCK_BYTES;
}

/* Offset in the arena of a block below block_pool_count(). */
static inline uint32_t block_pool_offset(const struct block_pool *pool, uint32_t block)
{
    if (block < pool->small)
        return pool->offset + block * (uint32_t)LAYOUT_SMALL_BLOCK_BYTES;
    return pool->offset + pool->small * (uint32_t)LAYOUT_SMALL_BLOCK_BYTES +
           (block - pool->small) * (uint32_t)LAYOUT_LARGE_BLOCK_BYTES;
}

#endif
