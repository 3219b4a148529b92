/*
 * Ring memory: what one life of one I/O process shares with this process.
 *
 * Owns:    the mapping of its inbound arena and of the pair page, and the file of request bodies.
 * Threads: under the lock of app_exchange.h.
 * Life:    outlives the I/O process while a request of it is still open; the last holder frees it.
 */
#ifndef PYBRIDGE_RING_MEMORY_H
#define PYBRIDGE_RING_MEMORY_H

#include "daemon/exchange/arena.h"
#include "daemon/exchange/layout.h"

struct ring_memory {
    struct arena inbound;
    struct arena pair_memory;
    struct pair_page *pair;
    int spool;        /* the file of request bodies, for reading; -1: it has not come yet */
    bool spool_asked; /* for it, once */
    uint32_t holders; /* the link, each open request, and each part of a body that is being read */
};

/* Takes both descriptors. NULL: one of them is not what it should be, or there is no memory. */
struct ring_memory *ring_memory_adopt(int inbound_fd, size_t inbound_bytes, int pair_fd, size_t pair_bytes);

/* By one holder. */
void ring_memory_release(struct ring_memory *memory);

#endif
