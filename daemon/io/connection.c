#include "daemon/io/connection_state.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { RECORDS_PER_CHUNK = 128, INDICES_FIRST = 256 };

int connections_init(struct connections *connections, struct io_core *core, const struct connection_protocol *protocol,
                     uint32_t capacity)
{
    *connections = (struct connections){.core = core, .protocol = protocol, .capacity = capacity};
    slab_init(&connections->records, sizeof(struct connection), RECORDS_PER_CHUNK);
    slab_init(&connections->proxied, sizeof(struct connection_proxied), RECORDS_PER_CHUNK);
    connections->by_index = calloc(capacity, sizeof *connections->by_index);
    connections->free_indices = calloc(capacity, sizeof *connections->free_indices);
    if (connections->by_index == NULL || connections->free_indices == NULL) {
        connections_deinit(connections);
        return -ENOMEM;
    }
    return 0;
}

/* Connections that are still there when the process stops at once; the ring is gone, so nothing is in flight. */
static void drop_all(struct connections *connections)
{
    for (uint32_t i = 0; i < connections->allocated; i++) {
        struct connection *connection = connections->by_index[i];
        if (connection == NULL)
            continue;
        connection->send_in_flight = false;
        connection->state = CONNECTION_CLOSING;
        if (connection->session != NULL) {
            connection->protocol->on_close(connection);
            connection->protocol->on_freed(connection);
        }
        connection_drop_tls(connections, connection);
        tls_remnant_destroy(connection->remnant);
        close(connection->fd);
    }
}

void connections_deinit(struct connections *connections)
{
    drop_all(connections);
    slab_deinit(&connections->records);
    slab_deinit(&connections->proxied);
    free(connections->by_index);
    free(connections->free_indices);
    *connections = (struct connections){};
}

ring_token connection_token_of(const struct connection *connection, enum ring_kind kind)
{
    return ring_token_make(kind, connection->generation, connection->index);
}

ring_token connection_token(const struct connection *connection)
{
    return connection_token_of(connection, RING_IGNORED);
}

struct connection *connection_find(const struct connections *connections, ring_token token)
{
    uint32_t index = ring_token_index(token);
    if (index >= connections->allocated)
        return NULL;
    struct connection *connection = connections->by_index[index];
    if (connection == NULL || (connection->generation & RING_GENERATION_MASK) != ring_token_generation(token))
        return NULL;
    return connection;
}

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static bool take_index(struct connections *connections, uint32_t *ret_index)
{
    if (connections->free_count > 0)
        *ret_index = connections->free_indices[--connections->free_count];
    else if (connections->allocated < connections->capacity)
        *ret_index = connections->allocated++;
    else
        return false;
    return true;
}

/* A unix socket is trusted. A client that is gone already has no address, and that is no reason to trust it. */
static void learn_peer(struct connection *connection)
{
    socklen_t length = sizeof connection->peer;
    if (connection->listener->is_unix)
        connection->peer.any.sa_family = AF_UNIX;
    else if (getpeername(connection->fd, &connection->peer.any, &length) < 0)
        connection->peer.any.sa_family = AF_UNSPEC;
}

/* A listener on all addresses does not say which of them the client used; the socket does. */
static void learn_own(struct connections *connections, struct connection *connection)
{
    const struct connection_listener *listener = connection->listener;
    connection->server = listener->server;
    if (listener->is_wildcard)
        connection->server = own_addresses_find(&connections->own_addresses, connection->fd, listener->server);
}

struct connection *connection_create(struct connections *connections, int fd,
                                     const struct connection_listener *listener)
{
    static uint32_t next_generation;
    uint32_t index;
    if (!take_index(connections, &index)) {
        close(fd);
        return NULL;
    }
    struct connection *connection = slab_borrow(&connections->records);
    if (connection == NULL) {
        connections->free_indices[connections->free_count++] = index;
        close(fd);
        return NULL;
    }
    *connection = (struct connection){
        .protocol = connections->protocol,
        .listener = listener,
        .fd = fd,
        .index = index,
        .generation = next_generation++ & RING_GENERATION_MASK,
        .group = LOAN_RECEIVE,
    };
    connections->by_index[index] = connection;
    connections->live++;
    learn_peer(connection);
    learn_own(connections, connection);
    metrics_set(connections->core->metrics, METRIC_CONNECTIONS_ACTIVE, connections->live);
    return connection;
}

static void unlink_from(struct connection **first, struct connection **last, const struct connection *connection)
{
    struct connection **at = first;
    struct connection *previous = NULL;
    while (*at != NULL && *at != connection) {
        previous = *at;
        at = &(*at)->starved_next;
    }
    if (*at == NULL)
        return;
    *at = connection->starved_next;
    if (*last == connection)
        *last = previous;
}

void connection_link_waiting(struct connection **first, struct connection **last, struct connection *connection)
{
    connection->starved_next = NULL;
    if (*last != NULL)
        (*last)->starved_next = connection;
    else
        *first = connection;
    *last = connection;
}

/* It waits for one thing or the other, never for both. */
void connection_unlink_waiting(struct connections *connections, struct connection *connection)
{
    if (connection->starved)
        unlink_from(&connections->starved_first, &connections->starved_last, connection);
    if (connection->tls_waits)
        unlink_from(&connections->undecrypted_first, &connections->undecrypted_last, connection);
    connection->starved = false;
    connection->tls_waits = false;
}

static void unlink_dirty(struct connections *connections, struct connection *connection)
{
    struct connection **at = &connections->dirty_first;
    while (*at != NULL && *at != connection)
        at = &(*at)->dirty_next;
    if (*at != NULL)
        *at = connection->dirty_next;
    connection->dirty = false;
}

static void destroy(struct connections *connections, struct connection *connection)
{
    timer_wheel_disarm(&connections->core->wheel, &connection->timer);
    connection_unlink_waiting(connections, connection);
    if (connection->dirty)
        unlink_dirty(connections, connection);
    metrics_count_close(connections->core->metrics, (enum close_reason)connection->close_reason);
    connections->by_index[connection->index] = NULL;
    connections->free_indices[connections->free_count++] = connection->index;
    if (connection->proxied != NULL)
        slab_give_back(&connections->proxied, connection->proxied);
    connection_drop_tls(connections, connection);
    tls_remnant_destroy(connection->remnant);
    slab_give_back(&connections->records, connection);
    connections->live--;
    metrics_set(connections->core->metrics, METRIC_CONNECTIONS_ACTIVE, connections->live);
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

static void idle_append(struct connections *connections, struct connection *connection)
{
    connection->idle_next = NULL;
    connection->idle_previous = connections->idle_last;
    if (connections->idle_last != NULL)
        connections->idle_last->idle_next = connection;
    else
        connections->idle_first = connection;
    connections->idle_last = connection;
}

static void idle_remove(struct connections *connections, struct connection *connection)
{
    if (connection->idle_previous != NULL)
        connection->idle_previous->idle_next = connection->idle_next;
    else
        connections->idle_first = connection->idle_next;
    if (connection->idle_next != NULL)
        connection->idle_next->idle_previous = connection->idle_previous;
    else
        connections->idle_last = connection->idle_previous;
}

void connection_set_idle(struct connections *connections, struct connection *connection, bool idle)
{
    if (connection->idle == idle)
        return;
    connection->idle = idle;
    if (idle)
        idle_append(connections, connection);
    else
        idle_remove(connections, connection);
    connections->idle_count += idle ? 1U : (uint32_t)-1;
    metrics_set(connections->core->metrics, METRIC_CONNECTIONS_IDLE, connections->idle_count);
}

void connection_cancel_receive(struct connections *connections, struct connection *connection)
{
    if (!connection->receive_armed || connection->receive_cancelling)
        return;
    connection->receive_cancelling = true;
    ring_cancel(connections->core->ring, connection_token_of(connection, RING_RECEIVE));
}

void connection_put_on_turn(struct connections *connections, struct connection *connection)
{
    if (connection->dirty)
        return;
    connection->dirty = true;
    connection->dirty_next = connections->dirty_first;
    connections->dirty_first = connection;
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
    if (reset && connection->state != CONNECTION_CLOSING) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    connection_begin_close(connections, connection, reason);
}

void connection_linger(struct connections *connections, struct connection *connection)
{
    if (connection->reset_when_sent) {
        connection_abort(connections, connection, (enum close_reason)connection->close_reason, true);
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

void connection_on_closed(struct connections *connections, struct connection *connection)
{
    destroy(connections, connection);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

void connection_arm_receive(struct connections *connections, struct connection *connection)
{
    if (connection->receive_armed || connection->poll_armed || connection->starved || connection->tls_waits ||
        connection->eof)
        return;
    if (connection->offload == CONNECTION_OFFLOAD_SWITCHING && !connection_is_over(connection) &&
        !connection_offload_receive(connections, connection))
        return;
    connection->receive_armed = true;
    connection->armed_group = connection->group;
    ring_receive(connections->core->ring, connection->fd, connection->group,
                 connection_token_of(connection, RING_RECEIVE));
}

void connection_arm_poll(struct connections *connections, struct connection *connection)
{
    if (connection->poll_armed || connection->receive_armed || connection->starved)
        return;
    connection->poll_armed = true;
    ring_poll(connections->core->ring, connection->fd, POLLIN | POLLRDHUP, false,
              connection_token_of(connection, RING_IDLE_POLL));
}

static void put_among_starved(struct connections *connections, struct connection *connection)
{
    if (connection->starved || connection->tls_waits) /* who decrypts arms the receive afterwards */
        return;
    connection->starved = true;
    connection_link_waiting(&connections->starved_first, &connections->starved_last, connection);
}

static void starve(struct connections *connections, struct connection *connection)
{
    metrics_add(connections->core->metrics, METRIC_ENOBUFS, 1);
    put_among_starved(connections, connection);
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

static void discard(struct connections *connections, struct connection *connection, struct loan *loan, uint32_t length)
{
    buffer_pool_drop(&connections->core->buffers, loan);
    connection->lingered_bytes += length;
    if (connection->lingered_bytes > CONNECTION_LINGER_BYTES)
        connection_begin_close(connections, connection, CLOSE_REQUESTED);
}

void connection_tell_end(struct connections *connections, struct connection *connection)
{
    if (connection->eof_told || connection->state > CONNECTION_PARKED || connection->close_when_sent)
        return;
    connection->eof_told = true;
    if (connection->tls_open && !connection->tls_ended)
        metrics_add(connections->core->metrics, METRIC_TLS_TRUNCATIONS, 1);
    connection->protocol->on_eof(connection);
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

bool connection_is_transient(int error)
{
    return error == -ECANCELED || error == -EINTR || error == -EAGAIN;
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
        starve(connections, connection);
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

struct connection_proxied *connection_set_proxied(struct connections *connections, struct connection *connection)
{
    if (connection->proxied == NULL)
        connection->proxied = slab_borrow(&connections->proxied);
    return connection->proxied;
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Most deadlines only move away. The timer stays where it is and looks at the real deadline when it fires. */
void connection_set_deadline(struct connections *connections, struct connection *connection, uint64_t deadline_ms)
{
    connection->deadline_ms = deadline_ms;
    if (deadline_ms == 0 || connection->state == CONNECTION_CLOSING)
        return;
    if (timer_armed(&connection->timer) && connection->timer.deadline_ms <= deadline_ms)
        return;
    timer_wheel_arm(&connections->core->wheel, &connection->timer, deadline_ms);
}

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

/* Whoever found the pool empty tries again, the longest waiting first, and no more of them than buffers are free: the
 * others would only find it empty once more. */
static void feed_starved(struct connections *connections)
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
        feed_starved(connections);
}

void connection_client_text(const struct connection *connection, char text[IP_TEXT_MAX], uint16_t *ret_port)
{
    text[0] = '\0';
    *ret_port = 0;
    if (connection->proxied != NULL) {
        memcpy(text, connection->proxied->client, IP_TEXT_MAX);
        *ret_port = connection->proxied->client_port;
    } else if (connection->peer.any.sa_family == AF_INET) {
        ip_text_format4((const uint8_t *)&connection->peer.ipv4.sin_addr, text);
        *ret_port = ntohs(connection->peer.ipv4.sin_port);
    } else if (connection->peer.any.sa_family == AF_INET6) {
        ip_text_format6(connection->peer.ipv6.sin6_addr.s6_addr, text);
        *ret_port = ntohs(connection->peer.ipv6.sin6_port);
    }
}

bool connections_evict_idle(struct connections *connections, enum close_reason reason)
{
    if (connections->idle_first == NULL)
        return false;
    connection_begin_close(connections, connections->idle_first, reason);
    return true;
}
