/*
 * Server hooks: what a Gunicorn file wants to be called for in the master (on_starting, when_ready, child_exit, ...).
 *
 * No Python runs in the supervisor. When the file has at least one such function, one more process executes it
 * ("uroboros: hooks", hooks_child.h) and is told of each event; without any nothing here costs anything. The supervisor
 * goes on meanwhile, with three exceptions where the order is the meaning:
 *
 *   on_starting   no application process is started before it has returned. If it raises, the server does not start
 *   pre_exec      another program is executed once it has returned, or after a while
 *   on_exit       the server ends once it has returned, or when graceful_timeout has passed
 *
 * A reload executes the file anew, in a new process. Until the reload is decided that one hears of the new application
 * processes and the old one of the old; then one of them finishes its calls and ends.
 *
 * Owns:    the hooks children.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_SERVER_HOOKS_H
#define DAEMON_SUPERVISOR_SERVER_HOOKS_H

#include "daemon/supervisor/event_loop.h"

#include <sys/types.h>

struct supervisor;
struct app_child;
struct hooks_child;

struct server_hooks {
    struct hooks_child *current; /* NULL: the settings have none */
    struct hooks_child *fresh;   /* RELOADING: of the new settings */
    struct hooks_child *retired;
    uint64_t execute_at_ms; /* pre_exec has been told, and is waited for until then; 0: it has not */
    bool told_exit;
};

/* The server starts. */
void server_hooks_begin(struct supervisor *supervisor);
/* Whether on_starting has returned, so that application processes may be started. */
bool server_hooks_let_start(const struct supervisor *supervisor);
void server_hooks_ready(struct supervisor *supervisor);

/* The life of an application process. */
void server_hooks_app_forks(struct supervisor *supervisor, const struct app_child *app);
void server_hooks_app_lives(struct supervisor *supervisor, const struct app_child *app);
void server_hooks_app_ended(struct supervisor *supervisor, const struct app_child *app, pid_t pid, int status);
/* One of a program before this one. */
void server_hooks_predecessor_ended(struct supervisor *supervisor, pid_t pid, int status);

void server_hooks_workers_changed(struct supervisor *supervisor, uint32_t before);

/* RELOADING has begun, and how it ended. */
void server_hooks_reload(struct supervisor *supervisor);
void server_hooks_commit(struct supervisor *supervisor);
void server_hooks_abandon(struct supervisor *supervisor);

/* Another program is about to be executed: whether it may. */
bool server_hooks_let_execute(struct supervisor *supervisor);

/* Everybody else has ended: whether the hooks have, too. */
bool server_hooks_finish(struct supervisor *supervisor);
/* A stop that must not take long. */
void server_hooks_hurry(struct supervisor *supervisor);

void server_hooks_check(struct supervisor *supervisor, uint64_t now_ms);
void server_hooks_send_logs(struct supervisor *supervisor);
bool server_hooks_include(const struct supervisor *supervisor, pid_t pid);

#endif
