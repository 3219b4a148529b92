/*
 * App launch: what an application process needs around it, made before it starts and gone after its end.
 *
 * Owns:    nothing; fills and empties the parts of a struct app_child.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_APP_LAUNCH_H
#define DAEMON_SUPERVISOR_APP_LAUNCH_H

#include "config/schema.h"
#include "daemon/supervisor/app_child.h"

/* Arena, doorbell, outputs, process, and its SETUP message. One that has an original is COPYING then, without a process
 * yet. On failure nothing is left, and `why` says the reason. */
[[nodiscard]] int app_launch(struct supervisor *supervisor, struct app_child *app, char why[CHILD_TEXT_BYTES]);

/* To a copy, now that it lives. */
void app_launch_send_setup(struct supervisor *supervisor, struct app_child *app);

/* What its outputs still hold goes to the log, then all of it is closed. The process is buried already. */
void app_launch_undo(struct supervisor *supervisor, struct app_child *app);

/* The interpreter of these settings with our part of it: what is an application process without a `role`, and else as
 * pybridge/app.py knows it. `output` is two descriptors, or -1. On failure `why` may have a sentence. */
[[nodiscard]] int app_launch_program(struct supervisor *supervisor, const struct settings *settings,
                                     struct child *child, const char *role, const int output[2], char *why);

#endif
