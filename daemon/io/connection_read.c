#include "daemon/io/connection_state.h"

#include <poll.h>

void connection_arm_poll(struct connections *connections, struct connection *connection)
{
    if (connection->poll_armed || connection->receive_armed || connection->starved)
        return;
    connection->poll_armed = true;
    ring_poll(connections->core->ring, connection->fd, POLLIN | POLLRDHUP, false,
              connection_token_of(connection, RING_IDLE_POLL));
}

/* The kernel is to decrypt from the next record on. True: it does, or never will. */
static bool switch_receiving(struct connections *connections, struct connection *connection)
{
    const enum connection_switch state = connection_offload_receive(connections, connection);
    if (state == CONNECTION_SWITCH_POLLS)
        connection_arm_poll(connections, connection);
    return state == CONNECTION_SWITCH_DONE;
}

void connection_arm_receive(struct connections *connections, struct connection *connection)
{
    if (connection->receive_armed || connection->poll_armed || connection->starved || connection->tls_waits ||
        connection->eof)
        return;
    if (connection->offload == CONNECTION_OFFLOAD_SWITCHING && !connection_is_over(connection) &&
        !switch_receiving(connections, connection))
        return;
    connection->receive_armed = true;
    connection->armed_group = connection->group;
    ring_receive(connections->core->ring, connection->fd, connection->group,
                 connection_token_of(connection, RING_RECEIVE));
}

void connection_want(struct connections *connections, struct connection *connection, bool wants_read,
                     enum loan_kind group)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    connection->wants_read = wants_read;
    connection->group = (uint8_t)(connection_decrypts(connection) ? LOAN_CIPHER : group);
    if (wants_read && connection_has_plaintext(connection))
        connection_put_among_undecrypted(connections, connection);
    if (!wants_read || (connection->receive_armed && connection->armed_group != connection->group))
        connection_cancel_receive(connections, connection);
    else
        connection_arm_receive(connections, connection);
}

void connection_linger(struct connections *connections, struct connection *connection)
{
    if (connection->reset_when_sent) {
        connection_reset(connections, connection, (enum close_reason)connection->close_reason);
        return;
    }
    if (connection->eof) {
        connection_begin_close(connections, connection, (enum close_reason)connection->close_reason);
        return;
    }
    connection->state = CONNECTION_LINGERING;
    connection_set_idle(connections, connection, false);
    ring_shutdown(connections->core->ring, connection->fd);
    connection_set_deadline(connections, connection, connections->core->now_ms + CONNECTION_LINGER_MS);
    connection_want(connections, connection, true, LOAN_RECEIVE);
}

/* ---- without a buffer ------------------------------------------------------------------------------------------- */

static void put_among_starved(struct connections *connections, struct connection *connection)
{
    if (connection->starved || connection->tls_waits) /* who decrypts arms the receive afterwards */
        return;
    connection->starved = true;
    connection_link_waiting(&connections->starved_first, &connections->starved_last, connection);
}

void connection_starve(struct connections *connections, struct connection *connection)
{
    metrics_add(connections->core->metrics, METRIC_ENOBUFS, 1);
    put_among_starved(connections, connection);
}

/* Whoever found the pool empty tries again, the longest waiting first, and no more of them than buffers are free: the
 * others would only find it empty once more. */
void connections_feed_starved(struct connections *connections)
{
    const struct buffer_pool *buffers = &connections->core->buffers;
    uint32_t left[] = {
        [LOAN_RECEIVE] = buffers->receive.count - buffers->receive.lent,
        [LOAN_UPLOAD] = buffers->upload.count - buffers->upload.lent,
        [LOAN_CIPHER] = buffers->cipher.count - buffers->cipher.lent,
    };
    struct connection *list = connections->starved_first;
    connections->starved_first = connections->starved_last = NULL;
    while (list != NULL) {
        struct connection *connection = list;
        list = connection->starved_next;
        connection->starved = false;
        if (!connection->wants_read || connection->state == CONNECTION_CLOSING)
            continue;
        if (left[connection->group] == 0) {
            put_among_starved(connections, connection);
            continue;
        }
        left[connection->group]--;
        connection_arm_receive(connections, connection);
    }
}
