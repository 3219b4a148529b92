#include "daemon/io/dispatch.h"

#include "daemon/base/log.h"
#include "daemon/exchange/doorbell.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

enum {
    WATCH_INTERVAL_MAX_MS = 1'000,
    WATCH_INTERVAL_MIN_MS = 50,
    COMPLAINT_INTERVAL_MS = 10'000,
};

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static int allocate(struct dispatch *dispatch)
{
    const struct exchange_shape *shape = &dispatch->core->setup.shape;
    dispatch->apps = calloc(shape->apps, sizeof *dispatch->apps);
    dispatch->up = calloc(shape->apps, sizeof *dispatch->up);
    dispatch->slot_generations = calloc(shape->slots, sizeof *dispatch->slot_generations);
    dispatch->free_slots = calloc(shape->slots, sizeof *dispatch->free_slots);
    dispatch->by_slot = calloc(shape->slots, sizeof *dispatch->by_slot);
    if (dispatch->apps == NULL || dispatch->up == NULL || dispatch->slot_generations == NULL ||
        dispatch->free_slots == NULL || dispatch->by_slot == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < shape->slots; i++)
        dispatch->free_slots[dispatch->free_slot_count++] = shape->slots - 1 - i;
    return 0;
}

int dispatch_init(struct dispatch *dispatch, struct io_core *core, int load_board_fd)
{
    *dispatch = (struct dispatch){.core = core};
    const size_t board_bytes = sizeof(uint32_t) * LAYOUT_RINGS_MAX * LAYOUT_APPS_MAX;
    int r = arena_adopt(&dispatch->board_memory, load_board_fd, true, board_bytes, UINT32_MAX);
    if (r == 0)
        r = allocate(dispatch);
    if (r < 0) {
        dispatch_deinit(dispatch);
        return r;
    }
    dispatch->load_board = (_Atomic uint32_t *)(void *)dispatch->board_memory.base;
    return 0;
}

static void link_close(struct app_link *link)
{
    link->memory->gone = true;
    app_memory_drop(link->memory);
    arena_deinit(&link->pair_memory);
    close(link->app_doorbell);
    close(link->own_doorbell);
    *link = (struct app_link){.generation = link->generation};
}

/* What is still there when the process stops at once. */
static void drop_exchanges(struct dispatch *dispatch)
{
    for (uint32_t i = 0; dispatch->by_slot != NULL && i < dispatch->core->setup.shape.slots; i++)
        if (dispatch->by_slot[i] != NULL)
            http_exchange_destroy(dispatch->core, dispatch->by_slot[i]);
}

void dispatch_deinit(struct dispatch *dispatch)
{
    drop_exchanges(dispatch);
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        link_close(&dispatch->apps[dispatch->up[i]]);
    free(dispatch->apps);
    free(dispatch->up);
    free(dispatch->slot_generations);
    free(dispatch->free_slots);
    free(dispatch->by_slot);
    arena_deinit(&dispatch->board_memory);
    *dispatch = (struct dispatch){};
}

/* ---- load ------------------------------------------------------------------------------------------------------- */

static _Atomic uint32_t *board_word(const struct dispatch *dispatch, uint32_t ring, uint32_t app)
{
    return &dispatch->load_board[(size_t)ring * LAYOUT_APPS_MAX + app];
}

/* Requests at this app from all I/O processes. The words of the others may be a little old: it is a preference. */
static uint32_t load_of(const struct dispatch *dispatch, uint32_t app)
{
    uint32_t load = 0;
    for (uint32_t ring = 0; ring < dispatch->core->setup.shape.rings; ring++)
        load += atomic_load_explicit(board_word(dispatch, ring, app), memory_order_relaxed);
    return load;
}

static void count_outstanding(struct dispatch *dispatch, uint32_t app, int change)
{
    struct app_link *link = &dispatch->apps[app];
    link->outstanding += (uint32_t)change;
    atomic_store_explicit(board_word(dispatch, dispatch->core->setup.index, app), link->outstanding,
                          memory_order_relaxed);
}

struct choice {
    uint32_t app;
    bool found;
    bool has_place; /* it can begin at once */
};

static bool better(struct choice best, uint32_t best_load, bool has_place, uint32_t load)
{
    if (!best.found || (has_place && !best.has_place))
        return true;
    return has_place == best.has_place && load < best_load;
}

/* The least loaded app with a free place, else the least loaded one that may hold one more unbegun request. */
static struct choice choose(struct dispatch *dispatch)
{
    struct choice best = {};
    uint32_t best_load = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[(dispatch->next_up + i) % dispatch->up_count];
        struct app_link *link = &dispatch->apps[app];
        if (link->draining || link->outstanding >= link->places + DISPATCH_AHEAD_MAX)
            continue;
        uint32_t load = load_of(dispatch, app);
        bool has_place = load < link->places;
        if (better(best, best_load, has_place, load)) {
            best = (struct choice){.app = app, .found = true, .has_place = has_place};
            best_load = load;
        }
    }
    if (best.found)
        dispatch->next_up++;
    return best;
}

bool dispatch_serving(const struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        if (!dispatch->apps[dispatch->up[i]].draining)
            return true;
    return false;
}

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static void list_append(struct http_exchange **first, struct http_exchange **last, struct http_exchange *exchange)
{
    exchange->wait_next = NULL;
    exchange->wait_previous = *last;
    if (*last != NULL)
        (*last)->wait_next = exchange;
    else
        *first = exchange;
    *last = exchange;
}

static void list_prepend(struct http_exchange **first, struct http_exchange **last, struct http_exchange *exchange)
{
    exchange->wait_previous = NULL;
    exchange->wait_next = *first;
    if (*first != NULL)
        (*first)->wait_previous = exchange;
    else
        *last = exchange;
    *first = exchange;
}

static void list_remove(struct http_exchange **first, struct http_exchange **last, struct http_exchange *exchange)
{
    if (exchange->wait_previous != NULL)
        exchange->wait_previous->wait_next = exchange->wait_next;
    else
        *first = exchange->wait_next;
    if (exchange->wait_next != NULL)
        exchange->wait_next->wait_previous = exchange->wait_previous;
    else
        *last = exchange->wait_previous;
    exchange->wait_next = exchange->wait_previous = NULL;
}

static void note_waiting(struct dispatch *dispatch, int change)
{
    dispatch->wait_count += (uint32_t)change;
    metrics_set(dispatch->core->metrics, METRIC_DISPATCH_QUEUED, dispatch->wait_count);
}

static void wait_append(struct dispatch *dispatch, struct http_exchange *exchange)
{
    exchange->state = EXCHANGE_WAITING;
    list_append(&dispatch->wait_first, &dispatch->wait_last, exchange);
    note_waiting(dispatch, 1);
}

static void wait_remove(struct dispatch *dispatch, struct http_exchange *exchange)
{
    list_remove(&dispatch->wait_first, &dispatch->wait_last, exchange);
    note_waiting(dispatch, -1);
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

struct http_exchange *dispatch_exchange(struct dispatch *dispatch)
{
    if (dispatch->free_slot_count == 0)
        return NULL;
    uint32_t slot = dispatch->free_slots[dispatch->free_slot_count - 1];
    struct http_exchange *exchange = http_exchange_create(dispatch->core, slot);
    if (exchange == NULL)
        return NULL;
    dispatch->free_slot_count--;
    dispatch->by_slot[slot] = exchange;
    metrics_set(dispatch->core->metrics, METRIC_SLOTS_LIVE,
                dispatch->core->setup.shape.slots - dispatch->free_slot_count);
    return exchange;
}

static void exchange_free(struct dispatch *dispatch, struct http_exchange *exchange)
{
    assert(exchange->state == EXCHANGE_DONE && exchange->owner == NULL);
    dispatch->by_slot[exchange->slot] = NULL;
    dispatch->free_slots[dispatch->free_slot_count++] = exchange->slot;
    metrics_set(dispatch->core->metrics, METRIC_SLOTS_LIVE,
                dispatch->core->setup.shape.slots - dispatch->free_slot_count);
    http_exchange_destroy(dispatch->core, exchange);
}

/* No app process holds the exchange any more. */
static void release(struct dispatch *dispatch, struct http_exchange *exchange)
{
    timer_wheel_disarm(&dispatch->core->exchange_wheel, &exchange->timer);
    exchange->state = EXCHANGE_DONE;
    if (exchange->owner == NULL)
        exchange_free(dispatch, exchange);
}

static void leave_app(struct dispatch *dispatch, struct http_exchange *exchange)
{
    struct app_link *link = &dispatch->apps[exchange->app];
    list_remove(&link->first, &link->last, exchange);
    count_outstanding(dispatch, exchange->app, -1);
}

static void fail(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    (void)dispatch;
    if (exchange->owner != NULL)
        exchange->owner->on_failure(exchange, status, reason);
}

/* No app holds the exchange any more, and none answers what it has not answered by now. */
static void fail_or_release(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status,
                            enum close_reason reason)
{
    exchange->state = EXCHANGE_DONE;
    if (exchange->owner != NULL && !exchange->response_ended && !exchange->response_received)
        fail(dispatch, exchange, status, reason);
    else
        release(dispatch, exchange);
}

/* ---- to the app ------------------------------------------------------------------------------------------------- */

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
        message->body_offset = piece->offset;
        message->body_length = piece->length;
    }
    bool last = piece == NULL || piece->next == NULL;
    if (last && (http_exchange_body_whole(exchange) || exchange->body_failed))
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
    while (!exchange->end_sent &&
           (exchange->unsent != NULL || http_exchange_body_whole(exchange) || exchange->body_failed)) {
        struct message message = message_for(exchange, MESSAGE_BODY);
        attach_piece(exchange, &message);
        if (!push(link, &message)) {
            retry_later(dispatch, exchange);
            return;
        }
        piece_sent(exchange, &message);
    }
}

static void send_cancel(struct dispatch *dispatch, struct http_exchange *exchange)
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

static uint64_t watch_interval(const struct dispatch *dispatch)
{
    const struct settings *settings = &dispatch->core->settings;
    uint64_t interval = WATCH_INTERVAL_MAX_MS;
    const int64_t limits[] = {settings->timeout_ms, settings->request_timeout_ms, settings->queue_timeout_ms};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i] > 0 && (uint64_t)limits[i] / 10 < interval)
            interval = (uint64_t)limits[i] / 10;
    return interval < WATCH_INTERVAL_MIN_MS ? WATCH_INTERVAL_MIN_MS : interval;
}

static void watch(struct dispatch *dispatch, struct http_exchange *exchange)
{
    timer_wheel_arm(&dispatch->core->exchange_wheel, &exchange->timer,
                    dispatch->core->now_ms + watch_interval(dispatch));
}

/* Hands the slot to the app. false: its queue is full. */
static bool publish(struct dispatch *dispatch, struct http_exchange *exchange, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
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
    exchange->published_ms = dispatch->core->now_ms;
    list_append(&link->first, &link->last, exchange);
    count_outstanding(dispatch, app, 1);
    send_body(dispatch, exchange);
    if (exchange->client_ended)
        send_ended(dispatch, exchange);
    return true;
}

bool dispatch_submit(struct dispatch *dispatch, struct http_exchange *exchange)
{
    assert(exchange->state == EXCHANGE_BUFFERING);
    exchange->dispatched_ms = dispatch->core->now_ms;
    struct choice choice = dispatch->wait_count == 0 ? choose(dispatch) : (struct choice){};
    if (choice.found && publish(dispatch, exchange, choice.app)) {
        watch(dispatch, exchange);
        return true;
    }
    if (dispatch->wait_count >= (uint64_t)dispatch->core->settings.queue_size)
        return false;
    wait_append(dispatch, exchange);
    watch(dispatch, exchange);
    return true;
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

/* ---- recall ----------------------------------------------------------------------------------------------------- */

/* Takes an exchange back that its app has not begun. */
static bool recall(struct dispatch *dispatch, struct http_exchange *exchange)
{
    _Atomic uint32_t *claim = &dispatch->apps[exchange->app].pair->claims[exchange->slot];
    if (!slot_claim_take(claim, exchange->generation, SLOT_RECALLED))
        return false;
    leave_app(dispatch, exchange);
    exchange->retry = false;
    exchange->cancel_due = false;
    return true;
}

static void requeue(struct dispatch *dispatch, struct http_exchange *exchange)
{
    exchange->state = EXCHANGE_WAITING;
    list_prepend(&dispatch->wait_first, &dispatch->wait_last, exchange);
    note_waiting(dispatch, 1);
}

void dispatch_let_go(struct dispatch *dispatch, struct http_exchange *exchange, bool cancelled)
{
    exchange->owner = NULL;
    if (exchange->spooled.bytes > 0) {
        http_exchange_body_forget(dispatch->core, exchange);
        dispatch_body(dispatch, exchange);
    }
    switch (exchange->state) {
    case EXCHANGE_WAITING:
        wait_remove(dispatch, exchange);
        release(dispatch, exchange);
        break;
    case EXCHANGE_QUEUED:
        if (cancelled && recall(dispatch, exchange))
            release(dispatch, exchange);
        else if (cancelled || !exchange->end_sent)
            send_cancel(dispatch, exchange); /* also where it reads: no more of the body will come */
        break;
    case EXCHANGE_BUFFERING:
    case EXCHANGE_DONE:
        release(dispatch, exchange);
        break;
    }
}

/* Free places at apps other than `busy`. */
static uint32_t free_places(const struct dispatch *dispatch, uint32_t busy)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[i];
        const struct app_link *link = &dispatch->apps[app];
        if (app == busy || link->draining)
            continue;
        uint32_t load = load_of(dispatch, app);
        places += load < link->places ? link->places - load : 0;
    }
    return places;
}

/* Takes unbegun requests from the back of this app's list: the front ones will be begun next here anyway. */
static void recall_from(struct dispatch *dispatch, uint32_t app, uint32_t count)
{
    struct http_exchange *exchange = dispatch->apps[app].last;
    while (exchange != NULL && count > 0) {
        struct http_exchange *previous = exchange->wait_previous;
        if (exchange->owner != NULL && recall(dispatch, exchange)) {
            requeue(dispatch, exchange);
            metrics_add(dispatch->core->metrics, METRIC_DISPATCH_RECALLED, 1);
            count--;
        }
        exchange = previous;
    }
}

static void recall_turn(struct dispatch *dispatch)
{
    if (dispatch->up_count < 2)
        return;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[i];
        const struct app_link *link = &dispatch->apps[app];
        if (link->outstanding <= link->places)
            continue;
        uint32_t surplus = link->outstanding - link->places;
        uint32_t places = free_places(dispatch, app);
        recall_from(dispatch, app, surplus < places ? surplus : places);
    }
}

static void queue_turn(struct dispatch *dispatch)
{
    while (dispatch->wait_first != NULL) {
        struct http_exchange *exchange = dispatch->wait_first;
        struct choice choice = choose(dispatch);
        if (!choice.found)
            return;
        wait_remove(dispatch, exchange);
        if (!publish(dispatch, exchange, choice.app)) {
            requeue(dispatch, exchange);
            return;
        }
    }
}

/* ---- from the app ----------------------------------------------------------------------------------------------- */

static void complain(struct dispatch *dispatch, uint32_t app, const char *what)
{
    uint64_t suppressed;
    metrics_add(dispatch->core->metrics, METRIC_MESSAGES_INVALID, 1);
    if (log_limit_pass(&dispatch->protocol_log, dispatch->core->now_ms, COMPLAINT_INTERVAL_MS, &suppressed))
        log_error("app %u sent an invalid message (%s); %llu more like it were not logged", app, what,
                  (unsigned long long)suppressed);
}

static bool span(const struct app_link *link, uint32_t offset, uint32_t length, struct bytes *ret_bytes)
{
    const uint8_t *data = arena_at(&link->memory->outbound, offset, length);
    if (data == NULL)
        return false;
    *ret_bytes = bytes_of(data, length);
    return true;
}

static void on_reply(struct dispatch *dispatch, uint32_t app, struct http_exchange *exchange,
                     const struct message *message)
{
    struct app_link *link = &dispatch->apps[app];
    struct reply reply = {
        .kind = message->kind,
        .flags = message->flags,
        .status = message->status,
        .content_length = message->content_length,
        .head_block = message->kind == MESSAGE_BODY ? MESSAGE_NO_BLOCK : message->head_block,
        .body_block = message->body_block,
        .memory = link->memory,
    };
    if (!span(link, message->head_offset, message->kind == MESSAGE_BODY ? 0 : message->head_length, &reply.head) ||
        !span(link, message->body_offset, message->body_length, &reply.body)) {
        complain(dispatch, app, "octets outside its arena");
        reply_discard(&reply);
        fail(dispatch, exchange, 502, CLOSE_APP_FAILED);
        return;
    }
    if (exchange->begun_seen_ms != 0)
        exchange->begun_seen_ms = dispatch->core->now_ms;
    if (exchange->owner != NULL)
        exchange->owner->on_reply(exchange, &reply);
    else
        reply_discard(&reply);
}

static void on_done(struct dispatch *dispatch, struct http_exchange *exchange)
{
    leave_app(dispatch, exchange);
    exchange->state = EXCHANGE_DONE;
    timer_wheel_disarm(&dispatch->core->exchange_wheel, &exchange->timer);
    /* Done without an end: the application failed, its process lives. Failing may free the exchange. */
    if (exchange->owner == NULL)
        exchange_free(dispatch, exchange);
    else if (!exchange->response_ended && !exchange->response_received)
        fail(dispatch, exchange, 500, CLOSE_APP_FAILED);
}

static void on_consumed(struct dispatch *dispatch, struct http_exchange *exchange, uint32_t octets)
{
    uint32_t taken = http_exchange_body_consumed(dispatch->core, exchange, octets);
    if (exchange->owner != NULL)
        exchange->owner->on_credit(exchange, taken);
}

/* Whether the message speaks of a request that this app has now. */
static bool is_of(const struct dispatch *dispatch, uint32_t app, const struct message *message)
{
    const struct http_exchange *exchange = dispatch->by_slot[message->slot];
    return exchange != NULL && exchange->state == EXCHANGE_QUEUED && exchange->app == app &&
           exchange->generation == message->generation;
}

static void on_message(struct dispatch *dispatch, uint32_t app, const struct message *message)
{
    if (message->slot >= dispatch->core->setup.shape.slots) {
        complain(dispatch, app, "a slot that does not exist");
        return;
    }
    struct http_exchange *exchange = dispatch->by_slot[message->slot];
    /* Late words about a slot's earlier life are normal: a cancelled or recalled request crosses them. Its blocks go
     * back all the same. */
    bool ours = is_of(dispatch, app, message);
    switch (message->kind) {
    case MESSAGE_RESPONSE:
    case MESSAGE_INTERIM:
    case MESSAGE_BODY:
        if (!ours) {
            app_memory_give_back(dispatch->apps[app].memory, message->body_block);
            if (message->kind != MESSAGE_BODY && message->head_block != message->body_block)
                app_memory_give_back(dispatch->apps[app].memory, message->head_block);
            return;
        }
        on_reply(dispatch, app, exchange, message);
        /* A reply that broke a request off ends it here, when its app has not even begun it. */
        if ((message->flags & MESSAGE_WAS_DONE) != 0 && is_of(dispatch, app, message))
            on_done(dispatch, exchange);
        return;
    case MESSAGE_CONSUMED:
        if (ours)
            on_consumed(dispatch, exchange, message->count);
        return;
    case MESSAGE_DONE:
        if (ours)
            on_done(dispatch, exchange);
        return;
    default:
        complain(dispatch, app, "an unknown kind");
    }
}

static void report_stuck(uint32_t app, uint32_t generation)
{
    const struct control_peer peer = {.index = app, .generation = generation};
    int r = control_send(CONTROL_FD, CONTROL_STUCK, &peer, sizeof peer, NULL, 0);
    if (r < 0)
        log_error("could not report app %u as stuck: error %d", app, -r);
}

static uint32_t pump_link(struct dispatch *dispatch, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    uint32_t count = 0;
    struct message message;
    int r = 1;
    if (link->broken)
        return 0;
    while (count < DISPATCH_REPLIES_MAX && (r = spsc_pop(&link->replies, &message)) == 1) {
        count++;
        on_message(dispatch, app, &message);
    }
    /* Whoever found its reply queue full waits for room and not for a message: emptying a full queue rings too. */
    link->unflushed |= count == DISPATCH_REPLIES_MAX;
    if (r < 0) {
        complain(dispatch, app, "an impossible queue position");
        link->broken = true; /* nothing that it says is listened to, or the loop would never sleep again */
        link->draining = true;
        report_stuck(app, link->generation);
    }
    return count;
}

uint32_t dispatch_pump(struct dispatch *dispatch)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        count += pump_link(dispatch, dispatch->up[i]);
    return count;
}

/* ---- once a turn ------------------------------------------------------------------------------------------------ */

static void retry_link(struct dispatch *dispatch, struct app_link *link)
{
    link->retry = false;
    for (struct http_exchange *exchange = link->first; exchange != NULL; exchange = exchange->wait_next) {
        if (!exchange->retry)
            continue;
        exchange->retry = false;
        if (exchange->cancel_due) {
            send_cancel(dispatch, exchange);
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

static void flush_link(struct dispatch *dispatch, struct app_link *link)
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

void dispatch_turn(struct dispatch *dispatch)
{
    recall_turn(dispatch);
    queue_turn(dispatch);
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        flush_link(dispatch, &dispatch->apps[dispatch->up[i]]);
}

bool dispatch_outstanding(const struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        if (dispatch->apps[dispatch->up[i]].outstanding > 0)
            return true;
    return false;
}

bool dispatch_arm(struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        doorbell_sleeping(&dispatch->apps[dispatch->up[i]].pair->io_sleeping);
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        struct app_link *link = &dispatch->apps[dispatch->up[i]];
        if (!link->broken && spsc_reader_pending(&link->replies)) {
            dispatch_disarm(dispatch);
            return false;
        }
    }
    return true;
}

void dispatch_disarm(struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        doorbell_awake(&dispatch->apps[dispatch->up[i]].pair->io_sleeping);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static bool passed(uint64_t since_ms, uint64_t now_ms, int64_t limit_ms)
{
    return limit_ms > 0 && now_ms - since_ms >= (uint64_t)limit_ms;
}

/* The app took too long. Its client is told; the app hears that nobody waits any more. */
static void time_out(struct dispatch *dispatch, struct http_exchange *exchange)
{
    if (exchange->timed_out || exchange->response_received)
        return;
    exchange->timed_out = true;
    metrics_add(dispatch->core->metrics, METRIC_APP_TIMEOUTS, 1);
    fail(dispatch, exchange, 504, CLOSE_APP_TIMEOUT);
}

static bool has_begun(const struct app_link *link, const struct http_exchange *exchange)
{
    uint32_t word = atomic_load_explicit(&link->pair->claims[exchange->slot], memory_order_acquire);
    return word == slot_claim_word(exchange->generation, SLOT_BEGUN);
}

/* An app that leaves a request unbegun although it has a free place does not look at its queue at all: it was stopped,
 * or it hangs outside of any request. */
static void suspect(struct dispatch *dispatch, uint32_t app)
{
    struct app_link *link = &dispatch->apps[app];
    uint32_t begun = 0;
    if (link->draining || (link->flags & CONTROL_APP_EVENT_LOOP) != 0 || dispatch->core->settings.timeout_ms <= 0)
        return;
    for (struct http_exchange *exchange = link->first; exchange != NULL; exchange = exchange->wait_next)
        begun += has_begun(link, exchange);
    if (begun >= link->places)
        return;
    log_critical("app %u takes no requests; the process is replaced", app);
    link->draining = true;
    report_stuck(app, link->generation);
}

static void watch_begun(struct dispatch *dispatch, struct http_exchange *exchange)
{
    const struct settings *settings = &dispatch->core->settings;
    const uint64_t now = dispatch->core->now_ms;
    struct app_link *link = &dispatch->apps[exchange->app];
    if (exchange->begun_seen_ms == 0) {
        exchange->begun_seen_ms = now;
        exchange->dispatched_ms = now;
    }
    bool watched_here = (link->flags & CONTROL_APP_EVENT_LOOP) == 0;
    bool whole = (link->flags & CONTROL_APP_SYNC) != 0;
    uint64_t since = whole ? exchange->dispatched_ms : exchange->begun_seen_ms;
    bool stuck = watched_here && passed(since, now, settings->timeout_ms);
    if (stuck && !link->draining) {
        log_critical("app %u: a request took longer than timeout (%lld s); the process is replaced", exchange->app,
                     (long long)(settings->timeout_ms / 1000));
        link->draining = true;
        report_stuck(exchange->app, link->generation);
    }
    watch(dispatch, exchange); /* a request whose client was answered may still show that its app is stuck */
    if (exchange->owner != NULL && (stuck || passed(exchange->dispatched_ms, now, settings->request_timeout_ms)))
        time_out(dispatch, exchange);
}

void dispatch_on_timer(struct dispatch *dispatch, struct http_exchange *exchange)
{
    const struct io_core *core = dispatch->core;
    bool too_long = passed(exchange->dispatched_ms, core->now_ms, core->settings.queue_timeout_ms);
    if (exchange->state == EXCHANGE_WAITING) {
        if (too_long)
            fail(dispatch, exchange, 503, CLOSE_QUEUE_TIMEOUT);
        else
            watch(dispatch, exchange);
        return;
    }
    if (exchange->state != EXCHANGE_QUEUED)
        return;
    if (has_begun(&dispatch->apps[exchange->app], exchange)) {
        watch_begun(dispatch, exchange);
        return;
    }
    if (passed(exchange->published_ms, core->now_ms, core->settings.timeout_ms))
        suspect(dispatch, exchange->app);
    if (too_long && recall(dispatch, exchange)) {
        fail_or_release(dispatch, exchange, 503, CLOSE_QUEUE_TIMEOUT);
    } else {
        watch(dispatch, exchange);
    }
}

/* ---- apps come and go ------------------------------------------------------------------------------------------- */

static int link_open(struct dispatch *dispatch, struct app_link *link, const struct control_peer *peer,
                     struct control_message *message)
{
    const struct exchange_shape *shape = &dispatch->core->setup.shape;
    const int arena_fd = message->fds[0];
    const int pair_fd = message->fds[1];
    struct app_link fresh = {
        .up = true,
        .generation = peer->generation,
        .places = peer->places > 0 ? peer->places : 1,
        .flags = peer->flags,
        .pid = peer->pid,
        .app_doorbell = message->fds[2],
        .own_doorbell = message->fds[3],
    };
    message->fds[0] = fresh.app_doorbell;
    message->fds[1] = fresh.own_doorbell;
    message->fd_count = 2;
    int r = app_memory_create(shape, arena_fd, &fresh.memory);
    if (r < 0) {
        close(pair_fd);
        return r;
    }
    r = arena_adopt(&fresh.pair_memory, pair_fd, true, pair_page_bytes(shape), UINT32_MAX);
    if (r < 0) {
        app_memory_drop(fresh.memory);
        return r;
    }
    message->fd_count = 0;
    fresh.pair = (struct pair_page *)(void *)fresh.pair_memory.base;
    const uint32_t ring = dispatch->core->setup.index;
    const uint32_t epoch = layout_epoch(dispatch->core->setup.generation, peer->generation);
    layout_request_writer(shape, &dispatch->core->inbound, &fresh.memory->outbound, ring, peer->index, epoch,
                          &fresh.requests);
    layout_reply_reader(shape, &dispatch->core->inbound, &fresh.memory->outbound, ring, peer->index, epoch,
                        &fresh.replies);
    *link = fresh;
    return 0;
}

static void listen_to_doorbell(struct dispatch *dispatch, uint32_t app)
{
    const struct app_link *link = &dispatch->apps[app];
    ring_poll(dispatch->core->ring, link->own_doorbell, POLLIN, true,
              ring_token_make(RING_DOORBELL, link->generation, app));
}

int dispatch_app_up(struct dispatch *dispatch, const struct control_peer *peer, struct control_message *message)
{
    if (peer->index >= dispatch->core->setup.shape.apps || message->fd_count != 4)
        return -EINVAL;
    struct app_link *link = &dispatch->apps[peer->index];
    if (link->up)
        dispatch_app_gone(dispatch, peer->index, link->generation, 502);
    int r = link_open(dispatch, link, peer, message);
    if (r < 0)
        return r;
    dispatch->up[dispatch->up_count++] = peer->index;
    dispatch->core->app_buffers_requests = (peer->flags & CONTROL_APP_WSGI) != 0;
    listen_to_doorbell(dispatch, peer->index);
    return 0;
}

/* That it rang needs no handling, every turn looks at all queues. But a poll that ended, as all do that a full
 * completion queue hits, would leave this app's replies to be found by chance. */
void dispatch_on_doorbell(struct dispatch *dispatch, const struct ring_event *event)
{
    uint32_t index = ring_token_index(event->token);
    if (event->more || index >= dispatch->core->setup.shape.apps)
        return;
    const struct app_link *link = &dispatch->apps[index];
    if (link->up && (link->generation & RING_GENERATION_MASK) == ring_token_generation(event->token))
        listen_to_doorbell(dispatch, index);
}

void dispatch_app_drain(struct dispatch *dispatch, uint32_t index, uint32_t generation)
{
    if (index >= dispatch->core->setup.shape.apps)
        return;
    struct app_link *link = &dispatch->apps[index];
    if (!link->up || link->generation != generation)
        return;
    link->draining = true;
    recall_from(dispatch, index, UINT32_MAX);
}

static void forget_up(struct dispatch *dispatch, uint32_t index)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        if (dispatch->up[i] != index)
            continue;
        dispatch->up[i] = dispatch->up[--dispatch->up_count];
        return;
    }
}

/* One request of a dead app: begun, it failed; unbegun, it goes to another app, once. */
static void sweep(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status)
{
    bool unbegun = recall(dispatch, exchange);
    if (!unbegun)
        leave_app(dispatch, exchange);
    if (unbegun && exchange->owner != NULL && !exchange->redispatched) {
        exchange->redispatched = true;
        metrics_add(dispatch->core->metrics, METRIC_DISPATCH_REDISPATCHED, 1);
        requeue(dispatch, exchange);
        return;
    }
    fail_or_release(dispatch, exchange, status, status == 504 ? CLOSE_APP_TIMEOUT : CLOSE_APP_FAILED);
}

void dispatch_app_gone(struct dispatch *dispatch, uint32_t index, uint32_t generation, uint16_t status)
{
    if (index >= dispatch->core->setup.shape.apps)
        return;
    struct app_link *link = &dispatch->apps[index];
    if (!link->up || link->generation != generation)
        return;
    link->draining = true;
    while (pump_link(dispatch, index) == DISPATCH_REPLIES_MAX)
        continue; /* what it said before it died counts */
    while (link->last != NULL)
        sweep(dispatch, link->last, status); /* each goes to the front of the queue: the oldest stays the first */
    metrics_add(dispatch->core->metrics, METRIC_APP_DEATHS, 1);
    ring_cancel(dispatch->core->ring, ring_token_make(RING_DOORBELL, link->generation, index));
    forget_up(dispatch, index);
    link_close(link);
}
