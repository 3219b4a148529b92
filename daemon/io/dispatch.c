#include "daemon/io/dispatch_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { NO_APP = 0xffff'ffff };

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
        dispatch_links_close(&dispatch->apps[dispatch->up[i]]);
    free(dispatch->apps);
    free(dispatch->up);
    free(dispatch->slot_generations);
    free(dispatch->free_slots);
    free(dispatch->by_slot);
    metrics_page_deinit(&dispatch->metrics_page);
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

void dispatch_count_outstanding(struct dispatch *dispatch, uint32_t app, int change)
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

uint32_t dispatch_places(const struct dispatch *dispatch)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        const struct app_link *link = &dispatch->apps[dispatch->up[i]];
        places += link->draining ? 0 : link->places;
    }
    return places;
}

/* Free places at apps other than `but`. */
static uint32_t free_places(const struct dispatch *dispatch, uint32_t but)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        uint32_t app = dispatch->up[i];
        const struct app_link *link = &dispatch->apps[app];
        if (app == but || link->draining)
            continue;
        uint32_t load = load_of(dispatch, app);
        places += load < link->places ? link->places - load : 0;
    }
    return places;
}

bool dispatch_has_place(const struct dispatch *dispatch)
{
    return dispatch->queue.count == 0 && free_places(dispatch, NO_APP) > 0;
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
    struct choice choice = dispatch->queue.count == 0 ? choose(dispatch) : (struct choice){};
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

static void queue_turn(struct dispatch *dispatch)
{
    while (dispatch->queue.count > 0) {
        struct choice choice = choose(dispatch);
        if (!choice.found)
            return;
        struct http_exchange *exchange = dispatch_queue_take(&dispatch->queue);
        if (!dispatch_send_request(dispatch, exchange, choice.app)) {
            dispatch_requeue(dispatch, exchange);
            return;
        }
        note_waiting(dispatch);
    }
}

/* ---- recall ----------------------------------------------------------------------------------------------------- */

/* Takes unbegun requests from the back of this app's list: the front ones will be begun next here anyway. */
void dispatch_recall_from(struct dispatch *dispatch, uint32_t app, uint32_t count)
{
    struct http_exchange *exchange = dispatch->apps[app].held.last;
    while (exchange != NULL && count > 0) {
        struct http_exchange *previous = exchange->wait_previous;
        if (exchange->owner != NULL && !exchange->touched && dispatch_send_recall(dispatch, exchange)) {
            dispatch_requeue(dispatch, exchange);
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
        dispatch_recall_from(dispatch, app, surplus < places ? surplus : places);
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
