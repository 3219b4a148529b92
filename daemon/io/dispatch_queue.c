#include "daemon/io/dispatch_queue.h"

static bool is_empty(const struct dispatch_lane *lane)
{
    return lane->waiting.first == NULL;
}

static void link_last(struct dispatch_queue *queue, struct dispatch_lane *lane)
{
    lane->next = NULL;
    lane->previous = queue->last;
    if (queue->last != NULL)
        queue->last->next = lane;
    else
        queue->first = lane;
    queue->last = lane;
}

static void link_first(struct dispatch_queue *queue, struct dispatch_lane *lane)
{
    lane->previous = NULL;
    lane->next = queue->first;
    if (queue->first != NULL)
        queue->first->previous = lane;
    else
        queue->last = lane;
    queue->first = lane;
}

static void unlink_lane(struct dispatch_queue *queue, struct dispatch_lane *lane)
{
    if (lane->previous != NULL)
        lane->previous->next = lane->next;
    else
        queue->first = lane->next;
    if (lane->next != NULL)
        lane->next->previous = lane->previous;
    else
        queue->last = lane->previous;
    lane->next = lane->previous = NULL;
}

void dispatch_queue_append(struct dispatch_queue *queue, struct http_exchange *exchange)
{
    struct dispatch_lane *lane = exchange->lane;
    if (is_empty(lane))
        link_last(queue, lane);
    exchange_list_append(&lane->waiting, exchange);
    queue->count++;
}

void dispatch_queue_put_back(struct dispatch_queue *queue, struct http_exchange *exchange)
{
    struct dispatch_lane *lane = exchange->lane;
    if (!is_empty(lane))
        unlink_lane(queue, lane);
    link_first(queue, lane);
    exchange_list_prepend(&lane->waiting, exchange);
    queue->count++;
}

void dispatch_queue_remove(struct dispatch_queue *queue, struct http_exchange *exchange)
{
    struct dispatch_lane *lane = exchange->lane;
    exchange_list_remove(&lane->waiting, exchange);
    if (is_empty(lane))
        unlink_lane(queue, lane);
    queue->count--;
}

struct http_exchange *dispatch_queue_take(struct dispatch_queue *queue, struct dispatch_lane *lane)
{
    struct http_exchange *exchange = lane->waiting.first;
    dispatch_queue_remove(queue, exchange);
    if (!is_empty(lane)) {
        unlink_lane(queue, lane);
        link_last(queue, lane);
    }
    return exchange;
}
