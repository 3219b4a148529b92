#include "pybridge/wsgi/wsgi_input.h"

#include "pybridge/app_wait.h"
#include "pybridge/python_text.h"

#include <errno.h>

enum {
    CAPACITY_MIN = 8'192,
    CAPACITY_KNOWN_MAX = 1'048'576, /* what a client's Content-Length alone makes us allocate */
    WINDOW_BYTES = 65'536,
    DIRECT_BYTES_MIN = 16'384, /* so much is read from a file to where it is wanted, less by way of the window */
};

enum input_state { INPUT_EMPTY, INPUT_OPEN, INPUT_CLOSED };

struct wsgi_input {
    PyObject_HEAD struct app_exchange *exchange;
    struct app_request *request; /* NULL unless INPUT_OPEN */
    enum input_state state;
    bool reading; /* a thread reads from the file, without the interpreter lock */

    /* Octets that were read from the file and not asked for yet. */
    uint8_t *window;
    size_t window_at, window_end;
};

/* ---- pieces ---- */

enum piece { PIECE_ERROR = -1, PIECE_NONE, PIECE_THERE };

static enum piece read_failed(int error)
{
    errno = -error;
    PyErr_SetFromErrno(PyExc_OSError);
    return PIECE_ERROR;
}

/* Reads a part that was taken, to memory that stays in place. */
static enum piece read_part(struct wsgi_input *self, const struct app_body_part *part, uint8_t *memory)
{
    int r;
    self->reading = true;
    Py_BEGIN_ALLOW_THREADS r = app_body_part_read(part, memory);
    Py_END_ALLOW_THREADS self->reading = false;
    app_request_give_part_back(self->exchange, self->request, part, r);
    if (self->state != INPUT_OPEN) {
        PyErr_SetString(PyExc_ValueError, "wsgi.input was read when its request ended");
        return PIECE_ERROR;
    }
    return r < 0 ? read_failed(r) : PIECE_THERE;
}

/* The next octets from the file, in the window. PIECE_NONE: they are not in a file. */
static enum piece fill_window(struct wsgi_input *self)
{
    struct app_body_part part;
    if (!app_request_take_part(self->exchange, self->request, WINDOW_BYTES, &part))
        return PIECE_NONE;
    if (self->window == NULL)
        self->window = PyMem_Malloc(WINDOW_BYTES);
    if (self->window == NULL) {
        app_request_give_part_back(self->exchange, self->request, &part, -ENOMEM);
        PyErr_NoMemory();
        return PIECE_ERROR;
    }
    enum piece there = read_part(self, &part, self->window);
    self->window_at = 0;
    self->window_end = there == PIECE_THERE ? part.length : 0;
    return there;
}

static struct bytes window_of(const struct wsgi_input *self)
{
    if (self->window_at == self->window_end)
        return (struct bytes){};
    return bytes_of(self->window + self->window_at, self->window_end - self->window_at);
}

static void consume(struct wsgi_input *self, size_t octets)
{
    if (self->window_at < self->window_end)
        self->window_at += octets;
    else
        app_request_consume(self->exchange, self->request, octets);
}

static enum piece at_the_end(const struct app_request *request)
{
    if (request->body_state == APP_BODY_ENDED)
        return PIECE_NONE;
    PyErr_SetString(PyExc_OSError, "the request body was cut off: the client is gone, or broke its framing");
    return PIECE_ERROR;
}

/* Whether it can be read now: with an error where not. PIECE_NONE: there never was a body. */
static enum piece readable(const struct wsgi_input *self)
{
    if (self->state == INPUT_EMPTY)
        return PIECE_NONE;
    if (self->state == INPUT_OPEN && !self->reading)
        return PIECE_THERE;
    if (self->reading)
        PyErr_SetString(PyExc_RuntimeError, "wsgi.input is being read by another thread");
    else
        PyErr_SetString(PyExc_ValueError, "wsgi.input was read after its request had ended");
    return PIECE_ERROR;
}

/* The next octets, where they can be copied from; waits for them. PIECE_NONE: the body has ended. */
static enum piece next_piece(struct wsgi_input *self, struct bytes *ret_piece)
{
    for (;;) {
        enum piece there = readable(self);
        if (there != PIECE_THERE)
            return there;
        struct app_request *request = self->request;
        *ret_piece = self->window_at < self->window_end ? window_of(self) : app_request_body(request);
        if (ret_piece->length > 0)
            return PIECE_THERE;
        there = fill_window(self);
        if (there == PIECE_THERE)
            continue;
        if (there == PIECE_ERROR)
            return there;
        if (request->body_state != APP_BODY_MORE)
            return at_the_end(request);
        app_request_want_body(self->exchange, request);
        if (!app_wait_for_request(self->exchange, request, APP_WAIT_BODY)) {
            PyErr_SetString(PyExc_OSError, "the client is gone, its request body ends here");
            return PIECE_ERROR;
        }
    }
}

static size_t known_rest(const struct wsgi_input *self)
{
    const struct app_request *request = self->request;
    int64_t length = request->record->content_length;
    return length > (int64_t)request->body_read ? (size_t)length - request->body_read : 0;
}

/* ---- what is read, growing ---- */

struct gathered {
    PyObject *bytes;
    size_t used;
};

static size_t first_capacity(const struct wsgi_input *self, size_t limit, size_t first)
{
    const size_t arrived = app_request_at_hand(self->request) + window_of(self).length;
    size_t capacity = known_rest(self);
    if (capacity > CAPACITY_KNOWN_MAX)
        capacity = CAPACITY_KNOWN_MAX;
    if (capacity < arrived)
        capacity = arrived;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    if (capacity < first)
        capacity = first;
    return capacity < limit ? capacity : limit;
}

static int reserve(struct gathered *gathered, const struct wsgi_input *self, size_t limit, size_t more)
{
    if (gathered->bytes == NULL) {
        gathered->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)first_capacity(self, limit, more));
        return gathered->bytes != NULL ? 0 : -1;
    }
    size_t capacity = (size_t)PyBytes_GET_SIZE(gathered->bytes);
    if (more <= capacity - gathered->used)
        return 0;
    size_t wanted = 2 * capacity;
    if (wanted < gathered->used + more)
        wanted = gathered->used + more;
    /* On failure the object is gone and the pointer is NULL. */
    return _PyBytes_Resize(&gathered->bytes, (Py_ssize_t)(wanted < limit ? wanted : limit));
}

static PyObject *finish(struct gathered *gathered)
{
    if (gathered->bytes == NULL)
        return PyBytes_FromStringAndSize(NULL, 0);
    if ((size_t)PyBytes_GET_SIZE(gathered->bytes) != gathered->used &&
        _PyBytes_Resize(&gathered->bytes, (Py_ssize_t)gathered->used) < 0)
        return NULL;
    return gathered->bytes;
}

/* How many octets of `piece` belong to what is asked for, and whether that is all of it. */
static size_t wanted_of(struct bytes piece, size_t room, bool line, bool *ret_is_last)
{
    size_t take = piece.length < room ? piece.length : room;
    const uint8_t *end = line ? memchr(piece.data, '\n', take) : NULL;
    if (end != NULL)
        take = (size_t)(end - piece.data) + 1;
    *ret_is_last = end != NULL || take == room;
    return take;
}

/* Much of a file goes straight to where it is wanted. PIECE_NONE: it is not much, or not in a file. */
static enum piece gather_from_file(struct wsgi_input *self, struct gathered *gathered, size_t limit)
{
    struct app_body_part part;
    if (limit - gathered->used < DIRECT_BYTES_MIN || self->state != INPUT_OPEN || self->reading ||
        self->window_at < self->window_end ||
        !app_request_take_part(self->exchange, self->request, limit - gathered->used, &part))
        return PIECE_NONE;
    if (reserve(gathered, self, limit, part.length) < 0) {
        app_request_give_part_back(self->exchange, self->request, &part, -ENOMEM);
        return PIECE_ERROR;
    }
    enum piece there = read_part(self, &part, (uint8_t *)PyBytes_AS_STRING(gathered->bytes) + gathered->used);
    gathered->used += part.length;
    return there;
}

/* Up to `limit` octets, or with `line` up to the end of the line; fewer only where the body ends. */
static PyObject *gather(struct wsgi_input *self, size_t limit, bool line)
{
    struct gathered gathered = {};
    bool is_last = limit == 0;
    while (!is_last) {
        enum piece direct = line ? PIECE_NONE : gather_from_file(self, &gathered, limit);
        is_last = gathered.used == limit;
        if (direct == PIECE_THERE)
            continue;
        if (direct == PIECE_ERROR) {
            Py_XDECREF(gathered.bytes);
            return NULL;
        }
        struct bytes piece;
        enum piece there = next_piece(self, &piece);
        if (there == PIECE_NONE)
            break;
        if (there == PIECE_ERROR) {
            Py_XDECREF(gathered.bytes);
            return NULL;
        }
        size_t take = wanted_of(piece, limit - gathered.used, line, &is_last);
        if (reserve(&gathered, self, is_last ? gathered.used + take : limit, take) < 0)
            return NULL;
        memcpy(PyBytes_AS_STRING(gathered.bytes) + gathered.used, piece.data, take);
        gathered.used += take;
        consume(self, take);
    }
    return finish(&gathered);
}

/* ---- methods ---- */

/* No argument, None and negative numbers mean: all. */
static int parse_size(PyObject *const *arguments, Py_ssize_t count, size_t *ret_size)
{
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "at most one argument, a size, is taken");
        return -1;
    }
    *ret_size = PY_SSIZE_T_MAX;
    if (count == 0 || arguments[0] == Py_None)
        return 0;
    Py_ssize_t size = PyNumber_AsSsize_t(arguments[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred())
        return -1;
    if (size >= 0)
        *ret_size = (size_t)size;
    return 0;
}

static PyObject *input_read(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    size_t size;
    return parse_size(arguments, count, &size) < 0 ? NULL : gather((struct wsgi_input *)self, size, false);
}

static PyObject *input_readline(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    size_t size;
    return parse_size(arguments, count, &size) < 0 ? NULL : gather((struct wsgi_input *)self, size, true);
}

/* The next line; NULL without a Python error at the end of the body. */
static PyObject *input_next(PyObject *self)
{
    PyObject *line = gather((struct wsgi_input *)self, PY_SSIZE_T_MAX, true);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static PyObject *input_readlines(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    size_t hint, total = 0;
    if (parse_size(arguments, count, &hint) < 0)
        return NULL;
    PyObject *lines = PyList_New(0);
    /* A hint of 0 means none, as in io.IOBase. */
    while (lines != NULL && (hint == 0 || total < hint)) {
        PyObject *line = input_next(self);
        if (line == NULL)
            break;
        total += (size_t)PyBytes_GET_SIZE(line);
        if (PyList_Append(lines, line) < 0)
            Py_CLEAR(lines);
        Py_DECREF(line);
    }
    if (PyErr_Occurred())
        Py_CLEAR(lines);
    return lines;
}

static void input_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(((struct wsgi_input *)self)->window);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef METHODS[] = {
    {"read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL, PyDoc_STR("read(size=-1) -> bytes")},
    {"readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL, PyDoc_STR("readline(size=-1) -> bytes")},
    {"readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL, PyDoc_STR("readlines(hint=-1) -> list")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot SLOTS[] = {
    {Py_tp_dealloc, input_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, input_next},
    {Py_tp_methods, METHODS},
    {0, NULL},
};

static PyType_Spec SPEC = {
    .name = "uroboros.Input",
    .basicsize = sizeof(struct wsgi_input),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SLOTS,
};

PyTypeObject *wsgi_input_make_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &SPEC, NULL);
}

PyObject *wsgi_input_create(PyTypeObject *type, struct app_exchange *exchange, struct app_request *request)
{
    struct wsgi_input *self = (struct wsgi_input *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->exchange = exchange;
    self->request = request;
    self->state = request != NULL ? INPUT_OPEN : INPUT_EMPTY;
    return (PyObject *)self;
}

void wsgi_input_close(PyObject *input)
{
    struct wsgi_input *self = (struct wsgi_input *)input;
    if (self->state != INPUT_OPEN)
        return;
    self->request = NULL;
    self->state = INPUT_CLOSED;
}
