#include "daemon/io/connection_state.h"

#include <errno.h>

enum { RECORDS_AHEAD_MIN = 2 }; /* fewer cost no more than another send */

static bool has_output(const struct connection *connection)
{
    return (connection->out != NULL && connection->out->queue.bytes > 0) ||
           (connection->tls != NULL && tls_channel_has_output(connection->tls));
}

/* A record that is not data, by the kernel's TLS. */
static void send_record(struct connections *connections, struct connection *connection, const struct msghdr *record)
{
    connection->send_in_flight = true;
    connection->record_in_flight = true;
    ring_send_message(connections->core->ring, connection->fd, record, false,
                      connection_token_of(connection, RING_SEND));
}

/* False when the client needs not be told, or has been. */
static bool takes_leave(struct connection *connection)
{
    if (connection->remnant == NULL)
        return connection->tls != NULL && tls_channel_close_notify(connection->tls);
    const bool is_first = !connection->remnant->said_close;
    connection->remnant->said_close = true;
    return is_first;
}

/* All that was queued is sent. */
static void end_sending(struct connections *connections, struct connection *connection)
{
    if (!takes_leave(connection)) {
        connection_linger(connections, connection);
        return;
    }
    /* A client that does not read would have it wait for ever. */
    connection_set_deadline(connections, connection, connections->core->now_ms + CONNECTION_LINGER_MS);
    if (connection_seals(connection))
        connection_flush(connections, connection);
    else
        send_record(connections, connection, ktls_close_notify());
}

void connection_close_when_sent(struct connections *connections, struct connection *connection,
                                enum close_reason reason)
{
    if (connection->state >= CONNECTION_LINGERING)
        return;
    if (connection->close_reason == CLOSE_NONE)
        connection->close_reason = (uint8_t)reason;
    connection->close_when_sent = true;
    if (connection->send_in_flight || has_output(connection))
        connection_flush(connections, connection);
    else
        end_sending(connections, connection);
}

void connection_reset_when_sent(struct connections *connections, struct connection *connection,
                                enum close_reason reason)
{
    connection->reset_when_sent = true;
    connection_close_when_sent(connections, connection, reason);
}

static void send_sealed(struct connections *connections, struct connection *connection)
{
    struct bytes output = tls_channel_output(connection->tls);
    connection->send_in_flight = true;
    ring_send(connections->core->ring, connection->fd, output.data, output.length, false,
              connection_token_of(connection, RING_SEND));
}

/* Sealed octets are copies: what they were made of goes back at once. */
static int seal_queued(struct connections *connections, struct connection *connection)
{
    struct connection_output *out = connection->out;
    size_t plain = 0;
    if (!connection->tls_open || out == NULL || out->queue.bytes == 0)
        return 0;
    uint32_t count = output_queue_gather(&out->queue, out->parts);
    int r = tls_channel_seal(connection->tls, out->parts, count, connections->core->now_ms, &plain);
    output_queue_sent(&out->queue, plain);
    return r;
}

/* The kernel takes over between two sends: what BoringSSL has still to say (tickets) goes first and alone. */
static bool waits_for_offload(struct connections *connections, struct connection *connection)
{
    const struct connection_output *out = connection->out;
    if (out == NULL || out->queue.bytes == 0 || !connection_wants_offload(connection))
        return false;
    tls_channel_send_tickets(connection->tls);
    connection_offload(connections, connection);
    return tls_channel_has_output(connection->tls);
}

static void start_sealed_send(struct connections *connections, struct connection *connection, bool seals)
{
    if (seals && seal_queued(connections, connection) < 0)
        connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
    else if (tls_channel_has_output(connection->tls))
        send_sealed(connections, connection);
}

/* Where new ones are due, they are what is done first. */
static bool has_good_keys(struct connections *connections, struct connection *connection)
{
    switch (connection_judge_keys(connections, connection)) {
    case CONNECTION_KEYS_GOOD:
        return true;
    case CONNECTION_KEYS_CHANGE:
        connection->key_update_in_flight = true;
        send_record(connections, connection, ktls_key_update());
        return false;
    default:
        connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
        return false;
    }
}

/*
 * The kernel hands each record to TCP as soon as it is sealed, as segments that are sent and acknowledged by
 * themselves, unless more is said to follow. So of several records the last is sent alone, and takes the others along.
 * All of those are full: one that is not would stay open, and be withheld from the client, until the next send.
 */
static bool leave_last_record(struct output_queue *queue, struct iovec *parts, uint32_t *count)
{
    const uint64_t ahead = (queue->in_flight_bytes - 1) / KTLS_RECORD_BYTES;
    if (ahead < RECORDS_AHEAD_MIN)
        return false;
    *count = output_queue_shorten(queue, parts, ahead * KTLS_RECORD_BYTES);
    return true;
}

static void send_gathered(struct connections *connections, struct connection *connection)
{
    struct connection_output *out = connection->out;
    struct ring *ring = connections->core->ring;
    const ring_token token = connection_token_of(connection, RING_SEND);
    uint32_t count = output_queue_gather(&out->queue, out->parts);
    bool more =
        count == 1 && output_queue_file_follows(&out->queue); /* a head is in one segment with what it announces */
    if (connection_is_secure(connection)) {
        more |= leave_last_record(&out->queue, out->parts, &count);
        connection_note_sent(connection, out->queue.in_flight_bytes);
    }
    connection->send_in_flight = true;
    if (count == 1) {
        ring_send(ring, connection->fd, out->parts[0].iov_base, out->parts[0].iov_len, more, token);
        return;
    }
    out->message = (struct msghdr){.msg_iov = out->parts, .msg_iovlen = count};
    ring_send_message(ring, connection->fd, &out->message, more, token);
}

void connection_start_send(struct connections *connections, struct connection *connection)
{
    struct connection_output *out = connection->out;
    if (connection->send_in_flight || connection->state == CONNECTION_CLOSING)
        return;
    const bool waits = connection_seals(connection) && waits_for_offload(connections, connection);
    if (connection_seals(connection)) {
        start_sealed_send(connections, connection, !waits);
        return;
    }
    if (out == NULL || out->queue.bytes == 0)
        return;
    if (connection_is_secure(connection) && !has_good_keys(connections, connection))
        return;
    if (output_queue_begin_file(&out->queue)) {
        connection_start_file(connections, connection);
        return;
    }
    send_gathered(connections, connection);
}

/* How much of what the protocol queued the send in flight took. */
static uint32_t account_sent(struct connection *connection, uint64_t sent)
{
    if (connection->record_in_flight) {
        connection->record_in_flight = false;
        return 0;
    }
    if (connection_seals(connection)) {
        uint32_t plain = tls_channel_output_sent(connection->tls, sent);
        connection->is_slow = tls_channel_is_sending(connection->tls);
        return plain;
    }
    connection->is_slow = sent < connection->out->queue.in_flight_bytes;
    output_queue_sent(&connection->out->queue, sent);
    return (uint32_t)sent;
}

/* Something is left to be sent, or the end is. */
static void go_on_sending(struct connections *connections, struct connection *connection)
{
    if (connection->send_in_flight || connection->state > CONNECTION_PARKED)
        return;
    if (has_output(connection))
        connection_flush(connections, connection);
    else if (connection->close_when_sent)
        end_sending(connections, connection);
}

/* What has been said of the response is not true any more, whatever its framing: so no end that could pass for one. */
static void fail_sending(struct connections *connections, struct connection *connection, int32_t error)
{
    if (error == -ENODATA)
        connection_reset(connections, connection, CLOSE_RESPONSE_INCOMPLETE);
    else
        connection_begin_close(connections, connection, CLOSE_CLIENT_RESET);
}

static bool sends_file(const struct connection *connection)
{
    return connection->out != NULL && connection->out->file_send != CONNECTION_FILE_NONE;
}

void connection_on_send(struct connections *connections, struct connection *connection, const struct ring_event *event)
{
    int32_t result = event->result;
    connection->send_in_flight = false;
    if (sends_file(connection) && !connection_continue_file(connections, connection, &result))
        return;
    uint64_t sent = result > 0 ? (uint64_t)result : 0;
    uint32_t plain = account_sent(connection, sent);
    metrics_add(connections->core->metrics, METRIC_BYTES_SENT, sent);
    const bool has_new_keys = connection->key_update_in_flight;
    connection->key_update_in_flight = false;
    if (connection->state == CONNECTION_CLOSING) {
        connection_try_close(connections, connection);
        return;
    }
    if (has_new_keys && (result < 0 || connection_change_keys(connections, connection) < 0)) {
        connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
        return;
    }
    if (result < 0 && !connection_is_transient(result)) {
        fail_sending(connections, connection, result);
        return;
    }
    /* The rest of sealed octets, without a pause in which it would seem that all is sent. */
    if (connection_seals(connection) && tls_channel_is_sending(connection->tls))
        send_sealed(connections, connection);
    if (connection->out != NULL)
        connection->protocol->on_sent(connection, plain);
    go_on_sending(connections, connection);
}
