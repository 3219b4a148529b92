/*
 * TLS request: what it means to a request that its connection has TLS; the same for every version of HTTP.
 *
 * Owns nothing. Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_REQUEST_H
#define DAEMON_IO_TLS_REQUEST_H

#include "daemon/io/connection.h"
#include "daemon/io/http_exchange.h"
#include "proto/http_head.h"

/*
 * After request_record_fill(): whether the request may be acted upon here, and what its application learns of the TLS.
 * 0, or the status to answer with instead:
 *
 *   421  its host belongs to another certificate than the connection's (RFC 9110 15.5.20)
 *   425  it came as early data, which may be a replay, and could change something (RFC 8470 5.2)
 *   503  there is no memory to tell the application who the client is
 */
[[nodiscard]] uint16_t tls_request_prepare(struct io_core *core, struct connection *connection,
                                           const struct http_head *head, struct http_exchange *exchange);

#endif
