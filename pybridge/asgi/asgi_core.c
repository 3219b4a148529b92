#include "pybridge/asgi/asgi_core.h"

static const char *const NAME_TEXTS[ASGI_NAME_COUNT] = {
#define ASGI_NAME_TEXT(symbol, text) [ASGI_NAME_##symbol] = text,
    ASGI_NAMES(ASGI_NAME_TEXT)
#undef ASGI_NAME_TEXT
};

static int intern_names(struct asgi_core *core)
{
    for (int i = 0; i < ASGI_NAME_COUNT; i++) {
        core->names[i] = PyUnicode_InternFromString(NAME_TEXTS[i]);
        if (core->names[i] == NULL)
            return -1;
    }
    return 0;
}

static PyObject *attribute_of_module(const char *module_name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return NULL;
    PyObject *value = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return value;
}

int asgi_core_init(struct asgi_core *core, struct app_process *process, PyObject *loop)
{
    *core = (struct asgi_core){.process = process, .exchange = process->exchange, .loop = Py_NewRef(loop)};
    if (intern_names(core) < 0)
        return -1;
    core->call_soon = PyObject_GetAttr(loop, asgi_text(core, ASGI_NAME_CALL_SOON));
    core->call_soon_keywords = Py_BuildValue("(O)", asgi_text(core, ASGI_NAME_CONTEXT));
    core->cancelled_error = attribute_of_module("asyncio", "CancelledError");
    core->client_disconnected = PyErr_NewExceptionWithDoc("uroboros.ClientDisconnected",
                                                          "The client is gone: nobody reads this response any more.",
                                                          PyExc_ConnectionError, NULL);
    if (core->call_soon == NULL || core->call_soon_keywords == NULL || core->cancelled_error == NULL ||
        core->client_disconnected == NULL)
        return -1;
    return 0;
}

void asgi_core_deinit(struct asgi_core *core)
{
    for (int i = 0; i < ASGI_NAME_COUNT; i++)
        Py_CLEAR(core->names[i]);
    Py_CLEAR(core->done);
    Py_CLEAR(core->call_soon);
    Py_CLEAR(core->call_soon_keywords);
    Py_CLEAR(core->cancelled_error);
    Py_CLEAR(core->client_disconnected);
    Py_CLEAR(core->result_type);
    Py_CLEAR(core->future_type);
    Py_CLEAR(core->cycle_type);
    Py_CLEAR(core->receive_type);
    Py_CLEAR(core->runner_type);
    Py_CLEAR(core->lifespan_type);
    Py_CLEAR(core->loop);
}

PyObject *asgi_core_lookup(const struct asgi_core *core, PyObject *message, enum asgi_name name)
{
    return Py_XNewRef(PyDict_GetItemWithError(message, asgi_text(core, name)));
}

static bool texts_equal(PyObject *a, PyObject *b)
{
    return PyUnicode_GET_LENGTH(a) == PyUnicode_GET_LENGTH(b) && PyUnicode_Compare(a, b) == 0;
}

static int find_name(const struct asgi_core *core, PyObject *type, const enum asgi_name *names, int count)
{
    if (!PyUnicode_Check(type) || PyUnicode_READY(type) < 0) {
        PyErr_Format(PyExc_TypeError, "the type of an ASGI message is a str, not %.100s", Py_TYPE(type)->tp_name);
        return -1;
    }
    for (int i = 0; i < count; i++)
        if (texts_equal(type, asgi_text(core, names[i])))
            return i;
    PyErr_Format(PyExc_ValueError, "the type of an ASGI message is %R, which send() does not know here", type);
    return -1;
}

int asgi_core_message_type(const struct asgi_core *core, PyObject *message, const enum asgi_name *names, int count)
{
    if (!PyDict_Check(message)) {
        PyErr_Format(PyExc_TypeError, "an ASGI message is a dict, not %.100s", Py_TYPE(message)->tp_name);
        return -1;
    }
    PyObject *type = asgi_core_lookup(core, message, ASGI_NAME_TYPE);
    if (type == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "an ASGI message needs a 'type'");
        return -1;
    }
    int found = find_name(core, type, names, count);
    Py_DECREF(type);
    return found;
}

int asgi_core_call_soon(const struct asgi_core *core, PyObject *callback, PyObject *argument, PyObject *context)
{
    PyObject *arguments[3] = {callback};
    size_t count = 1;
    if (argument != NULL)
        arguments[count++] = argument;
    arguments[count] = context;
    PyObject *handle =
        PyObject_Vectorcall(core->call_soon, arguments, count, context != NULL ? core->call_soon_keywords : NULL);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

#if PY_VERSION_HEX >= 0x030c0000
PyObject *asgi_core_take_exception(void)
{
    return PyErr_GetRaisedException();
}

void asgi_core_raise(PyObject *exception)
{
    PyErr_SetRaisedException(exception);
}
#else
PyObject *asgi_core_take_exception(void)
{
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(exception, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return exception;
}

void asgi_core_raise(PyObject *exception)
{
    PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
}
#endif

void asgi_core_report(const struct asgi_core *core, const char *what)
{
    PyObject *exception = asgi_core_take_exception();
    PyObject *description = Py_BuildValue("{s:s,s:O}", "message", what, "exception", exception);
    PyObject *result = NULL;
    if (description != NULL)
        result = PyObject_CallMethodOneArg(core->loop, asgi_text(core, ASGI_NAME_CALL_EXCEPTION_HANDLER), description);
    if (result == NULL)
        PyErr_WriteUnraisable(core->loop);
    Py_XDECREF(result);
    Py_XDECREF(description);
    Py_XDECREF(exception);
}
