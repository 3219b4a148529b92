/*
 * ASGI awaitable: what send() and receive() return.
 *
 *   result   has its value already. The SEND opcode asks am_send, gets the value, and no StopIteration is ever made.
 *   future   waits. It speaks the protocol of asyncio.Future as far as Task, gather(), wait() and wait_for() use it,
 * and is woken by the event loop's callback directly: no call_soon, no Handle, no further turn of the loop.
 *
 * Both are coroutines by their methods (send, throw, close, __await__), since applications give them to create_task().
 *
 *   PENDING --> FINISHED    asgi_future_finish()
 *      +------> FAILED      asgi_future_fail()
 *      +------> CANCELLED   cancel(), as Task.cancel() calls it; its callbacks run in the next turn of the loop
 *
 * Owns:    the value, the callbacks.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    Python objects.
 */
#ifndef PYBRIDGE_ASGI_ASGI_AWAITABLE_H
#define PYBRIDGE_ASGI_ASGI_AWAITABLE_H

#include "pybridge/asgi/asgi_core.h"

/* Makes the types and core->done. -1 with a Python error. */
[[nodiscard]] int asgi_awaitable_init(struct asgi_core *core);

/* Takes `value`, which may be NULL with a Python error: then so is the answer. */
[[nodiscard]] PyObject *asgi_result_create(const struct asgi_core *core, PyObject *value);

enum asgi_future_state { ASGI_FUTURE_PENDING, ASGI_FUTURE_FINISHED, ASGI_FUTURE_FAILED, ASGI_FUTURE_CANCELLED };

/* NOW may only be asked for where no Task is current: in a callback of the event loop. */
enum asgi_wake { ASGI_WAKE_NOW, ASGI_WAKE_SOON };

struct asgi_future {
    PyObject_HEAD struct asgi_core *core;
    PyObject *outcome;  /* the value, or the exception */
    PyObject *callback; /* of the Task that waits; the first one, and nearly always the only one */
    PyObject *context;  /* to run it in */
    PyObject *more;     /* a list of (callback, context), or NULL */
    enum asgi_future_state state;
    bool blocking; /* _asyncio_future_blocking: yielded and not yet taken up by a Task */
};

[[nodiscard]] struct asgi_future *asgi_future_create(struct asgi_core *core);

/* Take `outcome`. A future that is not pending any more is left alone. What a callback raises is reported, not ours. */
void asgi_future_finish(struct asgi_future *future, PyObject *outcome, enum asgi_wake wake);
void asgi_future_fail(struct asgi_future *future, PyObject *exception, enum asgi_wake wake);

/* Pending again, for another use; only for a future that nobody else has. */
void asgi_future_reset(struct asgi_future *future);

/* What a generator-like am_send answers when it waits for the future. */
PySendResult asgi_future_yield(struct asgi_future *future, PyObject **ret_result);

#endif
