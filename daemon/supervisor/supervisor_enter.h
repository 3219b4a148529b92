/*
 * Supervisor enter: what the server does at the moment in which its state becomes another.
 *
 * When that is to happen is decided elsewhere, in supervisor.c and reload.c; which state may follow which is a table
 * here, after the drawing in supervisor_state.h.
 *
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_SUPERVISOR_ENTER_H
#define DAEMON_SUPERVISOR_SUPERVISOR_ENTER_H

#include "daemon/supervisor/supervisor_state.h"

/* The one place where the state changes. */
void supervisor_enter(struct supervisor *supervisor, enum supervisor_state state);

#endif
