#include "pybridge/app_exchange_state.h"

#include "daemon/base/owned.h"
#include "daemon/exchange/doorbell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1'000'000'000U + (uint64_t)now.tv_nsec;
}

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

void app_exchange_release_memory(struct ring_memory *memory)
{
    assert(memory->holders > 0);
    if (--memory->holders > 0)
        return;
    fd_drop(&memory->spool);
    arena_deinit(&memory->inbound);
    arena_deinit(&memory->pair_memory);
    free(memory);
}

static void request_free(struct app_exchange *exchange, struct open_request *request);

static void queue_clear(struct app_exchange *exchange)
{
    while (exchange->queue_first != NULL) {
        struct open_request *request = exchange->queue_first;
        exchange->queue_first = request->next;
        request_free(exchange, request);
    }
    exchange->queue_last = NULL;
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

void app_exchange_destroy(struct app_exchange *exchange)
{
    if (exchange == NULL)
        return;
    queue_clear(exchange);
    for (uint32_t i = 0; exchange->rings != NULL && i < exchange->setup.shape.rings; i++) {
        struct ring_link *link = &exchange->rings[i];
        if (link->memory != NULL)
            app_exchange_release_memory(link->memory);
        fd_drop(&link->doorbell);
        fd_drop(&link->files);
        free(link->open);
    }
    free_lists(exchange);
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

uint32_t app_exchange_open_requests(const struct app_exchange *exchange)
{
    return exchange->open_count;
}

/* ---- requests and pieces ---------------------------------------------------------------------------------------- */

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
        app_exchange_release_memory(request->memory);
    request->next = exchange->free_requests;
    exchange->free_requests = request;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

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

static void defer(struct app_exchange *exchange, struct open_request *request)
{
    if (request->deferred)
        return;
    request->deferred = true;
    request->next = exchange->deferred;
    exchange->deferred = request;
}

static bool send_credit(struct app_exchange *exchange, struct open_request *request)
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
    const bool said = send_credit(exchange, request);
    if (!said)
        defer(exchange, request);
    return said;
}

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
        if (!send_credit(exchange, request))
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

static void retry_deferred(struct app_exchange *exchange)
{
    struct open_request *list = exchange->deferred;
    exchange->deferred = NULL;
    while (list != NULL) {
        struct open_request *request = list;
        list = request->next;
        request->deferred = false;
        if (!settle(exchange, request))
            defer(exchange, request);
        else if (request->done)
            finish(exchange, request);
    }
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

static void on_request(struct app_exchange *exchange, uint32_t ring, const struct message *message)
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
        (void)app_body_find_spool(exchange,
                                  request); /* while there are descriptors; else with the first that needs it */
    }
    app_body_arrived(exchange, request, message);
    link->open[message->slot] = request;
    if (exchange->queue_last != NULL)
        exchange->queue_last->next = request;
    else
        exchange->queue_first = request;
    exchange->queue_last = request;
}

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

static void on_slot_message(struct app_exchange *exchange, struct ring_link *link, const struct message *message)
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
        on_request(exchange, ring, message);
        break;
    case MESSAGE_BODY:
    case MESSAGE_CANCEL:
        on_slot_message(exchange, link, message);
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
        retry_deferred(exchange);
        room = true;
    }
    if (room) {
        if (exchange->hooks.on_room != NULL)
            exchange->hooks.on_room(exchange->hooks.context);
        app_waiter_wake_for_room(exchange);
    }
    return any;
}

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

/* ---- control ---------------------------------------------------------------------------------------------------- */

static void ring_down(struct app_exchange *exchange, uint32_t ring)
{
    struct ring_link *link = &exchange->rings[ring];
    if (link->memory == NULL)
        return;
    if (exchange->has_held && exchange->held_ring == ring)
        exchange->has_held = false;
    for (uint32_t slot = 0; slot < exchange->setup.shape.slots; slot++) {
        struct open_request *request = link->open[slot];
        if (request == NULL)
            continue;
        link->open[slot] = NULL;
        request->orphan = true;
        cancel(exchange, request);
    }
    for (uint32_t block = 0; block < block_pool_count(&exchange->blocks); block++)
        if (exchange->blocks.lent_to[block] == ring)
            block_pool_give_back(&exchange->blocks, block, NULL);
    app_exchange_release_memory(link->memory);
    fd_drop(&link->doorbell);
    fd_drop(&link->files);
    link->memory = NULL;
    link->unflushed = false;
    retry_deferred(exchange);
    if (exchange->hooks.on_room != NULL)
        exchange->hooks.on_room(exchange->hooks.context);
    app_waiter_wake_for_room(exchange);
}

static struct ring_memory *memory_adopt(const struct app_exchange *exchange, struct control_message *message)
{
    struct ring_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return NULL;
    const uint32_t inbound_bytes = exchange->inbound_layout.bytes;
    const size_t pair_bytes = pair_page_bytes(&exchange->setup.shape);
    int inbound_fd = message->fds[0];
    int pair_fd = message->fds[1];
    message->fds[0] = message->fds[2];
    message->fds[1] = message->fds[3];
    message->fd_count = 2;
    int inbound = arena_adopt(&memory->inbound, inbound_fd, false, inbound_bytes, UINT32_MAX);
    int pair = arena_adopt(&memory->pair_memory, pair_fd, true, pair_bytes, UINT32_MAX);
    if (inbound < 0 || pair < 0) {
        arena_deinit(&memory->inbound);
        arena_deinit(&memory->pair_memory);
        free(memory);
        return NULL;
    }
    memory->pair = (struct pair_page *)(void *)memory->pair_memory.base;
    memory->holders = 1;
    memory->spool = -1;
    return memory;
}

static void ring_up(struct app_exchange *exchange, const struct control_peer *peer, struct control_message *message)
{
    if (peer->index >= exchange->setup.shape.rings || message->fd_count != 4)
        return;
    ring_down(exchange, peer->index);
    struct ring_memory *memory = memory_adopt(exchange, message);
    if (memory == NULL)
        return;
    struct ring_link *link = &exchange->rings[peer->index];
    link->memory = memory;
    link->generation = peer->generation;
    link->doorbell = message->fds[0];
    link->files = message->fds[1];
    message->fd_count = 0;
    const struct exchange_shape *shape = &exchange->setup.shape;
    const uint32_t app = exchange->setup.index;
    /* What this arena says of the I/O process before is of another epoch: the new one reads it as empty. */
    const uint32_t epoch = layout_epoch(peer->generation, exchange->setup.generation);
    layout_request_reader(shape, &memory->inbound, &exchange->outbound, peer->index, app, epoch, &link->requests);
    layout_reply_writer(shape, &memory->inbound, &exchange->outbound, peer->index, app, epoch, &link->replies);
}

static void handle_control(struct app_exchange *exchange, struct control_message *message)
{
    const struct control_peer *peer = control_payload(message, sizeof *peer);
    switch (message->kind) {
    case CONTROL_PEER_UP:
        if (peer != NULL)
            ring_up(exchange, peer, message);
        break;
    case CONTROL_PEER_GONE:
        if (peer != NULL && peer->index < exchange->setup.shape.rings &&
            exchange->rings[peer->index].generation == peer->generation)
            ring_down(exchange, peer->index);
        break;
    case CONTROL_LOG:
        /* In the place of the old one: threads that write finish there, the next line finds the new file. */
        if (message->fd_count > 0)
            dup3(message->fds[0], exchange->log_fd, O_CLOEXEC);
        break;
    case CONTROL_DRAIN:
        exchange->draining = true;
        if (exchange->hooks.on_drain != NULL)
            exchange->hooks.on_drain(exchange->hooks.context);
        break;
    case CONTROL_STOP:
        exchange->stopping = true;
        break;
    default:
        break;
    }
    control_close_fds(message);
}

/* The supervisor is gone: what was begun is finished, in the time that SIGTERM leaves (app_process.c). A socket whose
 * other end is closed would wake all who look at it for ever, so something that is silent takes its place. */
static void be_orphaned(struct app_exchange *exchange)
{
    OWNED_FD silence = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    exchange->draining = true;
    if (silence < 0 || dup3(silence, exchange->control_fd, O_CLOEXEC) < 0)
        exchange->stopping = true;
}

void app_exchange_control(struct app_exchange *exchange)
{
    struct control_message message;
    struct pollfd poll_fd = {.fd = exchange->control_fd, .events = POLLIN};
    while (!exchange->stopping && poll(&poll_fd, 1, 0) > 0) {
        int r = control_receive(exchange->control_fd, &message);
        if (r == -EAGAIN)
            break;
        if (r == 1)
            handle_control(exchange, &message);
        else if (r != -EBADMSG)
            be_orphaned(exchange);
    }
    if (exchange->stopping && exchange->hooks.on_stop != NULL)
        exchange->hooks.on_stop(exchange->hooks.context);
    if (exchange->stopping || exchange->draining)
        app_waiter_wake_all(exchange);
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

/* ---- reading a request ------------------------------------------------------------------------------------------ */

struct bytes app_request_span(const struct app_exchange *exchange, const struct app_request *request, uint32_t offset,
                              uint32_t length)
{
    (void)exchange;
    const uint8_t *data = arena_at(&open_request_of(request)->memory->inbound, offset, length);
    return data == NULL ? (struct bytes){} : bytes_of(data, length);
}

/* ---- the end of a request --------------------------------------------------------------------------------------- */

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
    if (exchange->has_held && exchange->held_ring == request->ring && exchange->held.slot == request->slot &&
        exchange->held.generation == request->generation && !open->orphan) {
        exchange->held.flags |= MESSAGE_WAS_DONE;
        release_held(exchange);
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
        defer(exchange, open);
}
