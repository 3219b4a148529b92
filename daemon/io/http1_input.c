#include "daemon/io/http1_input.h"

#include "daemon/io/http1_requests.h"
#include "daemon/io/http1_starved.h"
#include "daemon/io/http1_uploads.h"

#include <stdlib.h>

enum { PARTIAL_BYTES_FIRST = 256 };

void http1_input_append(struct http1_session *session, struct loan loan, uint8_t *data, uint32_t length)
{
    if (!http1_segments_push(session, loan, data, length, false))
        http1_requests_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
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
        http1_segments_take(session, session->input_first->length);
    free_partial(session);
}

/* Moves octets of the first segment behind the partial head. */
static enum http1_step fill_partial(struct http1_session *session)
{
    if (session->input_first == NULL)
        return HTTP1_STEP_HUNGRY;
    uint32_t room = LAYOUT_LARGE_BLOCK_BYTES - session->partial_bytes;
    uint32_t length = session->input_first->length < room ? session->input_first->length : room;
    uint32_t wanted = session->partial_bytes + length;
    if ((wanted > session->partial_capacity && !grow_partial(session, wanted)) || !keep_fields(session)) {
        metrics_add(session->all->core->metrics, METRIC_MEMORY_REQUESTS, 1);
        http1_requests_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
        return HTTP1_STEP_ON;
    }
    memcpy(session->partial + session->partial_bytes, http1_segments_data(session, session->input_first), length);
    session->partial_bytes = wanted;
    http1_segments_take(session, length);
    return HTTP1_STEP_ON;
}

/* ---- from octets to a head -------------------------------------------------------------------------------------- */

static void after_head(struct http1_session *session)
{
    if (session->fault.status != 0)
        return;
    struct http_exchange *exchange = session->last;
    http1_uploads_open(session, exchange);
    /* With octets of the body at hand they go along in the same message. */
    if (!session->body_open || session->input_first == NULL)
        http1_requests_submit(session, exchange);
}

/* The head is complete in private memory: it, and what came behind it, move into the arena. */
static void move_partial(struct http1_session *session, uint32_t head_bytes)
{
    struct buffer_pool *buffers = &session->all->core->buffers;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    if (buffer_pool_stage(buffers, session->partial_bytes, &loan, &memory, &capacity) < 0) {
        http1_requests_fault(session, 503, "no staging block is free", CLOSE_OVERLOAD);
        return;
    }
    memcpy(memory, session->partial, session->partial_bytes);
    http1_requests_on_head(session, loan, session->partial, memory);
    uint32_t rest = session->partial_bytes - head_bytes;
    if (rest == 0)
        buffer_pool_drop(buffers, &loan);
    else if (!http1_segments_push(session, loan, memory + head_bytes, rest, true))
        http1_requests_fault(session, 503, "out of memory", CLOSE_OVERLOAD);
}

static enum http1_step head_step_partial(struct http1_session *session)
{
    enum http1_step filled = fill_partial(session);
    if (filled != HTTP1_STEP_ON || session->fault.status != 0)
        return filled;
    size_t consumed = 0;
    enum http1_progress progress = http1_request_feed(&session->parser, &session->all->core->head_limits,
                                                      session->partial, session->partial_bytes, &consumed);
    if (progress == HTTP1_NEED_MORE)
        return HTTP1_STEP_ON; /* the next segment, if there is one, goes behind it */
    if (progress == HTTP1_REJECTED)
        http1_requests_refuse(session, session->parser.status, session->parser.reason);
    else
        move_partial(session, (uint32_t)consumed);
    free_partial(session);
    after_head(session);
    return HTTP1_STEP_ON;
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
        http1_requests_on_head(session, loan, data, data);
        return;
    }
    memcpy(memory, data, length);
    http1_requests_on_head(session, block, data, memory);
    buffer_pool_drop(buffers, &block);
}

static enum http1_step head_step(struct http1_session *session)
{
    if (session->partial != NULL)
        return head_step_partial(session);
    struct body_piece *segment = session->input_first;
    if (segment == NULL)
        return HTTP1_STEP_HUNGRY;
    struct io_core *core = session->all->core;
    if (session->head_since == 0)
        session->head_since = core->now_ms;
    http1_request_init(&session->parser, core->scratch.request_fields, core->scratch.request_fields_max);
    uint8_t *data = http1_segments_data(session, segment);
    size_t consumed = 0;
    enum http1_progress progress =
        http1_request_feed(&session->parser, &core->head_limits, data, segment->length, &consumed);
    if (progress == HTTP1_NEED_MORE)
        return fill_partial(session); /* and the receive buffer goes back */
    if (progress == HTTP1_REJECTED) {
        http1_requests_refuse(session, session->parser.status, session->parser.reason);
        return HTTP1_STEP_ON;
    }
    place_head(session, segment->loan, data, (uint32_t)consumed);
    if (session->fault.status == 0)
        http1_segments_take(session, (uint32_t)consumed);
    after_head(session);
    return HTTP1_STEP_ON;
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
        http1_starved_wait_for_block(session);
        return false;
    }
    if (dispatch_slot_free(session->all->dispatch))
        return true;
    http1_starved_wait(session);
    return false;
}

static enum http1_step step_once(struct http1_session *session)
{
    if (session->fault.status != 0)
        return HTTP1_STEP_BLOCKED;
    if (session->body_open)
        return http1_uploads_step(session);
    if (session->input_first == NULL && session->partial == NULL)
        return HTTP1_STEP_HUNGRY;
    return may_begin(session) ? head_step(session) : HTTP1_STEP_BLOCKED;
}

void http1_input_advance(struct http1_session *session)
{
    while (step_once(session) == HTTP1_STEP_ON)
        continue;
}
