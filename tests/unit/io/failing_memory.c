#include "tests/unit/io/failing_memory.h"

#include "daemon/io/ring.h"
#include "daemon/io/slab.h"

struct failing_memory failing_memory;

static bool fails(void)
{
    struct failing_memory *memory = &failing_memory;
    if (!memory->is_daemon)
        return false;
    memory->count++;
    return memory->count == memory->first || (memory->rest && memory->count > memory->first);
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__real_slab_borrow(struct slab *slab);
void *__wrap_slab_borrow(struct slab *slab);
int __real_ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity);
int __wrap_ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_slab_borrow(struct slab *slab)
{
    return fails() ? NULL : __real_slab_borrow(slab);
}

int __wrap_ring_wait(struct ring *ring, int64_t timeout_ms, struct ring_event *events, uint32_t capacity)
{
    const bool is_daemon = failing_memory.is_daemon;
    failing_memory.is_daemon = false;
    int count = __real_ring_wait(ring, timeout_ms, events, capacity);
    failing_memory.is_daemon = is_daemon;
    return count;
}
