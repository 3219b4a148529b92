/*
 * Hooks child: the process in which the server's hooks of a Python settings file run, and the calls that wait for it.
 *
 *   STARTING --> IDLE <--> CALLING        IDLE --> ENDING   it retires, and nothing waits any more
 *       ^---------------------------- DEAD                  from each of them; a queue outlives its process
 *
 *   STARTING   the interpreter executes the file
 *   CALLING    one call is under way. Nobody waits for it here but its successors in the queue
 *
 * It calls one function after the other, in the order of the events. A call during which the process dies is lost, the
 * others are made by the next process. What is called when, and who replaces a dead one, is server_hooks.c.
 *
 * Owns:    the process, its outputs, the queue.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_HOOKS_CHILD_H
#define DAEMON_SUPERVISOR_HOOKS_CHILD_H

#include "config/schema.h"
#include "daemon/exchange/control.h"
#include "daemon/supervisor/app_output.h"
#include "daemon/supervisor/backoff.h"
#include "daemon/supervisor/child.h"
#include "daemon/supervisor/hook_queue.h"

enum hooks_state { HOOKS_DEAD, HOOKS_STARTING, HOOKS_IDLE, HOOKS_CALLING, HOOKS_ENDING };

struct hooks_child;

/* What its owner is told. */
struct hooks_child_events {
    void (*on_respawn)(struct hooks_child *hooks); /* DEAD, and the pause after its death is over */
    void (*on_starting_done)(struct hooks_child *hooks, bool succeeded);
    void (*on_end)(struct hooks_child *hooks, bool was_starting); /* DEAD from now on; may destroy it */
};

struct hooks_child {
    struct hooks_child *next; /* of those that retire */
    struct supervisor *supervisor;
    const struct hooks_child_events *events;
    struct child child;
    enum hooks_state state;
    bool starts_server; /* on_starting has not returned: no application process is started yet */
    bool retires;       /* ends once nothing waits */
    bool is_slow;       /* the start, or the call under way; it has been said */
    struct hook_queue queue;
    struct control_hook call; /* CALLING */
    uint64_t called_at_ms;    /* CALLING; of STARTING, when it began */
    struct app_output output[2];
    struct backoff backoff;
    struct event_alarm deadline; /* of on_starting, or of one that retires */
    struct event_alarm respawn;
};

/* Without a process. `events` outlive it. NULL: no memory. */
struct hooks_child *hooks_child_create(struct supervisor *supervisor, const struct hooks_child_events *events);

/* DEAD to STARTING; told which application processes live already. On failure `why` has a sentence. */
[[nodiscard]] int hooks_child_start(struct hooks_child *hooks, const struct settings *settings, int settings_fd,
                                    char why[CHILD_TEXT_BYTES]);

/* At once, or after those that wait. */
void hooks_child_call(struct hooks_child *hooks, const struct control_hook *call);

/* It ends once nothing waits, and is killed when that takes too long. */
void hooks_child_retire(struct hooks_child *hooks, uint64_t at_ms);

/* Nothing waits and nothing is under way. */
static inline bool hooks_child_is_quiet(const struct hooks_child *hooks)
{
    return hooks->state == HOOKS_IDLE && hooks->queue.count == 0;
}

/* Once a second: a start or a call that takes long is said, a call with the stacks. */
void hooks_child_check(struct hooks_child *hooks, uint64_t now_ms);

/* DEAD ones only. */
void hooks_child_destroy(struct hooks_child *hooks);

#endif
