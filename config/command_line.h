/*
 * Command line: arguments become assignments, by the flags of the table alone.
 *
 * Owns:    nothing; everything made lives in the arena.
 * Threads: any.
 * Grammar: `-w 2`, `-w2`, `--workers 2`, `--workers=2`; a dash and an underscore are the same inside a long name; every
 *          setting answers to --NAME beside Gunicorn's flags, and a bool to --no-NAME; `--` ends the options. A word
 *          that is no option is the application.
 */
#ifndef CONFIG_COMMAND_LINE_H
#define CONFIG_COMMAND_LINE_H

#include "config/assignment.h"

/* What is asked for instead of a server. */
enum command_line_request {
    COMMAND_LINE_SERVE,
    COMMAND_LINE_HELP,
    COMMAND_LINE_VERSION,
    COMMAND_LINE_DEFAULT_CONFIG,
    COMMAND_LINE_REFERENCE,
    COMMAND_LINE_MANUAL_OPTIONS,
    COMMAND_LINE_MANUAL_SETTINGS
};

struct command_line {
    struct assignment_list assignments;
    enum command_line_request request;
};

/* `source` names the place in complaints. -ENOMEM; or -EINVAL with `message`. */
[[nodiscard]] int command_line_parse(const struct string_list *arguments, const char *source,
                                     struct settings_arena *arena, struct command_line *ret_command_line,
                                     char message[SETTINGS_MESSAGE_BYTES]);

/* Cuts a string as a shell would, without expansions. -ENOMEM; or -EINVAL: a quote is not closed. */
[[nodiscard]] int command_line_split(const char *text, struct settings_arena *arena, struct string_list *ret_arguments);

#endif
