/*
 * Daemonize: goes into the background, and lets the command that was typed end with the truth.
 *
 * The launcher waits until the daemon reports that it is ready, or how it failed, and exits with that status.
 *
 * Owns:    one pipe between the two.
 * Threads: before there are any, and before anything else is open.
 */
#ifndef DAEMON_SUPERVISOR_DAEMONIZE_H
#define DAEMON_SUPERVISOR_DAEMONIZE_H

/* Returns in the daemon only, a leader of nothing, with the descriptor to report on. */
[[nodiscard]] int daemonize_begin(int *ret_report);

/* Lets the launcher go with `status`. Harmless when there is none (*report is -1), or was. */
void daemonize_report(int *report, int status);

/* Standard input, output and error become /dev/null. */
[[nodiscard]] int daemonize_leave_terminal(void);

#endif
