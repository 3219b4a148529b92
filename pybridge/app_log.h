/*
 * App log: what the bridge itself has to say in the error log, and exceptions of the application.
 *
 * Lines leave as those of daemon/base/log; so do tracebacks, which other threads' lines do not come between, unless the
 * application has put something else in the place of sys.excepthook: that sees them then.
 *
 * Threads: with the interpreter lock held.
 */
#ifndef PYBRIDGE_APP_LOG_H
#define PYBRIDGE_APP_LOG_H

#include "pybridge/app_process.h"

/* Opens the log: `fd` stays the caller's; level and title from the settings. */
void app_log_init(const struct settings *settings, uint32_t app_index, int fd);

/* One line at level error, or warning. With a request its request line is added. */
void app_log_error(const struct app_process *process, const struct app_request *request, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void app_log_warning(const struct app_process *process, const struct app_request *request, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Takes the current Python error: one line that says `what` and the request line (`request` may be NULL), then the
 * traceback. Never leaves an error set. */
void app_log_exception(const struct app_process *process, const struct app_request *request, const char *what);

/* log(number, text) of the extension module: one record of Python's logging. Its first line is a line like ours, the
 * others, a traceback's, follow as they are. */
PyObject *app_log_python(PyObject *module, PyObject *arguments);

#endif
