/*
 * Service status: what the service manager shows of the server, one line in `systemctl status`.
 *
 *     serving: 3 application processes, 2 addresses; 1 finishes its requests
 *     serving: 1 of 3 application processes, 2 addresses; they keep dying; the last reload failed: ...
 *
 * Owns:    what was said last, and what has failed last.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_SERVICE_STATUS_H
#define DAEMON_SUPERVISOR_SERVICE_STATUS_H

struct supervisor;

/* All of it, and what has failed. */
enum { SERVICE_STATUS_BYTES = 400, SERVICE_STATUS_TROUBLE_BYTES = 240 };

struct service_status {
    char said[SERVICE_STATUS_BYTES];
    char trouble[SERVICE_STATUS_TROUBLE_BYTES]; /* since the last time that all was well; "": nothing */
};

/* The server is ready, again or for the first time. */
void service_status_ready(struct supervisor *supervisor);

/* "the last reload failed: WHY" stands behind the rest until a change of settings or program works. */
void service_status_failed(struct supervisor *supervisor, const char *what, const char *why);
void service_status_worked(struct supervisor *supervisor);

/* Once a second: says what has changed. */
void service_status_refresh(struct supervisor *supervisor);

#endif
