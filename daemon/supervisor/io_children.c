#include "daemon/supervisor/io_children.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/app_life.h"
#include "daemon/supervisor/pairing.h"
#include "daemon/supervisor/supervisor_state.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
    PULSE_WORDS = CONTROL_METRICS_PAGE_BYTES / sizeof(uint64_t), /* the counters; a loop that turns counts its turns */
    STUCK_MS = 10'000,
    ABORT_GRACE_MS = 2'000,
    TITLE_BYTES = 64,
};

static const char live_counters_variable[] = "UROBOROS_LIVE_COUNTERS";

static struct io_child *ring_at(struct supervisor *supervisor, uint32_t ring)
{
    return &supervisor->io.rings[ring];
}

/* What an I/O process says ----------------------------------------------------------------------------------- */

static void on_hello(struct io_child *io, struct control_message *message)
{
    if (io->state != IO_STARTING || message->fd_count != 1)
        return;
    io->inbound = message->fds[0];
    message->fd_count = 0;
    io->state = IO_KNOWN;
    pairing_ring_up(io->supervisor, io);
}

static void on_ready(struct io_child *io, [[maybe_unused]] struct control_message *message)
{
    if (io->state != IO_KNOWN)
        return;
    io->state = IO_SERVING;
    io->pulse_at_ms = event_loop_now_ms();
    log_debug("io %u (pid %d) is ready", io->index, (int)io->child.pid);
}

/* The generation tells whether it means the process that has this index now. */
static void on_stuck(struct io_child *io, struct control_message *message)
{
    struct supervisor *supervisor = io->supervisor;
    const struct control_peer *peer = control_payload(message, sizeof *peer);

    if (peer == NULL || peer->index >= supervisor->shape.apps)
        return;
    struct app_child *app = supervisor->apps.children[peer->index];
    if (app != NULL && app->generation == peer->generation)
        app_life_is_stuck(app, "a request went without an answer");
}

static void on_failed(struct io_child *io, struct control_message *message)
{
    log_error("io %u (pid %d): %.*s", io->index, (int)io->child.pid, (int)message->payload_bytes,
              (const char *)message->payload);
}

static const struct {
    enum control_kind kind;
    void (*handle)(struct io_child *io, struct control_message *message);
} io_messages[] = {
    {CONTROL_HELLO, on_hello},
    {CONTROL_READY, on_ready},
    {CONTROL_TLS_TAKEN, certificate_keeper_on_taken},
    {CONTROL_TLS_REFUSED, certificate_keeper_on_refused},
    {CONTROL_STUCK, on_stuck},
    {CONTROL_FAILED, on_failed},
};

static void handle_message(struct io_child *io, struct control_message *message)
{
    for (size_t i = 0; i < sizeof io_messages / sizeof io_messages[0]; i++)
        if (io_messages[i].kind == message->kind) {
            io_messages[i].handle(io, message);
            return;
        }
    log_warning("io %u (pid %d) sent a message of kind %u, which it has no business to send", io->index,
                (int)io->child.pid, message->kind);
}

static int take_message(struct io_child *io)
{
    struct control_message message;
    int r = control_receive(io->child.control.fd, &message);
    if (r == -EAGAIN)
        return 0;
    if (r == -EBADMSG)
        return 1;
    if (r <= 0) {
        child_end_control(&io->child, &io->supervisor->loop);
        return 0;
    }
    handle_message(io, &message);
    control_close_fds(&message);
    return 1;
}

static void on_control(struct event_watch *watch)
{
    (void)take_message(watch->owner);
}

/* Death ------------------------------------------------------------------------------------------------------ */

/* The load that it had booked on each application; nobody else writes its row while it lives. */
static void clear_load(struct supervisor *supervisor, const struct io_child *io)
{
    uint32_t *board = (uint32_t *)(void *)supervisor->load_board.base;
    memset(board + (size_t)io->index * LAYOUT_APPS_MAX, 0, LAYOUT_APPS_MAX * sizeof *board);
}

static void clear(struct supervisor *supervisor, struct io_child *io)
{
    event_loop_disarm(&supervisor->loop, &io->deadline);
    pairing_ring_gone(supervisor, io);
    clear_load(supervisor, io);
    fd_drop(&io->inbound);
    io->state = IO_ABSENT;
    certificate_keeper_ring_gone(supervisor, io);
}

static void slow_down(struct supervisor *supervisor, struct io_child *io)
{
    uint64_t now_ms = event_loop_now_ms();
    uint32_t delay_ms = backoff_after_death(&io->backoff, now_ms);

    io->spawn_at_ms = now_ms + delay_ms;
    if (delay_ms == 0)
        return;
    log_warning("io %u keeps dying: it is started again in %u ms", io->index, delay_ms);
    event_loop_arm(&supervisor->loop, &io->respawn, io->spawn_at_ms);
}

static void judge_death(struct supervisor *supervisor, struct io_child *io)
{
    if (supervisor_is_ending(supervisor))
        return;
    if (supervisor_must_start(supervisor)) {
        log_critical("an I/O process could not start, the server stops");
        verdict_stop(&supervisor->verdict, SUPERVISOR_EXIT_FAILURE);
        return;
    }
    slow_down(supervisor, io);
}

static void on_end(struct event_watch *watch)
{
    struct io_child *io = watch->owner;
    struct supervisor *supervisor = io->supervisor;
    char end[CHILD_TEXT_BYTES];
    pid_t pid = io->child.pid;

    while (io->child.control.watched && take_message(io) == 1)
        continue;
    int status = child_bury(&io->child, &supervisor->loop);
    child_describe_end(status, end);
    if (io->state == IO_DRAINING || supervisor_is_ending(supervisor))
        LOG_AT(LOG_LEVEL_INFO, "io %u (pid %d) %s", io->index, (int)pid, end);
    else
        LOG_AT(LOG_LEVEL_ERROR, "io %u (pid %d) %s", io->index, (int)pid, end);
    clear(supervisor, io);
    judge_death(supervisor, io);
}

static uint8_t *page_of(const struct io_child *io)
{
    return io->supervisor->io.metrics.base + (size_t)io->index * CONTROL_METRICS_PAGE_BYTES;
}

/* Birth ------------------------------------------------------------------------------------------------------ */

static int cpu_of(const struct supervisor *supervisor, uint32_t ring)
{
    const struct string_list *list = &supervisor->settings.cpu_affinity;
    return list->count > 0 ? atoi(list->items[ring % list->count]) : -1;
}

static void send_setup(struct supervisor *supervisor, struct io_child *io)
{
    bool access_log = supervisor->logs.access >= 0;
    bool live_counters = getenv(live_counters_variable) != NULL;
    const struct control_setup setup = {
        .shape = supervisor->shape,
        .index = io->index,
        .generation = io->generation,
        .flags = (access_log ? CONTROL_HAS_ACCESS_LOG : 0u) | (live_counters ? CONTROL_LIVE_COUNTERS : 0u),
        .cpu = cpu_of(supervisor, io->index),
        .supervisor_pid = (uint32_t)getpid(),
    };
    const int fds[] = {supervisor->settings_fd, supervisor->logs.error, supervisor->io.metrics.fd,
                       supervisor->load_board.fd, supervisor->logs.access};
    child_send(&io->child, CONTROL_SETUP, &setup, sizeof setup, fds, access_log ? 5 : 4);
}

static void send_listeners(struct supervisor *supervisor, struct io_child *io)
{
    for (size_t i = 0; i < supervisor->listeners.count; i++) {
        const struct listener *listener = &supervisor->listeners.items[i];
        const int fd = listener_fd(listener, io->index);
        child_send(&io->child, CONTROL_LISTENER, &listener->hello, sizeof listener->hello, &fd, 1);
    }
    child_send(&io->child, CONTROL_START, NULL, 0, NULL, 0);
}

static int spawn(struct supervisor *supervisor, struct io_child *io, char why[CHILD_TEXT_BYTES])
{
    char title[TITLE_BYTES];
    char role[] = "@io";
    snprintf(title, sizeof title, "uroboros: io %u", io->index);
    char *const argv[] = {title, role, NULL};
    const struct child_launch launch = {
        .path = "/proc/self/exe",
        .argv = argv,
        .envp = environ,
        .output = {-1, -1},
    };
    return child_spawn(&io->child, &supervisor->loop, &launch, why);
}

static int start(struct supervisor *supervisor, struct io_child *io, char why[CHILD_TEXT_BYTES])
{
    memset(page_of(io), 0, CONTROL_METRICS_PAGE_BYTES); /* its predecessor's connections are gone, too */
    int r = spawn(supervisor, io, why);
    if (r < 0)
        return r;
    io->generation++;
    io->state = IO_STARTING;
    io->pulse = 0;
    send_setup(supervisor, io);
    certificate_keeper_greet(supervisor, io);
    send_listeners(supervisor, io);
    log_info("io %u started (pid %d)", io->index, (int)io->child.pid);
    return 0;
}

static void start_or_judge(struct supervisor *supervisor, struct io_child *io)
{
    char why[CHILD_TEXT_BYTES];
    if (start(supervisor, io, why) == 0)
        return;
    log_error("cannot start io %u: %s", io->index, why);
    judge_death(supervisor, io);
}

void io_children_settle(struct supervisor *supervisor)
{
    uint64_t now_ms = event_loop_now_ms();
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++) {
        struct io_child *io = ring_at(supervisor, ring);
        if (io->state == IO_ABSENT && now_ms >= io->spawn_at_ms && !supervisor_is_ending(supervisor))
            start_or_judge(supervisor, io);
    }
}

/* Once a second ---------------------------------------------------------------------------------------------- */

/* A sum of all counters: which one moved does not matter. */
static uint64_t read_pulse(const struct io_child *io)
{
    const _Atomic uint64_t *words = (const _Atomic uint64_t *)(const void *)page_of(io);
    uint64_t sum = 0;
    for (size_t i = 0; i < PULSE_WORDS; i++)
        /* Relaxed: nothing is read on the strength of it. */
        sum = sum * 31 + atomic_load_explicit(&words[i], memory_order_relaxed);
    return sum;
}

static void kill_at_deadline(struct event_alarm *alarm)
{
    struct io_child *io = alarm->owner;
    child_kill(&io->child, SIGKILL);
}

static void check_pulse(struct supervisor *supervisor, struct io_child *io, uint64_t now_ms)
{
    uint64_t pulse = read_pulse(io);
    if (pulse != io->pulse) {
        io->pulse = pulse;
        io->pulse_at_ms = now_ms;
        return;
    }
    if (now_ms - io->pulse_at_ms < STUCK_MS || io->deadline.armed)
        return;
    log_critical("io %u (pid %d) has not turned its loop for %d s, it is replaced", io->index, (int)io->child.pid,
                 STUCK_MS / 1'000);
    child_kill(&io->child, SIGABRT);
    event_loop_arm(&supervisor->loop, &io->deadline, now_ms + ABORT_GRACE_MS);
}

void io_children_check(struct supervisor *supervisor, uint64_t now_ms)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (ring_at(supervisor, ring)->state == IO_SERVING)
            check_pulse(supervisor, ring_at(supervisor, ring), now_ms);
}

/* All of them ------------------------------------------------------------------------------------------------ */

/* The turn of the loop sees the time and starts it again. */
static void on_respawn([[maybe_unused]] struct event_alarm *alarm)
{
}

void io_children_init(struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++) {
        struct io_child *io = ring_at(supervisor, ring);
        *io = (struct io_child){.supervisor = supervisor, .index = ring, .inbound = -1};
        io->child.exit = (struct event_watch){.fd = -1, .on_event = on_end, .owner = io};
        io->child.control = (struct event_watch){.fd = -1, .on_event = on_control, .owner = io};
        io->respawn = (struct event_alarm){.on_alarm = on_respawn, .owner = io};
        io->deadline = (struct event_alarm){.on_alarm = kill_at_deadline, .owner = io};
    }
}

bool io_children_complete(const struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (supervisor->io.rings[ring].state != IO_SERVING)
            return false;
    return true;
}

uint32_t io_children_alive(const struct supervisor *supervisor)
{
    uint32_t count = 0;
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        count += child_lives(&supervisor->io.rings[ring].child) ? 1 : 0;
    return count;
}

void io_children_drain(struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (child_lives(&ring_at(supervisor, ring)->child)) {
            ring_at(supervisor, ring)->state = IO_DRAINING;
            child_send(&ring_at(supervisor, ring)->child, CONTROL_DRAIN, NULL, 0, NULL, 0);
        }
}

void io_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        child_send(&ring_at(supervisor, ring)->child, kind, NULL, 0, fds, fd_count);
}

void io_children_kill(struct supervisor *supervisor)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        child_kill(&ring_at(supervisor, ring)->child, SIGKILL);
}
