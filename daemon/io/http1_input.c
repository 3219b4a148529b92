#include "daemon/io/http1_session.h"

#include "daemon/base/log.h"
#include "daemon/io/http1_record.h"

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
        http1_session_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
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
    uint8_t *memory = realloc(session->partial, capacity);
    if (memory == NULL)
        return false;
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
    memcpy(session->partial_fields, session->parser.fields,
           session->parser.field_count * sizeof *session->partial_fields);
    session->parser.fields = session->partial_fields;
    return true;
}

static void free_partial(struct http1_session *session)
{
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
        http1_session_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
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
    exchange->owner = &http1_exchange_owner;
    exchange->session = session;
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
    return path != NULL && bytes_equal(session->parser.path, bytes_of_string(path));
}

/* RFC 9110 10.1.1: the client waits for a word before it sends its body. An application says it by reading; where we
 * read for it we say it ourselves. */
static void send_continue(struct http1_session *session, struct http_exchange *exchange)
{
    if (!exchange->wants_continue)
        return;
    exchange->wants_continue = false;
    if (output_queue_copy(&session->out.queue, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n")) == 0)
        connection_flush(session->all->connections, session->connection);
}

static bool buffered(const struct http1_session *session, const struct http_exchange *exchange)
{
    const struct io_core *core = session->all->core;
    if (!io_core_request_buffering(core))
        return false;
    return spool_is_open(&core->spool) || exchange->body_bytes < (uint64_t)core->settings.request_buffer_max;
}

static bool its_turn(const struct http1_session *session, const struct http_exchange *exchange)
{
    return exchange == session->first || session->unsafe_count == 0;
}

void http1_input_submit(struct http1_session *session, struct http_exchange *exchange)
{
    if (exchange->state != EXCHANGE_BUFFERING || exchange->local_status != 0 || !its_turn(session, exchange))
        return;
    if (!exchange->body_ended && buffered(session, exchange)) {
        send_continue(session, exchange);
        return;
    }
    if (!dispatch_submit(session->all->dispatch, exchange)) {
        exchange->local_status = 503;
        exchange->close_reason = CLOSE_OVERLOAD;
    }
}

static void describe(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http1_request *request = &session->parser;
    exchange->is_head = bytes_equal(request->method, BYTES_LITERAL("HEAD"));
    exchange->is_safe = is_safe_method(request->method) && request->body_kind == HTTP1_BODY_NONE;
    exchange->is_http_1_0 = request->version_minor == 0;
    exchange->keep_alive =
        request->keep_alive && !session->all->core->draining && session->all->core->settings.keepalive_ms > 0;
    exchange->te_trailers = request->te_trailers;
    exchange->wants_continue = request->expect_continue && request->body_kind != HTTP1_BODY_NONE;
    if (is_health_check(session))
        exchange->local_status = dispatch_serving(session->all->dispatch) ? 200 : 503;
}

/* A body of that length could not be held even if nobody else had one. */
static bool too_long_to_hold(const struct io_core *core, const struct http1_request *request)
{
    if (request->body_kind != HTTP1_BODY_LENGTH || !io_core_request_buffering(core) || !spool_is_open(&core->spool))
        return false;
    uint64_t room = (uint64_t)core->settings.request_buffer_max + spool_bytes_max(&core->spool);
    return request->content_length > room;
}

static void open_body(struct http1_session *session, struct http_exchange *exchange)
{
    const struct http1_request *request = &session->parser;
    struct io_core *core = session->all->core;
    http1_body_init(&session->body, request->body_kind, request->content_length);
    bool none = request->body_kind == HTTP1_BODY_NONE ||
                (request->body_kind == HTTP1_BODY_LENGTH && request->content_length == 0);
    if (none) {
        exchange->body_ended = true;
        exchange->wants_continue = false;
        return;
    }
    session->body_open = true;
    session->body_held = false;
    session->body_exchange = exchange;
    session->discarded = 0;
    session->body_since = session->body_progress = core->now_ms;
    session->body_mark_bytes = 0;
    if (session->input_bytes > 0)
        exchange->wants_continue = false; /* it did not wait */
    if (exchange->local_status == 0 && too_long_to_hold(core, request)) {
        exchange->local_status = 413;
        exchange->close_reason = CLOSE_REQUEST_REJECTED;
        exchange->keep_alive = false;
        session->last_request = true;
    }
}

/* The parser is done with a head at `from`, which stands at `at` in the arena, in `loan`'s buffer. */
static void on_head(struct http1_session *session, struct loan loan, const uint8_t *from, const uint8_t *at)
{
    struct io_core *core = session->all->core;
    struct http_exchange *exchange = dispatch_exchange(session->all->dispatch);
    if (exchange == NULL) {
        http1_session_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
        return;
    }
    metrics_add(core->metrics, METRIC_REQUESTS, 1);
    session->connection->requests++;
    session->head_since = 0;
    const char *refusal = http1_record_fill(core, session->connection, &session->parser, from, at, exchange->record);
    if (refusal != NULL) {
        dispatch_let_go(session->all->dispatch, exchange, true);
        http1_session_fault(session, 400, refusal, CLOSE_REQUEST_REJECTED);
        return;
    }
    buffer_pool_hold(&core->buffers, loan);
    exchange->head_loan = loan;
    describe(session, exchange);
    append_exchange(session, exchange);
    if (!exchange->keep_alive)
        session->last_request = true;
}

static void reject(struct http1_session *session)
{
    metrics_add(session->all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
    http1_output_log_refused(session, session->parser.status, true);
    http1_session_fault(session, session->parser.status, session->parser.reason, CLOSE_REQUEST_REJECTED);
}

static void begin_parser(struct http1_session *session)
{
    const struct settings *settings = &session->all->core->settings;
    http1_request_init(&session->parser, session->all->fields, (uint32_t)settings->limit_request_fields);
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
    begin_parser(session);
}

/* The head is complete in private memory: it, and what came behind it, move into the arena. */
static void move_partial(struct http1_session *session, uint32_t head_bytes)
{
    struct buffer_pool *buffers = &session->all->core->buffers;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    if (buffer_pool_stage(buffers, session->partial_bytes, &loan, &memory, &capacity) < 0) {
        http1_session_fault(session, 503, "no staging block is free", CLOSE_OVERLOAD);
        return;
    }
    memcpy(memory, session->partial, session->partial_bytes);
    on_head(session, loan, session->partial, memory);
    uint32_t rest = session->partial_bytes - head_bytes;
    if (rest == 0)
        buffer_pool_drop(buffers, &loan);
    else if (!push_segment(session, loan, memory + head_bytes, rest, true))
        http1_session_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
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
        reject(session);
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
    if (session->head_since == 0)
        session->head_since = session->all->core->now_ms;
    uint8_t *data = segment_data(session, segment);
    size_t consumed = 0;
    enum http1_progress progress =
        http1_request_feed(&session->parser, &session->all->core->head_limits, data, segment->length, &consumed);
    if (progress == HTTP1_NEED_MORE)
        return fill_partial(session); /* and the receive buffer goes back */
    if (progress == HTTP1_REJECTED) {
        reject(session);
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
    if (exchange->state == EXCHANGE_BUFFERING)
        http1_input_submit(session, exchange);
    else
        dispatch_body(session->all->dispatch, exchange);
}

static void body_refused(struct http1_session *session)
{
    struct http_exchange *exchange = session->body_exchange;
    metrics_add(session->all->core->metrics, METRIC_REQUESTS_REJECTED, 1);
    session->body_open = false;
    session->body_exchange = NULL;
    session->last_request = true;
    if (exchange == NULL)
        return;
    exchange->keep_alive = false;
    exchange->body_failed = true;
    if (!exchange->head_sent) /* else the application ends what it has begun */
        exchange->local_status = session->body.status;
    exchange->close_reason = CLOSE_REQUEST_REJECTED;
    dispatch_body(session->all->dispatch, exchange);
}

static bool unwanted(const struct http_exchange *exchange)
{
    return exchange == NULL || exchange->local_status != 0;
}

/* Whether more body may be read for the exchange now. */
static bool body_room(const struct http1_session *session)
{
    const struct http_exchange *exchange = session->body_exchange;
    const struct io_core *core = session->all->core;
    if (unwanted(exchange))
        return true;
    if (exchange->state != EXCHANGE_BUFFERING)
        return exchange->spooled.bytes == 0 && exchange->unconsumed_bytes < HTTP1_READ_AHEAD_BYTES &&
               exchange->piece_count < HTTP1_BODY_PIECES_MAX;
    return io_core_request_buffering(core) ? buffered(session, exchange)
                                           : exchange->body_bytes < HTTP1_READ_AHEAD_BYTES;
}

/* Whether the octets at hand wait in the file and not in memory: behind others that do, beyond request_buffer_max, or
 * because memory is scarce. The end of a body stays, since the request goes on its way now. */
static bool goes_to_file(const struct http1_session *session, const struct http_exchange *exchange, size_t length)
{
    const struct io_core *core = session->all->core;
    if (exchange->spooled.bytes > 0)
        return true;
    bool held = exchange->state == EXCHANGE_BUFFERING && io_core_request_buffering(core) && spool_is_open(&core->spool);
    bool last = session->body.kind == HTTP1_BODY_LENGTH && session->body.remaining == 0;
    if (!held || last)
        return false;
    return exchange->body_bytes + length > (uint64_t)core->settings.request_buffer_max ||
           buffer_pool_scarce(&core->buffers, session->input_first->loan.kind) ||
           buffer_pool_scarce(&core->buffers, LOAN_STAGING);
}

static int keep(struct http1_session *session, struct http_exchange *exchange, const uint8_t *data, size_t length)
{
    struct io_core *core = session->all->core;
    if (goes_to_file(session, exchange, length))
        return http_exchange_body_spool(core, exchange, bytes_of(data, length));
    return http_exchange_body_append(core, exchange, session->input_first->loan, data, (uint32_t)length);
}

/* The body cannot be kept: 413 when it alone is more than the file may hold, else the server is busy. */
static void body_lost(struct http1_session *session, struct http_exchange *exchange, size_t length)
{
    const struct spool *spool = &session->all->core->spool;
    bool too_long = spool_is_open(spool) && exchange->spooled.bytes + length > spool_bytes_max(spool);
    session->last_request = true;
    session->body_open = false;
    session->body_exchange = NULL;
    exchange->body_failed = true;
    exchange->keep_alive = false;
    exchange->close_reason = CLOSE_OVERLOAD;
    if (exchange->head_sent)
        exchange->broken = exchange->response_ended = true;
    else
        exchange->local_status = too_long && exchange->spooled.bytes > 0 ? 413 : 503;
    dispatch_body(session->all->dispatch, exchange);
}

static enum step deliver(struct http1_session *session, const uint8_t *data, size_t length)
{
    struct http_exchange *exchange = session->body_exchange;
    if (unwanted(exchange)) {
        session->discarded += (uint32_t)length;
        return STEP_ON;
    }
    if (keep(session, exchange, data, length) < 0) {
        body_lost(session, exchange, length);
        return STEP_BLOCKED;
    }
    metrics_add(session->all->core->metrics, METRIC_REQUEST_BODY_BYTES, length);
    return STEP_ON;
}

/* The client was not read from: it could not send, however fast it is. */
static void restart_rate(struct http1_session *session)
{
    session->body_held = false;
    session->body_since = session->all->core->now_ms;
    session->body_mark_bytes = session->body.received;
}

static enum step body_step(struct http1_session *session)
{
    struct body_piece *segment = session->input_first;
    if (segment == NULL)
        return STEP_HUNGRY;
    if (!body_room(session)) {
        session->body_held = true;
        return STEP_BLOCKED;
    }
    if (!unwanted(session->body_exchange) &&
        !http_exchange_body_has_place(session->all->core, session->body_exchange, segment->length)) {
        session->body_held = true;
        starve_for_block(session);
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
        body_refused(session);
        return STEP_BLOCKED;
    }
    if (decoded > 0 && deliver(session, data + offset, decoded) == STEP_BLOCKED)
        return STEP_BLOCKED;
    take(session, (uint32_t)consumed);
    if (progress == HTTP1_BODY_END) {
        body_ended(session);
    } else if (!unwanted(session->body_exchange)) {
        if (session->body_exchange->state == EXCHANGE_BUFFERING)
            http1_input_submit(session, session->body_exchange);
        else
            dispatch_body(session->all->dispatch, session->body_exchange);
    }
    return STEP_ON;
}

/* An application reads a body of which a part waits in the file: the next of it comes back into memory, less of it at
 * a time while memory is scarce. */
static void read_back(struct http1_session *session)
{
    struct http_exchange *exchange = session->first;
    struct io_core *core = session->all->core;
    if (exchange == NULL || exchange->spooled.bytes == 0 || !exchange->app_reads || exchange->state != EXCHANGE_QUEUED)
        return;
    uint64_t ahead = buffer_pool_scarce(&core->buffers, LOAN_STAGING) ? 1 : HTTP1_READ_AHEAD_BYTES;
    int r = 0;
    while (r == 0 && exchange->spooled.bytes > 0 && exchange->unconsumed_bytes < ahead)
        r = http_exchange_body_unspool(core, exchange);
    if (r == -ENOBUFS) {
        starve_for_block(session);
    } else if (r < 0) {
        log_error("a part of a request body could not be read back: %s", strerror(-r));
        http_exchange_body_forget(core, exchange);
        exchange->body_failed = true;
    }
    dispatch_body(session->all->dispatch, exchange);
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
    read_back(session);
    while (step_once(session) == STEP_ON)
        continue;
}
