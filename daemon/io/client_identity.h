/*
 * Client identity: who the client is, by which scheme and name it came, as the application is told.
 *
 * The socket says it, unless the peer is trusted (forwarded_allow_ips, or a unix socket) and says otherwise by
 * X-Forwarded-For/-Proto/-Host, secure_scheme_headers or RFC 7239 Forwarded.
 *
 * Owns nothing. Threads: the loop.
 */
#ifndef DAEMON_IO_CLIENT_IDENTITY_H
#define DAEMON_IO_CLIENT_IDENTITY_H

#include "daemon/io/connection.h"

/* Whether the connection's peer may say who its clients are. */
bool client_identity_trusted(const struct io_core *core, const struct connection *connection);

/* Fills client, server, their ports, the scheme and the flags of trust. Returns NULL, or why the request must be
 * refused with 400 (two headers that contradict each other about the scheme). */
[[nodiscard]] const char *client_identity_fill(const struct io_core *core, const struct connection *connection,
                                               const struct http1_request *request, struct slot_record *record);

#endif
