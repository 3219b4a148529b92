#include "daemon/io/connection_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { RECORDS_PER_CHUNK = 128 };

/* What the account is charged for a channel; the former about, the latter as measured with HTTP/1.1 (docs/tls.md). */
enum { HANDSHAKE_BYTES = 32'768, CHANNEL_BYTES = 4'096 };

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

/* ---- birth and end ---------------------------------------------------------------------------------------------- */

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

void connection_put_among_undecrypted(struct connections *connections, struct connection *connection)
{
    if (connection->tls_waits || connection->decrypting)
        return;
    connection_unlink_waiting(connections, connection);
    connection->tls_waits = true;
    connection_link_waiting(&connections->undecrypted_first, &connections->undecrypted_last, connection);
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

void connection_on_closed(struct connections *connections, struct connection *connection)
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

struct connection_proxied *connection_set_proxied(struct connections *connections, struct connection *connection)
{
    if (connection->proxied == NULL)
        connection->proxied = slab_borrow(&connections->proxied);
    return connection->proxied;
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

/* ---- its TLS ---------------------------------------------------------------------------------------------------- */

void connection_start_tls(struct connections *connections, struct connection *connection, struct tls_channel *channel)
{
    assert(connection->tls == NULL);
    memory_account_charge(&connections->core->memory, HANDSHAKE_BYTES);
    connection->tls = channel;
    connection->group = LOAN_CIPHER;
}

void connection_open_tls(struct connections *connections, struct connection *connection)
{
    memory_account_credit(&connections->core->memory, HANDSHAKE_BYTES - CHANNEL_BYTES);
    connection->tls_open = true;
    if (connection->wants_read && connection_has_plaintext(connection))
        connection_put_among_undecrypted(connections, connection);
}

void connection_drop_tls(struct connections *connections, struct connection *connection)
{
    if (connection->tls == NULL)
        return;
    memory_account_credit(&connections->core->memory, connection->tls_open ? CHANNEL_BYTES : HANDSHAKE_BYTES);
    tls_channel_destroy(connection->tls);
    connection->tls = NULL;
}

/* ---- who waits for what ----------------------------------------------------------------------------------------- */

void connection_put_on_turn(struct connections *connections, struct connection *connection)
{
    if (connection->dirty)
        return;
    connection->dirty = true;
    connection->dirty_next = connections->dirty_first;
    connections->dirty_first = connection;
}

void connection_flush(struct connections *connections, struct connection *connection)
{
    if (!connection->send_in_flight && connection->state != CONNECTION_CLOSING)
        connection_put_on_turn(connections, connection);
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
