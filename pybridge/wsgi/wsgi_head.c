#include "pybridge/wsgi/wsgi_head.h"

#include "pybridge/app_wait.h"
#include "pybridge/python_text.h"
#include "pybridge/response_field.h"

#include <errno.h>

int wsgi_raise_errno(int r)
{
    errno = -r;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int wsgi_raise_gone(void)
{
    PyErr_SetString(PyExc_OSError, "the client is gone");
    return -1;
}

int wsgi_head_read_status(PyObject *object, uint16_t *ret_status, struct bytes *ret_reason)
{
    struct bytes text;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "the status must be a str, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!text_latin1_octets(object, &text) || !http_field_value_valid(text)) {
        PyErr_Format(PyExc_ValueError, "the status %R has a character that HTTP does not allow", object);
        return -1;
    }
    unsigned status = 0;
    for (size_t i = 0; i < 3 && i < text.length && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        status = 10 * status + text.data[i] - '0';
    bool ends_after_three = text.length == 3 || (text.length > 3 && text.data[3] == ' ');
    if (!ends_after_three || status < 200) {
        PyErr_Format(PyExc_ValueError, "the status %R is not like '200 OK'", object);
        return -1;
    }
    *ret_status = (uint16_t)status;
    *ret_reason = bytes_skip(text, text.length > 3 ? 4 : 3);
    return 0;
}

/* Both parts of a header as octets of `pair`'s own strings. */
static int parse_header(PyObject *pair, struct bytes *ret_name, struct bytes *ret_value)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple of two str, not %R", pair);
        return -1;
    }
    PyObject *name = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
    if (!PyUnicode_Check(name) || !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "name and value of a header must be str, not %R", pair);
        return -1;
    }
    if (!text_latin1_octets(name, ret_name) || !text_latin1_octets(value, ret_value)) {
        PyErr_Format(PyExc_ValueError, "the header %R has a character outside of latin-1", pair);
        return -1;
    }
    *ret_value = http_trim(*ret_value);
    return 0;
}

bool wsgi_head_wait_for_room(struct app_exchange *exchange, wsgi_request_place request)
{
    return app_wait_for_request(exchange, *request, APP_WAIT_ROOM) && *request != NULL;
}

int wsgi_head_begin(struct app_exchange *exchange, wsgi_request_place request, struct app_response *ret_head)
{
    int r;
    while ((r = app_response_begin(exchange, *request, ret_head)) == -ENOBUFS)
        if (!wsgi_head_wait_for_room(exchange, request))
            return wsgi_raise_gone();
    return r < 0 ? wsgi_raise_errno(r) : 0;
}

int wsgi_head_add(struct app_exchange *exchange, wsgi_request_place request, struct app_response *head,
                  struct bytes name, struct bytes value)
{
    int r;
    while ((r = app_response_field(exchange, head, name, value)) == -ENOBUFS)
        if (!wsgi_head_wait_for_room(exchange, request))
            return wsgi_raise_gone();
    if (r == -EMSGSIZE) {
        PyErr_SetString(PyExc_ValueError, "the headers of the response take more than 64 KiB");
        return -1;
    }
    return r < 0 ? wsgi_raise_errno(r) : 0;
}

static int add_pair(struct app_exchange *exchange, wsgi_request_place request, struct app_response *head,
                    enum wsgi_fields fields, PyObject *pair, int64_t *ret_content_length)
{
    struct bytes name, value;
    if (parse_header(pair, &name, &value) < 0)
        return -1;
    enum response_field verdict = fields == WSGI_HEAD_FIELDS ? response_field_check(name, value, ret_content_length)
                                                             : response_trailer_check(name, value);
    if (verdict == RESPONSE_FIELD_GOOD)
        return wsgi_head_add(exchange, request, head, name, value);
    const char *complaint = response_field_complaint(verdict);
    if (complaint == NULL)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: %R", complaint, pair);
    return -1;
}

/* Waiting for room lets other threads run, so each header is held, and the list looked at again. */
int wsgi_head_add_list(struct app_exchange *exchange, wsgi_request_place request, struct app_response *head,
                       enum wsgi_fields fields, PyObject *headers, int64_t *ret_content_length)
{
    if (!PyList_Check(headers) && !PyTuple_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s", Py_TYPE(headers)->tp_name);
        return -1;
    }
    int r = 0;
    for (Py_ssize_t i = 0; r == 0 && i < PySequence_Size(headers); i++) {
        PyObject *pair = PySequence_GetItem(headers, i);
        if (pair == NULL)
            return -1;
        r = add_pair(exchange, request, head, fields, pair, ret_content_length);
        Py_DECREF(pair);
    }
    return r;
}
