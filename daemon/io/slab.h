/*
 * Slab: objects of one size, handed out from a list of free ones, never given back to the system.
 *
 * Owns:    the chunks. Threads: one. Life: deinit frees all, so nothing handed out may be alive by then.
 */
#ifndef DAEMON_IO_SLAB_H
#define DAEMON_IO_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct slab {
    void *free_list;
    void *chunks;
    size_t object_bytes;
    uint32_t objects_per_chunk;
    uint32_t live;
};

void slab_init(struct slab *slab, size_t object_bytes, uint32_t objects_per_chunk);
void slab_deinit(struct slab *slab);

/* Contents undefined; NULL without memory. */
void *slab_borrow(struct slab *slab);
void slab_give_back(struct slab *slab, void *object);

#endif
