/*
 * App launch: what an application process needs around it, made before it starts and gone after its end.
 *
 * Owns:    nothing; fills and empties the parts of a struct app_child.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_APP_LAUNCH_H
#define DAEMON_SUPERVISOR_APP_LAUNCH_H

#include "daemon/supervisor/app_children.h"

/* Arena, doorbell, outputs, process, and its SETUP message. One that is to be a copy is COPYING then, without a process
 * yet. On failure nothing is left, and `why` says the reason. */
[[nodiscard]] int app_launch(struct supervisor *supervisor, struct app_child *app, char why[CHILD_TEXT_BYTES]);

/* To a copy, now that it lives. */
void app_launch_send_setup(struct supervisor *supervisor, struct app_child *app);

/* What its outputs still hold goes to the log, then all of it is closed. The process is buried already. */
void app_launch_undo(struct supervisor *supervisor, struct app_child *app);

/* One piece of what the application wrote, to the log. */
void app_output_take(struct supervisor *supervisor, struct app_output *output);
/* All that is left of it; then it is closed. */
void app_output_finish(struct supervisor *supervisor, struct app_output *output);

/* The event loop's handler for an output. */
void app_launch_read_output(struct event_watch *watch);

#endif
