#include "daemon/supervisor/supervisor.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/boot.h"
#include "daemon/supervisor/daemonize.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/known_processes.h"
#include "daemon/supervisor/pid_file.h"
#include "daemon/supervisor/reload.h"
#include "daemon/supervisor/supervisor_enter.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

enum { TICK_MS = 1'000, KEEPING_GRACE_MS = 30'000 };

/* The end ---------------------------------------------------------------------------------------------------- */

/* A reload that is under way ends first: there is one way out of it, not three. */
static void end_with(struct supervisor *supervisor, enum supervisor_state state)
{
    reload_stop_reading(supervisor);
    upgrade_give_up(supervisor);
    if (supervisor->state == SUPERVISOR_RELOADING)
        reload_fail(supervisor, "the server stops");
    supervisor_enter(supervisor, state);
}

static void give_up(struct supervisor *supervisor, int exit_code)
{
    if (supervisor->state >= SUPERVISOR_STOPPING)
        return;
    supervisor->exit_code = exit_code;
    end_with(supervisor, SUPERVISOR_STOPPING);
}

static void on_stop_alarm(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    if (supervisor->state == SUPERVISOR_DRAINING) {
        log_warning("graceful_timeout has passed, the rest is cut off");
        supervisor_enter(supervisor, SUPERVISOR_STOPPING);
        return;
    }
    io_children_kill(supervisor);
    app_children_kill(supervisor);
    predecessors_kill(supervisor);
}

/* What should be, against what is ------------------------------------------------------------------------------ */

static void end_when_alone(struct supervisor *supervisor)
{
    bool alone = io_children_alive(supervisor) == 0 && app_children_alive(supervisor) == 0;
    alone = alone && supervisor->predecessors.first == NULL && !child_lives(&supervisor->upgrade.checker);
    if (alone && server_hooks_finish(supervisor))
        supervisor_enter(supervisor, SUPERVISOR_ENDED);
}

/* Nothing has been found out that is against going on: the server is still about `state`. */
static bool goes_on(const struct supervisor *supervisor, enum supervisor_state state)
{
    return supervisor->state == state && supervisor->verdict.kind == VERDICT_NONE;
}

/* Whether certificates are good only an I/O process can say: it is started like any other, without addresses. */
static bool settle_check_of_certificates(struct supervisor *supervisor)
{
    if (supervisor->certificates.count == 0)
        return true;
    io_children_settle(supervisor);
    return goes_on(supervisor, SUPERVISOR_STARTING) && io_children_complete(supervisor);
}

static void settle_check(struct supervisor *supervisor)
{
    bool good = settle_check_of_certificates(supervisor);
    if (goes_on(supervisor, SUPERVISOR_STARTING))
        app_children_settle(supervisor);
    if (!good || !goes_on(supervisor, SUPERVISOR_STARTING) || !app_children_complete(supervisor))
        return;
    log_info("the settings are good, and the application could be loaded");
    give_up(supervisor, 0);
}

static void settle_starting(struct supervisor *supervisor)
{
    if (supervisor->settings.check_config) {
        settle_check(supervisor);
        return;
    }
    /* A new I/O process takes connections at once, which wait in vain for applications that cannot be loaded: while
     * others serve, those come first. */
    if (supervisor->predecessors.first == NULL || app_children_complete(supervisor))
        io_children_settle(supervisor);
    if (goes_on(supervisor, SUPERVISOR_STARTING))
        app_children_settle(supervisor);
    if (!goes_on(supervisor, SUPERVISOR_STARTING))
        return;
    if (io_children_complete(supervisor) && app_children_complete(supervisor))
        supervisor_enter(supervisor, SUPERVISOR_SERVING);
    else
        upgrade_settle(supervisor);
}

static void settle_keeping(struct supervisor *supervisor)
{
    if (supervisor->predecessors.first == NULL) {
        log_critical("the processes of the program before this one have ended, the server stops");
        give_up(supervisor, SUPERVISOR_EXIT_FAILURE);
        return;
    }
    /* Nobody replaces those but a program that can start. */
    if (predecessors_take_loss(supervisor))
        upgrade_begin(supervisor);
    upgrade_settle(supervisor);
}

static void settle_serving(struct supervisor *supervisor)
{
    io_children_settle(supervisor);
    app_children_settle(supervisor);
    upgrade_settle(supervisor);
    if (supervisor->reload_is_due && goes_on(supervisor, SUPERVISOR_SERVING)) {
        supervisor->reload_is_due = false;
        reload_begin(supervisor);
    }
}

static void settle_reloading(struct supervisor *supervisor)
{
    io_children_settle(supervisor);
    app_children_settle(supervisor);
    bool complete = goes_on(supervisor, SUPERVISOR_RELOADING) && app_children_complete(supervisor);
    if (complete && certificate_keeper_agrees(supervisor))
        reload_commit(supervisor);
}

/* While connections are being finished somebody has to answer on them, so a dead application is replaced even now. */
static void settle_draining(struct supervisor *supervisor)
{
    if (io_children_alive(supervisor) > 0) {
        app_children_settle(supervisor);
        return;
    }
    app_children_retire_all(supervisor);
    end_when_alone(supervisor);
}

static void carry_out(struct supervisor *supervisor, const struct verdict *verdict)
{
    switch (verdict->kind) {
    case VERDICT_NONE:
        break;
    case VERDICT_RELOAD_FAILS:
        reload_fail(supervisor, verdict->why);
        break;
    case VERDICT_STOP:
        give_up(supervisor, verdict->exit_code);
        break;
    }
}

static void settle(struct supervisor *supervisor)
{
    static void (*const settle_in[])(struct supervisor *) = {
        [SUPERVISOR_STARTING] = settle_starting, [SUPERVISOR_KEEPING] = settle_keeping,
        [SUPERVISOR_SERVING] = settle_serving,   [SUPERVISOR_RELOADING] = settle_reloading,
        [SUPERVISOR_DRAINING] = settle_draining, [SUPERVISOR_STOPPING] = end_when_alone,
    };
    /* A state that was entered while settling may be settled at once: a start that failed with nobody alive. */
    enum supervisor_state before;
    do {
        const struct verdict verdict = verdict_take(&supervisor->verdict);
        carry_out(supervisor, &verdict);
        before = supervisor->state;
        settle_in[before](supervisor);
        predecessors_settle(supervisor);
    } while (!goes_on(supervisor, before) && supervisor->state != SUPERVISOR_ENDED);
}

/* Signals ---------------------------------------------------------------------------------------------------- */

static void on_terminate(struct supervisor *supervisor)
{
    if (!supervisor_is_ending(supervisor))
        end_with(supervisor, SUPERVISOR_DRAINING);
}

static void on_interrupt(struct supervisor *supervisor)
{
    if (supervisor->state < SUPERVISOR_STOPPING)
        end_with(supervisor, SUPERVISOR_STOPPING);
}

static void on_hangup(struct supervisor *supervisor)
{
    if (supervisor->state == SUPERVISOR_SERVING || supervisor->state == SUPERVISOR_RELOADING)
        reload_begin(supervisor);
    else if (supervisor->predecessors.first != NULL && !supervisor_is_ending(supervisor))
        upgrade_begin(supervisor); /* what it would reload has not come up yet */
    else if (supervisor_is_ending(supervisor))
        log_warning("SIGHUP is ignored while the server is stopping");
    else {
        log_info("the reload waits until the server has started");
        supervisor->reload_is_due = true;
    }
}

static void on_more(struct supervisor *supervisor)
{
    app_children_change_wanted(supervisor, 1);
}

static void on_fewer(struct supervisor *supervisor)
{
    app_children_change_wanted(supervisor, -1);
}

static void on_reopen(struct supervisor *supervisor)
{
    reload_logs(supervisor);
    log_info("log files opened again");
}

static void on_upgrade(struct supervisor *supervisor)
{
    upgrade_begin(supervisor);
}

static void on_window([[maybe_unused]] struct supervisor *supervisor)
{
    log_warning("SIGWINCH: stopping the application processes alone is not available yet");
}

static const struct {
    int number;
    void (*handle)(struct supervisor *supervisor);
    bool needs_settings;
} signals[] = {
    {SIGTERM, on_terminate, false}, {SIGINT, on_interrupt, false}, {SIGQUIT, on_interrupt, false},
    {SIGHUP, on_hangup, false},     {SIGUSR2, on_upgrade, false},  {SIGTTIN, on_more, true},
    {SIGTTOU, on_fewer, true},      {SIGUSR1, on_reopen, true},    {SIGWINCH, on_window, true},
};
enum { SIGNAL_COUNT = sizeof signals / sizeof signals[0] };

static void on_signal(struct event_watch *watch)
{
    struct supervisor *supervisor = watch->owner;
    struct signalfd_siginfo info;
    if (read(watch->fd, &info, sizeof info) != sizeof info)
        return;
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        if (signals[i].number == (int)info.ssi_signo) {
            log_debug("signal %s from pid %u", sigabbrev_np((int)info.ssi_signo), info.ssi_pid);
            if (signals[i].needs_settings && supervisor->state == SUPERVISOR_KEEPING)
                log_warning("SIG%s is ignored: this program could not start", sigabbrev_np((int)info.ssi_signo));
            else
                signals[i].handle(supervisor);
        }
}

static void collect_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        sigaddset(ret_set, signals[i].number);
}

static int watch_signals(struct supervisor *supervisor)
{
    int fd = signalfd(-1, &supervisor->held_signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    supervisor->signals = (struct event_watch){.fd = fd, .on_event = on_signal, .owner = supervisor};
    return event_loop_watch(&supervisor->loop, &supervisor->signals);
}

/* Life ------------------------------------------------------------------------------------------------------- */

static void on_tick(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    uint64_t now_ms = event_loop_now_ms();
    io_children_check(supervisor, now_ms);
    known_processes_bury_others(supervisor);
    app_children_check(supervisor, now_ms);
    server_hooks_check(supervisor, now_ms);
    certificate_keeper_check(supervisor);
    service_status_refresh(supervisor);
    event_loop_arm(&supervisor->loop, alarm, now_ms + TICK_MS);
}

static void on_watchdog(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    service_manager_alive(&supervisor->manager);
    event_loop_arm(&supervisor->loop, alarm, event_loop_now_ms() + supervisor->manager.watchdog_ms);
}

static void set_alarms(struct supervisor *supervisor)
{
    uint64_t now_ms = event_loop_now_ms();
    supervisor->stop = (struct event_alarm){.on_alarm = on_stop_alarm, .owner = supervisor};
    supervisor->tick = (struct event_alarm){.on_alarm = on_tick, .owner = supervisor};
    supervisor->watchdog = (struct event_alarm){.on_alarm = on_watchdog, .owner = supervisor};
    event_loop_arm(&supervisor->loop, &supervisor->tick, now_ms + TICK_MS);
    if (supervisor->manager.watchdog_ms > 0)
        event_loop_arm(&supervisor->loop, &supervisor->watchdog, now_ms);
}

static int begin(struct supervisor *supervisor)
{
    int r = event_loop_init(&supervisor->loop);
    if (r == 0)
        r = watch_signals(supervisor);
    if (r < 0) {
        log_critical("cannot wait for events: %s", strerror(-r));
        return r;
    }
    set_alarms(supervisor);
    io_children_init(supervisor);
    app_children_init(supervisor);
    if (supervisor->handed != NULL)
        predecessors_adopt(supervisor, supervisor->handed);
    return 0;
}

/* Ours is in another place, or there is none any more. */
static void leave_old_pid_file(struct supervisor *supervisor)
{
    char ours[PATH_MAX];
    pid_file_absolute(supervisor->settings.pidfile, ours);
    if (strcmp(supervisor->handed->pid_file, ours) != 0)
        pid_file_remove(supervisor->handed->pid_file);
    supervisor->handed->pid_file[0] = '\0';
}

static void start(struct supervisor *supervisor)
{
    certificate_keeper_start(supervisor);
    service_status_refresh(supervisor);
    if (supervisor->handed != NULL) {
        listeners_own_handed(&supervisor->listeners, supervisor->handed);
        leave_old_pid_file(supervisor);
    }
    log_info("uroboros %s starts %u I/O and %u application processes", UROBOROS_VERSION, supervisor->shape.rings,
             supervisor->apps.wanted);
    server_hooks_begin(supervisor);
}

static int serve(struct supervisor *supervisor, bool booted)
{
    if (begin(supervisor) < 0)
        return SUPERVISOR_EXIT_FAILURE;
    if (booted)
        start(supervisor);
    else
        supervisor_enter(supervisor, SUPERVISOR_KEEPING);
    settle(supervisor);
    while (supervisor->state != SUPERVISOR_ENDED) {
        int r = event_loop_turn(&supervisor->loop);
        /* Without its loop the supervisor is of no use; its children follow it by their parent-death signal. */
        if (r < 0) {
            log_critical("cannot wait for events: %s", strerror(-r));
            return SUPERVISOR_EXIT_FAILURE;
        }
        settle(supervisor);
    }
    log_info("stopped");
    return supervisor->exit_code;
}

static void end(struct supervisor *supervisor, int exit_code)
{
    listeners_deinit(&supervisor->listeners);
    certificate_keeper_deinit(supervisor);
    if (supervisor->pid_file_is_ours)
        pid_file_remove(supervisor->settings.pidfile);
    if (supervisor->handed != NULL)
        pid_file_remove(supervisor->handed->pid_file);
    daemonize_report(&supervisor->launcher, exit_code);
    pairing_deinit(supervisor);
    arena_deinit(&supervisor->load_board);
    arena_deinit(&supervisor->io.metrics);
    event_loop_unwatch(&supervisor->loop, &supervisor->signals);
    fd_drop(&supervisor->signals.fd);
    event_loop_deinit(&supervisor->loop);
    service_manager_deinit(&supervisor->manager);
    fd_drop(&supervisor->settings_fd);
    settings_deinit(&supervisor->settings);
    log_set_fd(STDERR_FILENO);
    log_files_deinit(&supervisor->logs);
    handover_destroy(supervisor->handed);
    handover_destroy(supervisor->tried);
}

static void report_warnings(const struct settings_outcome *outcome)
{
    for (size_t i = 0; i < outcome->warnings.count; i++)
        log_warning("%s", outcome->warnings.items[i]);
}

/* A new one only: the process is the same, and so is what it was called by before. */
static void take_back_pid_file(struct supervisor *supervisor)
{
    char ours[PATH_MAX];
    pid_file_absolute(supervisor->settings.pidfile, ours);
    if (supervisor->pid_file_is_ours && strcmp(supervisor->handed->pid_file, ours) != 0)
        pid_file_remove(ours);
    supervisor->pid_file_is_ours = false;
}

/* What a start that failed has made would be in the way of the next. */
static int keep(struct supervisor *supervisor)
{
    if (boot_hold_signals(supervisor) < 0)
        return SUPERVISOR_EXIT_FAILURE;
    listeners_deinit(&supervisor->listeners);
    take_back_pid_file(supervisor);
    return serve(supervisor, false);
}

static struct supervisor *create(const struct settings *settings, struct handover *handed, int argc, char **argv)
{
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    bool is_trial = handed != NULL && handed->is_trial != 0;
    if (supervisor == NULL)
        return NULL;
    *supervisor = (struct supervisor){
        .argc = argc,
        .argv = argv,
        .handed = is_trial ? NULL : handed,
        .tried = is_trial ? handed : NULL,
        .settings = *settings,
        .settings_fd = -1,
        .fresh_fd = -1,
        .loop.epoll = -1,
        .signals.fd = -1,
        .logs = {.error = -1, .access = -1},
        .manager.notify = -1,
        .launcher = -1,
        .load_board.fd = -1,
        .io.metrics.fd = -1,
    };
    collect_signals(&supervisor->held_signals);
    log_init("supervisor", settings->loglevel, STDERR_FILENO);
    return supervisor;
}

static int finish(struct supervisor *supervisor, int exit_code)
{
    end(supervisor, exit_code);
    free(supervisor);
    return exit_code;
}

int supervisor_keep(struct handover *handed, int argc, char **argv)
{
    const struct settings none = {.loglevel = LOG_LEVEL_INFO, .graceful_timeout_ms = KEEPING_GRACE_MS};
    struct supervisor *supervisor = create(&none, handed, argc, argv);
    if (supervisor == NULL)
        return SUPERVISOR_EXIT_FAILURE;
    return finish(supervisor, boot_itself(supervisor) == 0 ? keep(supervisor) : SUPERVISOR_EXIT_FAILURE);
}

int supervisor_run(struct settings *settings, const struct settings_outcome *outcome, struct handover *handed, int argc,
                   char **argv)
{
    struct supervisor *supervisor = create(settings, handed, argc, argv);
    if (supervisor == NULL)
        return SUPERVISOR_EXIT_FAILURE;
    if (boot_itself(supervisor) < 0)
        return finish(supervisor, SUPERVISOR_EXIT_FAILURE);
    bool booted = boot(supervisor) == 0;
    if (booted)
        report_warnings(outcome);
    if (!booted && supervisor->handed == NULL)
        return finish(supervisor, SUPERVISOR_EXIT_FAILURE);
    return finish(supervisor, booted ? serve(supervisor, true) : keep(supervisor));
}
