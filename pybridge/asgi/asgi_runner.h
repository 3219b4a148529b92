/*
 * ASGI runner: real asyncio Tasks that run one request after another.
 *
 * A Task for each request costs three times what the rest of a small request does; without a Task half of what
 * applications use breaks (current_task(), timeouts, task groups, anyio). So a runner, a coroutine in C, lives in a
 * Task and drives the application's coroutines, each in a context of its own, until the Task carries a trace of a
 * request: a done callback, a cancellation, a weak or strong reference more than it had. Then the Task ends, its
 * callbacks run, state keyed by it goes, and the next request gets another. With asgi_tasks = task every request ends
 * its Task.
 *
 *   NEW --> RUNNING --> PARKED        waits for a request on a future of its own, in the pool's list of idle runners
 *              ^  \       |
 *              |   \      +--> RUNNING, woken directly by the event loop's callback
 *              |    +--> BOUND        the application waits for something: the Task is this request's until its end
 *              +----------+
 *   any --> ENDED
 *
 * References are counted where the count is exact: between two requests of one uninterrupted run against its start, and
 * before a parked Task is woken against what every parked Task has. A request that was suspended therefore parks its
 * Task when it ends, and takes no other in the same step.
 *
 * Owns:    the runners and their Tasks; a running request's coroutine and context.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    one pool per event loop, as long as the process.
 */
#ifndef PYBRIDGE_ASGI_ASGI_RUNNER_H
#define PYBRIDGE_ASGI_ASGI_RUNNER_H

#include "pybridge/asgi/asgi_adapter.h"
#include "pybridge/asgi/asgi_marks.h"

enum { ASGI_IDLE_RUNNERS_MAX = 128 };

enum asgi_runner_state {
    ASGI_RUNNER_NEW,
    ASGI_RUNNER_RUNNING,
    ASGI_RUNNER_BOUND,
    ASGI_RUNNER_PARKED,
    ASGI_RUNNER_ENDED,
};

struct asgi_runner;

struct asgi_pool {
    struct asgi_core *core;
    struct asgi_adapter *adapter;
    struct asgi_runner *all;                         /* a list that holds a reference to each */
    struct asgi_runner *idle[ASGI_IDLE_RUNNERS_MAX]; /* parked, the one used last on top; borrowed from `all` */
    int idle_count;
    int unassigned;          /* new ones that will park at their first step */
    PyObject *task_type;     /* asyncio.Task */
    PyObject *task_keywords; /* ("loop",) */
    PyObject *context;       /* what each request's context is a copy of */
    struct asgi_marks marks;
    double grace_seconds; /* from the client's leaving to the Task's cancellation; 0: the next turn */
    bool keeps_tasks;     /* asgi_tasks = pooled */
    struct app_request *(*next)(void *context); /* the next request, claimed, or NULL: none, or not now */
    void *context_of_next;
};

/* -1 with a Python error. `next` is set by the caller, before the first request. */
[[nodiscard]] int asgi_pool_init(struct asgi_pool *pool, struct asgi_adapter *adapter);
void asgi_pool_deinit(struct asgi_pool *pool);

/* Runs requests while next() gives any: on idle Tasks at once, or on new ones in the loop's next turn. */
void asgi_pool_run(struct asgi_pool *pool);

/* For asgi_adapter.on_gone: starts the period of grace. Even one of 0 lets the application hear of it first. */
void asgi_pool_on_gone(struct asgi_cycle *cycle, void *context);

#endif
