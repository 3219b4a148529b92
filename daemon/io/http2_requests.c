#include "daemon/io/http2_session.h"

#include "daemon/base/log.h"
#include "daemon/io/client_identity.h"
#include "daemon/io/early_start.h"
#include "daemon/io/exchange_log.h"
#include "daemon/io/own_answer.h"
#include "daemon/io/request_body.h"
#include "daemon/io/request_record.h"
#include "daemon/io/tls_request.h"

enum { REFUSED_WEIGHT = 2 };

static struct http2_request_limits request_limits(const struct http2_session *session)
{
    const struct io_core *core = session->all->core;
    const struct settings *settings = &core->settings;
    return (struct http2_request_limits){
        .request_line_max = core->head_limits.request_line_max,
        .field_size_max = core->head_limits.field_size_max,
        .field_count_max = core->head_limits.field_count_max,
        .method_bytes_max = core->head_limits.method_bytes_max,
        .body_bytes_max = (uint64_t)settings->limit_request_body,
        .connect_protocol = session->all->limits.enable_connect_protocol,
        .refuse_underscore_names = settings->header_map == HEADER_MAP_REFUSE,
        .is_secure = connection_is_secure(session->connection),
        .scheme_trusted = client_identity_trusted(core, session->connection),
    };
}

static bool is_head_method(const struct http_head *head)
{
    return bytes_equal(head->method, BYTES_LITERAL("HEAD"));
}

static int64_t stated_length(const struct http_head *head)
{
    return head->body_kind == HTTP_BODY_LENGTH ? (int64_t)head->content_length : -1;
}

/* RFC 9113 8.1.1: a malformed request is a stream error; nothing of it reaches an application. */
static void refuse_malformed(struct http2_session *session, uint32_t id, const char *reason)
{
    struct io_core *core = session->all->core;
    metrics_add(core->metrics, METRIC_REQUESTS_REJECTED, 1);
    log_debug("an HTTP/2 request was malformed: %s", reason);
    exchange_log_refused(core, session->connection, NULL, 0, 400);
    http2_connection_refuse(&session->protocol, id, HTTP2_PROTOCOL_ERROR, HTTP2_MALFORMED_WEIGHT, core->now_ms);
    http2_streams_say(session);
}

/* Answered by ourselves, without an exchange. */
static void answer_refused(struct http2_session *session, const struct http2_event *event, const struct http_head *head,
                           uint16_t status, const char *text)
{
    struct io_core *core = session->all->core;
    struct http2_member *member = http2_streams_join(session, event->stream_id, event->end_stream, -1);
    if (member == NULL) {
        http2_connection_refuse(&session->protocol, event->stream_id, HTTP2_REFUSED_STREAM, REFUSED_WEIGHT,
                                core->now_ms);
        http2_streams_say(session);
        return;
    }
    exchange_log_refused(core, session->connection, head, 0, status);
    http2_replies_answer(session, member, status, text, is_head_method(head));
}

static bool is_health_check(const struct http2_session *session, const struct http_head *head)
{
    const char *path = session->all->core->settings.health_path;
    return path != NULL && bytes_equal(head->path, bytes_of_string(path));
}

/* The decoded octets move into the arena, where the application reads them. */
static bool place_section(struct http2_session *session, struct http_exchange *exchange, const uint8_t **ret_at)
{
    const struct hpack_section *section = &session->all->block.section;
    struct buffer_pool *buffers = &session->all->core->buffers;
    uint8_t *memory;
    uint32_t capacity;
    if (buffer_pool_stage(buffers, section->used, &exchange->head_loan, &memory, &capacity) < 0)
        return false;
    memcpy(memory, section->memory, section->used);
    *ret_at = memory;
    return true;
}

/* What the record of a request has of HTTP/2 alone. */
static void note_stream(struct slot_record *record, const struct http2_member *member,
                        const struct http2_request *request)
{
    record->stream_id = member->protocol.id;
    record->urgency = request->urgency;
    record->flags |= request->incremental ? SLOT_INCREMENTAL : 0;
}

static void describe(struct http2_session *session, struct http2_member *member, const struct http2_request *request,
                     bool end_stream)
{
    struct http_exchange *exchange = member->exchange;
    const struct http_head *head = &request->head;
    exchange->owner = &session->all->owner;
    exchange->session = member;
    exchange->lane = &session->lane;
    exchange->is_head = is_head_method(head);
    exchange->keep_alive = true;
    exchange->te_trailers = true; /* RFC 9113 8.1: every HTTP/2 client can be sent trailers */
    exchange->wants_continue = head->expect_continue && !end_stream;
    exchange->body_ended = end_stream;
    exchange_tally_join(session->tally, exchange);
    member->body_ended = end_stream;
    member->body_since = member->body_progress = session->all->core->now_ms;
    note_stream(exchange->record, member, request);
    http2_schedule_change(&session->schedule, &member->turn,
                          (struct http2_priority){.urgency = request->urgency, .incremental = request->incremental});
}

void http2_requests_submit(struct http2_session *session, struct http2_member *member)
{
    struct http_exchange *exchange = member->exchange;
    if (exchange->state != EXCHANGE_BUFFERING)
        return;
    if (!exchange->body_ended && request_body_held(session->all->core, exchange) &&
        !early_start_try(session->all->dispatch, exchange))
        return;
    if (!dispatch_submit(session->all->dispatch, exchange))
        http2_replies_answer(session, member, 503, own_answer_text(503), exchange->is_head);
}

/* REFUSED_STREAM says that nothing was done, so that the client tries again (RFC 9113 8.7). Who asks whether the server
 * is there is told so at any time. */
static bool refuse_while_scarce(struct http2_session *session, const struct http2_event *event,
                                const struct http_head *head)
{
    struct io_core *core = session->all->core;
    if (core->memory.step < MEMORY_SCARCE || is_health_check(session, head))
        return false;
    metrics_add(core->metrics, METRIC_MEMORY_STREAMS, 1);
    http2_connection_refuse(&session->protocol, event->stream_id, HTTP2_REFUSED_STREAM, 0, core->now_ms);
    http2_streams_say(session);
    return true;
}

static void begin_exchange(struct http2_session *session, const struct http2_event *event,
                           const struct http2_request *request)
{
    struct http2_sessions *all = session->all;
    struct io_core *core = all->core;
    const struct http_head *head = &request->head;
    if (refuse_while_scarce(session, event, head))
        return;
    struct http_exchange *exchange = dispatch_exchange(all->dispatch);
    const uint8_t *at;
    if (exchange == NULL || !place_section(session, exchange, &at)) {
        if (exchange != NULL)
            dispatch_let_go(all->dispatch, exchange, true);
        http2_connection_refuse(&session->protocol, event->stream_id, HTTP2_REFUSED_STREAM, 0, core->now_ms);
        http2_streams_say(session);
        return;
    }
    const char *refusal =
        request_record_fill(core, session->connection, head, all->block.section.memory, at, exchange->record);
    struct http2_member *member =
        refusal == NULL ? http2_streams_join(session, event->stream_id, event->end_stream, stated_length(head)) : NULL;
    if (member == NULL) {
        dispatch_let_go(all->dispatch, exchange, true);
        answer_refused(session, event, head, refusal != NULL ? 400 : 503, refusal != NULL ? refusal : "out of memory");
        return;
    }
    member->exchange = exchange;
    session->open_exchanges++;
    describe(session, member, request, event->end_stream);
    metrics_add(core->metrics, METRIC_REQUESTS, 1);
    uint16_t status = tls_request_prepare(core, session->connection, head, exchange);
    if (status == 0 && request_body_too_long(core, head))
        status = 413;
    if (status != 0)
        http2_replies_answer(session, member, status, own_answer_text(status), exchange->is_head);
    else if (is_health_check(session, head))
        http2_replies_answer(session, member, dispatch_serving(all->dispatch) ? 200 : 503, NULL, exchange->is_head);
    else
        http2_requests_submit(session, member);
}

void http2_requests_begin(struct http2_session *session, const struct http2_event *event)
{
    struct http2_sessions *all = session->all;
    const struct http2_request_limits limits = request_limits(session);
    struct http2_request request;
    session->connection->requests++;
    session->turn_streams++;
    switch (http2_request_read(&request, &limits, &all->block.section, event->end_stream, all->fields,
                               all->fields_capacity)) {
    case HTTP2_REQUEST_MALFORMED:
        refuse_malformed(session, event->stream_id, request.reason);
        return;
    case HTTP2_REQUEST_REFUSED:
        metrics_add(all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
        answer_refused(session, event, &request.head, request.status, request.reason);
        return;
    case HTTP2_REQUEST_GOOD:
        begin_exchange(session, event, &request);
        return;
    }
}
