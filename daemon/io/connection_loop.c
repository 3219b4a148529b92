#include "daemon/io/connection_state.h"

#include <errno.h>

/* Nothing is in the middle of anything: a TLS client can be told properly that it is over. */
static bool ends_politely(const struct connection *connection)
{
    return connection->tls_open && connection->session == NULL && connection->state <= CONNECTION_PARKED &&
           !connection->close_when_sent;
}

void connection_abort(struct connections *connections, struct connection *connection, enum close_reason reason,
                      bool reset)
{
    if (!reset && ends_politely(connection)) {
        connection_close_when_sent(connections, connection, reason);
        return;
    }
    if (reset)
        connection_reset(connections, connection, reason);
    else
        connection_begin_close(connections, connection, reason);
}

static void discard(struct connections *connections, struct connection *connection, struct loan *loan, uint32_t length)
{
    buffer_pool_drop(&connections->core->buffers, loan);
    connection->lingered_bytes += length;
    if (connection->lingered_bytes > CONNECTION_LINGER_BYTES)
        connection_begin_close(connections, connection, CLOSE_REQUESTED);
}

/* ---- what the loop received ------------------------------------------------------------------------------------- */

static void on_data(struct connections *connections, struct connection *connection, const struct ring_event *event)
{
    struct loan loan;
    uint8_t *data = buffer_pool_received(&connections->core->buffers, (enum loan_kind)connection->armed_group,
                                         event->buffer, &loan);
    if (data == NULL)
        return;
    metrics_add(connections->core->metrics, METRIC_BYTES_RECEIVED, (uint64_t)event->result);
    if (connection->remnant != NULL)
        connection_note_received(connection, (uint32_t)event->result);
    if (connection->state == CONNECTION_PARKED)
        connection->state = CONNECTION_OPEN;
    if (connection->state != CONNECTION_OPEN || connection->close_when_sent || connection->eof)
        discard(connections, connection, &loan, (uint32_t)event->result);
    else if (connection->tls_open && connection_decrypts(connection))
        connection_on_ciphertext(connections, connection, &loan, bytes_of(data, (uint32_t)event->result));
    else
        connection->protocol->on_bytes(connection, loan, data, (uint32_t)event->result);
}

/* A buffer that came with an end or an error. */
static void give_back_unused(struct connections *connections, struct connection *connection, int32_t buffer)
{
    struct loan loan;
    if (buffer_pool_received(&connections->core->buffers, (enum loan_kind)connection->armed_group, buffer, &loan))
        buffer_pool_drop(&connections->core->buffers, &loan);
}

/* What the kernel's TLS says of records that are forged, or none. */
static enum close_reason reason_of(int error)
{
    return error == -EBADMSG || error == -EMSGSIZE || error == -EINVAL ? CLOSE_TLS_ERROR : CLOSE_CLIENT_RESET;
}

void connection_on_receive(struct connections *connections, struct connection *connection,
                           const struct ring_event *event)
{
    if (!event->more) {
        connection->receive_armed = false;
        connection->receive_cancelling = false;
    }
    if (event->buffer >= 0 && event->result <= 0)
        give_back_unused(connections, connection, event->buffer);
    if (event->buffer >= 0 && event->result > 0)
        on_data(connections, connection, event);
    else if (event->result == 0 && connection->state != CONNECTION_CLOSING)
        connection_on_end(connections, connection);
    else if (event->result == -ENOBUFS)
        connection_starve(connections, connection);
    else if (event->result == -EIO && connection->remnant != NULL)
        connection_on_record(connections, connection);
    else if (event->result < 0 && !connection_is_transient(event->result))
        connection_begin_close(connections, connection, reason_of(event->result));

    if (connection->state == CONNECTION_CLOSING)
        connection_try_close(connections, connection);
    else if (connection->state == CONNECTION_PARKED)
        connection_arm_poll(connections, connection);
    else if (connection->wants_read)
        connection_arm_receive(connections, connection);
}

void connection_park(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN || connection->session != NULL)
        return;
    connection->state = CONNECTION_PARKED;
    if (connection->receive_armed)
        connection_cancel_receive(connections, connection); /* its last completion arms the poll */
    else
        connection_arm_poll(connections, connection);
}

void connection_on_poll(struct connections *connections, struct connection *connection, const struct ring_event *event)
{
    (void)event; /* readable, hung up or cancelled: the receive will tell */
    connection->poll_armed = false;
    if (connection->state == CONNECTION_CLOSING) {
        connection_try_close(connections, connection);
        return;
    }
    if (connection->state == CONNECTION_PARKED)
        connection->state = CONNECTION_OPEN;
    if (connection->wants_read)
        connection_arm_receive(connections, connection);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* All else is sent, and the end of TLS is on its way. */
static bool says_goodbye(const struct connection *connection)
{
    return connection->close_when_sent && connection_has_said_end(connection);
}

void connection_on_timer(struct connections *connections, struct connection *connection)
{
    if (connection->deadline_ms == 0)
        return;
    if (connection->deadline_ms > connections->core->now_ms) {
        timer_wheel_arm(&connections->core->wheel, &connection->timer, connection->deadline_ms);
        return;
    }
    connection->deadline_ms = 0;
    if (connection->state == CONNECTION_LINGERING || says_goodbye(connection))
        connection_begin_close(connections, connection, (enum close_reason)connection->close_reason);
    else
        connection->protocol->on_deadline(connection);
}

/* ---- once a turn ------------------------------------------------------------------------------------------------ */

void connections_drain(struct connections *connections)
{
    for (uint32_t i = 0; i < connections->allocated; i++) {
        struct connection *connection = connections->by_index[i];
        if (connection != NULL && connection->session != NULL && connection->state <= CONNECTION_PARKED &&
            connection->protocol->on_drain != NULL)
            connection->protocol->on_drain(connection);
    }
}

static void end(struct connections *connections, struct connection *connection)
{
    if (connection->session != NULL)
        connection->protocol->on_close(connection);
    connection_try_close(connections, connection);
}

void connections_turn(struct connections *connections)
{
    while (connections->dirty_first != NULL) {
        struct connection *connection = connections->dirty_first;
        connections->dirty_first = connection->dirty_next;
        connection->dirty = false;
        if (connection->state == CONNECTION_CLOSING)
            end(connections, connection);
        else
            connection_start_send(connections, connection);
    }
    buffer_pool_commit(&connections->core->buffers);
    if (connections->starved_first != NULL && buffer_pool_available(&connections->core->buffers))
        connections_feed_starved(connections);
}

bool connections_evict_idle(struct connections *connections, enum close_reason reason)
{
    if (connections->idle_first == NULL)
        return false;
    connection_begin_close(connections, connections->idle_first, reason);
    return true;
}
