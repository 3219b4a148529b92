#include "pybridge/asgi/asgi_marks.h"

int asgi_marks_init(struct asgi_marks *marks, const struct asgi_core *core, PyObject *task_type)
{
    *marks = (struct asgi_marks){
        .core = core,
        .callbacks_of = PyObject_GetAttr(task_type, asgi_text(core, ASGI_NAME_CALLBACKS)),
        .must_cancel_of = PyObject_GetAttr(task_type, asgi_text(core, ASGI_NAME_MUST_CANCEL)),
        .cancelling_of = PyObject_GetAttr(task_type, asgi_text(core, ASGI_NAME_CANCELLING)),
    };
    PyErr_Clear();
    marks->zero = PyLong_FromLong(0);
    return marks->zero == NULL ? -1 : 0;
}

void asgi_marks_deinit(struct asgi_marks *marks)
{
    Py_CLEAR(marks->callbacks_of);
    Py_CLEAR(marks->must_cancel_of);
    Py_CLEAR(marks->cancelling_of);
    Py_CLEAR(marks->zero);
}

static bool is_descriptor(PyObject *object)
{
    return object != NULL && Py_TYPE(object)->tp_descr_get != NULL;
}

bool asgi_marks_readable(const struct asgi_marks *marks)
{
    return is_descriptor(marks->callbacks_of) && is_descriptor(marks->must_cancel_of) && marks->cancelling_of != NULL;
}

static Py_ssize_t weak_references(PyObject *task)
{
    Py_ssize_t count = 0;
    const PyWeakReference *reference = *(PyWeakReference **)PyObject_GET_WEAKREFS_LISTPTR(task);
    for (; reference != NULL; reference = reference->wr_next)
        count++;
    return count;
}

void asgi_marks_learn(struct asgi_marks *marks, PyObject *task)
{
    marks->references = Py_REFCNT(task);
    marks->weak_references = weak_references(task);
}

/* Whether `value` (taken; NULL with a Python error) is not what a fresh Task has: `fresh`, an int by its value. */
static bool differs(const struct asgi_core *core, PyObject *value, PyObject *fresh)
{
    if (value == NULL) {
        asgi_core_report(core, "a task could not be checked");
        return true;
    }
    bool same = value == fresh || (PyLong_CheckExact(fresh) && PyObject_RichCompareBool(value, fresh, Py_EQ) == 1);
    Py_DECREF(value);
    return !same;
}

static PyObject *attribute(PyObject *descriptor, PyObject *task)
{
    return Py_TYPE(descriptor)->tp_descr_get(descriptor, task, (PyObject *)Py_TYPE(task));
}

bool asgi_marks_on(const struct asgi_marks *marks, PyObject *task)
{
    return weak_references(task) != marks->weak_references ||
           differs(marks->core, attribute(marks->callbacks_of, task), Py_None) ||
           differs(marks->core, attribute(marks->must_cancel_of, task), Py_False) ||
           differs(marks->core, PyObject_CallOneArg(marks->cancelling_of, task), marks->zero);
}
