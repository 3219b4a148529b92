#include "daemon/io/reply.h"

#include "daemon/io/io_core.h"

#include <string.h>

void reply_discard(struct reply *reply)
{
    if (reply->memory == NULL)
        return; /* a part of a file is its source's */
    app_memory_give_back(reply->memory, reply->head_block);
    if (reply->body_block != reply->head_block)
        app_memory_give_back(reply->memory, reply->body_block);
}

/* ---- those that wait -------------------------------------------------------------------------------------------- */

struct reply *reply_keep(struct io_core *core, const struct reply *reply)
{
    struct reply *kept = slab_borrow(&core->replies);
    if (kept == NULL)
        return NULL;
    *kept = *reply;
    kept->next = NULL;
    app_memory_hold(kept->memory);
    return kept;
}

uint32_t reply_detach(struct io_core *core, struct reply *kept, uint64_t bytes_max)
{
    const size_t bytes = kept->head.length + kept->body.length;
    const uint64_t left = io_core_detached_left(core);
    if (bytes > UINT32_MAX)
        return 0;
    struct output_scratch *scratch =
        output_scratch_create_detached(&core->outputs, (uint32_t)bytes, left < bytes_max ? left : bytes_max);
    if (scratch == NULL)
        return 0;
    memcpy(scratch->data, kept->head.data, kept->head.length);
    memcpy(scratch->data + kept->head.length, kept->body.data, kept->body.length);
    reply_discard(kept);
    kept->head_block = kept->body_block = MESSAGE_NO_BLOCK;
    kept->head = bytes_of(scratch->data, kept->head.length);
    kept->body = bytes_of(scratch->data + kept->head.length, kept->body.length);
    kept->scratch = scratch;
    return scratch->detached;
}

void reply_release(struct io_core *core, struct reply *kept)
{
    reply_discard(kept);
    if (kept->scratch != NULL)
        output_scratch_drop(&core->outputs, kept->scratch);
    app_memory_drop(kept->memory);
    slab_give_back(&core->replies, kept);
}
