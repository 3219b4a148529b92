#include "daemon/exchange/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };

static int seal_flags(enum arena_seal seal)
{
    int flags = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    return seal == ARENA_SEAL_WRITER ? flags | F_SEAL_FUTURE_WRITE : flags;
}

static int map(struct arena *arena, int fd, size_t bytes, bool writable)
{
    void *base = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    *arena = (struct arena){.base = base, .bytes = bytes, .fd = fd, .writable = writable};
    return 0;
}

static int create_on(int fd, struct arena *arena, size_t bytes, enum arena_seal seal)
{
    if (ftruncate(fd, (off_t)bytes) < 0)
        return -errno;
    int r = map(arena, fd, bytes, true);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, seal_flags(seal)) < 0) {
        r = -errno;
        munmap(arena->base, bytes);
        return r;
    }
    return 0;
}

int arena_create(struct arena *ret_arena, const char *name, size_t bytes, enum arena_seal seal)
{
    bytes = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    struct arena arena;
    int r = create_on(fd, &arena, bytes, seal);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_arena = arena;
    return 0;
}

static int check(int fd, size_t bytes_min, size_t bytes_max, size_t *ret_bytes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return -errno;
    if ((seals & F_SEAL_SHRINK) == 0)
        return -EPERM;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || (size_t)status.st_size < bytes_min || (size_t)status.st_size > bytes_max)
        return -EBADF;
    *ret_bytes = (size_t)status.st_size;
    return 0;
}

int arena_adopt(struct arena *ret_arena, int fd, bool writable, size_t bytes_min, size_t bytes_max)
{
    size_t bytes;
    struct arena arena;
    int r = check(fd, bytes_min, bytes_max, &bytes);
    if (r == 0)
        r = map(&arena, fd, bytes, writable);
    /* The mapping keeps the memory; the descriptor is of no further use here. */
    close(fd);
    if (r < 0)
        return r;
    arena.fd = -1;
    *ret_arena = arena;
    return 0;
}

void arena_deinit(struct arena *arena)
{
    if (arena->base == NULL)
        return;
    munmap(arena->base, arena->bytes);
    if (arena->fd >= 0)
        close(arena->fd);
    *arena = (struct arena){.fd = -1};
}
