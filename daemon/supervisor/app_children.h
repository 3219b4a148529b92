/*
 * App children: the application processes, of one generation of settings or of two while they are exchanged: how many
 * there have to be, which are missing and which are too many. What one of them goes through is app_life.h.
 *
 * Owns:    the table of them, and when the next one may be started.
 * Threads: the supervisor's only one.
 * Life:    an index is used again only after all others were, so that everybody has long forgotten the dead one.
 */
#ifndef DAEMON_SUPERVISOR_APP_CHILDREN_H
#define DAEMON_SUPERVISOR_APP_CHILDREN_H

#include "daemon/exchange/control.h"
#include "daemon/exchange/layout.h"
#include "daemon/supervisor/app_child.h"
#include "daemon/supervisor/backoff.h"

struct supervisor;

struct app_children {
    struct app_child *children[LAYOUT_APPS_MAX];
    uint32_t generations[LAYOUT_APPS_MAX];
    uint32_t cursor;           /* the index to try next */
    uint32_t wanted;           /* how many are to serve */
    uint32_t births;           /* of all that were started, templates not counted */
    uint32_t epoch;            /* the settings generation that is wanted */
    uint32_t epochs;           /* counted so far */
    bool proven;               /* one of this epoch has been ready: the others are started all at once */
    struct app_child *copying; /* the one that a template has been asked for; NULL: none */
    struct backoff backoff;
    uint64_t spawn_at_ms; /* not before */
    struct event_alarm respawn;
};

/* Of all generations. */
struct app_census {
    uint32_t serving; /* those that recycle among them */
    uint32_t waiting;
    uint32_t leaving;
};

void app_children_init(struct supervisor *supervisor);

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

/* To each of them, whatever its state. */
void app_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count);
void app_children_kill(struct supervisor *supervisor);

#endif
