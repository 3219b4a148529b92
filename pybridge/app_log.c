#include "pybridge/app_log.h"

#include "daemon/base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { TEXT_BYTES_MAX = 1024, REQUEST_LINE_BYTES_MAX = 512 };

void app_log_init(const struct settings *settings, uint32_t app_index, int fd)
{
    char title[32];
    snprintf(title, sizeof title, "app %u", app_index);
    log_init(title, settings->loglevel, fd);
}

static int clipped(struct bytes octets)
{
    return octets.length < REQUEST_LINE_BYTES_MAX ? (int)octets.length : REQUEST_LINE_BYTES_MAX;
}

/* log_write() escapes what a client could have put into it. */
static void write_line(enum log_level level, const struct app_process *process, const struct app_request *request,
                       const char *text)
{
    if (request == NULL) {
        log_write(level, "%s", text);
        return;
    }
    const struct slot_record *record = request->record;
    struct bytes method = app_request_span(process->exchange, request, record->method.offset, record->method.length);
    struct bytes target = app_request_span(process->exchange, request, record->target.offset, record->target.length);
    log_write(level, "%s: %.*s %.*s", text, clipped(method), (const char *)method.data, clipped(target),
              (const char *)target.data);
}

void app_log_error(const struct app_process *process, const struct app_request *request, const char *format, ...)
{
    char text[TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(LOG_LEVEL_ERROR, process, request, text);
}

void app_log_warning(const struct app_process *process, const struct app_request *request, const char *format, ...)
{
    char text[TEXT_BYTES_MAX];
    va_list arguments;
    if (!log_enabled(LOG_LEVEL_WARNING))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(LOG_LEVEL_WARNING, process, request, text);
}

/* sys.excepthook may be the application's, and may fail; the interpreter's own cannot. */
static void show(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *hook = PySys_GetObject("excepthook");
    PyObject *shown = NULL;
    if (hook != NULL) {
        Py_INCREF(hook);
        shown = PyObject_CallFunctionObjArgs(hook, type, value, traceback != NULL ? traceback : Py_None, NULL);
        Py_DECREF(hook);
    }
    if (shown == NULL) {
        PyErr_Clear();
        PyErr_Display(type, value, traceback);
    }
    Py_XDECREF(shown);
}

void app_log_exception(const struct app_process *process, const struct app_request *request, const char *what)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    write_line(LOG_LEVEL_ERROR, process, request, what);
    show(type, value, traceback);
    Py_DECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    PyErr_Clear();
}
