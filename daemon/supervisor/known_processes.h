/*
 * Known processes: which process ids are of the server, so that all others among our children can be buried.
 *
 * What applications left behind becomes ours where we are a subreaper, or the first process of a container.
 *
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_KNOWN_PROCESSES_H
#define DAEMON_SUPERVISOR_KNOWN_PROCESSES_H

#include <stdbool.h>
#include <sys/types.h>

struct supervisor;

/* Whether it has a place already: an application or I/O process, a reader, a checker, a predecessor, one for hooks. */
bool known_processes_include(const struct supervisor *supervisor, pid_t pid);

/* Once a second: those that have ended and that nobody waits for. */
void known_processes_bury_others(const struct supervisor *supervisor);

#endif
