/*
 * Client identity: who the client is, by which scheme and name it came, as the application is told.
 *
 * The socket says it, and the PROXY header where there was one. A trusted peer (forwarded_allow_ips, or a unix socket)
 * may say otherwise, in one of two languages:
 *
 *   X-Forwarded-For, -Host, -Port and secure_scheme_headers (X-Forwarded-Proto is one of them by default)
 *   RFC 7239 Forwarded, which counts only when none of the fields above is there
 *
 * The scheme is the connection's, and over HTTP/2 what a trusted peer's :scheme says; a field says more than either.
 *
 * Only one language is listened to in a request, because a proxy that speaks the first, as most do, passes the second
 * on as the client wrote it. Within a list the entries that trusted proxies have appended are believed, and the first
 * before them: what stands further left came from the client.
 *
 * Trust is a matter of the socket's peer, as in Gunicorn, also when a PROXY header names somebody else. But the client
 * that a PROXY header has named stays the client: the proxy that wrote it passes on octets it does not look at, so any
 * X-Forwarded-For in them is the client's own.
 *
 * Owns nothing. Threads: the loop.
 */
#ifndef DAEMON_IO_CLIENT_IDENTITY_H
#define DAEMON_IO_CLIENT_IDENTITY_H

#include "daemon/io/connection.h"
#include "proto/http_head.h"

enum { CLIENT_IDENTITY_HOPS_MAX = 100 }; /* entries of a list that are looked at */

/* Whether the connection's peer may say who its clients are. */
bool client_identity_trusted(const struct io_core *core, const struct connection *connection);

/* Fills client, server, their ports, the scheme and the flags of trust. Returns NULL, or why the request must be
 * refused with 400 (two headers that contradict each other about the scheme). */
[[nodiscard]] const char *client_identity_fill(const struct io_core *core, const struct connection *connection,
                                               const struct http_head *head, struct slot_record *record);

#endif
