/*
 * Owned: descriptors, mappings and heap blocks that are given back when their scope ends.
 *
 * Owns:    what the marked variable holds, until it is taken.
 * Threads: any; nothing here is shared.
 * Life:    the scope of the variable. A marked variable is always initialised: -1, MAPPING_NONE or NULL if empty.
 */
#ifndef DAEMON_BASE_OWNED_H
#define DAEMON_BASE_OWNED_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define OWNED_FD      __attribute__((cleanup(fd_drop))) int
#define OWNED_MAPPING __attribute__((cleanup(mapping_drop))) struct mapping
#define OWNED_MEMORY  __attribute__((cleanup(memory_drop)))

struct mapping {
    void *base; /* NULL: nothing is mapped */
    size_t bytes;
};

#define MAPPING_NONE ((struct mapping){NULL, 0})

/* Closes and empties. errno survives, so that a caller may still return it. */
static inline void fd_drop(int *fd)
{
    if (*fd < 0)
        return;
    int saved = errno;
    close(*fd); /* EINTR too has closed it on Linux: never again */
    errno = saved;
    *fd = -1;
}

/* The descriptor, which is now the caller's to close. */
[[nodiscard]] static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Closes what `slot` holds and puts `fd` there; `fd` is taken. */
static inline void fd_replace(int *slot, int fd)
{
    fd_drop(slot);
    *slot = fd;
}

static inline void mapping_drop(struct mapping *mapping)
{
    if (!mapping->base)
        return;
    int saved = errno;
    munmap(mapping->base, mapping->bytes);
    errno = saved;
    *mapping = MAPPING_NONE;
}

/* The mapping, which is now the caller's to unmap. */
[[nodiscard]] static inline struct mapping mapping_take(struct mapping *mapping)
{
    struct mapping taken = *mapping;
    *mapping = MAPPING_NONE;
    return taken;
}

/* mmap() of a fresh range; `fd` is borrowed, -1 with MAP_ANONYMOUS. */
[[nodiscard]] static inline int mapping_create(size_t bytes, int protection, int flags, int fd,
                                               struct mapping *ret_mapping)
{
    void *base = mmap(NULL, bytes, protection, flags, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    *ret_mapping = (struct mapping){base, bytes};
    return 0;
}

/* For `OWNED_MEMORY char *text = ...`; works on any object pointer. */
static inline void memory_drop(void *pointer)
{
    void **slot = pointer;
    free(*slot);
    *slot = NULL;
}

#endif
