#include "daemon/io/io_process_state.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUIET_LOOKS_MAX = 3, TURN_MS_MAX = 1'000 };

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1'000'000U + (uint64_t)now.tv_nsec / 1000U;
}

void io_loop_look_at_clock(struct io_core *core)
{
    core->now_us = clock_us(CLOCK_MONOTONIC);
    core->now_ms = core->now_us / 1000;
    core->wall_us = clock_us(CLOCK_REALTIME);
    core->date = date_cache_at(&core->date_cache, (time_t)(core->wall_us / 1'000'000U));
}

void io_loop_listen_to_supervisor(struct io_process *io)
{
    ring_poll(io->core.ring, CONTROL_FD, POLLIN, true, ring_token_make(RING_CONTROL, 0, 0));
}

void io_loop_listen_to_signers(struct io_process *io)
{
    if (io->tls_store.signers != NULL)
        ring_poll(io->core.ring, tls_signers_fd(io->tls_store.signers), POLLIN, true,
                  ring_token_make(RING_SIGNATURE, 0, 0));
}

static void on_signed(uint64_t owner, void *context)
{
    struct io_process *io = context;
    tls_intake_on_signed(&io->tls, owner);
}

static void on_event(struct io_process *io, const struct ring_event *event)
{
    enum ring_kind kind = ring_token_kind(event->token);
    switch (kind) {
    case RING_ACCEPT:
        acceptor_on_accept(&io->acceptor, event);
        return;
    case RING_CONTROL:
        if (!event->more && event->result >= 0)
            io_loop_listen_to_supervisor(io); /* the poll ended because the completion queue was full */
        io_control_receive(io);
        return;
    case RING_DOORBELL:
        dispatch_on_doorbell(&io->dispatch, event);
        return;
    case RING_LOG_WRITE:
        access_log_writer_on_written(&io->access_log, event);
        return;
    case RING_FILE_READ:
        file_sources_on_read(&io->core, event);
        return;
    case RING_SIGNATURE:
        if (!event->more)
            io_loop_listen_to_signers(io);
        tls_signers_drain(io->tls_store.signers, on_signed, io);
        return;
    case RING_RECEIVE:
    case RING_SEND:
    case RING_IDLE_POLL:
    case RING_CLOSE:
        break;
    default:
        return;
    }
    struct connection *connection = connection_find(&io->connections, event->token);
    assert(connection != NULL); /* a connection outlives all that is in flight for it */
    if (kind == RING_RECEIVE)
        connection_on_receive(&io->connections, connection, event);
    else if (kind == RING_SEND)
        connection_on_send(&io->connections, connection, event);
    else if (kind == RING_IDLE_POLL)
        connection_on_poll(&io->connections, connection, event);
    else
        connection_on_closed(&io->connections, connection);
}

static void on_connection_timer(struct timer_entry *entry, void *context)
{
    struct io_process *io = context;
    connection_on_timer(&io->connections, TIMER_OWNER(entry, struct connection, timer));
}

static void on_exchange_timer(struct timer_entry *entry, void *context)
{
    struct io_process *io = context;
    dispatch_on_timer(&io->dispatch, TIMER_OWNER(entry, struct http_exchange, timer));
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What time brings about. Returns when time has to be looked at next. */
static uint64_t timers_turn(struct io_process *io)
{
    struct io_core *core = &io->core;
    timer_wheel_advance(&core->wheel, core->now_ms, on_connection_timer, io);
    timer_wheel_advance(&core->exchange_wheel, core->now_ms, on_exchange_timer, io);
    gone_watch_turn(&io->gone, &io->connections);
    uint64_t spool_ms = spool_turn(&core->spool, core->now_ms);
    return sooner(acceptor_turn(&io->acceptor), spool_ms);
}

static int64_t wait_ms(const struct io_process *io, uint64_t acceptor_ms)
{
    uint64_t next = sooner(timer_wheel_next_ms(&io->core.wheel), timer_wheel_next_ms(&io->core.exchange_wheel));
    next = sooner(next, acceptor_ms);
    if (next <= io->core.now_ms)
        return 1;
    uint64_t wait = next - io->core.now_ms;
    return wait < TURN_MS_MAX ? (int64_t)wait : TURN_MS_MAX;
}

static void count_turn(struct io_process *io, int events)
{
    struct io_core *core = &io->core;
    metrics_add(core->metrics, METRIC_LOOP_TURNS, 1);
    metrics_add(core->metrics, METRIC_COMPLETIONS, (uint64_t)events);
    metrics_set(core->metrics, METRIC_CQ_OVERFLOWS, ring_overflows(core->ring));
    metrics_set(core->metrics, METRIC_RECV_BUFFERS_LENT, core->buffers.receive.lent + core->buffers.upload.lent);
    metrics_set(core->metrics, METRIC_STAGING_LIVE, block_pool_lent(&core->buffers.staging));
    if (io->tls_store.signers != NULL)
        metrics_set(core->metrics, METRIC_TLS_SIGNATURES_WAITING, tls_signers_waiting(io->tls_store.signers));
    metrics_set(core->metrics, METRIC_TIMERS_LIVE,
                timer_wheel_count(&core->wheel) + timer_wheel_count(&core->exchange_wheel));
}

/*
 * Apps ring once for several quick answers. One that meets a slow request unexpectedly holds back the ring, not the
 * answers: they are in the queue. So after the last sign of life we look again after 1, 4 and 16 ms, while any request
 * is out, before sleeping until something happens.
 */
static int64_t look_again_ms(struct io_process *io, int64_t wait)
{
    if (io->quiet_looks >= QUIET_LOOKS_MAX || !dispatch_outstanding(&io->dispatch))
        return wait;
    int64_t look = 1 << (2 * io->quiet_looks++);
    return look < wait ? look : wait;
}

/* Looks until something is there: completions, whose number is returned, or answers, or the time of spinning is over.
 * Nobody has to ring meanwhile. */
static int spin(struct io_process *io)
{
    const uint64_t end_ns = spin_now_ns() + io->spin.spin_ns;
    int count;
    do
        count = ring_wait(io->core.ring, 0, io->events, RING_EVENTS_MAX);
    while (count == 0 && !dispatch_pending(&io->dispatch) && spin_now_ns() < end_ns);
    return count;
}

/* Waits for completions or for answers. */
static int sleep_until_event(struct io_process *io, uint64_t acceptor_ms)
{
    const bool spins = io->spin.spin_ns > 0;
    const uint64_t begin_ns = spins ? spin_now_ns() : 0;
    int count = spins ? spin(io) : 0;
    if (count == 0) {
        bool sleeps = dispatch_arm(&io->dispatch);
        count = ring_wait(io->core.ring, sleeps ? look_again_ms(io, wait_ms(io, acceptor_ms)) : 0, io->events,
                          RING_EVENTS_MAX);
        if (sleeps)
            dispatch_disarm(&io->dispatch);
    }
    if (spins)
        spin_policy_learn(&io->spin, spin_now_ns() - begin_ns);
    return count;
}

/* One turn: answers, time, what has to be sent; then submit, perhaps sleep, and handle what completed. */
static int turn(struct io_process *io)
{
    io_loop_look_at_clock(&io->core);
    uint32_t replies = dispatch_pump(&io->dispatch);
    uint64_t acceptor_ms = timers_turn(io);
    bool goes_on = io_memory_turn(io);
    goes_on = tls_intake_turn(&io->tls) || goes_on;
    goes_on = connections_decrypt(&io->connections) || goes_on;
    http1_sessions_turn(&io->http1);
    goes_on = http2_sessions_turn(&io->http2) || goes_on;
    dispatch_turn(&io->dispatch);
    connections_turn(&io->connections);
    access_log_writer_turn(&io->access_log);

    int count = replies == 0 && !goes_on ? sleep_until_event(io, acceptor_ms)
                                         : ring_wait(io->core.ring, 0, io->events, RING_EVENTS_MAX);
    if (count < 0)
        return count;
    if (count > 0 || replies > 0)
        io->quiet_looks = 0;
    io_loop_look_at_clock(&io->core);
    for (int i = 0; i < count; i++)
        on_event(io, &io->events[i]);
    count_turn(io, count);
    return 0;
}

static bool is_over(const struct io_process *io)
{
    return io->state == IO_STOPPED ||
           (io->state == IO_DRAINING && io->connections.live == 0 && io->core.exchanges.live == 0 &&
            acceptor_is_closed(&io->acceptor) && !io->access_log.writing);
}

int io_loop_run(struct io_process *io)
{
    while (!is_over(io)) {
        int r = turn(io);
        if (r < 0) {
            log_critical("the ring failed: %s", strerror(-r));
            return EXIT_FAILURE;
        }
    }
    access_log_writer_finish(&io->access_log);
    tls_descriptions_deinit(&io->tls_descriptions); /* what it keeps is not in use */
    memory_account_look(&io->core.memory, io->core.outputs.large_bytes);
    if ((io->core.setup.flags & CONTROL_LIVE_COUNTERS) != 0)
        log_info("live: connections=%u exchanges=%u slots=%u buffers=%u staging=%u spool=%u files=%u memory=%llu "
                 "timers=%zu",
                 io->connections.live, io->core.exchanges.live,
                 io->core.setup.shape.slots - io->dispatch.free_slot_count,
                 buffer_pool_live(&io->core.buffers) - block_pool_lent(&io->core.buffers.staging),
                 block_pool_lent(&io->core.buffers.staging), io->core.spool.live, io->core.files.live,
                 (unsigned long long)io->core.memory.bytes,
                 timer_wheel_count(&io->core.wheel) + timer_wheel_count(&io->core.exchange_wheel));
    return EXIT_SUCCESS;
}
