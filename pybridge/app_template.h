/*
 * App template: an app process that serves nothing. It has loaded the application; the processes that serve are its
 * copies (`preload_app`).
 *
 *   supervisor: FORK, with the control socket of the new process [, its stdout, its stderr]
 *   template:   forks, and the process between forks again and ends at once, so that the copy becomes a child of the
 *               supervisor, which is a subreaper; then FORKED with the pid
 *   copy:       waits for its SETUP like every app process
 *
 * Threads: the main thread, with the interpreter lock. Threads that the application started while it was imported are
 *          not in the copies; a warning says so.
 */
#ifndef PYBRIDGE_APP_TEMPLATE_H
#define PYBRIDGE_APP_TEMPLATE_H

enum app_template_end {
    APP_TEMPLATE_OVER, /* the supervisor wants no more copies, or is gone */
    APP_TEMPLATE_COPY, /* this is a copy: CONTROL_FD and the outputs are its own */
};

/* Tells the supervisor that copies can be had, and makes them. `log_fd`: where the error log stands in this process;
 * a reopened one takes its place. */
enum app_template_end app_template_run(int log_fd);

#endif
