/*
 * App process: one interpreter that runs the application; the one mutable thing of its kind in the process.
 *
 * Owns:    the exchange, the settings, the application object, what the worker and its adapter hang on it.
 * Threads: everything here is called with the interpreter lock held.
 * Life:    that of app_main(), which passes it down to the worker.
 *
 * No type and no string lives in the module: an adapter makes its heap types with PyType_FromModuleAndSpec(module, ...)
 * when it is created, keeps them in a struct of its own with the strings it interned, and its objects point to that.
 *
 *   BOOTING --> SERVING --> LEAVING        LEAVING: DRAIN or STOP came; app_exchange_draining(), _stopping() say which
 */
#ifndef PYBRIDGE_APP_PROCESS_H
#define PYBRIDGE_APP_PROCESS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "config/schema.h"
#include "pybridge/app_exchange.h"

struct worker_driver;
struct wsgi_adapter;

enum app_exit_status {
    APP_EXIT_CLEAN = 0,
    APP_EXIT_BOOT_FAILED = 3, /* Gunicorn's: the worker could not boot; a failed lifespan start too */
    APP_EXIT_LOAD_FAILED = 4, /* Gunicorn's: the application could not be loaded */
};

struct app_process {
    struct app_exchange *exchange;
    struct settings settings;
    PyObject *module;      /* _uroboros; for PyType_FromModuleAndSpec() */
    PyObject *application; /* what requests are given to */
    PyObject *hooks;       /* uroboros.hooks.Hooks, or NULL when the settings file has none */
    bool is_asgi;
    const struct worker_driver *worker_class;
    struct wsgi_adapter *wsgi; /* the WSGI workers' */
    void *worker_data;         /* the running worker's own */
    uint64_t requests_ended;
    uint64_t requests_max; /* 0: the process is never recycled */
};

/* The worker calls it once, when it can serve: from now on requests come. -1 with a Python error. */
[[nodiscard]] int app_process_ready(struct app_process *process);

/* The worker calls it after each app_request_done(): at max_requests the supervisor is asked, once, for a successor.
 * Requests keep coming, and are served, until DRAIN comes. */
void app_process_request_ended(struct app_process *process);

/* No new request is to be begun, or the process is to go at once. */
static inline bool app_process_leaving(const struct app_process *process)
{
    return app_exchange_draining(process->exchange) || app_exchange_stopping(process->exchange);
}

#endif
