#include "pybridge/asgi/asgi_send.h"

#include "pybridge/asgi/asgi_file.h"

#include <unistd.h>

/* ---- what was said -------------------------------------------------------------------------------------- */

/* Whether a message may still be sent at all. */
static int check_open(const struct asgi_cycle *cycle)
{
    if (cycle->phase == ASGI_COMPLETE)
        return asgi_outgoing_raise("send() was called after the response was complete");
    if (!asgi_cycle_is_gone(cycle))
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

/* Type, status and headers are all that most starts have: of those three keys none is a fourth. */
static int read_announcement(struct asgi_cycle *cycle, PyObject *message)
{
    enum { USUAL_KEYS = 3 };
    const bool has_headers = cycle->head.response.head_length > 0;
    if (has_headers && PyDict_GET_SIZE(message) <= USUAL_KEYS)
        return 0;
    return asgi_outgoing_read_flag(cycle->adapter->core, message, ASGI_NAME_TRAILERS, &cycle->has_trailers);
}

static enum asgi_progress send_start(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (cycle->phase != ASGI_START_DUE) {
        asgi_outgoing_raise("http.response.start was sent already");
        return ASGI_FAILED;
    }
    enum asgi_progress progress = asgi_head_read(cycle->adapter->core, cycle->request, outgoing->message, &cycle->head);
    if (progress != ASGI_DONE)
        return progress;
    if (read_announcement(cycle, outgoing->message) < 0) {
        asgi_head_drop(cycle->adapter->core, &cycle->head);
        return ASGI_FAILED;
    }
    uint16_t status = cycle->head.status;
    cycle->body_is_unwanted = status == 204 || status == 304 || method_is_head(cycle);
    cycle->sends_trailers =
        cycle->has_trailers && !cycle->body_is_unwanted && app_request_takes_trailers(cycle->request);
    cycle->body_left = cycle->head.content_length;
    cycle->phase = ASGI_HEAD_HELD;
    return ASGI_DONE;
}

static int read_body(const struct asgi_core *core, struct asgi_outgoing *outgoing)
{
    bool more;
    if (asgi_outgoing_read_flag(core, outgoing->message, ASGI_NAME_MORE_BODY, &more) < 0)
        return -1;
    PyObject *body = asgi_core_lookup(core, outgoing->message, ASGI_NAME_BODY);
    if (body == NULL && PyErr_Occurred())
        return -1;
    int r = body == NULL ? 0 : PyObject_GetBuffer(body, &outgoing->body, PyBUF_SIMPLE);
    Py_XDECREF(body);
    if (r < 0)
        return -1;
    outgoing->ends = !more;
    outgoing->octets = outgoing->body.len;
    outgoing->is_read = true;
    return 0;
}

static enum asgi_progress send_body(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (asgi_outgoing_check_body(cycle) < 0)
        return ASGI_FAILED;
    if (!outgoing->is_read &&
        (read_body(cycle->adapter->core, outgoing) < 0 || asgi_outgoing_account(cycle, outgoing) < 0))
        return ASGI_FAILED;
    return asgi_outgoing_end(cycle, outgoing, asgi_outgoing_send(cycle, outgoing));
}

/* The last of them end the response; an end like any other when there were none. */
static enum asgi_progress end_with_trailers(struct asgi_cycle *cycle)
{
    struct asgi_core *core = cycle->adapter->core;
    size_t taken;
    if (!cycle->sends_trailers || cycle->head.response.head_length == 0)
        asgi_head_drop(core, &cycle->head);
    if (!cycle->sends_trailers)
        return ASGI_DONE;
    int r = cycle->head.response.memory != NULL
                ? app_response_trailers(core->exchange, &cycle->head.response)
                : app_response_body(core->exchange, cycle->request, bytes_of(NULL, 0), true, &taken);
    asgi_core_flush(core);
    return asgi_head_progress(core, r);
}

static enum asgi_progress send_trailers(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    struct asgi_core *core = cycle->adapter->core;
    bool more;
    if (cycle->phase != ASGI_TRAILERS_DUE) {
        asgi_outgoing_raise(
            "http.response.trailers comes after the last http.response.body, where the start announced it");
        return ASGI_FAILED;
    }
    if (!outgoing->is_read) {
        if (asgi_outgoing_read_flag(core, outgoing->message, ASGI_NAME_MORE_TRAILERS, &more) < 0)
            return ASGI_FAILED;
        enum asgi_progress progress = asgi_head_add_trailers(core, cycle->request, outgoing->message, &cycle->head);
        if (progress != ASGI_DONE)
            return progress;
        outgoing->ends = !more;
        outgoing->is_read = true;
    }
    enum asgi_progress progress = outgoing->ends ? end_with_trailers(cycle) : ASGI_DONE;
    if (progress == ASGI_DONE && outgoing->ends)
        asgi_outgoing_complete(cycle);
    return progress;
}

/* RFC 9110 15.2: an interim response comes before the final one. */
static bool may_send_interim(const struct asgi_cycle *cycle)
{
    if (cycle->phase <= ASGI_HEAD_HELD)
        return true;
    asgi_outgoing_raise("an interim response was sent after the response had begun");
    return false;
}

static enum asgi_progress send_early_hint(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (!may_send_interim(cycle))
        return ASGI_FAILED;
    return asgi_head_send_early_hint(cycle->adapter->core, cycle->request, outgoing->message);
}

static enum asgi_progress send_informational(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (!may_send_interim(cycle))
        return ASGI_FAILED;
    return asgi_head_send_informational(cycle->adapter->core, cycle->request, outgoing->message);
}

/* ---- now or later --------------------------------------------------------------------------------------- */

static const enum asgi_name SEND_NAMES[] = {
    ASGI_NAME_HTTP_RESPONSE_START,         ASGI_NAME_HTTP_RESPONSE_BODY,     ASGI_NAME_HTTP_RESPONSE_EARLY_HINT,
    ASGI_NAME_HTTP_RESPONSE_INFORMATIONAL, ASGI_NAME_HTTP_RESPONSE_TRAILERS, ASGI_NAME_HTTP_RESPONSE_PATHSEND,
    ASGI_NAME_HTTP_RESPONSE_ZEROCOPYSEND,
};
enum { SEND_KINDS = sizeof SEND_NAMES / sizeof *SEND_NAMES };

static enum asgi_progress (*const SEND_ROWS[SEND_KINDS])(struct asgi_cycle *, struct asgi_outgoing *) = {
    send_start,    send_body,           send_early_hint,          send_informational,
    send_trailers, asgi_file_send_path, asgi_file_send_zero_copy,
};

static enum asgi_progress attempt(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return check_open(cycle) < 0 ? ASGI_FAILED : SEND_ROWS[outgoing->kind](cycle, outgoing);
}

static void outgoing_release(struct asgi_outgoing *outgoing)
{
    PyBuffer_Release(&outgoing->body);
    if (outgoing->has_file)
        close(outgoing->file.fd);
    outgoing->has_file = false;
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
    asgi_cycle_want_room(cycle);
    return Py_NewRef(queued->future);
}

PyObject *asgi_send_call(PyObject *self, PyObject *const *arguments, size_t count_and_flag, PyObject *keywords)
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

bool asgi_send_retry(struct asgi_cycle *cycle)
{
    while (cycle->outgoing != NULL) {
        enum asgi_progress progress = attempt(cycle, cycle->outgoing);
        if (progress == ASGI_WAITS) {
            asgi_cycle_want_room(cycle);
            return false;
        }
        outgoing_settle(cycle, progress, ASGI_WAKE_NOW);
    }
    return true;
}

void asgi_send_fail(struct asgi_cycle *cycle)
{
    while (cycle->outgoing != NULL) {
        PyErr_SetString(cycle->adapter->core->client_disconnected, "the request is over");
        outgoing_settle(cycle, ASGI_FAILED, ASGI_WAKE_SOON);
    }
}

int asgi_send_traverse(struct asgi_cycle *cycle, visitproc visit, void *arg)
{
    for (struct asgi_outgoing *outgoing = cycle->outgoing; outgoing != NULL; outgoing = outgoing->next) {
        Py_VISIT(outgoing->message);
        Py_VISIT(outgoing->future);
        Py_VISIT(outgoing->body.obj);
    }
    return 0;
}

void asgi_send_clear(struct asgi_cycle *cycle)
{
    while (cycle->outgoing != NULL) {
        struct asgi_outgoing *outgoing = outgoing_pop(cycle);
        outgoing_release(outgoing);
        PyMem_Free(outgoing);
    }
}
