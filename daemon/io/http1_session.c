#include "daemon/io/http1_session.h"

#include "daemon/io/http1_deadline.h"
#include "daemon/io/http1_input.h"
#include "daemon/io/http1_output.h"
#include "daemon/io/http1_requests.h"
#include "daemon/io/http1_starved.h"
#include "daemon/io/http1_uploads.h"

#include <assert.h>

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static struct http1_session *session_create(struct http1_sessions *all, struct connection *connection)
{
    struct http1_session *session = slab_borrow(&all->core->sessions);
    if (session == NULL)
        return NULL;
    *session = (struct http1_session){.all = all, .connection = connection, .lane = {.in_order = true}};
    output_queue_init(&session->out.queue, &all->core->outputs);
    connection->session = session;
    connection->out = &session->out;
    connection_set_idle(all->connections, connection, false);
    return session;
}

static void session_destroy(struct http1_session *session)
{
    struct connection *connection = session->connection;
    assert(session->first == NULL && !connection->send_in_flight);
    http1_starved_leave(session);
    http1_input_clear(session);
    output_queue_deinit(&session->out.queue);
    connection->session = NULL;
    connection->out = NULL;
    slab_give_back(&session->all->core->sessions, session);
}

/* ---- settling --------------------------------------------------------------------------------------------------- */

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
    uint64_t park_ms = all->core->now_ms + CONNECTION_PARK_MS;
    bool ends_first = limit > 0 && connection->idle_until_ms < park_ms;
    connection_set_deadline(all->connections, connection, ends_first ? connection->idle_until_ms : park_ms);
}

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
    if (session->client_ended ||
        (session->input_first != NULL && buffer_pool_scarce(buffers, connection_loan_kind(session->connection))))
        return false;
    return session->input_bytes < HTTP1_READ_AHEAD_BYTES && session->input_segments < HTTP1_READ_AHEAD_BUFFERS;
}

static enum loan_kind wanted_group(const struct http1_session *session)
{
    bool long_body = session->body_open &&
                     (session->body.kind == HTTP_BODY_UNKNOWN || session->body.remaining >= HTTP1_UPLOAD_BYTES);
    return long_body ? LOAN_UPLOAD : LOAN_RECEIVE;
}

/* The client said that nothing more comes: a body that is incomplete by now stays so. RFC 9112 8: such a request is
 * answered at most with an error, never acted upon as if it were whole. */
static void end_body_of_ended_client(struct http1_session *session)
{
    if (session->client_ended && session->body_open && session->input_first == NULL)
        http1_uploads_end(session, 400, CLOSE_CLIENT_EOF_EARLY);
}

/* One that waits for a slot or a block has a request here that is still to be served. */
static void close_ended_client(struct http1_session *session)
{
    bool cut = session->partial != NULL || session->input_first != NULL;
    if (session->client_ended && session->count == 0 && session->fault.status == 0 && !session->starved)
        connection_close_when_sent(session->all->connections, session->connection,
                                   cut ? CLOSE_CLIENT_EOF_EARLY : CLOSE_CLIENT_DONE);
}

/* Whatever changed: parse, answer, start or stop reading, set the deadline, end the session when nothing is left. The
 * session may be gone afterwards. */
static void settle(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    struct connection *connection = session->connection;
    uint32_t before;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (session->settling)
        return; /* a reply or a failure came out of what settling did: the loop below sees it */
    session->settling = true;
    do {
        before = session->count;
        http1_input_advance(session);
        end_body_of_ended_client(session);
        http1_output_advance(session);
    } while (!connection_is_over(connection) && session->count != before);
    session->settling = false;
    write_watch_note(&session->write, all->core, connection);
    if (!connection_is_over(connection))
        close_ended_client(session);
    if (!connection_is_over(connection) && session->discarded > HTTP1_DISCARD_BYTES && !session->discards_all)
        connection_close_when_sent(all->connections, connection, CLOSE_REQUESTED);
    if (connection_is_over(connection)) {
        if (connection->state < CONNECTION_LINGERING)
            connection_set_deadline(all->connections, connection, http1_deadline_of_write(session));
        return;
    }
    if (finished(session)) {
        session_destroy(session);
        set_idle_deadline(all, connection);
        connection_want(all->connections, connection, true, LOAN_RECEIVE);
        return;
    }
    connection_want(all->connections, connection, wants_read(session), wanted_group(session));
    connection_set_deadline(all->connections, connection, http1_deadline_next(session));
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
    settle(session);
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
    settle(session);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    struct http1_session *session = connection->session;
    if (bytes > 0)
        write_watch_sent(&session->write, session->all->core);
    if (session->out.queue.bytes == 0)
        settle(session);
    else
        http1_output_go_on(session);
}

static void on_deadline(struct connection *connection)
{
    struct http1_sessions *all = connection->protocol->context;
    struct http1_session *session = connection->session;
    if (session != NULL) {
        http1_deadline_check(session);
        if (connection->state < CONNECTION_LINGERING)
            settle(session);
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
    http1_output_drop_all(session);
    http1_input_clear(session);
}

static void on_freed(struct connection *connection)
{
    session_destroy(connection->session);
}

/* ---- what the dispatcher tells ---------------------------------------------------------------------------------- */

static void on_reply(struct http_exchange *exchange, struct reply *reply)
{
    struct http1_session *session = exchange->session;
    bool its_turn = exchange == session->first;
    if (session->connection->state == CONNECTION_CLOSING) {
        reply_discard(reply);
        return;
    }
    http1_output_reply(session, exchange, reply);
    if (its_turn)
        settle(session);
}

static void on_credit(struct http_exchange *exchange, uint32_t octets)
{
    struct http1_session *session = exchange->session;
    (void)octets;
    if (exchange == session->first && !exchange->head_sent)
        http1_requests_continue(session, exchange);
    settle(session);
}

static void on_failure(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct http1_session *session = exchange->session;
    if (exchange->response_ended || exchange->response_received || exchange->local_status != 0)
        return;
    http1_output_fail(exchange, status, reason);
    settle(session);
}

/* ---- all sessions ----------------------------------------------------------------------------------------------- */

void http1_sessions_init(struct http1_sessions *sessions, struct io_core *core, struct connections *connections,
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
        .owner = {.on_reply = on_reply,
                  .on_credit = on_credit,
                  .on_failure = on_failure,
                  .queued = http1_output_queued,
                  .sends_files = http1_output_sends_files,
                  .file_read_bytes = FILE_READ_BYTES},
    };
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
    http1_requests_fault(session, status, reason, close);
    settle(session);
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
            settle(session);
        if (was_last)
            return; /* those behind it have had their try in this turn */
    }
}

void http1_sessions_drain(struct http1_sessions *sessions)
{
    struct connections *connections = sessions->connections;
    for (uint32_t i = 0; i < connections->allocated; i++) {
        struct connection *connection = connections->by_index[i];
        if (connection != NULL && connection->state < CONNECTION_LINGERING && connection->session == NULL)
            connection_close_when_sent(connections, connection, CLOSE_SHUTDOWN);
    }
}
