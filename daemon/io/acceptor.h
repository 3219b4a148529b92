/*
 * Acceptor: connections come in, and stop coming when there is no room.
 *
 * Owns:    the listening sockets as this process has them (the supervisor keeps its own, so nothing queued in the
 *          kernel is lost when this process dies).
 * Threads: the loop.
 *
 *   ARMED <----> PAUSED     no descriptors (EMFILE), no memory, or max_connections reached: tried again every
 *     |            |        ACCEPT_RETRY_MS
 *     +------------+------> STOPPED   draining
 */
#ifndef DAEMON_IO_ACCEPTOR_H
#define DAEMON_IO_ACCEPTOR_H

#include "daemon/io/connection.h"

enum { ACCEPTOR_LISTENERS_MAX = 64, ACCEPT_RETRY_MS = 100 };

struct acceptor {
    struct connections *connections;
    void (*on_accepted)(struct connection *connection, void *context);
    void *context;
    struct connection_listener listeners[ACCEPTOR_LISTENERS_MAX];
    uint32_t count;
    uint64_t retry_ms; /* PAUSED until then; 0: not paused */
    bool stopped;
    uint64_t complained_ms;
};

void acceptor_init(struct acceptor *acceptor, struct connections *connections,
                   void (*on_accepted)(struct connection *connection, void *context), void *context);
void acceptor_deinit(struct acceptor *acceptor);

/* Takes `fd`. -ENOSPC beyond ACCEPTOR_LISTENERS_MAX. */
[[nodiscard]] int acceptor_add(struct acceptor *acceptor, const struct control_listener *listener, int fd);

/* Arms what is not armed, unless there is no room. */
void acceptor_start(struct acceptor *acceptor);

/* Takes what waits already, then closes the sockets; acceptor_is_closed() once the kernel has let them go. */
void acceptor_stop(struct acceptor *acceptor);
bool acceptor_is_closed(const struct acceptor *acceptor);

/* Tries again what was paused. When to call next, or UINT64_MAX. */
uint64_t acceptor_turn(struct acceptor *acceptor);

void acceptor_on_accept(struct acceptor *acceptor, const struct ring_event *event);

#endif
