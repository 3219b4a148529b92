/*
 * Reload: reads the settings again and exchanges the application processes, without a request lost.
 *
 * The new ones are started beside the old ones, one first, then the rest. Only when all are ready they serve and the
 * old ones drain. If one fails, all new ones go and nothing has changed.
 *
 * Owns:    the process that reads the settings, and the fresh ones in struct supervisor, until they are the settings.
 * Threads: the supervisor's only one, which waits for nothing here: while the settings are read it goes on serving.
 */
#ifndef DAEMON_SUPERVISOR_RELOAD_H
#define DAEMON_SUPERVISOR_RELOAD_H

struct supervisor;

/* A reload under way is given up for the new one. Bad settings are reported, and change nothing. */
void reload_begin(struct supervisor *supervisor);

/* Settings that are being read are not wanted any more: the server stops, or reads them again. */
void reload_stop_reading(struct supervisor *supervisor);

/* All new application processes are ready. */
void reload_commit(struct supervisor *supervisor);

/* The new application processes are given up, the old ones go on. `why` for the log. */
void reload_fail(struct supervisor *supervisor, const char *why);

/* Lets the fresh settings go, when the server stops before they were used. */
void reload_forget(struct supervisor *supervisor);

/* Opens the log files again, and hands them to everybody. */
void reload_logs(struct supervisor *supervisor);

#endif
