#include "pybridge/asgi/asgi_runner.h"

#include <assert.h>

struct asgi_runner {
    PyObject_HEAD struct asgi_pool *pool;
    struct asgi_runner *next, *previous; /* in pool->all */
    PyObject *task;                      /* NULL once it has ended */
    struct asgi_future *parking;
    struct app_request *request; /* assigned, not yet begun */
    struct asgi_cycle *cycle;    /* running, with the two below */
    PyObject *coroutine;
    PyObject *context; /* NULL: the Task's own */
    PyObject *grace_timer;
    enum asgi_runner_state state;
    bool has_served;
};

/* ---- the pool's list -------------------------------------------------------------------------------------------- */

/* Takes the reference. */
static void list_append(struct asgi_pool *pool, struct asgi_runner *runner)
{
    runner->next = pool->all;
    runner->previous = NULL;
    if (pool->all != NULL)
        pool->all->previous = runner;
    pool->all = runner;
}

static void list_remove(struct asgi_runner *runner)
{
    if (runner->previous != NULL)
        runner->previous->next = runner->next;
    else
        runner->pool->all = runner->next;
    if (runner->next != NULL)
        runner->next->previous = runner->previous;
    Py_DECREF(runner);
}

static void idle_remove(struct asgi_pool *pool, const struct asgi_runner *runner)
{
    for (int i = pool->idle_count; i-- > 0;) {
        if (pool->idle[i] != runner)
            continue;
        pool->idle_count--;
        memmove(&pool->idle[i], &pool->idle[i + 1], (size_t)(pool->idle_count - i) * sizeof *pool->idle);
        return;
    }
}

/* ---- whether its Task may serve another ------------------------------------------------------------------------- */

static bool knows_marks(const struct asgi_pool *pool)
{
    return pool->keeps_tasks && asgi_marks_known(&pool->marks);
}

/* In the middle of a run: `references` is the count at its start, on the same path of calls. */
static bool may_go_on(const struct asgi_runner *runner, Py_ssize_t references)
{
    const struct asgi_pool *pool = runner->pool;
    return knows_marks(pool) && Py_REFCNT(runner->task) <= references && !asgi_marks_on(&pool->marks, runner->task);
}

/* Whether a parked Task is as clean as one that never ran anything; the first of those says how that looks. */
static bool is_clean_parked(struct asgi_runner *runner)
{
    struct asgi_marks *marks = &runner->pool->marks;
    if (!asgi_marks_known(marks) && !runner->has_served)
        asgi_marks_learn(marks, runner->task);
    return Py_REFCNT(runner->task) == marks->references && !asgi_marks_on(marks, runner->task);
}

/* ---- how a step ends -------------------------------------------------------------------------------------------- */

/* The Task ends with this step: its callbacks run, what is keyed by it goes. */
static PySendResult end(struct asgi_runner *runner, PyObject **ret_result)
{
    runner->state = ASGI_RUNNER_ENDED;
    *ret_result = Py_NewRef(Py_None);
    Py_CLEAR(runner->task);
    list_remove(runner);
    return PYGEN_RETURN;
}

static PySendResult park(struct asgi_runner *runner, PyObject **ret_result)
{
    struct asgi_pool *pool = runner->pool;
    if (pool->idle_count == ASGI_IDLE_RUNNERS_MAX)
        return end(runner, ret_result);
    runner->state = ASGI_RUNNER_PARKED;
    pool->idle[pool->idle_count++] = runner;
    asgi_future_reset(runner->parking);
    return asgi_future_yield(runner->parking, ret_result);
}

static PySendResult park_or_end(struct asgi_runner *runner, PyObject **ret_result)
{
    const struct asgi_pool *pool = runner->pool;
    return knows_marks(pool) && !asgi_marks_on(&pool->marks, runner->task) ? park(runner, ret_result)
                                                                           : end(runner, ret_result);
}

/* ---- one request ------------------------------------------------------------------------------------------------ */

/* What drives the awaitable that an application returned; takes `awaitable`. */
static PyObject *driver_of(PyObject *awaitable)
{
    if (awaitable == NULL || PyCoro_CheckExact(awaitable))
        return awaitable;
    const PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    PyObject *driver = NULL;
    if (methods != NULL && methods->am_await != NULL)
        driver = methods->am_await(awaitable);
    else
        PyErr_Format(PyExc_TypeError, "the ASGI application returned %.100s, which cannot be awaited",
                     Py_TYPE(awaitable)->tp_name);
    Py_DECREF(awaitable);
    return driver;
}

static PySendResult call_application(struct asgi_runner *runner, PyObject **ret_result)
{
    runner->coroutine = driver_of(asgi_cycle_call(runner->cycle, runner->pool->core->process->application));
    return runner->coroutine == NULL ? PYGEN_ERROR : PyIter_Send(runner->coroutine, Py_None, ret_result);
}

/* One step of the application in its own context: the first one, or the next. */
static PySendResult step(struct asgi_runner *runner, PyObject *value, PyObject **ret_result)
{
    if (runner->context != NULL && PyContext_Enter(runner->context) < 0)
        return PYGEN_ERROR;
    PySendResult status = runner->coroutine == NULL ? call_application(runner, ret_result)
                                                    : PyIter_Send(runner->coroutine, value, ret_result);
    if (runner->context != NULL && PyContext_Exit(runner->context) < 0)
        asgi_core_report(runner->pool->core, "the ASGI application exchanged its context");
    return status;
}

/* The exchange keeps nothing of a request that could not be begun; the client gets a 500. */
static void refuse(const struct asgi_pool *pool, struct app_request *request)
{
    asgi_core_report(pool->core, "a request could not be begun");
    app_request_done(pool->core->exchange, request);
    pool->adapter->on_closed(pool->adapter->on_closed_context);
}

static bool open_request(struct asgi_runner *runner)
{
    struct asgi_pool *pool = runner->pool;
    struct app_request *request = runner->request;
    runner->request = NULL;
    runner->has_served = true;
    runner->context = pool->keeps_tasks ? PyContext_Copy(pool->context) : NULL;
    if (runner->context != NULL || !pool->keeps_tasks)
        runner->cycle = asgi_cycle_open(pool->adapter, request);
    if (runner->cycle == NULL) {
        Py_CLEAR(runner->context);
        refuse(pool, request);
        return false;
    }
    runner->cycle->owner = runner;
    return true;
}

static void stop_grace(struct asgi_runner *runner)
{
    const struct asgi_core *core = runner->pool->core;
    PyObject *timer = runner->grace_timer;
    if (timer == NULL)
        return;
    runner->grace_timer = NULL;
    PyObject *result = PyObject_CallMethodNoArgs(timer, asgi_text(core, ASGI_NAME_CANCEL));
    if (result == NULL)
        asgi_core_report(core, "a timer could not be cancelled");
    Py_XDECREF(result);
    Py_DECREF(timer);
}

/* The application has returned, or raised: then the Python error is set. */
static void close_request(struct asgi_runner *runner)
{
    struct asgi_cycle *cycle = runner->cycle;
    runner->cycle = NULL;
    Py_CLEAR(runner->coroutine);
    Py_CLEAR(runner->context);
    asgi_cycle_finish(cycle);
    stop_grace(runner);
}

/* ---- the steps of the Task -------------------------------------------------------------------------------------- */

/* One request after another, until one waits for something or none is left. */
static PySendResult run(struct asgi_runner *runner, PyObject **ret_result)
{
    struct asgi_pool *pool = runner->pool;
    const Py_ssize_t references = Py_REFCNT(runner->task);
    runner->state = ASGI_RUNNER_RUNNING;
    do {
        if (!open_request(runner))
            continue;
        PyObject *result = NULL;
        PySendResult status = step(runner, Py_None, &result);
        if (status == PYGEN_NEXT) {
            runner->state = ASGI_RUNNER_BOUND;
            *ret_result = result;
            return PYGEN_NEXT;
        }
        Py_XDECREF(result);
        close_request(runner);
        if (!may_go_on(runner, references))
            return end(runner, ret_result);
    } while ((runner->request = pool->next(pool->context_of_next)) != NULL);
    return park(runner, ret_result);
}

static PySendResult resume(struct asgi_runner *runner, PyObject *value, PyObject **ret_result)
{
    PyObject *result = NULL;
    PySendResult status = step(runner, value, &result);
    if (status == PYGEN_NEXT) {
        *ret_result = result;
        return PYGEN_NEXT;
    }
    Py_XDECREF(result);
    close_request(runner);
    return park_or_end(runner, ret_result);
}

static PySendResult first_step(struct asgi_runner *runner, PyObject **ret_result)
{
    if (runner->request != NULL)
        return run(runner, ret_result);
    runner->pool->unassigned--;
    return park(runner, ret_result);
}

static PySendResult woken(struct asgi_runner *runner, PyObject **ret_result)
{
    return runner->request != NULL ? run(runner, ret_result) : end(runner, ret_result);
}

static PySendResult take_step(struct asgi_runner *runner, PyObject *value, PyObject **ret_result)
{
    switch (runner->state) {
    case ASGI_RUNNER_NEW:
        return first_step(runner, ret_result);
    case ASGI_RUNNER_PARKED:
        return woken(runner, ret_result);
    case ASGI_RUNNER_BOUND:
        return resume(runner, value, ret_result);
    case ASGI_RUNNER_RUNNING:
    case ASGI_RUNNER_ENDED:
        break;
    }
    PyErr_SetString(PyExc_RuntimeError, "this coroutine belongs to the server's own task");
    return PYGEN_ERROR;
}

static PySendResult runner_resume(PyObject *self, PyObject *value, PyObject **ret_result)
{
    struct asgi_runner *runner = (struct asgi_runner *)self;
    struct asgi_core *core = runner->pool->core;
    Py_INCREF(self); /* ending drops the pool's reference */
    bool outermost = asgi_core_batch_begin(core);
    PySendResult status = take_step(runner, value, ret_result);
    asgi_core_batch_end(core, outermost);
    Py_DECREF(self);
    return status;
}

static PyObject *as_iteration(PySendResult status, PyObject *result)
{
    if (status == PYGEN_NEXT)
        return result;
    Py_XDECREF(result);
    if (status == PYGEN_RETURN)
        PyErr_SetNone(PyExc_StopIteration);
    return NULL;
}

static PyObject *runner_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult status = runner_resume(self, value, &result);
    return as_iteration(status, result);
}

/* ---- cancellation ----------------------------------------------------------------------------------------------- */

static PyObject *throw_into(struct asgi_runner *runner, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *stack[4] = {runner->coroutine};
    for (Py_ssize_t i = 0; i < count; i++)
        stack[i + 1] = arguments[i];
    if (runner->context != NULL && PyContext_Enter(runner->context) < 0)
        return NULL;
    PyObject *result =
        PyObject_VectorcallMethod(asgi_text(runner->pool->core, ASGI_NAME_THROW), stack, (size_t)count + 1, NULL);
    if (runner->context != NULL && PyContext_Exit(runner->context) < 0)
        asgi_core_report(runner->pool->core, "the ASGI application exchanged its context");
    return result;
}

/* What the application yields after the exception, or the end of its request. */
static PyObject *throw_bound(struct asgi_runner *runner, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *result = throw_into(runner, arguments, count);
    if (result != NULL)
        return result;
    if (PyErr_ExceptionMatches(PyExc_StopIteration))
        PyErr_Clear();
    close_request(runner);
    PySendResult status = park_or_end(runner, &result);
    return as_iteration(status, result);
}

static void abandon(struct asgi_runner *runner)
{
    struct asgi_pool *pool = runner->pool;
    PyObject *ignored = NULL;
    idle_remove(pool, runner);
    if (runner->request != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the task of a request was cancelled before it began");
        refuse(pool, runner->request);
        runner->request = NULL;
    } else if (runner->state == ASGI_RUNNER_NEW) {
        pool->unassigned--;
    }
    (void)end(runner, &ignored);
    Py_XDECREF(ignored);
}

/* Somebody cancelled a Task that has no request: it ends, with what was thrown. */
static PyObject *throw_idle(struct asgi_runner *runner, PyObject *thrown)
{
    abandon(runner);
    if (PyExceptionInstance_Check(thrown))
        PyErr_SetObject((PyObject *)Py_TYPE(thrown), thrown);
    else
        PyErr_SetNone(thrown);
    return NULL;
}

static PyObject *runner_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct asgi_runner *runner = (struct asgi_runner *)self;
    struct asgi_core *core = runner->pool->core;
    bool is_exception =
        count >= 1 && count <= 3 && (PyExceptionInstance_Check(arguments[0]) || PyExceptionClass_Check(arguments[0]));
    if (!is_exception || runner->state == ASGI_RUNNER_RUNNING || runner->state == ASGI_RUNNER_ENDED) {
        PyErr_SetString(PyExc_RuntimeError, "this coroutine belongs to the server's own task");
        return NULL;
    }
    Py_INCREF(self);
    bool outermost = asgi_core_batch_begin(core);
    PyObject *result =
        runner->state == ASGI_RUNNER_BOUND ? throw_bound(runner, arguments, count) : throw_idle(runner, arguments[0]);
    asgi_core_batch_end(core, outermost);
    Py_DECREF(self);
    return result;
}

static PyObject *runner_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct asgi_runner *runner = (struct asgi_runner *)self;
    if (runner->state == ASGI_RUNNER_NEW || runner->state == ASGI_RUNNER_PARKED)
        abandon(runner);
    Py_RETURN_NONE;
}

/* The period of grace is over: the client has gone and the application has not returned. */
static PyObject *runner_cancel_task(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct asgi_runner *runner = (struct asgi_runner *)self;
    Py_CLEAR(runner->grace_timer);
    if (runner->state != ASGI_RUNNER_BOUND)
        Py_RETURN_NONE;
    return PyObject_CallMethodNoArgs(runner->task, asgi_text(runner->pool->core, ASGI_NAME_CANCEL));
}

void asgi_pool_on_gone(struct asgi_cycle *cycle, void *context)
{
    const struct asgi_pool *pool = context;
    struct asgi_runner *runner = cycle->owner;
    if (runner == NULL || runner->grace_timer != NULL)
        return;
    PyObject *cancel = PyObject_GetAttr((PyObject *)runner, asgi_text(pool->core, ASGI_NAME_CANCEL));
    PyObject *delay = PyFloat_FromDouble(pool->grace_seconds);
    if (cancel != NULL && delay != NULL)
        runner->grace_timer = PyObject_CallMethodObjArgs(pool->core->loop, asgi_text(pool->core, ASGI_NAME_CALL_LATER),
                                                         delay, cancel, NULL);
    if (runner->grace_timer == NULL)
        asgi_core_report(pool->core, "a timer could not be set");
    Py_XDECREF(cancel);
    Py_XDECREF(delay);
}

/* ---- the pool --------------------------------------------------------------------------------------------------- */

static struct asgi_runner *runner_create(struct asgi_pool *pool)
{
    struct asgi_runner *runner = PyObject_GC_New(struct asgi_runner, pool->core->runner_type);
    if (runner == NULL)
        return NULL;
    memset((char *)runner + sizeof(PyObject), 0, sizeof *runner - sizeof(PyObject));
    runner->pool = pool;
    runner->parking = asgi_future_create(pool->core);
    if (runner->parking == NULL) {
        Py_DECREF(runner);
        return NULL;
    }
    PyObject_GC_Track((PyObject *)runner);
    return runner;
}

/* A new Task; `request` may be NULL: then it parks at its first step. Not by create_task(): a task factory of the
 * application (an eager one, or one that wraps coroutines) is for its own tasks. */
static int spawn(struct asgi_pool *pool, struct app_request *request)
{
    struct asgi_runner *runner = runner_create(pool);
    if (runner == NULL)
        return -1;
    PyObject *arguments[] = {(PyObject *)runner, pool->core->loop};
    runner->task = PyObject_Vectorcall(pool->task_type, arguments, 1, pool->task_keywords);
    if (runner->task == NULL) {
        Py_DECREF(runner);
        return -1;
    }
    runner->request = request;
    pool->unassigned += request == NULL;
    list_append(pool, runner);
    return 0;
}

static void wake(struct asgi_runner *runner)
{
    Py_INCREF(runner);
    asgi_future_finish(runner->parking, Py_NewRef(Py_None), ASGI_WAKE_NOW);
    Py_DECREF(runner);
}

/* A clean idle runner, or NULL. Those that are not clean end; one that is being cancelled ends by itself. */
static struct asgi_runner *take_idle(struct asgi_pool *pool)
{
    while (pool->idle_count > 0) {
        struct asgi_runner *runner = pool->idle[--pool->idle_count];
        if (runner->parking->state != ASGI_FUTURE_PENDING)
            continue;
        if (is_clean_parked(runner))
            return runner;
        wake(runner);
    }
    return NULL;
}

static void assign(struct asgi_pool *pool, struct app_request *request)
{
    struct asgi_runner *runner = take_idle(pool);
    if (runner != NULL) {
        runner->request = request;
        wake(runner);
    } else if (spawn(pool, request) < 0) {
        refuse(pool, request);
    }
}

/* So that the next request after one that ended its Task need not wait for a turn of the loop. */
static void keep_one_ready(struct asgi_pool *pool)
{
    if (pool->keeps_tasks && pool->idle_count + pool->unassigned == 0 && spawn(pool, NULL) < 0)
        asgi_core_report(pool->core, "a task could not be made");
}

void asgi_pool_run(struct asgi_pool *pool)
{
    struct app_request *request;
    while ((request = pool->next(pool->context_of_next)) != NULL)
        assign(pool, request);
    keep_one_ready(pool);
}

/* ---- the type --------------------------------------------------------------------------------------------------- */

static int runner_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct asgi_runner *runner = (struct asgi_runner *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(runner->task);
    Py_VISIT(runner->parking);
    Py_VISIT(runner->cycle);
    Py_VISIT(runner->coroutine);
    Py_VISIT(runner->context);
    Py_VISIT(runner->grace_timer);
    return 0;
}

static int runner_clear(PyObject *self)
{
    struct asgi_runner *runner = (struct asgi_runner *)self;
    Py_CLEAR(runner->task);
    Py_CLEAR(runner->parking);
    Py_CLEAR(runner->cycle);
    Py_CLEAR(runner->coroutine);
    Py_CLEAR(runner->context);
    Py_CLEAR(runner->grace_timer);
    return 0;
}

static void runner_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)runner_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* What asyncio's own tools ask a coroutine for when they print a Task. */
static PyObject *runner_frame(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *coroutine = ((struct asgi_runner *)self)->coroutine;
    if (coroutine == NULL || !PyCoro_CheckExact(coroutine))
        Py_RETURN_NONE;
    return PyObject_GetAttrString(coroutine, "cr_frame");
}

static PyObject *runner_await(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *coroutine = ((struct asgi_runner *)self)->coroutine;
    return Py_NewRef(coroutine == NULL ? Py_None : coroutine);
}

static PyMethodDef RUNNER_METHODS[] = {
    {"send", runner_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))runner_throw, METH_FASTCALL, NULL},
    {"close", runner_close, METH_NOARGS, NULL},
    {"cancel", runner_cancel_task, METH_NOARGS, NULL},
    {},
};

static PyGetSetDef RUNNER_ATTRIBUTES[] = {
    {"cr_frame", runner_frame, NULL, NULL, NULL},
    {"cr_await", runner_await, NULL, NULL, NULL},
    {},
};

static PyType_Slot RUNNER_SLOTS[] = {
    {Py_tp_dealloc, runner_dealloc},   {Py_tp_traverse, runner_traverse},
    {Py_tp_clear, runner_clear},       {Py_am_await, PyObject_SelfIter},
    {Py_am_send, runner_resume},       {Py_tp_methods, RUNNER_METHODS},
    {Py_tp_getset, RUNNER_ATTRIBUTES}, {},
};

static PyType_Spec RUNNER_SPEC = {
    .name = "uroboros.AsgiRunner",
    .basicsize = sizeof(struct asgi_runner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = RUNNER_SLOTS,
};

static int find_task_type(struct asgi_pool *pool)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL)
        return -1;
    pool->task_type = PyObject_GetAttrString(asyncio, "Task");
    Py_DECREF(asyncio);
    return pool->task_type == NULL ? -1 : 0;
}

int asgi_pool_init(struct asgi_pool *pool, struct asgi_adapter *adapter)
{
    struct asgi_core *core = adapter->core;
    const struct settings *settings = &core->process->settings;
    *pool = (struct asgi_pool){
        .core = core,
        .adapter = adapter,
        .grace_seconds = (double)settings->asgi_disconnect_grace_period_ms / 1000,
        .keeps_tasks = settings->asgi_tasks == ASGI_TASKS_POOLED,
    };
    core->runner_type = asgi_core_type(core, &RUNNER_SPEC);
    if (core->runner_type == NULL || find_task_type(pool) < 0)
        return -1;
    pool->task_keywords = Py_BuildValue("(s)", "loop");
    pool->context = PyContext_CopyCurrent();
    if (pool->task_keywords == NULL || pool->context == NULL ||
        asgi_marks_init(&pool->marks, core, pool->task_type) < 0)
        return -1;
    pool->keeps_tasks &= asgi_marks_readable(&pool->marks);
    /* The first one parks before any request comes and shows how a clean parked Task looks. */
    return pool->keeps_tasks ? spawn(pool, NULL) : 0;
}

void asgi_pool_deinit(struct asgi_pool *pool)
{
    Py_CLEAR(pool->task_type);
    asgi_marks_deinit(&pool->marks);
    Py_CLEAR(pool->task_keywords);
    Py_CLEAR(pool->context);
}
