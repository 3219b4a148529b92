#include "daemon/io/buffer_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* What a turn can use: a small request for each of its events, or as many octets as fit a core's cache. */
enum { OFFERED_REQUESTS = 1'024, OFFERED_BYTES = 1 << 20 };

static uint32_t offered_max(enum loan_kind kind, uint32_t bytes)
{
    if (kind == LOAN_RECEIVE)
        return OFFERED_REQUESTS;
    return bytes < OFFERED_BYTES / 8 ? OFFERED_BYTES / bytes : 8;
}

static uint32_t spares(const struct buffer_group *group)
{
    return group->count - group->lent - group->offered;
}

static void offer(struct buffer_group *group)
{
    int added = 0;
    for (uint32_t left = spares(group); left > 0 && group->offered < group->offered_max; group->offered++) {
        uint16_t id = group->spare[--left];
        ring_buffer_add(group->ring, group->count, group->memory + (size_t)id * group->bytes, group->bytes, id,
                        added++);
    }
    if (added > 0)
        ring_buffers_commit(group->ring, added);
}

static int group_init(struct buffer_group *group, struct ring *ring, enum loan_kind kind, uint8_t *memory,
                      uint32_t count, uint32_t bytes)
{
    *group = (struct buffer_group){
        .memory = memory, .count = count, .bytes = bytes, .offered_max = offered_max(kind, bytes)};
    group->holders = calloc(count, sizeof *group->holders);
    group->spare = calloc(count, sizeof *group->spare);
    if (group->holders == NULL || group->spare == NULL)
        return -ENOMEM;
    int r = ring_buffers_register(ring, (uint16_t)kind, count, &group->ring);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < count; i++)
        group->spare[i] = (uint16_t)(count - 1 - i);
    offer(group);
    return 0;
}

int buffer_pool_init(struct buffer_pool *pool, struct ring *ring, const struct arena *inbound,
                     const struct exchange_shape *shape)
{
    struct inbound_layout layout;
    inbound_layout_compute(shape, &layout);
    *pool = (struct buffer_pool){.arena = inbound};

    int r = group_init(&pool->receive, ring, LOAN_RECEIVE, inbound->base + layout.recv_buffers, shape->recv_buffers,
                       shape->recv_buffer_bytes);
    if (r == 0)
        r = group_init(&pool->upload, ring, LOAN_UPLOAD, inbound->base + layout.upload_buffers, shape->upload_buffers,
                       shape->upload_buffer_bytes);
    if (r == 0)
        r = block_pool_init(&pool->staging, layout.staging, shape->staging_small, shape->staging_large);
    if (r == 0) {
        pool->staging_holders = calloc((size_t)shape->staging_small + shape->staging_large + 1, sizeof(uint16_t));
        r = pool->staging_holders != NULL ? 0 : -ENOMEM;
    }
    if (r < 0)
        buffer_pool_deinit(pool);
    return r;
}

/* Pages of their own: what a client sent encrypted is nobody else's, not even in a core dump. */
int buffer_pool_add_cipher(struct buffer_pool *pool, struct ring *ring)
{
    const size_t bytes = (size_t)CIPHER_BUFFERS * CIPHER_BUFFER_BYTES;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    (void)madvise(memory, bytes, MADV_DONTDUMP);
    return group_init(&pool->cipher, ring, LOAN_CIPHER, memory, CIPHER_BUFFERS, CIPHER_BUFFER_BYTES);
}

void buffer_pool_detach(struct buffer_pool *pool)
{
    pool->receive.ring = NULL;
    pool->upload.ring = NULL;
    pool->cipher.ring = NULL;
}

void buffer_pool_deinit(struct buffer_pool *pool)
{
    struct buffer_group *groups[] = {&pool->receive, &pool->upload, &pool->cipher};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        free(groups[i]->holders);
        free(groups[i]->spare);
    }
    if (pool->cipher.memory != NULL)
        munmap(pool->cipher.memory, (size_t)pool->cipher.count * pool->cipher.bytes);
    free(pool->staging_holders);
    block_pool_deinit(&pool->staging);
    *pool = (struct buffer_pool){};
}

static struct buffer_group *group_of(struct buffer_pool *pool, enum loan_kind kind)
{
    if (kind == LOAN_CIPHER)
        return &pool->cipher;
    return kind == LOAN_RECEIVE ? &pool->receive : &pool->upload;
}

uint8_t *buffer_pool_received(struct buffer_pool *pool, enum loan_kind group_kind, int32_t id, struct loan *ret_loan)
{
    struct buffer_group *group = group_of(pool, group_kind);
    if (id < 0 || (uint32_t)id >= group->count)
        return NULL;
    assert(group->holders[id] == 0 && group->offered > 0);
    group->holders[id] = 1;
    group->lent++;
    group->offered--;
    *ret_loan = (struct loan){.id = (uint32_t)id, .kind = group_kind};
    return group->memory + (size_t)id * group->bytes;
}

int buffer_pool_stage(struct buffer_pool *pool, uint32_t bytes, struct loan *ret_loan, uint8_t **ret_memory,
                      uint32_t *ret_capacity)
{
    struct block_pool *staging = &pool->staging;
    if (bytes > LAYOUT_LARGE_BLOCK_BYTES)
        return -EMSGSIZE;
    int64_t block = bytes <= LAYOUT_SMALL_BLOCK_BYTES ? block_pool_borrow_small(staging, 0) : -ENOBUFS;
    if (block < 0)
        block = block_pool_borrow_large(staging, 0);
    if (block < 0)
        return (int)block;
    pool->staging_holders[block] = 1;
    *ret_loan = (struct loan){.id = (uint32_t)block, .kind = LOAN_STAGING};
    *ret_memory = pool->arena->base + block_pool_offset(staging, (uint32_t)block);
    *ret_capacity = block_pool_bytes(staging, (uint32_t)block);
    return 0;
}

static uint16_t *holders_of(struct buffer_pool *pool, struct loan loan)
{
    return loan.kind == LOAN_STAGING ? &pool->staging_holders[loan.id] : &group_of(pool, loan.kind)->holders[loan.id];
}

void buffer_pool_hold(struct buffer_pool *pool, struct loan loan)
{
    if (loan.kind == LOAN_NONE)
        return;
    uint16_t *holders = holders_of(pool, loan);
    assert(*holders > 0 && *holders < UINT16_MAX);
    (*holders)++;
}

static void give_back(struct buffer_pool *pool, struct loan loan)
{
    if (loan.kind == LOAN_STAGING) {
        bool was_lent = block_pool_give_back(&pool->staging, loan.id, NULL);
        assert(was_lent);
        return;
    }
    struct buffer_group *group = group_of(pool, loan.kind);
    group->spare[spares(group)] = (uint16_t)loan.id;
    group->lent--;
}

void buffer_pool_drop(struct buffer_pool *pool, struct loan *loan)
{
    if (loan->kind == LOAN_NONE)
        return;
    uint16_t *holders = holders_of(pool, *loan);
    assert(*holders > 0);
    if (--*holders == 0)
        give_back(pool, *loan);
    *loan = (struct loan){};
}

void buffer_pool_commit(struct buffer_pool *pool)
{
    struct buffer_group *groups[] = {&pool->receive, &pool->upload, &pool->cipher};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (groups[i]->ring != NULL)
            offer(groups[i]);
    }
}

bool buffer_pool_scarce(const struct buffer_pool *pool, enum loan_kind kind)
{
    const struct block_pool *staging = &pool->staging;
    if (kind == LOAN_STAGING)
        return staging->free_small_count < staging->small / 2 || staging->free_large_count < staging->large / 2;
    const struct buffer_group *group = kind == LOAN_RECEIVE ? &pool->receive : &pool->upload;
    return group->lent > group->count / 2;
}
