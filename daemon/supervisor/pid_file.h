/*
 * Pid file: one line with the supervisor's process id, for scripts.
 *
 * Owns:    the file, from pid_file_create() to pid_file_remove().
 */
#ifndef DAEMON_SUPERVISOR_PID_FILE_H
#define DAEMON_SUPERVISOR_PID_FILE_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

/* -EEXIST with the id in *ret_other when the file names a process that runs; a leftover is replaced. */
[[nodiscard]] int pid_file_create(const char *path, pid_t *ret_other);

/* "" for NULL, and where the directory cannot be told. */
void pid_file_absolute(const char *path, char absolute[PATH_MAX]);

/* Only while it still names this process. */
void pid_file_remove(const char *path);

#endif
