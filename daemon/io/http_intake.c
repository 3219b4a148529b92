#include "daemon/io/http_intake.h"

#include <assert.h>
#include <stdlib.h>

/* A preface in pieces. It is the connection's session until it is told apart. */
struct gathered {
    uint32_t bytes;
    uint8_t data[HTTP2_PREFACE_BYTES];
};

static void drop_gathered(struct connection *connection)
{
    free(connection->session);
    connection->session = NULL;
}

/* ---- the choice ------------------------------------------------------------------------------------------------- */

static void hand_over(struct http_intake *intake, struct connection *connection, bool is_http2)
{
    drop_gathered(connection);
    connection->protocol = is_http2 ? &intake->http2->protocol : &intake->http1->protocol;
    if (is_http2)
        http2_session_accepted(intake->http2, connection);
    else
        http1_session_accepted(intake->http1, connection);
}

/* What was gathered moves into the arena, where sessions expect octets, and goes first. */
static bool replay(struct http_intake *intake, struct connection *connection, const struct gathered *gathered)
{
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    if (buffer_pool_stage(&intake->connections->core->buffers, gathered->bytes, &loan, &memory, &capacity) < 0) {
        connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
        return false;
    }
    memcpy(memory, gathered->data, gathered->bytes);
    connection->protocol->on_bytes(connection, loan, memory, gathered->bytes);
    return connection->state < CONNECTION_LINGERING;
}

static bool gather(struct connection *connection, const uint8_t *data, uint32_t length)
{
    struct gathered *gathered = connection->session;
    if (gathered == NULL)
        gathered = calloc(1, sizeof *gathered);
    if (gathered == NULL)
        return false;
    connection->session = gathered;
    memcpy(gathered->data + gathered->bytes, data, length);
    gathered->bytes += length;
    return true;
}

/* Whether all octets so far, those gathered and those new, may be a preface; and whether they are a whole one. */
static bool may_be_preface(const struct gathered *gathered, struct bytes data, bool *ret_whole)
{
    uint8_t joined[HTTP2_PREFACE_BYTES];
    const size_t before = gathered != NULL ? gathered->bytes : 0;
    const size_t more = data.length < sizeof joined - before ? data.length : sizeof joined - before;
    if (before > 0)
        memcpy(joined, gathered->data, before);
    memcpy(joined + before, data.data, more);
    *ret_whole = before + more == sizeof joined;
    return http2_preface_matches(bytes_of(joined, before + more));
}

/* ---- what the connection tells ---------------------------------------------------------------------------------- */

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct http_intake *intake = connection->protocol->context;
    struct buffer_pool *buffers = &intake->connections->core->buffers;
    const struct gathered *gathered = connection->session;
    bool whole;
    bool matches = may_be_preface(gathered, bytes_of(data, length), &whole);
    if (matches && !whole) {
        if (!gather(connection, data, length))
            connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
        buffer_pool_drop(buffers, &loan);
        return;
    }
    const struct gathered before = gathered != NULL ? *gathered : (struct gathered){};
    hand_over(intake, connection, matches);
    if (connection->state < CONNECTION_LINGERING && (before.bytes == 0 || replay(intake, connection, &before)))
        connection->protocol->on_bytes(connection, loan, data, length);
    else
        buffer_pool_drop(buffers, &loan);
}

static void on_eof(struct connection *connection)
{
    struct http_intake *intake = connection->protocol->context;
    connection_abort(intake->connections, connection, CLOSE_CLIENT_EOF_EARLY, false);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    (void)connection;
    (void)bytes;
    assert(!"nothing is sent before the version is known");
}

static void on_deadline(struct connection *connection)
{
    struct http_intake *intake = connection->protocol->context;
    connection_abort(intake->connections, connection, CLOSE_HEAD_TIMEOUT, false);
}

static void on_close(struct connection *connection)
{
    (void)connection; /* on_freed() does it */
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

void http_intake_init(struct http_intake *intake, struct connections *connections, struct http1_sessions *http1,
                      struct http2_sessions *http2)
{
    *intake = (struct http_intake){
        .connections = connections,
        .http1 = http1,
        .http2 = http2,
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

void http_intake_accepted(struct http_intake *intake, struct connection *connection)
{
    struct connections *connections = intake->connections;
    const struct settings *settings = &connections->core->settings;
    if (settings->http2_cleartext == HTTP2_CLEARTEXT_OFF) {
        hand_over(intake, connection, false);
        return;
    }
    connection->protocol = &intake->protocol;
    connection_want(connections, connection, true, LOAN_RECEIVE);
    if (settings->head_timeout_ms > 0)
        connection_set_deadline(connections, connection,
                                connections->core->now_ms + (uint64_t)settings->head_timeout_ms);
}
