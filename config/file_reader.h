/*
 * File reader: a settings file, read by a short-lived Python process under a time limit, as assignments.
 *
 * Owns:    the child and its pipe, both gone when the call returns; what is made lives in the arena.
 * Threads: the supervisor before it has any; SIGCHLD must not be ignored meanwhile.
 * Why a child: TOML needs a parser that others keep right (tomllib), and a Gunicorn file is a Python program, which may
 *          hang, print or crash. Nothing of that may happen in the supervisor.
 */
#ifndef CONFIG_FILE_READER_H
#define CONFIG_FILE_READER_H

#include "config/assignment.h"

enum settings_file_kind {
    SETTINGS_FILE_TOML,
    SETTINGS_FILE_PYTHON, /* a path */
    SETTINGS_FILE_MODULE  /* a module to import */
};

struct settings_file {
    enum settings_file_kind kind;
    const char *name;      /* absolute path, or name of the module */
    const char *shown;     /* what complaints call it */
    const char *directory; /* absolute; where the child runs, first on its sys.path */
    const char *interpreter;
    int timeout_ms;
};

enum { FILE_READER_BYTES_MAX = 1024 * 1024 };

/*
 * `environ_changes` receives what a Python file did to os.environ, NAME=VALUE or the NAME of a variable it deleted.
 * -ENOMEM; or -EINVAL with `message`.
 */
[[nodiscard]] int file_reader_read(const struct settings_file *file, struct settings_arena *arena,
                                   struct assignment_list *ret_list, struct string_list *environ_changes,
                                   struct string_list *warnings, char message[SETTINGS_MESSAGE_BYTES]);

#endif
