#include "daemon/io/app_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int app_memory_create(const struct exchange_shape *shape, int fd, struct app_memory **ret_memory)
{
    struct outbound_layout layout;
    outbound_layout_compute(shape, &layout);
    const uint32_t blocks = shape->outbound_small + shape->outbound_large;
    struct app_memory *memory = calloc(1, sizeof *memory + 2 * (size_t)blocks * sizeof memory->returns[0]);
    if (memory == NULL) {
        close(fd);
        return -ENOMEM;
    }
    memory->shares = memory->returns + blocks;
    int r = arena_adopt(&memory->outbound, fd, false, layout.bytes, UINT32_MAX);
    if (r < 0) {
        free(memory);
        return r;
    }
    memory->blocks = blocks;
    memory->holders = 1;
    *ret_memory = memory;
    return 0;
}

int app_memory_create_private(size_t bytes, struct app_memory **ret_memory)
{
    struct app_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return -ENOMEM;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        free(memory);
        return -ENOMEM;
    }
    memory->outbound = (struct arena){.base = base, .bytes = bytes, .fd = -1, .writable = true};
    memory->gone = true;
    memory->holders = 1;
    *ret_memory = memory;
    return 0;
}

void app_memory_hold(struct app_memory *memory)
{
    memory->holders++;
}

void app_memory_drop(struct app_memory *memory)
{
    if (memory == NULL)
        return;
    assert(memory->holders > 0);
    if (--memory->holders > 0)
        return;
    arena_deinit(&memory->outbound);
    free(memory);
}

void app_memory_share(struct app_memory *memory, uint32_t block)
{
    if (block < memory->blocks) /* the others are no blocks: their octets are nobody's, and may change */
        memory->shares[block]++;
}

void app_memory_give_back(struct app_memory *memory, uint32_t block)
{
    if (memory->gone || block == MESSAGE_NO_BLOCK)
        return;
    if (block < memory->blocks && memory->shares[block] > 0) {
        memory->shares[block]--;
        return;
    }
    /* Full only when the app lent a block twice, which harms nobody but itself. */
    if (memory->returns_count < memory->blocks)
        memory->returns[memory->returns_count++] = block;
}
