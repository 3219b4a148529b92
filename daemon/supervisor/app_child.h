/*
 * App child: one application process, and what the supervisor has of it.
 *
 *   COPYING --> STARTING --> WAITING --> SERVING --> RECYCLING --> DRAINING --> (dead, forgotten)
 *      |            |           |           +-------------------------^
 *      +------------+-----------+------> ABANDONED -------------------------------^
 *
 *   COPYING    the template has been asked for it and has not answered: there is no process yet. One at a time
 *   TEMPLATE   with preload_app one of each generation; it is copied and serves nothing
 *   WAITING    ready, but the rest of its generation is not: nobody sends it requests yet (reload)
 *   RECYCLING  serves until another has taken its place
 *   DRAINING   finishes what it has begun, by a deadline
 *   ABANDONED  killed by us before it served
 *
 * Owns:    its outbound arena, doorbell, outputs and control socket.
 * Threads: the supervisor's only one.
 * Life:    from before its birth to after its burial, in the table of app_children.h.
 */
#ifndef DAEMON_SUPERVISOR_APP_CHILD_H
#define DAEMON_SUPERVISOR_APP_CHILD_H

#include "daemon/exchange/arena.h"
#include "daemon/supervisor/app_output.h"
#include "daemon/supervisor/child.h"

struct supervisor;

enum app_state {
    APP_COPYING,
    APP_STARTING,
    APP_TEMPLATE,
    APP_WAITING,
    APP_SERVING,
    APP_RECYCLING,
    APP_DRAINING,
    APP_ABANDONED
};

struct app_child {
    struct supervisor *supervisor;
    struct child child;
    enum app_state state;
    uint32_t index;
    uint32_t generation; /* of this index */
    uint32_t epoch;      /* of the settings it was started with */
    uint32_t age;        /* how many were started before it, and itself; 0: a template */
    uint32_t places;     /* from its READY, as are the flags */
    uint32_t flags;      /* enum control_ready_flag */
    bool is_template;
    bool wants_abort;           /* it waits for SIGABRT, to call worker_abort */
    struct app_child *original; /* the template that it is to be a copy of, until COPYING is over; or NULL */
    bool timed_out;
    struct arena outbound;
    int doorbell;
    struct app_output output[2];
    struct event_alarm deadline;
    uint64_t heartbeat; /* the last one seen to change, and when */
    uint64_t heartbeat_at_ms;
};

static inline bool app_child_serves(const struct app_child *app)
{
    return app->state == APP_SERVING || app->state == APP_RECYCLING;
}

#endif
