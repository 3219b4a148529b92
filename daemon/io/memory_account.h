/*
 * Memory account: what the process holds for its clients beyond the inbound arena, whose size is its own cap, and how
 * near that is to what it may hold.
 *
 *   NORMAL ----- 85 % -----> SCARCE ----- 95 % -----> EXHAUSTED      up at once, also by two;
 *          <---- 75 % ------        <---- 90 % ------                down one by one, so that it does not flutter
 *
 * Slabs are watched: they know their live objects, so an object that comes and goes costs nothing here. What is
 * allocated in other ways is charged and credited by whoever does it. Both are added up once in a turn of the loop, and
 * the step of that moment holds for the turn: by what a turn can bring (RING_EVENTS_MAX events) a cap may be passed.
 *
 * Owns:    nothing; the slabs are others' and outlive it.
 * Threads: the loop.
 * Life:    zeroed it is without a cap, and NORMAL whatever is charged.
 */
#ifndef DAEMON_IO_MEMORY_ACCOUNT_H
#define DAEMON_IO_MEMORY_ACCOUNT_H

#include "daemon/io/slab.h"

#include <assert.h>
#include <stdbool.h>

enum memory_step { MEMORY_NORMAL, MEMORY_SCARCE, MEMORY_EXHAUSTED };

enum { MEMORY_SLABS_MAX = 16 };

struct memory_account {
    enum memory_step step;
    uint32_t slab_count;
    uint64_t bytes_max; /* 0: no cap */
    uint64_t bytes;     /* at the last look */
    uint64_t charged;   /* of it what no slab knows of; up to date at any time */
    const struct slab *slabs[MEMORY_SLABS_MAX];
};

/* From now on its live objects count. */
void memory_account_watch(struct memory_account *account, const struct slab *slab);

static inline void memory_account_charge(struct memory_account *account, uint64_t bytes)
{
    account->charged += bytes;
}

static inline void memory_account_credit(struct memory_account *account, uint64_t bytes)
{
    assert(account->charged >= bytes);
    account->charged -= bytes;
}

/* Adds up, `more` included, and finds the step. Returns whether it is another one. */
bool memory_account_look(struct memory_account *account, uint64_t more);

#endif
