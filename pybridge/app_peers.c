#include "pybridge/app_exchange_state.h"

#include "daemon/base/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- I/O processes come and go ---------------------------------------------------------------------------------- */

static void ring_down(struct app_exchange *exchange, uint32_t ring)
{
    struct ring_link *link = &exchange->rings[ring];
    if (link->memory == NULL)
        return;
    app_post_ring_gone(exchange, ring);
    app_requests_orphan(exchange, link);
    for (uint32_t block = 0; block < block_pool_count(&exchange->blocks); block++)
        if (exchange->blocks.lent_to[block] == ring)
            block_pool_give_back(&exchange->blocks, block, NULL);
    ring_memory_release(link->memory);
    fd_drop(&link->doorbell);
    fd_drop(&link->files);
    link->memory = NULL;
    link->unflushed = false;
    app_requests_retry(exchange);
    if (exchange->hooks.on_room != NULL)
        exchange->hooks.on_room(exchange->hooks.context);
    app_waiter_wake_for_room(exchange);
}

static void ring_up(struct app_exchange *exchange, const struct control_peer *peer, struct control_message *message)
{
    if (peer->index >= exchange->setup.shape.rings || message->fd_count != 4)
        return;
    ring_down(exchange, peer->index);
    const struct exchange_shape *shape = &exchange->setup.shape;
    struct ring_memory *memory =
        ring_memory_adopt(message->fds[0], exchange->inbound_layout.bytes, message->fds[1], pair_page_bytes(shape));
    message->fds[0] = message->fds[2];
    message->fds[1] = message->fds[3];
    message->fd_count = 2;
    if (memory == NULL)
        return;
    struct ring_link *link = &exchange->rings[peer->index];
    link->memory = memory;
    link->generation = peer->generation;
    link->doorbell = message->fds[0];
    link->files = message->fds[1];
    message->fd_count = 0;
    const uint32_t app = exchange->setup.index;
    /* What this arena says of the I/O process before is of another epoch: the new one reads it as empty. */
    const uint32_t epoch = layout_epoch(peer->generation, exchange->setup.generation);
    layout_request_reader(shape, &memory->inbound, &exchange->outbound, peer->index, app, epoch, &link->requests);
    layout_reply_writer(shape, &memory->inbound, &exchange->outbound, peer->index, app, epoch, &link->replies);
}

void app_exchange_let_go(struct app_exchange *exchange)
{
    struct arena *outbound = &exchange->outbound;
    /* Should it fail, nothing but figures would be written: the requests of a ring that is down are orphans. */
    (void)!mmap(outbound->base, outbound->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0);
    for (uint32_t i = 0; i < exchange->setup.shape.rings; i++)
        ring_down(exchange, i);
    exchange->is_let_go = exchange->stopping = true;
}

/* ---- what the supervisor says ----------------------------------------------------------------------------------- */

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

/* The supervisor is gone: what was begun is finished, in the time that SIGTERM leaves (app_main.c). A socket whose
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
