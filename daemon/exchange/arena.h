/*
 * Arena: one run of memory shared between processes, and the only way from an offset to a pointer.
 *
 * Owns:    the mapping, and the memfd while it is kept.
 * Threads: none of its own; a mapping is immutable after it was made.
 * Life:    made by one process, mapped by others from the descriptor; `deinit` of a zeroed object is harmless.
 *
 * Everything in shared memory is an offset and a length. The other side wrote them, so each pair is read once into
 * locals and passed through arena_at(), which answers NULL for anything outside the mapping.
 */
#ifndef DAEMON_EXCHANGE_ARENA_H
#define DAEMON_EXCHANGE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena {
    uint8_t *base;
    size_t bytes;
    int fd; /* -1 once given away */
    bool writable;
};

/* Offset and length in octets, relative to the start of an arena. */
struct arena_span {
    uint32_t offset;
    uint32_t length;
};

enum arena_seal {
    ARENA_SEAL_SIZE,   /* SHRINK, GROW, SEAL: whoever holds the descriptor may map it writable */
    ARENA_SEAL_WRITER, /* also FUTURE_WRITE: only the mapping that exists already may write */
};

/* Makes a memfd of `bytes` (rounded up to pages), maps it writable, then seals it. `name` shows in /proc. */
[[nodiscard]] int arena_create(struct arena *ret_arena, const char *name, size_t bytes, enum arena_seal seal);

/*
 * Maps what another process made. Takes `fd` (also on failure). Refuses a descriptor that could still shrink
 * (-EPERM), or of a size outside [bytes_min, bytes_max] (-EBADF): a truncated file would be SIGBUS later.
 */
[[nodiscard]] int arena_adopt(struct arena *ret_arena, int fd, bool writable, size_t bytes_min, size_t bytes_max);

void arena_deinit(struct arena *arena);

/* The descriptor for another process; stays the arena's. */
static inline int arena_fd(const struct arena *arena)
{
    return arena->fd;
}

/* The octets [offset, offset + length) of the arena, or NULL when they are not all inside it. */
static inline uint8_t *arena_at(const struct arena *arena, uint64_t offset, uint64_t length)
{
    if (offset > arena->bytes || length > arena->bytes - offset)
        return NULL;
    return arena->base + offset;
}

#endif
