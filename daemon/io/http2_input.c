#include "daemon/io/http2_session.h"

#include <errno.h>
#include <stdlib.h>

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
    http2_streams_part(session, member, true);
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
            http2_requests_begin(session, event);
        else
            http2_uploads_end(session, event);
        return true;
    case HTTP2_DATA:
        http2_uploads_take(session, event);
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
        http2_streams_say(session);
        if (session->input_first != NULL) /* the connection may have been given up */
            take(session, (uint32_t)consumed);
    }
    if (!http2_connection_in_block(&session->protocol) || keep_block(session))
        return true;
    http2_connection_fail(&session->protocol, HTTP2_INTERNAL_ERROR, "out of memory");
    session->failed = true;
    http2_streams_say(session);
    return false;
}

void http2_input_advance(struct http2_session *session)
{
    if (may_read(session) && !feed(session))
        http2_input_clear(session);
}
