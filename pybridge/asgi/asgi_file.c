#include "pybridge/asgi/asgi_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

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
    if (fd < 0 || asgi_outgoing_read_flag(core, outgoing->message, ASGI_NAME_MORE_BODY, &more) < 0 ||
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
        return got < 0 ? raise_errno(error) : asgi_outgoing_raise("the file has become shorter while it was sent");
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
        enum asgi_progress progress = asgi_outgoing_send(cycle, outgoing);
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
    int r = app_response_file(core->exchange, cycle->request, head, cycle->head.status,
                              asgi_outgoing_length(cycle, outgoing), &outgoing->file,
                              outgoing->ends && !cycle->sends_trailers);
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
    if (asgi_outgoing_check_body(cycle) < 0)
        return ASGI_FAILED;
    if (!outgoing->is_read &&
        (read(cycle, outgoing) < 0 || prepare_file(cycle, outgoing) < 0 || asgi_outgoing_account(cycle, outgoing) < 0))
        return ASGI_FAILED;
    /* A body that was read before it had to wait for room is sent before anything else. */
    const bool is_whole = outgoing->file.length == 0;
    const bool was_begun = outgoing->sent < (size_t)outgoing->body.len;
    enum asgi_progress progress = is_whole || was_begun ? send_parts(cycle, outgoing) : hand_over(cycle, outgoing);
    return asgi_outgoing_end(cycle, outgoing, progress);
}

enum asgi_progress asgi_file_send_path(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return send_file(cycle, outgoing, read_path);
}

enum asgi_progress asgi_file_send_zero_copy(struct asgi_cycle *cycle, struct asgi_outgoing *outgoing)
{
    return send_file(cycle, outgoing, read_zero_copy);
}
