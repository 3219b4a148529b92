/*
 * Dispatch queue: exchanges that no application process has room for. RES-16: every client that waits has a lane, the
 * lanes take turns, and within one the oldest goes first. So a connection with a hundred streams waiting does not stand
 * before the single request of another.
 *
 * Owns:    nothing: a lane is part of its client's session, which lets go of its exchanges before it ends.
 * Threads: the loop.
 * Cost:    each operation is a few pointers, however many wait.
 *
 *   first lane --> lane --> lane      a lane is in this ring while something waits in it; who was served goes last
 *      |            |        |
 *   exchange     exchange  exchange
 *      |
 *   exchange
 */
#ifndef DAEMON_IO_DISPATCH_QUEUE_H
#define DAEMON_IO_DISPATCH_QUEUE_H

#include "daemon/io/exchange_list.h"

/* One client's place in the queue. A zeroed one is ready. */
struct dispatch_lane {
    struct exchange_list waiting;
    struct dispatch_lane *next, *previous; /* in the queue, while something waits */
    bool in_order;                         /* the client gets its responses in the order of its requests */
    uint32_t app;                          /* where that matters: the application that has the last of them, ... */
    uint32_t held;                         /* ... and how many it has */
};

/* A zeroed one is ready. */
struct dispatch_queue {
    struct dispatch_lane *first, *last;
    uint32_t count;
};

/* Behind everything that waits in the lane of the exchange. */
void dispatch_queue_append(struct dispatch_queue *queue, struct http_exchange *exchange);

/* One that has been with an application, or was just taken: before all others. */
void dispatch_queue_put_back(struct dispatch_queue *queue, struct http_exchange *exchange);

void dispatch_queue_remove(struct dispatch_queue *queue, struct http_exchange *exchange);

/* Takes the oldest of a lane that is in the queue. The lane goes last. */
struct http_exchange *dispatch_queue_take(struct dispatch_queue *queue, struct dispatch_lane *lane);

#endif
