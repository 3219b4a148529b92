#include "daemon/io/http2_session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    READ_AHEAD_BYTES = 65'536,
    READ_AHEAD_SEGMENTS = 16,
    SECTION_EXTRA_FIELDS = 8, /* pseudo fields, and one more than is allowed, to see that it is */
    RATE_GRACE_MS = 10'000,
    RATE_PERIOD_MS = 30'000,
    CHECK_MS = 1'000,
    READER_BYTES_MIN = 1'024, /* that a stream must have been sent in write_timeout (H2-13) */
    STUCK_WEIGHT = 10,
    DRAIN_FINAL_MS = 500, /* longer than a round trip: requests that crossed our first GOAWAY are here by then */
};

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static struct http2_session *session_create(struct http2_sessions *all, struct connection *connection)
{
    struct http2_session *session = slab_borrow(&all->sessions);
    if (session == NULL)
        return NULL;
    *session = (struct http2_session){.all = all, .connection = connection, .limits = all->limits};
    uint8_t *tables = slab_borrow(&all->tables);
    session->tally = exchange_tally_create();
    if (tables == NULL || session->tally == NULL) {
        slab_give_back(&all->tables, tables);
        exchange_tally_forget(session->tally);
        slab_give_back(&all->sessions, session);
        return NULL;
    }
    session->rest.tables = tables;
    output_queue_init(&session->out.queue, &all->core->outputs);
    http2_connection_init(&session->protocol, &session->limits, tables,
                          tables + HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES), all->core->now_ms);
    connection->session = session;
    connection->out = &session->out;
    return session;
}

static void unlink_waiting(struct http2_session *session)
{
    struct http2_sessions *all = session->all;
    struct http2_session **at = &all->waiting_first;
    struct http2_session *previous = NULL;
    while (*at != NULL && *at != session) {
        previous = *at;
        at = &(*at)->waiting_next;
    }
    if (*at == NULL)
        return;
    *at = session->waiting_next;
    if (all->waiting_last == session)
        all->waiting_last = previous;
}

static void session_destroy(struct http2_session *session)
{
    struct http2_sessions *all = session->all;
    assert(session->first == NULL && !session->connection->send_in_flight);
    if (session->waiting)
        unlink_waiting(session);
    http2_window_rest(session);
    http2_input_clear(session);
    output_queue_deinit(&session->out.queue);
    http2_input_drop_kept(session);
    exchange_tally_forget(session->tally);
    session->connection->session = NULL;
    session->connection->out = NULL;
    http2_memory_release(session);
    slab_give_back(&all->sessions, session);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

static int64_t idle_limit_ms(const struct io_core *core)
{
    const struct settings *settings = &core->settings;
    return settings->keepalive_ms > settings->http2_idle_timeout_ms ? settings->keepalive_ms
                                                                    : settings->http2_idle_timeout_ms;
}

/* The client could send more of the body, and somebody waits for it. */
static bool awaits_body(const struct http2_member *member)
{
    const struct http_exchange *exchange = member->exchange;
    return exchange != NULL && !member->body_ended && exchange->local_status == 0 && !exchange->wants_continue &&
           member->protocol.receive_window > 0;
}

static uint64_t session_deadline(const struct http2_session *session)
{
    const struct io_core *core = session->all->core;
    const int64_t idle = idle_limit_ms(core);
    uint64_t deadline = sooner(http2_connection_deadline(&session->protocol), session->drain_final_ms);
    deadline = sooner(deadline, write_watch_deadline(&session->write, core));
    deadline = sooner(deadline, session->dribble_due_ms);
    if (session->idle_since_ms == 0)
        return sooner(deadline, session->check_due_ms);
    if (core->settings.http2_ping_interval_ms > 0 && session->protocol.ping_sent_ms == 0)
        deadline = sooner(deadline, session->ping_due_ms);
    return idle > 0 ? sooner(deadline, session->idle_since_ms + (uint64_t)idle) : deadline;
}

static bool body_is_slow(struct http2_member *member, const struct io_core *core)
{
    const struct settings *settings = &core->settings;
    uint64_t age_ms = core->now_ms - member->body_since;
    if (settings->body_timeout_ms > 0 && core->now_ms - member->body_progress >= (uint64_t)settings->body_timeout_ms)
        return true;
    if (settings->body_rate_min <= 0 || age_ms < RATE_GRACE_MS)
        return false;
    bool slow = member->body_received - member->body_mark < (uint64_t)settings->body_rate_min * age_ms / 1000;
    if (!slow && age_ms >= RATE_PERIOD_MS) {
        member->body_mark = member->body_received;
        member->body_since = core->now_ms;
    }
    return slow;
}

static void body_too_slow(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    exchange->body_failed = true;
    exchange->close_reason = CLOSE_BODY_TIMEOUT;
    dispatch_body(session->all->dispatch, exchange);
    if (member->head_sent)
        http2_streams_reset(session, member, HTTP2_CANCEL);
    else
        http2_replies_answer(session, member, 408, NULL, exchange->is_head);
}

/* H2-13: a window that opens by an octet at a time is as good as closed. */
static bool reader_is_stuck(struct http2_member *member, const struct io_core *core)
{
    const int64_t limit = core->settings.write_timeout_ms;
    if (member->body.bytes == 0 || limit <= 0 || core->now_ms - member->sent_mark_ms < (uint64_t)limit)
        return false;
    bool stuck = member->sent_bytes - member->sent_mark < READER_BYTES_MIN;
    member->sent_mark = member->sent_bytes;
    member->sent_mark_ms = core->now_ms;
    return stuck;
}

static void check_members(struct http2_session *session)
{
    struct io_core *core = session->all->core;
    struct http2_member *next;
    for (struct http2_member *member = session->first; member != NULL && !session->failed; member = next) {
        next = member->next;
        if (reader_is_stuck(member, core)) {
            http2_streams_reset(session, member, HTTP2_CANCEL);
            session->failed |= !http2_connection_glitch(&session->protocol, STUCK_WEIGHT, core->now_ms);
        } else if (awaits_body(member) && body_is_slow(member, core)) {
            body_too_slow(session, member);
        }
    }
}

static void go_away(struct http2_session *session, enum close_reason reason)
{
    http2_connection_drain_finally(&session->protocol);
    http2_streams_say(session);
    connection_close_when_sent(session->all->connections, session->connection, reason);
}

static void check_idle(struct http2_session *session)
{
    struct io_core *core = session->all->core;
    const int64_t idle = idle_limit_ms(core);
    if (session->idle_since_ms == 0)
        return;
    if (idle > 0 && core->now_ms >= session->idle_since_ms + (uint64_t)idle)
        go_away(session, CLOSE_KEEPALIVE_IDLE);
    else if (core->settings.http2_ping_interval_ms > 0 && core->now_ms >= session->ping_due_ms) {
        session->ping_due_ms = core->now_ms + (uint64_t)core->settings.http2_ping_interval_ms;
        http2_connection_ping(&session->protocol, core->now_ms);
    }
}

static void check_deadlines(struct http2_session *session)
{
    struct io_core *core = session->all->core;
    if (write_watch_is_stuck(&session->write, core, session->connection)) {
        connection_abort(session->all->connections, session->connection, CLOSE_WRITE_TIMEOUT, true);
        return;
    }
    if (session->drain_final_ms != 0 && core->now_ms >= session->drain_final_ms) {
        session->drain_final_ms = 0;
        http2_connection_drain_finally(&session->protocol);
    }
    http2_connection_on_time(&session->protocol, core->now_ms);
    session->failed |= session->protocol.state == HTTP2_FAILED_STATE;
    session->check_due_ms = 0; /* settling sets the next */
    http2_replies_on_time(session);
    check_members(session);
    if (!session->failed)
        check_idle(session);
    http2_streams_say(session);
}

/* ---- settling --------------------------------------------------------------------------------------------------- */

static bool over(const struct connection *connection)
{
    return connection->state >= CONNECTION_LINGERING || connection->close_when_sent;
}

static bool wants_read(const struct http2_session *session)
{
    const struct buffer_pool *buffers = &session->all->core->buffers;
    if (session->client_ended || session->out.queue.bytes >= HTTP2_QUEUED_MAX ||
        (session->input_first != NULL && buffer_pool_scarce(buffers, connection_loan_kind(session->connection))))
        return false;
    return session->input_bytes < READ_AHEAD_BYTES && session->input_segments < READ_AHEAD_SEGMENTS;
}

/* While a long body comes it is received in larger buffers. */
static enum loan_kind wanted_group(const struct http2_session *session)
{
    return session->all->core->now_ms < session->upload_until_ms ? LOAN_UPLOAD : LOAN_RECEIVE;
}

static void note_idle(struct http2_session *session)
{
    const struct io_core *core = session->all->core;
    bool idle = session->first == NULL && session->input_first == NULL;
    if (idle && session->idle_since_ms == 0) {
        session->idle_since_ms = core->now_ms;
        session->ping_due_ms = core->now_ms + (uint64_t)core->settings.http2_ping_interval_ms;
        http2_window_rest(session);
        connection_set_idle(session->all->connections, session->connection, session->connection->requests > 0);
    } else if (!idle) {
        session->idle_since_ms = 0;
    }
    if (idle)
        http2_memory_rest(session);
}

/* Not set anew by what happens in between: a client that says something every moment would never be looked at. */
static void note_check(struct http2_session *session)
{
    if (session->idle_since_ms != 0)
        session->check_due_ms = 0;
    else if (session->check_due_ms == 0)
        session->check_due_ms = session->all->core->now_ms + CHECK_MS;
}

/* A client is asked to go when the server stops, and by the engine when it was odd too often or its requests are used
 * up. What crosses the first GOAWAY is served; the last one says how far. */
static void note_drain(struct http2_session *session)
{
    const struct http2_connection *protocol = &session->protocol;
    if (protocol->state == HTTP2_DRAINING && protocol->goaway_stream_id == HTTP2_STREAM_ID_MAX &&
        protocol->accepted_stream_id != HTTP2_STREAM_ID_MAX && session->drain_final_ms == 0)
        session->drain_final_ms = session->all->core->now_ms + DRAIN_FINAL_MS;
}

/* Of a client that has ended its half: no rest of a body will come, and no window opens. */
static bool waits_in_vain(const struct http2_member *member)
{
    return !member->body_ended ||
           (member->body.bytes > 0 && http2_connection_sendable(&member->session->protocol, &member->protocol) == 0);
}

/* As if the client had taken them back. Nobody could tell otherwise that it is gone: nothing is sent, and so nothing
 * refused; a stop would wait for it. */
static void drop_what_waits_in_vain(struct http2_session *session)
{
    struct http2_member *next;
    if (!session->client_ended || session->input_first != NULL)
        return;
    for (struct http2_member *member = session->first; member != NULL; member = next) {
        next = member->next;
        if (!waits_in_vain(member))
            continue;
        http2_connection_forget(&session->protocol, &member->protocol);
        http2_streams_part(session, member, true);
        http2_streams_say(session); /* of each, since the output holds what is said of a few */
    }
}

/* Whether all is done that the connection is still there for. */
static void end_if_done(struct http2_session *session)
{
    struct connections *connections = session->all->connections;
    struct connection *connection = session->connection;
    if (session->failed) {
        http2_streams_drop(session);
        http2_input_clear(session);
        connection_close_when_sent(connections, connection, CLOSE_HTTP2_ERROR);
        return;
    }
    if (session->first != NULL || session->input_first != NULL)
        return;
    bool stopping = session->protocol.state == HTTP2_DRAINING && session->drain_final_ms == 0;
    if (session->client_ended || session->protocol.peer_goes)
        connection_close_when_sent(connections, connection, CLOSE_CLIENT_DONE);
    else if (stopping)
        connection_close_when_sent(connections, connection, CLOSE_SHUTDOWN);
}

/* Whatever changed: parse, answer, start or stop reading, set the deadline. */
static void settle(struct http2_session *session)
{
    struct http2_sessions *all = session->all;
    struct connection *connection = session->connection;
    if (session->settling)
        return; /* a reply or a failure came out of what settling did: the lines below see it */
    session->settling = true;
    http2_streams_count_held(session);
    if (!over(connection))
        http2_input_advance(session);
    if (connection->state < CONNECTION_LINGERING)
        http2_replies_advance(session);
    if (!over(connection))
        drop_what_waits_in_vain(session);
    session->settling = false;
    write_watch_note(&session->write, all->core, connection);
    note_drain(session);
    if (!over(connection))
        end_if_done(session);
    if (over(connection)) {
        if (connection->state < CONNECTION_LINGERING)
            connection_set_deadline(all->connections, connection, write_watch_deadline(&session->write, all->core));
        return;
    }
    note_idle(session);
    note_check(session);
    connection_want(all->connections, connection, wants_read(session), wanted_group(session));
    connection_set_deadline(all->connections, connection, session_deadline(session));
}

/* ---- what the connection tells ---------------------------------------------------------------------------------- */

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct http2_session *session = connection->session;
    if (!http2_memory_wake(session)) {
        buffer_pool_drop(&session->all->core->buffers, &loan);
        connection_abort(session->all->connections, connection, CLOSE_OVERLOAD, false);
        return;
    }
    http2_input_append(session, loan, data, length);
    settle(session);
}

/* RFC 9113 has no half-closed connections: a client that ends its half still reads what it has asked for. */
static void on_eof(struct connection *connection)
{
    struct http2_session *session = connection->session;
    session->client_ended = true;
    for (struct http2_member *member = session->first; member != NULL; member = member->next)
        if (member->exchange != NULL)
            dispatch_client_ended(session->all->dispatch, member->exchange);
    settle(session);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    struct http2_session *session = connection->session;
    if (bytes > 0)
        write_watch_sent(&session->write, session->all->core);
    if (session->out.queue.bytes < HTTP2_AHEAD_BYTES)
        settle(session);
}

static void on_deadline(struct connection *connection)
{
    struct http2_session *session = connection->session;
    check_deadlines(session);
    if (connection->state < CONNECTION_LINGERING)
        settle(session);
}

static void on_close(struct connection *connection)
{
    struct http2_session *session = connection->session;
    http2_streams_drop(session);
    http2_input_clear(session);
}

static void on_freed(struct connection *connection)
{
    session_destroy(connection->session);
}

/* The server stops: the client hears it in time to open its next streams elsewhere; those that it has go on. */
static void on_drain(struct connection *connection)
{
    struct http2_session *session = connection->session;
    if (session->protocol.state >= HTTP2_DRAINING)
        return;
    http2_connection_drain(&session->protocol);
    http2_streams_say(session);
    settle(session);
}

/* ---- what the dispatcher tells ---------------------------------------------------------------------------------- */

static struct http2_session *session_of(const struct http_exchange *exchange)
{
    const struct http2_member *member = exchange->session;
    return member->session;
}

static void on_reply(struct http_exchange *exchange, struct reply *reply)
{
    struct http2_session *session = session_of(exchange);
    http2_replies_take(exchange, reply);
    settle(session);
}

static void on_credit(struct http_exchange *exchange, uint32_t octets)
{
    struct http2_session *session = session_of(exchange);
    http2_replies_credit(exchange, octets);
    settle(session);
}

static void on_failure(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct http2_session *session = session_of(exchange);
    http2_replies_fail(exchange, status, reason);
    settle(session);
}

/* ---- all sessions ----------------------------------------------------------------------------------------------- */

static uint32_t larger(int64_t a, int64_t b)
{
    return (uint32_t)(a > b ? a : b);
}

void http2_sessions_apply_settings(struct http2_sessions *sessions)
{
    const struct settings *settings = &sessions->core->settings;
    sessions->limits = (struct http2_limits){
        .max_concurrent_streams = (uint32_t)settings->http2_max_concurrent_streams,
        .initial_window_size = (uint32_t)settings->http2_initial_window_size,
        .connection_window_size = larger(settings->http2_initial_window_size, HTTP2_CONNECTION_WINDOW),
        .max_frame_size = (uint32_t)settings->http2_max_frame_size,
        .max_header_list_size = (uint32_t)settings->http2_max_header_list_size,
        .continuation_frames_max = 8,
        .max_requests_per_connection = (uint32_t)settings->http2_max_requests_per_connection,
    };
}

static int allocate_scratch(struct http2_sessions *sessions)
{
    struct http2_block *block = &sessions->block;
    sessions->section_fields_max = (uint32_t)sessions->core->settings.limit_request_fields + SECTION_EXTRA_FIELDS;
    sessions->fields_capacity = sessions->section_fields_max + 1;
    sessions->fields = calloc(sessions->fields_capacity, sizeof *sessions->fields);
    block->section.memory = malloc(LAYOUT_LARGE_BLOCK_BYTES);
    block->section.fields = calloc(sessions->section_fields_max, sizeof *block->section.fields);
    block->tail = malloc(HTTP2_BLOCK_BYTES);
    block->tail_max = HTTP2_BLOCK_BYTES;
    bool whole = sessions->fields != NULL && block->section.memory != NULL && block->section.fields != NULL &&
                 block->tail != NULL;
    return whole ? 0 : -ENOMEM;
}

int http2_sessions_init(struct http2_sessions *sessions, struct io_core *core, struct connections *connections,
                        struct dispatch *dispatch)
{
    *sessions = (struct http2_sessions){
        .core = core,
        .connections = connections,
        .dispatch = dispatch,
        .warm = {.most = HTTP2_WARM_SESSIONS},
        .protocol =
            {
                .on_bytes = on_bytes,
                .on_eof = on_eof,
                .on_sent = on_sent,
                .on_deadline = on_deadline,
                .on_close = on_close,
                .on_freed = on_freed,
                .on_drain = on_drain,
                .context = sessions,
            },
        .owner =
            {
                .on_reply = on_reply,
                .on_credit = on_credit,
                .on_failure = on_failure,
                .queued = http2_replies_queued,
                .file_read_bytes = HTTP2_FILE_READ_BYTES,
            },
    };
    slab_init(&sessions->sessions, sizeof(struct http2_session), 8);
    slab_init(&sessions->members, sizeof(struct http2_member), 32);
    slab_init(&sessions->tables, HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES) + HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES), 8);
    http2_sessions_apply_settings(sessions);
    http2_window_init(&sessions->windows, core);
    int r = allocate_scratch(sessions);
    if (r < 0)
        http2_sessions_deinit(sessions);
    return r;
}

void http2_sessions_deinit(struct http2_sessions *sessions)
{
    free(sessions->fields);
    free(sessions->block.section.memory);
    free(sessions->block.section.fields);
    free(sessions->block.tail);
    slab_deinit(&sessions->sessions);
    slab_deinit(&sessions->members);
    slab_deinit(&sessions->tables);
    *sessions = (struct http2_sessions){};
}

void http2_session_accepted(struct http2_sessions *sessions, struct connection *connection)
{
    connection->protocol = &sessions->protocol;
    struct io_core *core = sessions->core;
    const bool is_exhausted = core->memory.step == MEMORY_EXHAUSTED;
    struct http2_session *session = is_exhausted ? NULL : session_create(sessions, connection);
    if (session == NULL) {
        metrics_add(core->metrics, METRIC_MEMORY_CONNECTIONS, 1);
        connection_abort(sessions->connections, connection, CLOSE_OVERLOAD, false);
        return;
    }
    if (core->leaving) /* it was on its way when the others were told */
        http2_connection_drain(&session->protocol);
    http2_streams_say(session);
    metrics_add(core->metrics, METRIC_HTTP2_CONNECTIONS, 1);
    settle(session);
}

bool http2_sessions_turn(struct http2_sessions *sessions)
{
    struct http2_session *last = sessions->waiting_last;
    sessions->turn_wanted = false;
    while (sessions->waiting_first != NULL && dispatch_slot_free(sessions->dispatch)) {
        struct http2_session *session = sessions->waiting_first;
        sessions->waiting_first = session->waiting_next;
        if (sessions->waiting_first == NULL)
            sessions->waiting_last = NULL;
        session->waiting = false;
        bool was_last = session == last;
        if (session->connection->state < CONNECTION_LINGERING)
            settle(session);
        if (was_last)
            break; /* those behind it have had their try in this turn */
    }
    return sessions->turn_wanted;
}
