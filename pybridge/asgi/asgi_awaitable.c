#include "pybridge/asgi/asgi_awaitable.h"

#include <structmember.h>

/* ---- what both have in common ----------------------------------------------------------------------------------- */

/* As `return value` of a generator; takes `value`. */
static PyObject *stop_iteration(PyObject *value)
{
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    Py_DECREF(value);
    if (stop == NULL)
        return NULL;
    PyErr_SetObject(PyExc_StopIteration, stop);
    Py_DECREF(stop);
    return NULL;
}

/* The old way to resume: what am_send says, said by iteration. */
static PyObject *iterate(PyObject *self)
{
    PyObject *result = NULL;
    switch (Py_TYPE(self)->tp_as_async->am_send(self, Py_None, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        return stop_iteration(result);
    case PYGEN_ERROR:
        break;
    }
    return NULL;
}

static PyObject *method_send(PyObject *self, PyObject *value)
{
    (void)value;
    return iterate(self);
}

/* throw(exception) or throw(type[, value[, traceback]]): raises it, since nothing here would catch it. */
static PyObject *method_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    (void)self;
    if (count < 1 || count > 3) {
        PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
        return NULL;
    }
    PyObject *thrown = arguments[0];
    if (PyExceptionInstance_Check(thrown))
        PyErr_SetObject((PyObject *)Py_TYPE(thrown), thrown);
    else if (PyExceptionClass_Check(thrown))
        PyErr_SetObject(thrown, count > 1 ? arguments[1] : Py_None);
    else
        PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    return NULL;
}

static PyObject *method_close(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    Py_RETURN_NONE;
}

/* ---- result ----------------------------------------------------------------------------------------------------- */

struct asgi_result {
    PyObject_HEAD PyObject *value; /* NULL once it was taken */
};

PyObject *asgi_result_create(const struct asgi_core *core, PyObject *value)
{
    if (value == NULL)
        return NULL;
    struct asgi_result *result = PyObject_New(struct asgi_result, core->result_type);
    if (result == NULL) {
        Py_DECREF(value);
        return NULL;
    }
    result->value = value;
    return (PyObject *)result;
}

static void result_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(((struct asgi_result *)self)->value);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PySendResult result_resume(PyObject *self, PyObject *sent, PyObject **ret_result)
{
    (void)sent;
    struct asgi_result *result = (struct asgi_result *)self;
    *ret_result = result->value;
    if (result->value == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "what receive() returned was awaited twice");
        return PYGEN_ERROR;
    }
    /* None belongs to core->done, which serves every send(). */
    if (result->value == Py_None)
        Py_INCREF(Py_None);
    else
        result->value = NULL;
    return PYGEN_RETURN;
}

static PyMethodDef RESULT_METHODS[] = {
    {"send", method_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))method_throw, METH_FASTCALL, NULL},
    {"close", method_close, METH_NOARGS, NULL},
    {},
};

static PyType_Slot RESULT_SLOTS[] = {
    {Py_tp_dealloc, result_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterate},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, result_resume},
    {Py_tp_methods, RESULT_METHODS},
    {},
};

static PyType_Spec RESULT_SPEC = {
    .name = "uroboros.AsgiResult",
    .basicsize = sizeof(struct asgi_result),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = RESULT_SLOTS,
};

/* ---- future: the side of the event loop ------------------------------------------------------------------------- */

struct asgi_future *asgi_future_create(struct asgi_core *core)
{
    struct asgi_future *future = PyObject_GC_New(struct asgi_future, core->future_type);
    if (future == NULL)
        return NULL;
    future->core = core;
    future->outcome = future->callback = future->context = future->more = NULL;
    asgi_future_reset(future);
    PyObject_GC_Track((PyObject *)future);
    return future;
}

void asgi_future_reset(struct asgi_future *future)
{
    future->state = ASGI_FUTURE_PENDING;
    future->blocking = false;
    Py_CLEAR(future->outcome);
}

static void call_back(struct asgi_future *future, PyObject *callback, PyObject *context)
{
    if (PyContext_Enter(context) < 0) {
        asgi_core_report(future->core, "the context of a waiting task is in use");
        return;
    }
    PyObject *result = PyObject_CallOneArg(callback, (PyObject *)future);
    if (result == NULL)
        asgi_core_report(future->core, "a callback of an ASGI awaitable failed");
    Py_XDECREF(result);
    if (PyContext_Exit(context) < 0)
        asgi_core_report(future->core, "the context of a waiting task was exchanged");
}

static void wake_one(struct asgi_future *future, PyObject *callback, PyObject *context, enum asgi_wake wake)
{
    if (wake == ASGI_WAKE_NOW)
        call_back(future, callback, context);
    else if (asgi_core_call_soon(future->core, callback, (PyObject *)future, context) < 0)
        asgi_core_report(future->core, "a waiting task could not be woken");
}

/* Each callback is taken off before it runs: it may wait for the same future's next use, or drop the future. */
static void wake_all(struct asgi_future *future, enum asgi_wake wake)
{
    PyObject *callback = future->callback;
    PyObject *context = future->context;
    PyObject *more = future->more;
    future->callback = future->context = future->more = NULL;
    Py_INCREF(future);
    if (callback != NULL)
        wake_one(future, callback, context, wake);
    for (Py_ssize_t i = 0; more != NULL && i < PyList_GET_SIZE(more); i++) {
        PyObject *pair = PyList_GET_ITEM(more, i);
        wake_one(future, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), wake);
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(more);
    Py_DECREF(future);
}

static void settle(struct asgi_future *future, enum asgi_future_state state, PyObject *outcome, enum asgi_wake wake)
{
    if (future->state != ASGI_FUTURE_PENDING) {
        Py_XDECREF(outcome);
        return;
    }
    future->state = state;
    future->outcome = outcome;
    wake_all(future, wake);
}

void asgi_future_finish(struct asgi_future *future, PyObject *outcome, enum asgi_wake wake)
{
    settle(future, ASGI_FUTURE_FINISHED, outcome, wake);
}

void asgi_future_fail(struct asgi_future *future, PyObject *exception, enum asgi_wake wake)
{
    settle(future, ASGI_FUTURE_FAILED, exception, wake);
}

PySendResult asgi_future_yield(struct asgi_future *future, PyObject **ret_result)
{
    future->blocking = true;
    *ret_result = Py_NewRef(future);
    return PYGEN_NEXT;
}

/* ---- future: the side of asyncio -------------------------------------------------------------------------------- */

static PyObject *future_cancelled_error(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyObject_CallNoArgs(((struct asgi_future *)self)->core->cancelled_error);
}

static PyObject *raise_outcome(struct asgi_future *future)
{
    switch (future->state) {
    case ASGI_FUTURE_FAILED:
        PyErr_SetObject((PyObject *)Py_TYPE(future->outcome), future->outcome);
        break;
    case ASGI_FUTURE_CANCELLED:
        PyErr_SetNone(future->core->cancelled_error);
        break;
    default:
        PyErr_SetString(PyExc_RuntimeError, "the result is not there yet");
        break;
    }
    return NULL;
}

static PyObject *future_result(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct asgi_future *future = (struct asgi_future *)self;
    return future->state == ASGI_FUTURE_FINISHED ? Py_NewRef(future->outcome) : raise_outcome(future);
}

static PyObject *future_exception(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    struct asgi_future *future = (struct asgi_future *)self;
    if (future->state == ASGI_FUTURE_FAILED)
        return Py_NewRef(future->outcome);
    return future->state == ASGI_FUTURE_FINISHED ? Py_NewRef(Py_None) : raise_outcome(future);
}

static PySendResult future_resume(PyObject *self, PyObject *sent, PyObject **ret_result)
{
    (void)sent;
    struct asgi_future *future = (struct asgi_future *)self;
    if (future->state == ASGI_FUTURE_PENDING)
        return asgi_future_yield(future, ret_result);
    *ret_result = future_result(self, NULL);
    return *ret_result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *future_done(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct asgi_future *)self)->state != ASGI_FUTURE_PENDING);
}

static PyObject *future_cancelled(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(((struct asgi_future *)self)->state == ASGI_FUTURE_CANCELLED);
}

static PyObject *future_cancel(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    (void)arguments; /* `msg`, which asyncio itself no longer carries through */
    (void)count;
    (void)keywords;
    struct asgi_future *future = (struct asgi_future *)self;
    bool was_pending = future->state == ASGI_FUTURE_PENDING;
    settle(future, ASGI_FUTURE_CANCELLED, NULL, ASGI_WAKE_SOON);
    return PyBool_FromLong(was_pending);
}

static PyObject *future_get_loop(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return Py_NewRef(((struct asgi_future *)self)->core->loop);
}

static int append_callback(struct asgi_future *future, PyObject *callback, PyObject *context)
{
    if (future->callback == NULL) {
        future->callback = Py_NewRef(callback);
        future->context = Py_NewRef(context);
        return 0;
    }
    if (future->more == NULL)
        future->more = PyList_New(0);
    PyObject *pair = future->more == NULL ? NULL : PyTuple_Pack(2, callback, context);
    int r = pair == NULL ? -1 : PyList_Append(future->more, pair);
    Py_XDECREF(pair);
    return r;
}

/* add_done_callback(callback, *, context=None) */
static PyObject *future_add_done_callback(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                          PyObject *keywords)
{
    struct asgi_future *future = (struct asgi_future *)self;
    bool has_context = keywords != NULL && PyTuple_GET_SIZE(keywords) == 1;
    if (count != 1 || (keywords != NULL && PyTuple_GET_SIZE(keywords) > 1)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes a callback and perhaps a context");
        return NULL;
    }
    PyObject *context = has_context && arguments[1] != Py_None ? Py_NewRef(arguments[1]) : PyContext_CopyCurrent();
    if (context == NULL)
        return NULL;
    int r = future->state == ASGI_FUTURE_PENDING ? append_callback(future, arguments[0], context)
                                                 : asgi_core_call_soon(future->core, arguments[0], self, context);
    Py_DECREF(context);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* The first callback if it equals: 1, else 0. -1 with a Python error. */
static int remove_first(struct asgi_future *future, PyObject *callback)
{
    if (future->callback == NULL)
        return 0;
    int equal = PyObject_RichCompareBool(future->callback, callback, Py_EQ);
    if (equal <= 0)
        return equal;
    Py_CLEAR(future->callback);
    Py_CLEAR(future->context);
    return 1;
}

static Py_ssize_t remove_others(struct asgi_future *future, PyObject *callback)
{
    Py_ssize_t removed = 0;
    for (Py_ssize_t i = future->more == NULL ? 0 : PyList_GET_SIZE(future->more); i-- > 0;) {
        PyObject *pair = PyList_GET_ITEM(future->more, i);
        int equal = PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        if (equal < 0 || (equal > 0 && PySequence_DelItem(future->more, i) < 0))
            return -1;
        removed += equal;
    }
    return removed;
}

static PyObject *future_remove_done_callback(PyObject *self, PyObject *callback)
{
    struct asgi_future *future = (struct asgi_future *)self;
    int first = remove_first(future, callback);
    Py_ssize_t others = first < 0 ? -1 : remove_others(future, callback);
    return others < 0 ? NULL : PyLong_FromSsize_t(first + others);
}

static PyObject *future_blocking(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((struct asgi_future *)self)->blocking);
}

static int future_set_blocking(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    ((struct asgi_future *)self)->blocking = truth != 0;
    return 0;
}

/* asyncio.gather() asks for it without looking whether there is one. */
static PyObject *future_cancel_message(PyObject *self, void *closure)
{
    (void)self;
    (void)closure;
    Py_RETURN_NONE;
}

static int future_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct asgi_future *future = (struct asgi_future *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(future->outcome);
    Py_VISIT(future->callback);
    Py_VISIT(future->context);
    Py_VISIT(future->more);
    return 0;
}

static int future_clear(PyObject *self)
{
    struct asgi_future *future = (struct asgi_future *)self;
    Py_CLEAR(future->outcome);
    Py_CLEAR(future->callback);
    Py_CLEAR(future->context);
    Py_CLEAR(future->more);
    return 0;
}

static void future_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)future_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

#define FAST_METHOD(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef FUTURE_METHODS[] = {
    {"add_done_callback", FAST_METHOD(future_add_done_callback), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", future_remove_done_callback, METH_O, NULL},
    {"get_loop", future_get_loop, METH_NOARGS, NULL},
    {"result", future_result, METH_NOARGS, NULL},
    {"exception", future_exception, METH_NOARGS, NULL},
    {"done", future_done, METH_NOARGS, NULL},
    {"cancelled", future_cancelled, METH_NOARGS, NULL},
    {"cancel", FAST_METHOD(future_cancel), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_make_cancelled_error", future_cancelled_error, METH_NOARGS, NULL},
    {"send", method_send, METH_O, NULL},
    {"throw", FAST_METHOD(method_throw), METH_FASTCALL, NULL},
    {"close", method_close, METH_NOARGS, NULL},
    {},
};

static PyGetSetDef FUTURE_ATTRIBUTES[] = {
    {"_asyncio_future_blocking", future_blocking, future_set_blocking, NULL, NULL},
    {"_cancel_message", future_cancel_message, NULL, NULL, NULL},
    {},
};

static PyType_Slot FUTURE_SLOTS[] = {
    {Py_tp_dealloc, future_dealloc},   {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterate},         {Py_am_await, PyObject_SelfIter},
    {Py_am_send, future_resume},       {Py_tp_methods, FUTURE_METHODS},
    {Py_tp_getset, FUTURE_ATTRIBUTES}, {},
};

static PyType_Spec FUTURE_SPEC = {
    .name = "uroboros.AsgiFuture",
    .basicsize = sizeof(struct asgi_future),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = FUTURE_SLOTS,
};

int asgi_awaitable_init(struct asgi_core *core)
{
    core->result_type = asgi_core_type(core, &RESULT_SPEC);
    core->future_type = asgi_core_type(core, &FUTURE_SPEC);
    if (core->result_type == NULL || core->future_type == NULL)
        return -1;
    core->done = asgi_result_create(core, Py_NewRef(Py_None));
    return core->done == NULL ? -1 : 0;
}
