/*
 * Settings reader: at a reload the settings are read again by a process of their own. A settings file may be a program
 * that takes its time; meanwhile the supervisor buries children, hears signals and answers its watchdog.
 *
 * The process is a copy of the supervisor that has let go of everything else. It says what is wrong, or what will
 * change, in the log by itself, and hands the settings over as a sealed memory file (config/settings_transfer.h).
 *
 * Owns:    the process, its group (the interpreter that reads the file is in it), and the socket to it.
 * Threads: the supervisor's only one.
 * Life:    a zeroed one is idle -> settings_reader_start() -> the watch `answer` fires -> settings_reader_take().
 */
#ifndef DAEMON_SUPERVISOR_SETTINGS_READER_H
#define DAEMON_SUPERVISOR_SETTINGS_READER_H

#include "config/schema.h"
#include "daemon/supervisor/event_loop.h"

#include <sys/types.h>

struct settings_reader {
    pid_t pid; /* 0: idle */
    struct event_watch answer;
};

struct settings_reader_request {
    int argc;
    char **argv;
    const struct settings *current;
    int log_fd;
};

/* The owner has set the handler of `answer`. */
[[nodiscard]] int settings_reader_start(struct settings_reader *reader, struct event_loop *loop,
                                        const struct settings_reader_request *request);

/* The answer is there. Takes it and ends the process: 0, and the settings with the descriptor they came by; -EINVAL:
 * they are not good, which has been logged; -ECHILD: the process ended early; or another errno. */
[[nodiscard]] int settings_reader_take(struct settings_reader *reader, struct event_loop *loop,
                                       struct settings *ret_settings, int *ret_fd);

/* The answer is not wanted any more. Idle already: nothing. */
void settings_reader_stop(struct settings_reader *reader, struct event_loop *loop);

static inline bool settings_reader_is_busy(const struct settings_reader *reader)
{
    return reader->pid != 0;
}

#endif
