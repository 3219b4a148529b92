#include "pybridge/app_copy.h"

#include "daemon/base/log.h"
#include "pybridge/app_interpreter.h"
#include "pybridge/app_log.h"

#include <unistd.h>

static PyObject *on_fork(PyObject *capsule, [[maybe_unused]] PyObject *none)
{
    const struct app_process *process = PyCapsule_GetPointer(capsule, NULL);
    app_exchange_let_go(process->exchange);
    Py_RETURN_NONE;
}

static PyMethodDef ON_FORK = {"uroboros_on_fork", on_fork, METH_NOARGS, NULL};

int app_copy_watch(struct app_process *process)
{
    PyObject *capsule = PyCapsule_New(process, NULL, NULL);
    PyObject *function = capsule != NULL ? PyCFunction_New(&ON_FORK, capsule) : NULL;
    PyObject *done =
        function != NULL ? app_interpreter_call("uroboros.boot", "watch_forks", Py_BuildValue("(O)", function)) : NULL;
    Py_XDECREF(done);
    Py_XDECREF(function);
    Py_XDECREF(capsule);
    return done != NULL ? 0 : -1;
}

/* Takes the Python error, a SystemExit. */
static int status_of_exit(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *status = app_interpreter_call("uroboros.boot", "status_of_exit", Py_BuildValue("(O)", value));
    long number = status != NULL ? PyLong_AsLong(status) : 1;
    PyErr_Clear();
    return (int)(number & 0xff);
}

void app_copy_end(const struct app_process *process)
{
    int status = 0;
    if (!app_exchange_is_let_go(process->exchange))
        return;
    if (PyErr_Occurred() == NULL) {
        log_warning("a process that the application has forked returned from it, it ends");
    } else if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        status = status_of_exit();
    } else {
        app_log_exception(process, NULL, "a process that the application has forked failed");
        status = 1;
    }
    app_interpreter_finish(true);
    _exit(status);
}
