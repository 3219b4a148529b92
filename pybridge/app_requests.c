#include "pybridge/app_exchange_state.h"

#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000'000'000U + (uint64_t)now.tv_nsec;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static struct open_request *request_allocate(struct app_exchange *exchange)
{
    struct open_request *request = exchange->free_requests;
    if (request == NULL)
        return calloc(1, sizeof *request);
    exchange->free_requests = request->next;
    *request = (struct open_request){};
    return request;
}

static void request_free(struct app_exchange *exchange, struct open_request *request)
{
    app_body_clear(exchange, request);
    if (request->memory != NULL)
        ring_memory_release(request->memory);
    request->next = exchange->free_requests;
    exchange->free_requests = request;
}

static void free_lists(struct app_exchange *exchange)
{
    while (exchange->free_requests != NULL) {
        struct open_request *request = exchange->free_requests;
        exchange->free_requests = request->next;
        free(request);
    }
    while (exchange->free_pieces != NULL) {
        struct piece *piece = exchange->free_pieces;
        exchange->free_pieces = piece->next;
        free(piece);
    }
}

void app_requests_clear(struct app_exchange *exchange)
{
    while (exchange->queue_first != NULL) {
        struct open_request *request = exchange->queue_first;
        exchange->queue_first = request->next;
        request_free(exchange, request);
    }
    exchange->queue_last = NULL;
    free_lists(exchange);
}

/* ---- what is left to say ---------------------------------------------------------------------------------------- */

/* Whether nothing of the request is left to send; then it may be freed when it is done. */
static bool settle(struct app_exchange *exchange, struct open_request *request)
{
    if (request->orphan)
        return true;
    if (request->done) {
        struct message message = app_exchange_message(request, MESSAGE_DONE);
        return app_exchange_push(exchange, request->public.ring, &message);
    }
    while (request->credit > 0)
        if (!app_post_credit(exchange, request))
            return false;
    return true;
}

static void finish(struct app_exchange *exchange, struct open_request *request)
{
    struct ring_link *link = &exchange->rings[request->public.ring];
    if (link->open[request->public.slot] == request)
        link->open[request->public.slot] = NULL;
    exchange->open_count--;
    /* Relaxed: figures for whoever looks. */
    atomic_store_explicit(&exchange->status->requests_open, exchange->open_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&exchange->status->requests_done, 1, memory_order_relaxed);
    request_free(exchange, request);
}

void app_requests_retry(struct app_exchange *exchange)
{
    struct open_request *list = exchange->deferred;
    exchange->deferred = NULL;
    while (list != NULL) {
        struct open_request *request = list;
        list = request->next;
        request->deferred = false;
        if (!settle(exchange, request))
            app_post_defer(exchange, request);
        else if (request->done)
            finish(exchange, request);
    }
}

/* ---- what the I/O process says ---------------------------------------------------------------------------------- */

void app_requests_open(struct app_exchange *exchange, uint32_t ring, const struct message *message)
{
    struct ring_link *link = &exchange->rings[ring];
    /* An entry of the same slot that was recalled: it stays queued as an object, but nothing is for it any more. */
    struct open_request *request = request_allocate(exchange);
    if (request == NULL)
        return; /* it stays QUEUED; the I/O process recalls it or its timeout passes */
    request->memory = link->memory;
    request->memory->holders++;
    request->public.ring = ring;
    request->public.slot = message->slot;
    request->public.generation = message->generation;
    request->public.record = layout_record(&link->memory->inbound, &exchange->inbound_layout, message->slot);
    if (!request->memory->spool_asked) {
        request->memory->spool_asked = true;
        /* While there are descriptors; else with the first that needs it. */
        (void)app_body_find_spool(exchange, request);
    }
    app_body_arrived(exchange, request, message);
    link->open[message->slot] = request;
    if (exchange->queue_last != NULL)
        exchange->queue_last->next = request;
    else
        exchange->queue_first = request;
    exchange->queue_last = request;
}

static void tell_cancelled(struct app_exchange *exchange, struct open_request *request)
{
    if (!request->claimed || request->done)
        return;
    if (exchange->hooks.on_cancel != NULL)
        exchange->hooks.on_cancel(&request->public, exchange->hooks.context);
    app_waiter_wake_for_request(exchange, &request->public);
}

static void cancel(struct app_exchange *exchange, struct open_request *request)
{
    request->public.fate = APP_REQUEST_CANCELLED;
    if (request->public.body_state == APP_BODY_MORE)
        request->public.body_state = APP_BODY_BROKEN;
    tell_cancelled(exchange, request);
}

void app_requests_hear(struct app_exchange *exchange, struct ring_link *link, const struct message *message)
{
    struct open_request *request = link->open[message->slot];
    if (request == NULL || request->public.generation != message->generation || request->done)
        return;
    if (message->kind == MESSAGE_CANCEL && message->status == MESSAGE_CANCEL_ENDED) {
        request->public.client_ended = true;
        tell_cancelled(exchange, request);
        return;
    }
    if (message->kind == MESSAGE_CANCEL) {
        cancel(exchange, request);
        return;
    }
    app_body_arrived(exchange, request, message);
    if (!request->claimed)
        return;
    if (exchange->hooks.on_body != NULL)
        exchange->hooks.on_body(&request->public, exchange->hooks.context);
    app_waiter_wake_for_request(exchange, &request->public);
}

void app_requests_orphan(struct app_exchange *exchange, const struct ring_link *link)
{
    for (uint32_t slot = 0; slot < exchange->setup.shape.slots; slot++) {
        struct open_request *request = link->open[slot];
        if (request == NULL)
            continue;
        link->open[slot] = NULL;
        request->orphan = true;
        cancel(exchange, request);
    }
}

/* ---- from the claim to the end ---------------------------------------------------------------------------------- */

static bool claim(struct open_request *request)
{
    _Atomic uint32_t *word = &request->memory->pair->claims[request->public.slot];
    return !request->orphan && slot_claim_take(word, request->public.generation, SLOT_BEGUN);
}

struct app_request *app_exchange_next(struct app_exchange *exchange)
{
    while (exchange->queue_first != NULL) {
        struct open_request *request = exchange->queue_first;
        exchange->queue_first = request->next;
        if (exchange->queue_first == NULL)
            exchange->queue_last = NULL;
        request->next = NULL;
        if (claim(request)) {
            request->claimed = true;
            request->begun_ns = now_ns();
            exchange->open_count++;
            atomic_store_explicit(&exchange->status->requests_open, exchange->open_count, memory_order_relaxed);
            app_waiter_lead_on(exchange);
            return &request->public;
        }
        struct ring_link *link = &exchange->rings[request->public.ring];
        if (link->open[request->public.slot] == request)
            link->open[request->public.slot] = NULL;
        request_free(exchange, request);
    }
    return NULL;
}

struct bytes app_request_span(const struct app_exchange *exchange, const struct app_request *request, uint32_t offset,
                              uint32_t length)
{
    (void)exchange;
    const uint8_t *data = arena_at(&open_request_of(request)->memory->inbound, offset, length);
    return data == NULL ? (struct bytes){} : bytes_of(data, length);
}

static void note_duration(struct app_exchange *exchange, const struct open_request *open)
{
    uint64_t took = now_ns() - open->begun_ns;
    if (took > 1'000'000'000U)
        took = 1'000'000'000U;
    exchange->application_ns += (took >> 3) - (exchange->application_ns >> 3);
}

void app_request_done(struct app_exchange *exchange, struct app_request *request)
{
    struct open_request *open = open_request_of(request);
    note_duration(exchange, open);
    open->done = true;
    open->credit = 0;
    if (!open->orphan && app_post_done_with_end(exchange, open)) {
        if (!open->deferred)
            finish(exchange, open);
        else
            open->orphan = true; /* nothing is left to say; the deferred list frees it */
        return;
    }
    if (open->deferred)
        return; /* it is in the list already and will be settled there */
    if (settle(exchange, open))
        finish(exchange, open);
    else
        app_post_defer(exchange, open);
}
