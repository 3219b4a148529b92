#include "daemon/io/dispatch_state.h"

#include <assert.h>

struct http_exchange *dispatch_exchange(struct dispatch *dispatch)
{
    if (dispatch->free_slot_count == 0)
        return NULL;
    uint32_t slot = dispatch->free_slots[dispatch->free_slot_count - 1];
    struct http_exchange *exchange = http_exchange_create(dispatch->core, slot);
    if (exchange == NULL)
        return NULL;
    exchange->lane = &dispatch->common_lane;
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
void dispatch_slots_release(struct dispatch *dispatch, struct http_exchange *exchange)
{
    timer_wheel_disarm(&dispatch->core->exchange_wheel, &exchange->timer);
    exchange->state = EXCHANGE_DONE;
    if (exchange->owner == NULL)
        exchange_free(dispatch, exchange);
}

void dispatch_slots_fail(struct http_exchange *exchange, uint16_t status, enum close_reason reason)
{
    if (exchange->owner != NULL)
        exchange->owner->on_failure(exchange, status, reason);
}

/* No app holds the exchange any more, and none answers what it has not answered by now. */
void dispatch_slots_end(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status,
                        enum close_reason reason)
{
    exchange->state = EXCHANGE_DONE;
    if (exchange->owner != NULL && !exchange->response_ended && !exchange->response_received)
        dispatch_slots_fail(exchange, status, reason);
    else
        dispatch_slots_release(dispatch, exchange);
}
