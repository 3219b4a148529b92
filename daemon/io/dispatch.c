#include "daemon/io/dispatch_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

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
        dispatch_apps_close(&dispatch->apps[dispatch->up[i]]);
    free(dispatch->apps);
    free(dispatch->up);
    free(dispatch->slot_generations);
    free(dispatch->free_slots);
    free(dispatch->by_slot);
    metrics_page_deinit(&dispatch->metrics_page);
    arena_deinit(&dispatch->board_memory);
    *dispatch = (struct dispatch){};
}

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static void note_waiting(const struct dispatch *dispatch)
{
    metrics_set(dispatch->core->metrics, METRIC_DISPATCH_QUEUED, dispatch->queue.count);
}

bool dispatch_submit(struct dispatch *dispatch, struct http_exchange *exchange)
{
    assert(exchange->state == EXCHANGE_BUFFERING);
    if (metrics_page_is_asked_for(dispatch->core, exchange)) {
        exchange->state = EXCHANGE_OURS;
        exchange_list_append(&dispatch->ours, exchange);
        return true;
    }
    exchange->dispatched_ms = dispatch->core->now_ms;
    struct app_choice choice =
        dispatch->queue.count == 0 ? dispatch_apps_choose(dispatch, exchange->lane) : (struct app_choice){};
    if (choice.found && dispatch_send_request(dispatch, exchange, choice.app)) {
        dispatch_clock_watch(dispatch, exchange);
        return true;
    }
    if (dispatch->queue.count >= (uint64_t)dispatch->core->settings.queue_size)
        return false;
    exchange->state = EXCHANGE_WAITING;
    dispatch_queue_append(&dispatch->queue, exchange);
    note_waiting(dispatch);
    dispatch_clock_watch(dispatch, exchange);
    return true;
}

void dispatch_requeue(struct dispatch *dispatch, struct http_exchange *exchange)
{
    exchange->state = EXCHANGE_WAITING;
    dispatch_queue_put_back(&dispatch->queue, exchange);
    note_waiting(dispatch);
}

void dispatch_let_go(struct dispatch *dispatch, struct http_exchange *exchange, bool cancelled)
{
    exchange->owner = NULL;
    file_source_drop(dispatch->core, exchange->file);
    switch (exchange->state) {
    case EXCHANGE_WAITING:
        dispatch_queue_remove(&dispatch->queue, exchange);
        note_waiting(dispatch);
        dispatch_slots_release(dispatch, exchange);
        break;
    case EXCHANGE_OURS:
        exchange_list_remove(&dispatch->ours, exchange);
        dispatch_slots_release(dispatch, exchange);
        break;
    case EXCHANGE_QUEUED:
        dispatch_send_orphan(dispatch, exchange);
        if (cancelled && dispatch_send_recall(dispatch, exchange))
            dispatch_slots_release(dispatch, exchange);
        else if (cancelled || !exchange->end_sent)
            dispatch_send_cancel(dispatch, exchange); /* also where it reads: no more of the body will come */
        break;
    case EXCHANGE_BUFFERING:
    case EXCHANGE_DONE:
        dispatch_slots_release(dispatch, exchange);
        break;
    }
}

/* An answer may bring the next question: no more of them than replies of an app in one turn. */
static void answer_ours(struct dispatch *dispatch)
{
    for (uint32_t i = 0; i < DISPATCH_REPLIES_MAX && dispatch->ours.first != NULL; i++) {
        struct http_exchange *exchange = dispatch->ours.first;
        struct reply reply;
        exchange_list_remove(&dispatch->ours, exchange);
        exchange->state = EXCHANGE_DONE;
        if (metrics_page_reply(&dispatch->metrics_page, dispatch->core, &reply) == 0)
            exchange->owner->on_reply(exchange, &reply);
        else
            dispatch_slots_fail(exchange, 503, CLOSE_OVERLOAD);
    }
}

/* The first client whose turn it is, and that may go where there is room; NULL when nobody can go. */
static struct http_exchange *take_waiting(struct dispatch *dispatch, struct app_choice *ret_choice)
{
    for (struct dispatch_lane *lane = dispatch->queue.first; lane != NULL; lane = lane->next) {
        *ret_choice = dispatch_apps_choose(dispatch, lane);
        if (ret_choice->found)
            return dispatch_queue_take(&dispatch->queue, lane);
        if (!dispatch_apps_is_bound(dispatch, lane))
            return NULL; /* there is no room anywhere */
    }
    return NULL;
}

static void queue_turn(struct dispatch *dispatch)
{
    struct app_choice choice;
    struct http_exchange *exchange;
    while ((exchange = take_waiting(dispatch, &choice)) != NULL) {
        if (!dispatch_send_request(dispatch, exchange, choice.app)) {
            dispatch_requeue(dispatch, exchange);
            return;
        }
        note_waiting(dispatch);
    }
}

/* ---- recall ----------------------------------------------------------------------------------------------------- */

/* The oldest of them, and they stay in order. */
static void recall(struct dispatch *dispatch, uint32_t app, uint32_t count)
{
    const bool takes_all = count == UINT32_MAX;
    struct exchange_list recalled = {};
    struct http_exchange *next;
    for (struct http_exchange *exchange = dispatch->apps[app].held.first; exchange != NULL && count > 0;
         exchange = next) {
        next = exchange->wait_next;
        if (exchange->owner == NULL || exchange->touched || (exchange->lane->held > 1 && !takes_all) ||
            !dispatch_send_recall(dispatch, exchange))
            continue; /* not one of several that are bound to this app */
        exchange_list_append(&recalled, exchange);
        metrics_add(dispatch->core->metrics, METRIC_DISPATCH_RECALLED, 1);
        count--;
    }
    while (recalled.last != NULL) {
        struct http_exchange *last = recalled.last;
        exchange_list_remove(&recalled, last);
        dispatch_requeue(dispatch, last);
    }
}

void dispatch_recall_all(struct dispatch *dispatch, uint32_t app)
{
    recall(dispatch, app, UINT32_MAX);
}

static void recall_turn(struct dispatch *dispatch)
{
    if (dispatch->up_count < 2)
        return;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[i];
        const struct app_link *link = &dispatch->apps[app];
        /* Whose they are, a thread is taken. */
        uint32_t load = link->outstanding > 0 ? dispatch_apps_load(dispatch, app) : 0;
        if (load <= link->places)
            continue;
        uint32_t surplus = load - link->places;
        uint32_t places = dispatch_apps_free_places(dispatch, app);
        recall(dispatch, app, surplus < places ? surplus : places);
    }
}

void dispatch_turn(struct dispatch *dispatch)
{
    answer_ours(dispatch);
    recall_turn(dispatch);
    queue_turn(dispatch);
    for (uint32_t i = 0; i < dispatch->up_count; i++)
        dispatch_send_flush(dispatch, &dispatch->apps[dispatch->up[i]]);
}
