/*
 * Log: the operator's log, one line for each thing worth an operator's attention, and the lines of applications.
 *
 * Owns:    how a line looks and where it goes. The descriptor is borrowed: whoever opened it closes it, after
 *          log_set_fd() has named another.
 * Threads: every function but log_init() may be called from any thread. There is no lock and no buffer, so a child
 *          is never born with a held lock or half a line; the process id is asked for each line.
 * Life:    from log_init(); before it lines go to standard error at level info. One state per process, because a
 *          failure deep in a helper must not need a pointer to be reported.
 *
 * A line is one write(2) of at most LOG_LINE_BYTES_MAX bytes. A reader that does not read costs lines, never time:
 * what a pipe, terminal or socket does not take at once is dropped and counted, and the count is said when there is
 * room again. Processes ignore SIGPIPE. Control bytes are escaped, so nothing that a client sent can forge a line.
 */
#ifndef DAEMON_BASE_LOG_H
#define DAEMON_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_CRITICAL };

enum { LOG_LINE_BYTES_MAX = 4096 };

/* `process_title` (copied, "io 1") is shown where the format has a place for it, which is the journal. */
void log_init(const char *process_title, enum log_level level, int fd);

void log_set_level(enum log_level level);

/* Names another descriptor, after a reopen. Whoever still writes to the old one on another thread finishes there:
 * put the new one in its place with dup3() where threads write. */
void log_set_fd(int fd);

bool log_enabled(enum log_level level);

/* "<2>" where `fd` is the journal's own stream, else "": for words from before there is a log. */
const char *log_journal_prefix(enum log_level level, int fd);

/* Lines lost for want of room, over the life of the process. */
uint64_t log_drops(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The level is looked at first, so that the arguments of a silent line are never computed. */
#define LOG_AT(level, ...) (log_enabled(level) ? log_write(level, __VA_ARGS__) : (void)0)

#define log_debug(...)    LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)     LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...)  LOG_AT(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)    LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_critical(...) LOG_AT(LOG_LEVEL_CRITICAL, __VA_ARGS__)

/* One line of an application, without its line end: no time, no level, control bytes but the tab escaped.
 * At most LOG_LINES_BYTES_MAX bytes are looked at. */
void log_raw(const void *line, size_t length);

/* At most one line per interval for a thing that may happen a million times. A zeroed limit is ready; one thread. */
struct log_limit {
    uint64_t next_ms;
    uint64_t suppressed;
};

/* Whether to log now; if so, *ret_suppressed says how many were not logged since the last one. */
[[nodiscard]] bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t interval_ms,
                                  uint64_t *ret_suppressed);

/*
 * Line assembly for the pipe that is an application's stdout or stderr. Pure: the caller reads the pipe. A line
 * longer than LOG_LINES_BYTES_MAX is split; CR LF counts as a line end. A zeroed object is ready.
 */
enum { LOG_LINES_BYTES_MAX = 8192 };

struct log_lines {
    size_t used;
    char pending[LOG_LINES_BYTES_MAX];
};

/* `line` has no line end and lives for the call; log_lines_to_log() is the usual receiver. */
typedef void log_lines_receiver(void *context, const char *line, size_t length);

void log_lines_feed(struct log_lines *lines, const void *data, size_t length, log_lines_receiver *receiver,
                    void *context);

/* At the end of the stream: a last line without a line end is a line too. */
void log_lines_finish(struct log_lines *lines, log_lines_receiver *receiver, void *context);

/* A receiver that passes lines to log_raw(). */
void log_lines_to_log(void *context, const char *line, size_t length);

#endif
