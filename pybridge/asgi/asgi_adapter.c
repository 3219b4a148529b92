#include "pybridge/asgi/asgi_adapter.h"

#include "pybridge/app_log.h"
#include "pybridge/python_text.h"

#include <assert.h>
#include <structmember.h>

struct asgi_receive {
    PyObject_HEAD vectorcallfunc call;
    struct asgi_core *core;
    struct asgi_cycle *cycle; /* borrowed; NULL when the cycle is no more */
};

/* One send() that has not gone out whole. */
struct asgi_outgoing {
    struct asgi_outgoing *next;
    struct asgi_future *future;
    PyObject *message;
    Py_buffer body;
    size_t sent;
    int kind;     /* index in SEND_ROWS */
    bool is_read; /* body and ends are filled in */
    bool ends;    /* the last piece */
};

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

static void wanting_append(struct asgi_adapter *adapter, struct asgi_cycle *cycle)
{
    if (cycle->wants_room)
        return;
    cycle->wants_room = true;
    cycle->next_wanting = NULL;
    Py_INCREF(cycle);
    if (adapter->wanting.last != NULL)
        adapter->wanting.last->next_wanting = cycle;
    else
        adapter->wanting.first = cycle;
    adapter->wanting.last = cycle;
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

/* ---- receive() -------------------------------------------------------------------------------------------------- */

static bool is_gone(const struct asgi_cycle *cycle)
{
    return cycle->request == NULL || cycle->request->fate == APP_REQUEST_CANCELLED;
}

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
    return request->body_state == APP_BODY_ENDED || app_request_body(request).length > 0;
}

/* The piece of body at hand becomes an event; its memory goes back to the client's credit. */
static PyObject *take_body(struct asgi_cycle *cycle)
{
    struct asgi_core *core = cycle->adapter->core;
    struct app_request *request = cycle->request;
    struct bytes piece = app_request_body(request);
    PyObject *body = text_bytes(piece);
    if (body == NULL)
        return NULL;
    app_request_consume(core->exchange, request, piece.length);
    bool more = request->body_state != APP_BODY_ENDED || app_request_body(request).length > 0;
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
    if (is_gone(cycle) || cycle->phase == ASGI_COMPLETE)
        return RECEIVE_DISCONNECT;
    if (cycle->request_is_read)
        return RECEIVE_NOTHING;
    if (cycle->request->body_state == APP_BODY_BROKEN)
        return RECEIVE_DISCONNECT;
    return has_body_event(cycle->request) ? RECEIVE_BODY : RECEIVE_NOTHING;
}

static PyObject *take_event(struct asgi_cycle *cycle, enum receivable what)
{
    return what == RECEIVE_BODY ? take_body(cycle) : disconnect_event(cycle->adapter->core);
}

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

/* Gives what is there to those who wait: a piece to the first, a disconnect to all. */
static void wake_receivers(struct asgi_cycle *cycle, enum asgi_wake wake)
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

/* ---- send(): what was said -------------------------------------------------------------------------------------- */

static int raise_order(const char *what)
{
    PyErr_SetString(PyExc_RuntimeError, what);
    return -1;
}

/* Whether a message may still be sent at all. */
static int check_open(const struct asgi_cycle *cycle)
{
    if (cycle->phase == ASGI_COMPLETE)
        return raise_order("send() was called after the response was complete");
    if (!is_gone(cycle))
        return 0;
    PyErr_SetString(cycle->adapter->core->client_disconnected, "the client is gone");
    return -1;
}

static bool method_is_head(const struct asgi_cycle *cycle)
{
    const struct arena_span span = cycle->request->record->method;
    return bytes_equal(app_request_span(cycle->adapter->core->exchange, cycle->request, span.offset, span.length),
                       BYTES_LITERAL("HEAD"));
}

static enum asgi_progress send_start(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (cycle->phase != ASGI_START_DUE) {
        raise_order("http.response.start was sent already");
        return ASGI_FAILED;
    }
    enum asgi_progress progress = asgi_head_read(cycle->adapter->core, cycle->request, outgoing->message, &cycle->head);
    if (progress != ASGI_DONE)
        return progress;
    uint16_t status = cycle->head.status;
    cycle->body_is_unwanted = status == 204 || status == 304 || method_is_head(cycle);
    cycle->body_left = cycle->head.content_length;
    cycle->phase = ASGI_HEAD_HELD;
    return ASGI_DONE;
}

static int read_flag(const struct asgi_core *core, PyObject *message, enum asgi_name name, bool *ret_flag)
{
    PyObject *value = asgi_core_lookup(core, message, name);
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    if (truth < 0 || PyErr_Occurred())
        return -1;
    *ret_flag = truth != 0;
    return 0;
}

static int read_body(const struct asgi_core *core, struct asgi_outgoing *outgoing)
{
    bool more;
    if (read_flag(core, outgoing->message, ASGI_NAME_MORE_BODY, &more) < 0)
        return -1;
    PyObject *body = asgi_core_lookup(core, outgoing->message, ASGI_NAME_BODY);
    if (body == NULL && PyErr_Occurred())
        return -1;
    int r = body == NULL ? 0 : PyObject_GetBuffer(body, &outgoing->body, PyBUF_SIMPLE);
    Py_XDECREF(body);
    if (r < 0)
        return -1;
    outgoing->ends = !more;
    outgoing->is_read = true;
    return 0;
}

/* RFC 9110 8.6: what was stated is what has to come. A response to HEAD states what GET would get. */
static int account(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    if (cycle->body_left < 0 || cycle->body_is_unwanted)
        return 0;
    if (outgoing->body.len > cycle->body_left)
        return raise_order("the response body is longer than its Content-Length");
    if (outgoing->ends && outgoing->body.len < cycle->body_left)
        return raise_order("the response body is shorter than its Content-Length");
    cycle->body_left -= outgoing->body.len;
    return 0;
}

/* The length to state: the application's word, or the size of the only piece. */
static int64_t length_to_state(const struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    if (cycle->head.content_length >= 0 || !outgoing->ends)
        return cycle->head.content_length;
    bool without_length = cycle->head.status == 204 || cycle->head.status == 304;
    return without_length ? -1 : outgoing->body.len;
}

static enum asgi_progress send_head(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    struct asgi_core *core = cycle->adapter->core;
    struct bytes body = bytes_of(outgoing->body.buf, (size_t)outgoing->body.len);
    bool ends = outgoing->ends || cycle->body_is_unwanted;
    if (cycle->body_is_unwanted)
        body.length = 0;
    size_t taken = 0;
    int r = app_response_start(core->exchange, &cycle->head.response, cycle->head.status,
                               length_to_state(cycle, outgoing), body, ends, &taken);
    if (r == 0) {
        cycle->phase = ASGI_STREAMING;
        outgoing->sent = taken;
    }
    return asgi_head_progress(core, r);
}

/* What the head did not take along. */
static enum asgi_progress send_rest(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    struct asgi_core *core = cycle->adapter->core;
    const size_t length = (size_t)outgoing->body.len;
    while (outgoing->sent < length || (outgoing->ends && !cycle->request->end_sent)) {
        size_t taken = 0;
        struct bytes rest = bytes_of((const uint8_t *)outgoing->body.buf + outgoing->sent, length - outgoing->sent);
        int r = app_response_body(core->exchange, cycle->request, rest, outgoing->ends, &taken);
        outgoing->sent += taken;
        if (r < 0)
            return asgi_head_progress(core, r);
    }
    return ASGI_DONE;
}

static void complete(struct asgi_cycle *cycle)
{
    cycle->phase = ASGI_COMPLETE;
    wake_receivers(cycle, ASGI_WAKE_SOON);
}

static enum asgi_progress send_body(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (cycle->phase == ASGI_START_DUE) {
        raise_order("http.response.body was sent before http.response.start");
        return ASGI_FAILED;
    }
    if (!outgoing->is_read && (read_body(cycle->adapter->core, outgoing) < 0 || account(cycle, outgoing) < 0))
        return ASGI_FAILED;
    enum asgi_progress progress = ASGI_DONE;
    if (cycle->phase == ASGI_HEAD_HELD)
        progress = send_head(cycle, outgoing);
    if (progress == ASGI_DONE && !cycle->body_is_unwanted)
        progress = send_rest(cycle, outgoing);
    asgi_core_flush(cycle->adapter->core);
    if (progress == ASGI_DONE && outgoing->ends)
        complete(cycle);
    return progress;
}

/* Hints that come after the head has gone out are too late to help, and no error. */
static enum asgi_progress send_early_hint(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (cycle->phase > ASGI_HEAD_HELD)
        return ASGI_DONE;
    return asgi_head_send_early_hint(cycle->adapter->core, cycle->request, outgoing->message);
}

static enum asgi_progress send_informational(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (cycle->phase > ASGI_HEAD_HELD)
        return ASGI_DONE;
    return asgi_head_send_informational(cycle->adapter->core, cycle->request, outgoing->message);
}

/* ---- send(): now or later --------------------------------------------------------------------------------------- */

static const enum asgi_name SEND_NAMES[] = {
    ASGI_NAME_HTTP_RESPONSE_START,
    ASGI_NAME_HTTP_RESPONSE_BODY,
    ASGI_NAME_HTTP_RESPONSE_EARLY_HINT,
    ASGI_NAME_HTTP_RESPONSE_INFORMATIONAL,
};
enum { SEND_KINDS = sizeof SEND_NAMES / sizeof *SEND_NAMES };

static enum asgi_progress (*const SEND_ROWS[SEND_KINDS])(struct asgi_cycle *, struct asgi_outgoing *) = {
    send_start,
    send_body,
    send_early_hint,
    send_informational,
};

static enum asgi_progress attempt(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return check_open(cycle) < 0 ? ASGI_FAILED : SEND_ROWS[outgoing->kind](cycle, outgoing);
}

static void outgoing_release(struct asgi_outgoing *outgoing)
{
    PyBuffer_Release(&outgoing->body);
    Py_CLEAR(outgoing->message);
    Py_CLEAR(outgoing->future);
}

/* Puts it at the end of the cycle's queue; its future is the answer. Takes what `outgoing` holds, either way. */
static PyObject *wait_for_room(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    outgoing->future = asgi_future_create(cycle->adapter->core);
    struct asgi_outgoing *queued = outgoing->future == NULL ? NULL : PyMem_Malloc(sizeof *queued);
    if (queued == NULL) {
        if (outgoing->future != NULL)
            PyErr_NoMemory();
        outgoing_release(outgoing);
        return NULL;
    }
    *queued = *outgoing;
    queued->next = NULL;
    struct asgi_outgoing **end = &cycle->outgoing;
    while (*end != NULL)
        end = &(*end)->next;
    *end = queued;
    wanting_append(cycle->adapter, cycle);
    return Py_NewRef(queued->future);
}

static PyObject *send_call(PyObject *self, PyObject *const *arguments, size_t count_and_flag, PyObject *keywords)
{
    struct asgi_cycle *cycle = (struct asgi_cycle *)self;
    struct asgi_core *core = cycle->adapter->core;
    if (PyVectorcall_NARGS(count_and_flag) != 1 || keywords != NULL) {
        PyErr_SetString(PyExc_TypeError, "send() takes one message");
        return NULL;
    }
    struct asgi_outgoing outgoing = {.kind = asgi_core_message_type(core, arguments[0], SEND_NAMES, SEND_KINDS)};
    if (outgoing.kind < 0)
        return NULL;
    outgoing.message = Py_NewRef(arguments[0]);
    enum asgi_progress progress = cycle->outgoing != NULL ? ASGI_WAITS : attempt(cycle, &outgoing);
    if (progress == ASGI_WAITS)
        return wait_for_room(cycle, &outgoing);
    outgoing_release(&outgoing);
    return progress == ASGI_DONE ? Py_NewRef(core->done) : NULL;
}

static struct asgi_outgoing *outgoing_pop(struct asgi_cycle *cycle)
{
    struct asgi_outgoing *outgoing = cycle->outgoing;
    cycle->outgoing = outgoing->next;
    return outgoing;
}

/* The future of the oldest one hears how it ended; with ASGI_WAKE_NOW that runs the application. */
static void outgoing_settle(struct asgi_cycle *cycle, enum asgi_progress progress, enum asgi_wake wake)
{
    struct asgi_outgoing *outgoing = outgoing_pop(cycle);
    if (progress == ASGI_DONE)
        asgi_future_finish(outgoing->future, Py_NewRef(Py_None), wake);
    else
        asgi_future_fail(outgoing->future, asgi_core_take_exception(), wake);
    outgoing_release(outgoing);
    PyMem_Free(outgoing);
}

static void retry_outgoing(struct asgi_cycle *cycle)
{
    while (cycle->outgoing != NULL) {
        enum asgi_progress progress = attempt(cycle, cycle->outgoing);
        if (progress == ASGI_WAITS) {
            wanting_append(cycle->adapter, cycle);
            return;
        }
        outgoing_settle(cycle, progress, ASGI_WAKE_NOW);
    }
    if (cycle->application_returned && cycle->request != NULL) {
        log_incomplete(cycle);
        close_cycle(cycle);
    }
}

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

static void settle_awake(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle;
    while ((cycle = awake_pop(adapter)) != NULL) {
        if (is_gone(cycle) && cycle->request != NULL) {
            if (!cycle->application_returned)
                adapter->on_gone(cycle, adapter->on_gone_context);
            retry_outgoing(cycle); /* which fails each of them */
        }
        wake_receivers(cycle, ASGI_WAKE_NOW);
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
        retry_outgoing(cycle);
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

static struct asgi_receive *receive_create(struct asgi_cycle *cycle)
{
    struct asgi_receive *receive = PyObject_New(struct asgi_receive, cycle->adapter->core->receive_type);
    if (receive == NULL)
        return NULL;
    receive->call = receive_call;
    receive->core = cycle->adapter->core;
    receive->cycle = cycle;
    return receive;
}

static struct asgi_cycle *cycle_create(struct asgi_adapter *adapter)
{
    struct asgi_cycle *cycle = PyObject_GC_New(struct asgi_cycle, adapter->core->cycle_type);
    if (cycle == NULL)
        return NULL;
    memset((char *)cycle + sizeof(PyObject), 0, sizeof *cycle - sizeof(PyObject));
    cycle->call = send_call;
    cycle->adapter = adapter;
    cycle->receive = receive_create(cycle);
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
    if (cycle->phase == ASGI_HEAD_HELD)
        asgi_head_drop(adapter->core, &cycle->head);
    cycle->request = NULL;
    cycle->owner = NULL;
    request->user = NULL;
    if (!request->end_sent && request->fate == APP_REQUEST_ALIVE)
        (void)!app_response_fail(adapter->core->exchange, request);
    app_request_done(adapter->core->exchange, request);
    wake_receivers(cycle, ASGI_WAKE_SOON);
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
        return is_gone(cycle) || app_exchange_stopping(core->exchange);
    return is_gone(cycle) && caused_by_disconnect(core, exception, DEPTH_MAX);
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
    if (is_gone(cycle) || cycle->phase == ASGI_COMPLETE || cycle->outgoing != NULL)
        return;
    app_log_error(process, cycle->request, "the ASGI application returned %s",
                  cycle->phase == ASGI_START_DUE ? "without a response" : "before its response was complete");
}

/* What still waits for room goes out, unless the response is broken anyway. */
static bool lingers(const struct asgi_cycle *cycle, bool failed)
{
    return cycle->outgoing != NULL && !failed && !is_gone(cycle);
}

/* Tasks that the application left behind may wait for them. */
static void fail_outgoing(struct asgi_cycle *cycle)
{
    while (cycle->outgoing != NULL) {
        PyErr_SetString(cycle->adapter->core->client_disconnected, "the request is over");
        outgoing_settle(cycle, ASGI_FAILED, ASGI_WAKE_SOON);
    }
}

void asgi_cycle_finish(struct asgi_cycle *cycle)
{
    bool failed = PyErr_Occurred() != NULL;
    if (failed)
        log_failure(cycle);
    else
        log_incomplete(cycle);
    cycle->application_returned = true;
    if (!lingers(cycle, failed)) {
        fail_outgoing(cycle);
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
    for (struct asgi_outgoing *outgoing = cycle->outgoing; outgoing != NULL; outgoing = outgoing->next) {
        Py_VISIT(outgoing->message);
        Py_VISIT(outgoing->future);
        Py_VISIT(outgoing->body.obj);
    }
    return 0;
}

static int cycle_clear(PyObject *self)
{
    struct asgi_cycle *cycle = (struct asgi_cycle *)self;
    while (cycle->outgoing != NULL) {
        struct asgi_outgoing *outgoing = outgoing_pop(cycle);
        outgoing_release(outgoing);
        PyMem_Free(outgoing);
    }
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

int asgi_adapter_init(struct asgi_adapter *adapter, struct asgi_core *core)
{
    *adapter = (struct asgi_adapter){.core = core};
    core->cycle_type = asgi_core_type(core, &CYCLE_SPEC);
    core->receive_type = asgi_core_type(core, &RECEIVE_SPEC);
    if (core->cycle_type == NULL || core->receive_type == NULL)
        return -1;
    return asgi_scope_init(&adapter->scope, core);
}

void asgi_adapter_deinit(struct asgi_adapter *adapter)
{
    while (adapter->spare_count > 0)
        Py_DECREF(adapter->spares[--adapter->spare_count]);
    asgi_scope_deinit(&adapter->scope);
}
