#include "daemon/io/io_process.h"

#include "config/settings_transfer.h"
#include "daemon/base/process_title.h"
#include "daemon/base/sandbox.h"
#include "daemon/io/io_process_state.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RING_RETRIES = 20, RING_RETRY_NS = 50'000'000 };
enum { EXIT_NO_RING = 5, EXCHANGES_PER_CHUNK = 64, SESSIONS_PER_CHUNK = 16 };

/* ---- memory ------------------------------------------------------------------------------------------------------ */

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

/* ---- where connections go ---------------------------------------------------------------------------------------- */

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

/* ---- tls --------------------------------------------------------------------------------------------------------- */

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
    struct ktls_kernel *kernel = &io->core.ktls;
    char text[256];
    if (!speaks_tls(io))
        return;
    ktls_probe(kernel, io->core.settings.ktls);
    metrics_set(io->core.metrics, METRIC_KTLS_ENCRYPTS, kernel->calls != NULL);
    metrics_set(io->core.metrics, METRIC_KTLS_DECRYPTS, kernel->calls != NULL && kernel->receives);
    metrics_set(io->core.metrics, METRIC_KTLS_REKEYING, kernel->rekeys);
    ktls_explain(kernel, text, sizeof text);
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

/* ---- setting up and starting ------------------------------------------------------------------------------------- */

static int take_setup(struct io_process *io, struct control_message *message)
{
    const struct control_setup *setup = control_payload(message, sizeof *setup);
    if (message->kind != CONTROL_SETUP || setup == NULL || message->fd_count < 4 ||
        exchange_shape_check(&setup->shape) < 0 || setup->index >= setup->shape.rings)
        return -EPROTO;
    io->core.setup = *setup;
    int r = settings_deserialize(message->fds[0], &io->core.settings);
    close(message->fds[0]);
    return r;
}

/* A name for the log and for ps, a CPU, a clock. */
static void settle(struct io_process *io, int log_fd)
{
    char title[32];
    struct io_core *core = &io->core;
    const struct control_setup *setup = &core->setup;
    snprintf(title, sizeof title, "io %u", setup->index);
    io->log_fd = log_fd;
    log_init(title, core->settings.loglevel, io->log_fd);
    process_title_set("uroboros: io %u", setup->index);
    /* Before pinning: the question is what the server has. */
    spin_policy_init(&io->spin, core->settings.spin != SPIN_SLEEP, core->settings.spin == SPIN_ADAPTIVE,
                     spin_usable_cpus(), setup->shape.rings + io_settings_bounded(core->settings.workers));
    pin(setup);
    io_loop_look_at_clock(core);
    timer_wheel_init(&core->wheel, core->now_ms);
    timer_wheel_init(&core->exchange_wheel, core->now_ms);
}

static int set_up_modules(struct io_process *io)
{
    struct io_core *core = &io->core;
    http1_sessions_init(&io->http1, core, &io->connections, &io->dispatch);
    int r = http2_sessions_init(&io->http2, core, &io->connections, &io->dispatch);
    if (r == 0)
        r = connections_init(&io->connections, core, &io->http1.protocol,
                             io_settings_bounded(core->settings.max_connections) + 64);
    http_intake_init(&io->http, &io->connections, &io->http1, &io->http2);
    proxy_intake_init(&io->proxy, &io->connections, &io->http1, on_client, io);
    acceptor_init(&io->acceptor, &io->connections, on_accepted, io);
    io_memory_init(io);
    return r < 0 ? r : set_up_tls(io);
}

static int set_up(struct io_process *io, struct control_message *message)
{
    int r = take_setup(io, message);
    if (r < 0)
        return r;
    settle(io, message->fds[1]);
    r = io_settings_derive(&io->core);
    if (r == 0)
        r = open_memory(io, message);
    if (r == 0 && (io->core.setup.flags & CONTROL_HAS_ACCESS_LOG) != 0 && message->fd_count == 5)
        r = access_log_writer_open(&io->access_log, message->fds[4]);
    return r < 0 ? r : set_up_modules(io);
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

/* Privileges are given up, the ring is opened for use, clients are accepted. */
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
    io_loop_listen_to_supervisor(io);
    io_loop_listen_to_signers(io);
    acceptor_start(&io->acceptor);
    io->state = IO_SERVING;
    return control_send(CONTROL_FD, CONTROL_READY, &ready, sizeof ready, NULL, 0);
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
    access_log_writer_deinit(&io->access_log);
    address_set_deinit(&core->forwarded_allow);
    address_set_deinit(&core->proxy_allow);
    secure_schemes_deinit(&core->secure_schemes);
    spool_deinit(&core->spool);
    arena_deinit(&core->inbound);
    arena_deinit(&core->metrics_memory);
    settings_deinit(&core->settings);
    free(io);
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

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

int io_process_main(void)
{
    ignore_signals();
    struct io_process *io = calloc(1, sizeof *io);
    if (io == NULL)
        return EXIT_FAILURE;
    access_log_writer_init(&io->access_log, &io->core);
    int r = receive_setup(io);
    if (r == 0 && open_ring(io) < 0) {
        tear_down(io);
        return EXIT_NO_RING;
    }
    if (r == 0)
        r = control_send(CONTROL_FD, CONTROL_HELLO, NULL, 0, (int[]){arena_fd(&io->core.inbound)}, 1);
    if (r == 0)
        r = io_control_wait_for_start(io);
    if (r == 0 && io->state == IO_STARTING)
        r = start(io);
    if (r < 0) {
        log_critical("the I/O process could not start: %s", strerror(-r));
        tear_down(io);
        return EXIT_FAILURE;
    }
    int status = io_loop_run(io);
    tear_down(io);
    return status;
}
