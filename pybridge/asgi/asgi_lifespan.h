/*
 * ASGI lifespan: the application hears when the process starts to serve, and when it stops.
 *
 *   IDLE --> STARTING --> STARTED --> STOPPING --> OVER
 *      \         +---> DECLINED   raised or returned instead: asgi_lifespan = auto serves all the same
 *       \        +---> FAILED     lifespan.startup.failed, or declined where the setting is `on`: exit status 3
 *        +--> DECLINED            asgi_lifespan = off
 *
 * Owns:    the Task that the application runs in for this, the state it fills.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    a Python object, since its methods are the application's receive and send.
 */
#ifndef PYBRIDGE_ASGI_ASGI_LIFESPAN_H
#define PYBRIDGE_ASGI_ASGI_LIFESPAN_H

#include "pybridge/asgi/asgi_awaitable.h"
#include "pybridge/asgi/asgi_scope.h"

enum asgi_lifespan_state {
    ASGI_LIFESPAN_IDLE,
    ASGI_LIFESPAN_STARTING,
    ASGI_LIFESPAN_STARTED,
    ASGI_LIFESPAN_DECLINED,
    ASGI_LIFESPAN_FAILED,
    ASGI_LIFESPAN_STOPPING,
    ASGI_LIFESPAN_OVER,
};

struct asgi_lifespan_run;

/* NULL with a Python error. */
[[nodiscard]] struct asgi_lifespan_run *asgi_lifespan_create(struct asgi_core *core);

/*
 * Runs the loop until the application has started, and gives its state to `scope`. Returns an asgi_lifespan_state:
 * FAILED has been logged, STARTING means that the loop was stopped before the answer came. -1 with a Python error.
 */
[[nodiscard]] int asgi_lifespan_start(struct asgi_lifespan_run *lifespan, struct asgi_scope *scope);

/* Runs the loop until the application has stopped, if it ever started. Failures are logged. */
void asgi_lifespan_stop(struct asgi_lifespan_run *lifespan);

#endif
