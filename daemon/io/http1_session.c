#include "daemon/io/http1_session.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>

enum {
    RESPONSE_FIELDS_MAX = 1'024,
    TCP_STATE_CLOSE = 7,     /* of tcpi_state; its name is in a header that excludes linux/tcp.h */
    RATE_PERIOD_MS = 30'000, /* body_rate_min and write_rate_min are looked at over this long */
    RATE_GRACE_MS = 10'000,
    RATE_CHECK_MS = 1'000,
};

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static struct http1_session *session_create(struct http1_sessions *all, struct connection *connection)
{
    struct http1_session *session = slab_borrow(&all->core->sessions);
    if (session == NULL)
        return NULL;
    *session = (struct http1_session){.all = all, .connection = connection};
    output_queue_init(&session->out.queue, &all->core->outputs);
    http1_request_init(&session->parser, all->fields, (uint32_t)all->core->settings.limit_request_fields);
    connection->session = session;
    connection->out = &session->out;
    connection_set_idle(all->connections, connection, false);
    return session;
}

static void unlink_starved(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    struct http1_session **at = &all->starved_first;
    struct http1_session *previous = NULL;
    while (*at != NULL && *at != session) {
        previous = *at;
        at = &(*at)->starved_next;
    }
    if (*at == NULL)
        return;
    *at = session->starved_next;
    if (all->starved_last == session)
        all->starved_last = previous;
}

static void session_destroy(struct http1_session *session)
{
    struct connection *connection = session->connection;
    assert(session->first == NULL && !connection->send_in_flight);
    if (session->starved)
        unlink_starved(session);
    http1_input_clear(session);
    output_queue_deinit(&session->out.queue);
    connection->session = NULL;
    connection->out = NULL;
    slab_give_back(&session->all->core->sessions, session);
}

void http1_session_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close)
{
    if (session->fault.status != 0)
        return;
    session->fault = (struct http1_fault){.status = status, .reason = reason, .close_reason = close};
    session->last_request = true;
}

static void unlink_first(struct http1_session *session)
{
    struct http_exchange *exchange = session->first;
    session->first = exchange->next;
    if (session->first == NULL)
        session->last = NULL;
    exchange->next = NULL;
    session->count--;
    session->unsafe_count -= !exchange->is_safe;
    if (session->body_exchange == exchange)
        session->body_exchange = NULL; /* what is left of its body is read past */
}

void http1_session_finish_first(struct http1_session *session)
{
    struct http_exchange *exchange = session->first;
    /* An application that still reads, or that was given up, hears that nobody waits any more. */
    bool cancelled = exchange->local_status != 0 || exchange->broken;
    unlink_first(session);
    dispatch_let_go(session->all->dispatch, exchange, cancelled);
}

void http1_session_drop_all(struct http1_session *session)
{
    session->last_request = true;
    session->body_open = false;
    session->body_exchange = NULL;
    while (session->first != NULL) {
        struct http_exchange *exchange = session->first;
        unlink_first(session);
        dispatch_let_go(session->all->dispatch, exchange, true);
    }
}

/* ---- deadlines -------------------------------------------------------------------------------------------------- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

static uint64_t after(uint64_t since_ms, int64_t limit_ms)
{
    return since_ms == 0 || limit_ms <= 0 ? 0 : since_ms + (uint64_t)limit_ms;
}

static bool awaits_body(const struct http1_session *session)
{
    return session->body_open && session->input_first == NULL &&
           (session->body_exchange == NULL || !session->body_exchange->wants_continue);
}

/* Once a second after the grace: a deadline that has passed would come back with every tick. */
static uint64_t next_rate_check(const struct http1_session *session)
{
    uint64_t grace = session->body_since + RATE_GRACE_MS;
    uint64_t soon = session->all->core->now_ms + RATE_CHECK_MS;
    return grace > soon ? grace : soon;
}

static uint64_t body_deadline(const struct http1_session *session)
{
    const struct settings *settings = &session->all->core->settings;
    if (!awaits_body(session))
        return 0;
    uint64_t idle = after(session->body_progress, settings->body_timeout_ms);
    uint64_t rate = settings->body_rate_min > 0 ? next_rate_check(session) : 0;
    if (session->body_exchange == NULL)
        idle = sooner(idle, session->body_since + HTTP1_DISCARD_MS);
    return sooner(idle, rate);
}

static uint64_t write_deadline(const struct http1_session *session)
{
    return session->writing ? after(session->write_progress, session->all->core->settings.write_timeout_ms) : 0;
}

static uint64_t session_deadline(const struct http1_session *session)
{
    const struct settings *settings = &session->all->core->settings;
    uint64_t head = session->count == 0 ? after(session->head_since, settings->head_timeout_ms) : 0;
    return sooner(head, sooner(body_deadline(session), write_deadline(session)));
}

static bool writing(const struct http1_session *session)
{
    return session->connection->send_in_flight || session->out.queue.bytes > 0;
}

/* The clock of a write runs from the moment there is something to write. */
static void note_writing(struct http1_session *session)
{
    bool now = writing(session);
    if (now && !session->writing)
        session->write_progress = session->all->core->now_ms;
    session->writing = now;
}

/* Octets the client's kernel has acknowledged: what a slow reader really took, however large the socket buffer is. */
static uint64_t acknowledged(const struct http1_session *session)
{
    struct tcp_info info = {};
    socklen_t length = sizeof info;
    if (getsockopt(session->connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return 0;
    return info.tcpi_bytes_acked;
}

static bool write_is_stuck(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    uint64_t acked = acknowledged(session);
    uint64_t period_ms = core->now_ms - session->write_progress;
    uint64_t needed = (uint64_t)core->settings.write_rate_min * period_ms / 1000;
    bool stuck = acked <= session->write_acked || acked - session->write_acked < needed;
    session->write_acked = acked;
    session->write_progress = core->now_ms;
    return stuck;
}

static bool body_is_slow(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    uint64_t age_ms = core->now_ms - session->body_since;
    if (core->settings.body_rate_min <= 0 || age_ms < RATE_GRACE_MS)
        return false;
    uint64_t got = session->body.received - session->body_mark_bytes;
    bool slow = got < (uint64_t)core->settings.body_rate_min * age_ms / 1000;
    if (!slow && age_ms >= RATE_PERIOD_MS) {
        session->body_mark_bytes = session->body.received;
        session->body_since = core->now_ms;
    }
    return slow;
}

static void body_too_slow(struct http1_session *session, enum close_reason reason)
{
    struct http_exchange *exchange = session->body_exchange;
    session->last_request = true;
    if (exchange == NULL) {
        connection_close_when_sent(session->all->connections, session->connection, reason);
        return;
    }
    session->body_open = false;
    session->body_exchange = NULL;
    exchange->body_failed = true;
    exchange->keep_alive = false;
    exchange->close_reason = (uint8_t)reason;
    if (!exchange->head_sent)
        exchange->local_status = 408;
    dispatch_body(session->all->dispatch, exchange);
}

/* Nothing is read as a request any more, and nothing but what is queued goes out. */
static bool over(const struct connection *connection)
{
    return connection->state >= CONNECTION_LINGERING || connection->close_when_sent;
}

static void check_deadlines(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    const struct settings *settings = &core->settings;
    const uint64_t now = core->now_ms;
    uint64_t write = after(session->write_progress, settings->write_timeout_ms);
    if (writing(session) && write != 0 && now >= write && write_is_stuck(session)) {
        connection_abort(session->all->connections, session->connection, CLOSE_WRITE_TIMEOUT, true);
        return;
    }
    if (over(session->connection))
        return;
    uint64_t head = after(session->head_since, settings->head_timeout_ms);
    if (session->count == 0 && head != 0 && now >= head && session->fault.status == 0) {
        http1_output_log_refused(session, 408, false);
        http1_session_fault(session, 408, "the request head did not arrive in time", CLOSE_HEAD_TIMEOUT);
    }
    if (!awaits_body(session))
        return;
    uint64_t idle = after(session->body_progress, settings->body_timeout_ms);
    if (session->body_exchange == NULL && now >= session->body_since + HTTP1_DISCARD_MS)
        body_too_slow(session, CLOSE_REQUESTED);
    else if (idle != 0 && now >= idle)
        body_too_slow(session, CLOSE_BODY_TIMEOUT);
    else if (body_is_slow(session))
        body_too_slow(session, CLOSE_BODY_RATE);
}

static void set_idle_deadline(struct http1_sessions *all, struct connection *connection)
{
    const struct settings *settings = &all->core->settings;
    int64_t limit = connection->requests == 0 ? settings->head_timeout_ms : settings->keepalive_ms;
    if (connection->requests > 0 && limit <= 0) {
        connection_close_when_sent(all->connections, connection, CLOSE_KEEPALIVE_IDLE);
        return;
    }
    connection_set_idle(all->connections, connection, connection->requests > 0);
    connection->idle_until_ms = limit > 0 ? all->core->now_ms + (uint64_t)limit : 0;
    uint64_t park = all->core->now_ms + CONNECTION_PARK_MS;
    connection_set_deadline(all->connections, connection, sooner(park, connection->idle_until_ms));
}

/* ---- settling --------------------------------------------------------------------------------------------------- */

static bool finished(const struct http1_session *session)
{
    return session->count == 0 && session->input_first == NULL && session->partial == NULL && !session->body_open &&
           session->out.queue.bytes == 0 && !session->connection->send_in_flight && session->fault.status == 0;
}

/* Reading goes on while a request is being answered, so that a lost client is noticed; it stops when what waits to be
 * parsed is more than a client may have read ahead. While buffers are scarce that is what it has sent already. */
static bool wants_read(const struct http1_session *session)
{
    const struct buffer_pool *buffers = &session->all->core->buffers;
    if (session->client_ended || (session->input_first != NULL && buffer_pool_scarce(buffers, LOAN_RECEIVE)))
        return false;
    return session->input_bytes < HTTP1_READ_AHEAD_BYTES && session->input_segments < HTTP1_READ_AHEAD_BUFFERS;
}

static enum loan_kind wanted_group(const struct http1_session *session)
{
    bool long_body = session->body_open &&
                     (session->body.kind == HTTP1_BODY_CHUNKED || session->body.remaining >= HTTP1_UPLOAD_BYTES);
    return long_body ? LOAN_UPLOAD : LOAN_RECEIVE;
}

/* The client said that nothing more comes: a body that is incomplete by now stays so. RFC 9112 8: such a request is
 * answered at most with an error, never acted upon as if it were whole. */
static void end_body_of_ended_client(struct http1_session *session)
{
    struct http_exchange *exchange = session->body_exchange;
    if (!session->client_ended || !session->body_open || session->input_first != NULL)
        return;
    session->body_open = false;
    session->body_exchange = NULL;
    session->last_request = true;
    if (exchange == NULL)
        return;
    exchange->body_failed = true;
    exchange->keep_alive = false;
    exchange->close_reason = CLOSE_CLIENT_EOF_EARLY;
    if (!exchange->head_sent)
        exchange->local_status = 400;
    dispatch_body(session->all->dispatch, exchange);
}

static void close_ended_client(struct http1_session *session)
{
    bool cut = session->partial != NULL || session->input_first != NULL;
    if (session->client_ended && session->count == 0 && session->fault.status == 0)
        connection_close_when_sent(session->all->connections, session->connection,
                                   cut ? CLOSE_CLIENT_EOF_EARLY : CLOSE_CLIENT_DONE);
}

void http1_session_settle(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    struct connection *connection = session->connection;
    uint32_t before;
    if (session->settling)
        return; /* a reply or a failure came out of what settling did: the loop below sees it */
    session->settling = true;
    do {
        before = session->count;
        http1_input_advance(session);
        end_body_of_ended_client(session);
        http1_output_advance(session);
    } while (!over(connection) && session->count != before);
    session->settling = false;
    note_writing(session);
    if (!over(connection))
        close_ended_client(session);
    if (!over(connection) && session->discarded > HTTP1_DISCARD_BYTES)
        connection_close_when_sent(all->connections, connection, CLOSE_REQUESTED);
    if (over(connection)) {
        if (connection->state < CONNECTION_LINGERING)
            connection_set_deadline(all->connections, connection, write_deadline(session));
        return;
    }
    if (finished(session)) {
        session_destroy(session);
        set_idle_deadline(all, connection);
        connection_want(all->connections, connection, true, LOAN_RECEIVE);
        return;
    }
    connection_want(all->connections, connection, wants_read(session), wanted_group(session));
    connection_set_deadline(all->connections, connection, session_deadline(session));
}

/* ---- what the connection tells ---------------------------------------------------------------------------------- */

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct http1_sessions *all = connection->protocol->context;
    struct http1_session *session = connection->session;
    if (session == NULL)
        session = session_create(all, connection);
    if (session == NULL) {
        buffer_pool_drop(&all->core->buffers, &loan);
        connection_abort(all->connections, connection, CLOSE_OVERLOAD, false);
        return;
    }
    http1_input_append(session, loan, data, length);
    http1_session_settle(session);
}

static void on_eof(struct connection *connection)
{
    struct http1_sessions *all = connection->protocol->context;
    struct http1_session *session = connection->session;
    if (session == NULL) {
        connection_abort(all->connections, connection, CLOSE_CLIENT_DONE, false);
        return;
    }
    session->client_ended = true;
    /* Half-closed or gone: nobody can tell until something is sent. Who waits for a client's end hears of it. */
    for (struct http_exchange *exchange = session->first; exchange != NULL; exchange = exchange->next)
        dispatch_client_ended(session->all->dispatch, exchange);
    http1_session_settle(session);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    struct http1_session *session = connection->session;
    if (bytes > 0)
        session->write_progress = session->all->core->now_ms;
    if (session->out.queue.bytes == 0)
        http1_session_settle(session);
    else
        http1_output_detach_if_slow(session);
}

static void on_deadline(struct connection *connection)
{
    struct http1_sessions *all = connection->protocol->context;
    struct http1_session *session = connection->session;
    if (session != NULL) {
        check_deadlines(session);
        if (connection->state < CONNECTION_LINGERING)
            http1_session_settle(session);
        return;
    }
    if (connection->idle_until_ms != 0 && all->core->now_ms >= connection->idle_until_ms) {
        connection_close_when_sent(all->connections, connection,
                                   connection->requests > 0 ? CLOSE_KEEPALIVE_IDLE : CLOSE_HEAD_TIMEOUT);
        return;
    }
    connection_park(all->connections, connection);
    connection_set_deadline(all->connections, connection, connection->idle_until_ms);
}

/* The client is gone: what was asked for it is called off. */
static void on_close(struct connection *connection)
{
    struct http1_session *session = connection->session;
    http1_session_drop_all(session);
    http1_input_clear(session);
}

static void on_freed(struct connection *connection)
{
    session_destroy(connection->session);
}

/* ---- all sessions ----------------------------------------------------------------------------------------------- */

int http1_sessions_init(struct http1_sessions *sessions, struct io_core *core, struct connections *connections,
                        struct dispatch *dispatch)
{
    *sessions = (struct http1_sessions){
        .core = core,
        .connections = connections,
        .dispatch = dispatch,
        .protocol =
            {
                .on_bytes = on_bytes,
                .on_eof = on_eof,
                .on_sent = on_sent,
                .on_deadline = on_deadline,
                .on_close = on_close,
                .on_freed = on_freed,
                .context = sessions,
            },
    };
    const size_t fields = (size_t)core->settings.limit_request_fields;
    sessions->fields = calloc(fields, sizeof *sessions->fields);
    sessions->log_fields = calloc(fields, sizeof *sessions->log_fields);
    sessions->response_fields = calloc(RESPONSE_FIELDS_MAX, sizeof *sessions->response_fields);
    sessions->head_copy = malloc(HTTP1_SCRATCH_BYTES);
    if (sessions->fields == NULL || sessions->log_fields == NULL || sessions->response_fields == NULL ||
        sessions->head_copy == NULL) {
        http1_sessions_deinit(sessions);
        return -ENOMEM;
    }
    return 0;
}

void http1_sessions_deinit(struct http1_sessions *sessions)
{
    free(sessions->fields);
    free(sessions->log_fields);
    free(sessions->response_fields);
    free(sessions->head_copy);
    *sessions = (struct http1_sessions){};
}

void http1_session_accepted(struct http1_sessions *sessions, struct connection *connection)
{
    connection_want(sessions->connections, connection, true, LOAN_RECEIVE);
    set_idle_deadline(sessions, connection);
}

void http1_session_refuse(struct http1_sessions *sessions, struct connection *connection, uint16_t status,
                          const char *reason, enum close_reason close)
{
    struct http1_session *session = session_create(sessions, connection);
    if (session == NULL) {
        connection_abort(sessions->connections, connection, close, false);
        return;
    }
    http1_session_fault(session, status, reason, close);
    http1_session_settle(session);
}

void http1_sessions_turn(struct http1_sessions *sessions)
{
    if (sessions->starved_first == NULL || !(sessions->block_wanted || dispatch_slot_free(sessions->dispatch)))
        return;
    bool block_wanted = sessions->block_wanted;
    sessions->block_wanted = false;
    struct http1_session *last = sessions->starved_last;
    while (sessions->starved_first != NULL && (block_wanted || dispatch_slot_free(sessions->dispatch))) {
        struct http1_session *session = sessions->starved_first;
        sessions->starved_first = session->starved_next;
        if (sessions->starved_first == NULL)
            sessions->starved_last = NULL;
        session->starved = false;
        bool was_last = session == last;
        if (session->connection->state < CONNECTION_LINGERING)
            http1_session_settle(session);
        if (was_last)
            return; /* those behind it have had their try in this turn */
    }
}

/* A reset that comes while a multishot receive is between its first octets and its wait completes nothing (seen on
 * Linux 6.18, a few in a thousand connections): such a client is only found out by its deadline, or by asking. */
static bool is_gone(const struct connection *connection)
{
    struct tcp_info info = {};
    socklen_t length = sizeof info;
    return !connection->listener->is_unix && getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_state == TCP_STATE_CLOSE;
}

void http1_sessions_drain(struct http1_sessions *sessions)
{
    struct connections *connections = sessions->connections;
    for (uint32_t i = 0; i < connections->allocated; i++) {
        struct connection *connection = connections->by_index[i];
        if (connection == NULL || connection->state >= CONNECTION_LINGERING)
            continue;
        if (connection->session == NULL)
            connection_close_when_sent(connections, connection, CLOSE_SHUTDOWN);
        else if (is_gone(connection))
            connection_abort(connections, connection, CLOSE_CLIENT_RESET, false);
    }
}
