#include "pybridge/workers/worker_event_loop.h"

#include "pybridge/app_copy.h"
#include "pybridge/app_log.h"
#include "pybridge/asgi/asgi_lifespan.h"
#include "pybridge/asgi/asgi_runner.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TURN_REQUESTS_MAX = 64, TURN_NS_MAX = 200'000, STOP_SECONDS = 1 };

static const char CAPSULE_NAME[] = "uroboros.event_loop_worker";

enum loop_callback { CALLBACK_DOORBELL, CALLBACK_CONTROL, CALLBACK_TURN, CALLBACK_TICK, CALLBACK_COUNT };

enum worker_phase { WORKER_STARTING, WORKER_SERVING, WORKER_WINDING_UP };

struct event_loop_worker {
    struct app_process *process;
    struct app_exchange *exchange;
    struct asgi_core core;
    struct asgi_adapter adapter;
    struct asgi_pool pool;
    struct asgi_lifespan_run *lifespan;
    PyObject *callbacks[CALLBACK_COUNT]; /* callables that hold this worker in a capsule */
    uint32_t places;
    uint32_t requests_left; /* that the present turn may begin */
    uint64_t turn_ends_ns;
    enum worker_phase phase;
    bool in_turn;
    bool turn_is_due;  /* call_soon() knows already */
    bool is_exhausted; /* this turn gave up before the queue did */
    bool lacks_places; /* requests may wait for a place */
    bool stop_is_limited;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000'000'000U + (uint64_t)now.tv_nsec;
}

/* Calls a method of the loop and forgets the result. `format` is of Py_BuildValue. -1 with a Python error. */
static int call_loop(const struct event_loop_worker *worker, const char *method, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *values = Py_VaBuildValue(format, arguments);
    va_end(arguments);
    PyObject *callable = values == NULL ? NULL : PyObject_GetAttrString(worker->core.loop, method);
    PyObject *result = callable == NULL ? NULL : PyObject_CallObject(callable, values);
    Py_XDECREF(values);
    Py_XDECREF(callable);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- turns ------------------------------------------------------------------------------------------------------ */

static void stop_loop(const struct event_loop_worker *worker)
{
    if (call_loop(worker, "stop", "()") < 0)
        asgi_core_report(&worker->core, "the event loop could not be stopped");
}

/* A stop waits for nobody: the loop is stopped again a moment later, wherever it is then. */
static void limit_stop(struct event_loop_worker *worker)
{
    if (!app_exchange_stopping(worker->exchange) || worker->stop_is_limited)
        return;
    worker->stop_is_limited = true;
    PyObject *stop = PyObject_GetAttrString(worker->core.loop, "stop");
    if (stop == NULL || call_loop(worker, "call_later", "(iO)", STOP_SECONDS, stop) < 0)
        asgi_core_report(&worker->core, "a timer could not be set");
    Py_XDECREF(stop);
}

static void stop_if_over(struct event_loop_worker *worker)
{
    bool is_over = app_exchange_stopping(worker->exchange) ||
                   (app_exchange_draining(worker->exchange) && app_exchange_open_requests(worker->exchange) == 0);
    if (worker->phase == WORKER_WINDING_UP)
        limit_stop(worker);
    else if (is_over)
        stop_loop(worker);
}

static void schedule_turn(struct event_loop_worker *worker)
{
    if (worker->turn_is_due)
        return;
    worker->turn_is_due = true;
    if (asgi_core_call_soon(&worker->core, worker->callbacks[CALLBACK_TURN], NULL, NULL) < 0)
        asgi_core_report(&worker->core, "the event loop takes no callback");
}

static bool turn_may_go_on(struct event_loop_worker *worker)
{
    worker->is_exhausted = worker->requests_left == 0 || now_ns() >= worker->turn_ends_ns;
    return !worker->is_exhausted;
}

/* For the pool. Only in a turn: elsewhere a Task steps between others of the loop, and takes no more than its own. */
static struct app_request *next_request(void *context)
{
    struct event_loop_worker *worker = context;
    if (!worker->in_turn || app_exchange_stopping(worker->exchange))
        return NULL;
    if (app_exchange_open_requests(worker->exchange) >= worker->places) {
        worker->lacks_places = true;
        return NULL;
    }
    if (!turn_may_go_on(worker))
        return NULL;
    struct app_request *request = app_exchange_next(worker->exchange);
    if (request != NULL)
        worker->requests_left--;
    return request;
}

/* Until nothing is left and every I/O process knows that it has to ring, or the turn has taken long enough. */
static void work(struct event_loop_worker *worker)
{
    do {
        if (!turn_may_go_on(worker))
            break;
        app_exchange_pump(worker->exchange);
        asgi_adapter_settle(&worker->adapter);
        asgi_pool_run(&worker->pool);
        app_exchange_flush(worker->exchange);
    } while (worker->is_exhausted || !app_exchange_arm(worker->exchange));
    if (worker->is_exhausted)
        schedule_turn(worker);
}

static void serve_turn(struct event_loop_worker *worker)
{
    app_exchange_disarm(worker->exchange);
    bool outermost = asgi_core_batch_begin(&worker->core);
    worker->in_turn = true;
    worker->requests_left = TURN_REQUESTS_MAX;
    worker->turn_ends_ns = now_ns() + TURN_NS_MAX;
    work(worker);
    worker->in_turn = false;
    asgi_core_batch_end(&worker->core, outermost);
}

static void turn(struct event_loop_worker *worker)
{
    app_exchange_heartbeat(worker->exchange);
    if (worker->phase == WORKER_SERVING)
        serve_turn(worker);
    stop_if_over(worker);
}

/* For the adapter, after each request. */
static void on_request_closed(void *context)
{
    struct event_loop_worker *worker = context;
    app_process_request_ended(worker->process);
    if (worker->lacks_places) {
        worker->lacks_places = false;
        schedule_turn(worker);
    }
    if (!worker->in_turn)
        stop_if_over(worker);
}

/* ---- hooks of the exchange, inside app_exchange_pump() ---------------------------------------------------------- */

static void on_news(struct app_request *request, void *context)
{
    struct event_loop_worker *worker = context;
    asgi_adapter_note(&worker->adapter, request);
}

static void on_room(void *context)
{
    struct event_loop_worker *worker = context;
    asgi_adapter_note_room(&worker->adapter);
}

static void hook_exchange(struct event_loop_worker *worker)
{
    const struct app_exchange_hooks hooks = {
        .on_body = on_news,
        .on_cancel = on_news,
        .on_room = on_room,
        .context = worker,
    };
    app_exchange_set_hooks(worker->exchange, &hooks);
    worker->adapter.on_gone = asgi_pool_on_gone;
    worker->adapter.on_gone_context = &worker->pool;
    worker->adapter.on_closed = on_request_closed;
    worker->adapter.on_closed_context = worker;
    worker->pool.next = next_request;
    worker->pool.context_of_next = worker;
}

/* ---- callbacks of the loop -------------------------------------------------------------------------------------- */

static struct event_loop_worker *worker_of(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, CAPSULE_NAME);
}

static PyObject *on_doorbell(PyObject *capsule, PyObject *ignored)
{
    (void)ignored;
    struct event_loop_worker *worker = worker_of(capsule);
    uint64_t rings;
    ssize_t r = read(app_exchange_fd(worker->exchange), &rings, sizeof rings);
    (void)r; /* EAGAIN: a turn that came before has read it */
    turn(worker);
    Py_RETURN_NONE;
}

static PyObject *on_control(PyObject *capsule, PyObject *ignored)
{
    (void)ignored;
    struct event_loop_worker *worker = worker_of(capsule);
    app_exchange_control(worker->exchange);
    turn(worker);
    Py_RETURN_NONE;
}

static PyObject *on_turn(PyObject *capsule, PyObject *ignored)
{
    (void)ignored;
    struct event_loop_worker *worker = worker_of(capsule);
    worker->turn_is_due = false;
    turn(worker);
    Py_RETURN_NONE;
}

/* Once a second: proof that the loop turns, for the supervisor's watchdog, and a look at what rang no bell (room in a
 * queue that was full). */
static PyObject *on_tick(PyObject *capsule, PyObject *ignored)
{
    (void)ignored;
    struct event_loop_worker *worker = worker_of(capsule);
    turn(worker);
    if (call_loop(worker, "call_later", "(iO)", 1, worker->callbacks[CALLBACK_TICK]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef CALLBACKS[CALLBACK_COUNT] = {
    [CALLBACK_DOORBELL] = {"uroboros_doorbell", on_doorbell, METH_NOARGS, NULL},
    [CALLBACK_CONTROL] = {"uroboros_control", on_control, METH_NOARGS, NULL},
    [CALLBACK_TURN] = {"uroboros_turn", on_turn, METH_NOARGS, NULL},
    [CALLBACK_TICK] = {"uroboros_tick", on_tick, METH_NOARGS, NULL},
};

static int make_callbacks(struct event_loop_worker *worker)
{
    PyObject *capsule = PyCapsule_New(worker, CAPSULE_NAME, NULL);
    if (capsule == NULL)
        return -1;
    for (int i = 0; i < CALLBACK_COUNT; i++)
        worker->callbacks[i] = PyCFunction_New(&CALLBACKS[i], capsule);
    Py_DECREF(capsule);
    for (int i = 0; i < CALLBACK_COUNT; i++)
        if (worker->callbacks[i] == NULL)
            return -1;
    return 0;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

/* The module whose new_event_loop() makes the loop. */
static PyObject *import_loop(enum asgi_loop wanted)
{
    if (wanted == ASGI_LOOP_ASYNCIO)
        return PyImport_ImportModule("asyncio");
    PyObject *uvloop = PyImport_ImportModule("uvloop");
    if (uvloop != NULL || wanted == ASGI_LOOP_UVLOOP || !PyErr_ExceptionMatches(PyExc_ImportError))
        return uvloop;
    PyErr_Clear();
    return PyImport_ImportModule("asyncio");
}

static int set_event_loop(PyObject *loop)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *result = asyncio == NULL ? NULL : PyObject_CallMethod(asyncio, "set_event_loop", "O", loop);
    Py_XDECREF(asyncio);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *make_loop(const struct settings *settings)
{
    PyObject *module = import_loop(settings->asgi_loop);
    PyObject *loop = module == NULL ? NULL : PyObject_CallMethod(module, "new_event_loop", NULL);
    Py_XDECREF(module);
    if (loop != NULL && set_event_loop(loop) < 0)
        Py_CLEAR(loop);
    return loop;
}

static int prepare(struct event_loop_worker *worker)
{
    PyObject *loop = make_loop(&worker->process->settings);
    if (loop == NULL)
        return -1;
    int r = asgi_core_init(&worker->core, worker->process, loop);
    Py_DECREF(loop);
    if (r < 0 || asgi_awaitable_init(&worker->core) < 0 || asgi_adapter_init(&worker->adapter, &worker->core) < 0 ||
        make_callbacks(worker) < 0)
        return -1;
    worker->lifespan = asgi_lifespan_create(&worker->core);
    return worker->lifespan == NULL ? -1 : 0;
}

static int watch(const struct event_loop_worker *worker, int fd, enum loop_callback callback)
{
    return call_loop(worker, "add_reader", "(iO)", fd, worker->callbacks[callback]);
}

static int serve(struct event_loop_worker *worker)
{
    if (asgi_pool_init(&worker->pool, &worker->adapter) < 0)
        return -1;
    hook_exchange(worker);
    schedule_turn(worker);
    if (watch(worker, app_exchange_fd(worker->exchange), CALLBACK_DOORBELL) < 0 ||
        app_process_ready(worker->process) < 0)
        return -1;
    worker->phase = WORKER_SERVING;
    int r = call_loop(worker, "run_forever", "()");
    app_copy_end(worker->process); /* the selector under the loop is not its own either */
    return r;
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

/* From here on errors are the application's, and nobody's to act on. */
static void forget_error(const struct event_loop_worker *worker, const char *what)
{
    if (!app_exchange_stopping(worker->exchange))
        app_log_exception(worker->process, NULL, what);
    PyErr_Clear();
}

static void run_coroutine_method(const struct event_loop_worker *worker, const char *method)
{
    PyObject *coroutine = PyObject_CallMethod(worker->core.loop, method, NULL);
    if (coroutine == NULL || call_loop(worker, "run_until_complete", "(O)", coroutine) < 0)
        forget_error(worker, "the event loop could not be wound up");
    Py_XDECREF(coroutine);
}

static int cancel_each(PyObject *tasks)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tasks); i++) {
        PyObject *result = PyObject_CallMethod(PyTuple_GET_ITEM(tasks, i), "cancel", NULL);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
    }
    return 0;
}

/* gather(*tasks, return_exceptions=True) */
static PyObject *gather(PyObject *asyncio, PyObject *tasks)
{
    PyObject *function = PyObject_GetAttrString(asyncio, "gather");
    PyObject *keywords = Py_BuildValue("{s:O}", "return_exceptions", Py_True);
    PyObject *all = function == NULL || keywords == NULL ? NULL : PyObject_Call(function, tasks, keywords);
    Py_XDECREF(function);
    Py_XDECREF(keywords);
    return all;
}

/* As asyncio.run() does it: what the application left running is cancelled and gets to clean up. */
static int cancel_tasks(const struct event_loop_worker *worker)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *set = asyncio == NULL ? NULL : PyObject_CallMethod(asyncio, "all_tasks", "O", worker->core.loop);
    PyObject *tasks = set == NULL ? NULL : PySequence_Tuple(set);
    int r = tasks == NULL ? -1 : cancel_each(tasks);
    if (r == 0 && PyTuple_GET_SIZE(tasks) > 0) {
        PyObject *all = gather(asyncio, tasks);
        r = all == NULL ? -1 : call_loop(worker, "run_until_complete", "(O)", all);
        Py_XDECREF(all);
    }
    Py_XDECREF(asyncio);
    Py_XDECREF(set);
    Py_XDECREF(tasks);
    return r;
}

/* More than one stop() may be on its way, and in uvloop each that is left over would stop the next run of the loop. */
static void swallow_stops(const struct event_loop_worker *worker)
{
    stop_loop(worker);
    if (call_loop(worker, "run_forever", "()") < 0)
        forget_error(worker, "the event loop could not be wound up");
}

static void wind_up(struct event_loop_worker *worker)
{
    worker->phase = WORKER_WINDING_UP;
    swallow_stops(worker);
    if (call_loop(worker, "remove_reader", "(i)", app_exchange_fd(worker->exchange)) < 0)
        forget_error(worker, "the event loop could not be wound up");
    limit_stop(worker);
    asgi_lifespan_stop(worker->lifespan);
    if (cancel_tasks(worker) < 0)
        forget_error(worker, "tasks of the application could not be cancelled");
    run_coroutine_method(worker, "shutdown_asyncgens");
    if (!app_exchange_stopping(worker->exchange))
        run_coroutine_method(worker, "shutdown_default_executor");
}

static void close_loop(const struct event_loop_worker *worker)
{
    if (call_loop(worker, "remove_reader", "(i)", app_exchange_control_fd(worker->exchange)) < 0 ||
        call_loop(worker, "close", "()") < 0)
        forget_error(worker, "the event loop could not be closed");
}

/* ---- the class -------------------------------------------------------------------------------------------------- */

static int start_and_serve(struct event_loop_worker *worker)
{
    if (watch(worker, app_exchange_control_fd(worker->exchange), CALLBACK_CONTROL) < 0 ||
        asgi_core_call_soon(&worker->core, worker->callbacks[CALLBACK_TICK], NULL, NULL) < 0)
        return -1;
    int phase = asgi_lifespan_start(worker->lifespan, &worker->adapter.scope);
    if (phase < 0)
        return -1;
    if (phase == ASGI_LIFESPAN_FAILED)
        return APP_EXIT_BOOT_FAILED;
    if (!app_process_leaving(worker->process) && serve(worker) < 0)
        return -1;
    wind_up(worker);
    return APP_EXIT_CLEAN;
}

static int run(struct app_process *process)
{
    struct event_loop_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *worker = (struct event_loop_worker){
        .process = process,
        .exchange = process->exchange,
        .places = worker_event_loop.places(&process->settings),
    };
    process->worker_data = worker; /* for good: the application may keep our objects to the end of the process */
    if (prepare(worker) < 0)
        return -1;
    int status = start_and_serve(worker);
    if (status >= 0)
        close_loop(worker);
    return status;
}

static uint32_t places(const struct settings *settings)
{
    return settings->worker_connections < UINT32_MAX ? (uint32_t)settings->worker_connections : UINT32_MAX;
}

const struct worker_driver worker_event_loop = {
    .name = "asgi",
    .ready_flags = CONTROL_APP_EVENT_LOOP,
    .places = places,
    .run = run,
};
