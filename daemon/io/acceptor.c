#include "daemon/io/acceptor.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COMPLAINT_INTERVAL_MS = 10'000, LAST_ACCEPTS_MAX = 1'024 };

void acceptor_init(struct acceptor *acceptor, struct connections *connections,
                   void (*on_accepted)(struct connection *connection, void *context), void *context)
{
    *acceptor = (struct acceptor){
        .connections = connections,
        .on_accepted = on_accepted,
        .context = context,
        .spare_fd = eventfd(0, EFD_CLOEXEC),
    };
}

void acceptor_deinit(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].fd >= 0)
            close(acceptor->listeners[i].fd);
    if (acceptor->connections != NULL && acceptor->spare_fd >= 0)
        close(acceptor->spare_fd);
    *acceptor = (struct acceptor){};
}

int acceptor_add(struct acceptor *acceptor, const struct control_listener *listener, int fd)
{
    if (acceptor->count == ACCEPTOR_LISTENERS_MAX) {
        close(fd);
        return -ENOSPC;
    }
    struct connection_listener *added = &acceptor->listeners[acceptor->count++];
    *added = (struct connection_listener){
        .fd = fd,
        .is_shared = (listener->flags & CONTROL_LISTENER_SHARED) != 0,
        .is_unix = (listener->flags & CONTROL_LISTENER_UNIX) != 0,
        .port = (uint16_t)listener->server_port,
        .tls_context = listener->tls_context,
        .proxy_protocol = listener->proxy_protocol,
    };
    memcpy(added->server, listener->server, sizeof added->server);
    added->server[sizeof added->server - 1] = '\0';
    added->is_wildcard = !added->is_unix && own_addresses_is_wildcard(added->server);
    return 0;
}

static ring_token token_of(uint32_t listener)
{
    return ring_token_make(RING_ACCEPT, 0, listener);
}

static bool full(const struct acceptor *acceptor)
{
    int64_t limit = acceptor->connections->core->settings.max_connections;
    return limit > 0 && acceptor->connections->live > (uint64_t)limit;
}

static void retry_later(struct acceptor *acceptor)
{
    if (acceptor->retry_ms != 0)
        return;
    acceptor->retry_ms = acceptor->connections->core->now_ms + ACCEPT_RETRY_MS;
    acceptor->paused_live = acceptor->connections->live;
}

static void complain(struct acceptor *acceptor, const char *what)
{
    uint64_t now = acceptor->connections->core->now_ms;
    if (acceptor->complained_ms != 0 && now - acceptor->complained_ms < COMPLAINT_INTERVAL_MS)
        return;
    acceptor->complained_ms = now;
    log_warning("accepting is paused: %s; %u connections are open", what, acceptor->connections->live);
}

void acceptor_start(struct acceptor *acceptor)
{
    const struct io_core *core = acceptor->connections->core;
    if (acceptor->stopped)
        return;
    if (full(acceptor)) {
        retry_later(acceptor);
        return;
    }
    for (uint32_t i = 0; i < acceptor->count; i++) {
        const struct connection_listener *listener = &acceptor->listeners[i];
        if (listener->armed || (acceptor->tls_paused && listener->tls_context >= 0))
            continue;
        acceptor->listeners[i].armed = true;
        ring_accept(core->ring, listener->fd, listener->is_shared && core->setup.shape.rings > 1, token_of(i));
    }
}

static void disarm(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].armed)
            ring_cancel(acceptor->connections->core->ring, token_of(i));
}

void acceptor_pause_tls(struct acceptor *acceptor)
{
    acceptor->tls_paused = true;
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].armed && acceptor->listeners[i].tls_context >= 0)
            ring_cancel(acceptor->connections->core->ring, token_of(i));
}

void acceptor_resume_tls(struct acceptor *acceptor)
{
    acceptor->tls_paused = false;
    if (acceptor->retry_ms == 0)
        acceptor_start(acceptor);
}

/* RES-07: the newcomer takes the place of the connection that has been idle longest; where none is idle it is the last
 * one for now. */
static void make_room(struct acceptor *acceptor)
{
    if (!full(acceptor) || connections_evict_idle(acceptor->connections, CLOSE_LIMIT_CONNECTIONS))
        return;
    complain(acceptor, "max_connections is reached and none is idle");
    disarm(acceptor);
    retry_later(acceptor);
}

static void accepted(struct acceptor *acceptor, const struct connection_listener *listener, int fd)
{
    metrics_add(acceptor->connections->core->metrics, METRIC_CONNECTIONS_ACCEPTED, 1);
    acceptor->exhausted_ms = 0;
    struct connection *connection = connection_create(acceptor->connections, fd, listener);
    if (connection == NULL) {
        complain(acceptor, "there is no memory for another connection");
        return;
    }
    acceptor->on_accepted(connection, acceptor->context);
}

/* Nobody else will take what waits in the kernel's queue of a socket that is ours alone; closing it would reset them.
 * Of one that others accept from, the kernel wakes one: that was us perhaps, when the accept was being cancelled, and
 * then the others sleep on. Bounded, for the queue fills up while it is emptied. */
static void take_the_last(struct acceptor *acceptor, const struct connection_listener *listener)
{
    for (int i = 0; i < LAST_ACCEPTS_MAX && !full(acceptor); i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        accepted(acceptor, listener, fd);
    }
}

/* The supervisor has closed its copy before: this is the last one, and clients are refused from now on. */
static void close_listener(struct acceptor *acceptor, struct connection_listener *listener)
{
    if (listener->fd < 0)
        return;
    take_the_last(acceptor, listener);
    close(listener->fd);
    listener->fd = -1;
}

/* An armed one is closed once its accept has ended: until then the kernel holds the socket open. */
void acceptor_stop(struct acceptor *acceptor)
{
    acceptor->stopped = true;
    acceptor->retry_ms = 0;
    disarm(acceptor);
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (!acceptor->listeners[i].armed)
            close_listener(acceptor, &acceptor->listeners[i]);
}

bool acceptor_is_closed(const struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].fd >= 0)
            return false;
    return true;
}

/* Nothing is wrong here: cancelled, or the client went before it was accepted, which must not keep others waiting. */
static bool passing(int error)
{
    return error == -ECANCELED || error == -EINTR || error == -EAGAIN || error == -ECONNABORTED || error == -EPROTO;
}

/* A socket that others accept from as well is left to them. */
static void shed(struct acceptor *acceptor, const struct connection_listener *listener)
{
    if (listener->is_shared)
        return;
    if (acceptor->spare_fd >= 0)
        close(acceptor->spare_fd);
    for (int i = 0; i < ACCEPT_SHED_MAX; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            break;
        close(fd);
        metrics_add(acceptor->connections->core->metrics, METRIC_ACCEPT_SHED, 1);
    }
    acceptor->spare_fd = eventfd(0, EFD_CLOEXEC);
}

static void out_of_descriptors(struct acceptor *acceptor, const struct connection_listener *listener)
{
    const uint64_t now = acceptor->connections->core->now_ms;
    metrics_add(acceptor->connections->core->metrics, METRIC_ACCEPT_EMFILE, 1);
    complain(acceptor, "no file descriptor is left (LimitNOFILE= in a unit file, ulimit -n in a shell)");
    if (connections_evict_idle(acceptor->connections, CLOSE_LIMIT_CONNECTIONS))
        return;
    if (acceptor->exhausted_ms == 0)
        acceptor->exhausted_ms = now;
    else if (now - acceptor->exhausted_ms >= ACCEPT_RETRY_MS)
        shed(acceptor, listener);
}

/* RES-10: out of descriptors the accept ends with an error; arming it again at once would only spin. */
static void failed(struct acceptor *acceptor, const struct connection_listener *listener, int error)
{
    if (passing(error))
        return;
    if (error == -EMFILE || error == -ENFILE)
        out_of_descriptors(acceptor, listener);
    else
        complain(acceptor, strerror(-error));
    retry_later(acceptor);
}

uint64_t acceptor_turn(struct acceptor *acceptor)
{
    if (acceptor->retry_ms == 0)
        return UINT64_MAX;
    bool closed_some = acceptor->connections->live < acceptor->paused_live;
    if (closed_some || acceptor->connections->core->now_ms >= acceptor->retry_ms) {
        acceptor->retry_ms = 0;
        acceptor_start(acceptor);
    }
    return acceptor->retry_ms == 0 ? UINT64_MAX : acceptor->retry_ms;
}

void acceptor_on_accept(struct acceptor *acceptor, const struct ring_event *event)
{
    uint32_t index = ring_token_index(event->token);
    if (index >= acceptor->count)
        return;
    if (!event->more)
        acceptor->listeners[index].armed = false;
    if (event->result >= 0)
        accepted(acceptor, &acceptor->listeners[index], event->result);
    else
        failed(acceptor, &acceptor->listeners[index], event->result);
    if (acceptor->stopped) {
        if (!event->more)
            close_listener(acceptor, &acceptor->listeners[index]);
        return;
    }
    make_room(acceptor);
    if (!acceptor->listeners[index].armed && acceptor->retry_ms == 0)
        acceptor_start(acceptor);
}
