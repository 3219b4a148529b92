#include "pybridge/workers/worker_class.h"

#include "pybridge/workers/thread_loop.h"
#include "pybridge/wsgi/wsgi_adapter.h"

static uint32_t one_place([[maybe_unused]] const struct settings *settings)
{
    return 1;
}

static int run_sync(struct app_process *process)
{
    process->wsgi = wsgi_adapter_create(process, false);
    if (process->wsgi == NULL || app_process_ready(process) < 0 || thread_loop_run(process) < 0)
        return -1;
    wsgi_adapter_destroy(process->wsgi);
    process->wsgi = NULL;
    return APP_EXIT_CLEAN;
}

/* One request at a time, on the main thread: what signal.signal() and the like in an application count on. */
const struct worker_driver worker_sync = {
    .name = "sync",
    .ready_flags = CONTROL_APP_WSGI | CONTROL_APP_SYNC,
    .places = one_place,
    .run = run_sync,
};

static const struct worker_driver *for_wsgi(const struct settings *settings)
{
    /* As Gunicorn does: more than one thread makes a sync worker a gthread one. */
    if (settings->worker_class == WORKER_CLASS_SYNC && settings->threads <= 1)
        return &worker_sync;
    return &worker_gthread;
}

const struct worker_driver *worker_class_choose(const struct settings *settings, bool is_asgi)
{
    switch (settings->worker_class) {
    case WORKER_CLASS_AUTO:
        return is_asgi ? &worker_event_loop : for_wsgi(settings);
    case WORKER_CLASS_ASGI:
        /* A decorator can hide that an application is asynchronous; whoever says asgi knows. */
        return &worker_event_loop;
    case WORKER_CLASS_SYNC:
    case WORKER_CLASS_GTHREAD:
        if (!is_asgi)
            return for_wsgi(settings);
        PyErr_SetString(PyExc_ValueError, "this is an ASGI application: worker_class sync and gthread serve WSGI; "
                                          "leave worker_class out, or set it to asgi");
        return NULL;
    default:
        PyErr_SetString(PyExc_ValueError, "this worker_class is not built yet");
        return NULL;
    }
}
