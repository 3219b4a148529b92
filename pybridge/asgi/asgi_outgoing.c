#include "pybridge/asgi/asgi_outgoing.h"

#include "pybridge/asgi/asgi_receive.h"

int asgi_outgoing_raise(const char *what)
{
    PyErr_SetString(PyExc_RuntimeError, what);
    return -1;
}

int asgi_outgoing_read_flag(const struct asgi_core *core, PyObject *message, enum asgi_name name, bool *ret_flag)
{
    PyObject *value = asgi_core_lookup(core, message, name);
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    if (truth < 0 || PyErr_Occurred())
        return -1;
    *ret_flag = truth != 0;
    return 0;
}

int asgi_outgoing_account(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    if (cycle->body_left < 0 || cycle->body_is_unwanted)
        return 0;
    if (outgoing->octets > cycle->body_left)
        return asgi_outgoing_raise("the response body is longer than its Content-Length");
    if (outgoing->ends && outgoing->octets < cycle->body_left)
        return asgi_outgoing_raise("the response body is shorter than its Content-Length");
    cycle->body_left -= outgoing->octets;
    return 0;
}

int64_t asgi_outgoing_length(const struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    if (cycle->head.content_length >= 0 || !outgoing->ends || cycle->sends_trailers)
        return cycle->head.content_length;
    bool without_length = cycle->head.status == 204 || cycle->head.status == 304;
    return without_length ? -1 : outgoing->octets;
}

/* Whether the response ends with this piece of body. */
static bool is_end(const struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    return (outgoing->ends && outgoing->file.length == 0 && !cycle->sends_trailers) || cycle->body_is_unwanted;
}

static enum asgi_progress send_head(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    struct asgi_core *core = cycle->adapter->core;
    struct bytes body = bytes_of(outgoing->body.buf, (size_t)outgoing->body.len);
    bool ends = is_end(cycle, outgoing);
    if (cycle->body_is_unwanted)
        body.length = 0;
    size_t taken = 0;
    int r = app_response_start(core->exchange, &cycle->head.response, cycle->head.status,
                               asgi_outgoing_length(cycle, outgoing), body, ends, &taken);
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
    const bool ends = is_end(cycle, outgoing);
    while (outgoing->sent < length || (ends && !cycle->request->end_sent)) {
        size_t taken = 0;
        struct bytes rest = bytes_of((const uint8_t *)outgoing->body.buf + outgoing->sent, length - outgoing->sent);
        int r = app_response_body(core->exchange, cycle->request, rest, ends, &taken);
        outgoing->sent += taken;
        if (r < 0)
            return asgi_head_progress(core, r);
    }
    return ASGI_DONE;
}

void asgi_outgoing_complete(struct asgi_cycle *cycle)
{
    cycle->phase = ASGI_COMPLETE;
    asgi_receive_wake(cycle, ASGI_WAKE_SOON);
}

int asgi_outgoing_check_body(const struct asgi_cycle *cycle)
{
    if (cycle->phase == ASGI_START_DUE)
        return asgi_outgoing_raise("a body was sent before http.response.start");
    return cycle->phase == ASGI_TRAILERS_DUE ? asgi_outgoing_raise("a body was sent after the last of it") : 0;
}

enum asgi_progress asgi_outgoing_send(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    enum asgi_progress progress = ASGI_DONE;
    if (cycle->phase == ASGI_HEAD_HELD)
        progress = send_head(cycle, outgoing);
    if (progress == ASGI_DONE && !cycle->body_is_unwanted)
        progress = send_rest(cycle, outgoing);
    return progress;
}

enum asgi_progress asgi_outgoing_end(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing,
                                     enum asgi_progress progress)
{
    asgi_core_flush(cycle->adapter->core);
    if (progress == ASGI_DONE && outgoing->ends && cycle->has_trailers)
        cycle->phase = ASGI_TRAILERS_DUE;
    else if (progress == ASGI_DONE && outgoing->ends)
        asgi_outgoing_complete(cycle);
    return progress;
}
