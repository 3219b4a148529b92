/*
 * HTTP intake: which version a connection without TLS speaks, where http2_cleartext lets it choose (RFC 9113 3.3, prior
 * knowledge). A client's preface begins as no request of HTTP/1 does, so its first octets decide; with TLS it is ALPN
 * that decides, and nothing of this is needed.
 *
 *   "PRI * HTTP/2.0..."     HTTP/2
 *   anything else           HTTP/1
 *   the beginning of both   waits for more, within head_timeout
 *
 * Owns:    the octets of a preface that comes in pieces.
 * Threads: the loop.
 * Life:    one object per I/O process; of a connection nothing but those octets.
 */
#ifndef DAEMON_IO_HTTP_INTAKE_H
#define DAEMON_IO_HTTP_INTAKE_H

#include "daemon/io/http1_session.h"
#include "daemon/io/http2_session.h"

struct http_intake {
    struct connections *connections;
    struct http1_sessions *http1;
    struct http2_sessions *http2;
    struct connection_protocol protocol; /* what connections call; its context is this */
};

void http_intake_init(struct http_intake *intake, struct connections *connections, struct http1_sessions *http1,
                      struct http2_sessions *http2);

/* HTTP in clear begins with the next octet of the connection. */
void http_intake_accepted(struct http_intake *intake, struct connection *connection);

#endif
