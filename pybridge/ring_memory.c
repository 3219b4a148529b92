#include "pybridge/ring_memory.h"

#include "daemon/base/owned.h"

#include <assert.h>
#include <stdlib.h>

struct ring_memory *ring_memory_adopt(int inbound_fd, size_t inbound_bytes, int pair_fd, size_t pair_bytes)
{
    struct ring_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        fd_drop(&inbound_fd);
        fd_drop(&pair_fd);
        return NULL;
    }
    int inbound = arena_adopt(&memory->inbound, inbound_fd, false, inbound_bytes, UINT32_MAX);
    int pair = arena_adopt(&memory->pair_memory, pair_fd, true, pair_bytes, UINT32_MAX);
    if (inbound < 0 || pair < 0) {
        arena_deinit(&memory->inbound);
        arena_deinit(&memory->pair_memory);
        free(memory);
        return NULL;
    }
    memory->pair = (struct pair_page *)(void *)memory->pair_memory.base;
    memory->holders = 1;
    memory->spool = -1;
    return memory;
}

void ring_memory_release(struct ring_memory *memory)
{
    assert(memory->holders > 0);
    if (--memory->holders > 0)
        return;
    fd_drop(&memory->spool);
    arena_deinit(&memory->inbound);
    arena_deinit(&memory->pair_memory);
    free(memory);
}
