#include "daemon/io/dispatch_state.h"

#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/file_handover.h"

/* ---- messages --------------------------------------------------------------------------------------------------- */

static struct message message_for(const struct http_exchange *exchange, enum message_kind kind)
{
    return (struct message){.kind = (uint8_t)kind, .slot = exchange->slot, .generation = exchange->generation};
}

static bool push(struct app_link *link, const struct message *message)
{
    if (!spsc_push(&link->requests, message))
        return false;
    link->unflushed = true;
    return true;
}

/* Puts the next unsent piece, and the end if nothing follows it, into a message. */
static void attach_piece(struct http_exchange *exchange, struct message *message)
{
    struct body_piece *piece = exchange->unsent;
    if (piece != NULL) {
        message->body_offset = body_piece_is_in_file(piece) ? piece->run.first : piece->offset;
        message->body_length = piece->length;
        message->flags |= body_piece_is_in_file(piece) ? MESSAGE_FILE : 0;
    }
    bool last = piece == NULL || piece->next == NULL;
    if (last && (exchange->body_ended || exchange->body_failed))
        message->flags |= MESSAGE_END | (exchange->body_failed ? MESSAGE_FAILED : 0);
}

static void piece_sent(struct http_exchange *exchange, const struct message *message)
{
    if (exchange->unsent != NULL)
        exchange->unsent = exchange->unsent->next;
    if ((message->flags & MESSAGE_END) != 0)
        exchange->end_sent = true;
}

static void retry_later(struct dispatch *dispatch, struct http_exchange *exchange)
{
    exchange->retry = true;
    dispatch->apps[exchange->app].retry = true;
}

static void send_body(struct dispatch *dispatch, struct http_exchange *exchange)
{
    struct app_link *link = &dispatch->apps[exchange->app];
    while (!exchange->end_sent && (exchange->unsent != NULL || exchange->body_ended || exchange->body_failed)) {
        struct message message = message_for(exchange, MESSAGE_BODY);
        attach_piece(exchange, &message);
        if (!push(link, &message)) {
            retry_later(dispatch, exchange);
            return;
        }
        piece_sent(exchange, &message);
    }
}

void dispatch_send_cancel(struct dispatch *dispatch, struct http_exchange *exchange)
{
    struct message message = message_for(exchange, MESSAGE_CANCEL);
    message.status = exchange->timed_out ? MESSAGE_CANCEL_TIMEOUT : MESSAGE_CANCEL_GONE;
    exchange->cancel_due = !push(&dispatch->apps[exchange->app], &message);
    if (exchange->cancel_due)
        retry_later(dispatch, exchange);
}

static void send_ended(struct dispatch *dispatch, struct http_exchange *exchange)
{
    struct message message = message_for(exchange, MESSAGE_CANCEL);
    message.status = MESSAGE_CANCEL_ENDED;
    exchange->ended_due = !push(&dispatch->apps[exchange->app], &message);
    if (exchange->ended_due)
        retry_later(dispatch, exchange);
}

void dispatch_body(struct dispatch *dispatch, struct http_exchange *exchange)
{
    if (exchange->state == EXCHANGE_QUEUED)
        send_body(dispatch, exchange);
}

void dispatch_client_ended(struct dispatch *dispatch, struct http_exchange *exchange)
{
    if (exchange->client_ended)
        return;
    exchange->client_ended = true;
    if (exchange->state == EXCHANGE_QUEUED)
        send_ended(dispatch, exchange);
}

/* ---- the file of bodies ----------------------------------------------------------------------------------------- */

bool dispatch_send_spool(struct dispatch *dispatch, struct app_link *link)
{
    const struct spool *spool = &dispatch->core->spool;
    if (!link->has_spool && spool_is_open(spool))
        link->has_spool = file_handover_send(link->files, &(struct file_handover){}, spool->reader_fd) == 0;
    return link->has_spool;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void bind_lane(const struct http_exchange *exchange)
{
    struct dispatch_lane *lane = exchange->lane;
    if (!lane->in_order)
        return;
    lane->held = lane->app == exchange->app ? lane->held + 1 : 1;
    lane->app = exchange->app;
}

static void unbind_lane(const struct http_exchange *exchange)
{
    struct dispatch_lane *lane = exchange->lane;
    if (lane->in_order && lane->app == exchange->app)
        lane->held--;
}

void dispatch_send_orphan(struct dispatch *dispatch, struct http_exchange *exchange)
{
    unbind_lane(exchange);
    exchange->lane = &dispatch->common_lane;
}

bool dispatch_send_request(struct dispatch *dispatch, struct http_exchange *exchange, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    if (exchange->spooled_bytes > 0 && !dispatch_send_spool(dispatch, link))
        return false;
    uint32_t generation = (dispatch->slot_generations[exchange->slot] + 1) & SLOT_GENERATION_MASK;
    dispatch->slot_generations[exchange->slot] = generation;
    exchange->generation = generation;
    exchange->record->generation = generation;
    exchange->unsent = exchange->first;
    exchange->end_sent = false;

    struct message message = message_for(exchange, MESSAGE_REQUEST);
    attach_piece(exchange, &message);
    _Atomic uint32_t *claim = &link->pair->claims[exchange->slot];
    slot_claim_set(claim, generation, SLOT_QUEUED);
    if (!push(link, &message)) {
        slot_claim_set(claim, generation, SLOT_FREE);
        return false;
    }
    piece_sent(exchange, &message);
    exchange->state = EXCHANGE_QUEUED;
    exchange->app = app;
    exchange->app_pid = link->pid;
    exchange->begun_seen_ms = 0;
    exchange->touched = false;
    exchange->published_ms = dispatch->core->now_ms;
    exchange_list_append(&link->held, exchange);
    bind_lane(exchange);
    dispatch_apps_count(dispatch, app, 1);
    send_body(dispatch, exchange);
    if (exchange->client_ended)
        send_ended(dispatch, exchange);
    return true;
}

void dispatch_send_leave(struct dispatch *dispatch, struct http_exchange *exchange)
{
    unbind_lane(exchange);
    exchange_list_remove(&dispatch->apps[exchange->app].held, exchange);
    dispatch_apps_count(dispatch, exchange->app, -1);
}

/* Takes an exchange back that its app has not begun. */
bool dispatch_send_recall(struct dispatch *dispatch, struct http_exchange *exchange)
{
    _Atomic uint32_t *claim = &dispatch->apps[exchange->app].pair->claims[exchange->slot];
    if (!slot_claim_take(claim, exchange->generation, SLOT_RECALLED))
        return false;
    dispatch_send_leave(dispatch, exchange);
    exchange->retry = false;
    exchange->cancel_due = false;
    return true;
}

/* ---- once a turn ------------------------------------------------------------------------------------------------ */

static void retry_link(struct dispatch *dispatch, struct app_link *link)
{
    link->retry = false;
    for (struct http_exchange *exchange = link->held.first; exchange != NULL; exchange = exchange->wait_next) {
        if (!exchange->retry)
            continue;
        exchange->retry = false;
        if (exchange->cancel_due) {
            dispatch_send_cancel(dispatch, exchange);
            continue;
        }
        send_body(dispatch, exchange);
        if (exchange->ended_due)
            send_ended(dispatch, exchange);
    }
}

static void return_blocks(struct app_link *link)
{
    struct app_memory *memory = link->memory;
    while (memory->returns_count > 0) {
        struct message message = {.kind = MESSAGE_BLOCKS};
        uint32_t count = memory->returns_count < MESSAGE_BLOCKS_MAX ? memory->returns_count : MESSAGE_BLOCKS_MAX;
        message.count = count;
        memcpy(message.blocks, memory->returns + memory->returns_count - count, count * sizeof message.blocks[0]);
        if (!push(link, &message))
            return;
        memory->returns_count -= count;
    }
}

/* Blocks go back in crowds, and without waking anybody, while the app has plenty left and nothing else to hear. */
static bool returns_due(const struct app_link *link)
{
    uint32_t waiting = link->memory->returns_count;
    return waiting > 0 && (link->unflushed || waiting >= link->memory->blocks / 16 || link->outstanding > 0);
}

void dispatch_send_flush(struct dispatch *dispatch, struct app_link *link)
{
    if (link->retry)
        retry_link(dispatch, link);
    if (returns_due(link))
        return_blocks(link);
    if (!link->unflushed)
        return;
    link->unflushed = false;
    bool rung = doorbell_ring(&link->pair->app_sleeping, link->app_doorbell);
    metrics_add(dispatch->core->metrics, rung ? METRIC_WAKES_SENT : METRIC_WAKES_AVOIDED, 1);
}
