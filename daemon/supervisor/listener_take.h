/*
 * Listener take: listening sockets that were there before us, by copies: those of socket activation or of a number in
 * the settings, and those of a program before this one.
 *
 * Owns:    nothing; a copy belongs to its listener.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_LISTENER_TAKE_H
#define DAEMON_SUPERVISOR_LISTENER_TAKE_H

#include "daemon/supervisor/listener_opening.h"

/* Why `fd` is not a listening stream socket of a family that we know; NULL: it is one. */
const char *listener_take_refusal(int fd, struct listener_address *ret_address);

/* Which of the sockets of socket activation it is, or -1. */
int listener_take_index(const struct listeners_request *request, const struct bind_address *address);

[[nodiscard]] int listener_take_inherited(const struct listener_opening *opening, struct listener *listener);

/* Whether a program before this one has left sockets for the address. They are the very same, so nothing is bound and
 * no connection that waits in one is lost. */
[[nodiscard]] bool listener_take_handed(const struct listener_opening *opening, struct listener *listener);

#endif
