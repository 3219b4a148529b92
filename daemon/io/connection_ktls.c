#include "daemon/io/connection_state.h"
#include "daemon/io/tls_keys.h"

#include <errno.h>
#include <string.h>

/* TLS's numbers. */
enum { WARNING = 1, FATAL = 2, KEY_UPDATE = 24, UNEXPECTED_MESSAGE = 10, INTERNAL_ERROR = 80, USER_CANCELED = 90 };

static struct ktls_kernel *kernel_of(const struct connections *connections)
{
    return &connections->core->ktls;
}

static struct metrics *metrics_of(const struct connections *connections)
{
    return connections->core->metrics;
}

void connection_attach_ktls(struct connections *connections, struct connection *connection)
{
    const struct ktls_kernel *kernel = kernel_of(connections);
    if (kernel->calls == NULL || connection->listener->is_unix)
        return;
    if (ktls_attach(kernel, connection->fd) == 0)
        connection->offload = CONNECTION_OFFLOAD_POSSIBLE;
}

/* ---- the switch ------------------------------------------------------------------------------------------------- */

bool connection_wants_offload(const struct connection *connection)
{
    return connection->offload == CONNECTION_OFFLOAD_POSSIBLE && connection->tls_open &&
           !connection_is_early(connection) && !tls_channel_has_ended(connection->tls);
}

static int set_keys(struct connections *connections, struct connection *connection, enum ktls_direction direction)
{
    struct ktls_keys keys;
    int r = connection->remnant != NULL ? tls_remnant_keys(connection->remnant, direction, &keys)
                                        : tls_keys_of(connection->tls, direction, &keys);
    if (r < 0)
        return r;
    r = ktls_has(kernel_of(connections), keys.cipher)
            ? ktls_set_keys(kernel_of(connections), connection->fd, direction, &keys)
            : -ENOTSUP;
    tls_keys_wipe(&keys);
    return r;
}

void connection_offload(struct connections *connections, struct connection *connection)
{
    if (!tls_channel_can_be_muted(connection->tls))
        return;
    if (set_keys(connections, connection, KTLS_SEND) < 0) {
        connection->offload = CONNECTION_OFFLOAD_NONE;
        metrics_add(metrics_of(connections), METRIC_KTLS_FALLBACKS, 1);
        return;
    }
    tls_channel_mute(connection->tls);
    connection->offload = CONNECTION_OFFLOAD_SENDS;
    metrics_add(metrics_of(connections), METRIC_KTLS_SENDING, 1);
    if (!kernel_of(connections)->receives)
        return;
    connection->offload = CONNECTION_OFFLOAD_SWITCHING;
    connection_cancel_receive(connections, connection); /* with its last completion all that came is in our hands */
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

/* The kernel takes over at the end of a record: the rest of one that has begun is fetched, and not an octet more. */
static enum connection_switch fetch_rest(struct connections *connections, struct connection *connection,
                                         uint32_t missing)
{
    uint8_t memory[TLS_RECORD_BYTES_MAX + 512], type;
    ssize_t got = ktls_receive_record(kernel_of(connections), connection->fd, memory,
                                      missing < sizeof memory ? missing : sizeof memory, &type);
    if (got > 0) {
        tls_channel_offer(connection->tls, bytes_of(memory, (size_t)got));
        if (tls_channel_settle_input(connection->tls) == 0)
            return CONNECTION_SWITCH_DONE;
        connection_begin_close(connections, connection, CLOSE_OVERLOAD);
    } else if (got == 0) {
        connection_on_end(connections, connection);
    } else if (connection_is_transient((int)got)) {
        return CONNECTION_SWITCH_POLLS;
    } else {
        connection_begin_close(connections, connection, CLOSE_CLIENT_RESET);
    }
    return CONNECTION_SWITCH_WAITS;
}

/* BoringSSL has nothing more to do; what is to be known of the connection is kept. */
static bool let_go_of_channel(struct connections *connections, struct connection *connection)
{
    int r = tls_remnant_create(&connections->agreements, connection->tls, kernel_of(connections)->rekeys,
                               &connection->remnant);
    if (r < 0) {
        connection_begin_close(connections, connection, CLOSE_OVERLOAD);
        return false;
    }
    connection_drop_tls(connections, connection);
    return true;
}

/* Whether it may be received from. */
static bool take_over(struct connections *connections, struct connection *connection)
{
    if (set_keys(connections, connection, KTLS_RECEIVE) < 0) {
        connection->offload = CONNECTION_OFFLOAD_SENDS;
        metrics_add(metrics_of(connections), METRIC_KTLS_FALLBACKS, 1);
        return true;
    }
    if (!let_go_of_channel(connections, connection))
        return false;
    connection->offload = CONNECTION_OFFLOAD_BOTH;
    connection->group = LOAN_RECEIVE;
    metrics_add(metrics_of(connections), METRIC_KTLS_RECEIVING, 1);
    return true;
}

enum connection_switch connection_offload_receive(struct connections *connections, struct connection *connection)
{
    uint32_t missing;
    if (connection->decrypting)
        return CONNECTION_SWITCH_WAITS; /* who decrypts has a hand on the channel, and arms the receive afterwards */
    while ((missing = tls_channel_missing(connection->tls)) > 0) {
        const enum connection_switch fetched = fetch_rest(connections, connection, missing);
        if (fetched != CONNECTION_SWITCH_DONE)
            return fetched;
    }
    if (tls_channel_pending(connection->tls) > 0) {
        connection_put_among_undecrypted(connections, connection);
        return CONNECTION_SWITCH_WAITS;
    }
    return take_over(connections, connection) ? CONNECTION_SWITCH_DONE : CONNECTION_SWITCH_WAITS;
}

/* ---- new keys --------------------------------------------------------------------------------------------------- */

/* Whether the client has asked for new keys of ours. Where BoringSSL heard of it, it has changed its own already. */
static bool take_key_request(struct connection *connection, bool *ret_changed)
{
    struct tls_remnant *remnant = connection->remnant;
    if (remnant == NULL)
        return *ret_changed = tls_channel_take_key_request(connection->tls);
    const bool asked = remnant->keys_asked;
    remnant->keys_asked = false;
    *ret_changed = false;
    return asked;
}

/* False: this version of TLS has no way to do so. */
static bool make_new_keys(struct connection *connection)
{
    if (connection->remnant != NULL)
        return tls_remnant_advance(connection->remnant, KTLS_SEND) == 0;
    return tls_channel_change_keys(connection->tls);
}

static uint32_t *records_sent(const struct connection *connection)
{
    return connection->remnant != NULL ? &connection->remnant->records_sent : tls_channel_records_sent(connection->tls);
}

/* What a client asks for and this kernel cannot do is left undone: the alternative would be to end its connection, and
 * clients do not depend on it. */
enum connection_keys connection_judge_keys(struct connections *connections, struct connection *connection)
{
    bool changed;
    const bool asked = take_key_request(connection, &changed), rekeys = kernel_of(connections)->rekeys;
    if (asked && !rekeys)
        metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS_REFUSED, 1);
    if (asked && rekeys && (changed || make_new_keys(connection)))
        return CONNECTION_KEYS_CHANGE;
    if (*records_sent(connection) <= KTLS_RECORDS_MAX)
        return CONNECTION_KEYS_GOOD;
    return rekeys && make_new_keys(connection) ? CONNECTION_KEYS_CHANGE : CONNECTION_KEYS_EXPIRED;
}

int connection_change_keys(struct connections *connections, struct connection *connection)
{
    int r = set_keys(connections, connection, KTLS_SEND);
    if (r < 0)
        return r;
    if (connection->remnant != NULL)
        connection->remnant->keys_ahead = false;
    *records_sent(connection) = 0;
    metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS, 1);
    return 0;
}

void connection_note_sent(struct connection *connection, uint64_t bytes)
{
    *records_sent(connection) += (uint32_t)(bytes / KTLS_RECORD_BYTES) + 1;
}

void connection_note_received(struct connection *connection, uint32_t bytes)
{
    connection->remnant->received += bytes;
    connection->remnant->warnings = 0;
}

/* TLS-11, as in tls_channel.c. */
static bool too_many_updates(const struct tls_remnant *remnant)
{
    return remnant->key_updates > TLS_KEY_UPDATES_FREE + (remnant->received >> 20);
}

static int take_new_keys(struct connections *connections, struct connection *connection)
{
    int r = tls_remnant_advance(connection->remnant, KTLS_RECEIVE);
    return r < 0 ? r : set_keys(connections, connection, KTLS_RECEIVE);
}

/* ---- what is not data ------------------------------------------------------------------------------------------- */

void connection_say_alert(struct connections *connections, const struct connection *connection, uint8_t alert)
{
    const uint8_t message[] = {FATAL, alert};
    /* One that cannot be said is the client's loss: it sees the connection end without it. */
    int r =
        ktls_send_record(kernel_of(connections), connection->fd, KTLS_RECORD_ALERT, bytes_of(message, sizeof message));
    (void)r;
}

static void refuse(struct connections *connections, struct connection *connection, uint8_t alert)
{
    if (!connection->send_in_flight)
        connection_say_alert(connections, connection, alert);
    connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
}

/* In TLS 1.3 an alert is the end, but for one that comes before close_notify; in 1.2 it says itself whether it is. */
static bool means_nothing(const struct tls_remnant *remnant, struct bytes alert)
{
    if (alert.length != 2)
        return false;
    return remnant->agreed->version == TLS_1_3_VERSION ? alert.data[1] == USER_CANCELED : alert.data[0] == WARNING;
}

static void on_alert(struct connections *connections, struct connection *connection, struct bytes alert)
{
    struct tls_remnant *remnant = connection->remnant;
    if (alert.length == 2 && alert.data[1] == KTLS_ALERT_CLOSE_NOTIFY) {
        connection->tls_ended = true;
        connection_on_end(connections, connection);
    } else if (!means_nothing(remnant, alert)) {
        connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
    } else if (++remnant->warnings > TLS_WARNINGS_MAX) {
        refuse(connections, connection, UNEXPECTED_MESSAGE);
    }
}

static void on_key_update(struct connections *connections, struct connection *connection, bool wants_ours)
{
    struct tls_remnant *remnant = connection->remnant;
    metrics_add(metrics_of(connections), METRIC_TLS_KEY_UPDATES, 1);
    remnant->key_updates += remnant->key_updates < UINT16_MAX;
    if (too_many_updates(remnant)) {
        refuse(connections, connection, UNEXPECTED_MESSAGE);
        return;
    }
    if (take_new_keys(connections, connection) < 0) {
        metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS_REFUSED, 1);
        refuse(connections, connection, INTERNAL_ERROR);
        return;
    }
    metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS, 1);
    remnant->keys_asked = remnant->keys_asked || wants_ours;
}

/* TLS-12. Of records without data the kernel tells nobody: what came by TCP beyond the data does. */
static bool is_hollow(const struct connections *connections, const struct connection *connection)
{
    const uint64_t allowed = KTLS_HOLLOW_FREE_BYTES + KTLS_HOLLOW_FACTOR * connection->remnant->received;
    return ktls_received(kernel_of(connections), connection->fd) > allowed;
}

void connection_look_for_hollow(struct connections *connections, struct connection *connection)
{
    struct tls_remnant *remnant = connection->remnant;
    if (remnant == NULL)
        return;
    /* Data that wait for us look the same. They do so once, and only where a receive is armed do they not go on to. */
    const bool was_hollow = remnant->is_hollow;
    remnant->is_hollow = connection->receive_armed && is_hollow(connections, connection);
    if (was_hollow && remnant->is_hollow)
        refuse(connections, connection, UNEXPECTED_MESSAGE);
}

static bool is_key_update(struct bytes message)
{
    static const uint8_t head[] = {KEY_UPDATE, 0, 0, 1};
    return message.length == sizeof head + 1 && memcmp(message.data, head, sizeof head) == 0 &&
           message.data[sizeof head] <= 1;
}

void connection_on_record(struct connections *connections, struct connection *connection)
{
    uint8_t memory[64], type;
    ssize_t got = ktls_receive_record(kernel_of(connections), connection->fd, memory, sizeof memory, &type);
    if (got == -EAGAIN || got == -EINTR)
        return;
    const struct bytes record = bytes_of(memory, got > 0 ? (size_t)got : 0);
    if (got < 0)
        connection_begin_close(connections, connection, CLOSE_TLS_ERROR);
    else if (got == 0 && type == KTLS_RECORD_DATA)
        connection_on_end(connections, connection);
    else if (type == KTLS_RECORD_ALERT)
        on_alert(connections, connection, record);
    else if (type == KTLS_RECORD_HANDSHAKE && is_key_update(record))
        on_key_update(connections, connection, record.data[record.length - 1] == 1);
    else
        refuse(connections, connection, UNEXPECTED_MESSAGE);
}
