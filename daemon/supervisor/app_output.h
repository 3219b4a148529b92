/*
 * App output: one of the pipes that are the stdout and stderr of a process with Python in it; what comes out of it goes
 * to the log, line by line.
 *
 * Owns:    our end, and the half of a line that has come.
 * Threads: the supervisor's only one.
 * Life:    from open to finish, which comes after the end of the process. -1 as watch.fd and zeros: never opened.
 */
#ifndef DAEMON_SUPERVISOR_APP_OUTPUT_H
#define DAEMON_SUPERVISOR_APP_OUTPUT_H

#include "daemon/base/log.h"
#include "daemon/supervisor/event_loop.h"

struct app_output {
    struct event_watch watch;
    struct log_lines lines;
};

/* A pipe whose end with us is watched. Neither end ever waits. On failure app_output_finish() is safe. */
[[nodiscard]] int app_output_open(struct event_loop *loop, struct app_output *output, event_watch_handler *handler,
                                  void *owner, int *ret_theirs);

/* One piece of what was written, to the log. */
void app_output_take(struct event_loop *loop, struct app_output *output);

/* All that is left of it; then it is closed. */
void app_output_finish(struct event_loop *loop, struct app_output *output);

#endif
