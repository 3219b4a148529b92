/*
 * gthread: as many interpreter threads as `threads` says, each a place of its own.
 *
 * The threads are Python's, so that threading.local, names, profilers and debuggers know them. The main thread serves
 * nothing: it hears the supervisor even when every other thread hangs in the application, and it is where handlers
 * of signals run.
 */
#include "daemon/base/owned.h"
#include "pybridge/app_log.h"
#include "pybridge/workers/thread_loop.h"
#include "pybridge/workers/worker_class.h"
#include "pybridge/wsgi/wsgi_adapter.h"

#include <poll.h>
#include <sys/eventfd.h>

struct gthread {
    struct app_process *process;
    int64_t running;
    int ended_fd; /* the last thread to end writes to it */
};

static uint32_t places(const struct settings *settings)
{
    return settings->threads > 1 ? (uint32_t)settings->threads : 1;
}

static PyObject *run_thread(PyObject *capsule, [[maybe_unused]] PyObject *none)
{
    struct gthread *gthread = PyCapsule_GetPointer(capsule, NULL);
    if (thread_loop_run(gthread->process) < 0)
        app_log_exception(gthread->process, NULL, "a thread could not start");
    if (--gthread->running == 0 && eventfd_write(gthread->ended_fd, 1) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef RUN_THREAD = {"serve", run_thread, METH_NOARGS, NULL};

static int start_threads(struct gthread *gthread)
{
    PyObject *capsule = PyCapsule_New(gthread, NULL, NULL);
    PyObject *target = capsule != NULL ? PyCFunction_New(&RUN_THREAD, capsule) : NULL;
    PyObject *module = target != NULL ? PyImport_ImportModule("uroboros.threads") : NULL;
    PyObject *done =
        module != NULL ? PyObject_CallMethod(module, "start", "LO", (long long)gthread->running, target) : NULL;
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(target);
    Py_XDECREF(capsule);
    return done != NULL ? 0 : -1;
}

/* What came on the control socket concerns the thread that sleeps on the doorbell too: it looks at its queues anew. */
static void hear_supervisor(struct app_exchange *exchange)
{
    app_exchange_control(exchange);
    (void)eventfd_write(app_exchange_fd(exchange), 1);
}

/* Until every thread has ended, or none is waited for any more. */
static int watch(struct gthread *gthread)
{
    struct app_exchange *exchange = gthread->process->exchange;
    struct pollfd ends[2] = {{.fd = gthread->ended_fd, .events = POLLIN},
                             {.fd = app_exchange_control_fd(exchange), .events = POLLIN}};
    while (gthread->running > 0 && !app_exchange_stopping(exchange)) {
        PyThreadState *thread = PyEval_SaveThread();
        poll(ends, 2, -1);
        PyEval_RestoreThread(thread);
        hear_supervisor(exchange);
        /* A handler of the application may raise: it has no caller here. */
        if (PyErr_CheckSignals() < 0)
            app_log_exception(gthread->process, NULL, "a signal handler of the application failed");
    }
    return APP_EXIT_CLEAN;
}

static int serve(struct gthread *gthread)
{
    struct app_process *process = gthread->process;
    process->wsgi = wsgi_adapter_create(process, true);
    if (process->wsgi == NULL || app_process_ready(process) < 0 || start_threads(gthread) < 0)
        return -1;
    int status = watch(gthread);
    /* After STOP a thread may still be in the application: what it uses stays until the process is gone. */
    if (gthread->running == 0) {
        wsgi_adapter_destroy(process->wsgi);
        process->wsgi = NULL;
    }
    return status;
}

static int run(struct app_process *process)
{
    OWNED_FD ended_fd = eventfd(0, EFD_CLOEXEC);
    if (ended_fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    /* Not on the stack: after STOP threads outlive this call. */
    struct gthread *gthread = PyMem_RawCalloc(1, sizeof *gthread);
    if (gthread == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *gthread = (struct gthread){process, places(&process->settings), fd_take(&ended_fd)};
    process->worker_data = gthread;
    return serve(gthread);
}

const struct worker_driver worker_gthread = {
    .name = "gthread",
    .ready_flags = CONTROL_APP_WSGI,
    .places = places,
    .run = run,
};
