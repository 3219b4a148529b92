/*
 * Settings loader: defaults, file, environment and command line become one checked `struct settings`.
 *
 * Owns:    what it puts into the outcome; the caller ends both objects with their deinit.
 * Threads: the supervisor only, before it has threads. Starts one short-lived child when there is a file to read.
 * Order:   defaults < file < GUNICORN_CMD_ARGS < UROBOROS_* < command line. PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS
 *          and SENDFILE replace defaults, as they do in Gunicorn.
 */
#ifndef CONFIG_SETTINGS_LOADER_H
#define CONFIG_SETTINGS_LOADER_H

#include "config/schema.h"

enum settings_verdict {
    SETTINGS_RUN,     /* the settings are complete; start (or, with check_config, check) */
    SETTINGS_PRINTED, /* --help, --version, --print-config: all is on stdout, exit 0 */
    SETTINGS_FAILED   /* `message` says what, where and what is allowed; exit 2 */
};

enum { SETTINGS_MESSAGE_BYTES = 1024 };

struct settings_outcome {
    char message[SETTINGS_MESSAGE_BYTES]; /* SETTINGS_FAILED: one line, begins with "uroboros: " */
    struct string_list warnings;          /* one line each, without the program's name; log them once at start */
    struct string_list needs_restart;     /* reload: names of changed settings that keep their old value */
    struct string_list changed;           /* reload: names of changed settings that apply */
    struct settings_arena *arena;
};

/* Untouched *ret_settings unless the answer is SETTINGS_RUN. *ret_outcome is always to be ended with its deinit. */
[[nodiscard]] enum settings_verdict settings_load(int argc, char **argv, struct settings *ret_settings,
                                                  struct settings_outcome *ret_outcome);

/*
 * Reads the same sources again, for SIGHUP. The process may have gone to `chdir` meanwhile: `current->config` and
 * `current->chdir` are absolute. Settings that need a restart keep the value of `current`.
 */
[[nodiscard]] enum settings_verdict settings_reload(int argc, char **argv, const struct settings *current,
                                                    struct settings *ret_settings,
                                                    struct settings_outcome *ret_outcome);

void settings_outcome_deinit(struct settings_outcome *outcome);

#endif
