/*
 * Buffer pool: the octets that came from clients, and who still looks at them.
 *
 * All of it lies in the inbound arena, where app processes read it in place: receive buffers (small requests), upload
 * buffers (bodies), and staging blocks (what had to be copied: a head cut across buffers, small pieces of body).
 * Each is counted: a buffer that carried three pipelined requests goes back to the kernel when the last is done.
 * Only what came under TLS lies elsewhere, in a third group in private memory, until it is decrypted into a block.
 *
 * Owns:    the counts and the provided-buffer rings of the groups, the memory of the private one.
 * Threads: the loop of the I/O process.
 * Life:    as the I/O process. Every hold is matched by one drop; buffer_pool_live() is zero when nothing is alive.
 */
#ifndef DAEMON_IO_BUFFER_POOL_H
#define DAEMON_IO_BUFFER_POOL_H

#include "daemon/exchange/block_pool.h"
#include "daemon/io/ring.h"

enum loan_kind { LOAN_NONE, LOAN_RECEIVE, LOAN_UPLOAD, LOAN_STAGING, LOAN_CIPHER };

/* A record of TLS fits one and a bit. They are held for a moment only: there are as many as come in one turn. */
enum { CIPHER_BUFFERS = 256, CIPHER_BUFFER_BYTES = 16'384 };

/* What keeps a run of octets in place. */
struct loan {
    uint32_t id;
    enum loan_kind kind;
};

/*
 * A provided-buffer group of the ring; its loan_kind is also its number there.
 *
 * The kernel fills buffers in the order in which it got them. Had it all of them, each receive would touch memory that
 * no cache remembers; so it is offered as many as a turn needs, and what came back last is offered first.
 */
struct buffer_group {
    struct io_uring_buf_ring *ring;
    uint8_t *memory;
    uint16_t *holders;
    uint16_t *spare; /* a stack of those that are neither lent nor offered */
    uint32_t count;
    uint32_t bytes;
    uint32_t lent;
    uint32_t offered; /* the kernel may fill them, or has, and we have not heard of it */
    uint32_t offered_max;
};

struct buffer_pool {
    struct buffer_group receive;
    struct buffer_group upload;
    struct buffer_group cipher; /* no memory: this process speaks no TLS */
    struct block_pool staging;
    uint16_t *staging_holders;
    const struct arena *arena;
};

[[nodiscard]] int buffer_pool_init(struct buffer_pool *pool, struct ring *ring, const struct arena *inbound,
                                   const struct exchange_shape *shape);
/* Before the ring is enabled, where there is TLS. */
[[nodiscard]] int buffer_pool_add_cipher(struct buffer_pool *pool, struct ring *ring);
/* The ring is about to go: what comes back from now on stays here. */
void buffer_pool_detach(struct buffer_pool *pool);
void buffer_pool_deinit(struct buffer_pool *pool);

/* A receive completed into buffer `id` of `group`; the caller now holds it. NULL for a number the kernel never had. */
uint8_t *buffer_pool_received(struct buffer_pool *pool, enum loan_kind group, int32_t id, struct loan *ret_loan);

/* A staging block with room for `bytes`, held once. -ENOBUFS; -EMSGSIZE for more than LAYOUT_LARGE_BLOCK_BYTES. */
[[nodiscard]] int buffer_pool_stage(struct buffer_pool *pool, uint32_t bytes, struct loan *ret_loan,
                                    uint8_t **ret_memory, uint32_t *ret_capacity);

void buffer_pool_hold(struct buffer_pool *pool, struct loan loan);
void buffer_pool_drop(struct buffer_pool *pool, struct loan *loan);

/* Offers the kernel what it lacks. */
void buffer_pool_commit(struct buffer_pool *pool);

/* Whether so much of the group, or of the staging blocks, is lent that whoever can do without should. */
bool buffer_pool_scarce(const struct buffer_pool *pool, enum loan_kind kind);

/* Whether buffer_pool_stage() would find a block for so much. */
static inline bool buffer_pool_has_block(const struct buffer_pool *pool, uint32_t bytes)
{
    return pool->staging.free_large_count > 0 ||
           (bytes <= LAYOUT_SMALL_BLOCK_BYTES && pool->staging.free_small_count > 0);
}

/* Whether a receive into one of the groups would find a buffer. */
static inline bool buffer_pool_available(const struct buffer_pool *pool)
{
    return pool->receive.lent < pool->receive.count || pool->upload.lent < pool->upload.count ||
           pool->cipher.lent < pool->cipher.count;
}

static inline uint32_t buffer_pool_live(const struct buffer_pool *pool)
{
    return pool->receive.lent + pool->upload.lent + pool->cipher.lent + block_pool_lent(&pool->staging);
}

/* Offset in the inbound arena of memory that lies in it. */
static inline uint32_t buffer_pool_offset(const struct buffer_pool *pool, const uint8_t *memory)
{
    return (uint32_t)(memory - pool->arena->base);
}

#endif
