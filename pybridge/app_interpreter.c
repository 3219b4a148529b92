#include "pybridge/app_interpreter.h"

#include "pybridge/app_log.h"

PyObject *app_interpreter_call(const char *module_name, const char *function, PyObject *arguments)
{
    if (arguments == NULL)
        return NULL;
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *callable = module != NULL ? PyObject_GetAttrString(module, function) : NULL;
    PyObject *answer = callable != NULL ? PyObject_Call(callable, arguments, NULL) : NULL;
    Py_XDECREF(callable);
    Py_XDECREF(module);
    Py_DECREF(arguments);
    return answer;
}

PyObject *app_interpreter_text(const char *text)
{
    return text != NULL ? PyUnicode_DecodeFSDefault(text) : Py_NewRef(Py_None);
}

PyObject *app_interpreter_list(const struct string_list *strings)
{
    PyObject *list = PyList_New((Py_ssize_t)strings->count);
    for (size_t i = 0; list != NULL && i < strings->count; i++) {
        PyObject *item = PyUnicode_DecodeFSDefault(strings->items[i]);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyObject *app_interpreter_settings(const struct settings *settings)
{
    return Py_BuildValue(
        "{sLsLsLsdsdsLsOsNsNsNsN}", "workers", (long long)settings->workers, "threads", (long long)settings->threads,
        "worker_connections", (long long)settings->worker_connections, "timeout", (double)settings->timeout_ms / 1000,
        "graceful_timeout", (double)settings->graceful_timeout_ms / 1000, "max_requests",
        (long long)settings->max_requests, "preload_app", settings->preload_app ? Py_True : Py_False, "chdir",
        app_interpreter_text(settings->chdir), "pidfile", app_interpreter_text(settings->pidfile), "proc_name",
        app_interpreter_text(settings->proc_name), "bind", app_interpreter_list(&settings->bind));
}

int app_interpreter_prepare(const struct settings *settings, int log_fd)
{
    PyObject *log = settings->capture_output ? Py_NewRef(Py_None) : PyLong_FromLong(log_fd);
    PyObject *done = app_interpreter_call(
        "uroboros.boot", "prepare",
        Py_BuildValue("(NNNNNNN)", log, app_interpreter_text(settings->wsgi_app), app_interpreter_text(settings->chdir),
                      app_interpreter_text(settings->venv), app_interpreter_list(&settings->pythonpath),
                      app_interpreter_list(&settings->file_environ), app_interpreter_list(&settings->raw_env)));
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* Standard error has to be flushed whatever went wrong before. */
void app_interpreter_finish(bool waits_for_threads)
{
    PyObject *done =
        app_interpreter_call("uroboros.boot", "finish", Py_BuildValue("(O)", waits_for_threads ? Py_True : Py_False));
    if (done == NULL)
        app_log_exception(NULL, NULL, "the end of the interpreter failed");
    Py_XDECREF(done);
}
