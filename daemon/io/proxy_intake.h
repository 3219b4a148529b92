/*
 * PROXY intake: the first octets of a connection on a server with proxy_protocol, up to the end of the PROXY header.
 *
 * It is a protocol of connections, and the first they have. When the header is whole the connection is handed on
 * with what stands behind it. The header is never optional: whoever could leave it out could be anybody.
 *
 *   header whole                         goes on, with the client that the header names, if it names one
 *   header malformed, or octets without  closed without an answer
 *   nothing whole after 3 s              closed without an answer
 *   peer not in proxy_allow_ips          403, closed; where TLS is spoken closed without an answer
 *
 * Owns:    the octets of a header that came in pieces.
 * Threads: the loop.
 * Life:    one object per I/O process; of a connection nothing but those octets.
 */
#ifndef DAEMON_IO_PROXY_INTAKE_H
#define DAEMON_IO_PROXY_INTAKE_H

#include "daemon/io/http1_session.h"

enum {
    PROXY_INTAKE_TIMEOUT_MS = 3'000,
    PROXY_INTAKE_BYTES_MAX = 4'096, /* of a header with all its TLVs, as in nginx; balancers send some hundred */
};

struct proxy_intake {
    struct connections *connections;
    struct http1_sessions *http1; /* answers a peer that is not allowed */
    void (*on_ready)(struct connection *connection, void *context);
    void *context;
    struct connection_protocol protocol; /* what connections call; its context is this */
};

/* `on_ready`: the header was whole; what comes next is the client's. It gives the connection its next protocol. */
void proxy_intake_init(struct proxy_intake *intake, struct connections *connections, struct http1_sessions *http1,
                       void (*on_ready)(struct connection *connection, void *context), void *context);

/* Whether connections that are accepted now at this address begin with a PROXY header. */
bool proxy_intake_wanted(const struct proxy_intake *intake, const struct connection_listener *listener);

/* A connection was accepted: nothing is armed yet. */
void proxy_intake_accepted(struct proxy_intake *intake, struct connection *connection);

#endif
