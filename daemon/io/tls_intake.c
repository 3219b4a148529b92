#include "daemon/io/tls_intake.h"

#include "daemon/base/log.h"

#include <errno.h>

enum { ARRIVALS_PER_CHUNK = 64, COMPLAINT_INTERVAL_MS = 60'000, HANDSHAKE_RECORD = 22 };

static struct tls_intake *intake_of(const struct connection *connection)
{
    return connection->protocol->context;
}

static struct metrics *metrics_of(const struct tls_intake *intake)
{
    return intake->connections->core->metrics;
}

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static void append(struct tls_arrivals *list, struct tls_arrival *arrival)
{
    arrival->next = NULL;
    if (list->last != NULL)
        list->last->next = arrival;
    else
        list->first = arrival;
    list->last = arrival;
}

static struct tls_arrival *take_first(struct tls_arrivals *list)
{
    struct tls_arrival *arrival = list->first;
    if (arrival == NULL)
        return NULL;
    list->first = arrival->next;
    if (list->first == NULL)
        list->last = NULL;
    return arrival;
}

static void unlink_arrival(struct tls_arrivals *list, const struct tls_arrival *arrival)
{
    struct tls_arrival **at = &list->first;
    struct tls_arrival *previous = NULL;
    while (*at != NULL && *at != arrival) {
        previous = *at;
        at = &(*at)->next;
    }
    if (*at == NULL)
        return;
    *at = arrival->next;
    if (list->last == arrival)
        list->last = previous;
}

/* ---- coming and going ------------------------------------------------------------------------------------------- */

static void count_unfinished(struct tls_intake *intake, int change)
{
    intake->unfinished += (uint32_t)change;
    metrics_set(metrics_of(intake), METRIC_TLS_UNFINISHED, intake->unfinished);
}

static void admit(struct tls_intake *intake, struct tls_arrival *arrival)
{
    arrival->state = TLS_ARRIVAL_HELLO;
    count_unfinished(intake, 1);
    connection_set_deadline(intake->connections, arrival->connection, arrival->since_ms + TLS_HELLO_MS);
    connection_want(intake->connections, arrival->connection, true, LOAN_CIPHER);
}

static void note_crowd(struct tls_intake *intake)
{
    bool crowded = intake->unfinished >= TLS_UNFINISHED_MAX;
    if (crowded == intake->crowded)
        return;
    intake->crowded = crowded;
    intake->hooks.on_crowded(crowded, intake->hooks.context);
}

static void admit_waiting(struct tls_intake *intake)
{
    while (intake->unfinished < TLS_UNFINISHED_MAX && intake->admissions.first != NULL)
        admit(intake, take_first(&intake->admissions));
    note_crowd(intake);
}

/* The handshake is over, one way or the other. */
static void leave(struct tls_intake *intake, struct tls_arrival *arrival)
{
    struct connection *connection = arrival->connection;
    if (arrival->state == TLS_ARRIVAL_WAITING)
        unlink_arrival(&intake->admissions, arrival);
    else
        count_unfinished(intake, -1);
    if (arrival->queued)
        unlink_arrival(&intake->turns, arrival);
    slab_give_back(&intake->slab, arrival);
    connection->session = NULL;
    admit_waiting(intake);
}

static void count_failure(struct tls_intake *intake, enum tls_failure failure)
{
    if (failure == TLS_FAILURE_NONE)
        failure = TLS_FAILURE_PROTOCOL;
    metrics_add(metrics_of(intake), (enum metric)(METRIC_TLS_FAILED_PROTOCOL + (int)failure - TLS_FAILURE_PROTOCOL), 1);
}
static_assert(METRIC_TLS_FAILED_INTERNAL - METRIC_TLS_FAILED_PROTOCOL == TLS_FAILURE_INTERNAL - TLS_FAILURE_PROTOCOL,
              "the metrics of failures stand in the order of the failures");

static void say_failure(const struct connection *connection, enum tls_failure failure, const char *reason)
{
    char client[IP_TEXT_MAX];
    uint16_t port;
    connection_client_text(connection, client, &port);
    log_debug("TLS handshake with %s:%u failed: %s%s%s", client, port, tls_failure_word(failure),
              reason[0] != '\0' ? ", " : "", reason);
}

static void fail(struct tls_intake *intake, struct tls_arrival *arrival, enum tls_failure failure, const char *reason)
{
    struct connection *connection = arrival->connection;
    count_failure(intake, failure);
    say_failure(connection, failure, reason);
    leave(intake, arrival);
    if (connection->tls != NULL)
        connection_fail_tls(intake->connections, connection, CLOSE_TLS_HANDSHAKE);
    else
        connection_abort(intake->connections, connection, CLOSE_TLS_HANDSHAKE, false);
}

/* ---- the handshake ---------------------------------------------------------------------------------------------- */

/* Where the request is not here yet, the client's TCP may be holding it back until its Finished is acknowledged
 * (Nagle), and ours would wait for something to send along with that: 40 ms. HTTP/2 has something to say at once. */
static void acknowledge(struct tls_intake *intake, struct connection *connection)
{
    tls_channel_send_tickets(connection->tls);
    if (tls_channel_has_output(connection->tls))
        connection_flush(intake->connections, connection);
}

static void hand_over(struct tls_intake *intake, struct tls_arrival *arrival)
{
    struct connection *connection = arrival->connection;
    struct tls_facts facts;
    tls_channel_facts(connection->tls, &facts);
    metrics_add(metrics_of(intake), facts.is_resumed ? METRIC_TLS_HANDSHAKES_RESUMED : METRIC_TLS_HANDSHAKES_FULL, 1);
    if (tls_channel_is_early(connection->tls))
        metrics_add(metrics_of(intake), METRIC_TLS_EARLY, 1);
    leave(intake, arrival);
    intake->hooks.on_ready(connection, facts.is_h2, intake->hooks.context);
    connection_open_tls(intake->connections, connection);
    if (!facts.is_h2 && tls_channel_pending(connection->tls) == 0)
        acknowledge(intake, connection);
}

static void step(struct tls_intake *intake, struct tls_arrival *arrival)
{
    struct connections *connections = intake->connections;
    struct connection *connection = arrival->connection;
    const bool had_hello = tls_channel_has_hello(connection->tls);
    enum tls_progress progress = tls_channel_handshake(connection->tls, connections->core->now_ms);
    if (!had_hello && tls_channel_has_hello(connection->tls)) {
        intake->hellos++;
        connection_set_deadline(connections, connection, arrival->since_ms + TLS_HANDSHAKE_MS);
    }
    if (progress == TLS_FAILED) {
        fail(intake, arrival, tls_channel_failure(connection->tls), tls_channel_reason(connection->tls));
        return;
    }
    if (tls_channel_has_hello(connection->tls))
        arrival->state = progress == TLS_SIGNING ? TLS_ARRIVAL_SIGNING : TLS_ARRIVAL_SHAKING;
    if (tls_channel_has_output(connection->tls))
        connection_flush(connections, connection);
    if (progress == TLS_READY)
        hand_over(intake, arrival);
}

/* The ClientHello is what costs; those whose turn is over wait for the next, in order. */
static bool may_step(struct tls_intake *intake, struct tls_arrival *arrival)
{
    if (arrival->state == TLS_ARRIVAL_SIGNING || arrival->queued)
        return false;
    if (arrival->state != TLS_ARRIVAL_HELLO || intake->hellos < TLS_HELLOS_PER_TURN)
        return true;
    arrival->queued = true;
    append(&intake->turns, arrival);
    return false;
}

bool tls_intake_turn(struct tls_intake *intake)
{
    intake->hellos = 0;
    while (intake->hellos < TLS_HELLOS_PER_TURN && intake->turns.first != NULL) {
        struct tls_arrival *arrival = take_first(&intake->turns);
        struct connection *connection = arrival->connection;
        arrival->queued = false;
        step(intake, arrival);
        if (connection->tls != NULL && tls_channel_settle_input(connection->tls) < 0)
            connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
    }
    return intake->turns.first != NULL;
}

void tls_intake_on_signed(struct tls_intake *intake, uint64_t owner)
{
    struct connection *connection = connection_find(intake->connections, owner);
    if (connection == NULL || connection->protocol != &intake->protocol || connection->session == NULL ||
        connection->state != CONNECTION_OPEN)
        return;
    struct tls_arrival *arrival = connection->session;
    arrival->state = TLS_ARRIVAL_SHAKING;
    step(intake, arrival);
    if (connection->tls != NULL && tls_channel_settle_input(connection->tls) < 0)
        connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
}

/* ---- the first octet -------------------------------------------------------------------------------------------- */

/* Every request begins with a method in capital letters, and no record of TLS does. */
static bool looks_like_http(const uint8_t *data)
{
    return data[0] >= 'A' && data[0] <= 'Z';
}

static void complain(struct tls_intake *intake, const char *what)
{
    uint64_t now = intake->connections->core->now_ms;
    if (intake->complained_ms != 0 && now - intake->complained_ms < COMPLAINT_INTERVAL_MS)
        return;
    intake->complained_ms = now;
    log_warning("TLS connections are closed: %s", what);
}

/* False when the connection is not one of TLS. */
static bool begin(struct tls_intake *intake, struct tls_arrival *arrival, const uint8_t *data)
{
    struct connection *connection = arrival->connection;
    struct tls_context *context = tls_store_find(intake->store, connection->listener->tls_context);
    struct tls_channel *channel;
    if (looks_like_http(data)) {
        count_failure(intake, TLS_FAILURE_PLAIN_HTTP);
        say_failure(connection, TLS_FAILURE_PLAIN_HTTP, "");
        leave(intake, arrival);
        intake->hooks.on_plain_http(connection, intake->hooks.context);
        return false;
    }
    if (data[0] != HANDSHAKE_RECORD) {
        fail(intake, arrival, TLS_FAILURE_PROTOCOL, "the first octet is no beginning of TLS");
        return false;
    }
    if (context == NULL ||
        tls_channel_create(context, &intake->connections->core->memory, connection_token(connection), &channel) < 0) {
        complain(intake, context == NULL ? "there are no certificates" : "there is no memory for another");
        fail(intake, arrival, TLS_FAILURE_INTERNAL, "");
        return false;
    }
    connection_start_tls(intake->connections, connection, channel);
    return true;
}

/* ---- what the connection tells ---------------------------------------------------------------------------------- */

static void on_bytes(struct connection *connection, struct loan loan, uint8_t *data, uint32_t length)
{
    struct tls_intake *intake = intake_of(connection);
    struct tls_arrival *arrival = connection->session;
    if (connection->tls != NULL || begin(intake, arrival, data)) {
        tls_channel_offer(connection->tls, bytes_of(data, length));
        if (may_step(intake, arrival))
            step(intake, arrival);
        if (tls_channel_settle_input(connection->tls) < 0)
            connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
    }
    buffer_pool_drop(&intake->connections->core->buffers, &loan);
}

static void on_eof(struct connection *connection)
{
    struct tls_intake *intake = intake_of(connection);
    /* One that says nothing at all is a load balancer's probe. */
    if (connection->tls == NULL) {
        connection_abort(intake->connections, connection, CLOSE_CLIENT_DONE, false);
        return;
    }
    count_failure(intake, TLS_FAILURE_CLIENT_GONE);
    say_failure(connection, TLS_FAILURE_CLIENT_GONE, "");
    connection_abort(intake->connections, connection, CLOSE_TLS_HANDSHAKE, false);
}

static void on_sent(struct connection *connection, uint32_t bytes)
{
    (void)connection;
    (void)bytes; /* the handshake goes on when the client answers */
}

static void on_deadline(struct connection *connection)
{
    struct tls_intake *intake = intake_of(connection);
    struct tls_arrival *arrival = connection->session;
    fail(intake, arrival, TLS_FAILURE_TIMEOUT,
         arrival->state >= TLS_ARRIVAL_SHAKING ? "the handshake took too long" : "the ClientHello took too long");
}

static void on_close(struct connection *connection)
{
    (void)connection; /* on_freed() does it */
}

static void on_freed(struct connection *connection)
{
    leave(intake_of(connection), connection->session);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

void tls_intake_init(struct tls_intake *intake, struct connections *connections, const struct tls_store *store,
                     const struct tls_intake_hooks *hooks)
{
    *intake = (struct tls_intake){
        .connections = connections,
        .store = store,
        .hooks = *hooks,
        .protocol =
            {
                .on_bytes = on_bytes,
                .on_eof = on_eof,
                .on_sent = on_sent,
                .on_deadline = on_deadline,
                .on_close = on_close,
                .on_freed = on_freed,
                .context = intake,
            },
    };
    slab_init(&intake->slab, sizeof(struct tls_arrival), ARRIVALS_PER_CHUNK);
}

void tls_intake_deinit(struct tls_intake *intake)
{
    slab_deinit(&intake->slab);
}

void tls_intake_accepted(struct tls_intake *intake, struct connection *connection)
{
    const struct io_core *core = intake->connections->core;
    const bool is_exhausted = core->memory.step == MEMORY_EXHAUSTED;
    struct tls_arrival *arrival = is_exhausted ? NULL : slab_borrow(&intake->slab);
    connection->protocol = &intake->protocol;
    if (arrival == NULL) {
        metrics_add(core->metrics, METRIC_MEMORY_CONNECTIONS, 1);
        connection_abort(intake->connections, connection, CLOSE_OVERLOAD, false);
        return;
    }
    connection_attach_ktls(intake->connections, connection);
    *arrival = (struct tls_arrival){.connection = connection, .since_ms = intake->connections->core->now_ms};
    connection->session = arrival;
    if (intake->unfinished < TLS_UNFINISHED_MAX) {
        admit(intake, arrival);
    } else {
        append(&intake->admissions, arrival);
        connection_want(intake->connections, connection, false, LOAN_CIPHER);
        connection_set_deadline(intake->connections, connection, arrival->since_ms + TLS_HANDSHAKE_MS);
    }
    note_crowd(intake);
}
