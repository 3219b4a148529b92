#include "pybridge/asgi/asgi_head.h"

#include "pybridge/python_text.h"
#include "pybridge/response_field.h"

#include <errno.h>

enum { STATUS_EARLY_HINTS = 103, STATUS_FINAL_MIN = 200, STATUS_MAX = 999 };

enum asgi_progress asgi_head_progress(const struct asgi_core *core, int error)
{
    switch (error) {
    case 0:
        return ASGI_DONE;
    case -ENOBUFS:
    case -EAGAIN:
        return ASGI_WAITS;
    case -EPIPE:
        PyErr_SetString(core->client_disconnected, "the client is gone");
        return ASGI_FAILED;
    case -EMSGSIZE:
        PyErr_SetString(PyExc_RuntimeError, "the response headers are larger than 64 KiB");
        return ASGI_FAILED;
    default:
        errno = -error;
        PyErr_SetFromErrno(PyExc_OSError);
        return ASGI_FAILED;
    }
}

/* What the rows of a message are: fields of a head, values of Link fields, trailers. */
enum rows { ROWS_OF_HEAD, ROWS_OF_LINKS, ROWS_OF_TRAILERS };

/* ---- fields ----------------------------------------------------------------------------------------------------- */

/* The octets of a name or value; they live as long as `object`. */
static int field_octets(PyObject *object, const char *what, struct bytes *ret_octets)
{
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "the %s of a response header is bytes, not %.100s", what,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    *ret_octets = text_octets(object);
    return 0;
}

static enum asgi_progress state_length(struct asgi_head *head, int64_t length)
{
    if (head->content_length >= 0 && head->content_length != length) {
        PyErr_SetString(PyExc_RuntimeError, "the response has two Content-Lengths");
        return ASGI_FAILED;
    }
    head->content_length = length;
    return ASGI_DONE;
}

static enum asgi_progress append_octets(const struct asgi_core *core, struct asgi_head *head, enum rows rows,
                                        struct bytes name, struct bytes value)
{
    int64_t length = -1;
    enum response_field verdict =
        rows == ROWS_OF_TRAILERS ? response_trailer_check(name, value) : response_field_check(name, value, &length);
    switch (verdict) {
    case RESPONSE_FIELD_GOOD:
        return asgi_head_progress(core, app_response_field(core->exchange, &head->response, name, value));
    case RESPONSE_FIELD_CONTENT_LENGTH:
        return state_length(head, length);
    case RESPONSE_FIELD_OF_CONNECTION:
        return ASGI_DONE;
    default:
        PyErr_Format(PyExc_RuntimeError, "%s", response_field_complaint(verdict));
        return ASGI_FAILED;
    }
}

/* `pair` is a list or tuple of the name and the value. */
static enum asgi_progress append_pair(const struct asgi_core *core, struct asgi_head *head, enum rows rows,
                                      PyObject *pair)
{
    struct bytes name, value;
    if (PySequence_Fast_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_ValueError, "a response header is a name and a value, not %zd things",
                     PySequence_Fast_GET_SIZE(pair));
        return ASGI_FAILED;
    }
    if (field_octets(PySequence_Fast_GET_ITEM(pair, 0), "name", &name) < 0 ||
        field_octets(PySequence_Fast_GET_ITEM(pair, 1), "value", &value) < 0)
        return ASGI_FAILED;
    return append_octets(core, head, rows, name, value);
}

/* A row of `headers`: a pair, or for early hints the value of a Link field. */
static enum asgi_progress append_item(const struct asgi_core *core, struct asgi_head *head, enum rows rows,
                                      PyObject *item)
{
    if (rows == ROWS_OF_LINKS) {
        struct bytes link;
        return field_octets(item, "link", &link) < 0 ? ASGI_FAILED
                                                     : append_octets(core, head, rows, BYTES_LITERAL("link"), link);
    }
    PyObject *pair = PySequence_Fast(item, "a response header is a pair of bytes");
    if (pair == NULL)
        return ASGI_FAILED;
    enum asgi_progress progress = append_pair(core, head, rows, pair);
    Py_DECREF(pair);
    return progress;
}

/* A list or tuple. What gives its rows only once, as a generator does, leaves them in the message: should there be no
 * room for all of them, they are asked for again. */
static PyObject *list_of_rows(const struct asgi_core *core, PyObject *message, enum asgi_name name, PyObject *given)
{
    PyObject *list = PySequence_Fast(given, "the headers or links of an ASGI message are an iterable");
    if (list != NULL && list != given && PyDict_SetItem(message, asgi_text(core, name), list) < 0)
        Py_CLEAR(list);
    return list;
}

/* All rows of the message; none when it has none. */
static enum asgi_progress append_all(const struct asgi_core *core, struct asgi_head *head, enum rows rows,
                                     PyObject *message)
{
    enum asgi_name name = rows == ROWS_OF_LINKS ? ASGI_NAME_LINKS : ASGI_NAME_HEADERS;
    PyObject *given = asgi_core_lookup(core, message, name);
    if (given == NULL)
        return PyErr_Occurred() ? ASGI_FAILED : ASGI_DONE;
    PyObject *list = list_of_rows(core, message, name, given);
    Py_DECREF(given);
    enum asgi_progress progress = list == NULL ? ASGI_FAILED : ASGI_DONE;
    /* The list is the application's own: its size is asked anew and the row held, lest one run of its code shorten it.
     */
    for (Py_ssize_t i = 0; progress == ASGI_DONE && i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *row = Py_NewRef(PySequence_Fast_GET_ITEM(list, i));
        progress = append_item(core, head, rows, row);
        Py_DECREF(row);
    }
    Py_XDECREF(list);
    return progress;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static int read_status(const struct asgi_core *core, PyObject *message, long min, long max, uint16_t *ret_status)
{
    PyObject *given = asgi_core_lookup(core, message, ASGI_NAME_STATUS);
    if (given == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the start of a response needs a 'status'");
        return -1;
    }
    long status = -1;
    if (PyLong_Check(given))
        status = PyLong_AsLong(given);
    else
        PyErr_Format(PyExc_TypeError, "the status of a response is an int, not %.100s", Py_TYPE(given)->tp_name);
    Py_DECREF(given);
    if (status == -1 && PyErr_Occurred())
        return -1;
    if (status < min || status > max) {
        PyErr_Format(PyExc_ValueError, "status %ld is not within %ld to %ld", status, min, max);
        return -1;
    }
    *ret_status = (uint16_t)status;
    return 0;
}

/* A block with the fields of the message. */
static enum asgi_progress read_fields(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                      enum rows rows, struct asgi_head *head)
{
    head->content_length = -1;
    enum asgi_progress progress =
        asgi_head_progress(core, app_response_begin(core->exchange, request, &head->response));
    if (progress != ASGI_DONE)
        return progress;
    progress = append_all(core, head, rows, message);
    if (progress != ASGI_DONE)
        asgi_head_drop(core, head);
    return progress;
}

enum asgi_progress asgi_head_read(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                  struct asgi_head *ret_head)
{
    struct asgi_head head = {};
    if (read_status(core, message, STATUS_FINAL_MIN, STATUS_MAX, &head.status) < 0)
        return ASGI_FAILED;
    enum asgi_progress progress = read_fields(core, request, message, ROWS_OF_HEAD, &head);
    if (progress == ASGI_DONE)
        *ret_head = head;
    return progress;
}

void asgi_head_drop(const struct asgi_core *core, struct asgi_head *head)
{
    app_response_drop(core->exchange, &head->response);
}

enum asgi_progress asgi_head_add_trailers(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                          struct asgi_head *head)
{
    if (head->response.memory == NULL)
        return read_fields(core, request, message, ROWS_OF_TRAILERS, head);
    const size_t before = head->response.head_length;
    enum asgi_progress progress = append_all(core, head, ROWS_OF_TRAILERS, message);
    if (progress != ASGI_DONE)
        head->response.head_length = before;
    return progress;
}

static enum asgi_progress send_interim(const struct asgi_core *core, struct app_request *request, PyObject *message,
                                       enum rows rows, uint16_t status)
{
    struct asgi_head head = {.status = status};
    enum asgi_progress progress = read_fields(core, request, message, rows, &head);
    if (progress != ASGI_DONE)
        return progress;
    /* RFC 9110 15.2: an HTTP/1.0 client does not know 1xx. The message was checked all the same. */
    if (request->record->version != SLOT_HTTP_1_0)
        progress = asgi_head_progress(core, app_response_interim(core->exchange, &head.response, status));
    asgi_head_drop(core, &head);
    asgi_core_flush(core);
    return progress;
}

enum asgi_progress asgi_head_send_early_hint(const struct asgi_core *core, struct app_request *request,
                                             PyObject *message)
{
    return send_interim(core, request, message, ROWS_OF_LINKS, STATUS_EARLY_HINTS);
}

enum asgi_progress asgi_head_send_informational(const struct asgi_core *core, struct app_request *request,
                                                PyObject *message)
{
    uint16_t status;
    /* 100 is the server's to send, 101 would end HTTP on the connection. */
    if (read_status(core, message, STATUS_EARLY_HINTS - 1, STATUS_FINAL_MIN - 1, &status) < 0)
        return ASGI_FAILED;
    return send_interim(core, request, message, ROWS_OF_HEAD, status);
}
