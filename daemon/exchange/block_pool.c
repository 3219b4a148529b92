#include "daemon/exchange/block_pool.h"

#include <errno.h>
#include <stdlib.h>

/* The lowest numbers lie on top of the stacks, so a lightly used pool touches few pages. */
static void fill(uint32_t *stack, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        stack[i] = first + count - 1 - i;
}

int block_pool_init(struct block_pool *pool, uint32_t arena_offset, uint32_t small, uint32_t large)
{
    *pool = (struct block_pool){.small = small, .large = large, .offset = arena_offset};
    pool->free_small = calloc((size_t)small + 1, sizeof *pool->free_small);
    pool->free_large = calloc((size_t)large + 1, sizeof *pool->free_large);
    pool->lent_to = calloc((size_t)small + large + 1, sizeof *pool->lent_to);
    if (pool->free_small == NULL || pool->free_large == NULL || pool->lent_to == NULL) {
        block_pool_deinit(pool);
        return -ENOMEM;
    }
    fill(pool->free_small, 0, small);
    fill(pool->free_large, small, large);
    pool->free_small_count = small;
    pool->free_large_count = large;
    for (uint32_t i = 0; i < small + large; i++)
        pool->lent_to[i] = BLOCK_FREE;
    return 0;
}

void block_pool_deinit(struct block_pool *pool)
{
    free(pool->free_small);
    free(pool->free_large);
    free(pool->lent_to);
    *pool = (struct block_pool){};
}

int64_t block_pool_borrow_small(struct block_pool *pool, uint32_t borrower)
{
    if (pool->free_small_count == 0)
        return -ENOBUFS;
    uint32_t block = pool->free_small[--pool->free_small_count];
    pool->lent_to[block] = borrower;
    return block;
}

int64_t block_pool_borrow_large(struct block_pool *pool, uint32_t borrower)
{
    if (pool->free_large_count == 0)
        return -ENOBUFS;
    uint32_t block = pool->free_large[--pool->free_large_count];
    pool->lent_to[block] = borrower;
    return block;
}

bool block_pool_give_back(struct block_pool *pool, uint32_t block, uint32_t *ret_borrower)
{
    if (block >= pool->small + pool->large || pool->lent_to[block] == BLOCK_FREE)
        return false;
    if (ret_borrower != NULL)
        *ret_borrower = pool->lent_to[block];
    pool->lent_to[block] = BLOCK_FREE;
    if (block < pool->small)
        pool->free_small[pool->free_small_count++] = block;
    else
        pool->free_large[pool->free_large_count++] = block;
    return true;
}

uint32_t block_pool_lent(const struct block_pool *pool)
{
    return pool->small + pool->large - pool->free_small_count - pool->free_large_count;
}
