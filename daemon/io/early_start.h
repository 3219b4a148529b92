/*
 * Early start: a long body of a fast client goes to its application before it is complete.
 *
 * Holding a body back (request_buffering) keeps threads from waiting for slow clients; for a client that sends faster
 * than an application reads, it is two thirds of the CPU for nothing. With `auto` a body that is about to outgrow
 * memory is streamed instead, when its client has been fast so far, would be done in moments at that pace, and a thread
 * is free. What holds when a client was fast until it was trusted, and then is not:
 *
 *   how many    at most a quarter of all threads run such requests at a time
 *   how long    one waits EARLY_START_WAIT_MS_MAX for its client, all its waits together; then the client gets 408.
 *               Those waits do not count for `timeout`: no client gets an app process replaced
 *   how often   one that waited a second longer than was to be expected (of a body that breaks off: a second)
 *               ends early starts for a while: all bodies are held as before
 *
 * Owns:    the count of requests that run so.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_EARLY_START_H
#define DAEMON_IO_EARLY_START_H

#include "daemon/io/dispatch.h"

enum {
    EARLY_START_BYTES_MIN = 262'144, /* less says nothing about a client: the kernel had it ready */
    EARLY_START_RATE_MIN = 32,       /* octets in a microsecond */
    EARLY_START_REST_US_MAX = 5'000'000,
    EARLY_START_WAIT_MS_MAX = 10'000,
    EARLY_START_GRACE_MS = 1'000,
    EARLY_START_PAUSE_MS = 60'000,
    EARLY_START_PART = 4, /* of all threads */
};

/* The exchange is held back, its body is not complete. true: it is to be submitted now, and counts. */
[[nodiscard]] bool early_start_try(struct dispatch *dispatch, struct http_exchange *exchange);

/* Its body is complete, or nobody has the exchange any more. Harmless where it did not start early. */
void early_start_end(struct io_core *core, struct http_exchange *exchange);

/* For how long its application has waited for its client; 0 where it did not start early. */
uint64_t early_start_waited_ms(const struct io_core *core, const struct http_exchange *exchange);

/* The application has taken all that is there, or more has come. */
void early_start_starves(const struct io_core *core, struct http_exchange *exchange);
void early_start_fed(const struct io_core *core, struct http_exchange *exchange);

#endif
