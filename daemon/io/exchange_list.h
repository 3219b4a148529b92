/*
 * Exchange list: exchanges in order, oldest first. An exchange is in one list at most: waiting in the dispatcher's
 * queue, or held by an application process.
 *
 * Owns:    nothing. A zeroed list is an empty one.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_EXCHANGE_LIST_H
#define DAEMON_IO_EXCHANGE_LIST_H

#include "daemon/io/http_exchange.h"

struct exchange_list {
    struct http_exchange *first, *last;
};

static inline void exchange_list_append(struct exchange_list *list, struct http_exchange *exchange)
{
    exchange->wait_next = NULL;
    exchange->wait_previous = list->last;
    if (list->last != NULL)
        list->last->wait_next = exchange;
    else
        list->first = exchange;
    list->last = exchange;
}

static inline void exchange_list_prepend(struct exchange_list *list, struct http_exchange *exchange)
{
    exchange->wait_previous = NULL;
    exchange->wait_next = list->first;
    if (list->first != NULL)
        list->first->wait_previous = exchange;
    else
        list->last = exchange;
    list->first = exchange;
}

static inline void exchange_list_remove(struct exchange_list *list, struct http_exchange *exchange)
{
    if (exchange->wait_previous != NULL)
        exchange->wait_previous->wait_next = exchange->wait_next;
    else
        list->first = exchange->wait_next;
    if (exchange->wait_next != NULL)
        exchange->wait_next->wait_previous = exchange->wait_previous;
    else
        list->last = exchange->wait_previous;
    exchange->wait_next = exchange->wait_previous = NULL;
}

#endif
