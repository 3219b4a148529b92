/*
 * Write watch: whether a client takes what it is sent (RES-06). What counts is what its kernel has acknowledged,
 * however large the socket buffer is: write_rate_min octets a second, looked at each write_timeout.
 *
 * Owns nothing; part of a session. Threads: the loop.
 */
#ifndef DAEMON_IO_WRITE_WATCH_H
#define DAEMON_IO_WRITE_WATCH_H

#include "daemon/io/connection.h"

struct write_watch {
    uint64_t progress_ms; /* when something was taken last */
    uint64_t acked;
    bool writing;
};

/* Whether there is something to write may have changed: the clock runs from the moment there is. */
void write_watch_note(struct write_watch *watch, const struct io_core *core, const struct connection *connection);

/* A send took octets. */
void write_watch_sent(struct write_watch *watch, const struct io_core *core);

/* When to look; 0: nothing is being written. */
uint64_t write_watch_deadline(const struct write_watch *watch, const struct io_core *core);

/* The deadline has passed: whether the client is given up. */
bool write_watch_is_stuck(struct write_watch *watch, const struct io_core *core, const struct connection *connection);

#endif
