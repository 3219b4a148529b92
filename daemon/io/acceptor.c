#include "daemon/io/acceptor.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COMPLAINT_INTERVAL_MS = 60'000, LAST_ACCEPTS_MAX = 1'024 };

void acceptor_init(struct acceptor *acceptor, struct connections *connections,
                   void (*on_accepted)(struct connection *connection, void *context), void *context)
{
    *acceptor = (struct acceptor){.connections = connections, .on_accepted = on_accepted, .context = context};
}

void acceptor_deinit(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].fd >= 0)
            close(acceptor->listeners[i].fd);
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
    if (acceptor->retry_ms == 0)
        acceptor->retry_ms = acceptor->connections->core->now_ms + ACCEPT_RETRY_MS;
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
    if (acceptor->stopped)
        return;
    if (full(acceptor)) {
        retry_later(acceptor);
        return;
    }
    for (uint32_t i = 0; i < acceptor->count; i++) {
        if (acceptor->listeners[i].armed)
            continue;
        acceptor->listeners[i].armed = true;
        ring_accept(acceptor->connections->core->ring, acceptor->listeners[i].fd, token_of(i));
    }
}

static void disarm(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++)
        if (acceptor->listeners[i].armed)
            ring_cancel(acceptor->connections->core->ring, token_of(i));
}

/* RES-07: the newcomer takes the place of the connection that has been idle longest; where none is idle it is the last
 * one for now. */
static void make_room(struct acceptor *acceptor)
{
    if (!full(acceptor) || connections_evict_idle(acceptor->connections))
        return;
    complain(acceptor, "max_connections is reached and none is idle");
    disarm(acceptor);
    retry_later(acceptor);
}

static void accepted(struct acceptor *acceptor, const struct connection_listener *listener, int fd)
{
    metrics_add(acceptor->connections->core->metrics, METRIC_CONNECTIONS_ACCEPTED, 1);
    struct connection *connection = connection_create(acceptor->connections, fd, listener);
    if (connection == NULL) {
        complain(acceptor, "there is no memory for another connection");
        return;
    }
    acceptor->on_accepted(connection, acceptor->context);
}

/* Nobody else will take what waits in the kernel's queue of a socket that is ours alone; closing it would reset them.
 * Bounded, for the queue fills up while it is emptied. */
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
    if (!listener->is_shared)
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

/* RES-10: out of descriptors the accept ends with an error; arming it again at once would only spin. */
static void failed(struct acceptor *acceptor, int error)
{
    if (passing(error))
        return;
    if (error == -EMFILE || error == -ENFILE) {
        metrics_add(acceptor->connections->core->metrics, METRIC_ACCEPT_EMFILE, 1);
        complain(acceptor, "no file descriptor is left (LimitNOFILE= in a unit file, ulimit -n in a shell)");
    } else {
        complain(acceptor, strerror(-error));
    }
    retry_later(acceptor);
}

uint64_t acceptor_turn(struct acceptor *acceptor)
{
    if (acceptor->retry_ms == 0)
        return UINT64_MAX;
    if (acceptor->connections->core->now_ms >= acceptor->retry_ms) {
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
        failed(acceptor, event->result);
    if (acceptor->stopped) {
        if (!event->more)
            close_listener(acceptor, &acceptor->listeners[index]);
        return;
    }
    make_room(acceptor);
    if (!acceptor->listeners[index].armed && acceptor->retry_ms == 0)
        acceptor_start(acceptor);
}
