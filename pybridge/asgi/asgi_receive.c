#include "pybridge/asgi/asgi_receive.h"

#include "pybridge/python_text.h"

#include <errno.h>
#include <structmember.h>

enum { PART_BYTES = 131'072 }; /* of a file, in one event */

/* ---- events ----------------------------------------------------------------------------------------------------- */

static PyObject *disconnect_event(const struct asgi_core *core)
{
    PyObject *event = PyDict_New();
    if (event != NULL &&
        PyDict_SetItem(event, asgi_text(core, ASGI_NAME_TYPE), asgi_text(core, ASGI_NAME_HTTP_DISCONNECT)) < 0)
        Py_CLEAR(event);
    return event;
}

static PyObject *request_event(const struct asgi_core *core, PyObject *body, bool more)
{
    PyObject *event = PyDict_New();
    if (event != NULL &&
        (PyDict_SetItem(event, asgi_text(core, ASGI_NAME_TYPE), asgi_text(core, ASGI_NAME_HTTP_REQUEST)) < 0 ||
         PyDict_SetItem(event, asgi_text(core, ASGI_NAME_BODY), body) < 0 ||
         PyDict_SetItem(event, asgi_text(core, ASGI_NAME_MORE_BODY), more ? Py_True : Py_False) < 0))
        Py_CLEAR(event);
    return event;
}

static bool has_body_event(const struct app_request *request)
{
    return request->body_state == APP_BODY_ENDED || app_request_at_hand(request) > 0;
}

/* With the interpreter lock held: this may be inside the pump, where nobody else may come in between. */
static PyObject *read_part(struct app_exchange *exchange, struct app_request *request, const struct app_body_part *part)
{
    PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)part->length);
    int r = body != NULL ? app_body_part_read(part, (uint8_t *)PyBytes_AS_STRING(body)) : -ENOMEM;
    app_request_give_part_back(exchange, request, part, r);
    if (body == NULL || r == 0)
        return body;
    Py_DECREF(body);
    errno = -r;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *take_piece(struct app_exchange *exchange, struct app_request *request)
{
    struct app_body_part part;
    if (app_request_take_part(exchange, request, PART_BYTES, &part))
        return read_part(exchange, request, &part);
    struct bytes piece = app_request_body(request);
    PyObject *body = text_bytes(piece);
    if (body != NULL)
        app_request_consume(exchange, request, piece.length);
    return body;
}

/* The piece of body at hand becomes an event; its memory goes back to the client's credit. */
static PyObject *take_body(struct asgi_cycle *cycle)
{
    struct asgi_core *core = cycle->adapter->core;
    struct app_request *request = cycle->request;
    PyObject *body = take_piece(core->exchange, request);
    if (body == NULL)
        return NULL;
    bool more = request->body_state != APP_BODY_ENDED || app_request_at_hand(request) > 0;
    cycle->request_is_read = !more;
    if (more)
        asgi_core_flush(core);
    PyObject *event = request_event(core, body, more);
    Py_DECREF(body);
    return event;
}

enum receivable { RECEIVE_NOTHING, RECEIVE_BODY, RECEIVE_DISCONNECT };

static enum receivable receivable(const struct asgi_cycle *cycle)
{
    if (asgi_cycle_is_gone(cycle) || cycle->phase == ASGI_COMPLETE)
        return RECEIVE_DISCONNECT;
    /* A client that has closed its half may still read the response: send() goes on working. */
    if (cycle->request_is_read)
        return cycle->request->client_ended ? RECEIVE_DISCONNECT : RECEIVE_NOTHING;
    if (cycle->request->body_state == APP_BODY_BROKEN)
        return RECEIVE_DISCONNECT;
    return has_body_event(cycle->request) ? RECEIVE_BODY : RECEIVE_NOTHING;
}

static PyObject *take_event(struct asgi_cycle *cycle, enum receivable what)
{
    return what == RECEIVE_BODY ? take_body(cycle) : disconnect_event(cycle->adapter->core);
}

/* ---- who waits -------------------------------------------------------------------------------------------------- */

/* Those who were cancelled at the head of the list; nobody else tells that they left. */
static int drop_cancelled_receivers(PyObject *receivers)
{
    while (PyList_GET_SIZE(receivers) > 0 &&
           ((struct asgi_future *)PyList_GET_ITEM(receivers, 0))->state != ASGI_FUTURE_PENDING)
        if (PySequence_DelItem(receivers, 0) < 0)
            return -1;
    return 0;
}

static PyObject *wait_for_event(struct asgi_cycle *cycle)
{
    struct asgi_core *core = cycle->adapter->core;
    if (cycle->receivers == NULL)
        cycle->receivers = PyList_New(0);
    if (cycle->receivers == NULL || drop_cancelled_receivers(cycle->receivers) < 0)
        return NULL;
    PyObject *future = (PyObject *)asgi_future_create(core);
    if (future != NULL && PyList_Append(cycle->receivers, future) < 0)
        Py_CLEAR(future);
    if (future != NULL && !cycle->request_is_read) {
        app_request_want_body(core->exchange, cycle->request);
        asgi_core_flush(core);
    }
    return future;
}

static PyObject *receive_call(PyObject *self, PyObject *const *arguments, size_t count_and_flag, PyObject *keywords)
{
    (void)arguments;
    struct asgi_cycle *cycle = ((struct asgi_receive *)self)->cycle;
    if (PyVectorcall_NARGS(count_and_flag) != 0 || keywords != NULL) {
        PyErr_SetString(PyExc_TypeError, "receive() takes no arguments");
        return NULL;
    }
    struct asgi_core *core = ((struct asgi_receive *)self)->core;
    if (cycle == NULL)
        return asgi_result_create(core, disconnect_event(core));
    enum receivable what = receivable(cycle);
    return what == RECEIVE_NOTHING ? wait_for_event(cycle) : asgi_result_create(core, take_event(cycle, what));
}

static void give(struct asgi_future *future, PyObject *event, enum asgi_wake wake)
{
    if (event != NULL)
        asgi_future_finish(future, event, wake);
    else
        asgi_future_fail(future, asgi_core_take_exception(), wake);
}

void asgi_receive_wake(struct asgi_cycle *cycle, enum asgi_wake wake)
{
    for (;;) {
        if (cycle->receivers == NULL || PyList_GET_SIZE(cycle->receivers) == 0)
            return;
        enum receivable what = receivable(cycle);
        struct asgi_future *future = (struct asgi_future *)Py_NewRef(PyList_GET_ITEM(cycle->receivers, 0));
        bool waits = future->state == ASGI_FUTURE_PENDING;
        bool gives = what != RECEIVE_NOTHING || !waits;
        if (gives && PySequence_DelItem(cycle->receivers, 0) < 0)
            asgi_core_report(cycle->adapter->core, "a receive() could not be woken");
        else if (gives && waits)
            give(future, take_event(cycle, what), wake);
        Py_DECREF(future);
        if (!gives)
            return;
    }
}

/* ---- the callable ----------------------------------------------------------------------------------------------- */

struct asgi_receive *asgi_receive_create(struct asgi_cycle *cycle)
{
    struct asgi_receive *receive = PyObject_New(struct asgi_receive, cycle->adapter->core->receive_type);
    if (receive == NULL)
        return NULL;
    receive->call = receive_call;
    receive->core = cycle->adapter->core;
    receive->cycle = cycle;
    return receive;
}

static void receive_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMemberDef RECEIVE_MEMBERS[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct asgi_receive, call), READONLY, NULL},
    {},
};

static PyType_Slot RECEIVE_SLOTS[] = {
    {Py_tp_dealloc, receive_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, RECEIVE_MEMBERS},
    {},
};

static PyType_Spec RECEIVE_SPEC = {
    .name = "uroboros.AsgiReceive",
    .basicsize = sizeof(struct asgi_receive),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = RECEIVE_SLOTS,
};

int asgi_receive_init(struct asgi_core *core)
{
    core->receive_type = asgi_core_type(core, &RECEIVE_SPEC);
    return core->receive_type == NULL ? -1 : 0;
}
