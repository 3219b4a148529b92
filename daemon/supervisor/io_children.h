/*
 * I/O children: one process per ring, each with an index for life and a generation for each of its lives.
 *
 *   ABSENT --> STARTING --> KNOWN --> SERVING --> DRAINING
 *     ^           |           |          |           |
 *     +-----------+-----------+----------+-----------+   died; back at once, unless the server is ending
 *
 *   KNOWN      its inbound arena is there: applications may be told of it
 *
 * Owns:    the pages of metrics; per process its inbound arena's descriptor and its control socket.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_IO_CHILDREN_H
#define DAEMON_SUPERVISOR_IO_CHILDREN_H

#include "daemon/exchange/arena.h"
#include "daemon/exchange/control.h"
#include "daemon/exchange/layout.h"
#include "daemon/supervisor/backoff.h"
#include "daemon/supervisor/child.h"

struct supervisor;

enum io_state { IO_ABSENT, IO_STARTING, IO_KNOWN, IO_SERVING, IO_DRAINING };

struct io_child {
    struct supervisor *supervisor;
    struct child child;
    enum io_state state;
    uint32_t index;
    uint32_t generation;
    int inbound;    /* -1 before HELLO */
    uint64_t pulse; /* the last one seen to change, and when */
    uint64_t pulse_at_ms;
    uint32_t tls_answers_due[CONTROL_TLS_CONTEXTS_MAX]; /* to TLS_READY, of each context */
    struct backoff backoff;
    uint64_t spawn_at_ms;
    struct event_alarm respawn;
    struct event_alarm deadline;
};

struct io_children {
    struct arena metrics; /* a page for each; they read one another's, for metrics_path */
    struct io_child rings[LAYOUT_RINGS_MAX];
};

void io_children_init(struct supervisor *supervisor);

/* Starts those that are missing. */
void io_children_settle(struct supervisor *supervisor);

/* Once a second: loops that do not turn. */
void io_children_check(struct supervisor *supervisor, uint64_t now_ms);

bool io_children_complete(const struct supervisor *supervisor);
uint32_t io_children_alive(const struct supervisor *supervisor);

void io_children_drain(struct supervisor *supervisor);
void io_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count);
void io_children_kill(struct supervisor *supervisor);

#endif
