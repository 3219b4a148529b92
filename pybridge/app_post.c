#include "pybridge/app_exchange_state.h"

#include "daemon/exchange/doorbell.h"

#include <assert.h>

/* ---- what can be said now --------------------------------------------------------------------------------------- */

static void release_held(struct app_exchange *exchange)
{
    if (!exchange->has_held)
        return;
    exchange->has_held = false;
    struct ring_link *link = &exchange->rings[exchange->held_ring];
    if (link->memory == NULL)
        return;
    bool pushed = spsc_push(&link->replies, &exchange->held);
    assert(pushed); /* its place was seen free when it was held, and nothing was pushed since */
    link->unflushed = true;
}

bool app_exchange_push(struct app_exchange *exchange, uint32_t ring, const struct message *message)
{
    release_held(exchange);
    struct ring_link *link = &exchange->rings[ring];
    if (!spsc_push(&link->replies, message))
        return false;
    link->unflushed = true;
    return true;
}

bool app_exchange_has_room(struct app_exchange *exchange, uint32_t ring)
{
    release_held(exchange);
    return spsc_writer_room(&exchange->rings[ring].replies) > 0;
}

bool app_exchange_push_or_hold(struct app_exchange *exchange, uint32_t ring, const struct message *message)
{
    if ((message->flags & MESSAGE_END) == 0)
        return app_exchange_push(exchange, ring, message);
    if (!app_exchange_has_room(exchange, ring))
        return false;
    exchange->held = *message;
    exchange->held_ring = ring;
    exchange->has_held = true;
    return true;
}

void app_exchange_flush(struct app_exchange *exchange)
{
    release_held(exchange);
    for (uint32_t i = 0; i < exchange->setup.shape.rings; i++) {
        struct ring_link *link = &exchange->rings[i];
        if (!link->unflushed)
            continue;
        link->unflushed = false;
        if (link->memory != NULL)
            doorbell_ring(&link->memory->pair->io_sleeping, link->doorbell);
    }
}

struct message app_exchange_message(const struct open_request *request, enum message_kind kind)
{
    return (struct message){
        .kind = (uint8_t)kind,
        .slot = request->public.slot,
        .generation = request->public.generation,
        .body_block = MESSAGE_NO_BLOCK,
        .head_block = MESSAGE_NO_BLOCK,
        .content_length = -1,
    };
}

bool app_post_done_with_end(struct app_exchange *exchange, const struct open_request *request)
{
    const struct app_request *public = &request->public;
    if (!exchange->has_held || exchange->held_ring != public->ring || exchange->held.slot != public->slot ||
        exchange->held.generation != public->generation)
        return false;
    exchange->held.flags |= MESSAGE_WAS_DONE;
    release_held(exchange);
    return true;
}

void app_post_ring_gone(struct app_exchange *exchange, uint32_t ring)
{
    if (exchange->has_held && exchange->held_ring == ring)
        exchange->has_held = false;
}

/* ---- what is said later ----------------------------------------------------------------------------------------- */

void app_post_defer(struct app_exchange *exchange, struct open_request *request)
{
    if (request->deferred)
        return;
    request->deferred = true;
    request->next = exchange->deferred;
    exchange->deferred = request;
}

bool app_post_credit(struct app_exchange *exchange, struct open_request *request)
{
    struct message message = app_exchange_message(request, MESSAGE_CONSUMED);
    message.count = request->credit < UINT32_MAX ? (uint32_t)request->credit : UINT32_MAX;
    if (!app_exchange_push(exchange, request->public.ring, &message))
        return false;
    request->credit -= message.count;
    return true;
}

bool app_exchange_credit(struct app_exchange *exchange, struct open_request *request)
{
    const bool said = app_post_credit(exchange, request);
    if (!said)
        app_post_defer(exchange, request);
    return said;
}
