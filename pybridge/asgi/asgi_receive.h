/*
 * ASGI receive: the callable that gives a request's body to the application, piece by piece, and then its end.
 *
 * Who finds nothing waits on a future of his own, so that one who is cancelled takes neither a piece nor another one
 * with him. A piece of body goes to who has waited longest, a disconnect to all.
 *
 * Owns:    nothing: the futures are the cycle's.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    made with its cycle. One that outlives it only says http.disconnect.
 */
#ifndef PYBRIDGE_ASGI_ASGI_RECEIVE_H
#define PYBRIDGE_ASGI_ASGI_RECEIVE_H

#include "pybridge/asgi/asgi_cycle.h"

struct asgi_receive {
    PyObject_HEAD vectorcallfunc call;
    struct asgi_core *core;
    struct asgi_cycle *cycle; /* borrowed; NULL when the cycle is no more */
};

/* Makes the type. -1 with a Python error. */
[[nodiscard]] int asgi_receive_init(struct asgi_core *core);

/* NULL with a Python error. */
[[nodiscard]] struct asgi_receive *asgi_receive_create(struct asgi_cycle *cycle);

/* Gives what is there to those who wait. */
void asgi_receive_wake(struct asgi_cycle *cycle, enum asgi_wake wake);

#endif
