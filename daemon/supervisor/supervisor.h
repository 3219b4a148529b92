/*
 * Supervisor: owns the settings, the listening sockets, the births and deaths; never touches a byte of a client.
 *
 * Threads: one.
 * Life:    supervisor_run() is the whole life of the server.
 */
#ifndef DAEMON_SUPERVISOR_SUPERVISOR_H
#define DAEMON_SUPERVISOR_SUPERVISOR_H

#include "config/settings_loader.h"

struct handover;

/* Takes `handed`. This program was executed in place of another and has no settings to serve with: the processes of
 * that one serve on, until a later upgrade or a stop. The exit status. */
[[nodiscard]] int supervisor_keep(struct handover *handed, int argc, char **argv);

/* Takes `settings` and `handed`, which is NULL unless this program was executed in place of another. The exit status: 0
 * after a stop that was asked for, 1 when the server could not start, 3 and 4 when the application could not (as
 * Gunicorn's). The command line is read again at a reload. */
[[nodiscard]] int supervisor_run(struct settings *settings, const struct settings_outcome *outcome,
                                 struct handover *handed, int argc, char **argv);

#endif
