/*
 * ASGI marks: what a request can leave on the Task it ran in, so that the Task must not serve another.
 *
 * A clean one looks like one that is parked and never ran anything: no done callback, no cancellation, and as many weak
 * references as that. Strong references are for the caller to compare, who knows which of them are his own.
 *
 * Owns:    the descriptors of the Task's type.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    as long as the pool of runners that it is part of.
 */
#ifndef PYBRIDGE_ASGI_ASGI_MARKS_H
#define PYBRIDGE_ASGI_ASGI_MARKS_H

#include "pybridge/asgi/asgi_core.h"

struct asgi_marks {
    const struct asgi_core *core;
    PyObject *callbacks_of; /* descriptors, since a lookup of each for each request shows */
    PyObject *must_cancel_of;
    PyObject *cancelling_of;
    PyObject *zero;
    Py_ssize_t references; /* of a clean parked Task; 0: not known yet */
    Py_ssize_t weak_references;
};

/* -1 with a Python error. */
[[nodiscard]] int asgi_marks_init(struct asgi_marks *marks, const struct asgi_core *core, PyObject *task_type);
void asgi_marks_deinit(struct asgi_marks *marks);

/* Whether such Tasks show their marks at all: only asyncio's in C do, on their type. */
bool asgi_marks_readable(const struct asgi_marks *marks);

static inline bool asgi_marks_known(const struct asgi_marks *marks)
{
    return marks->references > 0;
}

/* `task` is parked, and has never run anything: so looks a clean one. */
void asgi_marks_learn(struct asgi_marks *marks, PyObject *task);

/* Whether there are any on it. */
bool asgi_marks_on(const struct asgi_marks *marks, PyObject *task);

#endif
