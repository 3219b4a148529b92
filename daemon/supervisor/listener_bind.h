/*
 * Listener bind: listening sockets that are made for an address: TCP, one for each ring; unix, one for all of them.
 *
 * Nothing that is another's is taken: not a port that somebody listens on, not a unix socket that somebody answers, not
 * a file that is no socket.
 *
 * Owns:    nothing; what is opened belongs to the listener from then on, also of an attempt that fails.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_LISTENER_BIND_H
#define DAEMON_SUPERVISOR_LISTENER_BIND_H

#include "daemon/supervisor/listener_opening.h"

[[nodiscard]] int listener_bind_tcp(const struct listener_opening *opening, struct listener *listener);
[[nodiscard]] int listener_bind_unix(const struct listener_opening *opening, struct listener *listener);
[[nodiscard]] int listener_bind_abstract(const struct listener_opening *opening, struct listener *listener);

#endif
