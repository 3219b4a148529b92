/*
 * Doorbell: wakes the other side of a queue, and only when it sleeps.
 *
 * The sleeper stores `sleeping`, then looks at its queues again, then waits on its eventfd. The waker publishes, then
 * loads `sleeping`. It is the store-load race: both stores and both loads are seq_cst, so one of the two sees the
 * other (tests/model/doorbell_model.c fails when either is weakened). The waker exchanges the word back to zero, so a
 * sleep is answered by one write however many wakers there are.
 *
 * Owns:    nothing; the word lies in a pair page, the descriptor belongs to whoever got it at the hand-over.
 * Threads: any thread may ring; only the waiter sleeps and wakes.
 */
#ifndef DAEMON_EXCHANGE_DOORBELL_H
#define DAEMON_EXCHANGE_DOORBELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

static inline void doorbell_sleeping(_Atomic uint32_t *sleeping)
{
    atomic_store_explicit(sleeping, 1, memory_order_seq_cst);
}

static inline void doorbell_awake(_Atomic uint32_t *sleeping)
{
    /* Relaxed: a waker that still sees 1 writes once too often, which costs a system call and nothing else. */
    atomic_store_explicit(sleeping, 0, memory_order_relaxed);
}

/* After publishing: wakes the sleeper behind `fd`. Returns whether it had to. */
static inline bool doorbell_ring(_Atomic uint32_t *sleeping, int fd)
{
    if (atomic_load_explicit(sleeping, memory_order_seq_cst) == 0)
        return false;
    if (atomic_exchange_explicit(sleeping, 0, memory_order_seq_cst) == 0)
        return false;
    const uint64_t one = 1;
    /* EAGAIN means a counter at its end: it is readable, the sleeper wakes all the same. */
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
    return true;
}

#endif
