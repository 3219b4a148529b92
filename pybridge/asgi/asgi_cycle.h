/*
 * ASGI cycle: one HTTP request as an application sees it: scope, receive and send. What asgi_send, asgi_receive and
 * asgi_adapter share.
 *
 * A cycle is the request's `send`, a callable; the second callable, `receive`, belongs to it. Both come from a list of
 * spare pairs: a pair that nobody else refers to any more serves the next request.
 *
 * The state of the response. The head is held until the first piece of body, so that an exception in between still
 * becomes a clean 500, and so that a head and its only piece leave as one message:
 *
 *   START_DUE --> HEAD_HELD --> STREAMING ------------------> COMPLETE
 *                      |           +----> TRAILERS_DUE ------>          the start announced trailers
 *                      +----------------------^-------------->          a body of one piece
 *
 * send() (asgi_send) answers an awaitable that is done already, while there is room. Else what is left waits in the
 * cycle's queue, in order, and its future is woken when the client has taken enough. receive() (asgi_receive) gives one
 * http.request for each piece that is there, then waits: for more, or for http.disconnect.
 *
 * Owns:    per cycle the open request, the held head, whoever waits.
 * Threads: the loop's thread, with the interpreter lock held.
 * Life:    open from asgi_cycle_open() until asgi_cycle_finish() (asgi_adapter.h), or until its last octets have left;
 *          after that its callables only say that it is over.
 */
#ifndef PYBRIDGE_ASGI_ASGI_CYCLE_H
#define PYBRIDGE_ASGI_ASGI_CYCLE_H

#include "pybridge/asgi/asgi_awaitable.h"
#include "pybridge/asgi/asgi_head.h"
#include "pybridge/asgi/asgi_scope.h"

enum { ASGI_SPARE_CYCLES = 256 };

enum asgi_phase { ASGI_START_DUE, ASGI_HEAD_HELD, ASGI_STREAMING, ASGI_TRAILERS_DUE, ASGI_COMPLETE };

struct asgi_outgoing;
struct asgi_receive;

struct asgi_cycle {
    PyObject_HEAD vectorcallfunc call;
    struct asgi_adapter *adapter;
    struct app_request *request; /* NULL: over */
    struct asgi_receive *receive;
    PyObject *receivers;            /* a list of the futures of receive() that wait, or NULL */
    struct asgi_outgoing *outgoing; /* what send() could not send at once, oldest first */
    void *owner;                    /* who runs the application for it */
    struct asgi_head head;          /* and once it has gone, the trailers */
    int64_t body_left;              /* of the Content-Length that was stated; -1: none was */
    enum asgi_phase phase;
    bool body_is_unwanted; /* HEAD, 204, 304: it is checked and not sent */
    bool has_trailers;     /* the start announced them */
    bool sends_trailers;   /* and the client takes them: the body's end is not the response's */
    bool request_is_read;  /* receive() has given the last piece */
    bool application_returned;
    bool awake;      /* in adapter->awake */
    bool wants_room; /* in adapter->wanting */
    struct asgi_cycle *next_awake;
    struct asgi_cycle *next_wanting;
};

struct asgi_cycle_queue {
    struct asgi_cycle *first;
    struct asgi_cycle *last;
};

struct asgi_adapter {
    struct asgi_core *core;
    struct asgi_scope scope;
    struct asgi_cycle_queue awake;   /* the exchange had news for them */
    struct asgi_cycle_queue wanting; /* they wait for room */
    bool has_room;                   /* since the last asgi_adapter_settle() */
    struct asgi_cycle *spares[ASGI_SPARE_CYCLES];
    int spare_count;
    void (*on_gone)(struct asgi_cycle *cycle, void *context); /* the client left, the application still runs */
    void *on_gone_context;
    void (*on_closed)(void *context); /* a request is over */
    void *on_closed_context;
};

/* Nobody wants this response any more. */
static inline bool asgi_cycle_is_gone(const struct asgi_cycle *cycle)
{
    return cycle->request == NULL || cycle->request->fate == APP_REQUEST_CANCELLED;
}

/* It has something to send and no room for it. The adapter calls asgi_send_retry() when there is. */
void asgi_cycle_want_room(struct asgi_cycle *cycle);

#endif
