#include "daemon/io/dispatch_state.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* ---- apps come -------------------------------------------------------------------------------------------------- */

static int link_open(struct dispatch *dispatch, struct app_link *link, const struct control_peer *peer,
                     struct control_message *message)
{
    const struct exchange_shape *shape = &dispatch->core->setup.shape;
    const int arena_fd = message->fds[0];
    const int pair_fd = message->fds[1];
    struct app_link fresh = {
        .up = true,
        .generation = peer->generation,
        .places = peer->places > 0 ? peer->places : 1,
        .flags = peer->flags,
        .pid = peer->pid,
        .app_doorbell = message->fds[2],
        .own_doorbell = message->fds[3],
        .files = message->fds[4],
    };
    message->fds[0] = fresh.app_doorbell;
    message->fds[1] = fresh.own_doorbell;
    message->fds[2] = fresh.files;
    message->fd_count = 3;
    int r = app_memory_create(shape, arena_fd, &fresh.memory);
    if (r < 0) {
        close(pair_fd);
        return r;
    }
    r = arena_adopt(&fresh.pair_memory, pair_fd, true, pair_page_bytes(shape), UINT32_MAX);
    if (r < 0) {
        app_memory_drop(fresh.memory);
        return r;
    }
    message->fd_count = 0;
    fresh.pair = (struct pair_page *)(void *)fresh.pair_memory.base;
    const uint32_t ring = dispatch->core->setup.index;
    const uint32_t epoch = layout_epoch(dispatch->core->setup.generation, peer->generation);
    layout_request_writer(shape, &dispatch->core->inbound, &fresh.memory->outbound, ring, peer->index, epoch,
                          &fresh.requests);
    layout_reply_reader(shape, &dispatch->core->inbound, &fresh.memory->outbound, ring, peer->index, epoch,
                        &fresh.replies);
    *link = fresh;
    return 0;
}

static void listen_to_doorbell(struct dispatch *dispatch, uint32_t app)
{
    const struct app_link *link = &dispatch->apps[app];
    ring_poll(dispatch->core->ring, link->own_doorbell, POLLIN, true,
              ring_token_make(RING_DOORBELL, link->generation, app));
}

int dispatch_app_up(struct dispatch *dispatch, const struct control_peer *peer, struct control_message *message)
{
    if (peer->index >= dispatch->core->setup.shape.apps || message->fd_count != 5)
        return -EINVAL;
    struct app_link *link = &dispatch->apps[peer->index];
    if (link->up)
        dispatch_app_gone(dispatch, peer->index, link->generation, 502);
    int r = link_open(dispatch, link, peer, message);
    if (r < 0)
        return r;
    dispatch->up[dispatch->up_count++] = peer->index;
    dispatch->core->app_buffers_requests = (peer->flags & CONTROL_APP_WSGI) != 0;
    listen_to_doorbell(dispatch, peer->index);
    (void)dispatch_send_spool(dispatch, link); /* now it has descriptors to spare; else with the first that needs it */
    return 0;
}

/* That it rang needs no handling, every turn looks at all queues. But a poll that ended, as all do that a full
 * completion queue hits, would leave this app's replies to be found by chance. */
void dispatch_on_doorbell(struct dispatch *dispatch, const struct ring_event *event)
{
    uint32_t index = ring_token_index(event->token);
    if (event->more || index >= dispatch->core->setup.shape.apps)
        return;
    const struct app_link *link = &dispatch->apps[index];
    if (link->up && (link->generation & RING_GENERATION_MASK) == ring_token_generation(event->token))
        listen_to_doorbell(dispatch, index);
}

/* ---- apps go ---------------------------------------------------------------------------------------------------- */

void dispatch_app_drain(struct dispatch *dispatch, uint32_t index, uint32_t generation)
{
    if (index >= dispatch->core->setup.shape.apps)
        return;
    struct app_link *link = &dispatch->apps[index];
    if (!link->up || link->generation != generation)
        return;
    link->draining = true;
    dispatch_recall_all(dispatch, index);
}

static void forget_up(struct dispatch *dispatch, uint32_t index)
{
    for (uint32_t i = 0; i < dispatch->up_count; i++) {
        if (dispatch->up[i] != index)
            continue;
        dispatch->up[i] = dispatch->up[--dispatch->up_count];
        return;
    }
}

/* One request of a dead app: begun, it failed; unbegun, it goes to another app, once. */
static void sweep(struct dispatch *dispatch, struct http_exchange *exchange, uint16_t status)
{
    bool unbegun = dispatch_send_recall(dispatch, exchange);
    if (!unbegun)
        dispatch_send_leave(dispatch, exchange);
    if (unbegun && !exchange->touched && exchange->owner != NULL && !exchange->redispatched) {
        exchange->redispatched = true;
        metrics_add(dispatch->core->metrics, METRIC_DISPATCH_REDISPATCHED, 1);
        dispatch_requeue(dispatch, exchange);
        return;
    }
    dispatch_slots_end(dispatch, exchange, status, status == 504 ? CLOSE_APP_TIMEOUT : CLOSE_APP_FAILED);
}

void dispatch_app_gone(struct dispatch *dispatch, uint32_t index, uint32_t generation, uint16_t status)
{
    if (index >= dispatch->core->setup.shape.apps)
        return;
    struct app_link *link = &dispatch->apps[index];
    if (!link->up || link->generation != generation)
        return;
    link->draining = true;
    while (dispatch_replies_take(dispatch, index) == DISPATCH_REPLIES_MAX)
        continue; /* what it said before it died counts */
    while (link->held.last != NULL)
        sweep(dispatch, link->held.last, status); /* each goes to the front of the queue: the oldest stays the first */
    metrics_add(dispatch->core->metrics, METRIC_APP_DEATHS, 1);
    ring_cancel(dispatch->core->ring, ring_token_make(RING_DOORBELL, link->generation, index));
    forget_up(dispatch, index);
    dispatch_apps_close(link);
}
