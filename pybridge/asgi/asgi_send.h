/*
 * ASGI send: the messages of an application, checked, and sent now or when there is room.
 *
 * Owns:    the cycle's queue of what could not be sent at once: the message, its buffer, the future of who waits.
 * Threads: the loop's thread, with the interpreter lock held.
 */
#ifndef PYBRIDGE_ASGI_ASGI_SEND_H
#define PYBRIDGE_ASGI_ASGI_SEND_H

#include "pybridge/asgi/asgi_cycle.h"

/* The vectorcall of a cycle: send(message). */
PyObject *asgi_send_call(PyObject *self, PyObject *const *arguments, size_t count_and_flag, PyObject *keywords);

/* Sends what waits, as far as there is room, and wakes who waited for it. Whether nothing waits any more. No Task may
 * be current. */
bool asgi_send_retry(struct asgi_cycle *cycle);

/* What waits is not sent; who waits for it hears that the request is over. */
void asgi_send_fail(struct asgi_cycle *cycle);

/* For the cycle's type. */
int asgi_send_traverse(struct asgi_cycle *cycle, visitproc visit, void *arg);
void asgi_send_clear(struct asgi_cycle *cycle);

#endif
