#include "pybridge/app_exchange.h"

#include "daemon/exchange/block_pool.h"
#include "daemon/exchange/doorbell.h"
#include "daemon/exchange/field_block.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    LARGE_BLOCKS_PER_RESPONSE = APP_RESPONSE_WINDOW / LAYOUT_LARGE_BLOCK_BYTES,
    SMALL_BLOCKS_PER_RESPONSE = 64,
    LARGE_BLOCKS_RESERVED = 16, /* 1 MiB for responses with nothing outstanding: stuck readers cannot stop quick ones */
    SMALL_BLOCKS_RESERVED = 128,
    CREDIT_BATCH_BYTES = 16'384,
    STANDBY_TICK_MS = 1,
    STANDBY_IDLE_TICKS = 10,
    SLOW_APPLICATION_NS = 200'000,
};

enum waiter_word { WAITER_SLEEPS, WAITER_WOKEN, WAITER_TICKS };

/* One life of one I/O process as seen from here. Outlives the process while requests of it are still open. */
struct ring_memory {
    struct arena inbound;
    struct arena pair_memory;
    struct pair_page *pair;
    uint32_t holders; /* the link, and each open request */
};

struct ring_link {
    struct ring_memory *memory; /* NULL while that I/O process is away */
    uint32_t generation;
    struct spsc_reader requests;
    struct spsc_writer replies;
    int doorbell;
    bool unflushed;
    struct open_request **open; /* by slot */
};

struct piece {
    uint32_t offset;
    uint32_t length;
    struct piece *next;
};

struct open_request {
    struct app_request public;
    struct ring_memory *memory;
    struct piece *first;
    struct piece *last;
    struct open_request *next; /* queue of unclaimed requests, deferred list or free list: never two at once */
    uint64_t begun_ns;
    uint32_t small_out; /* small blocks of this response that the I/O process still holds */
    uint32_t credit;    /* octets consumed, not yet told */
    bool claimed;
    bool orphan;   /* its I/O process is gone: nothing more is sent */
    bool wanted;   /* CONSUMED was sent at least once, or want_body was */
    bool deferred; /* in the list of requests with something unsent */
    bool done;     /* the adapter is done; only the message is missing */
};

struct block_owner {
    uint32_t slot;
    uint32_t generation;
};

struct app_exchange {
    struct control_setup setup;
    struct inbound_layout inbound_layout;
    struct outbound_layout outbound_layout;
    struct arena outbound;
    struct app_status *status;
    struct block_pool blocks;
    struct block_owner *owners;
    struct ring_link *rings;
    int control_fd;
    int log_fd; /* the caller's; a reopened file takes its place */
    int doorbell_fd;
    struct app_exchange_hooks hooks;
    uint32_t next_ring;

    struct open_request *queue_first; /* requests that came and are not claimed yet, oldest first */
    struct open_request *queue_last;
    struct open_request *deferred;
    struct open_request *free_requests;
    struct piece *free_pieces;
    uint32_t open_count;

    struct message held; /* the last END message, kept back for one moment so that DONE can ride on it */
    uint32_t held_ring;
    bool has_held;

    bool draining;
    bool stopping;

    /* Waiting threads. The three atomics are what the standby looks at without the lock. */
    struct app_waiter *waiters;
    struct app_waiter *standby;
    _Atomic uint32_t leader_present;
    _Atomic uint32_t standby_ticking;
    _Atomic uint64_t epoch;
    uint64_t application_ns; /* moving average of what one request takes */
};

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
        exchange->rings[i].doorbell = -1;
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

static void memory_release(struct ring_memory *memory)
{
    assert(memory->holders > 0);
    if (--memory->holders > 0)
        return;
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
            memory_release(link->memory);
        if (link->doorbell >= 0)
            close(link->doorbell);
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

static void pieces_free(struct app_exchange *exchange, struct open_request *request)
{
    if (request->first == NULL)
        return;
    request->last->next = exchange->free_pieces;
    exchange->free_pieces = request->first;
    request->first = request->last = NULL;
}

static void request_free(struct app_exchange *exchange, struct open_request *request)
{
    pieces_free(exchange, request);
    if (request->memory != NULL)
        memory_release(request->memory);
    request->next = exchange->free_requests;
    exchange->free_requests = request;
}

static void piece_append(struct app_exchange *exchange, struct open_request *request, uint32_t offset, uint32_t length)
{
    if (length == 0)
        return;
    if (arena_at(&request->memory->inbound, offset, length) == NULL) {
        request->public.body_state = APP_BODY_BROKEN;
        return;
    }
    struct piece *piece = exchange->free_pieces;
    if (piece != NULL)
        exchange->free_pieces = piece->next;
    else
        piece = malloc(sizeof *piece);
    if (piece == NULL) {
        request->public.body_state = APP_BODY_BROKEN;
        return;
    }
    *piece = (struct piece){.offset = offset, .length = length};
    if (request->last != NULL)
        request->last->next = piece;
    else
        request->first = piece;
    request->last = piece;
}

static void body_arrived(struct app_exchange *exchange, struct open_request *request, const struct message *message)
{
    if (request->public.body_state != APP_BODY_MORE)
        return;
    piece_append(exchange, request, message->body_offset, message->body_length);
    if (request->public.body_state == APP_BODY_MORE && (message->flags & MESSAGE_END) != 0)
        request->public.body_state = (message->flags & MESSAGE_FAILED) != 0 ? APP_BODY_BROKEN : APP_BODY_ENDED;
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

static bool push(struct app_exchange *exchange, uint32_t ring, const struct message *message)
{
    release_held(exchange);
    struct ring_link *link = &exchange->rings[ring];
    if (!spsc_push(&link->replies, message))
        return false;
    link->unflushed = true;
    return true;
}

/* As push, but END messages wait for the DONE that nearly always follows at once. */
static bool push_or_hold(struct app_exchange *exchange, uint32_t ring, const struct message *message)
{
    if ((message->flags & MESSAGE_END) == 0)
        return push(exchange, ring, message);
    release_held(exchange);
    if (spsc_writer_room(&exchange->rings[ring].replies) == 0)
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

static struct message message_for(const struct open_request *request, enum message_kind kind)
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
    struct message message = message_for(request, MESSAGE_CONSUMED);
    message.count = request->credit;
    if (!push(exchange, request->public.ring, &message))
        return false;
    request->credit = 0;
    return true;
}

/* Whether nothing of the request is left to send; then it may be freed when it is done. */
static bool settle(struct app_exchange *exchange, struct open_request *request)
{
    if (request->orphan)
        return true;
    if (request->done) {
        struct message message = message_for(request, MESSAGE_DONE);
        return push(exchange, request->public.ring, &message);
    }
    return request->credit == 0 || send_credit(exchange, request);
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
    body_arrived(exchange, request, message);
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

static void wake_waiters_of(struct app_exchange *exchange, const struct app_request *request);
static void wake_waiters_for_room(struct app_exchange *exchange);

static void cancel(struct app_exchange *exchange, struct open_request *request)
{
    request->public.fate = APP_REQUEST_CANCELLED;
    if (request->public.body_state == APP_BODY_MORE)
        request->public.body_state = APP_BODY_BROKEN;
    if (!request->claimed || request->done)
        return;
    if (exchange->hooks.on_cancel != NULL)
        exchange->hooks.on_cancel(&request->public, exchange->hooks.context);
    wake_waiters_of(exchange, &request->public);
}

static void on_slot_message(struct app_exchange *exchange, struct ring_link *link, const struct message *message)
{
    struct open_request *request = link->open[message->slot];
    if (request == NULL || request->public.generation != message->generation || request->done)
        return;
    if (message->kind == MESSAGE_CANCEL) {
        cancel(exchange, request);
        return;
    }
    body_arrived(exchange, request, message);
    if (!request->claimed)
        return;
    if (exchange->hooks.on_body != NULL)
        exchange->hooks.on_body(&request->public, exchange->hooks.context);
    wake_waiters_of(exchange, &request->public);
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
        wake_waiters_for_room(exchange);
    }
    return any;
}

static void lead_on(struct app_exchange *exchange);

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
            lead_on(exchange);
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
    memory_release(link->memory);
    close(link->doorbell);
    link->memory = NULL;
    link->doorbell = -1;
    link->unflushed = false;
    retry_deferred(exchange);
    if (exchange->hooks.on_room != NULL)
        exchange->hooks.on_room(exchange->hooks.context);
    wake_waiters_for_room(exchange);
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
    message->fd_count = 1;
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
    return memory;
}

static void ring_up(struct app_exchange *exchange, const struct control_peer *peer, struct control_message *message)
{
    if (peer->index >= exchange->setup.shape.rings || message->fd_count != 3)
        return;
    ring_down(exchange, peer->index);
    struct ring_memory *memory = memory_adopt(exchange, message);
    if (memory == NULL)
        return;
    struct ring_link *link = &exchange->rings[peer->index];
    link->memory = memory;
    link->generation = peer->generation;
    link->doorbell = message->fds[0];
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

static void wake_all(struct app_exchange *exchange);

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
            exchange->stopping = true; /* the supervisor is gone */
    }
    if (exchange->stopping && exchange->hooks.on_stop != NULL)
        exchange->hooks.on_stop(exchange->hooks.context);
    if (exchange->stopping || exchange->draining)
        wake_all(exchange);
}

/* ---- sleeping --------------------------------------------------------------------------------------------------- */

/* Who waits for a body or for room must not be kept awake by requests that are for others. */
static bool arm(struct app_exchange *exchange, bool wants_requests)
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
    return arm(exchange, true);
}

void app_exchange_disarm(struct app_exchange *exchange)
{
    for (uint32_t i = 0; i < exchange->setup.shape.rings; i++)
        if (exchange->rings[i].memory != NULL)
            doorbell_awake(&exchange->rings[i].memory->pair->app_sleeping);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool futex_wait(_Atomic uint32_t *word, uint32_t expected, int timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
    long r = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
    return !(r < 0 && errno == ETIMEDOUT);
}

static void waiter_signal(struct app_waiter *waiter, enum waiter_word word)
{
    uint32_t expected = WAITER_SLEEPS;
    /* Release: what the waiter will find was stored before; pairs with the acquire in app_exchange_sleep(). */
    if (word == WAITER_WOKEN)
        atomic_store_explicit(&waiter->word, WAITER_WOKEN, memory_order_release);
    else if (!atomic_compare_exchange_strong_explicit(&waiter->word, &expected, word, memory_order_release,
                                                      memory_order_relaxed))
        return;
    futex_wake(&waiter->word);
}

static void wake_waiters_of(struct app_exchange *exchange, const struct app_request *request)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->request == request && !waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

static void wake_waiters_for_room(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->wants_room && !waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

static void wake_all(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next)
        if (!waiter->leads)
            waiter_signal(waiter, WAITER_WOKEN);
}

/*
 * A thread is about to run application code. Somebody should look at the doorbell meanwhile; waking a thread for that
 * costs more than a quick request takes. So: where requests are slow one is woken at once; where they are quick the
 * standby looks in every millisecond whether anybody has looked at the queues, and takes over when not.
 */
static void lead_on(struct app_exchange *exchange)
{
    if (exchange->waiters == NULL || atomic_load_explicit(&exchange->leader_present, memory_order_relaxed) != 0)
        return;
    if (exchange->application_ns >= SLOW_APPLICATION_NS || exchange->standby == NULL)
        waiter_signal(exchange->waiters, WAITER_WOKEN);
    else if (atomic_load_explicit(&exchange->standby_ticking, memory_order_seq_cst) == 0)
        waiter_signal(exchange->standby, WAITER_TICKS);
}

static void waiter_link(struct app_exchange *exchange, struct app_waiter *waiter)
{
    waiter->previous = NULL;
    waiter->next = exchange->waiters;
    if (waiter->next != NULL)
        waiter->next->previous = waiter;
    exchange->waiters = waiter;
}

static void waiter_unlink(struct app_exchange *exchange, struct app_waiter *waiter)
{
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        exchange->waiters = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
}

/* Requests came to a thread that waited for something else: one that waits for requests takes them. */
static void hand_on(struct app_exchange *exchange)
{
    for (struct app_waiter *waiter = exchange->waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->request != NULL || waiter->wants_room || waiter->leads)
            continue;
        waiter_signal(waiter, WAITER_WOKEN);
        return;
    }
}

bool app_exchange_prepare_wait(struct app_exchange *exchange, struct app_waiter *waiter,
                               const struct app_request *request, bool wants_room)
{
    app_exchange_flush(exchange);
    *waiter = (struct app_waiter){.request = request, .wants_room = wants_room};
    waiter_link(exchange, waiter);
    if (exchange->queue_first != NULL && (request != NULL || wants_room))
        hand_on(exchange); /* whoever took them from the queues is about to wait for something else */
    if (atomic_load_explicit(&exchange->leader_present, memory_order_relaxed) != 0) {
        if (exchange->standby == NULL)
            exchange->standby = waiter;
        /* A waiting request in the queue is for any thread that wants one. */
        return request != NULL || wants_room || exchange->queue_first == NULL;
    }
    waiter->leads = true;
    atomic_store_explicit(&exchange->leader_present, 1, memory_order_seq_cst);
    return arm(exchange, request == NULL && !wants_room);
}

static void sleep_leading(const struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = exchange->doorbell_fd, .events = POLLIN},
                            {.fd = exchange->control_fd, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms) <= 0)
        return;
    waiter->doorbell_rang = fds[0].revents != 0;
    waiter->supervisor_spoke = fds[1].revents != 0;
}

/* The standby's tick: false when it has to take over, because no thread has looked at the queues for a whole tick. */
static bool standby_tick(struct app_exchange *exchange, uint64_t *epoch_seen, uint32_t *idle_ticks, bool *ticking)
{
    if (atomic_load_explicit(&exchange->leader_present, memory_order_seq_cst) != 0) {
        if (++*idle_ticks < STANDBY_IDLE_TICKS)
            return true;
        /* seq_cst: the store and the load pair with the load and store of lead_on(); one of us sees the other. */
        atomic_store_explicit(&exchange->standby_ticking, 0, memory_order_seq_cst);
        if (atomic_load_explicit(&exchange->leader_present, memory_order_seq_cst) != 0) {
            *ticking = false;
            return true;
        }
        atomic_store_explicit(&exchange->standby_ticking, 1, memory_order_seq_cst);
    }
    *idle_ticks = 0;
    uint64_t epoch = atomic_load_explicit(&exchange->epoch, memory_order_relaxed);
    bool moved = epoch != *epoch_seen;
    *epoch_seen = epoch;
    return moved;
}

static void sleep_following(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    uint64_t epoch_seen = 0;
    uint32_t idle_ticks = 0;
    bool ticking = false;
    for (;;) {
        bool woken = futex_wait(&waiter->word, WAITER_SLEEPS, ticking ? STANDBY_TICK_MS : timeout_ms);
        uint32_t word = atomic_load_explicit(&waiter->word, memory_order_acquire);
        if (word == WAITER_WOKEN)
            return;
        if (word == WAITER_TICKS) {
            uint32_t expected = WAITER_TICKS;
            atomic_compare_exchange_strong(&waiter->word, &expected, WAITER_SLEEPS);
            atomic_store_explicit(&exchange->standby_ticking, 1, memory_order_seq_cst);
            ticking = true;
        } else if (!woken) {
            if (!ticking || !standby_tick(exchange, &epoch_seen, &idle_ticks, &ticking))
                return;
        }
    }
}

void app_exchange_sleep(struct app_exchange *exchange, struct app_waiter *waiter, int timeout_ms)
{
    if (waiter->leads)
        sleep_leading(exchange, waiter, timeout_ms);
    else
        sleep_following(exchange, waiter, timeout_ms);
}

static void drain_doorbell(const struct app_exchange *exchange)
{
    uint64_t count;
    ssize_t r = read(exchange->doorbell_fd, &count, sizeof count);
    (void)r; /* EAGAIN: the control socket or the time limit woke us */
}

void app_exchange_finish_wait(struct app_exchange *exchange, struct app_waiter *waiter)
{
    waiter_unlink(exchange, waiter);
    if (exchange->standby == waiter) {
        exchange->standby = NULL;
        atomic_store_explicit(&exchange->standby_ticking, 0, memory_order_seq_cst);
    }
    if (waiter->leads) {
        atomic_store_explicit(&exchange->leader_present, 0, memory_order_seq_cst);
        app_exchange_disarm(exchange);
        if (waiter->doorbell_rang)
            drain_doorbell(exchange);
        if (waiter->supervisor_spoke)
            app_exchange_control(exchange);
    }
    app_exchange_pump(exchange);
    if (exchange->queue_first != NULL && (waiter->request != NULL || waiter->wants_room))
        hand_on(exchange);
}

/* ---- reading a request ------------------------------------------------------------------------------------------ */

static struct open_request *open_of(const struct app_request *request)
{
    static_assert(offsetof(struct open_request, public) == 0, "one is the other's head");
    return (struct open_request *)(uintptr_t)request;
}

struct bytes app_request_span(const struct app_exchange *exchange, const struct app_request *request, uint32_t offset,
                              uint32_t length)
{
    (void)exchange;
    const uint8_t *data = arena_at(&open_of(request)->memory->inbound, offset, length);
    return data == NULL ? (struct bytes){} : bytes_of(data, length);
}

struct bytes app_request_body(const struct app_request *request)
{
    const struct open_request *open = open_of(request);
    if (open->first == NULL)
        return (struct bytes){};
    return bytes_of(open->memory->inbound.base + open->first->offset, open->first->length);
}

void app_request_consume(struct app_exchange *exchange, struct app_request *request, size_t octets)
{
    struct open_request *open = open_of(request);
    struct piece *piece = open->first;
    if (piece == NULL || octets == 0)
        return;
    assert(octets <= piece->length);
    piece->offset += (uint32_t)octets;
    piece->length -= (uint32_t)octets;
    if (piece->length == 0) {
        open->first = piece->next;
        if (open->first == NULL)
            open->last = NULL;
        piece->next = exchange->free_pieces;
        exchange->free_pieces = piece;
    }
    request->body_read += octets;
    open->credit += (uint32_t)octets;
    open->wanted = true;
    /* The end of a body that has ended needs no credit: DONE gives everything back. */
    bool starved = open->first == NULL && request->body_state == APP_BODY_MORE;
    if (open->orphan || (open->credit < CREDIT_BATCH_BYTES && !starved))
        return;
    if (!send_credit(exchange, open))
        defer(exchange, open);
}

void app_request_want_body(struct app_exchange *exchange, struct app_request *request)
{
    struct open_request *open = open_of(request);
    if (open->wanted || open->orphan || request->body_state != APP_BODY_MORE)
        return;
    open->wanted = send_credit(exchange, open);
}

/* ---- writing a response ----------------------------------------------------------------------------------------- */

static int64_t borrow_small(struct app_exchange *exchange, struct open_request *open)
{
    struct block_pool *pool = &exchange->blocks;
    bool outstanding = open->small_out > 0 || open->public.blocks_out > 0;
    if (open->small_out >= SMALL_BLOCKS_PER_RESPONSE ||
        (outstanding && pool->free_small_count <= SMALL_BLOCKS_RESERVED))
        return -ENOBUFS;
    return block_pool_borrow_small(pool, open->public.ring);
}

static int64_t borrow_large(struct app_exchange *exchange, struct open_request *open)
{
    struct block_pool *pool = &exchange->blocks;
    bool outstanding = open->small_out > 0 || open->public.blocks_out > 0;
    if (open->public.blocks_out >= LARGE_BLOCKS_PER_RESPONSE ||
        (outstanding && pool->free_large_count <= LARGE_BLOCKS_RESERVED))
        return -ENOBUFS;
    return block_pool_borrow_large(pool, open->public.ring);
}

/* From now on the I/O process holds the block. */
static void block_went_out(struct app_exchange *exchange, struct open_request *open, uint32_t block)
{
    exchange->owners[block] = (struct block_owner){open->public.slot, open->public.generation};
    if (block >= exchange->blocks.small)
        open->public.blocks_out++;
    else
        open->small_out++;
}

static uint8_t *block_memory(const struct app_exchange *exchange, uint32_t block)
{
    return exchange->outbound.base + block_pool_offset(&exchange->blocks, block);
}

int app_response_begin(struct app_exchange *exchange, struct app_request *request, struct app_response *ret_response)
{
    struct open_request *open = open_of(request);
    if (open->orphan)
        return -EPIPE;
    int64_t block = borrow_small(exchange, open);
    if (block < 0)
        block = borrow_large(exchange, open);
    if (block < 0)
        return (int)block;
    *ret_response = (struct app_response){
        .request = request,
        .block = (uint32_t)block,
        .memory = block_memory(exchange, (uint32_t)block),
        .capacity = block_pool_bytes(&exchange->blocks, (uint32_t)block),
    };
    return 0;
}

static int move_to_large(struct app_exchange *exchange, struct app_response *response)
{
    if (response->capacity == LAYOUT_LARGE_BLOCK_BYTES)
        return -EMSGSIZE;
    int64_t block = borrow_large(exchange, open_of(response->request));
    if (block < 0)
        return (int)block;
    uint8_t *memory = block_memory(exchange, (uint32_t)block);
    memcpy(memory, response->memory, response->head_length);
    block_pool_give_back(&exchange->blocks, response->block, NULL);
    response->block = (uint32_t)block;
    response->memory = memory;
    response->capacity = LAYOUT_LARGE_BLOCK_BYTES;
    return 0;
}

int app_response_field(struct app_exchange *exchange, struct app_response *response, struct bytes name,
                       struct bytes value)
{
    while (!field_block_append(response->memory, response->capacity, &response->head_length, name, value)) {
        int r = move_to_large(exchange, response);
        if (r < 0)
            return r;
    }
    return 0;
}

void app_response_drop(struct app_exchange *exchange, struct app_response *response)
{
    if (response->memory == NULL)
        return;
    /* Of an orphan all blocks came back when its I/O process went: this one may be somebody else's by now. */
    if (!open_of(response->request)->orphan)
        block_pool_give_back(&exchange->blocks, response->block, NULL);
    *response = (struct app_response){};
}

int app_response_start(struct app_exchange *exchange, struct app_response *response, uint16_t status,
                       int64_t content_length, struct bytes body, bool end, size_t *ret_taken)
{
    struct open_request *open = open_of(response->request);
    if (open->orphan)
        return -EPIPE;
    if (body.length > response->capacity - response->head_length)
        (void)move_to_large(exchange, response); /* else as much as fits goes along */
    size_t room = response->capacity - response->head_length;
    size_t taken = body.length < room ? body.length : room;

    struct message message = message_for(open, MESSAGE_RESPONSE);
    message.status = status;
    message.content_length = content_length;
    message.head_block = response->block;
    message.head_offset = block_pool_offset(&exchange->blocks, response->block);
    message.head_length = (uint32_t)response->head_length;
    if (taken > 0) {
        message.body_block = response->block;
        message.body_offset = message.head_offset + message.head_length;
        message.body_length = (uint32_t)taken;
    }
    if (end && taken == body.length)
        message.flags = MESSAGE_END;
    if (taken > 0)
        memcpy(response->memory + response->head_length, body.data, taken);
    if (!push_or_hold(exchange, open->public.ring, &message))
        return -EAGAIN;
    block_went_out(exchange, open, response->block);
    open->public.head_sent = true;
    open->public.end_sent = (message.flags & MESSAGE_END) != 0;
    *response = (struct app_response){};
    *ret_taken = taken;
    return 0;
}

int app_response_interim(struct app_exchange *exchange, struct app_response *response, uint16_t status)
{
    struct open_request *open = open_of(response->request);
    if (open->orphan)
        return -EPIPE;
    struct message message = message_for(open, MESSAGE_INTERIM);
    message.status = status;
    message.head_block = response->block;
    message.head_offset = block_pool_offset(&exchange->blocks, response->block);
    message.head_length = (uint32_t)response->head_length;
    if (!push(exchange, open->public.ring, &message))
        return -EAGAIN;
    block_went_out(exchange, open, response->block);
    *response = (struct app_response){};
    return 0;
}

/* One message of at most one block. Octets taken, or -ENOBUFS / -EAGAIN. */
static int64_t send_piece(struct app_exchange *exchange, struct open_request *open, struct bytes body, bool end)
{
    int64_t block = body.length <= LAYOUT_SMALL_BLOCK_BYTES ? borrow_small(exchange, open) : -ENOBUFS;
    if (block < 0)
        block = borrow_large(exchange, open);
    if (block < 0)
        return block;
    size_t capacity = block_pool_bytes(&exchange->blocks, (uint32_t)block);
    size_t taken = body.length < capacity ? body.length : capacity;

    struct message message = message_for(open, MESSAGE_BODY);
    message.body_block = (uint32_t)block;
    message.body_offset = block_pool_offset(&exchange->blocks, (uint32_t)block);
    message.body_length = (uint32_t)taken;
    if (end && taken == body.length)
        message.flags = MESSAGE_END;
    memcpy(block_memory(exchange, (uint32_t)block), body.data, taken);
    if (!push_or_hold(exchange, open->public.ring, &message)) {
        block_pool_give_back(&exchange->blocks, (uint32_t)block, NULL);
        return -EAGAIN;
    }
    block_went_out(exchange, open, (uint32_t)block);
    open->public.end_sent = (message.flags & MESSAGE_END) != 0;
    return (int64_t)taken;
}

static int send_end(struct app_exchange *exchange, struct open_request *open, uint8_t flags)
{
    struct message message = message_for(open, MESSAGE_BODY);
    message.flags = flags;
    if (!push_or_hold(exchange, open->public.ring, &message))
        return -EAGAIN;
    open->public.end_sent = true;
    return 0;
}

int app_response_body(struct app_exchange *exchange, struct app_request *request, struct bytes body, bool end,
                      size_t *ret_taken)
{
    struct open_request *open = open_of(request);
    if (open->orphan || request->fate == APP_REQUEST_CANCELLED)
        return -EPIPE;
    size_t taken = 0;
    while (taken < body.length) {
        int64_t r = send_piece(exchange, open, bytes_skip(body, taken), end);
        if (r < 0)
            break;
        taken += (size_t)r;
    }
    if (body.length == 0 && end) {
        int r = send_end(exchange, open, MESSAGE_END);
        if (r < 0)
            return r;
    } else if (taken == 0 && body.length > 0) {
        return -EAGAIN;
    }
    *ret_taken = taken;
    return 0;
}

int app_response_fail(struct app_exchange *exchange, struct app_request *request)
{
    struct open_request *open = open_of(request);
    if (open->orphan || request->end_sent)
        return 0;
    return send_end(exchange, open, MESSAGE_END | MESSAGE_FAILED);
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
    struct open_request *open = open_of(request);
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
