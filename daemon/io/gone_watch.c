#include "daemon/io/gone_watch.h"

#include <linux/tcp.h>

enum { TCP_STATE_CLOSE = 7 }; /* of tcpi_state; its name is in a header that excludes linux/tcp.h */

static bool is_gone(const struct connection *connection)
{
    struct tcp_info info = {};
    socklen_t length = sizeof info;
    return !connection->listener->is_unix && getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_state == TCP_STATE_CLOSE;
}

/* Of all others a completion tells: what is idle is polled, what is sent to has a send in flight. */
static bool is_in_question(const struct connection *connection)
{
    return connection->session != NULL && !connection->idle && !connection->send_in_flight &&
           connection->state < CONNECTION_LINGERING;
}

/* How many are due since the last look; so few that none is due yet wait for the next turn. */
static uint32_t due(const struct gone_watch *watch, const struct connections *connections)
{
    uint64_t elapsed_ms = connections->core->now_ms - watch->looked_ms;
    uint64_t count = elapsed_ms * connections->allocated / GONE_WATCH_PERIOD_MS;
    if (count > connections->allocated)
        count = connections->allocated;
    return count < GONE_WATCH_TURN_MAX ? (uint32_t)count : GONE_WATCH_TURN_MAX;
}

void gone_watch_turn(struct gone_watch *watch, struct connections *connections)
{
    uint32_t count = due(watch, connections);
    if (count == 0)
        return;
    watch->looked_ms = connections->core->now_ms;
    for (; count > 0; count--) {
        if (watch->next >= connections->allocated)
            watch->next = 0;
        struct connection *connection = connections->by_index[watch->next++];
        if (connection != NULL && is_in_question(connection) && is_gone(connection))
            connection_abort(connections, connection, CLOSE_CLIENT_RESET, false);
        else if (connection != NULL && connection->state < CONNECTION_LINGERING)
            connection_look_for_hollow(connections, connection);
    }
}
