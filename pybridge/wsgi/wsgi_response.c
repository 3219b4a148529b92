#include "pybridge/wsgi/wsgi_response.h"

#include "daemon/exchange/field_block.h"
#include "pybridge/app_log.h"
#include "pybridge/app_wait.h"
#include "pybridge/python_text.h"
#include "pybridge/wsgi/wsgi_adapter.h"
#include "pybridge/wsgi/wsgi_head.h"

#include <errno.h>
#include <structmember.h>

enum { STATUS_EARLY_HINTS = 103, STATUS_OK = 200, STATUS_NO_CONTENT = 204, STATUS_NOT_MODIFIED = 304 };

/* Who refers to these objects when no application does: to the response its owner and the three callables that are part
 * of it; to `write` the response; to `early_hints` the response and both templates of the environ; to `send_trailers`
 * the response and two keys of the one for HTTP/2. */
enum { RESPONSE_REFERENCES = 4, WRITE_REFERENCES = 1, HINTS_REFERENCES = 3, TRAILERS_REFERENCES = 3 };

static struct app_exchange *exchange_of(const struct wsgi_response *response)
{
    return response->adapter->process->exchange;
}

static int check_open(const struct wsgi_response *response)
{
    if (response->request != NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "the request has ended");
    return -1;
}

/* ---- the head ---- */

/* Ahead of the fields, but for the one that nearly every response has, and that the I/O process says by itself. */
static int add_reason(struct wsgi_response *response, struct bytes reason)
{
    bool is_usual = response->status == STATUS_OK && bytes_equal(reason, BYTES_LITERAL("OK"));
    if (reason.length == 0 || is_usual)
        return 0;
    return wsgi_head_add(exchange_of(response), &response->request, &response->head, FIELD_BLOCK_REASON, reason);
}

static void drop_head(struct wsgi_response *response)
{
    if (response->state != WSGI_STARTED)
        return;
    app_response_drop(exchange_of(response), &response->head);
    response->state = WSGI_WAITING;
}

static int start(struct wsgi_response *response, PyObject *status, PyObject *headers)
{
    int64_t content_length = -1;
    struct bytes reason;
    if (wsgi_head_read_status(status, &response->status, &reason) < 0 ||
        wsgi_head_begin(exchange_of(response), &response->request, &response->head) < 0)
        return -1;
    response->state = WSGI_STARTED;
    if (add_reason(response, reason) < 0 ||
        wsgi_head_add_list(exchange_of(response), &response->request, &response->head, WSGI_HEAD_FIELDS, headers,
                           &content_length) < 0) {
        drop_head(response);
        return -1;
    }
    response->content_length = content_length;
    return 0;
}

/* PEP 3333: a second call must bring exc_info; it raises that when the head has gone, and replaces the head else. */
static int allow_start(struct wsgi_response *response, PyObject *exc_info)
{
    if (response->state == WSGI_WAITING)
        return 0;
    if (exc_info == NULL || exc_info == Py_None) {
        PyErr_SetString(PyExc_AssertionError, "start_response() was called again without exc_info");
        return -1;
    }
    if (response->state == WSGI_STARTED) {
        drop_head(response);
        return 0;
    }
    PyObject *type, *value, *traceback;
    if (!PyArg_ParseTuple(exc_info, "OOO;exc_info must be a tuple of three", &type, &value, &traceback))
        return -1;
    if (!PyExceptionInstance_Check(value))
        PyErr_SetString(PyExc_TypeError, "exc_info has no exception in it");
    else if (traceback == Py_None || PyException_SetTraceback(value, traceback) == 0)
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    return -1;
}

/* start_response(status, headers, exc_info=None) */
static PyObject *call_start_response(PyObject *self, PyObject *const *arguments, size_t count_and_flag, PyObject *names)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    Py_ssize_t count = PyVectorcall_NARGS(count_and_flag);
    Py_ssize_t named = names != NULL ? PyTuple_GET_SIZE(names) : 0;
    bool is_named_well = named == 0 || (named == 1 && count == 2 &&
                                        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "exc_info") == 0);
    if (count < 2 || count > 3 || !is_named_well) {
        PyErr_SetString(PyExc_TypeError, "start_response(status, headers, exc_info=None) is what can be called");
        return NULL;
    }
    PyObject *exc_info = count + named > 2 ? arguments[2] : NULL;
    if (check_open(response) < 0 || allow_start(response, exc_info) < 0 ||
        start(response, arguments[0], arguments[1]) < 0)
        return NULL;
    return Py_NewRef(response->write);
}

/* ---- the body ---- */

bool wsgi_response_is_bodiless(const struct wsgi_response *response)
{
    return response->is_head || response->status == STATUS_NO_CONTENT || response->status == STATUS_NOT_MODIFIED;
}

/* What of `body` the client may get: RFC 9110 8.6, no octet beyond the length that was stated. */
static struct bytes fit(struct wsgi_response *response, struct bytes body)
{
    if (wsgi_response_is_bodiless(response))
        return bytes_of(NULL, 0);
    if (response->content_length < 0)
        return body;
    uint64_t room = (uint64_t)response->content_length - response->body_sent;
    if (body.length > room) {
        response->surplus += body.length - room;
        body.length = (size_t)room;
    }
    return body;
}

/* Whether the response ends with these octets, and with no trailers behind them. */
static bool is_end(const struct wsgi_response *response, struct bytes body, bool is_last)
{
    if (wsgi_response_is_bodiless(response))
        return true;
    if (wsgi_response_has_trailers(response))
        return false;
    return is_last ||
           (response->content_length >= 0 && response->body_sent + body.length == (uint64_t)response->content_length);
}

static int push(struct wsgi_response *response, struct bytes body, bool end, size_t *ret_taken)
{
    if (response->state == WSGI_SENT)
        return app_response_body(exchange_of(response), response->request, body, end, ret_taken);
    int r = app_response_start(exchange_of(response), &response->head, response->status, response->content_length, body,
                               end, ret_taken);
    if (r == 0)
        response->state = WSGI_SENT;
    return r;
}

static enum wsgi_outcome failed(int r)
{
    if (r == -EPIPE)
        return WSGI_GONE;
    wsgi_raise_errno(r);
    return WSGI_ERROR;
}

/* false also when another thread of the application has ended the response meanwhile: its write() may be the last. */
static bool wait_for_room(const struct wsgi_response *response)
{
    return wsgi_head_wait_for_room(exchange_of(response), &response->request) && response->state != WSGI_ENDED;
}

/* *end is whether the response ends with these octets, and comes back as whether it did. */
static enum wsgi_outcome push_all(struct wsgi_response *response, struct bytes body, bool is_last, bool *end)
{
    for (;;) {
        size_t taken = 0;
        int r = push(response, body, *end, &taken);
        if (r < 0 && r != -EAGAIN)
            return failed(r);
        response->body_sent += taken;
        body = bytes_skip(body, taken);
        if (r == 0 && body.length == 0)
            return WSGI_OK;
        if (r == 0)
            continue;
        if (!wait_for_room(response))
            return WSGI_GONE;
        /* Another thread may have written meanwhile. */
        body = fit(response, body);
        *end = is_end(response, body, is_last);
    }
}

static enum wsgi_outcome push_trailers(struct wsgi_response *response)
{
    for (;;) {
        int r = app_response_trailers(exchange_of(response), &response->trailers);
        if (r != -EAGAIN)
            return r < 0 ? failed(r) : WSGI_OK;
        if (!wait_for_room(response))
            return WSGI_GONE;
    }
}

enum wsgi_outcome wsgi_response_send(struct wsgi_response *response, struct bytes body, bool is_last)
{
    if (response->request->fate == APP_REQUEST_CANCELLED)
        return WSGI_GONE;
    if (response->state == WSGI_WAITING && (body.length > 0 || is_last)) {
        PyErr_SetString(PyExc_AssertionError, "the application sends a body before it called start_response()");
        return WSGI_ERROR;
    }
    if (response->state == WSGI_WAITING)
        return WSGI_OK;
    body = fit(response, body);
    bool end = is_end(response, body, is_last);
    if (response->state == WSGI_ENDED || (body.length == 0 && !end && !is_last))
        return WSGI_OK;
    enum wsgi_outcome outcome = push_all(response, body, is_last, &end);
    if (outcome == WSGI_OK && is_last && !end)
        outcome = push_trailers(response);
    if (outcome == WSGI_OK && (end || is_last))
        response->state = WSGI_ENDED;
    return outcome;
}

bool wsgi_response_send_file(struct wsgi_response *response, const struct app_file *file,
                             enum wsgi_outcome *ret_outcome)
{
    int r;
    while ((r = app_response_file(exchange_of(response), response->request, &response->head, response->status,
                                  response->content_length, file, true)) == -EAGAIN) {
        if (!app_wait_for_request(exchange_of(response), response->request, APP_WAIT_ROOM))
            r = -EPIPE;
        if (r == -EPIPE)
            break;
    }
    if (r < 0 && r != -EPIPE)
        return false;
    if (r == 0) {
        response->body_sent = file->length;
        response->state = WSGI_ENDED;
    }
    *ret_outcome = r == 0 ? WSGI_OK : WSGI_GONE;
    return true;
}

void wsgi_response_fail(struct wsgi_response *response)
{
    drop_head(response);
    if (response->state == WSGI_ENDED)
        return;
    response->state = WSGI_ENDED;
    while (app_response_fail(exchange_of(response), response->request) == -EAGAIN)
        if (!app_wait_for_request(exchange_of(response), response->request, APP_WAIT_ROOM))
            return;
}

/* What the application sends piece by piece must not wait for the pieces that follow. */
static PyObject *call_write(PyObject *self, PyObject *data)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    if (check_open(response) < 0)
        return NULL;
    if (!PyBytes_Check(data))
        return PyErr_Format(PyExc_TypeError, "write() takes bytes, not %.100s", Py_TYPE(data)->tp_name);
    switch (wsgi_response_send(response, text_octets(data), false)) {
    case WSGI_OK:
        app_exchange_flush(exchange_of(response));
        Py_RETURN_NONE;
    case WSGI_GONE:
        wsgi_raise_gone();
        return NULL;
    default:
        return NULL;
    }
}

/* ---- early hints ---- */

static int send_hints(struct wsgi_response *response, struct app_response *hints)
{
    int r;
    while ((r = app_response_interim(exchange_of(response), hints, STATUS_EARLY_HINTS)) == -EAGAIN)
        if (!wait_for_room(response))
            return wsgi_raise_gone();
    if (r < 0)
        return wsgi_raise_errno(r);
    app_exchange_flush(exchange_of(response));
    return 0;
}

/* RFC 9110 15.2: an HTTP/1.0 client does not know 1xx. What would be sent was checked all the same. */
static int send_or_drop_hints(struct wsgi_response *response, struct app_response *hints)
{
    if (response->request->record->version != SLOT_HTTP_1_0)
        return send_hints(response, hints);
    app_response_drop(exchange_of(response), hints);
    return 0;
}

/* wsgi.early_hints(headers), Gunicorn's. Once the head has gone there is nothing left to hint at. */
static PyObject *call_early_hints(PyObject *self, PyObject *headers)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    struct app_response hints;
    int64_t content_length;
    if (check_open(response) < 0)
        return NULL;
    if (response->state >= WSGI_SENT)
        return PyErr_Format(PyExc_RuntimeError, "early hints were given after the response had begun");
    if (wsgi_head_begin(exchange_of(response), &response->request, &hints) < 0)
        return NULL;
    if (wsgi_head_add_list(exchange_of(response), &response->request, &hints, WSGI_HEAD_FIELDS, headers,
                           &content_length) < 0 ||
        send_or_drop_hints(response, &hints) < 0) {
        app_response_drop(exchange_of(response), &hints);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- trailers ---- */

static void drop_trailers(struct wsgi_response *response)
{
    if (wsgi_response_has_trailers(response))
        app_response_drop(exchange_of(response), &response->trailers);
}

/* send_trailers(headers), Gunicorn's: they go out behind the body. The last call counts. */
static PyObject *call_send_trailers(PyObject *self, PyObject *headers)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    struct app_response trailers;
    int64_t unused;
    if (check_open(response) < 0)
        return NULL;
    if (response->state == WSGI_ENDED)
        return PyErr_Format(PyExc_RuntimeError, "trailers were given after the response had ended");
    if (wsgi_head_begin(exchange_of(response), &response->request, &trailers) < 0)
        return NULL;
    if (wsgi_head_add_list(exchange_of(response), &response->request, &trailers, WSGI_TRAILER_FIELDS, headers,
                           &unused) < 0) {
        app_response_drop(exchange_of(response), &trailers);
        return NULL;
    }
    drop_trailers(response);
    if (trailers.head_length == 0)
        app_response_drop(exchange_of(response), &trailers);
    response->trailers = trailers;
    Py_RETURN_NONE;
}

/* ---- life ---- */

static PyMethodDef WRITE = {"write", call_write, METH_O, PyDoc_STR("write(data): sends octets of the body.")};
static PyMethodDef EARLY_HINTS = {"early_hints", call_early_hints, METH_O,
                                  PyDoc_STR("early_hints(headers): sends a 103 response.")};
static PyMethodDef SEND_TRAILERS = {"send_trailers", call_send_trailers, METH_O,
                                    PyDoc_STR("send_trailers(headers): ends the response with these fields.")};

static int response_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(response->write);
    Py_VISIT(response->early_hints);
    Py_VISIT(response->send_trailers);
    return 0;
}

static int response_clear(PyObject *self)
{
    struct wsgi_response *response = (struct wsgi_response *)self;
    Py_CLEAR(response->write);
    Py_CLEAR(response->early_hints);
    Py_CLEAR(response->send_trailers);
    return 0;
}

static void response_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    response_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef MEMBERS[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct wsgi_response, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_dealloc, response_dealloc}, {Py_tp_traverse, response_traverse},
    {Py_tp_clear, response_clear},     {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, MEMBERS},          {0, NULL},
};

static PyType_Spec SPEC = {
    .name = "uroboros.StartResponse",
    .basicsize = sizeof(struct wsgi_response),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SLOTS,
};

PyTypeObject *wsgi_response_make_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &SPEC, NULL);
}

struct wsgi_response *wsgi_response_create(struct wsgi_adapter *adapter)
{
    PyTypeObject *type = adapter->response_type;
    struct wsgi_response *response = (struct wsgi_response *)type->tp_alloc(type, 0);
    if (response == NULL)
        return NULL;
    response->vectorcall = call_start_response;
    response->adapter = adapter;
    response->write = PyCFunction_New(&WRITE, (PyObject *)response);
    response->early_hints = PyCFunction_New(&EARLY_HINTS, (PyObject *)response);
    response->send_trailers = PyCFunction_New(&SEND_TRAILERS, (PyObject *)response);
    if (response->write == NULL || response->early_hints == NULL || response->send_trailers == NULL) {
        response_clear((PyObject *)response);
        Py_CLEAR(response);
    }
    return response;
}

void wsgi_response_destroy(struct wsgi_response *response)
{
    if (response == NULL)
        return;
    /* The callables and the response refer to each other; what the application kept stays for the collector. */
    if (Py_REFCNT(response) == RESPONSE_REFERENCES)
        response_clear((PyObject *)response);
    Py_DECREF(response);
}

bool wsgi_response_is_free(const struct wsgi_response *response)
{
#ifdef Py_GIL_DISABLED
    /* A count that others change at this moment says nothing. */
    (void)response;
    return false;
#else
    return Py_REFCNT(response) == RESPONSE_REFERENCES && Py_REFCNT(response->write) == WRITE_REFERENCES &&
           Py_REFCNT(response->early_hints) == HINTS_REFERENCES &&
           Py_REFCNT(response->send_trailers) == TRAILERS_REFERENCES;
#endif
}

void wsgi_response_begin(struct wsgi_response *response, struct app_request *request)
{
    const struct slot_record *record = request->record;
    struct bytes method =
        app_request_span(exchange_of(response), request, record->method.offset, record->method.length);
    response->request = request;
    response->state = WSGI_WAITING;
    response->is_head = bytes_equal(method, BYTES_LITERAL("HEAD"));
    response->status = 0;
    response->content_length = -1;
    response->body_sent = 0;
    response->surplus = 0;
}

void wsgi_response_end(struct wsgi_response *response)
{
    drop_head(response);
    drop_trailers(response);
    response->request = NULL;
}
