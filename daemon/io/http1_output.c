#include "daemon/io/http1_output.h"

#include "daemon/io/exchange_log.h"
#include "daemon/io/http1_requests.h"
#include "daemon/io/own_answer.h"
#include "daemon/io/response_head.h"
#include "proto/http1_response.h"

#include <errno.h>

enum {
    KEPT_WITHOUT_BLOCK_MAX = 64, /* replies before their turn: each block once, and a few that need none */
    HEAD_ROOM = 512,             /* status line, Date, Server, framing */
    PLAIN_ROOM = 1'024,
    COPIED_AHEAD_MAX = 65'536, /* octets queued for a client behind which nothing small is copied any more */
};

/* ---- what we say ourselves -------------------------------------------------------------------------------------- */

static bool say_plain(struct http1_session *session, uint16_t status, const char *text, bool keep_alive, bool head_only)
{
    struct http_field extra;
    uint32_t capacity;
    uint8_t *room = output_queue_reserve(&session->out.queue, PLAIN_ROOM, &capacity);
    if (room == NULL)
        return false;
    bool has_extra = own_answer_field(status, &extra.name, &extra.value);
    int length = http1_response_plain(status, text, has_extra ? &extra : NULL, keep_alive, head_only,
                                      session->all->core->date, room, capacity);
    if (length < 0)
        return false;
    output_queue_commit(&session->out.queue, (uint32_t)length);
    metrics_count_response(session->all->core->metrics, status);
    connection_flush(session->all->connections, session->connection);
    return true;
}

/* ---- the head of a response ------------------------------------------------------------------------------------- */

static void frame(const struct http_exchange *exchange, const struct reply *reply, struct http1_response *response)
{
    static const enum http1_response_body BODIES[] = {
        [HTTP_BODY_NONE] = HTTP1_RESPONSE_NO_BODY,
        [HTTP_BODY_LENGTH] = HTTP1_RESPONSE_LENGTH,
        [HTTP_BODY_UNKNOWN] = HTTP1_RESPONSE_CHUNKED,
    };
    const struct response_framing framing = response_head_framing(reply, exchange->is_head);
    response->body = BODIES[framing.body];
    if (response->body == HTTP1_RESPONSE_CHUNKED && exchange->is_http_1_0)
        response->body = HTTP1_RESPONSE_UNTIL_CLOSE;
    response->content_length = framing.content_length;
    response->add_content_length = framing.states_length;
}

/* A request body that has not come whole: what remains has to be read past before another request can be. That is only
 * worth it when it is short and on its way. */
static bool rest_is_bearable(const struct http1_session *session, const struct http_exchange *exchange)
{
    if (!session->body_open || session->body_exchange != exchange)
        return true;
    if (exchange->wants_continue)
        return false;
    return exchange->is_early || session->body.kind == HTTP_BODY_UNKNOWN ||
           session->body.remaining <= HTTP1_DISCARD_BYTES;
}

/* RFC 9112 9.6: nothing follows a response that says close, so only the last one to a client that has ended says it. */
static bool is_last_answer(const struct http1_session *session)
{
    return session->client_ended && session->count == 1 && session->input_first == NULL;
}

static void decide_keep_alive(struct http1_session *session, struct http_exchange *exchange,
                              struct http1_response *response)
{
    if (response->body == HTTP1_RESPONSE_UNTIL_CLOSE || io_core_wants_rid_of_clients(session->all->core) ||
        is_last_answer(session) || !rest_is_bearable(session, exchange))
        exchange->keep_alive = false;
    response->keep_alive = exchange->keep_alive;
}

static int encode(struct http1_session *session, const struct http1_response *response, size_t block_bytes)
{
    uint32_t capacity;
    uint32_t bad_field;
    const uint32_t wanted = (uint32_t)(block_bytes + response->field_count * 4U + HEAD_ROOM);
    uint8_t *room = output_queue_reserve(&session->out.queue, wanted, &capacity);
    if (room == NULL)
        return -ENOMEM;
    int length = http1_response_encode(response, room, capacity, &bad_field);
    if (length >= 0)
        output_queue_commit(&session->out.queue, (uint32_t)length);
    return length;
}

static struct bytes server_name(const struct io_core *core)
{
    return core->settings.server_header == NULL ? (struct bytes){} : bytes_of_string(core->settings.server_header);
}

static int send_head(struct http1_session *session, struct http_exchange *exchange, const struct reply *reply)
{
    struct io_core *core = session->all->core;
    struct response_head head;
    int r = response_head_read(core, reply->head, &head);
    if (r < 0)
        return r;
    struct http1_response response = {
        .status = reply->status,
        .reason = head.reason,
        .fields = head.fields,
        .field_count = head.field_count,
        .version_minor = exchange->is_http_1_0 ? 0 : 1,
        .date = core->date,
        .server = server_name(core),
    };
    frame(exchange, reply, &response);
    if (head.closes)
        exchange->keep_alive = false;
    decide_keep_alive(session, exchange, &response);
    r = encode(session, &response, reply->head.length);
    if (r < 0)
        return r;
    exchange->head_sent = true;
    exchange->status = reply->status;
    exchange->chunked = response.body == HTTP1_RESPONSE_CHUNKED;
    exchange->no_body = response.body == HTTP1_RESPONSE_NO_BODY;
    exchange->body_left = response.body == HTTP1_RESPONSE_LENGTH ? (int64_t)response.content_length : -1;
    metrics_count_response(core->metrics, reply->status);
    exchange_log_keep_fields(core, exchange, &head);
    return 0;
}

static int send_interim(struct http1_session *session, const struct http_exchange *exchange, const struct reply *reply)
{
    struct io_core *core = session->all->core;
    struct response_head head;
    if (reply->status < 102 || reply->status > 199)
        return -EPROTO; /* 100 is ours to say, 101 is no interim response, the others are none at all */
    if (exchange->is_http_1_0 || exchange->head_sent)
        return 0; /* RFC 9110 15.2: an HTTP/1.0 client does not know 1xx */
    int r = response_head_read(core, reply->head, &head);
    if (r < 0)
        return r;
    const struct http1_response response = {
        .status = reply->status,
        .reason = head.reason,
        .fields = head.fields,
        .field_count = head.field_count,
        .version_minor = 1,
        .keep_alive = true,
        .body = HTTP1_RESPONSE_NO_BODY,
    };
    metrics_add(core->metrics, METRIC_EARLY_HINTS, reply->status == 103);
    r = encode(session, &response, reply->head.length);
    return r < 0 ? r : 0;
}

/* ---- the body of a response ------------------------------------------------------------------------------------- */

static int put_octets(struct http1_session *session, struct reply *reply, struct bytes body)
{
    if (reply->part_of != NULL)
        return output_queue_append_file(&session->out.queue, reply->part_of, reply->part_offset, (uint32_t)body.length);
    /* Beyond that a block goes back only when the client has taken it, for that is what stops the application. */
    if (body.length <= OUTPUT_COPY_MAX && session->out.queue.bytes <= COPIED_AHEAD_MAX)
        return output_queue_copy(&session->out.queue, body);
    if (reply->scratch != NULL)
        return output_queue_adopt(&session->out.queue, reply->scratch, body);
    uint32_t block = reply->body_block;
    reply->body_block = MESSAGE_NO_BLOCK; /* goes back when it is sent */
    if (reply->head_block == block)
        reply->head_block = MESSAGE_NO_BLOCK;
    return output_queue_lend(&session->out.queue, reply->memory, block, body);
}

static int put_chunk(struct http1_session *session, struct reply *reply, struct bytes body)
{
    uint8_t head[HTTP1_CHUNK_HEAD_MAX];
    size_t length = http1_chunk_head(body.length, head);
    int r = output_queue_copy(&session->out.queue, bytes_of(head, length));
    if (r == 0)
        r = put_octets(session, reply, body);
    if (r == 0)
        r = output_queue_copy(&session->out.queue, BYTES_LITERAL("\r\n"));
    return r;
}

static int send_body(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    struct bytes body = reply->body;
    if (exchange->no_body || body.length == 0)
        return 0;
    if (exchange->body_left >= 0 && body.length > (uint64_t)exchange->body_left)
        body.length = (size_t)exchange->body_left; /* never more than the length that was stated */
    if (body.length == 0)
        return 0;
    if (exchange->body_left >= 0)
        exchange->body_left -= (int64_t)body.length;
    exchange->response_bytes += body.length;
    metrics_add(session->all->core->metrics, METRIC_RESPONSE_BODY_BYTES, body.length);
    return exchange->chunked ? put_chunk(session, reply, body) : put_octets(session, reply, body);
}

/* What was sent is not the whole response, and the client must be able to tell. */
static void break_off(struct http_exchange *exchange)
{
    exchange->response_ended = true;
    exchange->broken = true;
    exchange->keep_alive = false;
}

static void end_response(struct http1_session *session, struct http_exchange *exchange, uint8_t flags)
{
    exchange->response_ended = true;
    if ((flags & MESSAGE_FAILED) != 0 || exchange->body_left > 0 ||
        (exchange->chunked && output_queue_copy(&session->out.queue, BYTES_LITERAL("0\r\n\r\n")) < 0))
        break_off(exchange);
}

static int put_trailers(struct http1_session *session, const struct response_head *trailers)
{
    uint32_t capacity;
    uint32_t bad_field;
    const uint32_t wanted = (uint32_t)trailers->copy.length + trailers->field_count * 4U + HEAD_ROOM;
    uint8_t *room = output_queue_reserve(&session->out.queue, wanted, &capacity);
    if (room == NULL)
        return -ENOMEM;
    int length = http1_response_trailers(trailers->fields, trailers->field_count, room, capacity, &bad_field);
    if (length >= 0)
        output_queue_commit(&session->out.queue, (uint32_t)length);
    return length < 0 ? length : 0;
}

/* RFC 9110 6.5.1: they are left out for who did not ask for them, and RFC 9112 7.1.2 has a place for them in the
 * chunked coding alone. */
static int end_with_trailers(struct http1_session *session, struct http_exchange *exchange, const struct reply *reply)
{
    struct response_head trailers;
    if ((reply->flags & MESSAGE_END) == 0)
        return -EPROTO;
    if (!exchange->chunked || !exchange->te_trailers || (reply->flags & MESSAGE_FAILED) != 0) {
        end_response(session, exchange, reply->flags);
        return 0;
    }
    int r = response_head_read(session->all->core, reply->body, &trailers);
    if (r == 0)
        r = put_trailers(session, &trailers);
    exchange->response_ended = r == 0;
    return r;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

/* An application has as much out as it has blocks, and what was taken off its hands. One that names a block twice, or
 * none, would fill our memory for a client that does not read; with single octets, by what each of them takes. */
static bool beyond_all_bounds(const struct http1_session *session, const struct reply *reply)
{
    const struct settings *settings = &session->all->core->settings;
    if (reply->memory == NULL)
        return false; /* a file is read only as far as its client takes it */
    return output_queue_cost(&session->out.queue) >
           reply->memory->outbound.bytes + (uint64_t)settings->response_buffer_max;
}

static int apply(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    int r = 0;
    if (beyond_all_bounds(session, reply)) {
        exchange->floods = true;
        return -EPROTO;
    }
    if (reply->kind == MESSAGE_INTERIM)
        return send_interim(session, exchange, reply);
    if (reply->kind == MESSAGE_RESPONSE) {
        if (exchange->head_sent || reply->status < 200)
            return -EPROTO;
        r = send_head(session, exchange, reply);
    } else if (!exchange->head_sent) {
        return (reply->flags & MESSAGE_FAILED) != 0 ? -ECANCELED : -EPROTO;
    } else if ((reply->flags & MESSAGE_TRAILERS) != 0) {
        return end_with_trailers(session, exchange, reply);
    }
    if (r == 0)
        r = send_body(session, exchange, reply);
    if (r == 0 && (reply->flags & MESSAGE_END) != 0)
        end_response(session, exchange, reply->flags);
    return r;
}

void http1_output_detach_if_slow(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    if (session->connection->is_slow && io_core_response_buffering(core))
        output_queue_detach(&session->out.queue, (uint32_t)core->settings.response_buffer_max,
                            io_core_detached_max(core));
}

void http1_output_go_on(struct http1_session *session)
{
    http1_output_detach_if_slow(session);
    if (session->first != NULL && session->first->file != NULL)
        file_source_advance(session->all->core, session->first);
}

/* One reply of the first exchange goes out; what of it is not taken stays the caller's. */
static void emit(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    int r = exchange->local_status != 0 || exchange->response_ended ? 0 : apply(session, exchange, reply);
    if (r < 0 && !exchange->head_sent) {
        exchange->local_status = r == -ECANCELED ? 500 : 502;
        exchange->close_reason = CLOSE_APP_FAILED;
    } else if (r < 0) {
        break_off(exchange);
    }
    if (session->out.queue.bytes > 0)
        connection_flush(session->all->connections, session->connection);
    http1_output_detach_if_slow(session);
}

/* A thread that waits for room in what it may have out would wait for the client's other requests. */
static uint32_t detach_if_large(const struct http1_session *session, const struct http_exchange *exchange,
                                struct reply *kept)
{
    struct io_core *core = session->all->core;
    const bool is_large = kept->body.length > OUTPUT_COPY_MAX || (kept->flags & MESSAGE_END) == 0;
    const uint64_t max = (uint64_t)core->settings.response_buffer_max;
    if (!is_large || !io_core_response_buffering(core) || exchange->detached_bytes >= max)
        return 0;
    return reply_detach(core, kept, max - exchange->detached_bytes);
}

static void keep_for_later(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    const uint32_t kept_max = reply->memory->blocks + KEPT_WITHOUT_BLOCK_MAX;
    struct reply *kept = exchange->reply_count < kept_max ? reply_keep(session->all->core, reply) : NULL;
    if (kept == NULL) {
        reply_discard(reply);
        exchange->local_status = 503;
        exchange->close_reason = CLOSE_OVERLOAD;
        return;
    }
    if (exchange->replies_last != NULL)
        exchange->replies_last->next = kept;
    else
        exchange->replies = kept;
    exchange->replies_last = kept;
    const uint32_t detached = detach_if_large(session, exchange, kept);
    exchange->detached_bytes += detached;
    exchange->reply_count += detached == 0;
}

static void emit_kept(struct http1_session *session, struct http_exchange *exchange)
{
    while (exchange->replies != NULL) {
        struct reply *reply = exchange->replies;
        exchange->replies = reply->next;
        if (exchange->replies == NULL)
            exchange->replies_last = NULL;
        emit(session, exchange, reply);
        reply_release(session->all->core, reply);
    }
}

void http1_output_reply(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    if (exchange == session->first) {
        emit(session, exchange, reply);
        reply_discard(reply);
        return;
    }
    if ((reply->flags & MESSAGE_END) != 0)
        exchange->response_received = true;
    keep_for_later(session, exchange, reply);
}

void http1_output_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    exchange->close_reason = (uint8_t)reason;
    if (!exchange->head_sent && exchange->replies == NULL)
        exchange->local_status = status;
    else
        break_off(exchange);
}

uint64_t http1_output_queued(const struct http_exchange *exchange)
{
    const struct http1_session *session = exchange->session;
    if (exchange != session->first || !exchange->head_sent || exchange->local_status != 0 || exchange->response_ended)
        return UINT64_MAX;
    return session->out.queue.bytes;
}

bool http1_output_sends_files(const struct http_exchange *exchange)
{
    const struct http1_session *session = exchange->session;
    return connection_sends_files(session->connection);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static void answer_locally(struct http1_session *session, struct http_exchange *exchange)
{
    bool body_pending = session->body_open && session->body_exchange == exchange;
    if (body_pending || io_core_wants_rid_of_clients(session->all->core) || is_last_answer(session))
        exchange->keep_alive = false;
    exchange->status = exchange->local_status;
    exchange->response_ended = true;
    exchange->head_sent = true;
    if (!say_plain(session, exchange->local_status, own_answer_text(exchange->local_status), exchange->keep_alive,
                   exchange->is_head))
        exchange->broken = true;
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
    if (session->body_exchange == exchange) {
        session->body_exchange = NULL; /* what is left of its body is read past */
        session->discards_all = exchange->is_early;
    }
}

void http1_output_drop_all(struct http1_session *session)
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

/* RFC 9112 9.6: what was pipelined behind a response that closes is not answered. */
static void close_behind_response(struct http1_session *session, enum close_reason reason)
{
    http1_output_drop_all(session);
    connection_close_when_sent(session->all->connections, session->connection, reason);
}

static enum close_reason reason_or(const struct http_exchange *exchange, enum close_reason otherwise)
{
    enum close_reason reason = (enum close_reason)exchange->close_reason;
    return reason != CLOSE_NONE ? reason : otherwise;
}

/* The first response is not whole, and its client must see that. Those before it are, but may be queued still: they go
 * out first. */
static void end_broken(struct http1_session *session)
{
    struct connections *connections = session->all->connections;
    const struct http_exchange *exchange = session->first;
    enum close_reason reason = reason_or(exchange, CLOSE_RESPONSE_INCOMPLETE);
    bool floods = exchange->floods;
    bool shows = exchange->chunked || exchange->body_left > 0; /* by its framing, that octets are missing */
    http1_output_drop_all(session);
    if (floods)
        connection_abort(connections, session->connection, reason, true);
    else if (shows)
        connection_close_when_sent(connections, session->connection, reason);
    else
        connection_reset_when_sent(connections, session->connection, reason);
}

/* The first exchange is answered: it leaves, wherever its application is. */
static void end_first(struct http1_session *session)
{
    struct http_exchange *exchange = session->first;
    bool keep_alive = exchange->keep_alive && !session->all->core->draining;
    enum close_reason reason = reason_or(exchange, CLOSE_REQUESTED);
    exchange_log_append(session->all->core, exchange);
    if (exchange->broken) {
        end_broken(session);
        return;
    }
    unlink_first(session);
    /* An application that still reads hears that nobody waits any more. */
    dispatch_let_go(session->all->dispatch, exchange, exchange->local_status != 0);
    if (!keep_alive)
        close_behind_response(session, reason);
}

static bool closing(const struct http1_session *session)
{
    return session->connection->close_when_sent || session->connection->state == CONNECTION_CLOSING;
}

void http1_output_advance(struct http1_session *session)
{
    while (session->first != NULL && !closing(session)) {
        struct http_exchange *exchange = session->first;
        emit_kept(session, exchange);
        if (!exchange->response_ended && exchange->local_status != 0)
            answer_locally(session, exchange);
        if (!exchange->response_ended) {
            http1_requests_submit(session, exchange);
            if (exchange->local_status == 0 && exchange->file != NULL)
                file_source_advance(session->all->core, exchange);
            if (exchange->local_status == 0)
                return;
            continue;
        }
        end_first(session);
    }
    if (session->first == NULL && session->fault.status != 0 && !closing(session)) {
        say_plain(session, session->fault.status, session->fault.reason, false, false);
        connection_close_when_sent(session->all->connections, session->connection, session->fault.close_reason);
    }
}
