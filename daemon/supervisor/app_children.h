/*
 * App children: the application processes, of one generation of settings or of two while they are exchanged.
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
 * Owns:    per process its outbound arena, doorbell, outputs and control socket.
 * Threads: the supervisor's only one.
 * Life:    an index is used again only after all others were, so that everybody has long forgotten the dead one.
 */
#ifndef DAEMON_SUPERVISOR_APP_CHILDREN_H
#define DAEMON_SUPERVISOR_APP_CHILDREN_H

#include "daemon/base/log.h"
#include "daemon/exchange/arena.h"
#include "daemon/exchange/layout.h"
#include "daemon/supervisor/backoff.h"
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

/* One of the pipes that are an application's stdout and stderr. */
struct app_output {
    struct event_watch watch;
    struct log_lines lines;
};

struct app_child {
    struct supervisor *supervisor;
    struct child child;
    enum app_state state;
    uint32_t index;
    uint32_t generation; /* of this index */
    uint32_t epoch;      /* of the settings it was started with */
    uint32_t places;     /* from its READY, as are the flags */
    uint32_t flags;      /* enum control_ready_flag */
    bool is_template;
    struct app_child *original; /* COPYING: the template that was asked */
    bool timed_out;
    struct arena outbound;
    int doorbell;
    struct app_output output[2];
    struct event_alarm deadline;
    uint64_t heartbeat; /* the last one seen to change, and when */
    uint64_t heartbeat_at_ms;
};

struct app_children {
    struct app_child *children[LAYOUT_APPS_MAX];
    uint32_t generations[LAYOUT_APPS_MAX];
    uint32_t cursor;           /* the index to try next */
    uint32_t wanted;           /* how many are to serve */
    uint32_t epoch;            /* the settings generation that is wanted */
    uint32_t epochs;           /* counted so far */
    bool proven;               /* one of this epoch has been ready: the others are started all at once */
    struct app_child *copying; /* the one that a template has been asked for; NULL: none */
    struct backoff backoff;
    uint64_t spawn_at_ms; /* not before */
    struct event_alarm respawn;
};

static inline bool app_child_serves(const struct app_child *app)
{
    return app->state == APP_SERVING || app->state == APP_RECYCLING;
}

/* Of all generations. */
struct app_census {
    uint32_t serving; /* those that recycle among them */
    uint32_t waiting;
    uint32_t leaving;
};

void app_children_init(struct supervisor *supervisor);

/* Of the wanted epoch, ready to be copied; NULL: there is none (now). */
struct app_child *app_children_template(const struct supervisor *supervisor);
/* Whether a process of `owner`, a supervisor, has a place already: an app or I/O process, a reader, a predecessor. */
bool app_children_know(const void *owner, pid_t pid);
/* Whether the process is to be a copy of it. */
bool app_child_is_copied(const struct supervisor *supervisor, const struct app_child *app);

/* Starts those that are missing, retires those that are too many. */
void app_children_settle(struct supervisor *supervisor);

/* Once a second: event loops that do not turn. */
void app_children_check(struct supervisor *supervisor, uint64_t now_ms);

/* A new generation of settings: the next application processes are started alone until one has proved itself. */
void app_children_begin_epoch(struct supervisor *supervisor);

/* All wanted ones of the wanted epoch are ready. */
bool app_children_complete(const struct supervisor *supervisor);
uint32_t app_children_alive(const struct supervisor *supervisor);
struct app_census app_children_count(const struct supervisor *supervisor);

/* Those of the wanted epoch serve, all others retire; or they are given up, and `epoch` is wanted again. */
void app_children_commit_epoch(struct supervisor *supervisor);
void app_children_abandon_epoch(struct supervisor *supervisor, uint32_t epoch);

/* One more or one fewer, within what fits. */
void app_children_change_wanted(struct supervisor *supervisor, int by);

/* Each finishes what it has begun; those that do not serve yet go at once. */
void app_children_retire_all(struct supervisor *supervisor);

/* `timeout` has passed: stacks to the log, nothing new for it, the end within graceful_timeout. */
void app_child_is_stuck(struct app_child *app, const char *how);

/* To each of them, whatever its state. */
void app_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count);
void app_children_kill(struct supervisor *supervisor);

#endif
