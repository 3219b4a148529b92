#include "pybridge/asgi/asgi_lifespan.h"

#include "pybridge/app_log.h"

struct asgi_lifespan_run {
    PyObject_HEAD struct asgi_core *core;
    PyObject *state;
    PyObject *task;
    struct asgi_future *answer;   /* what we wait for: the application's word on the phase */
    struct asgi_future *shutdown; /* what the application waits for in its second receive() */
    enum asgi_lifespan_state phase;
    bool has_received;
};

/* ---- the application's receive and send ------------------------------------------------------------------------- */

static PyObject *event(const struct asgi_core *core, enum asgi_name name)
{
    return Py_BuildValue("{OO}", asgi_text(core, ASGI_NAME_TYPE), asgi_text(core, name));
}

/* Who waits with a time limit cancels what it has waited for, and comes again. */
static int renew_shutdown(struct asgi_lifespan_run *lifespan)
{
    if (lifespan->shutdown->state != ASGI_FUTURE_CANCELLED)
        return 0;
    struct asgi_future *fresh = asgi_future_create(lifespan->core);
    if (fresh == NULL)
        return -1;
    Py_SETREF(lifespan->shutdown, fresh);
    if (lifespan->phase != ASGI_LIFESPAN_STOPPING)
        return 0;
    PyObject *shutdown = event(lifespan->core, ASGI_NAME_LIFESPAN_SHUTDOWN);
    if (shutdown == NULL)
        return -1;
    asgi_future_finish(fresh, shutdown, ASGI_WAKE_SOON);
    return 0;
}

static PyObject *lifespan_receive(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct asgi_lifespan_run *lifespan = (struct asgi_lifespan_run *)self;
    if (lifespan->has_received)
        return renew_shutdown(lifespan) < 0 ? NULL : Py_NewRef(lifespan->shutdown);
    lifespan->has_received = true;
    return asgi_result_create(lifespan->core, event(lifespan->core, ASGI_NAME_LIFESPAN_STARTUP));
}

/* The phase is over; whoever runs the loop for it goes on. */
static void answer(struct asgi_lifespan_run *lifespan, enum asgi_lifespan_state phase)
{
    lifespan->phase = phase;
    asgi_future_finish(lifespan->answer, Py_NewRef(Py_None), ASGI_WAKE_SOON);
}

static void log_failure(const struct asgi_lifespan_run *lifespan, PyObject *message, const char *what)
{
    PyObject *text = asgi_core_lookup(lifespan->core, message, ASGI_NAME_MESSAGE);
    const char *words = text != NULL && PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    app_log_error(lifespan->core->process, NULL, "%s%s%s", what, words == NULL || *words == '\0' ? "" : ": ",
                  words == NULL ? "" : words);
    Py_XDECREF(text);
}

struct lifespan_row {
    enum asgi_name name;
    enum asgi_lifespan_state during;
    enum asgi_lifespan_state then;
    const char *failure;
};

static const struct lifespan_row ROWS[] = {
    {ASGI_NAME_LIFESPAN_STARTUP_COMPLETE, ASGI_LIFESPAN_STARTING, ASGI_LIFESPAN_STARTED, NULL},
    {ASGI_NAME_LIFESPAN_STARTUP_FAILED, ASGI_LIFESPAN_STARTING, ASGI_LIFESPAN_FAILED,
     "the ASGI application failed to start"},
    {ASGI_NAME_LIFESPAN_SHUTDOWN_COMPLETE, ASGI_LIFESPAN_STOPPING, ASGI_LIFESPAN_OVER, NULL},
    {ASGI_NAME_LIFESPAN_SHUTDOWN_FAILED, ASGI_LIFESPAN_STOPPING, ASGI_LIFESPAN_OVER,
     "the ASGI application failed to shut down"},
};
enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static PyObject *lifespan_send(PyObject *self, PyObject *message)
{
    struct asgi_lifespan_run *lifespan = (struct asgi_lifespan_run *)self;
    enum asgi_name names[ROW_COUNT];
    for (int i = 0; i < ROW_COUNT; i++)
        names[i] = ROWS[i].name;
    int found = asgi_core_message_type(lifespan->core, message, names, ROW_COUNT);
    if (found < 0)
        return NULL;
    const struct lifespan_row *row = &ROWS[found];
    if (lifespan->phase != row->during) {
        PyErr_Format(PyExc_RuntimeError, "%U was sent out of its order", asgi_text(lifespan->core, row->name));
        return NULL;
    }
    if (row->failure != NULL)
        log_failure(lifespan, message, row->failure);
    answer(lifespan, row->then);
    return Py_NewRef(lifespan->core->done);
}

/* ---- an application that ends without an answer ----------------------------------------------------------------- */

static bool must_start(const struct asgi_lifespan_run *lifespan)
{
    return lifespan->core->process->settings.asgi_lifespan == ASGI_LIFESPAN_ON;
}

/* The ASGI specification: who raises on a lifespan scope is served without one. One that had asked for the event means
 * more than "unknown", so its traceback is shown. The current Python error, if any, is taken. */
static void decline(struct asgi_lifespan_run *lifespan)
{
    const struct app_process *process = lifespan->core->process;
    if (PyErr_Occurred() && (must_start(lifespan) || lifespan->has_received))
        app_log_exception(process, NULL, "the ASGI application raised during lifespan.startup");
    PyErr_Clear();
    if (must_start(lifespan))
        app_log_error(process, NULL, "asgi_lifespan is on, but the application does not complete lifespan.startup");
    answer(lifespan, must_start(lifespan) ? ASGI_LIFESPAN_FAILED : ASGI_LIFESPAN_DECLINED);
}

/* Sets what the Task raised as the current Python error, if it did. */
static void raise_outcome(PyObject *task)
{
    PyObject *result = PyObject_CallMethod(task, "result", NULL);
    Py_XDECREF(result);
}

static void task_ended(struct asgi_lifespan_run *lifespan)
{
    if (lifespan->phase == ASGI_LIFESPAN_STARTING) {
        decline(lifespan);
        return;
    }
    /* After lifespan.shutdown.complete a cancelled Task is our own doing. */
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(lifespan->core->cancelled_error))
        app_log_exception(lifespan->core->process, NULL, "the ASGI application raised during its lifespan");
    PyErr_Clear();
    if (lifespan->phase != ASGI_LIFESPAN_FAILED)
        answer(lifespan, ASGI_LIFESPAN_OVER);
}

static PyObject *lifespan_ended(PyObject *self, PyObject *task)
{
    raise_outcome(task);
    task_ended((struct asgi_lifespan_run *)self);
    Py_RETURN_NONE;
}

/* ---- running it ------------------------------------------------------------------------------------------------- */

static int expect_answer(struct asgi_lifespan_run *lifespan, enum asgi_lifespan_state phase)
{
    struct asgi_future *future = asgi_future_create(lifespan->core);
    if (future == NULL)
        return -1;
    Py_XSETREF(lifespan->answer, future);
    lifespan->phase = phase;
    return 0;
}

/* Runs the loop until the answer is there, or the loop is stopped. */
static int wait_for_answer(struct asgi_lifespan_run *lifespan)
{
    PyObject *result = PyObject_CallMethod(lifespan->core->loop, "run_until_complete", "O", lifespan->answer);
    Py_XDECREF(result);
    if (result != NULL)
        return 0;
    if (!app_process_leaving(lifespan->core->process))
        return -1;
    PyErr_Clear(); /* "Event loop stopped before Future completed", which we know */
    return 0;
}

static PyObject *make_scope(const struct asgi_lifespan_run *lifespan, const struct asgi_scope *scope)
{
    const struct asgi_core *core = lifespan->core;
    return Py_BuildValue("{OOONOO}", asgi_text(core, ASGI_NAME_TYPE), asgi_text(core, ASGI_NAME_LIFESPAN),
                         asgi_text(core, ASGI_NAME_ASGI), asgi_scope_versions(scope), asgi_text(core, ASGI_NAME_STATE),
                         lifespan->state);
}

static PyObject *call_application(struct asgi_lifespan_run *lifespan, const struct asgi_scope *scope)
{
    PyObject *arguments[] = {make_scope(lifespan, scope), PyObject_GetAttrString((PyObject *)lifespan, "receive"),
                             PyObject_GetAttrString((PyObject *)lifespan, "send")};
    PyObject *awaitable = NULL;
    if (arguments[0] != NULL && arguments[1] != NULL && arguments[2] != NULL)
        awaitable = PyObject_Vectorcall(lifespan->core->process->application, arguments, 3, NULL);
    for (int i = 0; i < 3; i++)
        Py_XDECREF(arguments[i]);
    return awaitable;
}

/* asyncio.ensure_future(awaitable, loop=loop); takes `awaitable`. */
static PyObject *make_task(const struct asgi_core *core, PyObject *awaitable)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *ensure_future = asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, "ensure_future");
    PyObject *keywords = Py_BuildValue("(s)", "loop");
    PyObject *task = NULL;
    PyObject *arguments[] = {awaitable, core->loop};
    if (ensure_future != NULL && keywords != NULL)
        task = PyObject_Vectorcall(ensure_future, arguments, 1, keywords);
    Py_XDECREF(asyncio);
    Py_XDECREF(ensure_future);
    Py_XDECREF(keywords);
    Py_DECREF(awaitable);
    return task;
}

static int watch_task(struct asgi_lifespan_run *lifespan)
{
    PyObject *ended = PyObject_GetAttrString((PyObject *)lifespan, "ended");
    PyObject *result = ended == NULL ? NULL : PyObject_CallMethod(lifespan->task, "add_done_callback", "O", ended);
    Py_XDECREF(ended);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int run_startup(struct asgi_lifespan_run *lifespan, const struct asgi_scope *scope)
{
    if (expect_answer(lifespan, ASGI_LIFESPAN_STARTING) < 0)
        return -1;
    PyObject *awaitable = call_application(lifespan, scope);
    lifespan->task = awaitable == NULL ? NULL : make_task(lifespan->core, awaitable);
    if (lifespan->task == NULL) {
        decline(lifespan);
        return 0;
    }
    return watch_task(lifespan) < 0 ? -1 : wait_for_answer(lifespan);
}

int asgi_lifespan_start(struct asgi_lifespan_run *lifespan, struct asgi_scope *scope)
{
    if (lifespan->core->process->settings.asgi_lifespan == ASGI_LIFESPAN_OFF)
        lifespan->phase = ASGI_LIFESPAN_DECLINED;
    else if (run_startup(lifespan, scope) < 0)
        return -1;
    /* OVER: it completed its start and then returned, wanting to hear no more. */
    if (lifespan->phase == ASGI_LIFESPAN_STARTED || lifespan->phase == ASGI_LIFESPAN_OVER)
        Py_XSETREF(scope->state, Py_NewRef(lifespan->state));
    return (int)lifespan->phase;
}

void asgi_lifespan_stop(struct asgi_lifespan_run *lifespan)
{
    struct asgi_core *core = lifespan->core;
    if (lifespan->phase != ASGI_LIFESPAN_STARTED)
        return;
    PyObject *shutdown = event(core, ASGI_NAME_LIFESPAN_SHUTDOWN);
    int r = shutdown == NULL ? -1 : expect_answer(lifespan, ASGI_LIFESPAN_STOPPING);
    if (r == 0) {
        asgi_future_finish(lifespan->shutdown, Py_NewRef(shutdown), ASGI_WAKE_SOON);
        r = wait_for_answer(lifespan);
    }
    Py_XDECREF(shutdown);
    if (r < 0)
        app_log_exception(core->process, NULL, "the ASGI application could not be shut down");
}

/* ---- the type --------------------------------------------------------------------------------------------------- */

static int lifespan_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct asgi_lifespan_run *lifespan = (struct asgi_lifespan_run *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(lifespan->state);
    Py_VISIT(lifespan->task);
    Py_VISIT(lifespan->answer);
    Py_VISIT(lifespan->shutdown);
    return 0;
}

static int lifespan_clear(PyObject *self)
{
    struct asgi_lifespan_run *lifespan = (struct asgi_lifespan_run *)self;
    Py_CLEAR(lifespan->state);
    Py_CLEAR(lifespan->task);
    Py_CLEAR(lifespan->answer);
    Py_CLEAR(lifespan->shutdown);
    return 0;
}

static void lifespan_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)lifespan_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef LIFESPAN_METHODS[] = {
    {"receive", lifespan_receive, METH_NOARGS, NULL},
    {"send", lifespan_send, METH_O, NULL},
    {"ended", lifespan_ended, METH_O, NULL},
    {},
};

static PyType_Slot LIFESPAN_SLOTS[] = {
    {Py_tp_dealloc, lifespan_dealloc},
    {Py_tp_traverse, lifespan_traverse},
    {Py_tp_clear, lifespan_clear},
    {Py_tp_methods, LIFESPAN_METHODS},
    {},
};

static PyType_Spec LIFESPAN_SPEC = {
    .name = "uroboros.AsgiLifespan",
    .basicsize = sizeof(struct asgi_lifespan_run),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = LIFESPAN_SLOTS,
};

struct asgi_lifespan_run *asgi_lifespan_create(struct asgi_core *core)
{
    core->lifespan_type = asgi_core_type(core, &LIFESPAN_SPEC);
    if (core->lifespan_type == NULL)
        return NULL;
    struct asgi_lifespan_run *lifespan = PyObject_GC_New(struct asgi_lifespan_run, core->lifespan_type);
    if (lifespan == NULL)
        return NULL;
    memset((char *)lifespan + sizeof(PyObject), 0, sizeof *lifespan - sizeof(PyObject));
    lifespan->core = core;
    lifespan->state = PyDict_New();
    lifespan->shutdown = asgi_future_create(core);
    PyObject_GC_Track((PyObject *)lifespan);
    if (lifespan->state == NULL || lifespan->shutdown == NULL)
        Py_CLEAR(lifespan);
    return lifespan;
}
