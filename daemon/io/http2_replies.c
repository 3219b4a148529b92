#include "daemon/io/http2_session.h"

#include "daemon/base/log.h"
#include "daemon/io/exchange_log.h"
#include "daemon/io/own_answer.h"
#include "daemon/io/request_body.h"
#include "daemon/io/response_head.h"
#include "proto/http2_response.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    OWN_ANSWER_BYTES = 512,
    INTERIM_QUEUED_MAX = 65'536,
    DRIBBLE_BYTES = 1'024, /* a frame that is smaller while more is ready (H2-12) */
    DRIBBLE_MS = 1'000,    /* that a window must have stayed so small */
    DRIBBLES_MAX = 10,     /* of a stream, before each of them is a glitch */
};

/* ---- heads ------------------------------------------------------------------------------------------------------ */

static int send_block(struct http2_session *session, struct http2_member *member, const struct http2_response *response,
                      bool end_stream)
{
    struct http2_connection *protocol = &session->protocol;
    const size_t wanted = http2_connection_head_max(protocol, http2_response_max(response));
    uint32_t capacity;
    uint32_t bad_field;
    uint8_t *room = output_queue_reserve(&session->out.queue, (uint32_t)wanted, &capacity);
    if (room == NULL)
        return -ENOMEM;
    int length = http2_response_encode(response, &protocol->encoder, room + HTTP2_FRAME_HEAD_BYTES,
                                       capacity - HTTP2_FRAME_HEAD_BYTES, &bad_field);
    if (length < 0)
        return length;
    size_t bytes = http2_connection_head(protocol, &member->protocol, (size_t)length, end_stream, room);
    output_queue_commit(&session->out.queue, (uint32_t)bytes);
    connection_flush(session->all->connections, session->connection);
    return 0;
}

static struct bytes server_name(const struct io_core *core)
{
    return core->settings.server_header == NULL ? (struct bytes){} : bytes_of_string(core->settings.server_header);
}

static int send_head(struct http2_session *session, struct http2_member *member, const struct reply *reply)
{
    struct io_core *core = session->all->core;
    struct http_exchange *exchange = member->exchange;
    struct response_head head;
    int r = response_head_read(core, reply->head, &head);
    if (r < 0)
        return r;
    const struct response_framing framing = response_head_framing(reply, exchange->is_head);
    const struct http2_response response = {
        .status = reply->status,
        .fields = head.fields,
        .field_count = head.field_count,
        .date = core->date,
        .server = server_name(core),
        .add_content_length = framing.states_length,
        .content_length = framing.content_length,
    };
    exchange->no_body = framing.body == HTTP_BODY_NONE;
    exchange->body_left = framing.body == HTTP_BODY_LENGTH ? (int64_t)framing.content_length : -1;
    const bool ends = (reply->flags & (MESSAGE_END | MESSAGE_FAILED | MESSAGE_TRAILERS)) == MESSAGE_END &&
                      (exchange->no_body || (reply->body.length == 0 && exchange->body_left <= 0));
    r = send_block(session, member, &response, ends);
    if (r < 0)
        return r;
    member->head_sent = exchange->head_sent = true;
    member->ended = ends;
    exchange->status = reply->status;
    metrics_count_response(core->metrics, reply->status);
    exchange_log_keep_fields(core, exchange, &head);
    return 0;
}

static int send_interim(struct http2_session *session, struct http2_member *member, const struct reply *reply)
{
    struct io_core *core = session->all->core;
    struct response_head head;
    if (reply->status < 102 || reply->status > 199)
        return -EPROTO; /* 100 is ours to say, 101 does not exist here (RFC 9113 8.6) */
    if (member->head_sent || session->out.queue.bytes > INTERIM_QUEUED_MAX)
        return 0; /* a hint that the client is too slow for is worth nothing any more */
    int r = response_head_read(core, reply->head, &head);
    if (r < 0)
        return r;
    const struct http2_response response = {
        .status = reply->status, .fields = head.fields, .field_count = head.field_count};
    metrics_add(core->metrics, METRIC_EARLY_HINTS, reply->status == 103);
    return send_block(session, member, &response, false);
}

static int send_trailers(struct http2_session *session, struct http2_member *member)
{
    struct response_head head;
    int r = response_head_read(session->all->core, bytes_of(member->trailers, member->trailers_bytes), &head);
    if (r < 0)
        return r;
    const struct http2_response response = {.fields = head.fields, .field_count = head.field_count};
    return send_block(session, member, &response, true);
}

/* ---- DATA ------------------------------------------------------------------------------------------------------- */

static uint32_t smaller(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* The most that one frame of this stream may carry now. */
static uint32_t frame_room(const struct http2_session *session, const struct http2_member *member)
{
    uint32_t room = http2_connection_sendable(&session->protocol, &member->protocol);
    return smaller(room, smaller(HTTP2_FRAME_BYTES, session->protocol.peer_max_frame));
}

static int put_frame_head(struct http2_session *session, struct http2_member *member, uint32_t length, bool end_stream)
{
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    http2_connection_data(&session->protocol, &member->protocol, length, end_stream, head);
    member->sent_bytes += length;
    return output_queue_copy(&session->out.queue, bytes_of(head, sizeof head));
}

/* Whether the response ends with its body, and not with trailers behind it. */
static bool ends_with_body(const struct http2_member *member)
{
    return member->end_due && member->trailers == NULL;
}

/* H2-12: a window of a few octets makes us frame, and encrypt, far more than we send. What is left of a window that was
 * large opens soon; one that does not for a second is used as it is. Whether the frame may go now. */
static bool outwaited(struct http2_session *session, struct http2_member *member, uint32_t length)
{
    const uint64_t now_ms = session->all->core->now_ms;
    if (length >= DRIBBLE_BYTES || length == member->body.bytes) {
        member->small_since_ms = 0;
        return true;
    }
    if (member->small_since_ms == 0)
        member->small_since_ms = now_ms;
    const uint64_t due_ms = member->small_since_ms + DRIBBLE_MS;
    if (now_ms < due_ms) {
        if (session->dribble_due_ms == 0 || due_ms < session->dribble_due_ms)
            session->dribble_due_ms = due_ms;
        return false;
    }
    member->small_since_ms = 0;
    if (++member->dribbles > DRIBBLES_MAX)
        session->failed |= !http2_connection_glitch(&session->protocol, HTTP2_WEIGHT_ODD, now_ms);
    return true;
}

/* One frame of the body that waits. */
static int send_waiting(struct http2_session *session, struct http2_member *member, uint32_t length)
{
    bool ends = ends_with_body(member) && length == member->body.bytes;
    int r = put_frame_head(session, member, length, ends);
    member->ended = ends;
    return r < 0 ? r : output_queue_move(&member->body, &session->out.queue, length);
}

/* What is due behind the last octet of body: trailers, or an empty frame that ends the stream. */
static int send_end(struct http2_session *session, struct http2_member *member)
{
    member->ended = true;
    return member->trailers != NULL ? send_trailers(session, member) : put_frame_head(session, member, 0, true);
}

static bool end_is_due(const struct http2_member *member)
{
    return member->end_due && member->body.bytes == 0 && !member->ended;
}

void http2_replies_schedule(struct http2_member *member)
{
    struct http2_session *session = member->session;
    if (member->body.bytes > 0 && http2_connection_sendable(&session->protocol, &member->protocol) > 0)
        http2_schedule_add(&session->schedule, &member->turn);
    else
        http2_schedule_remove(&session->schedule, &member->turn);
}

/* A small body whose way is free goes behind its head at once, beside it in one buffer. */
static bool may_go_at_once(const struct http2_session *session, const struct http2_member *member, size_t length)
{
    return member->body.bytes == 0 && session->schedule.waiting_count == 0 && length <= OUTPUT_COPY_MAX &&
           session->out.queue.bytes < HTTP2_AHEAD_BYTES && length <= frame_room(session, member);
}

static int put_at_once(struct http2_session *session, struct http2_member *member, struct bytes body, bool ends)
{
    int r = put_frame_head(session, member, (uint32_t)body.length, ends);
    if (r == 0)
        r = output_queue_copy(&session->out.queue, body);
    member->ended = ends;
    connection_flush(session->all->connections, session->connection);
    return r;
}

/* The clock of a reader runs from the moment there is something for it. */
static void note_waiting(struct http2_member *member)
{
    member->sent_mark = member->sent_bytes;
    member->sent_mark_ms = member->session->all->core->now_ms;
}

static int put_octets(struct http2_member *member, struct reply *reply, struct bytes body)
{
    if (member->body.bytes == 0)
        note_waiting(member);
    if (body.length <= OUTPUT_COPY_MAX && member->body.bytes <= OUTPUT_COPY_MAX)
        return output_queue_copy(&member->body, body);
    if (reply->scratch != NULL)
        return output_queue_adopt(&member->body, reply->scratch, body);
    uint32_t block = reply->body_block;
    reply->body_block = MESSAGE_NO_BLOCK; /* goes back when it is sent */
    if (reply->head_block == block)
        reply->head_block = MESSAGE_NO_BLOCK;
    return output_queue_lend(&member->body, reply->memory, block, body);
}

/* Where no window lets it go, or the client is slow, an application that must not wait is given its block back. */
static void detach_if_stuck(struct http2_session *session, struct http2_member *member)
{
    const struct io_core *core = session->all->core;
    const struct settings *settings = &core->settings;
    if (!io_core_response_buffering(core) || member->body.bytes == 0)
        return;
    if (session->connection->is_slow || member->small_since_ms != 0 ||
        http2_connection_sendable(&session->protocol, &member->protocol) == 0)
        output_queue_detach(&member->body, (uint32_t)settings->response_buffer_max, io_core_detached_max(core));
}

static int send_body(struct http2_session *session, struct http2_member *member, struct reply *reply)
{
    struct http_exchange *exchange = member->exchange;
    struct bytes body = reply->body;
    if (exchange->no_body || member->ended)
        return 0;
    if (exchange->body_left >= 0 && body.length > (uint64_t)exchange->body_left)
        body.length = (size_t)exchange->body_left; /* never more than the length that was stated */
    if (body.length == 0)
        return 0;
    if (exchange->body_left >= 0)
        exchange->body_left -= (int64_t)body.length;
    exchange->response_bytes += body.length;
    metrics_add(session->all->core->metrics, METRIC_RESPONSE_BODY_BYTES, body.length);
    if (!may_go_at_once(session, member, body.length)) {
        int r = put_octets(member, reply, body);
        http2_replies_schedule(member);
        return r;
    }
    const bool ends = (reply->flags & (MESSAGE_END | MESSAGE_FAILED)) == MESSAGE_END && exchange->body_left <= 0;
    return put_at_once(session, member, body, ends);
}

/* ---- the end of a stream ---------------------------------------------------------------------------------------- */

/* A stream whose response has gone out leaves. Nothing of a body that the client still sends is waited for. */
static void finish(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    if (exchange != NULL)
        exchange_log_append(session->all->core, exchange);
    http2_connection_forget(&session->protocol, &member->protocol);
    http2_streams_part(session, member, exchange != NULL && exchange->local_status != 0);
    http2_streams_say(session);
}

static void read_file_on(const struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    if (exchange != NULL && exchange->file != NULL)
        file_source_advance(member->session->all->core, exchange);
}

/* All of the response that is here is framed: its end as well, when there is nothing behind it. Else more of its file
 * is read, which may fail at once. Either way the member may be gone afterwards. */
static void complete(struct http2_session *session, struct http2_member *member)
{
    if (end_is_due(member) && send_end(session, member) < 0)
        http2_streams_reset(session, member, HTTP2_INTERNAL_ERROR);
    else if (member->ended)
        finish(session, member);
    else
        read_file_on(member);
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

/* The end of a response, or of what there will ever be of it. */
static int end_response(struct http2_member *member, const struct reply *reply)
{
    struct http_exchange *exchange = member->exchange;
    if ((reply->flags & MESSAGE_FAILED) != 0 || exchange->body_left > 0)
        return -ECANCELED; /* what was sent is not the whole response, and the client must be able to tell */
    member->end_due = true;
    return 0;
}

static int keep_trailers(struct http2_member *member, const struct reply *reply)
{
    if (member->trailers != NULL || (reply->flags & MESSAGE_END) == 0)
        return -EPROTO;
    member->trailers = malloc(reply->body.length + 1);
    if (member->trailers == NULL)
        return -ENOMEM;
    memcpy(member->trailers, reply->body.data, reply->body.length);
    member->trailers_bytes = (uint32_t)reply->body.length;
    return 0;
}

/* An application has as much out as it has blocks, and what was taken off its hands. One that names a block twice, or
 * none, would fill our memory for a client that does not read; with single octets, by what each of them takes. */
static bool beyond_all_bounds(const struct http2_session *session, const struct http2_member *member,
                              const struct reply *reply)
{
    const struct settings *settings = &session->all->core->settings;
    if (reply->memory == NULL)
        return false; /* a file is read only as far as its client takes it */
    return output_queue_cost(&member->body) > reply->memory->outbound.bytes + (uint64_t)settings->response_buffer_max;
}

static int apply(struct http2_session *session, struct http2_member *member, struct reply *reply)
{
    int r = 0;
    if (beyond_all_bounds(session, member, reply))
        return -EPROTO;
    if (reply->kind == MESSAGE_INTERIM)
        return send_interim(session, member, reply);
    if (reply->kind == MESSAGE_RESPONSE) {
        if (member->head_sent || reply->status < 200)
            return -EPROTO;
        r = send_head(session, member, reply);
    } else if (!member->head_sent) {
        return (reply->flags & MESSAGE_FAILED) != 0 ? -ECANCELED : -EPROTO;
    }
    if (r == 0 && (reply->flags & MESSAGE_TRAILERS) != 0)
        r = keep_trailers(member, reply);
    else if (r == 0)
        r = send_body(session, member, reply);
    if (r == 0 && (reply->flags & MESSAGE_END) != 0)
        r = end_response(member, reply);
    return r;
}

/* A response that cannot go on: an answer of our own while nothing was said, else the stream is reset. */
static void give_up(struct http2_session *session, struct http2_member *member, uint16_t status)
{
    if (!member->head_sent)
        http2_replies_answer(session, member, status, own_answer_text(status), member->exchange->is_head);
    else
        http2_streams_reset(session, member, HTTP2_INTERNAL_ERROR);
}

uint64_t http2_replies_queued(const struct http_exchange *exchange)
{
    const struct http2_member *member = exchange->session;
    return member->head_sent && !member->end_due ? member->body.bytes : UINT64_MAX;
}

void http2_replies_take(struct http_exchange *exchange, struct reply *reply)
{
    struct http2_member *member = exchange->session;
    struct http2_session *session = member->session;
    const bool unwanted =
        member->end_due || exchange->local_status != 0 || session->connection->state == CONNECTION_CLOSING;
    int r = unwanted ? 0 : apply(session, member, reply);
    reply_discard(reply);
    if (r < 0) {
        exchange->close_reason = CLOSE_APP_FAILED;
        give_up(session, member, r == -ECANCELED ? 500 : 502);
    } else {
        detach_if_stuck(session, member);
        complete(session, member);
    }
}

static void say_continue(struct http2_session *session, struct http2_member *member)
{
    const struct http2_response response = {.status = 100};
    member->exchange->wants_continue = false;
    if (!member->head_sent && send_block(session, member, &response, false) < 0)
        connection_abort(session->all->connections, session->connection, CLOSE_OVERLOAD, false);
}

/* The application took octets of the body: the client may send as many more, but for those it was given credit for
 * already, when they were held. */
void http2_replies_credit(struct http_exchange *exchange, uint32_t octets)
{
    struct http2_member *member = exchange->session;
    struct http2_session *session = member->session;
    uint32_t ahead = smaller(octets, member->credited_ahead);
    if (exchange->wants_continue)
        say_continue(session, member);
    member->credited_ahead -= ahead;
    if (octets > ahead && session->connection->state < CONNECTION_LINGERING) {
        member->uncredited -= octets - ahead;
        http2_window_taken(session, member, octets - ahead);
    }
    http2_streams_say(session);
}

void http2_replies_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    struct http2_member *member = exchange->session;
    struct http2_session *session = member->session;
    if (member->end_due || exchange->local_status != 0)
        return; /* its response is complete, and here */
    if (session->connection->state == CONNECTION_CLOSING)
        return;
    exchange->close_reason = (uint8_t)reason;
    give_up(session, member, status);
}

/* ---- answers of our own ----------------------------------------------------------------------------------------- */

static uint32_t answer_fields(uint16_t status, struct http_field fields[2])
{
    uint32_t count = 0;
    fields[count++] =
        (struct http_field){.name = BYTES_LITERAL("content-type"), .value = BYTES_LITERAL("text/plain; charset=utf-8")};
    struct bytes name;
    struct bytes value;
    if (own_answer_field(status, &name, &value))
        fields[count++] = (struct http_field){.name = name, .value = value};
    return count;
}

/* The text, cut where it is longer than any of ours, and the end of its line. */
static struct bytes own_body(const char *text, char memory[OWN_ANSWER_BYTES])
{
    const size_t length = strnlen(text, OWN_ANSWER_BYTES - 1);
    memcpy(memory, text, length);
    memory[length] = '\n';
    return bytes_of(memory, length + 1);
}

static int send_own_body(struct http2_session *session, struct http2_member *member, struct bytes body)
{
    if (may_go_at_once(session, member, body.length))
        return put_at_once(session, member, body, true);
    note_waiting(member);
    int r = output_queue_copy(&member->body, body);
    http2_replies_schedule(member);
    return r;
}

void http2_replies_answer(struct http2_session *session, struct http2_member *member, uint16_t status, const char *text,
                          bool head_only)
{
    const struct io_core *core = session->all->core;
    struct http_exchange *exchange = member->exchange;
    struct http_field fields[2];
    char memory[OWN_ANSWER_BYTES];
    const struct bytes body = own_body(text != NULL ? text : own_answer_text(status), memory);
    const struct http2_response response = {
        .status = status,
        .fields = fields,
        .field_count = answer_fields(status, fields),
        .date = core->date,
        .add_content_length = true,
        .content_length = body.length,
    };
    metrics_count_response(core->metrics, status);
    if (exchange != NULL) {
        exchange->local_status = exchange->status = status;
        exchange->response_bytes = head_only ? 0 : body.length;
    }
    member->head_sent = member->end_due = true;
    member->ended = head_only;
    output_queue_deinit(&member->body);
    output_queue_init(&member->body, session->out.queue.pools);
    if (send_block(session, member, &response, head_only) < 0 ||
        (!head_only && send_own_body(session, member, body) < 0))
        connection_abort(session->all->connections, session->connection, CLOSE_OVERLOAD, false);
    else if (member->ended)
        finish(session, member);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* Frames what is next; false when nobody may be sent, or enough is on its way. */
static bool send_next(struct http2_session *session)
{
    struct http2_turn *turn = http2_schedule_next(&session->schedule);
    if (turn == NULL || session->out.queue.bytes >= HTTP2_AHEAD_BYTES)
        return false;
    struct http2_member *member =
        (struct http2_member *)(void *)((uint8_t *)turn - offsetof(struct http2_member, turn));
    uint32_t length = smaller(member->body.bytes, frame_room(session, member));
    if (length == 0 || !outwaited(session, member, length)) {
        http2_schedule_remove(&session->schedule, turn);
        return true;
    }
    if (session->failed)
        return false;
    if (send_waiting(session, member, length) < 0) {
        connection_abort(session->all->connections, session->connection, CLOSE_OVERLOAD, false);
        return false;
    }
    http2_schedule_sent(&session->schedule, turn, length);
    http2_replies_schedule(member);
    complete(session, member);
    return true;
}

void http2_replies_on_time(struct http2_session *session)
{
    if (session->dribble_due_ms == 0 || session->all->core->now_ms < session->dribble_due_ms)
        return;
    session->dribble_due_ms = 0; /* whose second has not passed names its own again */
    for (struct http2_member *member = session->first; member != NULL; member = member->next)
        if (member->small_since_ms != 0)
            http2_replies_schedule(member);
}

void http2_replies_advance(struct http2_session *session)
{
    while (send_next(session))
        continue;
    http2_streams_say(session); /* GOAWAY, where windows were too small too often */
    if (session->out.queue.bytes > 0)
        connection_flush(session->all->connections, session->connection);
}
