/*
 * Hook queue: calls that wait for a process which makes one after the other and may take its time.
 *
 * It is bounded, because a hook that never returns must not cost memory: what comes when it is full is lost, and
 * counted. One place is kept for the very last call, on_exit.
 *
 * Owns:    nothing. A zeroed queue is ready.
 */
#ifndef DAEMON_SUPERVISOR_HOOK_QUEUE_H
#define DAEMON_SUPERVISOR_HOOK_QUEUE_H

#include "daemon/exchange/control.h"

#include <stdbool.h>

enum { HOOK_QUEUE_CALLS = 256 };

struct hook_queue {
    struct control_hook calls[HOOK_QUEUE_CALLS];
    uint32_t first;
    uint32_t count;
    uint64_t lost; /* since the queue was empty; hook_queue_take_lost() sets it back */
};

/* false: there is no room, and it is counted. */
[[nodiscard]] bool hook_queue_push(struct hook_queue *queue, const struct control_hook *call);

/* The first one, out of the queue. false: there is none. */
[[nodiscard]] bool hook_queue_pop(struct hook_queue *queue, struct control_hook *ret_call);

/* How many were lost until now; they are counted anew. */
uint64_t hook_queue_take_lost(struct hook_queue *queue);

#endif
