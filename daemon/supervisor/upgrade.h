/*
 * Upgrade: the program is exchanged under a server that serves on (SIGUSR2). The process keeps its id.
 *
 *   IDLE --> WAITING --> CHECKING --> PROVEN --> (another program)
 *     ^                     |            |
 *     +---------------------+------------+   the new program refused, or could not be executed: nothing has changed
 *
 *   WAITING    asked for while the server starts, reloads, or processes of an earlier upgrade finish their requests
 *   CHECKING   the new program runs beside us with --check-config: it reads the settings, loads the application, and
 *              tries what it will need and we do not have: addresses, certificates, log files, another pid file
 *   PROVEN     as soon as everybody is up it is executed in our place; children, sockets and ticket keys are left to it
 *              (handover.h). It starts processes of its own, and ours finish once those are ready (predecessors.h).
 *              If it cannot start, ours serve on, and another upgrade may begin at once: it has nothing to wait for
 *
 * Owns:    the process that checks.
 * Threads: the supervisor's only one, which waits for nothing here.
 */
#ifndef DAEMON_SUPERVISOR_UPGRADE_H
#define DAEMON_SUPERVISOR_UPGRADE_H

#include "daemon/supervisor/child.h"

struct supervisor;

enum upgrade_state { UPGRADE_IDLE, UPGRADE_WAITING, UPGRADE_CHECKING, UPGRADE_PROVEN };

struct upgrade {
    enum upgrade_state state;
    struct child checker;
    bool is_told_to_end; /* the checker */
    struct event_alarm deadline;
    struct event_alarm retry;
};

void upgrade_begin(struct supervisor *supervisor);

/* A server that serves by old processes, and has lost some, tries again and again: nobody else replaces them. */
void upgrade_retry_later(struct supervisor *supervisor);

/* Begins what waits and executes what is proven, once they may. */
void upgrade_settle(struct supervisor *supervisor);

/* The server stops. */
void upgrade_give_up(struct supervisor *supervisor);

#endif
