#include "daemon/io/connection_state.h"

static void count_records(struct connections *connections, struct connection *connection)
{
    struct tls_counts counts = tls_channel_take_counts(connection->tls);
    if (counts.key_updates > 0)
        metrics_add(connections->core->metrics, METRIC_TLS_KEY_UPDATES, counts.key_updates);
    if (counts.tiny_records > 0)
        metrics_add(connections->core->metrics, METRIC_TLS_TINY_RECORDS, counts.tiny_records);
}

/* The records at hand, as far as a block takes them. False when there is nothing more to be done now. */
static bool decrypt_block(struct connections *connections, struct connection *connection)
{
    struct buffer_pool *buffers = &connections->core->buffers;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity, length = 0;
    uint32_t needed = tls_channel_pending(connection->tls);
    if (needed == 0 || buffer_pool_stage(buffers, needed, &loan, &memory, &capacity) < 0)
        return false;
    enum tls_progress progress =
        tls_channel_read(connection->tls, connections->core->now_ms, memory, capacity, &length);
    count_records(connections, connection);
    if (progress == TLS_DATA) {
        connection->protocol->on_bytes(connection, loan, memory, length);
        return true;
    }
    buffer_pool_drop(buffers, &loan);
    if (progress == TLS_CLOSED) {
        connection->eof = connection->tls_ended = true;
        connection_tell_end(connections, connection);
    }
    if (progress == TLS_FAILED)
        connection_fail_tls(connections, connection, CLOSE_TLS_ERROR);
    return progress == TLS_HUNGRY;
}

static bool takes_plaintext(const struct connection *connection)
{
    return connection->wants_read && connection->state == CONNECTION_OPEN && !connection->close_when_sent;
}

static void decrypt(struct connections *connections, struct connection *connection)
{
    connection->decrypting = true;
    while (takes_plaintext(connection) && decrypt_block(connections, connection))
        ;
    connection->decrypting = false;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (tls_channel_has_output(connection->tls))
        connection_flush(connections, connection);
    if (tls_channel_pending(connection->tls) == 0 && connection->eof)
        connection_tell_end(connections, connection);
    else if (takes_plaintext(connection) && tls_channel_pending(connection->tls) > 0)
        connection_put_among_undecrypted(connections, connection); /* there was no block */
}

void connection_on_ciphertext(struct connections *connections, struct connection *connection, struct loan *loan,
                              struct bytes data)
{
    tls_channel_offer(connection->tls, data);
    decrypt(connections, connection);
    int r = tls_channel_settle_input(connection->tls);
    buffer_pool_drop(&connections->core->buffers, loan);
    if (r < 0)
        connection_begin_close(connections, connection, CLOSE_OVERLOAD);
    if (connection->tls_waits)
        connection_cancel_receive(connections, connection);
}

bool connections_decrypt(struct connections *connections)
{
    struct connection *list = connections->undecrypted_first;
    connections->undecrypted_first = connections->undecrypted_last = NULL;
    while (list != NULL) {
        struct connection *connection = list;
        list = connection->starved_next;
        connection->tls_waits = false;
        if (connection->state == CONNECTION_CLOSING)
            continue;
        if (connection->state == CONNECTION_PARKED)
            connection->state = CONNECTION_OPEN;
        decrypt(connections, connection);
        if (connection->wants_read)
            connection_arm_receive(connections, connection);
    }
    return connections->undecrypted_first != NULL &&
           buffer_pool_has_block(&connections->core->buffers, LAYOUT_LARGE_BLOCK_BYTES);
}

/* Without the ring, for it is a few octets and nothing waits for them. Where a send is under way they would overtake
 * it, and are not said. The client gets them when it is still sending itself only if it is read from for a while. */
void connection_fail_tls(struct connections *connections, struct connection *connection, enum close_reason reason)
{
    if (connection->state >= CONNECTION_LINGERING)
        return;
    if (!connection->send_in_flight && !connection_seals(connection))
        connection_say_alert(connections, connection, tls_channel_alert(connection->tls));
    else if (!connection->send_in_flight && tls_channel_has_output(connection->tls)) {
        struct bytes alert = tls_channel_output(connection->tls);
        ssize_t sent = send(connection->fd, alert.data, alert.length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == (ssize_t)alert.length)
            tls_channel_output_sent(connection->tls, alert.length);
    }
    if (connection->tls_open || connection->send_in_flight || tls_channel_has_output(connection->tls)) {
        connection_begin_close(connections, connection, reason);
        return;
    }
    connection->close_reason = (uint8_t)reason;
    connection->close_when_sent = true;
    connection_linger(connections, connection);
}
