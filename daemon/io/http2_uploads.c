#include "daemon/io/http2_session.h"

#include "daemon/io/early_start.h"
#include "daemon/io/own_answer.h"
#include "daemon/io/request_body.h"

enum { UPLOAD_BYTES = 65'536, UPLOAD_MS = 1'000 };

static void credit(struct http2_session *session, struct http2_member *member, uint32_t octets)
{
    member->uncredited -= octets;
    http2_window_taken(session, member, octets);
    http2_streams_say(session);
}

static bool unwanted(const struct http2_member *member)
{
    return member->exchange == NULL || member->exchange->local_status != 0 || member->end_due;
}

/* The body cannot be kept: the client is told so, or that its response is not whole. */
static void body_lost(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    exchange->body_failed = true;
    exchange->close_reason = CLOSE_OVERLOAD;
    dispatch_body(session->all->dispatch, exchange);
    if (member->head_sent)
        http2_streams_reset(session, member, HTTP2_INTERNAL_ERROR);
    else
        http2_replies_answer(session, member, request_body_lost_status(session->all->core, exchange), NULL,
                             exchange->is_head);
}

static void end_body(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    member->body_ended = true;
    if (exchange == NULL)
        return;
    exchange->body_ended = true;
    early_start_end(session->all->core, exchange);
    if (unwanted(member))
        return;
    if (exchange->state == EXCHANGE_BUFFERING)
        http2_requests_submit(session, member);
    else
        dispatch_body(session->all->dispatch, exchange);
}

/* A held body is given credit for as it comes, since its application takes nothing before the end; one that streams
 * when the application takes it. */
static void count_credit(struct http2_session *session, struct http2_member *member, uint32_t octets)
{
    const struct http_exchange *exchange = member->exchange;
    if (exchange->state != EXCHANGE_BUFFERING)
        return;
    member->credited_ahead += octets;
    credit(session, member, octets);
}

/* Of a body that is held without its length being known, 413 comes when the bound is passed. */
static bool passes_bound(const struct http2_session *session, const struct http2_member *member)
{
    int64_t most = session->all->core->settings.limit_request_body;
    return most > 0 && member->body_received > (uint64_t)most;
}

void http2_uploads_take(struct http2_session *session, const struct http2_event *event)
{
    struct http2_member *member = (struct http2_member *)event->stream;
    struct io_core *core = session->all->core;
    const uint32_t length = (uint32_t)event->data.length;
    member->body_progress = core->now_ms;
    member->body_received += length;
    member->uncredited += length;
    if (member->body_received >= UPLOAD_BYTES)
        session->upload_until_ms = core->now_ms + UPLOAD_MS;
    if (unwanted(member)) {
        credit(session, member, length);
        member->body_ended |= event->end_stream;
        return;
    }
    struct http_exchange *exchange = member->exchange;
    if (passes_bound(session, member)) {
        credit(session, member, length);
        http2_replies_answer(session, member, 413, own_answer_text(413), exchange->is_head);
        return;
    }
    exchange->wants_continue = false; /* it did not wait */
    if (length > 0 && request_body_keep(core, exchange, session->input_first->loan, event->data.data, length,
                                        event->end_stream) < 0) {
        credit(session, member, length);
        body_lost(session, member);
        return;
    }
    metrics_add(core->metrics, METRIC_REQUEST_BODY_BYTES, length);
    count_credit(session, member, length);
    if (event->end_stream)
        end_body(session, member);
    else if (exchange->state == EXCHANGE_BUFFERING)
        http2_requests_submit(session, member);
    else
        dispatch_body(session->all->dispatch, exchange);
}

/* More trailers than are allowed: 431, as over HTTP/1.1, where the client was told nothing else yet. */
static void refuse_trailers(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    if (unwanted(member))
        return;
    metrics_add(session->all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
    exchange->body_failed = true;
    exchange->close_reason = CLOSE_REQUEST_REJECTED;
    dispatch_body(session->all->dispatch, exchange);
    if (member->head_sent)
        http2_streams_reset(session, member, HTTP2_CANCEL);
    else
        http2_replies_answer(session, member, 431, own_answer_text(431), exchange->is_head);
}

/* What trailers say is checked and goes no further: no interface has a place for it (docs/http2.md). Malformed ones
 * make the request malformed, which is an error of the stream (RFC 9113 8.1.1). */
void http2_uploads_end(struct http2_session *session, const struct http2_event *event)
{
    struct http2_member *member = (struct http2_member *)event->stream;
    struct http2_sessions *all = session->all;
    uint32_t count;
    switch (http2_request_trailers(&all->block.section, all->fields, all->fields_capacity, &count)) {
    case HTTP2_REQUEST_GOOD:
        end_body(session, member);
        return;
    case HTTP2_REQUEST_REFUSED:
        member->body_ended = true;
        refuse_trailers(session, member);
        return;
    case HTTP2_REQUEST_MALFORMED:
        break;
    }
    if (http2_connection_glitch(&session->protocol, HTTP2_MALFORMED_WEIGHT, all->core->now_ms))
        http2_streams_reset(session, member, HTTP2_PROTOCOL_ERROR);
    http2_streams_say(session);
}
