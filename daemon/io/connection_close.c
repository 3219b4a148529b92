#include "daemon/io/connection_state.h"

/* ---- the client ends -------------------------------------------------------------------------------------------- */

void connection_tell_end(struct connections *connections, struct connection *connection)
{
    if (connection->eof_told || connection->state > CONNECTION_PARKED || connection->close_when_sent)
        return;
    connection->eof_told = true;
    if (connection->tls_open && !connection->tls_ended)
        metrics_add(connections->core->metrics, METRIC_TLS_TRUNCATIONS, 1);
    connection->protocol->on_eof(connection);
}

void connection_on_end(struct connections *connections, struct connection *connection)
{
    connection->eof = true;
    if (connection->state == CONNECTION_LINGERING)
        connection_begin_close(connections, connection, (enum close_reason)connection->close_reason);
    else if (connection_has_plaintext(connection))
        connection_put_among_undecrypted(connections, connection); /* first what it sent before */
    else
        connection_tell_end(connections, connection);
}

/* ---- we do ------------------------------------------------------------------------------------------------------ */

void connection_cancel_receive(struct connections *connections, struct connection *connection)
{
    if (!connection->receive_armed || connection->receive_cancelling)
        return;
    connection->receive_cancelling = true;
    ring_cancel(connections->core->ring, connection_token_of(connection, RING_RECEIVE));
}

/* The protocol, the descriptor and the session let go when this turn is over and not here: whoever closes a connection,
 * mostly its own session in the middle of something, goes on from this call and finds all that it had. */
void connection_begin_close(struct connections *connections, struct connection *connection, enum close_reason reason)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (connection->close_reason == CLOSE_NONE)
        connection->close_reason = (uint8_t)reason;
    connection->state = CONNECTION_CLOSING;
    connection_set_idle(connections, connection, false);
    connection->wants_read = false;
    timer_wheel_disarm(&connections->core->wheel, &connection->timer);
    connection->deadline_ms = 0;
    connection_cancel_receive(connections, connection);
    if (connection->poll_armed)
        ring_cancel(connections->core->ring, connection_token_of(connection, RING_IDLE_POLL));
    if (connection->send_in_flight)
        ring_cancel(connections->core->ring, connection_token_of(connection, RING_SEND));
    connection_put_on_turn(connections, connection);
}

void connection_reset(struct connections *connections, struct connection *connection, enum close_reason reason)
{
    if (connection->state != CONNECTION_CLOSING) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    connection_begin_close(connections, connection, reason);
}

/* When its protocol has let go and nothing is in flight any more the descriptor is closed; its completion frees the
 * record. One that is on turn has not been let go of. */
void connection_try_close(struct connections *connections, struct connection *connection)
{
    if (connection->dirty || connection->receive_armed || connection->poll_armed || connection->send_in_flight ||
        connection->close_submitted)
        return;
    if (connection->session != NULL)
        connection->protocol->on_freed(connection);
    connection->session = NULL;
    connection->out = NULL;
    connection->close_submitted = true;
    ring_close(connections->core->ring, connection->fd, connection_token_of(connection, RING_CLOSE));
}
