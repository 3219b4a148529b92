/*
 * Acceptor: connections come in, and stop coming when there is no room.
 *
 * Owns:    the listening sockets as this process has them (the supervisor keeps its own, so nothing queued in the
 *          kernel is lost when this process dies), and a spare descriptor.
 * Threads: the loop.
 *
 *   ARMED <----> PAUSED     no descriptors (EMFILE), no memory, or max_connections reached: tried again every
 *     |            |        ACCEPT_RETRY_MS, and as soon as a connection is closed
 *     +------------+------> STOPPED   draining
 *
 * RES-10: while descriptors are out, an idle connection makes room for a newcomer. Where none is idle for longer than
 * ACCEPT_RETRY_MS, those who wait in the kernel's queue are accepted by the spare descriptor and closed: they learn at
 * once what would otherwise look like a server that hangs.
 */
#ifndef DAEMON_IO_ACCEPTOR_H
#define DAEMON_IO_ACCEPTOR_H

#include "daemon/io/connection.h"

enum { ACCEPTOR_LISTENERS_MAX = 64, ACCEPT_RETRY_MS = 100, ACCEPT_SHED_MAX = 64 };

struct acceptor {
    struct connections *connections;
    void (*on_accepted)(struct connection *connection, void *context);
    void *context;
    struct connection_listener listeners[ACCEPTOR_LISTENERS_MAX];
    uint32_t count;
    uint64_t retry_ms;     /* PAUSED until then; 0: not paused */
    uint32_t paused_live;  /* connections there were when it paused */
    uint64_t exhausted_ms; /* no descriptor was left since then; 0: there are some */
    int spare_fd;
    bool stopped;
    bool tls_paused;
    uint64_t complained_ms;
};

void acceptor_init(struct acceptor *acceptor, struct connections *connections,
                   void (*on_accepted)(struct connection *connection, void *context), void *context);
void acceptor_deinit(struct acceptor *acceptor);

/* Takes `fd`. -ENOSPC beyond ACCEPTOR_LISTENERS_MAX. */
[[nodiscard]] int acceptor_add(struct acceptor *acceptor, const struct control_listener *listener, int fd);

/* Arms what is not armed, unless there is no room. */
void acceptor_start(struct acceptor *acceptor);

/* Nothing is accepted where TLS is spoken until resumed. */
void acceptor_pause_tls(struct acceptor *acceptor);
void acceptor_resume_tls(struct acceptor *acceptor);

/* Takes what waits already, then closes the sockets; acceptor_is_closed() once the kernel has let them go. */
void acceptor_stop(struct acceptor *acceptor);
bool acceptor_is_closed(const struct acceptor *acceptor);

/* Tries again what was paused. When to call next, or UINT64_MAX: once a turn. */
uint64_t acceptor_turn(struct acceptor *acceptor);

void acceptor_on_accept(struct acceptor *acceptor, const struct ring_event *event);

#endif
