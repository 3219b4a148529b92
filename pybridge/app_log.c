#include "pybridge/app_log.h"

#include "daemon/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* Lines as they are, without their line ends. */
static void write_raw(const char *line, const char *end)
{
    for (;;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        log_raw(line, (size_t)((newline != NULL ? newline : end) - line));
        if (newline == NULL || newline + 1 == end)
            return;
        line = newline + 1;
    }
}

/* Octets; NULL where the application shows exceptions in its own way, or this one cannot be told. */
static PyObject *traceback_text(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *stdio = PyImport_ImportModule("uroboros.stdio");
    PyObject *text = NULL;
    if (stdio != NULL)
        text =
            PyObject_CallMethod(stdio, "traceback_text", "OOO", type, value, traceback != NULL ? traceback : Py_None);
    PyErr_Clear();
    Py_XDECREF(stdio);
    if (text != NULL && PyBytes_Check(text))
        return text;
    Py_XDECREF(text);
    return NULL;
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
    PyObject *text = traceback_text(type, value, traceback);
    write_line(LOG_LEVEL_ERROR, process, request, what);
    if (text != NULL) /* no Python runs in between, so no other thread does */
        write_raw(PyBytes_AS_STRING(text), PyBytes_AS_STRING(text) + PyBytes_GET_SIZE(text));
    else
        show(type, value, traceback);
    Py_XDECREF(text);
    Py_DECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    PyErr_Clear();
}

/* The numbers of Python's logging: 10 is debug, 50 critical. */
static enum log_level level_of(int number)
{
    int tens = number / 10 - 1;
    return (enum log_level)(tens < LOG_LEVEL_DEBUG      ? LOG_LEVEL_DEBUG
                            : tens > LOG_LEVEL_CRITICAL ? LOG_LEVEL_CRITICAL
                                                        : tens);
}

PyObject *app_log_python(PyObject *module, PyObject *arguments)
{
    (void)module;
    int number;
    PyObject *text;
    if (!PyArg_ParseTuple(arguments, "iU:log", &number, &text))
        return NULL;
    enum log_level level = level_of(number);
    if (!log_enabled(level))
        Py_RETURN_NONE;
    PyObject *octets = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (octets == NULL)
        return NULL;
    const char *line = PyBytes_AS_STRING(octets), *end = line + PyBytes_GET_SIZE(octets);
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    log_write(level, "%.*s", (int)((newline != NULL ? newline : end) - line), line);
    if (newline != NULL && newline + 1 < end)
        write_raw(newline + 1, end);
    Py_DECREF(octets);
    Py_RETURN_NONE;
}
