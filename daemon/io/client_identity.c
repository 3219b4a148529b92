#include "daemon/io/client_identity.h"

#include <arpa/inet.h>
#include <string.h>

bool client_identity_trusted(const struct io_core *core, const struct connection *connection)
{
    return address_set_contains(&core->forwarded_allow, &connection->peer.any);
}

/* A listener on all addresses does not say which of them the client used; the socket does. */
static void server_of_socket(const struct connection *connection, struct slot_record *record)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } own;
    socklen_t length = sizeof own;
    if (getsockname(connection->fd, &own.any, &length) < 0)
        return;
    if (own.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &own.ipv4.sin_addr, record->server, sizeof record->server);
    else if (own.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &own.ipv6.sin6_addr, record->server, sizeof record->server);
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

const char *client_identity_fill(const struct io_core *core, const struct connection *connection,
                                 const struct http1_request *request, struct slot_record *record)
{
    const struct connection_listener *listener = connection->listener;
    (void)request;
    connection_peer_text(connection, record->client, sizeof record->client, &record->client_port);
    memcpy(record->server, listener->server, sizeof record->server);
    record->server_port = listener->port;
    if (listener->is_unix)
        record->flags |= SLOT_UNIX;
    else if (is_wildcard(listener->server))
        server_of_socket(connection, record);
    if (client_identity_trusted(core, connection))
        record->flags |= SLOT_TRUSTED;
    return NULL;
}
