#include "daemon/io/http1_uploads.h"

#include "daemon/io/early_start.h"
#include "daemon/io/http1_requests.h"
#include "daemon/io/http1_starved.h"
#include "daemon/io/request_body.h"

void http1_uploads_open(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http_head *head = &session->parser.head;
    const struct io_core *core = session->all->core;
    http1_body_init(&session->body, head->body_kind, head->content_length);
    if (head->body_kind == HTTP_BODY_NONE || (head->body_kind == HTTP_BODY_LENGTH && head->content_length == 0)) {
        exchange->body_ended = true;
        exchange->wants_continue = false;
        return;
    }
    session->body_open = true;
    session->body_held = false;
    session->body_exchange = exchange;
    session->discarded = 0;
    session->discards_all = false;
    session->body_since = session->body_progress = core->now_ms;
    session->body_mark_bytes = 0;
    if (session->input_bytes > 0)
        exchange->wants_continue = false; /* it did not wait */
    if (exchange->local_status == 0 && request_body_too_long(core, head)) {
        exchange->local_status = 413;
        exchange->close_reason = CLOSE_REQUEST_REJECTED;
        exchange->keep_alive = false;
        session->last_request = true;
    }
}

static void body_ended(struct http1_session *session)
{
    struct http_exchange *exchange = session->body_exchange;
    session->body_open = false;
    session->body_exchange = NULL;
    session->body_since = 0;
    if (exchange == NULL)
        return;
    exchange->body_ended = true;
    early_start_end(session->all->core, exchange);
    if (exchange->state == EXCHANGE_BUFFERING)
        http1_requests_submit(session, exchange);
    else
        dispatch_body(session->all->dispatch, exchange);
}

void http1_uploads_end(struct http1_session *session, uint16_t status, enum close_reason close)
{
    struct http_exchange *exchange = session->body_exchange;
    session->body_open = false;
    session->body_exchange = NULL;
    session->last_request = true;
    if (exchange == NULL)
        return;
    exchange->body_failed = true;
    exchange->keep_alive = false;
    exchange->close_reason = (uint8_t)close;
    if (!exchange->head_sent) /* else the application ends what it has begun */
        exchange->local_status = status;
    dispatch_body(session->all->dispatch, exchange);
}

/* The body cannot be kept. Of a response that has begun the client must see that it is not whole. */
static void body_lost(struct http1_session *session, struct http_exchange *exchange)
{
    if (exchange->head_sent)
        exchange->broken = exchange->response_ended = true;
    http1_uploads_end(session, request_body_lost_status(session->all->core, exchange), CLOSE_OVERLOAD);
}

static enum http1_step deliver(struct http1_session *session, const uint8_t *data, size_t length)
{
    struct http_exchange *exchange = session->body_exchange;
    struct io_core *core = session->all->core;
    if (request_body_unwanted(exchange)) {
        session->discarded += (uint32_t)length;
        return HTTP1_STEP_ON;
    }
    bool is_last = session->body.kind == HTTP_BODY_LENGTH && session->body.remaining == 0;
    if (request_body_keep(core, exchange, session->input_first->loan, data, (uint32_t)length, is_last) < 0) {
        body_lost(session, exchange);
        return HTTP1_STEP_BLOCKED;
    }
    metrics_add(core->metrics, METRIC_REQUEST_BODY_BYTES, length);
    return HTTP1_STEP_ON;
}

/* The client was not read from: it could not send, however fast it is. */
static void restart_rate(struct http1_session *session)
{
    session->body_held = false;
    session->body_since = session->all->core->now_ms;
    session->body_mark_bytes = session->body.received;
}

/* Whether the octets at hand may be read now. */
static bool may_read_body(struct http1_session *session)
{
    const struct io_core *core = session->all->core;
    const struct http_exchange *exchange = session->body_exchange;
    if (!request_body_room(core, exchange, HTTP1_READ_AHEAD_BYTES, HTTP1_BODY_PIECES_MAX))
        return false;
    if (request_body_unwanted(exchange) || http_exchange_body_has_place(core, exchange, session->input_first->length))
        return true;
    http1_starved_wait_for_block(session);
    return false;
}

static void body_went_on(struct http1_session *session)
{
    struct http_exchange *exchange = session->body_exchange;
    if (request_body_unwanted(exchange))
        return;
    if (exchange->state == EXCHANGE_BUFFERING)
        http1_requests_submit(session, exchange);
    else
        dispatch_body(session->all->dispatch, exchange);
}

enum http1_step http1_uploads_step(struct http1_session *session)
{
    struct body_piece *segment = session->input_first;
    if (segment == NULL)
        return HTTP1_STEP_HUNGRY;
    if (!may_read_body(session)) {
        session->body_held = true;
        return HTTP1_STEP_BLOCKED;
    }
    if (session->body_held)
        restart_rate(session);
    uint8_t *data = http1_segments_data(session, segment);
    size_t consumed = 0;
    size_t offset = 0;
    size_t decoded = 0;
    enum http1_body_progress progress = http1_body_feed(&session->body, &session->all->core->body_limits, data,
                                                        segment->length, &consumed, &offset, &decoded);
    session->body_progress = session->all->core->now_ms;
    if (progress == HTTP1_BODY_REJECTED) {
        metrics_add(session->all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
        http1_uploads_end(session, session->body.status, CLOSE_REQUEST_REJECTED);
        return HTTP1_STEP_BLOCKED;
    }
    if (decoded > 0 && deliver(session, data + offset, decoded) == HTTP1_STEP_BLOCKED)
        return HTTP1_STEP_BLOCKED;
    http1_segments_take(session, (uint32_t)consumed);
    if (progress == HTTP1_BODY_END)
        body_ended(session);
    else
        body_went_on(session);
    return HTTP1_STEP_ON;
}
