#include "daemon/io/io_process.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/process_title.h"
#include "daemon/base/sandbox.h"
#include "daemon/base/spin_policy.h"
#include "daemon/io/acceptor.h"
#include "daemon/io/gone_watch.h"
#include "daemon/io/http_intake.h"
#include "daemon/io/proxy_intake.h"
#include "daemon/io/tls_describe.h"
#include "daemon/io/tls_intake.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { RING_RETRIES = 20, RING_RETRY_NS = 50'000'000 };
enum { EXIT_NO_RING = 5, QUIET_LOOKS_MAX = 3, TURN_MS_MAX = 1'000, EXCHANGES_PER_CHUNK = 64, SESSIONS_PER_CHUNK = 16 };

enum io_state { IO_SETTING_UP, IO_SERVING, IO_DRAINING, IO_STOPPED };

struct io_process {
    enum io_state state;
    struct io_core core;
    struct dispatch dispatch;
    struct connections connections;
    struct gone_watch gone;
    struct http1_sessions http1;
    struct http2_sessions http2;
    struct http_intake http;
    struct proxy_intake proxy;
    struct tls_store tls_store;
    struct tls_intake tls;
    struct tls_descriptions tls_descriptions;
    struct acceptor acceptor;
    int log_fd;
    int access_log_fd;
    bool access_log_writing;
    uint64_t access_log_drops_said;
    struct log_limit access_log_limit;
    struct spin_policy spin;
    uint32_t quiet_looks; /* since the last sign of life */
    struct ring_event events[RING_EVENTS_MAX];
};

/* ---- time ------------------------------------------------------------------------------------------------------- */

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1'000'000U + (uint64_t)now.tv_nsec / 1000U;
}

static void look_at_clock(struct io_core *core)
{
    core->now_us = clock_us(CLOCK_MONOTONIC);
    core->now_ms = core->now_us / 1000;
    core->wall_us = clock_us(CLOCK_REALTIME);
    core->date = date_cache_at(&core->date_cache, (time_t)(core->wall_us / 1'000'000U));
}

/* ---- settings --------------------------------------------------------------------------------------------------- */

static uint32_t bounded(int64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void derive_limits(struct io_core *core)
{
    const struct settings *settings = &core->settings;
    core->head_limits = (struct http1_limits){
        .request_line_max = bounded(settings->limit_request_line),
        .field_size_max = bounded(settings->limit_request_field_size),
        .field_count_max = bounded(settings->limit_request_fields),
        .head_bytes_max = LAYOUT_LARGE_BLOCK_BYTES - 1, /* one that is cut has to show that it is longer */
        .method_bytes_max = 32,
        .body_bytes_max = (uint64_t)settings->limit_request_body,
        .refuse_underscore_names = settings->header_map == HEADER_MAP_REFUSE,
    };
    core->body_limits = (struct http1_body_limits){
        .body_bytes_max = (uint64_t)settings->limit_request_body,
        .trailer_bytes_max = 16'384,
        .trailer_count_max = 50,
        .chunk_extension_max = 256,
        .extensions_bytes_max = 16'384,
    };
}

static int derive_trust(struct io_core *core)
{
    size_t bad;
    const struct settings *settings = &core->settings;
    address_set_deinit(&core->forwarded_allow);
    address_set_deinit(&core->proxy_allow);
    secure_schemes_deinit(&core->secure_schemes);
    int r = secure_schemes_init(&core->secure_schemes, &settings->secure_scheme_headers);
    if (r == 0)
        r = address_set_init(&core->forwarded_allow, &settings->forwarded_allow_ips, &bad);
    return r < 0 ? r : address_set_init(&core->proxy_allow, &settings->proxy_allow_ips, &bad);
}

static void complain_of_log_format(const char *problem)
{
    log_error("access_log_format: %s", problem != NULL ? problem : "out of memory");
}

static void apply_log_format(struct access_log *log, const char *before, const char *now)
{
    const char *problem = NULL;
    if (log != NULL && strcmp(before, now) != 0 && access_log_set_format(log, now, &problem) < 0)
        complain_of_log_format(problem);
}

/* After a reload: what can change while requests run. Sizes that memory was laid out by stay. */
static void apply_settings(struct io_process *io, int fd)
{
    struct settings fresh = {};
    if (settings_deserialize(fd, &fresh) < 0) {
        log_error("the new settings could not be read; the old ones stay");
        return;
    }
    fresh.limit_request_fields = io->core.settings.limit_request_fields;
    fresh.max_connections = io->core.settings.max_connections;
    apply_log_format(io->core.access_log, io->core.settings.access_log_format, fresh.access_log_format);
    settings_deinit(&io->core.settings);
    io->core.settings = fresh;
    derive_limits(&io->core);
    if (derive_trust(&io->core) < 0)
        log_error("out of memory for the lists of trusted addresses; nobody is trusted now");
    http2_sessions_apply_settings(&io->http2);
    log_set_level(fresh.loglevel);
}

/* ---- setting up ------------------------------------------------------------------------------------------------- */

static int open_memory(struct io_process *io, const struct control_message *message)
{
    struct io_core *core = &io->core;
    const struct exchange_shape *shape = &core->setup.shape;
    inbound_layout_compute(shape, &core->layout);
    int r = arena_create(&core->inbound, "uroboros-inbound", core->layout.bytes, ARENA_SEAL_WRITER);
    if (r == 0)
        r = arena_adopt(&core->metrics_memory, message->fds[2], true, (size_t)shape->rings * CONTROL_METRICS_PAGE_BYTES,
                        UINT32_MAX);
    if (r == 0)
        r = dispatch_init(&io->dispatch, core, message->fds[3]);
    if (r == 0)
        r = io_scratch_init(&core->scratch, shape->fields_max);
    if (r < 0)
        return r;
    core->metrics = io_core_metrics_of(core, core->setup.index);
    slab_init(&core->exchanges, sizeof(struct http_exchange), EXCHANGES_PER_CHUNK);
    slab_init(&core->bodies, sizeof(struct body_piece), 256);
    slab_init(&core->replies, sizeof(struct reply), 64);
    slab_init(&core->sessions, sizeof(struct http1_session), SESSIONS_PER_CHUNK);
    output_pools_init(&core->outputs);
    return 0;
}

/* Takes `fd`. */
static int open_access_log(struct io_process *io, int fd)
{
    const char *problem = NULL;
    io->access_log_fd = fd;
    int r = access_log_create(io->core.settings.access_log_format, &io->core.access_log, &problem);
    if (r < 0)
        complain_of_log_format(problem);
    return r;
}

static void pin(const struct control_setup *setup)
{
    cpu_set_t cpus;
    if (setup->cpu < 0)
        return;
    CPU_ZERO(&cpus);
    CPU_SET((unsigned)setup->cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) < 0)
        log_warning("could not pin I/O process %u to CPU %d", setup->index, setup->cpu);
}

/* The memory of a ring is charged until the kernel has taken it down, which is some time after its process is gone: the
 * successor of a dead I/O process may come too early. */
static int create_ring(struct ring **ret_ring)
{
    const struct timespec pause = {.tv_nsec = RING_RETRY_NS};
    int r = ring_create(ret_ring);
    for (int i = 0; r == -ENOMEM && i < RING_RETRIES; i++) {
        nanosleep(&pause, NULL);
        r = ring_create(ret_ring);
    }
    return r;
}

static int open_ring(struct io_process *io)
{
    char why[512];
    int r = create_ring(&io->core.ring);
    if (r == 0)
        r = buffer_pool_init(&io->core.buffers, io->core.ring, &io->core.inbound, &io->core.setup.shape);
    if (r == 0)
        return 0;
    ring_explain(r, why, sizeof why);
    log_critical("%s", why);
    return r;
}

/* ---- where connections go --------------------------------------------------------------------------------------- */

/* The client's own octets come next. */
static void on_client(struct connection *connection, void *context)
{
    struct io_process *io = context;
    if (connection->listener->tls_context >= 0) {
        tls_intake_accepted(&io->tls, connection);
        return;
    }
    http_intake_accepted(&io->http, connection);
}

static void on_accepted(struct connection *connection, void *context)
{
    struct io_process *io = context;
    if (proxy_intake_wanted(&io->proxy, connection->listener))
        proxy_intake_accepted(&io->proxy, connection);
    else
        on_client(connection, io);
}

static void on_tls_ready(struct connection *connection, bool is_h2, void *context)
{
    struct io_process *io = context;
    connection->protocol = is_h2 ? &io->http2.protocol : &io->http1.protocol;
    if (is_h2)
        http2_session_accepted(&io->http2, connection);
    else
        http1_session_accepted(&io->http1, connection);
}

static void on_plain_http(struct connection *connection, void *context)
{
    struct io_process *io = context;
    connection->protocol = &io->http1.protocol;
    http1_session_refuse(&io->http1, connection, 400, "this address speaks TLS: the URL has to begin with https://",
                         CLOSE_PLAIN_HTTP);
}

static void on_tls_crowded(bool is_crowded, void *context)
{
    struct io_process *io = context;
    if (is_crowded)
        acceptor_pause_tls(&io->acceptor);
    else
        acceptor_resume_tls(&io->acceptor);
}

static void on_signed(uint64_t owner, void *context)
{
    struct io_process *io = context;
    tls_intake_on_signed(&io->tls, owner);
}

static int set_up_tls(struct io_process *io)
{
    const struct tls_intake_hooks hooks = {on_tls_ready, on_plain_http, on_tls_crowded, io};
    tls_intake_init(&io->tls, &io->connections, &io->tls_store, &hooks);
    return tls_store_init(&io->tls_store, &io->core.settings);
}

static bool speaks_tls(const struct io_process *io)
{
    for (uint32_t i = 0; i < io->acceptor.count; i++)
        if (io->acceptor.listeners[i].tls_context >= 0)
            return true;
    return false;
}

/* While we may still be root: the kernel fetches its module for nobody else. One process speaks for all. */
static void probe_ktls(struct io_process *io)
{
    char text[256];
    if (!speaks_tls(io))
        return;
    ktls_probe(&io->core.ktls, io->core.settings.ktls);
    ktls_explain(&io->core.ktls, text, sizeof text);
    if (io->core.setup.index == 0)
        log_info("%s", text);
}

/* The threads come before the lock, after which none can be made. */
static int start_tls(struct io_process *io)
{
    if (!speaks_tls(io))
        return 0;
    tls_descriptions_init(&io->tls_descriptions, &io->core.buffers);
    io->core.tls = &io->tls_descriptions;
    int r = tls_store_start(&io->tls_store);
    return r < 0 ? r : buffer_pool_add_cipher(&io->core.buffers, io->core.ring);
}

static void listen_to_signers(struct io_process *io)
{
    if (io->tls_store.signers != NULL)
        ring_poll(io->core.ring, tls_signers_fd(io->tls_store.signers), POLLIN, true,
                  ring_token_make(RING_SIGNATURE, 0, 0));
}

static int set_up(struct io_process *io, struct control_message *message)
{
    struct io_core *core = &io->core;
    const struct control_setup *setup = control_payload(message, sizeof *setup);
    if (message->kind != CONTROL_SETUP || setup == NULL || message->fd_count < 4 ||
        exchange_shape_check(&setup->shape) < 0 || setup->index >= setup->shape.rings)
        return -EPROTO;
    core->setup = *setup;
    int r = settings_deserialize(message->fds[0], &core->settings);
    if (r < 0)
        return r;
    char title[32];
    snprintf(title, sizeof title, "io %u", setup->index);
    io->log_fd = message->fds[1];
    log_init(title, core->settings.loglevel, io->log_fd);
    process_title_set("uroboros: io %u", setup->index);
    /* Before pinning: the question is what the server has. */
    spin_policy_init(&io->spin, core->settings.spin != SPIN_SLEEP, core->settings.spin == SPIN_ADAPTIVE,
                     spin_usable_cpus(), setup->shape.rings + bounded(core->settings.workers));
    pin(setup);
    look_at_clock(core);
    timer_wheel_init(&core->wheel, core->now_ms);
    timer_wheel_init(&core->exchange_wheel, core->now_ms);
    derive_limits(core);
    r = derive_trust(core);
    if (r == 0)
        r = open_memory(io, message);
    io->access_log_fd = -1;
    if (r == 0 && (core->setup.flags & CONTROL_HAS_ACCESS_LOG) != 0 && message->fd_count == 5)
        r = open_access_log(io, message->fds[4]);
    http1_sessions_init(&io->http1, core, &io->connections, &io->dispatch);
    if (r == 0)
        r = http2_sessions_init(&io->http2, core, &io->connections, &io->dispatch);
    if (r == 0)
        r = connections_init(&io->connections, core, &io->http1.protocol, bounded(core->settings.max_connections) + 64);
    http_intake_init(&io->http, &io->connections, &io->http1, &io->http2);
    proxy_intake_init(&io->proxy, &io->connections, &io->http1, on_client, io);
    acceptor_init(&io->acceptor, &io->connections, on_accepted, io);
    if (r == 0)
        r = set_up_tls(io);
    return r;
}

/* ---- control ---------------------------------------------------------------------------------------------------- */

static void leave(struct io_process *io)
{
    if (io->state >= IO_DRAINING)
        return;
    io->state = IO_DRAINING;
    io->core.draining = true;
    acceptor_stop(&io->acceptor);
    connections_drain(&io->connections);
}

/* Also after leave(): then the idle connections end that were still there. */
static void drain(struct io_process *io)
{
    if (io->state > IO_DRAINING)
        return;
    leave(io);
    http1_sessions_drain(&io->http1);
}

/* Into the places of the old ones: a write that is under way keeps the old file, the next one finds the new. */
static void reopen_access_log(struct io_process *io, struct control_message *message)
{
    if (io->access_log_fd < 0) {
        message->fd_count = 1;
        if (open_access_log(io, message->fds[1]) < 0)
            log_error("there is no access log");
    } else if (dup3(message->fds[1], io->access_log_fd, O_CLOEXEC) < 0) {
        log_error("the access log could not be opened again: %s", strerror(errno));
    }
}

static void reopen_logs(struct io_process *io, struct control_message *message)
{
    if (message->fd_count < 1)
        return;
    if (dup3(message->fds[0], io->log_fd, O_CLOEXEC) >= 0)
        log_set_fd(io->log_fd);
    if (message->fd_count > 1)
        reopen_access_log(io, message);
}

/* Without it request bodies beyond request_buffer_max are streamed, and a slow client keeps a thread: worse, but it
 * serves. A container may have no directory to write to. */
static void open_spool(struct io_core *core)
{
    const char *directory = core->settings.tmp_upload_dir;
    int r = spool_init(&core->spool, directory, (uint64_t)core->settings.request_spool_max);
    if (r < 0)
        log_warning("tmp_upload_dir %s: no file can be made there (%s); long request bodies are not held but streamed",
                    directory, strerror(-r));
}

static void listen_to_supervisor(struct io_process *io)
{
    ring_poll(io->core.ring, CONTROL_FD, POLLIN, true, ring_token_make(RING_CONTROL, 0, 0));
}

static int start(struct io_process *io)
{
    const struct settings *settings = &io->core.settings;
    probe_ktls(io);
    int r = sandbox_drop_ids(settings->user, settings->group, settings->initgroups);
    if (r == 0)
        open_spool(&io->core);
    if (r == 0)
        r = sandbox_follow_parent((pid_t)io->core.setup.supervisor_pid, SIGTERM);
    if (r == 0)
        r = start_tls(io);
    if (r == 0)
        r = sandbox_lock_io();
    if (r == 0)
        r = ring_enable(io->core.ring);
    if (r < 0)
        return r;
    const struct control_ready ready = {};
    listen_to_supervisor(io);
    listen_to_signers(io);
    acceptor_start(&io->acceptor);
    io->state = IO_SERVING;
    return control_send(CONTROL_FD, CONTROL_READY, &ready, sizeof ready, NULL, 0);
}

static int on_peer(struct io_process *io, struct control_message *message)
{
    const struct control_peer *peer = control_payload(message, sizeof *peer);
    if (peer == NULL)
        return -EPROTO;
    switch (message->kind) {
    case CONTROL_PEER_UP:
        return dispatch_app_up(&io->dispatch, peer, message);
    case CONTROL_PEER_DRAIN:
        dispatch_app_drain(&io->dispatch, peer->index, peer->generation);
        return 0;
    default:
        dispatch_app_gone(&io->dispatch, peer->index, peer->generation,
                          (peer->flags & CONTROL_GONE_TIMED_OUT) != 0 ? 504 : 502);
        return 0;
    }
}

static int on_listener(struct io_process *io, struct control_message *message)
{
    const struct control_listener *listener = control_payload(message, sizeof *listener);
    if (listener == NULL || message->fd_count != 1)
        return -EPROTO;
    message->fd_count = 0;
    return acceptor_add(&io->acceptor, listener, message->fds[0]);
}

static int handle(struct io_process *io, struct control_message *message)
{
    switch (message->kind) {
    case CONTROL_LISTENER:
        return on_listener(io, message);
    case CONTROL_PEER_UP:
    case CONTROL_PEER_GONE:
    case CONTROL_PEER_DRAIN:
        return on_peer(io, message);
    case CONTROL_TLS_PAIR:
    case CONTROL_TLS_TRUST:
    case CONTROL_TLS_TICKETS:
    case CONTROL_TLS_READY:
        return tls_store_on_control(&io->tls_store, message, CONTROL_FD);
    case CONTROL_START:
        return start(io);
    case CONTROL_SETTINGS:
        if (message->fd_count == 1) {
            message->fd_count = 0;
            apply_settings(io, message->fds[0]);
        }
        return 0;
    case CONTROL_LOG:
        reopen_logs(io, message);
        return 0;
    case CONTROL_LEAVE:
        leave(io);
        return 0;
    case CONTROL_DRAIN:
        drain(io);
        return 0;
    case CONTROL_STOP:
        io->state = IO_STOPPED;
        return 0;
    default:
        return -EPROTO;
    }
}

static void on_control(struct io_process *io)
{
    struct control_message message;
    int r;
    while (io->state != IO_STOPPED && (r = control_receive(CONTROL_FD, &message)) != -EAGAIN) {
        if (r <= 0 && r != -EBADMSG) {
            drain(io); /* the supervisor is gone: what was begun is finished, nothing new is taken */
            return;
        }
        if (r != 1)
            continue;
        int outcome = handle(io, &message);
        if (outcome < 0)
            log_error("control message %u could not be carried out: error %d", message.kind, -outcome);
        control_close_fds(&message);
    }
}

/* ---- access log ------------------------------------------------------------------------------------------------- */

static void write_access_log(struct io_process *io)
{
    struct bytes lines;
    struct access_log *log = io->core.access_log;
    if (log == NULL || io->access_log_writing || !access_log_take(log, &lines))
        return;
    io->access_log_writing = true;
    ring_write(io->core.ring, io->access_log_fd, lines.data, lines.length, ring_token_make(RING_LOG_WRITE, 0, 0));
}

static void on_log_written(struct io_process *io, const struct ring_event *event)
{
    uint64_t suppressed;
    io->access_log_writing = false;
    access_log_written(io->core.access_log, event->result);
    uint64_t drops = access_log_drops(io->core.access_log);
    metrics_set(io->core.metrics, METRIC_ACCESS_LOG_DROPS, drops);
    if (drops == io->access_log_drops_said ||
        !log_limit_pass(&io->access_log_limit, io->core.now_ms, 10'000, &suppressed))
        return;
    log_warning("%llu access log lines were dropped: the log could not keep up",
                (unsigned long long)(drops - io->access_log_drops_said));
    io->access_log_drops_said = drops;
}

/* Before the process ends: what is still in memory, as far as the log takes it at once. */
static void finish_access_log(struct io_process *io)
{
    struct bytes lines;
    struct access_log *log = io->core.access_log;
    while (log != NULL && !io->access_log_writing && access_log_take(log, &lines)) {
        ssize_t written = write(io->access_log_fd, lines.data, lines.length);
        access_log_written(log, written < 0 ? -EIO : written);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void on_event(struct io_process *io, const struct ring_event *event)
{
    enum ring_kind kind = ring_token_kind(event->token);
    switch (kind) {
    case RING_ACCEPT:
        acceptor_on_accept(&io->acceptor, event);
        return;
    case RING_CONTROL:
        if (!event->more && event->result >= 0)
            listen_to_supervisor(io); /* the poll ended because the completion queue was full */
        on_control(io);
        return;
    case RING_DOORBELL:
        dispatch_on_doorbell(&io->dispatch, event);
        return;
    case RING_LOG_WRITE:
        on_log_written(io, event);
        return;
    case RING_FILE_READ:
        file_sources_on_read(&io->core, event);
        return;
    case RING_SIGNATURE:
        if (!event->more)
            listen_to_signers(io);
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
    uint64_t spool_ms = spool_turn(&core->spool) ? core->now_ms : UINT64_MAX;
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
    look_at_clock(&io->core);
    uint32_t replies = dispatch_pump(&io->dispatch);
    uint64_t acceptor_ms = timers_turn(io);
    bool goes_on = tls_intake_turn(&io->tls);
    goes_on = connections_decrypt(&io->connections) || goes_on;
    http1_sessions_turn(&io->http1);
    goes_on = http2_sessions_turn(&io->http2) || goes_on;
    dispatch_turn(&io->dispatch);
    connections_turn(&io->connections);
    write_access_log(io);

    int count = replies == 0 && !goes_on ? sleep_until_event(io, acceptor_ms)
                                         : ring_wait(io->core.ring, 0, io->events, RING_EVENTS_MAX);
    if (count < 0)
        return count;
    if (count > 0 || replies > 0)
        io->quiet_looks = 0;
    look_at_clock(&io->core);
    for (int i = 0; i < count; i++)
        on_event(io, &io->events[i]);
    count_turn(io, count);
    return 0;
}

static bool is_over(const struct io_process *io)
{
    return io->state == IO_STOPPED ||
           (io->state == IO_DRAINING && io->connections.live == 0 && io->core.exchanges.live == 0 &&
            acceptor_is_closed(&io->acceptor) && !io->access_log_writing);
}

static int serve(struct io_process *io)
{
    while (!is_over(io)) {
        int r = turn(io);
        if (r < 0) {
            log_critical("the ring failed: %s", strerror(-r));
            return EXIT_FAILURE;
        }
    }
    finish_access_log(io);
    tls_descriptions_deinit(&io->tls_descriptions); /* what it keeps is not in use */
    if ((io->core.setup.flags & CONTROL_LIVE_COUNTERS) != 0)
        log_info("live: connections=%u exchanges=%u slots=%u buffers=%u staging=%u spool=%u files=%u timers=%zu",
                 io->connections.live, io->core.exchanges.live,
                 io->core.setup.shape.slots - io->dispatch.free_slot_count,
                 buffer_pool_live(&io->core.buffers) - block_pool_lent(&io->core.buffers.staging),
                 block_pool_lent(&io->core.buffers.staging), io->core.spool.live, io->core.files.live,
                 timer_wheel_count(&io->core.wheel) + timer_wheel_count(&io->core.exchange_wheel));
    return EXIT_SUCCESS;
}

/* The ring goes first: after it the kernel writes nothing any more. */
static void tear_down(struct io_process *io)
{
    struct io_core *core = &io->core;
    buffer_pool_detach(&core->buffers);
    ring_destroy(core->ring);
    connections_deinit(&io->connections);
    acceptor_deinit(&io->acceptor);
    tls_intake_deinit(&io->tls);
    tls_store_deinit(&io->tls_store);
    http2_sessions_deinit(&io->http2);
    dispatch_deinit(&io->dispatch);
    tls_descriptions_deinit(&io->tls_descriptions);
    buffer_pool_deinit(&core->buffers);
    file_sources_deinit(core);
    output_pools_deinit(&core->outputs);
    io_scratch_deinit(&core->scratch);
    slab_deinit(&core->exchanges);
    slab_deinit(&core->bodies);
    slab_deinit(&core->replies);
    slab_deinit(&core->sessions);
    access_log_destroy(core->access_log);
    address_set_deinit(&core->forwarded_allow);
    address_set_deinit(&core->proxy_allow);
    secure_schemes_deinit(&core->secure_schemes);
    spool_deinit(&core->spool);
    arena_deinit(&core->inbound);
    arena_deinit(&core->metrics_memory);
    settings_deinit(&core->settings);
    free(io);
}

/* ---- main ------------------------------------------------------------------------------------------------------- */

/* The control socket says when to stop. A signal that reaches the whole group (Ctrl-C) is the supervisor's affair. */
static void ignore_signals(void)
{
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ};
    for (size_t i = 0; i < sizeof IGNORED / sizeof IGNORED[0]; i++)
        signal(IGNORED[i], SIG_IGN);
}

static int receive_setup(struct io_process *io)
{
    struct control_message message;
    int r = control_receive(CONTROL_FD, &message);
    if (r != 1)
        return r == 0 ? -EPIPE : r;
    return set_up(io, &message);
}

/* Messages up to START, one by one; then the loop takes over. */
static int wait_for_start(struct io_process *io)
{
    struct control_message message;
    while (io->state == IO_SETTING_UP) {
        int r = control_receive(CONTROL_FD, &message);
        if (r <= 0)
            return r == 0 ? -EPIPE : r;
        r = handle(io, &message);
        control_close_fds(&message);
        if (r < 0)
            return r;
    }
    return fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int io_process_main(void)
{
    ignore_signals();
    struct io_process *io = calloc(1, sizeof *io);
    if (io == NULL)
        return EXIT_FAILURE;
    int r = receive_setup(io);
    if (r == 0 && open_ring(io) < 0) {
        tear_down(io);
        return EXIT_NO_RING;
    }
    if (r == 0)
        r = control_send(CONTROL_FD, CONTROL_HELLO, NULL, 0, (int[]){arena_fd(&io->core.inbound)}, 1);
    if (r == 0)
        r = wait_for_start(io);
    if (r < 0) {
        log_critical("the I/O process could not start: %s", strerror(-r));
        tear_down(io);
        return EXIT_FAILURE;
    }
    int status = serve(io);
    tear_down(io);
    return status;
}
