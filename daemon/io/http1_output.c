#include "daemon/io/http1_session.h"

#include "daemon/base/log.h"
#include "daemon/exchange/field_block.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    KEPT_WITHOUT_BLOCK_MAX = 64, /* replies before their turn: each block once, and a few that need none */
    RESPONSE_FIELDS_MAX = 1'024,
    HEAD_ROOM = 512, /* status line, Date, Server, framing */
    PLAIN_ROOM = 1'024,
    COPIED_AHEAD_MAX = 65'536, /* octets queued for a client behind which nothing small is copied any more */
};

/* ---- what we say ourselves -------------------------------------------------------------------------------------- */

static const char *extra_field(uint16_t status)
{
    switch (status) {
    case 405:
        return "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE\r\n";
    case 503:
        return "Retry-After: 1\r\n";
    default:
        return NULL;
    }
}

static bool say_plain(struct http1_session *session, uint16_t status, const char *text, bool keep_alive, bool head_only)
{
    uint32_t capacity;
    uint8_t *room = output_queue_reserve(&session->out.queue, PLAIN_ROOM, &capacity);
    if (room == NULL)
        return false;
    int length = http1_response_plain(status, text, extra_field(status), keep_alive, head_only,
                                      session->all->core->date, room, capacity);
    if (length < 0)
        return false;
    output_queue_commit(&session->out.queue, (uint32_t)length);
    metrics_count_response(session->all->core->metrics, status);
    connection_flush(session->all->connections, session->connection);
    return true;
}

static void break_connection(struct http1_session *session, enum close_reason reason)
{
    session->last_request = true;
    connection_abort(session->all->connections, session->connection, reason, true);
}

/* ---- access log ------------------------------------------------------------------------------------------------- */

static struct bytes span_bytes(const struct io_core *core, struct arena_span span)
{
    return bytes_of(core->inbound.base + span.offset, span.length);
}

static uint32_t record_fields(const struct io_core *core, const struct slot_record *record, struct http_field *fields)
{
    for (uint32_t i = 0; i < record->field_count; i++) {
        const struct slot_field *field = &record->fields[i];
        fields[i] = (struct http_field){
            .name = bytes_of(core->inbound.base + field->name_offset, field->name_length),
            .value = bytes_of(core->inbound.base + field->value_offset, field->value_length),
            .id = field->id,
        };
    }
    return record->field_count;
}

static void log_access(struct http1_session *session, const struct http_exchange *exchange)
{
    const struct io_core *core = session->all->core;
    if (core->access_log == NULL)
        return;
    const struct slot_record *record = exchange->record;
    struct access_entry entry = {
        .time_us = core->wall_us,
        .duration_us = core->now_us - exchange->started_us,
        .remote_address = bytes_of_string(record->client),
        .method = span_bytes(core, record->method),
        .target = span_bytes(core, record->target),
        .path = span_bytes(core, record->path),
        .query = span_bytes(core, record->query),
        .scheme = (record->flags & SLOT_HTTPS) != 0 ? BYTES_LITERAL("https") : BYTES_LITERAL("http"),
        .version_major = 1,
        .version_minor = record->version == SLOT_HTTP_1_0 ? 0 : 1,
        .status = exchange->status,
        .app_pid = exchange->app_pid,
        .body_bytes = exchange->response_bytes,
        .request_fields = session->all->log_fields,
        .request_field_count = record_fields(core, record, session->all->log_fields),
        .response_fields = exchange->logged_fields,
        .response_field_count = exchange->logged_field_count,
    };
    access_log_append(core->access_log, &entry);
}

void http1_output_log_refused(const struct http1_session *session, uint16_t status, bool understood)
{
    const struct io_core *core = session->all->core;
    const struct http1_request nothing = {.version_minor = 1};
    const struct http1_request *request = understood ? &session->parser : &nothing;
    char client[IP_TEXT_MAX];
    uint16_t port;
    if (core->access_log == NULL)
        return;
    connection_client_text(session->connection, client, &port);
    const struct access_entry entry = {
        .time_us = core->wall_us,
        .duration_us = session->head_since != 0 ? (core->now_ms - session->head_since) * 1000 : 0,
        .remote_address = bytes_of_string(client),
        .method = request->method,
        .target = request->target,
        .path = request->path,
        .query = request->query,
        .scheme = BYTES_LITERAL("http"),
        .version_major = 1,
        .version_minor = request->version_minor,
        .status = status,
    };
    access_log_append(core->access_log, &entry);
}

/* ---- the head of a response ------------------------------------------------------------------------------------- */

static bool status_without_body(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

/* How the body is framed: by the length the application states, by the length that we know because all of it is here,
 * by chunks, or by the end of the connection. */
static void frame(const struct http_exchange *exchange, const struct reply *reply, struct http1_response *response)
{
    bool complete = (reply->flags & MESSAGE_END) != 0 && (reply->flags & MESSAGE_FAILED) == 0;
    int64_t length = reply->content_length;
    if (length < 0 && complete && !exchange->is_head)
        length = (int64_t)reply->body.length;
    bool without_body = exchange->is_head || status_without_body(reply->status);
    bool may_state = reply->status >= 200 && reply->status != 204;

    if (length >= 0) {
        response->body = without_body ? HTTP1_RESPONSE_NO_BODY : HTTP1_RESPONSE_LENGTH;
        response->content_length = (uint64_t)length;
        response->add_content_length = may_state && (reply->content_length >= 0 || !without_body);
    } else if (without_body) {
        response->body = HTTP1_RESPONSE_NO_BODY;
    } else {
        response->body = exchange->is_http_1_0 ? HTTP1_RESPONSE_UNTIL_CLOSE : HTTP1_RESPONSE_CHUNKED;
    }
}

/* A request body that has not come whole: what remains has to be read past before another request can be. That is only
 * worth it when it is short and on its way. */
static bool rest_is_bearable(const struct http1_session *session, const struct http_exchange *exchange)
{
    if (!session->body_open || session->body_exchange != exchange)
        return true;
    if (exchange->wants_continue)
        return false;
    return session->body.kind == HTTP1_BODY_CHUNKED || session->body.remaining <= HTTP1_DISCARD_BYTES;
}

/* RFC 9112 9.6: nothing follows a response that says close, so only the last one to a client that has ended says it. */
static bool is_last_answer(const struct http1_session *session)
{
    return session->client_ended && session->count == 1 && session->input_first == NULL;
}

static void decide_keep_alive(struct http1_session *session, struct http_exchange *exchange,
                              struct http1_response *response)
{
    if (response->body == HTTP1_RESPONSE_UNTIL_CLOSE || session->all->core->draining || is_last_answer(session) ||
        !rest_is_bearable(session, exchange))
        exchange->keep_alive = false;
    response->keep_alive = exchange->keep_alive;
}

/* The application's own Connection: close is honoured; everything else about the connection is ours to say. */
static bool asks_to_close(const struct http_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (fields[i].name.length == 10 && bytes_equal_lower(fields[i].name, BYTES_LITERAL("connection")) &&
            http_list_has_token(fields[i].value, BYTES_LITERAL("close")))
            return true;
    return false;
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

/* Copies the field block out of the application's reach, then cuts it into fields. */
static int read_fields(struct http1_session *session, struct bytes block)
{
    if (block.length > HTTP1_SCRATCH_BYTES)
        return -EMSGSIZE;
    memcpy(session->all->head_copy, block.data, block.length);
    return field_block_read(bytes_of(session->all->head_copy, block.length), session->all->response_fields,
                            RESPONSE_FIELDS_MAX);
}

/* For a log format that asks for response fields: the copy outlives the scratch. */
static void keep_fields_for_log(struct http1_session *session, struct http_exchange *exchange, uint32_t count,
                                size_t block_bytes)
{
    const struct access_log *log = session->all->core->access_log;
    if (log == NULL || !access_log_wants_response_fields(log))
        return;
    struct http_field *fields = malloc(count * sizeof *fields + block_bytes + 1);
    if (fields == NULL)
        return;
    uint8_t *copy = (uint8_t *)(fields + count);
    memcpy(copy, session->all->head_copy, block_bytes);
    for (uint32_t i = 0; i < count; i++) {
        fields[i] = session->all->response_fields[i];
        fields[i].name.data = copy + (fields[i].name.data - session->all->head_copy);
        fields[i].value.data = copy + (fields[i].value.data - session->all->head_copy);
    }
    exchange->logged_fields = fields;
    exchange->logged_field_count = count;
}

static struct bytes server_name(const struct io_core *core)
{
    return core->settings.server_header == NULL ? (struct bytes){} : bytes_of_string(core->settings.server_header);
}

static void take_reason(struct http1_response *response)
{
    if (response->field_count == 0 || !bytes_equal(response->fields[0].name, FIELD_BLOCK_REASON))
        return;
    response->reason = response->fields[0].value;
    response->fields++;
    response->field_count--;
}

static int send_head(struct http1_session *session, struct http_exchange *exchange, const struct reply *reply)
{
    struct io_core *core = session->all->core;
    int count = read_fields(session, reply->head);
    if (count < 0)
        return count;
    struct http1_response response = {
        .status = reply->status,
        .fields = session->all->response_fields,
        .field_count = (uint32_t)count,
        .version_minor = exchange->is_http_1_0 ? 0 : 1,
        .date = core->date,
        .server = server_name(core),
    };
    take_reason(&response);
    frame(exchange, reply, &response);
    if (asks_to_close(response.fields, response.field_count))
        exchange->keep_alive = false;
    decide_keep_alive(session, exchange, &response);
    int r = encode(session, &response, reply->head.length);
    if (r < 0)
        return r;
    exchange->head_sent = true;
    exchange->status = reply->status;
    exchange->chunked = response.body == HTTP1_RESPONSE_CHUNKED;
    exchange->no_body = response.body == HTTP1_RESPONSE_NO_BODY;
    exchange->body_left = response.body == HTTP1_RESPONSE_LENGTH ? (int64_t)response.content_length : -1;
    metrics_count_response(core->metrics, reply->status);
    keep_fields_for_log(session, exchange, (uint32_t)count, reply->head.length);
    return 0;
}

static int send_interim(struct http1_session *session, const struct http_exchange *exchange, const struct reply *reply)
{
    if (reply->status < 102 || reply->status > 199)
        return -EPROTO; /* 100 is ours to say, 101 is no interim response, the others are none at all */
    if (exchange->is_http_1_0 || exchange->head_sent)
        return 0; /* RFC 9110 15.2: an HTTP/1.0 client does not know 1xx */
    int count = read_fields(session, reply->head);
    if (count < 0)
        return count;
    const struct http1_response response = {
        .status = reply->status,
        .fields = session->all->response_fields,
        .field_count = (uint32_t)count,
        .version_minor = 1,
        .keep_alive = true,
        .body = HTTP1_RESPONSE_NO_BODY,
    };
    metrics_add(session->all->core->metrics, METRIC_EARLY_HINTS, reply->status == 103);
    int r = encode(session, &response, reply->head.length);
    return r < 0 ? r : 0;
}

/* ---- the body of a response ------------------------------------------------------------------------------------- */

static int put_octets(struct http1_session *session, struct reply *reply, struct bytes body)
{
    /* Beyond that a block goes back only when the client has taken it, for that is what stops the application. */
    if (body.length <= OUTPUT_COPY_MAX && session->out.queue.bytes <= COPIED_AHEAD_MAX)
        return output_queue_copy(&session->out.queue, body);
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

static void end_response(struct http1_session *session, struct http_exchange *exchange, uint8_t flags)
{
    exchange->response_ended = true;
    if ((flags & MESSAGE_FAILED) != 0 || exchange->body_left > 0) {
        /* What was sent is not the whole response, and the client must be able to tell. */
        exchange->keep_alive = false;
        exchange->broken = true;
        return;
    }
    if (exchange->chunked && output_queue_copy(&session->out.queue, BYTES_LITERAL("0\r\n\r\n")) < 0)
        exchange->broken = true;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

/* An application has as much out as it has blocks, and what was taken off its hands. One that names a block twice, or
 * none, would fill our memory for a client that does not read. */
static bool beyond_all_bounds(const struct http1_session *session, const struct reply *reply)
{
    const struct settings *settings = &session->all->core->settings;
    return session->out.queue.bytes > reply->memory->outbound.bytes + (uint64_t)settings->response_buffer_max;
}

static int apply(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    int r = 0;
    if (beyond_all_bounds(session, reply))
        return -EPROTO;
    if (reply->kind == MESSAGE_INTERIM)
        return send_interim(session, exchange, reply);
    if (reply->kind == MESSAGE_RESPONSE) {
        if (exchange->head_sent || reply->status < 200)
            return -EPROTO;
        r = send_head(session, exchange, reply);
    } else if (!exchange->head_sent) {
        return (reply->flags & MESSAGE_FAILED) != 0 ? -ECANCELED : -EPROTO;
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
                            (uint64_t)core->settings.response_buffer_total);
}

/* One reply of the first exchange goes out. */
static void emit(struct http1_session *session, struct http_exchange *exchange, struct reply *reply)
{
    int r = exchange->local_status != 0 || exchange->response_ended ? 0 : apply(session, exchange, reply);
    reply_discard(reply);
    if (r < 0 && !exchange->head_sent) {
        exchange->local_status = r == -ECANCELED ? 500 : 502;
        exchange->close_reason = CLOSE_APP_FAILED;
    } else if (r < 0) {
        exchange->response_ended = true;
        exchange->broken = true;
        exchange->keep_alive = false;
    }
    if (session->out.queue.bytes > 0)
        connection_flush(session->all->connections, session->connection);
    http1_output_detach_if_slow(session);
}

static void keep_for_later(struct http1_session *session, struct http_exchange *exchange, const struct reply *reply)
{
    const uint32_t kept_max = reply->memory->blocks + KEPT_WITHOUT_BLOCK_MAX;
    struct reply *kept = exchange->reply_count < kept_max ? slab_borrow(&session->all->core->replies) : NULL;
    if (kept == NULL) {
        struct reply copy = *reply;
        reply_discard(&copy);
        exchange->local_status = 503;
        exchange->close_reason = CLOSE_OVERLOAD;
        return;
    }
    *kept = *reply;
    kept->next = NULL;
    app_memory_hold(kept->memory);
    if (exchange->replies_last != NULL)
        exchange->replies_last->next = kept;
    else
        exchange->replies = kept;
    exchange->replies_last = kept;
    exchange->reply_count++;
}

static void emit_kept(struct http1_session *session, struct http_exchange *exchange)
{
    while (exchange->replies != NULL) {
        struct reply *reply = exchange->replies;
        exchange->replies = reply->next;
        if (exchange->replies == NULL)
            exchange->replies_last = NULL;
        emit(session, exchange, reply);
        app_memory_drop(reply->memory);
        slab_give_back(&session->all->core->replies, reply);
    }
}

static void on_reply(struct http_exchange *exchange, struct reply *reply)
{
    struct http1_session *session = exchange->session;
    if (exchange != session->first) {
        if ((reply->flags & MESSAGE_END) != 0)
            exchange->response_received = true;
        keep_for_later(session, exchange, reply);
        return;
    }
    emit(session, exchange, reply);
    http1_session_settle(session);
}

static void on_credit(struct http_exchange *exchange, uint32_t octets)
{
    struct http1_session *session = exchange->session;
    (void)octets;
    exchange->app_reads = true;
    if (exchange->wants_continue && exchange == session->first && !exchange->head_sent) {
        exchange->wants_continue = false;
        if (output_queue_copy(&session->out.queue, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n")) == 0)
            connection_flush(session->all->connections, session->connection);
    }
    http1_session_settle(session);
}

static void on_failure(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct http1_session *session = exchange->session;
    if (exchange->response_ended || exchange->response_received || exchange->local_status != 0)
        return;
    exchange->close_reason = (uint8_t)reason;
    if (!exchange->head_sent && exchange->replies == NULL) {
        exchange->local_status = status;
    } else {
        exchange->response_ended = true;
        exchange->broken = true;
        exchange->keep_alive = false;
    }
    http1_session_settle(session);
}

const struct http_exchange_owner http1_exchange_owner = {
    .on_reply = on_reply,
    .on_credit = on_credit,
    .on_failure = on_failure,
};

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static const char *words_for(uint16_t status)
{
    switch (status) {
    case 200:
        return "OK";
    case 500:
        return "The application failed.";
    case 502:
        return "The application process ended before it answered.";
    case 503:
        return "The server is busy; try again.";
    case 504:
        return "The application did not answer in time.";
    default:
        return http1_reason(status);
    }
}

static void answer_locally(struct http1_session *session, struct http_exchange *exchange)
{
    bool body_pending = session->body_open && session->body_exchange == exchange;
    if (body_pending || session->all->core->draining || is_last_answer(session))
        exchange->keep_alive = false;
    exchange->status = exchange->local_status;
    exchange->response_ended = true;
    exchange->head_sent = true;
    if (!say_plain(session, exchange->local_status, words_for(exchange->local_status), exchange->keep_alive,
                   exchange->is_head))
        exchange->broken = true;
}

/* RFC 9112 9.6: what was pipelined behind a response that closes is not answered. */
static void close_behind_response(struct http1_session *session, enum close_reason reason)
{
    http1_session_drop_all(session);
    connection_close_when_sent(session->all->connections, session->connection, reason);
}

static void end_first(struct http1_session *session, struct http_exchange *exchange)
{
    bool broken = exchange->broken;
    bool keep_alive = exchange->keep_alive && !session->all->core->draining;
    enum close_reason reason = (enum close_reason)exchange->close_reason;
    log_access(session, exchange);
    http1_session_finish_first(session);
    if (broken)
        break_connection(session, reason != CLOSE_NONE ? reason : CLOSE_RESPONSE_INCOMPLETE);
    else if (!keep_alive)
        close_behind_response(session, reason != CLOSE_NONE ? reason : CLOSE_REQUESTED);
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
            http1_input_submit(session, exchange);
            if (exchange->local_status == 0)
                return;
            continue;
        }
        end_first(session, exchange);
    }
    if (session->first == NULL && session->fault.status != 0 && !closing(session)) {
        say_plain(session, session->fault.status, session->fault.reason, false, false);
        connection_close_when_sent(session->all->connections, session->connection, session->fault.close_reason);
    }
}
