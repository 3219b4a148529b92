#include "daemon/io/http2_session.h"

#include "daemon/base/log.h"
#include "daemon/io/client_identity.h"
#include "daemon/io/early_start.h"
#include "daemon/io/exchange_log.h"
#include "daemon/io/own_answer.h"
#include "daemon/io/request_body.h"
#include "daemon/io/request_record.h"
#include "daemon/io/tls_request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { MALFORMED_WEIGHT = 10, REFUSED_WEIGHT = 2, UPLOAD_BYTES = 65'536, UPLOAD_MS = 1'000 };

static uint8_t *segment_data(const struct http2_session *session, const struct body_piece *segment)
{
    return session->all->core->inbound.base + segment->offset;
}

void http2_input_append(struct http2_session *session, struct loan loan, uint8_t *data, uint32_t length)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = slab_borrow(&core->bodies);
    if (segment == NULL) {
        buffer_pool_drop(&core->buffers, &loan);
        connection_abort(session->all->connections, session->connection, CLOSE_OVERLOAD, false);
        return;
    }
    *segment = (struct body_piece){.loan = loan, .offset = buffer_pool_offset(&core->buffers, data), .length = length};
    if (session->input_last != NULL)
        session->input_last->next = segment;
    else
        session->input_first = segment;
    session->input_last = segment;
    session->input_bytes += length;
    session->input_segments++;
}

static void pop_segment(struct http2_session *session)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = session->input_first;
    session->input_first = segment->next;
    if (session->input_first == NULL)
        session->input_last = NULL;
    session->input_bytes -= segment->length;
    session->input_segments--;
    buffer_pool_drop(&core->buffers, &segment->loan);
    slab_give_back(&core->bodies, segment);
}

static void take(struct http2_session *session, uint32_t octets)
{
    struct body_piece *segment = session->input_first;
    segment->offset += octets;
    segment->length -= octets;
    session->input_bytes -= octets;
    if (segment->length == 0)
        pop_segment(session);
}

void http2_input_clear(struct http2_session *session)
{
    while (session->input_first != NULL)
        pop_segment(session);
}

/* ---- the field block in progress -------------------------------------------------------------------------------- */

/* The scratch as it is for a new block. */
static struct http2_block *fresh_block(struct http2_sessions *all)
{
    struct http2_block *block = &all->block;
    struct hpack_section *section = &block->section;
    *section = (struct hpack_section){
        .memory = section->memory,
        .memory_bytes = LAYOUT_LARGE_BLOCK_BYTES,
        .fields = section->fields,
        .fields_max = all->section_fields_max,
    };
    block->tail_used = 0;
    return block;
}

/* A block that was cut comes back into the scratch. */
static struct http2_block *block_of(struct http2_session *session)
{
    struct http2_block *block = fresh_block(session->all);
    struct http2_kept_block *kept = session->kept;
    if (kept == NULL)
        return block;
    const struct hpack_section *section = &kept->section;
    const size_t field_bytes = section->field_count * sizeof *section->fields;
    memcpy(block->section.fields, kept->octets, field_bytes);
    memcpy(block->section.memory, kept->octets + field_bytes, section->used);
    memcpy(block->tail, kept->octets + field_bytes + section->used, kept->tail_used);
    block->section.used = section->used;
    block->section.field_count = section->field_count;
    block->section.seen_count = section->seen_count;
    block->section.list_bytes = section->list_bytes;
    block->section.overflowed = section->overflowed;
    block->tail_used = kept->tail_used;
    http2_input_drop_kept(session);
    return block;
}

void http2_input_drop_kept(struct http2_session *session)
{
    if (session->kept == NULL)
        return;
    memory_account_credit(&session->all->core->memory, session->kept->bytes);
    free(session->kept);
    session->kept = NULL;
}

/* The scratch is everybody's: what a cut block has so far is copied aside, no larger than it is. */
static bool keep_block(struct http2_session *session)
{
    const struct http2_block *block = &session->all->block;
    const struct hpack_section *section = &block->section;
    const size_t field_bytes = section->field_count * sizeof *section->fields;
    const size_t bytes = sizeof(struct http2_kept_block) + field_bytes + section->used + block->tail_used;
    struct memory_account *account = &session->all->core->memory;
    struct http2_kept_block *kept = account->step == MEMORY_EXHAUSTED ? NULL : malloc(bytes);
    if (kept == NULL)
        return false;
    memory_account_charge(account, bytes);
    kept->bytes = (uint32_t)bytes;
    kept->section = *section;
    kept->tail_used = block->tail_used;
    memcpy(kept->octets, section->fields, field_bytes);
    memcpy(kept->octets + field_bytes, section->memory, section->used);
    memcpy(kept->octets + field_bytes + section->used, block->tail, block->tail_used);
    session->kept = kept;
    return true;
}

/* ---- from a field section to an exchange ------------------------------------------------------------------------ */

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
    http2_connection_refuse(&session->protocol, id, HTTP2_PROTOCOL_ERROR, MALFORMED_WEIGHT, core->now_ms);
    http2_replies_drain(session);
}

/* Answered by ourselves, without an exchange. */
static void answer_refused(struct http2_session *session, const struct http2_event *event, const struct http_head *head,
                           uint16_t status, const char *text)
{
    struct io_core *core = session->all->core;
    struct http2_member *member = http2_session_join(session, event->stream_id, event->end_stream, -1);
    if (member == NULL) {
        http2_connection_refuse(&session->protocol, event->stream_id, HTTP2_REFUSED_STREAM, REFUSED_WEIGHT,
                                core->now_ms);
        http2_replies_drain(session);
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
    exchange->owner = &http2_exchange_owner;
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

void http2_input_submit(struct http2_session *session, struct http2_member *member)
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
    http2_replies_drain(session);
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
        http2_replies_drain(session);
        return;
    }
    const char *refusal =
        request_record_fill(core, session->connection, head, all->block.section.memory, at, exchange->record);
    struct http2_member *member =
        refusal == NULL ? http2_session_join(session, event->stream_id, event->end_stream, stated_length(head)) : NULL;
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
        http2_input_submit(session, member);
}

static void on_request(struct http2_session *session, const struct http2_event *event)
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

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static void wait_for_turn(struct http2_session *session)
{
    struct http2_sessions *all = session->all;
    if (session->waiting)
        return;
    session->waiting = true;
    session->waiting_next = NULL;
    if (all->waiting_last != NULL)
        all->waiting_last->waiting_next = session;
    else
        all->waiting_first = session;
    all->waiting_last = session;
}

/* ---- request bodies --------------------------------------------------------------------------------------------- */

static void credit(struct http2_session *session, struct http2_member *member, uint32_t octets)
{
    member->uncredited -= octets;
    http2_window_taken(session, member, octets);
    http2_replies_drain(session);
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
        http2_session_reset(session, member, HTTP2_INTERNAL_ERROR);
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
        http2_input_submit(session, member);
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

static void on_data(struct http2_session *session, const struct http2_event *event)
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
        http2_input_submit(session, member);
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
        http2_session_reset(session, member, HTTP2_CANCEL);
    else
        http2_replies_answer(session, member, 431, own_answer_text(431), exchange->is_head);
}

/* What trailers say is checked and goes no further: no interface has a place for it (docs/http2.md). Malformed ones
 * make the request malformed, which is an error of the stream (RFC 9113 8.1.1). */
static void on_trailers(struct http2_session *session, const struct http2_event *event)
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
    if (http2_connection_glitch(&session->protocol, MALFORMED_WEIGHT, all->core->now_ms))
        http2_session_reset(session, member, HTTP2_PROTOCOL_ERROR);
    http2_replies_drain(session);
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

static void on_window(struct http2_session *session, const struct http2_event *event)
{
    if (event->stream != NULL) {
        http2_replies_schedule((struct http2_member *)event->stream);
        return;
    }
    for (struct http2_member *member = session->first; member != NULL; member = member->next)
        http2_replies_schedule(member);
}

static void on_priority(struct http2_session *session, const struct http2_event *event)
{
    struct http2_member *member = (struct http2_member *)event->stream;
    if (member == NULL)
        return; /* RFC 9218 7.1 lets a server forget what it hears of streams to come */
    struct http2_priority priority = {.urgency = HTTP2_URGENCY_DEFAULT};
    http2_priority_parse(event->data, &priority);
    http2_schedule_change(&session->schedule, &member->turn, priority);
}

static void on_reset(struct http2_session *session, const struct http2_event *event)
{
    struct http2_member *member = (struct http2_member *)event->stream;
    metrics_add(session->all->core->metrics, METRIC_HTTP2_RESETS, 1);
    http2_connection_forget(&session->protocol, &member->protocol);
    http2_session_part(session, member, true);
}

/* Returns whether reading goes on. */
static bool on_event(struct http2_session *session, const struct http2_event *event)
{
    switch (event->kind) {
    case HTTP2_NEED_MORE:
    case HTTP2_DRAIN:
    case HTTP2_GOAWAY_RECEIVED:
        return true;
    case HTTP2_HEAD:
        if (event->stream == NULL)
            on_request(session, event);
        else
            on_trailers(session, event);
        return true;
    case HTTP2_DATA:
        on_data(session, event);
        return true;
    case HTTP2_RESET:
        on_reset(session, event);
        return true;
    case HTTP2_WRITABLE:
        on_window(session, event);
        return true;
    case HTTP2_PRIORITY:
        on_priority(session, event);
        return true;
    case HTTP2_FAILED:
        session->failed = true;
        return false;
    }
    return false;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* New streams of one turn are bounded, so that one connection does not keep the loop to itself. */
static bool turn_is_over(struct http2_session *session)
{
    const struct io_core *core = session->all->core;
    if (session->turn_us != core->now_us) {
        session->turn_us = core->now_us;
        session->turn_streams = 0;
    }
    return session->turn_streams >= HTTP2_TURN_STREAMS;
}

/* What a frame may need is looked for before it is read: a frame that was read cannot be put back. Only a head of
 * unusual size may find no block after that, and its client is told to try again. */
static bool may_read(struct http2_session *session)
{
    struct http2_sessions *all = session->all;
    if (session->failed || session->input_first == NULL || session->connection->state >= CONNECTION_LINGERING)
        return false;
    if (session->out.queue.bytes >= HTTP2_QUEUED_MAX)
        return false; /* it does not take our answers: on_sent() goes on */
    if (turn_is_over(session))
        all->turn_wanted = true;
    else if (dispatch_slot_free(all->dispatch) && buffer_pool_has_block(&all->core->buffers, LAYOUT_SMALL_BLOCK_BYTES))
        return true;
    wait_for_turn(session);
    return false;
}

/* One segment, or a part of it, up to the next event that needs something. */
static bool feed(struct http2_session *session)
{
    struct io_core *core = session->all->core;
    struct http2_block *block = block_of(session);
    bool goes_on = true;
    while (goes_on && may_read(session)) {
        if (!http2_connection_in_block(&session->protocol))
            fresh_block(session->all);
        const struct body_piece *segment = session->input_first;
        size_t consumed = 0;
        struct http2_event event =
            http2_connection_feed(&session->protocol, block, bytes_of(segment_data(session, segment), segment->length),
                                  core->now_ms, &consumed);
        goes_on = on_event(session, &event);
        http2_replies_drain(session);
        if (session->input_first != NULL) /* the connection may have been given up */
            take(session, (uint32_t)consumed);
    }
    if (!http2_connection_in_block(&session->protocol) || keep_block(session))
        return true;
    http2_connection_fail(&session->protocol, HTTP2_INTERNAL_ERROR, "out of memory");
    session->failed = true;
    http2_replies_drain(session);
    return false;
}

void http2_input_advance(struct http2_session *session)
{
    if (may_read(session) && !feed(session))
        http2_input_clear(session);
}
