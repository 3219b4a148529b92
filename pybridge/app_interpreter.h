/*
 * App interpreter: what the processes of this room do with their interpreter before any Python of the application runs
 * in it, and after it has run.
 *
 * Owns:    nothing.
 * Threads: the main thread, with the interpreter lock.
 */
#ifndef PYBRIDGE_APP_INTERPRETER_H
#define PYBRIDGE_APP_INTERPRETER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "config/schema.h"

/* Standard streams, environment, directories. -1 with a Python error. */
[[nodiscard]] int app_interpreter_prepare(const struct settings *settings, int log_fd);

/* What an interpreter does at its end, short of taking itself apart. Errors go to the log. */
void app_interpreter_finish(bool waits_for_threads);

/* Takes `arguments`, a tuple, or NULL with a Python error. The answer of MODULE.FUNCTION(*arguments), or NULL. */
PyObject *app_interpreter_call(const char *module_name, const char *function, PyObject *arguments);

/* New references, NULL with a Python error. */
PyObject *app_interpreter_text(const char *text_or_null);
PyObject *app_interpreter_list(const struct string_list *strings);

/* What hooks see of the settings, by name. */
PyObject *app_interpreter_settings(const struct settings *settings);

#endif
