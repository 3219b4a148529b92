#include "daemon/supervisor/hook_queue.h"

static uint32_t room_for(const struct control_hook *call)
{
    return call->hook == CONTROL_HOOK_ON_EXIT ? HOOK_QUEUE_CALLS : HOOK_QUEUE_CALLS - 1;
}

bool hook_queue_push(struct hook_queue *queue, const struct control_hook *call)
{
    if (queue->count >= room_for(call)) {
        queue->lost++;
        return false;
    }
    queue->calls[(queue->first + queue->count) % HOOK_QUEUE_CALLS] = *call;
    queue->count++;
    return true;
}

bool hook_queue_pop(struct hook_queue *queue, struct control_hook *ret_call)
{
    if (queue->count == 0)
        return false;
    *ret_call = queue->calls[queue->first];
    queue->first = (queue->first + 1) % HOOK_QUEUE_CALLS;
    queue->count--;
    return true;
}

uint64_t hook_queue_take_lost(struct hook_queue *queue)
{
    uint64_t lost = queue->lost;
    queue->lost = 0;
    return lost;
}
