#include "daemon/io/http1_input.h"

#include "daemon/base/log.h"
#include "daemon/io/early_start.h"
#include "daemon/io/exchange_log.h"
#include "daemon/io/request_body.h"
#include "daemon/io/request_record.h"
#include "daemon/io/tls_request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { PARTIAL_BYTES_FIRST = 256 };

/* How one step of parsing ended. */
enum step {
    STEP_ON,      /* something was done: look again */
    STEP_HUNGRY,  /* octets are missing */
    STEP_BLOCKED, /* the next step waits for somebody else */
};

void http1_input_fault(struct http1_session *session, uint16_t status, const char *reason, enum close_reason close)
{
    if (session->fault.status != 0)
        return;
    session->fault = (struct http1_fault){.status = status, .reason = reason, .close_reason = close};
    session->last_request = true;
}

/* ---- segments --------------------------------------------------------------------------------------------------- */

static uint8_t *segment_data(const struct http1_session *session, const struct body_piece *segment)
{
    return session->all->core->inbound.base + segment->offset;
}

static bool push_segment(struct http1_session *session, struct loan loan, const uint8_t *data, uint32_t length,
                         bool front)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = slab_borrow(&core->bodies);
    if (segment == NULL) {
        buffer_pool_drop(&core->buffers, &loan);
        return false;
    }
    *segment = (struct body_piece){.loan = loan, .offset = buffer_pool_offset(&core->buffers, data), .length = length};
    if (front) {
        segment->next = session->input_first;
        session->input_first = segment;
        if (session->input_last == NULL)
            session->input_last = segment;
    } else {
        if (session->input_last != NULL)
            session->input_last->next = segment;
        else
            session->input_first = segment;
        session->input_last = segment;
    }
    session->input_bytes += length;
    session->input_segments++;
    return true;
}

void http1_input_append(struct http1_session *session, struct loan loan, uint8_t *data, uint32_t length)
{
    if (!push_segment(session, loan, data, length, false))
        http1_input_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
}

static void take(struct http1_session *session, uint32_t length)
{
    struct io_core *core = session->all->core;
    struct body_piece *segment = session->input_first;
    assert(segment != NULL && length <= segment->length);
    segment->offset += length;
    segment->length -= length;
    session->input_bytes -= length;
    if (segment->length > 0)
        return;
    session->input_segments--;
    session->input_first = segment->next;
    if (session->input_first == NULL)
        session->input_last = NULL;
    buffer_pool_drop(&core->buffers, &segment->loan);
    slab_give_back(&core->bodies, segment);
}

/* ---- waiting for a slot or a staging block ---------------------------------------------------------------------- */

static void starve(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    if (session->starved)
        return;
    session->starved = true;
    session->starved_next = NULL;
    if (all->starved_last != NULL)
        all->starved_last->starved_next = session;
    else
        all->starved_first = session;
    all->starved_last = session;
}

static void starve_for_block(struct http1_session *session)
{
    starve(session);
    session->all->block_wanted = true;
}

void http1_input_unstarve(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    struct http1_session **at = &all->starved_first;
    struct http1_session *previous = NULL;
    if (!session->starved)
        return;
    while (*at != session) {
        previous = *at;
        at = &(*at)->starved_next;
    }
    *at = session->starved_next;
    if (all->starved_last == session)
        all->starved_last = previous;
    session->starved = false;
}

/* ---- a head that is cut across buffers --------------------------------------------------------------------------
 *
 * It gathers in private memory, as large as what has come: a thousand clients that send an octet a minute cost their
 * octets, and not a block of the arena each. When it is complete it moves into a staging block.
 */

static bool grow_partial(struct http1_session *session, uint32_t wanted)
{
    uint32_t capacity = session->partial_capacity == 0 ? PARTIAL_BYTES_FIRST : session->partial_capacity;
    while (capacity < wanted)
        capacity *= 2;
    if (capacity > LAYOUT_LARGE_BLOCK_BYTES)
        capacity = LAYOUT_LARGE_BLOCK_BYTES;
    if (session->all->core->memory.step == MEMORY_EXHAUSTED)
        return false;
    uint8_t *memory = realloc(session->partial, capacity);
    if (memory == NULL)
        return false;
    memory_account_charge(&session->all->core->memory, capacity - session->partial_capacity);
    session->partial = memory;
    session->partial_capacity = capacity;
    return true;
}

/* The parser has cut some fields already; between two feeds the shared array is other sessions'. */
static bool keep_fields(struct http1_session *session)
{
    if (session->partial_fields != NULL)
        return true;
    const size_t capacity = session->parser.fields_capacity;
    session->partial_fields = calloc(capacity, sizeof *session->partial_fields);
    if (session->partial_fields == NULL)
        return false;
    memory_account_charge(&session->all->core->memory, capacity * sizeof *session->partial_fields);
    struct http_head *head = &session->parser.head;
    memcpy(session->partial_fields, head->fields, head->field_count * sizeof *head->fields);
    head->fields = session->partial_fields;
    return true;
}

static void free_partial(struct http1_session *session)
{
    struct memory_account *account = &session->all->core->memory;
    memory_account_credit(account, session->partial_capacity);
    if (session->partial_fields != NULL)
        memory_account_credit(account, session->parser.fields_capacity * sizeof *session->partial_fields);
    free(session->partial);
    free(session->partial_fields);
    session->partial = NULL;
    session->partial_fields = NULL;
    session->partial_bytes = session->partial_capacity = 0;
}

void http1_input_clear(struct http1_session *session)
{
    while (session->input_first != NULL)
        take(session, session->input_first->length);
    free_partial(session);
}

/* Moves octets of the first segment behind the partial head. */
static enum step fill_partial(struct http1_session *session)
{
    if (session->input_first == NULL)
        return STEP_HUNGRY;
    uint32_t room = LAYOUT_LARGE_BLOCK_BYTES - session->partial_bytes;
    uint32_t length = session->input_first->length < room ? session->input_first->length : room;
    uint32_t wanted = session->partial_bytes + length;
    if ((wanted > session->partial_capacity && !grow_partial(session, wanted)) || !keep_fields(session)) {
        metrics_add(session->all->core->metrics, METRIC_MEMORY_REQUESTS, 1);
        http1_input_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
        return STEP_ON;
    }
    memcpy(session->partial + session->partial_bytes, segment_data(session, session->input_first), length);
    session->partial_bytes = wanted;
    take(session, length);
    return STEP_ON;
}

/* ---- from head to exchange -------------------------------------------------------------------------------------- */

static bool is_safe_method(struct bytes method)
{
    return bytes_equal(method, BYTES_LITERAL("GET")) || bytes_equal(method, BYTES_LITERAL("HEAD")) ||
           bytes_equal(method, BYTES_LITERAL("OPTIONS")) || bytes_equal(method, BYTES_LITERAL("TRACE"));
}

static void append_exchange(struct http1_session *session, struct http_exchange *exchange)
{
    exchange->owner = &session->all->owner;
    exchange->session = session;
    exchange->lane = &session->lane;
    exchange->client_ended = session->client_ended;
    if (session->last != NULL)
        session->last->next = exchange;
    else
        session->first = exchange;
    session->last = exchange;
    session->count++;
    session->unsafe_count += !exchange->is_safe;
}

static bool is_health_check(const struct http1_session *session)
{
    const char *path = session->all->core->settings.health_path;
    return path != NULL && bytes_equal(session->parser.head.path, bytes_of_string(path));
}

void http1_input_continue(struct http1_session *session, struct http_exchange *exchange)
{
    if (!exchange->wants_continue)
        return;
    exchange->wants_continue = false;
    if (output_queue_copy(&session->out.queue, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n")) == 0)
        connection_flush(session->all->connections, session->connection);
}

static bool its_turn(const struct http1_session *session, const struct http_exchange *exchange)
{
    return exchange == session->first || session->unsafe_count == 0;
}

void http1_input_submit(struct http1_session *session, struct http_exchange *exchange)
{
    if (exchange->state != EXCHANGE_BUFFERING || exchange->local_status != 0 || !its_turn(session, exchange))
        return;
    if (!exchange->body_ended && request_body_held(session->all->core, exchange) &&
        !early_start_try(session->all->dispatch, exchange)) {
        http1_input_continue(session, exchange);
        return;
    }
    if (!dispatch_submit(session->all->dispatch, exchange)) {
        exchange->local_status = 503;
        exchange->close_reason = CLOSE_OVERLOAD;
    }
}

/* Who asks whether the server is there is told so at any time; the others come again. */
static void refuse_exhausted(struct http1_session *session, struct http_exchange *exchange)
{
    metrics_add(session->all->core->metrics, METRIC_MEMORY_REQUESTS, 1);
    exchange->local_status = 503;
    exchange->close_reason = CLOSE_OVERLOAD;
    exchange->keep_alive = false;
}

static void describe(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http_head *head = &session->parser.head;
    const struct io_core *core = session->all->core;
    exchange->is_head = bytes_equal(head->method, BYTES_LITERAL("HEAD"));
    exchange->is_safe = is_safe_method(head->method) && head->body_kind == HTTP_BODY_NONE;
    exchange->is_http_1_0 = head->version == HTTP_VERSION_1_0;
    exchange->keep_alive =
        session->parser.keep_alive && !io_core_wants_rid_of_clients(core) && core->settings.keepalive_ms > 0;
    exchange->te_trailers = head->te_trailers;
    exchange->wants_continue = head->expect_continue && head->body_kind != HTTP_BODY_NONE;
    if (is_health_check(session))
        exchange->local_status = dispatch_serving(session->all->dispatch) ? 200 : 503;
    else if (core->memory.step == MEMORY_EXHAUSTED)
        refuse_exhausted(session, exchange);
}

static void open_body(struct http1_session *session, struct http_exchange *exchange)
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

/* Nothing is asked of an application; what there is of a body is not waited for. */
static void judge_tls(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http_head *head = &session->parser.head;
    uint16_t status = tls_request_prepare(session->all->core, session->connection, head, exchange);
    if (status == 0 || exchange->local_status != 0)
        return;
    exchange->local_status = status;
    if (head->body_kind != HTTP_BODY_NONE) {
        exchange->close_reason = CLOSE_REQUEST_REJECTED;
        exchange->keep_alive = false;
    }
}

/* The parser has a head, or a part of one, that is not served. Its octets are still there. */
static void refuse(struct http1_session *session, uint16_t status, const char *reason)
{
    struct io_core *core = session->all->core;
    metrics_add(core->metrics, METRIC_REQUESTS_REJECTED, 1);
    exchange_log_refused(core, session->connection, &session->parser.head, session->head_since, status);
    http1_input_fault(session, status, reason, CLOSE_REQUEST_REJECTED);
}

/* The parser is done with a head at `from`, which stands at `at` in the arena, in `loan`'s buffer. */
static void on_head(struct http1_session *session, struct loan loan, const uint8_t *from, const uint8_t *at)
{
    struct io_core *core = session->all->core;
    struct http_exchange *exchange = dispatch_exchange(session->all->dispatch);
    if (exchange == NULL) {
        http1_input_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
        return;
    }
    metrics_add(core->metrics, METRIC_REQUESTS, 1);
    session->connection->requests++;
    const char *refusal =
        request_record_fill(core, session->connection, &session->parser.head, from, at, exchange->record);
    if (refusal != NULL) {
        dispatch_let_go(session->all->dispatch, exchange, true);
        refuse(session, 400, refusal);
        return;
    }
    session->head_since = 0;
    buffer_pool_hold(&core->buffers, loan);
    exchange->head_loan = loan;
    describe(session, exchange);
    judge_tls(session, exchange);
    append_exchange(session, exchange);
    if (!exchange->keep_alive)
        session->last_request = true;
}

static void after_head(struct http1_session *session)
{
    if (session->fault.status != 0)
        return;
    struct http_exchange *exchange = session->last;
    open_body(session, exchange);
    /* With octets of the body at hand they go along in the same message. */
    if (!session->body_open || session->input_first == NULL)
        http1_input_submit(session, exchange);
}

/* The head is complete in private memory: it, and what came behind it, move into the arena. */
static void move_partial(struct http1_session *session, uint32_t head_bytes)
{
    struct buffer_pool *buffers = &session->all->core->buffers;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    if (buffer_pool_stage(buffers, session->partial_bytes, &loan, &memory, &capacity) < 0) {
        http1_input_fault(session, 503, "no staging block is free", CLOSE_OVERLOAD);
        return;
    }
    memcpy(memory, session->partial, session->partial_bytes);
    on_head(session, loan, session->partial, memory);
    uint32_t rest = session->partial_bytes - head_bytes;
    if (rest == 0)
        buffer_pool_drop(buffers, &loan);
    else if (!push_segment(session, loan, memory + head_bytes, rest, true))
        http1_input_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
}

static enum step head_step_partial(struct http1_session *session)
{
    enum step filled = fill_partial(session);
    if (filled != STEP_ON || session->fault.status != 0)
        return filled;
    size_t consumed = 0;
    enum http1_progress progress = http1_request_feed(&session->parser, &session->all->core->head_limits,
                                                      session->partial, session->partial_bytes, &consumed);
    if (progress == HTTP1_NEED_MORE)
        return STEP_ON; /* the next segment, if there is one, goes behind it */
    if (progress == HTTP1_REJECTED)
        refuse(session, session->parser.status, session->parser.reason);
    else
        move_partial(session, (uint32_t)consumed);
    free_partial(session);
    after_head(session);
    return STEP_ON;
}

/* A head keeps its buffer for as long as the request lasts. Where receive buffers are scarce it moves into a block,
 * so that requests which wait, for their bodies or for an application, do not keep everybody else from being heard. */
static void place_head(struct http1_session *session, struct loan loan, const uint8_t *data, uint32_t length)
{
    struct buffer_pool *buffers = &session->all->core->buffers;
    struct loan block;
    uint8_t *memory;
    uint32_t capacity;
    if (!buffer_pool_scarce(buffers, loan.kind) || buffer_pool_scarce(buffers, LOAN_STAGING) ||
        buffer_pool_stage(buffers, length, &block, &memory, &capacity) < 0) {
        on_head(session, loan, data, data);
        return;
    }
    memcpy(memory, data, length);
    on_head(session, block, data, memory);
    buffer_pool_drop(buffers, &block);
}

static enum step head_step(struct http1_session *session)
{
    if (session->partial != NULL)
        return head_step_partial(session);
    struct body_piece *segment = session->input_first;
    if (segment == NULL)
        return STEP_HUNGRY;
    struct io_core *core = session->all->core;
    if (session->head_since == 0)
        session->head_since = core->now_ms;
    http1_request_init(&session->parser, core->scratch.request_fields, core->scratch.request_fields_max);
    uint8_t *data = segment_data(session, segment);
    size_t consumed = 0;
    enum http1_progress progress =
        http1_request_feed(&session->parser, &core->head_limits, data, segment->length, &consumed);
    if (progress == HTTP1_NEED_MORE)
        return fill_partial(session); /* and the receive buffer goes back */
    if (progress == HTTP1_REJECTED) {
        refuse(session, session->parser.status, session->parser.reason);
        return STEP_ON;
    }
    place_head(session, segment->loan, data, (uint32_t)consumed);
    if (session->fault.status == 0)
        take(session, (uint32_t)consumed);
    after_head(session);
    return STEP_ON;
}

/* ---- body ------------------------------------------------------------------------------------------------------- */

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
        http1_input_submit(session, exchange);
    else
        dispatch_body(session->all->dispatch, exchange);
}

void http1_input_end_body(struct http1_session *session, uint16_t status, enum close_reason close)
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
    http1_input_end_body(session, request_body_lost_status(session->all->core, exchange), CLOSE_OVERLOAD);
}

static enum step deliver(struct http1_session *session, const uint8_t *data, size_t length)
{
    struct http_exchange *exchange = session->body_exchange;
    struct io_core *core = session->all->core;
    if (request_body_unwanted(exchange)) {
        session->discarded += (uint32_t)length;
        return STEP_ON;
    }
    bool is_last = session->body.kind == HTTP_BODY_LENGTH && session->body.remaining == 0;
    if (request_body_keep(core, exchange, session->input_first->loan, data, (uint32_t)length, is_last) < 0) {
        body_lost(session, exchange);
        return STEP_BLOCKED;
    }
    metrics_add(core->metrics, METRIC_REQUEST_BODY_BYTES, length);
    return STEP_ON;
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
    starve_for_block(session);
    return false;
}

static void body_went_on(struct http1_session *session)
{
    struct http_exchange *exchange = session->body_exchange;
    if (request_body_unwanted(exchange))
        return;
    if (exchange->state == EXCHANGE_BUFFERING)
        http1_input_submit(session, exchange);
    else
        dispatch_body(session->all->dispatch, exchange);
}

static enum step body_step(struct http1_session *session)
{
    struct body_piece *segment = session->input_first;
    if (segment == NULL)
        return STEP_HUNGRY;
    if (!may_read_body(session)) {
        session->body_held = true;
        return STEP_BLOCKED;
    }
    if (session->body_held)
        restart_rate(session);
    uint8_t *data = segment_data(session, segment);
    size_t consumed = 0;
    size_t offset = 0;
    size_t decoded = 0;
    enum http1_body_progress progress = http1_body_feed(&session->body, &session->all->core->body_limits, data,
                                                        segment->length, &consumed, &offset, &decoded);
    session->body_progress = session->all->core->now_ms;
    if (progress == HTTP1_BODY_REJECTED) {
        metrics_add(session->all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
        http1_input_end_body(session, session->body.status, CLOSE_REQUEST_REJECTED);
        return STEP_BLOCKED;
    }
    if (decoded > 0 && deliver(session, data + offset, decoded) == STEP_BLOCKED)
        return STEP_BLOCKED;
    take(session, (uint32_t)consumed);
    if (progress == HTTP1_BODY_END)
        body_ended(session);
    else
        body_went_on(session);
    return STEP_ON;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* Whether a head that is complete with the next segment could move into the arena. */
static bool partial_has_block(const struct http1_session *session)
{
    uint32_t more = session->input_first != NULL ? session->input_first->length : 0;
    return buffer_pool_has_block(&session->all->core->buffers, session->partial_bytes + more);
}

static bool may_begin(struct http1_session *session)
{
    if (session->last_request || session->count >= (uint32_t)session->all->core->settings.pipeline_max)
        return false;
    if (session->count > 0 && session->unsafe_count > 0)
        return false;
    if (session->partial != NULL && !partial_has_block(session)) {
        starve_for_block(session);
        return false;
    }
    if (dispatch_slot_free(session->all->dispatch))
        return true;
    starve(session);
    return false;
}

static enum step step_once(struct http1_session *session)
{
    if (session->fault.status != 0)
        return STEP_BLOCKED;
    if (session->body_open)
        return body_step(session);
    if (session->input_first == NULL && session->partial == NULL)
        return STEP_HUNGRY;
    return may_begin(session) ? head_step(session) : STEP_BLOCKED;
}

void http1_input_advance(struct http1_session *session)
{
    while (step_once(session) == STEP_ON)
        continue;
}
