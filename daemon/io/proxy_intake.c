#include "daemon/io/proxy_intake.h"

#include "proto/proxy_header.h"

#include <assert.h>
#include <stdlib.h>

/* A header in pieces. It is the connection's session until it is whole. */
struct gathered {
    uint32_t bytes;
    uint8_t data[PROXY_INTAKE_BYTES_MAX];
};

static const enum proxy_version ACCEPTED[] = {
    [PROXY_PROTOCOL_OFF] = PROXY_AUTO, /* switched off by a reload after the connection was accepted */
    [PROXY_PROTOCOL_V1] = PROXY_V1,
    [PROXY_PROTOCOL_V2] = PROXY_V2,
    [PROXY_PROTOCOL_AUTO] = PROXY_AUTO,
};

/* What an address of its own says goes before the setting. */
static enum proxy_protocol asked(const struct proxy_intake *intake, const struct connection_listener *listener)
{
    static const enum proxy_protocol own[] = {
        [LISTEN_PROXY_OFF] = PROXY_PROTOCOL_OFF,
        [LISTEN_PROXY_V1] = PROXY_PROTOCOL_V1,
        [LISTEN_PROXY_V2] = PROXY_PROTOCOL_V2,
        [LISTEN_PROXY_AUTO] = PROXY_PROTOCOL_AUTO,
    };
    return listener->proxy_protocol == LISTEN_PROXY_OF_ALL ? intake->connections->core->settings.proxy_protocol
                                                           : own[listener->proxy_protocol];
}

static void drop_gathered(struct connection *connection)
{
    free(connection->session);
    connection->session = NULL;
}

static void refuse(struct proxy_intake *intake, struct connection *connection)
{
    connection_abort(intake->connections, connection, CLOSE_PROXY_HEADER, false);
}

/* ---- behind the header ------------------------------------------------------------------------------------------ */

static void hand_over(struct proxy_intake *intake, struct connection *connection)
{
    drop_gathered(connection);
    intake->on_ready(connection, intake->context);
}

static bool name_client(struct proxy_intake *intake, struct connection *connection, const struct proxy_header *header)
{
    /* Of a unix socket on the far side there is nothing to tell, as of LOCAL and UNKNOWN. */
    if (header->family != PROXY_IPV4 && header->family != PROXY_IPV6)
        return true;
    struct connection_proxied *proxied = connection_set_proxied(intake->connections, connection);
    if (proxied == NULL)
        return false;
    static_assert(sizeof proxied->client <= sizeof header->source, "texts of addresses are copied whole");
    memcpy(proxied->client, header->source, sizeof proxied->client);
    memcpy(proxied->server, header->destination, sizeof proxied->server);
    proxied->client_port = header->source_port;
    proxied->server_port = header->destination_port;
    return true;
}

/* ---- the header ------------------------------------------------------------------------------------------------- */

/* Keeps what came; false when a header of that length is no longer believed, or memory is out. */
static bool gather(struct connection *connection, struct bytes data)
{
    struct gathered *gathered = connection->session;
    if (gathered == NULL)
        gathered = calloc(1, sizeof *gathered);
    if (gathered == NULL)
        return false;
    connection->session = gathered;
    if (data.length > sizeof gathered->data - gathered->bytes)
        return false;
    memcpy(gathered->data + gathered->bytes, data.data, data.length);
    gathered->bytes += (uint32_t)data.length;
    return true;
}

/* Of a header in pieces all that is here, the new octets among it. */
static bool whole_input(struct connection *connection, struct bytes data, struct bytes *ret_input)
{
    struct gathered *gathered = connection->session;
    *ret_input = data;
    if (gathered == NULL)
        return true;
    /* The end of the header lies within the limit; what does not fit stands behind it or makes it too long. */
    size_t room = sizeof gathered->data - gathered->bytes;
    if (!gather(connection, bytes_of(data.data, data.length < room ? data.length : room)))
        return false;
    *ret_input = bytes_of(gathered->data, gathered->bytes);
    return true;
}

/* How many octets of `data` belong to the header; -1: it is no good. `*ret_whole` says whether they are the last. */
static int64_t take_header(struct proxy_intake *intake, struct connection *connection, struct bytes data,
                           bool *ret_whole)
{
    const struct gathered *gathered = connection->session;
    const size_t before = gathered != NULL ? gathered->bytes : 0;
    struct proxy_header header;
    struct bytes input;
    size_t consumed = 0;
    if (!whole_input(connection, data, &input))
        return -1;
    switch (proxy_header_feed(&header, ACCEPTED[asked(intake, connection->listener)], input, &consumed)) {
    case PROXY_READY:
        *ret_whole = true;
        return name_client(intake, connection, &header) ? (int64_t)(consumed - before) : -1;
    case PROXY_NEED_MORE:
        *ret_whole = false;
        if (input.length >= PROXY_INTAKE_BYTES_MAX)
            return -1;
        return gathered != NULL || gather(connection, data) ? (int64_t)data.length : -1;
    case PROXY_REJECTED:
        break;
    }
    return -1;
}

/* ---- what the connection tells ---------------------------------------------------------------------------------- */

static void on_header_bytes(struct proxy_intake *intake, struct connection *connection, struct loan loan, uint8_t *data,
                            uint32_t length)
{
    struct buffer_pool *buffers = &intake->connections->core->buffers;
    bool whole = false;
    int64_t taken = take_header(intake, connection, bytes_of(data, length), &whole);
    if (taken < 0)
        refuse(intake, connection);
    if (whole && taken >= 0) {
        hand_over(intake, connection);
        if ((uint64_t)taken < length) {
            connection->protocol->on_bytes(connection, loan, data + taken, length - (uint32_t)taken);
            return; /* the loan went along */
        }
    }
    buffer_pool_drop(buffers, &loan);
}

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct proxy_intake *intake = connection->protocol->context;
    struct io_core *core = intake->connections->core;
    if (address_set_contains(&core->proxy_allow, &connection->peer.any)) {
        on_header_bytes(intake, connection, loan, data, length);
        return;
    }
    buffer_pool_drop(&core->buffers, &loan);
    drop_gathered(connection);
    if (connection->listener->tls_context >= 0) { /* an answer in clear would be noise there */
        refuse(intake, connection);
        return;
    }
    connection->protocol = &intake->http1->protocol;
    http1_session_refuse(intake->http1, connection, 403, "this peer may not send a PROXY header", CLOSE_PROXY_HEADER);
}

static void on_eof(struct connection *connection)
{
    connection_abort(((struct proxy_intake *)connection->protocol->context)->connections, connection, CLOSE_CLIENT_DONE,
                     false);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    (void)connection;
    (void)bytes;
    assert(!"nothing is sent before the header is whole");
}

static void on_deadline(struct connection *connection)
{
    refuse(connection->protocol->context, connection);
}

static void on_close(struct connection *connection)
{
    (void)connection; /* on_freed() does it */
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

void proxy_intake_init(struct proxy_intake *intake, struct connections *connections, struct http1_sessions *http1,
                       void (*on_ready)(struct connection *connection, void *context), void *context)
{
    *intake = (struct proxy_intake){
        .connections = connections,
        .http1 = http1,
        .on_ready = on_ready,
        .context = context,
        .protocol =
            {
                .on_bytes = on_bytes,
                .on_eof = on_eof,
                .on_sent = on_sent,
                .on_deadline = on_deadline,
                .on_close = on_close,
                .on_freed = drop_gathered,
                .context = intake,
            },
    };
}

bool proxy_intake_wanted(const struct proxy_intake *intake, const struct connection_listener *listener)
{
    return asked(intake, listener) != PROXY_PROTOCOL_OFF;
}

void proxy_intake_accepted(struct proxy_intake *intake, struct connection *connection)
{
    struct connections *connections = intake->connections;
    connection->protocol = &intake->protocol;
    connection_want(connections, connection, true, LOAN_RECEIVE);
    connection_set_deadline(connections, connection, connections->core->now_ms + PROXY_INTAKE_TIMEOUT_MS);
}
