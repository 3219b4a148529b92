#include "daemon/io/connection_state.h"
#include "daemon/io/tls_keys.h"

#include <errno.h>

enum { FATAL = 2 };

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
    int r = tls_keys_of(connection->tls, direction, &keys);
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
}

/* ---- new keys --------------------------------------------------------------------------------------------------- */

/* What a client asks for and this kernel cannot do is left undone: the alternative would be to end its connection, and
 * clients do not depend on it. */
static bool is_asked_for_keys(struct connections *connections, struct connection *connection)
{
    if (!tls_channel_take_key_request(connection->tls))
        return false;
    if (!kernel_of(connections)->rekeys)
        metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS_REFUSED, 1);
    return kernel_of(connections)->rekeys;
}

enum connection_keys connection_judge_keys(struct connections *connections, struct connection *connection)
{
    if (is_asked_for_keys(connections, connection))
        return CONNECTION_KEYS_CHANGE;
    if (connection->records_sent <= KTLS_RECORDS_MAX)
        return CONNECTION_KEYS_GOOD;
    if (!kernel_of(connections)->rekeys || !tls_channel_change_keys(connection->tls))
        return CONNECTION_KEYS_EXPIRED;
    return CONNECTION_KEYS_CHANGE;
}

int connection_change_keys(struct connections *connections, struct connection *connection)
{
    int r = set_keys(connections, connection, KTLS_SEND);
    if (r < 0)
        return r;
    connection->records_sent = 0;
    metrics_add(metrics_of(connections), METRIC_KTLS_REKEYS, 1);
    return 0;
}

/* ---- what is not data ------------------------------------------------------------------------------------------- */

bool connection_say_alert(struct connections *connections, const struct connection *connection)
{
    const uint8_t alert[] = {FATAL, tls_channel_alert(connection->tls)};
    return ktls_send_record(kernel_of(connections), connection->fd, KTLS_RECORD_ALERT, bytes_of(alert, sizeof alert)) ==
           0;
}
