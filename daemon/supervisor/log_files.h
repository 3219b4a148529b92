/*
 * Log files: the error log and the access log, opened here for all processes, and opened again on request.
 *
 * Owns:    both descriptors. Every process has its own copy; a reopen is followed by a LOG message to each.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_LOG_FILES_H
#define DAEMON_SUPERVISOR_LOG_FILES_H

#include "config/schema.h"

#include <stdbool.h>
#include <stddef.h>

struct log_files {
    int error;
    int access; /* -1: no access log */
};

enum { LOG_FILES_WHY_BYTES = 512 };

/* Both, or neither and a sentence in `why`. */
[[nodiscard]] int log_files_open(struct log_files *ret_files, const struct settings *settings,
                                 char why[LOG_FILES_WHY_BYTES]);
void log_files_deinit(struct log_files *files);

/* Opens both anew; on failure the old ones stay. The supervisor's own log goes to the new file. */
[[nodiscard]] int log_files_reopen(struct log_files *files, const struct settings *settings,
                                   char why[LOG_FILES_WHY_BYTES]);

#endif
