/*
 * Access log: lines gathered into batches, which somebody else writes.
 *
 * Owns:    the compiled format and ACCESS_LOG_BUFFERS buffers of ACCESS_LOG_BUFFER_BYTES; never a descriptor.
 * Threads: one.
 * Life:    create to destroy; what access_log_take() handed out must have come back through access_log_written()
 *          before destroy.
 *
 *      append -> the filling buffer -> full buffers, oldest first -> take -> the ring writes -> written
 *
 * Nothing here waits: when every buffer is full the line is dropped and counted.
 */
#ifndef DAEMON_IO_ACCESS_LOG_H
#define DAEMON_IO_ACCESS_LOG_H

#include "daemon/io/access_format.h"

enum {
    ACCESS_LOG_BUFFER_BYTES = 64 * 1024,
    ACCESS_LOG_BUFFERS = 16, /* 1 MiB in all; the second and later ones are touched only when the writer lags */
};

struct access_log;

/* The results are those of access_format_create(). */
[[nodiscard]] int access_log_create(const char *format, struct access_log **ret_log, const char **ret_problem);
void access_log_destroy(struct access_log *log);

/* For the lines to come; those that wait stay as they are. The results are those of access_format_create(), and on
 * failure the format stays. */
[[nodiscard]] int access_log_set_format(struct access_log *log, const char *format, const char **ret_problem);

void access_log_append(struct access_log *log, const struct access_entry *entry);

/* The octets to write next; false when there are none or the last taken ones are not written yet. They stay put
 * until access_log_written(). */
[[nodiscard]] bool access_log_take(struct access_log *log, struct bytes *ret_bytes);

/* The outcome of writing what was taken: octets written, or a negative errno. The rest of a partial write is given
 * by the next take, and so is everything after -EAGAIN or -EINTR. Any other error drops and counts what was taken. */
void access_log_written(struct access_log *log, int64_t result);

/* Octets that wait to be taken; the caller may let a few lines gather before it writes. */
size_t access_log_waiting(const struct access_log *log);

/* Whether the format asks for response fields; if not, entries may leave them out. */
bool access_log_wants_response_fields(const struct access_log *log);

/* Lines lost, over the life of the log. */
uint64_t access_log_drops(const struct access_log *log);

#endif
