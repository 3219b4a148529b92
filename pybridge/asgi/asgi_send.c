#include "pybridge/asgi/asgi_send.h"

#include "pybridge/asgi/asgi_receive.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* One send() that has not gone out whole. */
struct asgi_outgoing {
    struct asgi_outgoing *next;
    struct asgi_future *future;
    PyObject *message;
    Py_buffer body;
    struct app_file file; /* what of it is not handed over or read yet; the descriptor is ours. Length 0: none */
    bool has_file;        /* the descriptor is open */
    int64_t octets;       /* of all of it */
    size_t sent;          /* of body */
    int kind;             /* index in SEND_ROWS */
    bool is_read;         /* body and ends are filled in */
    bool ends;            /* the last piece */
};

/* ---- what was said -------------------------------------------------------------------------------------- */

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

/* Type, status and headers are all that most starts have: of those three keys none is a fourth. */
static int read_announcement(struct asgi_cycle *cycle, PyObject *message)
{
    enum { USUAL_KEYS = 3 };
    const bool has_headers = cycle->head.response.head_length > 0;
    if (has_headers && PyDict_GET_SIZE(message) <= USUAL_KEYS)
        return 0;
    return read_flag(cycle->adapter->core, message, ASGI_NAME_TRAILERS, &cycle->has_trailers);
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
    outgoing->octets = outgoing->body.len;
    outgoing->is_read = true;
    return 0;
}

/* RFC 9110 8.6: what was stated is what has to come. A response to HEAD states what GET would get. */
static int account(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
{
    if (cycle->body_left < 0 || cycle->body_is_unwanted)
        return 0;
    if (outgoing->octets > cycle->body_left)
        return raise_order("the response body is longer than its Content-Length");
    if (outgoing->ends && outgoing->octets < cycle->body_left)
        return raise_order("the response body is shorter than its Content-Length");
    cycle->body_left -= outgoing->octets;
    return 0;
}

/* The length to state: the application's word, or the size of the only piece. */
static int64_t length_to_state(const struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing)
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

static void complete(struct asgi_cycle *cycle)
{
    cycle->phase = ASGI_COMPLETE;
    asgi_receive_wake(cycle, ASGI_WAKE_SOON);
}

static int check_body_is_due(const struct asgi_cycle *cycle)
{
    if (cycle->phase == ASGI_START_DUE)
        return raise_order("a body was sent before http.response.start");
    return cycle->phase == ASGI_TRAILERS_DUE ? raise_order("a body was sent after the last of it") : 0;
}

static enum asgi_progress send_octets(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    enum asgi_progress progress = ASGI_DONE;
    if (cycle->phase == ASGI_HEAD_HELD)
        progress = send_head(cycle, outgoing);
    if (progress == ASGI_DONE && !cycle->body_is_unwanted)
        progress = send_rest(cycle, outgoing);
    return progress;
}

/* Rings, and sees to what comes behind the body. */
static enum asgi_progress end_part(struct asgi_cycle *cycle, const struct asgi_outgoing *outgoing,
                                   enum asgi_progress progress)
{
    asgi_core_flush(cycle->adapter->core);
    if (progress == ASGI_DONE && outgoing->ends && cycle->has_trailers)
        cycle->phase = ASGI_TRAILERS_DUE;
    else if (progress == ASGI_DONE && outgoing->ends)
        complete(cycle);
    return progress;
}

static enum asgi_progress send_body(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (check_body_is_due(cycle) < 0)
        return ASGI_FAILED;
    if (!outgoing->is_read && (read_body(cycle->adapter->core, outgoing) < 0 || account(cycle, outgoing) < 0))
        return ASGI_FAILED;
    return end_part(cycle, outgoing, send_octets(cycle, outgoing));
}

/* ---- files ---------------------------------------------------------------------------------------------- */

/* Up to so much reading it here is faster than handing it over (docs/files.md). */
enum { FILE_AT_ONCE_BYTES = 65'536, FILE_PART_BYTES = 65'536 };

static int raise_errno(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Takes `fd`. From `offset` to the end of the file. */
static int take_file(struct asgi_outgoing *outgoing, int fd, int64_t offset)
{
    struct stat facts;
    outgoing->file.fd = fd;
    outgoing->has_file = true;
    if (fstat(fd, &facts) < 0)
        return raise_errno(errno);
    if (S_ISDIR(facts.st_mode))
        return raise_errno(EISDIR);
    if (!S_ISREG(facts.st_mode)) {
        PyErr_SetString(PyExc_ValueError, "only regular files can be sent");
        return -1;
    }
    outgoing->file.offset = (uint64_t)offset;
    outgoing->file.length = offset < facts.st_size ? (uint64_t)(facts.st_size - offset) : 0;
    return 0;
}

/* Without O_NONBLOCK a pipe would stop the event loop until somebody writes to it. */
static int open_path(const struct asgi_core *core, struct asgi_outgoing *outgoing)
{
    PyObject *path = asgi_core_lookup(core, outgoing->message, ASGI_NAME_PATH);
    PyObject *octets = NULL;
    if (path == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_KeyError, "path");
    if (path == NULL || !PyUnicode_FSConverter(path, &octets)) {
        Py_XDECREF(path);
        return -1;
    }
    int fd = open(PyBytes_AS_STRING(octets), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    Py_DECREF(octets);
    if (fd < 0)
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    Py_DECREF(path);
    return fd < 0 ? -1 : take_file(outgoing, fd, 0);
}

/* The whole file, or as much of one that has grown since as was stated. */
static int read_path(const struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    if (open_path(cycle->adapter->core, outgoing) < 0)
        return -1;
    if (cycle->body_left >= 0 && outgoing->file.length > (uint64_t)cycle->body_left)
        outgoing->file.length = (uint64_t)cycle->body_left;
    outgoing->ends = true;
    return 0;
}

/* *ret_number stays as it is where the message says nothing. */
static int read_number(const struct asgi_core *core, PyObject *message, enum asgi_name name, int64_t *ret_number)
{
    PyObject *value = asgi_core_lookup(core, message, name);
    if (value == NULL || value == Py_None) {
        Py_XDECREF(value);
        return PyErr_Occurred() ? -1 : 0;
    }
    long long number = PyLong_AsLongLong(value);
    Py_DECREF(value);
    if (number < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "offset and count of a file must not be negative");
        return -1;
    }
    *ret_number = number;
    return 0;
}

static int descriptor_of(const struct asgi_core *core, PyObject *message)
{
    PyObject *file = asgi_core_lookup(core, message, ASGI_NAME_FILE);
    if (file == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_KeyError, "file");
        return -1;
    }
    int fd = PyObject_AsFileDescriptor(file);
    Py_DECREF(file);
    return fd;
}

/* From its own position where no offset is given, which then moves on, as with sendfile(2). */
static int read_zero_copy(const struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    const struct asgi_core *core = cycle->adapter->core;
    int64_t offset = -1;
    int64_t count = INT64_MAX;
    bool more;
    int fd = descriptor_of(core, outgoing->message);
    if (fd < 0 || read_flag(core, outgoing->message, ASGI_NAME_MORE_BODY, &more) < 0 ||
        read_number(core, outgoing->message, ASGI_NAME_OFFSET, &offset) < 0 ||
        read_number(core, outgoing->message, ASGI_NAME_FILE_COUNT, &count) < 0)
        return -1;
    /* The application may close it while this waits for room. */
    int ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (ours < 0)
        return raise_errno(errno);
    const bool moves = offset < 0;
    if (moves)
        offset = lseek(ours, 0, SEEK_CUR);
    if (take_file(outgoing, ours, offset < 0 ? 0 : offset) < 0)
        return -1;
    if (outgoing->file.length > (uint64_t)count)
        outgoing->file.length = (uint64_t)count;
    if (moves && lseek(ours, (off_t)(outgoing->file.offset + outgoing->file.length), SEEK_SET) < 0)
        return raise_errno(errno);
    outgoing->ends = !more;
    return 0;
}

/* Makes the next part of the file the body. 1; 0 when it cannot be had without waiting (RWF_NOWAIT); -1 with a Python
 * error. */
static int read_part(struct asgi_outgoing *outgoing, size_t bytes, int flags)
{
    PyObject *octets = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    if (octets == NULL)
        return -1;
    struct iovec part = {PyBytes_AS_STRING(octets), bytes};
    ssize_t got = preadv2(outgoing->file.fd, &part, 1, (off_t)outgoing->file.offset, flags);
    int error = errno;
    if (got != (ssize_t)bytes) {
        Py_DECREF(octets);
        if ((flags & RWF_NOWAIT) != 0)
            return 0;
        return got < 0 ? raise_errno(error) : raise_order("the file has become shorter while it was sent");
    }
    PyBuffer_Release(&outgoing->body);
    int r = PyObject_GetBuffer(octets, &outgoing->body, PyBUF_SIMPLE);
    Py_DECREF(octets);
    outgoing->sent = 0;
    outgoing->file.offset += bytes;
    outgoing->file.length -= bytes;
    return r < 0 ? -1 : 1;
}

/* What is small and in the page cache goes out as any body; what is not wanted is not looked at. */
static int prepare_file(const struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    outgoing->octets = (int64_t)outgoing->file.length;
    outgoing->is_read = true;
    if (cycle->body_is_unwanted)
        outgoing->file.length = 0;
    if (outgoing->file.length == 0 || outgoing->file.length > FILE_AT_ONCE_BYTES)
        return 0;
    return read_part(outgoing, (size_t)outgoing->file.length, RWF_NOWAIT) < 0 ? -1 : 0;
}

/* Here, where it cannot be handed over: so many others were that the I/O process has not taken yet. */
static enum asgi_progress send_parts(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    for (;;) {
        enum asgi_progress progress = send_octets(cycle, outgoing);
        const uint64_t left = outgoing->file.length;
        if (progress != ASGI_DONE || left == 0)
            return progress;
        if (read_part(outgoing, left < FILE_PART_BYTES ? (size_t)left : FILE_PART_BYTES, 0) < 0)
            return ASGI_FAILED;
    }
}

static enum asgi_progress hand_over(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    struct asgi_core *core = cycle->adapter->core;
    struct app_response *head = cycle->phase == ASGI_HEAD_HELD ? &cycle->head.response : NULL;
    int r =
        app_response_file(core->exchange, cycle->request, head, cycle->head.status, length_to_state(cycle, outgoing),
                          &outgoing->file, outgoing->ends && !cycle->sends_trailers);
    if (r < 0 && r != -EAGAIN && r != -EPIPE)
        return send_parts(cycle, outgoing);
    if (r == 0) {
        cycle->phase = ASGI_STREAMING;
        outgoing->file.length = 0;
    }
    return asgi_head_progress(core, r);
}

static enum asgi_progress send_file(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing,
                                    int (*read)(const struct asgi_cycle *, struct asgi_outgoing *))
{
    if (check_body_is_due(cycle) < 0)
        return ASGI_FAILED;
    if (!outgoing->is_read &&
        (read(cycle, outgoing) < 0 || prepare_file(cycle, outgoing) < 0 || account(cycle, outgoing) < 0))
        return ASGI_FAILED;
    /* A body that was read before it had to wait for room is sent before anything else. */
    const bool is_whole = outgoing->file.length == 0;
    const bool was_begun = outgoing->sent < (size_t)outgoing->body.len;
    enum asgi_progress progress = is_whole || was_begun ? send_parts(cycle, outgoing) : hand_over(cycle, outgoing);
    return end_part(cycle, outgoing, progress);
}

static enum asgi_progress send_path(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return send_file(cycle, outgoing, read_path);
}

static enum asgi_progress send_zero_copy(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return send_file(cycle, outgoing, read_zero_copy);
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
        raise_order("http.response.trailers comes after the last http.response.body, where the start announced it");
        return ASGI_FAILED;
    }
    if (!outgoing->is_read) {
        if (read_flag(core, outgoing->message, ASGI_NAME_MORE_TRAILERS, &more) < 0)
            return ASGI_FAILED;
        enum asgi_progress progress = asgi_head_add_trailers(core, cycle->request, outgoing->message, &cycle->head);
        if (progress != ASGI_DONE)
            return progress;
        outgoing->ends = !more;
        outgoing->is_read = true;
    }
    enum asgi_progress progress = outgoing->ends ? end_with_trailers(cycle) : ASGI_DONE;
    if (progress == ASGI_DONE && outgoing->ends)
        complete(cycle);
    return progress;
}

/* RFC 9110 15.2: an interim response comes before the final one. */
static bool may_send_interim(const struct asgi_cycle *cycle)
{
    if (cycle->phase <= ASGI_HEAD_HELD)
        return true;
    raise_order("an interim response was sent after the response had begun");
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
    send_start, send_body, send_early_hint, send_informational, send_trailers, send_path, send_zero_copy,
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
    asgi_adapter_want_room(cycle);
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
            asgi_adapter_want_room(cycle);
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
