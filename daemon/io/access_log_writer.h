/*
 * Access log writer: takes the lines of the access log to its file, by the ring, one batch at a time.
 *
 * Owns:    the descriptor and the access log, core->access_log. Not open: there is no access log.
 * Threads: the loop.
 * Life:    open, turn after turn, finish; the ring is gone before deinit.
 */
#ifndef DAEMON_IO_ACCESS_LOG_WRITER_H
#define DAEMON_IO_ACCESS_LOG_WRITER_H

#include "daemon/base/log.h"
#include "daemon/io/ring.h"

struct io_core;

struct access_log_writer {
    struct io_core *core;
    int fd; /* -1: not open */
    bool writing;
    uint64_t drops_said;
    struct log_limit limit;
};

void access_log_writer_init(struct access_log_writer *writer, struct io_core *core);
void access_log_writer_deinit(struct access_log_writer *writer);

/* Takes `fd`, in the place of the one it has: a write that is under way keeps the old file, the next one finds the new.
 * A negative errno: there is no access log; said in the log. */
[[nodiscard]] int access_log_writer_open(struct access_log_writer *writer, int fd);

/* For the lines to come. A wrong format is said in the log, and the old one stays. */
void access_log_writer_set_format(struct access_log_writer *writer, const char *format);

/* Once each turn. */
void access_log_writer_turn(struct access_log_writer *writer);
void access_log_writer_on_written(struct access_log_writer *writer, const struct ring_event *event);

/* Before the process ends: what is still in memory, as far as the file takes it at once. */
void access_log_writer_finish(struct access_log_writer *writer);

#endif
