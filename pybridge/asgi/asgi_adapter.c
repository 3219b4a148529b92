#include "pybridge/asgi/asgi_adapter.h"

#include "pybridge/app_copy.h"
#include "pybridge/app_log.h"
#include "pybridge/asgi/asgi_receive.h"
#include "pybridge/asgi/asgi_send.h"

#include <structmember.h>

/* ---- lists of cycles; a list holds a reference to each ---------------------------------------------------------- */

static void awake_append(struct asgi_adapter *adapter, struct asgi_cycle *cycle)
{
    if (cycle->awake)
        return;
    cycle->awake = true;
    cycle->next_awake = NULL;
    Py_INCREF(cycle);
    if (adapter->awake.last != NULL)
        adapter->awake.last->next_awake = cycle;
    else
        adapter->awake.first = cycle;
    adapter->awake.last = cycle;
}

static struct asgi_cycle *awake_pop(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle = adapter->awake.first;
    if (cycle == NULL)
        return NULL;
    adapter->awake.first = cycle->next_awake;
    if (adapter->awake.first == NULL)
        adapter->awake.last = NULL;
    cycle->awake = false;
    return cycle;
}

static void log_incomplete(const struct asgi_cycle *cycle);
static void close_cycle(struct asgi_cycle *cycle);

/* ---- news from the exchange ------------------------------------------------------------------------------------- */

void asgi_adapter_note(struct asgi_adapter *adapter, struct app_request *request)
{
    struct asgi_cycle *cycle = request->user;
    if (cycle == NULL)
        return;
    /* A body that arrives before anybody waits for it is found by receive(). */
    if (cycle->receivers != NULL || request->fate == APP_REQUEST_CANCELLED)
        awake_append(adapter, cycle);
}

void asgi_adapter_note_room(struct asgi_adapter *adapter)
{
    adapter->has_room = true;
}

/* An application that has returned may have left something that still goes out; then this is the end of its request. */
static void retry(struct asgi_cycle *cycle)
{
    if (!asgi_send_retry(cycle) || !cycle->application_returned || cycle->request == NULL)
        return;
    log_incomplete(cycle);
    close_cycle(cycle);
}

static void settle_awake(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle;
    while ((cycle = awake_pop(adapter)) != NULL) {
        if (asgi_cycle_is_gone(cycle) && cycle->request != NULL) {
            if (!cycle->application_returned)
                adapter->on_gone(cycle, adapter->on_gone_context);
            retry(cycle); /* which fails each of them */
        }
        asgi_receive_wake(cycle, ASGI_WAKE_NOW);
        Py_DECREF(cycle);
    }
}

/* The list is taken off first: who still finds no room joins a new one. */
static void settle_wanting(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle = adapter->wanting.first;
    adapter->wanting = (struct asgi_cycle_queue){};
    adapter->has_room = false;
    while (cycle != NULL) {
        struct asgi_cycle *next = cycle->next_wanting;
        cycle->wants_room = false;
        retry(cycle);
        Py_DECREF(cycle);
        cycle = next;
    }
}

void asgi_adapter_settle(struct asgi_adapter *adapter)
{
    if (adapter->has_room)
        settle_wanting(adapter);
    settle_awake(adapter);
}

/* ---- life of a cycle -------------------------------------------------------------------------------------------- */

static struct asgi_cycle *cycle_create(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle = PyObject_GC_New(struct asgi_cycle, adapter->core->cycle_type);
    if (cycle == NULL)
        return NULL;
    memset((char *)cycle + sizeof(PyObject), 0, sizeof *cycle - sizeof(PyObject));
    cycle->call = asgi_send_call;
    cycle->adapter = adapter;
    cycle->receive = asgi_receive_create(cycle);
    if (cycle->receive == NULL) {
        Py_DECREF(cycle);
        return NULL;
    }
    PyObject_GC_Track((PyObject *)cycle);
    return cycle;
}

static struct asgi_cycle *cycle_borrow(struct asgi_adapter *adapter)
{
    if (adapter->spare_count == 0)
        return cycle_create(adapter);
    return adapter->spares[--adapter->spare_count];
}

/* Takes the reference. A pair that the application kept is not used again: it must go on saying that it is over. */
static void cycle_give_back(struct asgi_cycle *cycle)
{
    struct asgi_adapter *adapter = cycle->adapter;
    if (Py_REFCNT(cycle) == 1 && Py_REFCNT(cycle->receive) == 1 && adapter->spare_count < ASGI_SPARE_CYCLES)
        adapter->spares[adapter->spare_count++] = cycle;
    else
        Py_DECREF(cycle);
}

struct asgi_cycle *asgi_cycle_open(struct asgi_adapter *adapter, struct app_request *request)
{
    struct asgi_cycle *cycle = cycle_borrow(adapter);
    if (cycle == NULL)
        return NULL;
    cycle->request = request;
    cycle->head = (struct asgi_head){};
    cycle->body_left = -1;
    cycle->phase = ASGI_START_DUE;
    cycle->body_is_unwanted = false;
    cycle->has_trailers = false;
    cycle->sends_trailers = false;
    cycle->request_is_read = false;
    cycle->application_returned = false;
    cycle->owner = NULL;
    request->user = cycle;
    /* It may have been cancelled between its claim and now, when nobody could be told. */
    if (request->fate == APP_REQUEST_CANCELLED)
        awake_append(adapter, cycle);
    return cycle;
}

PyObject *asgi_cycle_call(struct asgi_cycle *cycle, PyObject *application)
{
    PyObject *scope = asgi_scope_create(&cycle->adapter->scope, cycle->request);
    if (scope == NULL)
        return NULL;
    PyObject *arguments[] = {scope, (PyObject *)cycle->receive, (PyObject *)cycle};
    PyObject *result = PyObject_Vectorcall(application, arguments, 3, NULL);
    Py_DECREF(scope);
    return result;
}

/* Gives the request back to the exchange. What was not completed is failed: a 500, or a broken response; where even
 * that finds no room, being done without an end says enough. */
static void close_cycle(struct asgi_cycle *cycle)
{
    struct asgi_adapter *adapter = cycle->adapter;
    struct app_request *request = cycle->request;
    if (cycle->head.response.memory != NULL)
        asgi_head_drop(adapter->core, &cycle->head);
    cycle->request = NULL;
    cycle->owner = NULL;
    request->user = NULL;
    if (!request->end_sent && request->fate == APP_REQUEST_ALIVE)
        (void)!app_response_fail(adapter->core->exchange, request);
    app_request_done(adapter->core->exchange, request);
    asgi_receive_wake(cycle, ASGI_WAKE_SOON);
    Py_CLEAR(cycle->receivers);
    adapter->on_closed(adapter->on_closed_context);
}

static bool caused_by_disconnect(const struct asgi_core *core, PyObject *exception, int depth);

static bool group_caused_by_disconnect(const struct asgi_core *core, PyObject *group, int depth)
{
    PyObject *members = PyObject_GetAttrString(group, "exceptions");
    PyObject *list = members == NULL ? NULL : PySequence_Fast(members, "");
    bool caused = list != NULL && PySequence_Fast_GET_SIZE(list) > 0;
    for (Py_ssize_t i = 0; caused && i < PySequence_Fast_GET_SIZE(list); i++)
        caused = caused_by_disconnect(core, PySequence_Fast_GET_ITEM(list, i), depth);
    Py_XDECREF(members);
    Py_XDECREF(list);
    PyErr_Clear();
    return caused;
}

/* Frameworks wrap what send() raised in errors of their own, and those in groups. */
static bool caused_by_disconnect(const struct asgi_core *core, PyObject *exception, int depth)
{
    if (exception == NULL || depth == 0)
        return false;
    if (PyErr_GivenExceptionMatches(exception, core->client_disconnected))
        return true;
    if (PyErr_GivenExceptionMatches(exception, PyExc_BaseExceptionGroup))
        return group_caused_by_disconnect(core, exception, depth - 1);
    PyObject *cause = PyException_GetCause(exception);
    PyObject *context = PyException_GetContext(exception);
    bool caused = caused_by_disconnect(core, cause, depth - 1) ||
                  (cause == NULL && caused_by_disconnect(core, context, depth - 1));
    Py_XDECREF(cause);
    Py_XDECREF(context);
    return caused;
}

/* The client's leaving is no error of the application, and neither is being cancelled after it, or by a stop. */
static bool is_silent(const struct asgi_cycle *cycle, PyObject *exception)
{
    enum { DEPTH_MAX = 8 };
    const struct asgi_core *core = cycle->adapter->core;
    if (PyErr_GivenExceptionMatches(exception, core->cancelled_error))
        return asgi_cycle_is_gone(cycle) || app_exchange_stopping(core->exchange);
    return asgi_cycle_is_gone(cycle) && caused_by_disconnect(core, exception, DEPTH_MAX);
}

static void log_failure(const struct asgi_cycle *cycle)
{
    PyObject *exception = asgi_core_take_exception();
    if (is_silent(cycle, exception)) {
        Py_DECREF(exception);
        return;
    }
    asgi_core_raise(exception);
    app_log_exception(cycle->adapter->core->process, cycle->request, "the ASGI application failed");
}

static void log_incomplete(const struct asgi_cycle *cycle)
{
    const struct app_process *process = cycle->adapter->core->process;
    if (asgi_cycle_is_gone(cycle) || cycle->phase == ASGI_COMPLETE || cycle->outgoing != NULL)
        return;
    app_log_error(process, cycle->request, "the ASGI application returned %s",
                  cycle->phase == ASGI_START_DUE ? "without a response" : "before its response was complete");
}

/* What still waits for room goes out, unless the response is broken anyway. */
static bool lingers(const struct asgi_cycle *cycle, bool failed)
{
    return cycle->outgoing != NULL && !failed && !asgi_cycle_is_gone(cycle);
}

void asgi_cycle_finish(struct asgi_cycle *cycle)
{
    bool failed = PyErr_Occurred() != NULL;
    app_copy_end(cycle->adapter->core->process);
    if (failed)
        log_failure(cycle);
    else
        log_incomplete(cycle);
    cycle->application_returned = true;
    if (!lingers(cycle, failed)) {
        asgi_send_fail(cycle); /* Tasks that the application left behind may wait for it */
        close_cycle(cycle);
    }
    cycle_give_back(cycle);
}

/* ---- types ------------------------------------------------------------------------------------------------------ */

static int cycle_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct asgi_cycle *cycle = (struct asgi_cycle *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(cycle->receivers);
    return asgi_send_traverse(cycle, visit, arg);
}

static int cycle_clear(PyObject *self)
{
    struct asgi_cycle *cycle = (struct asgi_cycle *)self;
    asgi_send_clear(cycle);
    Py_CLEAR(cycle->receivers);
    return 0;
}

static void cycle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct asgi_cycle *cycle = (struct asgi_cycle *)self;
    PyObject_GC_UnTrack(self);
    (void)cycle_clear(self);
    if (cycle->receive != NULL)
        cycle->receive->cycle = NULL;
    Py_CLEAR(cycle->receive);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMemberDef CYCLE_MEMBERS[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct asgi_cycle, call), READONLY, NULL},
    {},
};

static PyType_Slot CYCLE_SLOTS[] = {
    {Py_tp_dealloc, cycle_dealloc},  {Py_tp_traverse, cycle_traverse}, {Py_tp_clear, cycle_clear},
    {Py_tp_call, PyVectorcall_Call}, {Py_tp_members, CYCLE_MEMBERS},   {},
};

static PyType_Spec CYCLE_SPEC = {
    .name = "uroboros.AsgiSend",
    .basicsize = sizeof(struct asgi_cycle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = CYCLE_SLOTS,
};

int asgi_adapter_init(struct asgi_adapter *adapter, struct asgi_core *core)
{
    *adapter = (struct asgi_adapter){.core = core};
    core->cycle_type = asgi_core_type(core, &CYCLE_SPEC);
    if (core->cycle_type == NULL || asgi_receive_init(core) < 0)
        return -1;
    return asgi_scope_init(&adapter->scope, core);
}

void asgi_adapter_deinit(struct asgi_adapter *adapter)
{
    while (adapter->spare_count > 0)
        Py_DECREF(adapter->spares[--adapter->spare_count]);
    asgi_scope_deinit(&adapter->scope);
}
