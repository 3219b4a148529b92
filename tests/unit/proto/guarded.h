/*
 * Guarded: memory whose last octet is followed by an unmapped page, so that reading one octet too far is a crash.
 */
#ifndef TESTS_GUARDED_H
#define TESTS_GUARDED_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    uint8_t *map;
    size_t room;
};

static inline struct guarded guarded_create(size_t room_min)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (room_min / page + 1) * page;
    uint8_t *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(map != MAP_FAILED);
    int failed = mprotect(map + room, page, PROT_NONE);
    assert(!failed);
    return (struct guarded){map, room};
}

static inline void guarded_destroy(struct guarded *guarded)
{
    munmap(guarded->map, guarded->room + (size_t)sysconf(_SC_PAGESIZE));
}

/* A copy of `length` octets whose end is the end of the mapping; what stood there before is gone. */
static inline uint8_t *guarded_place(struct guarded *guarded, const void *data, size_t length)
{
    assert(length <= guarded->room);
    uint8_t *place = guarded->map + guarded->room - length;
    if (length > 0)
        memmove(place, data, length);
    return place;
}

#endif
