#include "pybridge/wsgi/wsgi_adapter.h"

#include "pybridge/app_copy.h"
#include "pybridge/app_log.h"
#include "pybridge/python_text.h"
#include "pybridge/wsgi/wsgi_environ.h"
#include "pybridge/wsgi/wsgi_input.h"
#include "pybridge/wsgi/wsgi_response.h"

#include <sys/stat.h>
#include <sys/uio.h>

/* Pieces of a list that together are no longer than this leave as one. */
enum { JOINED_BYTES_MAX = 65'536, FILE_AT_ONCE_BYTES = 65'536 };

struct wsgi_thread {
    struct wsgi_adapter *adapter;
    struct wsgi_response *response;
    struct wsgi_environ env[WSGI_ENVIRONS];
};

/* ---- life ---- */

static int make_parts(struct wsgi_adapter *adapter)
{
    struct app_process *process = adapter->process;
    adapter->response_type = wsgi_response_make_type(process->module);
    adapter->input_type = wsgi_input_make_type(process->module);
    adapter->close_name = PyUnicode_InternFromString("close");
    if (adapter->response_type == NULL || adapter->input_type == NULL || adapter->close_name == NULL)
        return -1;
    adapter->source_name = PyUnicode_InternFromString("source");
    if (adapter->source_name == NULL)
        return -1;
    if (process->settings.sendfile && (adapter->file_wrapper = wsgi_environ_file_wrapper()) == NULL)
        return -1;
    adapter->empty_input = wsgi_input_create(adapter->input_type, process->exchange, NULL);
    return adapter->empty_input != NULL ? 0 : -1;
}

struct wsgi_adapter *wsgi_adapter_create(struct app_process *process, bool multithread)
{
    struct wsgi_adapter *adapter = PyMem_Calloc(1, sizeof *adapter);
    if (adapter == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    adapter->process = process;
    adapter->multithread = multithread;
    if (make_parts(adapter) < 0) {
        wsgi_adapter_destroy(adapter);
        return NULL;
    }
    return adapter;
}

void wsgi_adapter_destroy(struct wsgi_adapter *adapter)
{
    if (adapter == NULL)
        return;
    Py_XDECREF(adapter->empty_input);
    Py_XDECREF(adapter->close_name);
    Py_XDECREF(adapter->file_wrapper);
    Py_XDECREF(adapter->source_name);
    Py_XDECREF(adapter->input_type);
    Py_XDECREF(adapter->response_type);
    PyMem_Free(adapter);
}

static int make_environs(struct wsgi_thread *thread)
{
    const struct wsgi_adapter *adapter = thread->adapter;
    for (int i = 0; i < WSGI_ENVIRONS; i++)
        if (wsgi_environ_init(&thread->env[i], adapter->process, (enum wsgi_environ_kind)i, adapter->multithread,
                              adapter->empty_input) < 0)
            return -1;
    return 0;
}

static int set_callables(struct wsgi_thread *thread, const struct wsgi_response *response)
{
    for (int i = 0; i < WSGI_ENVIRONS; i++)
        if (wsgi_environ_set_callables(&thread->env[i], response->early_hints, response->send_trailers) < 0)
            return -1;
    return 0;
}

struct wsgi_thread *wsgi_thread_create(struct wsgi_adapter *adapter)
{
    struct wsgi_thread *thread = PyMem_Calloc(1, sizeof *thread);
    if (thread == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    thread->adapter = adapter;
    thread->response = wsgi_response_create(adapter);
    if (thread->response == NULL || make_environs(thread) < 0 || set_callables(thread, thread->response) < 0) {
        wsgi_thread_destroy(thread);
        return NULL;
    }
    return thread;
}

void wsgi_thread_destroy(struct wsgi_thread *thread)
{
    if (thread == NULL)
        return;
    wsgi_response_destroy(thread->response);
    for (int i = 0; i < WSGI_ENVIRONS; i++)
        wsgi_environ_deinit(&thread->env[i]);
    PyMem_Free(thread);
}

/* ---- the result of the application ---- */

static enum wsgi_outcome complain_about(PyObject *item)
{
    PyErr_Format(PyExc_TypeError, "the application gave %.100s where bytes are wanted", Py_TYPE(item)->tp_name);
    return WSGI_ERROR;
}

/* Octets of all items together, or -1 with a Python error when one is not bytes. */
static Py_ssize_t count_octets(PyObject *items)
{
    Py_ssize_t total = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (!PyBytes_Check(item)) {
            complain_about(item);
            return -1;
        }
        total += PyBytes_GET_SIZE(item);
    }
    return total;
}

/* A GET of what was asked for by HEAD would have a length; an empty body for HEAD says nothing about it. */
static void state_length(struct wsgi_response *response, Py_ssize_t octets)
{
    bool says_nothing = wsgi_response_is_bodiless(response) && (!response->is_head || octets == 0);
    if (response->content_length < 0 && !says_nothing && !wsgi_response_has_trailers(response))
        response->content_length = octets;
}

static enum wsgi_outcome send_bytes(struct wsgi_response *response, PyObject *bytes, bool is_last)
{
    return wsgi_response_send(response, text_octets(bytes), is_last);
}

static enum wsgi_outcome send_joined(struct wsgi_response *response, PyObject *items)
{
    PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = nothing != NULL ? PyObject_CallMethod(nothing, "join", "(O)", items) : NULL;
    enum wsgi_outcome outcome = joined != NULL ? send_bytes(response, joined, true) : WSGI_ERROR;
    Py_XDECREF(joined);
    Py_XDECREF(nothing);
    return outcome;
}

static enum wsgi_outcome send_items(struct wsgi_response *response, PyObject *items)
{
    Py_ssize_t octets = count_octets(items);
    if (octets < 0)
        return WSGI_ERROR;
    if (response->state == WSGI_STARTED)
        state_length(response, octets);
    if (octets <= JOINED_BYTES_MAX)
        return send_joined(response, items);
    enum wsgi_outcome outcome = WSGI_OK;
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    for (Py_ssize_t i = 0; outcome == WSGI_OK && i < count; i++)
        outcome = send_bytes(response, PyTuple_GET_ITEM(items, i), i + 1 == count);
    return outcome;
}

/* The usual answer, a list of one bytes: one message, with its length. */
static enum wsgi_outcome send_only(struct wsgi_response *response, PyObject *item)
{
    if (!PyBytes_Check(item))
        return complain_about(item);
    if (response->state == WSGI_STARTED)
        state_length(response, PyBytes_GET_SIZE(item));
    /* While this thread waits for room another may empty the list. */
    Py_INCREF(item);
    enum wsgi_outcome outcome = send_bytes(response, item, true);
    Py_DECREF(item);
    return outcome;
}

static enum wsgi_outcome send_sequence(struct wsgi_response *response, PyObject *sequence)
{
    if (PyList_CheckExact(sequence) && PyList_GET_SIZE(sequence) == 1)
        return send_only(response, PyList_GET_ITEM(sequence, 0));
    PyObject *items = PySequence_Tuple(sequence);
    enum wsgi_outcome outcome = items != NULL ? send_items(response, items) : WSGI_ERROR;
    Py_XDECREF(items);
    return outcome;
}

/* PEP 3333: no piece may wait for the next one. */
static enum wsgi_outcome send_piece(struct wsgi_response *response, PyObject *item)
{
    if (!PyBytes_Check(item))
        return complain_about(item);
    enum wsgi_outcome outcome = send_bytes(response, item, false);
    if (response->state >= WSGI_SENT)
        app_exchange_flush(response->adapter->process->exchange);
    return outcome;
}

/* What a status or HEAD leaves no body for is not asked for either, once the head is known. */
static bool wants_more(const struct wsgi_response *response)
{
    if (response->surplus > 0)
        return false;
    return response->state == WSGI_WAITING || !wsgi_response_is_bodiless(response);
}

static enum wsgi_outcome send_iterated(struct wsgi_response *response, PyObject *iterator)
{
    struct app_exchange *exchange = response->adapter->process->exchange;
    enum wsgi_outcome outcome = WSGI_OK;
    while (outcome == WSGI_OK && wants_more(response)) {
        PyObject *item = PyIter_Next(iterator);
        if (item == NULL)
            break;
        outcome = send_piece(response, item);
        Py_DECREF(item);
        /* Whether the client has gone is only known to who looks. */
        app_exchange_pump(exchange);
    }
    if (PyErr_Occurred())
        return WSGI_ERROR;
    return outcome == WSGI_OK ? wsgi_response_send(response, bytes_of(NULL, 0), true) : outcome;
}

static enum wsgi_outcome send_iterable(struct wsgi_response *response, PyObject *iterable)
{
    PyObject *iterator = PyObject_GetIter(iterable);
    if (iterator == NULL)
        return WSGI_ERROR;
    enum wsgi_outcome outcome = send_iterated(response, iterator);
    Py_DECREF(iterator);
    return outcome;
}

/* ---- files ---- */

/* Where the octets of a file wrapper are, and how many are to be sent: false where it has to be iterated over. */
static bool find_file(const struct wsgi_response *response, PyObject *wrapper, struct app_file *ret_file)
{
    long long offset;
    struct app_file file;
    PyObject *source = PyObject_CallMethodNoArgs(wrapper, response->adapter->source_name);
    bool found = source != NULL && source != Py_None && PyArg_ParseTuple(source, "iL", &file.fd, &offset);
    Py_XDECREF(source);
    PyErr_Clear(); /* whatever is wrong with the file is the application's to hear when it is read */
    struct stat facts;
    if (!found || offset < 0 || fstat(file.fd, &facts) < 0 || !S_ISREG(facts.st_mode) || facts.st_size <= offset)
        return false;
    file.offset = (uint64_t)offset;
    file.length = (uint64_t)(facts.st_size - offset);
    if (response->content_length >= 0) {
        if (file.length < (uint64_t)response->content_length)
            return false; /* too short: what comes of it is shown and said as of any other body */
        file.length = (uint64_t)response->content_length;
    }
    *ret_file = file;
    return file.length > 0;
}

/* One that is small and in the page cache: reading it here is faster than handing it over (docs/files.md). NULL where
 * that is not so. */
static PyObject *read_at_once(const struct app_file *file)
{
    if (file->length > FILE_AT_ONCE_BYTES)
        return NULL;
    PyObject *octets = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)file->length);
    if (octets == NULL) {
        PyErr_Clear();
        return NULL;
    }
    struct iovec part = {PyBytes_AS_STRING(octets), (size_t)file->length};
    if (preadv2(file->fd, &part, 1, (off_t)file->offset, RWF_NOWAIT) != (ssize_t)file->length)
        Py_CLEAR(octets);
    return octets;
}

/* PEP 3333: what a file wrapper holds may be sent by whatever way. *ret_outcome says how that went; false: it has to be
 * iterated over. */
static bool send_file(struct wsgi_response *response, PyObject *wrapper, enum wsgi_outcome *ret_outcome)
{
    struct app_file file;
    if (response->state != WSGI_STARTED || wsgi_response_is_bodiless(response) ||
        wsgi_response_has_trailers(response) || !find_file(response, wrapper, &file))
        return false;
    state_length(response, (Py_ssize_t)file.length);
    PyObject *octets = read_at_once(&file);
    if (octets == NULL)
        return wsgi_response_send_file(response, &file, ret_outcome);
    *ret_outcome = send_bytes(response, octets, true);
    Py_DECREF(octets);
    return true;
}

static bool is_file_wrapper(const struct wsgi_response *response, PyObject *result)
{
    return (PyObject *)Py_TYPE(result) == response->adapter->file_wrapper;
}

static enum wsgi_outcome send_result(struct wsgi_response *response, PyObject *result)
{
    enum wsgi_outcome outcome;
    if (is_file_wrapper(response, result) && send_file(response, result, &outcome))
        return outcome;
    return send_iterable(response, result);
}

static bool is_plain_sequence(PyObject *result)
{
    return PyList_CheckExact(result) || PyTuple_CheckExact(result);
}

/* The result's close(), NULL without an error when it has none. */
static PyObject *find_close(struct wsgi_adapter *adapter, PyObject *result)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *close;
    return PyObject_GetOptionalAttr(result, adapter->close_name, &close) > 0 ? close : NULL;
#else
    PyObject *close = PyObject_GetAttr(result, adapter->close_name);
    if (close == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return close;
#endif
}

/* PEP 3333: exactly once, whatever happened before. What goes wrong in it changes no answer any more. */
static void close_result(struct wsgi_adapter *adapter, const struct app_request *request, PyObject *result)
{
    PyObject *close = find_close(adapter, result);
    PyObject *closed = close != NULL ? PyObject_CallNoArgs(close) : NULL;
    if (PyErr_Occurred())
        app_log_exception(adapter->process, request, "close() of the application's result failed");
    Py_XDECREF(closed);
    Py_XDECREF(close);
}

/* ---- one request ---- */

/* An error that tells the application that its client is gone is no news to anybody else. */
static bool is_only_absence(const struct app_request *request)
{
    return request->fate == APP_REQUEST_CANCELLED && PyErr_ExceptionMatches(PyExc_OSError);
}

static void fail(struct wsgi_response *response)
{
    const struct app_request *request = response->request;
    app_copy_end(response->adapter->process);
    if (is_only_absence(request))
        PyErr_Clear();
    else
        app_log_exception(response->adapter->process, request, "the application failed");
    wsgi_response_fail(response);
}

static void check_length(struct wsgi_response *response)
{
    const struct app_process *process = response->adapter->process;
    if (response->surplus > 0)
        app_log_error(process, response->request, "the body is longer than the Content-Length of %lld octets",
                      (long long)response->content_length);
    if (response->content_length < 0 || wsgi_response_is_bodiless(response) ||
        response->body_sent == (uint64_t)response->content_length)
        return;
    app_log_error(process, response->request, "the body ends after %llu of the %lld octets of its Content-Length",
                  (unsigned long long)response->body_sent, (long long)response->content_length);
    /* RFC 9112 8: the client must see that something is missing. */
    wsgi_response_fail(response);
}

static void settle(struct wsgi_response *response, enum wsgi_outcome outcome)
{
    if (outcome == WSGI_ERROR)
        fail(response);
    else if (outcome == WSGI_OK)
        check_length(response);
}

static void answer(struct wsgi_response *response, PyObject *result)
{
    if (is_plain_sequence(result)) {
        settle(response, send_sequence(response, result));
        return;
    }
    settle(response, send_result(response, result));
    /* What close() does may take long; the client must not wait for it. */
    app_exchange_flush(response->adapter->process->exchange);
    close_result(response->adapter, response->request, result);
}

static bool has_body(const struct slot_record *record)
{
    return (record->flags & (SLOT_BODY | SLOT_CHUNKED)) != 0 || record->content_length > 0;
}

/* The environ, and in *ret_input the body that is in it, NULL when there is none. */
static PyObject *make_environ(struct wsgi_thread *thread, struct app_request *request, PyObject **ret_input)
{
    struct wsgi_adapter *adapter = thread->adapter;
    struct wsgi_environ *env = &thread->env[wsgi_environ_kind(request->record)];
    if (!has_body(request->record))
        return wsgi_environ_build(env, request, NULL);
    PyObject *input = wsgi_input_create(adapter->input_type, adapter->process->exchange, request);
    if (input == NULL)
        return NULL;
    *ret_input = input;
    return wsgi_environ_build(env, request, input);
}

static void call_application(struct wsgi_response *response, PyObject *env)
{
    PyObject *arguments[] = {NULL, env, (PyObject *)response};
    PyObject *result = PyObject_Vectorcall(response->adapter->process->application, arguments + 1,
                                           2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (result == NULL) {
        fail(response);
        return;
    }
    answer(response, result);
    Py_DECREF(result);
}

static void run(struct wsgi_thread *thread, struct app_request *request)
{
    struct wsgi_response *response = thread->response;
    PyObject *input = NULL;
    PyObject *env = make_environ(thread, request, &input);
    if (env != NULL)
        call_application(response, env);
    else
        fail(response);
    /* Before the environ goes: its end may run code of the application, which must not reach the request. */
    if (input != NULL)
        wsgi_input_close(input);
    wsgi_response_end(response);
    Py_XDECREF(env);
    Py_XDECREF(input);
    if (PyErr_Occurred())
        app_log_exception(thread->adapter->process, NULL, "an error was left behind by a request");
}

/* An application that kept start_response() or write() keeps the object; the next request gets another. */
static int renew_response(struct wsgi_thread *thread)
{
    if (wsgi_response_is_free(thread->response))
        return 0;
    struct wsgi_response *fresh = wsgi_response_create(thread->adapter);
    if (fresh == NULL)
        return -1;
    if (set_callables(thread, fresh) < 0) {
        wsgi_response_destroy(fresh);
        return -1;
    }
    wsgi_response_destroy(thread->response);
    thread->response = fresh;
    return 0;
}

void wsgi_thread_serve(struct wsgi_thread *thread, struct app_request *request)
{
    struct app_process *process = thread->adapter->process;
    if (renew_response(thread) < 0) {
        app_log_exception(process, request, "no memory for a response");
    } else {
        wsgi_response_begin(thread->response, request);
        run(thread, request);
    }
    app_copy_end(process);
    app_request_done(process->exchange, request);
    app_process_request_ended(process);
}
