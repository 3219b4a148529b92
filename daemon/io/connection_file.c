#include "daemon/io/connection_state.h"

#include <errno.h>
#include <poll.h>

/*
 * What one turn of the loop gives to one file: 0.1 to 0.3 ms of sending. The next part waits for the client to have
 * room, which is asked of the ring, so whoever else has something to do comes first.
 */
enum { FILE_SEND_MAX = 524'288 };

static struct output_queue *queue_of(const struct connection *connection)
{
    return &connection->out->queue;
}

void connection_start_file(struct connections *connections, struct connection *connection)
{
    connection->send_in_flight = true;
    connection->out->file_send = CONNECTION_FILE_POLLS;
    ring_poll(connections->core->ring, connection->fd, POLLOUT, false, connection_token_of(connection, RING_SEND));
}

/* The loop never waits for a disk. The octets go nowhere: when they have been read they are in the page cache. */
static int64_t start_reading(struct connections *connections, struct connection *connection,
                             const struct output_file_part *part)
{
    uint8_t *sink = output_pools_sink(queue_of(connection)->pools);
    if (sink == NULL)
        return -ENOMEM;
    metrics_add(connections->core->metrics, METRIC_FILE_COLD_READS, 1);
    connection->send_in_flight = true;
    connection->out->file_send = CONNECTION_FILE_READS;
    ring_read(connections->core->ring, part->fd, sink,
              part->length < OUTPUT_SINK_BYTES ? part->length : OUTPUT_SINK_BYTES, part->offset,
              connection_token_of(connection, RING_SEND));
    return 0;
}

/* `ready` octets are in the page cache. A file that has become shorter cannot be sent as it was stated. */
static int64_t send_part(struct connections *connections, struct connection *connection,
                         const struct output_file_part *part, uint64_t ready)
{
    const uint64_t wanted = part->length < ready ? part->length : ready;
    queue_of(connection)->in_flight_bytes = wanted;
    int64_t sent = ring_send_file(connections->core->ring, connection->fd, part->fd, part->offset, (size_t)wanted);
    if (sent <= 0)
        return sent < 0 ? sent : -ENODATA;
    metrics_add(connections->core->metrics, METRIC_FILE_BYTES_SENDFILE, (uint64_t)sent);
    if (connection_is_secure(connection))
        connection_note_sent(connection, (uint64_t)sent);
    return sent;
}

static int64_t on_room(struct connections *connections, struct connection *connection)
{
    const struct output_file_part part = output_queue_file_part(queue_of(connection), FILE_SEND_MAX);
    int64_t ready = ring_file_at_hand(connections->core->ring, part.fd, part.offset, part.length);
    if (ready == 0)
        return start_reading(connections, connection, &part);
    return ready < 0 ? -ENODATA : send_part(connections, connection, &part, (uint64_t)ready);
}

static int64_t on_read(struct connections *connections, struct connection *connection, int32_t result)
{
    const struct output_file_part part = output_queue_file_part(queue_of(connection), FILE_SEND_MAX);
    return result <= 0 ? -ENODATA : send_part(connections, connection, &part, (uint64_t)result);
}

bool connection_continue_file(struct connections *connections, struct connection *connection, int32_t *result)
{
    const enum connection_file_send state = connection->out->file_send;
    int64_t sent = *result;
    connection->out->file_send = CONNECTION_FILE_NONE;
    if (connection->state == CONNECTION_CLOSING)
        sent = -ECANCELED;
    else if (!connection_is_transient(*result) && state == CONNECTION_FILE_READS)
        sent = on_read(connections, connection, *result);
    else if (*result > 0)
        sent = on_room(connections, connection);
    *result = (int32_t)sent;
    return connection->out->file_send == CONNECTION_FILE_NONE;
}
