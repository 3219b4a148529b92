/*
 * Worker event loop: one asyncio or uvloop loop on the main thread serves the ASGI application.
 *
 * The loop watches two descriptors: the doorbell of the exchange and the control socket. A turn, the callback of the
 * doorbell, takes all messages, wakes whoever they are for, begins requests on pooled Tasks, rings once for all that
 * was sent, and says that it sleeps just before it returns to the loop. It begins at most TURN_REQUESTS_MAX requests or
 * works TURN_NS_MAX; what is left comes after the application's own timers and sockets had their turn.
 *
 *   lifespan.startup --> READY --> turns --> DRAIN: the last open request --> lifespan.shutdown --> tasks cancelled
 *                                    +-----> STOP: at once, the application gets STOP_SECONDS to shut down
 *
 * Owns:    the loop and all ASGI objects; they live as long as the process.
 * Threads: the main thread, with the interpreter lock held except where the loop sleeps.
 */
#ifndef PYBRIDGE_WORKERS_WORKER_EVENT_LOOP_H
#define PYBRIDGE_WORKERS_WORKER_EVENT_LOOP_H

#include "pybridge/workers/worker_class.h"

#endif
