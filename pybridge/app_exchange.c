#include "pybridge/app_exchange_state.h"

#include "daemon/base/owned.h"
#include "daemon/exchange/doorbell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static int receive_setup(int control_fd, struct control_message *message)
{
    int r = control_receive(control_fd, message);
    if (r == 0)
        return -EPIPE;
    if (r < 0)
        return r;
    if (message->kind == CONTROL_SETUP && message->fd_count == 4 &&
        control_payload(message, sizeof(struct control_setup)) != NULL)
        return 0;
    control_close_fds(message);
    return -EPROTO;
}

static int allocate(struct app_exchange *exchange)
{
    const struct exchange_shape *shape = &exchange->setup.shape;
    exchange->rings = calloc(shape->rings, sizeof *exchange->rings);
    if (exchange->rings == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < shape->rings; i++) {
        exchange->rings[i].doorbell = exchange->rings[i].files = -1;
        exchange->rings[i].open = calloc(shape->slots, sizeof *exchange->rings[i].open);
        if (exchange->rings[i].open == NULL)
            return -ENOMEM;
    }
    exchange->owners = calloc((size_t)shape->outbound_small + shape->outbound_large + 1, sizeof *exchange->owners);
    if (exchange->owners == NULL)
        return -ENOMEM;
    return block_pool_init(&exchange->blocks, exchange->outbound_layout.blocks, shape->outbound_small,
                           shape->outbound_large);
}

static int set_up(struct app_exchange *exchange, struct control_message *message)
{
    memcpy(&exchange->setup, message->payload, sizeof exchange->setup);
    const struct exchange_shape *shape = &exchange->setup.shape;
    int r = exchange_shape_check(shape);
    if (r == 0 && exchange->setup.index >= shape->apps)
        r = -EINVAL;
    if (r < 0)
        return r;
    inbound_layout_compute(shape, &exchange->inbound_layout);
    outbound_layout_compute(shape, &exchange->outbound_layout);
    exchange->doorbell_fd = message->fds[2];
    int arena_fd = message->fds[3];
    message->fd_count = 2;
    r = arena_adopt(&exchange->outbound, arena_fd, true, exchange->outbound_layout.bytes, UINT32_MAX);
    if (r < 0)
        return r;
    exchange->status = (struct app_status *)(void *)exchange->outbound.base;
    return allocate(exchange);
}

int app_exchange_create(int control_fd, struct app_exchange **ret_exchange, int *ret_settings_fd, int *ret_log_fd)
{
    struct control_message message;
    int r = receive_setup(control_fd, &message);
    if (r < 0)
        return r;
    struct app_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        control_close_fds(&message);
        return -ENOMEM;
    }
    exchange->control_fd = control_fd;
    exchange->doorbell_fd = -1;
    r = set_up(exchange, &message);
    if (r < 0) {
        control_close_fds(&message);
        app_exchange_destroy(exchange);
        return r;
    }
    *ret_settings_fd = message.fds[0];
    *ret_log_fd = exchange->log_fd = message.fds[1];
    *ret_exchange = exchange;
    return 0;
}

void app_exchange_destroy(struct app_exchange *exchange)
{
    if (exchange == NULL)
        return;
    app_requests_clear(exchange);
    for (uint32_t i = 0; exchange->rings != NULL && i < exchange->setup.shape.rings; i++) {
        struct ring_link *link = &exchange->rings[i];
        if (link->memory != NULL)
            ring_memory_release(link->memory);
        fd_drop(&link->doorbell);
        fd_drop(&link->files);
        free(link->open);
    }
    free(exchange->rings);
    free(exchange->owners);
    block_pool_deinit(&exchange->blocks);
    arena_deinit(&exchange->outbound);
    if (exchange->doorbell_fd >= 0)
        close(exchange->doorbell_fd);
    free(exchange);
}

void app_exchange_put_log(struct app_exchange *exchange, int fd)
{
    dup3(exchange->log_fd, fd, O_CLOEXEC);
    close(exchange->log_fd);
    exchange->log_fd = fd;
}

void app_exchange_set_hooks(struct app_exchange *exchange, const struct app_exchange_hooks *hooks)
{
    exchange->hooks = *hooks;
}

const struct control_setup *app_exchange_setup(const struct app_exchange *exchange)
{
    return &exchange->setup;
}

int app_exchange_ready(struct app_exchange *exchange, uint32_t places, uint32_t flags)
{
    const struct control_ready ready = {.places = places, .flags = flags};
    return control_send(exchange->control_fd, CONTROL_READY, &ready, sizeof ready, NULL, 0);
}

void app_exchange_heartbeat(struct app_exchange *exchange)
{
    /* Relaxed: the supervisor only wants to see it move. */
    atomic_fetch_add_explicit(&exchange->status->heartbeat, 1, memory_order_relaxed);
}

int app_exchange_fd(const struct app_exchange *exchange)
{
    return exchange->doorbell_fd;
}

int app_exchange_control_fd(const struct app_exchange *exchange)
{
    return exchange->control_fd;
}

bool app_exchange_draining(const struct app_exchange *exchange)
{
    return exchange->draining;
}

bool app_exchange_stopping(const struct app_exchange *exchange)
{
    return exchange->stopping;
}

bool app_exchange_is_let_go(const struct app_exchange *exchange)
{
    return exchange->is_let_go;
}

uint32_t app_exchange_open_requests(const struct app_exchange *exchange)
{
    return exchange->open_count;
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

static void on_blocks(struct app_exchange *exchange, struct ring_link *link, const struct message *message)
{
    uint32_t count = message->count < MESSAGE_BLOCKS_MAX ? message->count : MESSAGE_BLOCKS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = message->blocks[i];
        if (!block_pool_give_back(&exchange->blocks, block, NULL))
            continue;
        const struct block_owner *owner = &exchange->owners[block];
        struct open_request *request = link->open[owner->slot];
        if (request == NULL || request->public.generation != owner->generation)
            continue;
        if (block >= exchange->blocks.small)
            request->public.blocks_out -= request->public.blocks_out > 0;
        else
            request->small_out -= request->small_out > 0;
    }
}

static void dispatch(struct app_exchange *exchange, uint32_t ring, const struct message *message, bool *room)
{
    struct ring_link *link = &exchange->rings[ring];
    if (message->kind == MESSAGE_BLOCKS) {
        on_blocks(exchange, link, message);
        *room = true;
        return;
    }
    if (message->slot >= exchange->setup.shape.slots)
        return;
    switch (message->kind) {
    case MESSAGE_REQUEST:
        app_requests_open(exchange, ring, message);
        break;
    case MESSAGE_BODY:
    case MESSAGE_CANCEL:
        app_requests_hear(exchange, link, message);
        break;
    default:
        break; /* not a message of this direction: nothing to do with it, nothing lost */
    }
}

static bool pump_ring(struct app_exchange *exchange, uint32_t ring, bool *room)
{
    struct ring_link *link = &exchange->rings[ring];
    struct message message;
    uint32_t budget = exchange->setup.shape.request_entries;
    bool any = false;
    while (link->memory != NULL && budget-- > 0 && spsc_pop(&link->requests, &message) == 1) {
        any = true;
        dispatch(exchange, ring, &message, room);
    }
    return any;
}

bool app_exchange_pump(struct app_exchange *exchange)
{
    bool any = false;
    bool room = false;
    atomic_fetch_add_explicit(&exchange->epoch, 1, memory_order_relaxed);
    const uint32_t rings = exchange->setup.shape.rings;
    assert(rings > 0);
    for (uint32_t i = 0; i < rings; i++)
        any |= pump_ring(exchange, (exchange->next_ring + i) % rings, &room);
    exchange->next_ring = (exchange->next_ring + 1) % rings;
    if (exchange->deferred != NULL) {
        app_requests_retry(exchange);
        room = true;
    }
    if (room) {
        if (exchange->hooks.on_room != NULL)
            exchange->hooks.on_room(exchange->hooks.context);
        app_waiter_wake_for_room(exchange);
    }
    return any;
}

/* ---- sleeping --------------------------------------------------------------------------------------------------- */

/* Who waits for a body or for room must not be kept awake by requests that are for others. */
bool app_exchange_arm_for(struct app_exchange *exchange, bool wants_requests)
{
    app_exchange_flush(exchange);
    for (uint32_t i = 0; i < exchange->setup.shape.rings; i++)
        if (exchange->rings[i].memory != NULL)
            doorbell_sleeping(&exchange->rings[i].memory->pair->app_sleeping);
    if (exchange->queue_first == NULL || !wants_requests) {
        bool pending = false;
        for (uint32_t i = 0; i < exchange->setup.shape.rings; i++)
            pending |= exchange->rings[i].memory != NULL && spsc_reader_pending(&exchange->rings[i].requests);
        if (!pending)
            return true;
    }
    app_exchange_disarm(exchange);
    return false;
}

bool app_exchange_arm(struct app_exchange *exchange)
{
    return app_exchange_arm_for(exchange, true);
}

void app_exchange_disarm(struct app_exchange *exchange)
{
    for (uint32_t i = 0; i < exchange->setup.shape.rings; i++)
        if (exchange->rings[i].memory != NULL)
            doorbell_awake(&exchange->rings[i].memory->pair->app_sleeping);
}
