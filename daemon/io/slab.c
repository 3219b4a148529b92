#include "daemon/io/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* AddressSanitizer is told what is not handed out, else it would see nothing of a use after giving back. */
#if defined(__SANITIZE_ADDRESS__)
#define SLAB_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISONS 1
#endif
#endif
#ifdef SLAB_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

enum { CHUNK_HEAD_BYTES = 64 };

void slab_init(struct slab *slab, size_t object_bytes, uint32_t objects_per_chunk)
{
    assert(object_bytes >= sizeof(void *));
    *slab = (struct slab){.object_bytes = (object_bytes + 15) / 16 * 16, .objects_per_chunk = objects_per_chunk};
}

void slab_deinit(struct slab *slab)
{
    while (slab->chunks != NULL) {
        void *chunk = slab->chunks;
        memcpy(&slab->chunks, chunk, sizeof(void *));
        free(chunk);
    }
    *slab = (struct slab){};
}

static void push_free(struct slab *slab, void *object)
{
    memcpy(object, &slab->free_list, sizeof(void *));
    slab->free_list = object;
    ASAN_POISON_MEMORY_REGION(object, slab->object_bytes);
}

static int grow(struct slab *slab)
{
    uint8_t *chunk =
        aligned_alloc(64, (CHUNK_HEAD_BYTES + slab->object_bytes * slab->objects_per_chunk + 63) / 64 * 64);
    if (chunk == NULL)
        return -1;
    memcpy(chunk, &slab->chunks, sizeof(void *));
    slab->chunks = chunk;
    for (uint32_t i = slab->objects_per_chunk; i-- > 0;)
        push_free(slab, chunk + CHUNK_HEAD_BYTES + i * slab->object_bytes);
    return 0;
}

void *slab_borrow(struct slab *slab)
{
    if (slab->free_list == NULL && grow(slab) < 0)
        return NULL;
    void *object = slab->free_list;
    assert(object != NULL);
    ASAN_UNPOISON_MEMORY_REGION(object, slab->object_bytes);
    memcpy(&slab->free_list, object, sizeof(void *));
    slab->live++;
    return object;
}

void slab_give_back(struct slab *slab, void *object)
{
    if (object == NULL)
        return;
    assert(slab->live > 0);
    slab->live--;
    push_free(slab, object);
}
