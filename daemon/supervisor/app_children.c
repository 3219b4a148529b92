#include "daemon/supervisor/app_children.h"

#include "daemon/base/owned.h"
#include "daemon/supervisor/app_launch.h"
#include "daemon/supervisor/pairing.h"
#include "daemon/supervisor/server_shape.h"
#include "daemon/supervisor/supervisor_state.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { LOST_CHANNEL_MS = 5'000, COPY_MS = 5'000, LAST_WORDS_MAX = 64 };

/* The turn of the loop sees the time and starts what is missing. */
static void on_respawn([[maybe_unused]] struct event_alarm *alarm)
{
}

void app_children_init(struct supervisor *supervisor)
{
    const struct settings *settings = &supervisor->settings;
    supervisor->apps = (struct app_children){
        .wanted = settings->check_config ? 1 : (uint32_t)settings->workers,
        .respawn.on_alarm = on_respawn,
    };
    app_children_begin_epoch(supervisor);
}

/* Counting --------------------------------------------------------------------------------------------------- */

static struct app_child *next_child(const struct supervisor *supervisor, uint32_t *index)
{
    while (*index < supervisor->shape.apps) {
        struct app_child *app = supervisor->apps.children[(*index)++];
        if (app != NULL)
            return app;
    }
    return NULL;
}

static bool is_wanted(const struct supervisor *supervisor, const struct app_child *app, enum app_state state)
{
    return app->epoch == supervisor->apps.epoch && app->state == state;
}

static uint32_t count_wanted(const struct supervisor *supervisor, enum app_state state)
{
    uint32_t count = 0, index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        count += is_wanted(supervisor, app, state) ? 1 : 0;
    return count;
}

/* Ready ones of the wanted epoch that stay. */
static uint32_t count_ready(const struct supervisor *supervisor)
{
    return count_wanted(supervisor, APP_WAITING) + count_wanted(supervisor, APP_SERVING);
}

bool app_children_complete(const struct supervisor *supervisor)
{
    return count_ready(supervisor) >= supervisor->apps.wanted;
}

uint32_t app_children_alive(const struct supervisor *supervisor)
{
    uint32_t count = 0, index = 0;
    while (next_child(supervisor, &index) != NULL)
        count++;
    return count;
}

struct app_census app_children_count(const struct supervisor *supervisor)
{
    struct app_census census = {};
    uint32_t index = 0;
    for (const struct app_child *app; (app = next_child(supervisor, &index)) != NULL;) {
        census.serving += app_child_serves(app) ? 1 : 0;
        census.waiting += app->state == APP_WAITING ? 1 : 0;
        census.leaving += app->state == APP_DRAINING ? 1 : 0;
    }
    return census;
}

static struct app_child *find_template(const struct supervisor *supervisor, enum app_state state)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (app->is_template && is_wanted(supervisor, app, state))
            return app;
    return NULL;
}

struct app_child *app_children_template(const struct supervisor *supervisor)
{
    return find_template(supervisor, APP_TEMPLATE);
}

static bool preloads(const struct supervisor *supervisor)
{
    return supervisor_launch_settings(supervisor)->preload_app;
}

bool app_child_is_copied(const struct supervisor *supervisor, const struct app_child *app)
{
    return preloads(supervisor) && !app->is_template;
}

/* Leaving ---------------------------------------------------------------------------------------------------- */

static uint64_t grace_ms(const struct supervisor *supervisor)
{
    return (uint64_t)supervisor->settings.graceful_timeout_ms;
}

static void fail_copy(struct app_child *app, const char *why);

static void end_at_deadline(struct event_alarm *alarm)
{
    struct app_child *app = alarm->owner;
    if (app->supervisor->apps.copying == app) {
        fail_copy(app, "it does not answer");
        return;
    }
    log_warning("app %u (pid %d) did not end in time, it is killed", app->index, (int)app->child.pid);
    child_kill(&app->child, SIGKILL);
}

static void arm_deadline(struct app_child *app, uint64_t in_ms)
{
    event_loop_arm(&app->supervisor->loop, &app->deadline, event_loop_now_ms() + in_ms);
}

static void retire(struct app_child *app)
{
    struct supervisor *supervisor = app->supervisor;
    assert(app_child_serves(app));
    app->state = APP_DRAINING;
    pairing_app_drains(supervisor, app);
    child_send(&app->child, CONTROL_DRAIN, NULL, 0, NULL, 0);
    if (grace_ms(supervisor) > 0)
        arm_deadline(app, grace_ms(supervisor));
}

static void abandon(struct app_child *app)
{
    bool may_end_by_itself = app->state == APP_TEMPLATE;
    app->state = APP_ABANDONED;
    if (app->supervisor->apps.copying == app)
        return; /* there is nobody to kill yet */
    if (may_end_by_itself) {
        child_send(&app->child, CONTROL_STOP, NULL, 0, NULL, 0);
        arm_deadline(app, LOST_CHANNEL_MS);
        return;
    }
    child_kill(&app->child, SIGKILL);
}

static void let_go(struct app_child *app)
{
    if (app_child_serves(app))
        retire(app);
    else if (app->state < APP_DRAINING)
        abandon(app);
}

void app_child_is_stuck(struct app_child *app, const char *how)
{
    const struct settings *settings = &app->supervisor->settings;
    if (!app_child_serves(app))
        return;
    log_critical("app %u (pid %d) is stuck: %s for %.3g s; stacks of its threads follow, another is started",
                 app->index, (int)app->child.pid, how, (double)settings->timeout_ms / 1000);
    child_kill(&app->child, SIGUSR2);
    app->timed_out = true;
    retire(app);
    /* Without a graceful_timeout a stuck process would stay for ever. */
    if (settings->graceful_timeout_ms == 0)
        arm_deadline(app, (uint64_t)settings->timeout_ms);
}

/* Copies ----------------------------------------------------------------------------------------------------- */

static void judge_stillbirth(struct supervisor *supervisor, const char *why);
static void forget(struct supervisor *supervisor, struct app_child *app);

/* The template is of no use, whether it cannot or does not want to: another takes its place. */
static void fail_copy(struct app_child *app, const char *why)
{
    struct supervisor *supervisor = app->supervisor;
    bool wanted = is_wanted(supervisor, app, APP_COPYING) && supervisor->state < SUPERVISOR_STOPPING;
    char text[CHILD_TEXT_BYTES];

    snprintf(text, sizeof text, "the template (pid %d) cannot be copied: %s", (int)app->original->child.pid, why);
    child_kill(&app->original->child, SIGKILL);
    supervisor->apps.copying = NULL;
    child_give_up_copy(&app->child);
    app_launch_undo(supervisor, app);
    forget(supervisor, app);
    if (wanted)
        judge_stillbirth(supervisor, text);
}

/* It has been asked for, and now it lives. It may have become superfluous meanwhile. */
static void finish_copy(struct app_child *app, pid_t pid)
{
    struct supervisor *supervisor = app->supervisor;
    int r = child_end_copy(&app->child, &supervisor->loop, pid);
    if (r < 0) {
        fail_copy(app, strerror(-r));
        return;
    }
    supervisor->apps.copying = NULL;
    event_loop_disarm(&supervisor->loop, &app->deadline);
    log_info("app %u started (pid %d)", app->index, (int)pid);
    if (app->state != APP_COPYING || supervisor->state >= SUPERVISOR_STOPPING) {
        child_kill(&app->child, SIGKILL);
        return;
    }
    app->state = APP_STARTING;
    app_launch_send_setup(supervisor, app);
    pairing_app_up(supervisor, app);
}

/* What an application process says --------------------------------------------------------------------------- */

static void on_ready(struct app_child *app, const struct control_message *message)
{
    struct supervisor *supervisor = app->supervisor;
    const struct control_ready *ready = control_payload(message, sizeof *ready);

    if (ready == NULL || app->state != APP_STARTING)
        return;
    app->places = ready->places;
    app->flags = ready->flags;
    app->heartbeat_at_ms = event_loop_now_ms();
    if (app->is_template) {
        app->state = APP_TEMPLATE;
        log_debug("the template (pid %d) is ready", (int)app->child.pid);
        return;
    }
    if (app->epoch == supervisor->apps.epoch)
        supervisor->apps.proven = true;
    log_debug("app %u (pid %d) is ready", app->index, (int)app->child.pid);
    if (supervisor->state == SUPERVISOR_RELOADING && app->epoch == supervisor->apps.epoch) {
        app->state = APP_WAITING;
        return;
    }
    app->state = APP_SERVING;
    pairing_app_serves(supervisor, app);
}

static void on_recycle(struct app_child *app, [[maybe_unused]] const struct control_message *message)
{
    /* While the server stops all go soon, and none needs a successor. */
    if (app->state != APP_SERVING || supervisor_is_ending(app->supervisor))
        return;
    log_info("app %u (pid %d) asks for a successor", app->index, (int)app->child.pid);
    app->state = APP_RECYCLING;
}

/* It is about to exit; if not, it is of no use any more. */
static void hang_up(struct app_child *app)
{
    child_end_control(&app->child, &app->supervisor->loop);
    if (!app->deadline.armed)
        arm_deadline(app, LOST_CHANNEL_MS);
}

/* An answer that nobody has asked for changes nothing: a copy that came too late finds its socket closed, and ends. */
static void on_forked(struct app_child *app, const struct control_message *message)
{
    struct supervisor *supervisor = app->supervisor;
    struct app_child *copy = supervisor->apps.copying;
    const struct control_forked *forked = control_payload(message, sizeof *forked);

    if (copy == NULL || copy->original != app) {
        log_warning("app %u (pid %d) answers what nobody has asked", app->index, (int)app->child.pid);
        hang_up(app);
        return;
    }
    if (forked == NULL || forked->pid == 0)
        fail_copy(copy, "its answer makes no sense");
    else if (forked->pid < 0)
        fail_copy(copy, strerror(-forked->pid));
    else if (!child_may_be(forked->pid) || app_children_know(supervisor, forked->pid))
        fail_copy(copy, "it answers with a process that is no copy");
    else
        finish_copy(copy, forked->pid);
}

static const struct {
    enum control_kind kind;
    void (*handle)(struct app_child *app, const struct control_message *message);
} app_messages[] = {
    {CONTROL_READY, on_ready},
    {CONTROL_RECYCLE, on_recycle},
    {CONTROL_FORKED, on_forked},
};

static void handle_message(struct app_child *app, const struct control_message *message)
{
    for (size_t i = 0; i < sizeof app_messages / sizeof app_messages[0]; i++)
        if (app_messages[i].kind == message->kind) {
            app_messages[i].handle(app, message);
            return;
        }
    /* Once: an application that has taken hold of the socket could fill the log with these. */
    log_warning("app %u (pid %d) sent a message of kind %u, which it has no business to send", app->index,
                (int)app->child.pid, message->kind);
    hang_up(app);
}

/* 1: there may be more; 0: there is none. A channel that broke stays watched no longer. */
static int take_message(struct app_child *app)
{
    struct control_message message;
    int r = control_receive(app->child.control.fd, &message);
    if (r == -EAGAIN)
        return 0;
    if (r == -EBADMSG)
        return 1;
    if (r <= 0) {
        hang_up(app);
        return 0;
    }
    handle_message(app, &message);
    control_close_fds(&message);
    return 1;
}

static void on_control(struct event_watch *watch)
{
    (void)take_message(watch->owner);
}

/* Death ------------------------------------------------------------------------------------------------------ */

static void report_end(const struct app_child *app, pid_t pid, int status)
{
    char end[CHILD_TEXT_BYTES];
    char name[32] = "template";
    bool asked = app->state >= APP_DRAINING || app->supervisor->state >= SUPERVISOR_STOPPING;
    bool memory = !asked && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

    child_describe_end(status, end);
    if (!app->is_template)
        snprintf(name, sizeof name, "app %u", app->index);
    if (asked)
        LOG_AT(LOG_LEVEL_INFO, "%s (pid %d) %s", name, (int)pid, end);
    else
        LOG_AT(LOG_LEVEL_ERROR, "%s (pid %d) %s%s", name, (int)pid, end, memory ? ", perhaps for want of memory" : "");
}

static void slow_down(struct supervisor *supervisor)
{
    struct app_children *apps = &supervisor->apps;
    uint64_t now_ms = event_loop_now_ms();
    uint32_t delay_ms = backoff_after_death(&apps->backoff, now_ms);

    apps->spawn_at_ms = now_ms + delay_ms;
    if (delay_ms == 0)
        return;
    log_warning("application processes keep dying: the next one is started in %u ms", delay_ms);
    event_loop_arm(&supervisor->loop, &apps->respawn, apps->spawn_at_ms);
}

static int start_failure_status(const struct supervisor *supervisor, int status)
{
    if (supervisor->settings.check_config)
        return SUPERVISOR_EXIT_FAILURE;
    bool load = WIFEXITED(status) && WEXITSTATUS(status) == SUPERVISOR_EXIT_APP_LOAD;
    return load ? SUPERVISOR_EXIT_APP_LOAD : SUPERVISOR_EXIT_WORKER_BOOT;
}

/* What a death means depends on what the server was about. */
static void judge_death(struct supervisor *supervisor, const struct app_child *app, int status)
{
    bool wanted = app->epoch == supervisor->apps.epoch && app->state < APP_DRAINING;

    if (!wanted || supervisor->state >= SUPERVISOR_STOPPING)
        return;
    if (supervisor_must_start(supervisor) && app->state <= APP_TEMPLATE) {
        log_critical("%s, the server stops", start_failure_status(supervisor, status) == SUPERVISOR_EXIT_APP_LOAD
                                                 ? "the application could not be loaded"
                                                 : "an application process could not start");
        supervisor_give_up(supervisor, start_failure_status(supervisor, status));
    } else if (supervisor->state == SUPERVISOR_RELOADING) {
        supervisor_reload_failed(supervisor, "a new application process did not become ready");
    } else {
        slow_down(supervisor);
    }
}

static void forget(struct supervisor *supervisor, struct app_child *app)
{
    event_loop_disarm(&supervisor->loop, &app->deadline);
    supervisor->apps.children[app->index] = NULL;
    free(app);
}

static void on_end(struct event_watch *watch)
{
    struct app_child *app = watch->owner;
    struct supervisor *supervisor = app->supervisor;
    pid_t pid = app->child.pid;

    /* Its last words come before the news of its death; whoever has inherited its socket may say more for ever. */
    for (int i = 0; i < LAST_WORDS_MAX && app->child.control.watched && take_message(app) == 1; i++)
        continue;
    if (supervisor->apps.copying != NULL && supervisor->apps.copying->original == app)
        fail_copy(supervisor->apps.copying, "it has ended");
    int status = child_bury(&app->child, &supervisor->loop);
    pairing_app_gone(supervisor, app);
    app_launch_undo(supervisor, app);
    report_end(app, pid, status);
    judge_death(supervisor, app, status);
    forget(supervisor, app);
}

/* Birth ------------------------------------------------------------------------------------------------------ */

/* Round and round: see "Life" in the header. */
static int64_t free_index(struct supervisor *supervisor)
{
    struct app_children *apps = &supervisor->apps;
    for (uint32_t tried = 0; tried < supervisor->shape.apps; tried++) {
        uint32_t index = apps->cursor;
        apps->cursor = (apps->cursor + 1) % supervisor->shape.apps;
        if (apps->children[index] == NULL)
            return index;
    }
    return -EAGAIN;
}

static bool lacks_template(const struct supervisor *supervisor)
{
    return preloads(supervisor) && find_template(supervisor, APP_STARTING) == NULL &&
           app_children_template(supervisor) == NULL;
}

static struct app_child *create(struct supervisor *supervisor, uint32_t index)
{
    struct app_child *app = calloc(1, sizeof *app);
    if (app == NULL)
        return NULL;
    app->supervisor = supervisor;
    app->index = index;
    app->generation = ++supervisor->apps.generations[index];
    app->epoch = supervisor->apps.epoch;
    app->state = APP_STARTING;
    app->is_template = lacks_template(supervisor);
    app->child.exit = (struct event_watch){.fd = -1, .on_event = on_end, .owner = app};
    app->child.control = (struct event_watch){.fd = -1, .on_event = on_control, .owner = app};
    app->deadline = (struct event_alarm){.on_alarm = end_at_deadline, .owner = app};
    return app;
}

/* The program itself could not be started: like a death, only that nobody was born. */
static void judge_stillbirth(struct supervisor *supervisor, const char *why)
{
    if (supervisor_must_start(supervisor)) {
        log_critical("cannot start an application process: %s", why);
        supervisor_give_up(supervisor, SUPERVISOR_EXIT_FAILURE);
    } else if (supervisor->state == SUPERVISOR_RELOADING) {
        supervisor_reload_failed(supervisor, why);
    } else {
        log_error("cannot start an application process: %s", why);
        slow_down(supervisor);
    }
}

static bool start_one(struct supervisor *supervisor)
{
    char why[CHILD_TEXT_BYTES] = "no memory";
    int64_t index = free_index(supervisor);
    if (index < 0)
        return false;
    struct app_child *app = create(supervisor, (uint32_t)index);
    if (app == NULL || app_launch(supervisor, app, why) < 0) {
        free(app);
        judge_stillbirth(supervisor, why);
        return false;
    }
    supervisor->apps.children[index] = app;
    if (app->is_template) {
        log_info("template started (pid %d)", (int)app->child.pid);
        return true;
    }
    if (app->state == APP_COPYING) {
        supervisor->apps.copying = app;
        arm_deadline(app, COPY_MS);
        return true;
    }
    pairing_app_up(supervisor, app);
    log_info("app %u started (pid %d)", app->index, (int)app->child.pid);
    return true;
}

/* Population ------------------------------------------------------------------------------------------------- */

/* The first of an epoch goes alone: an application that cannot be loaded says so once, not once per process. */
static uint32_t may_start(const struct supervisor *supervisor)
{
    const struct app_children *apps = &supervisor->apps;
    uint32_t starting = count_wanted(supervisor, APP_COPYING) + count_wanted(supervisor, APP_STARTING);
    uint32_t staff = starting + count_ready(supervisor);

    if (event_loop_now_ms() < apps->spawn_at_ms)
        return 0;
    if (lacks_template(supervisor))
        return 1;
    if (staff >= apps->wanted || find_template(supervisor, APP_STARTING) != NULL || apps->copying != NULL)
        return 0;
    if (!apps->proven)
        return starting == 0 ? 1 : 0;
    return preloads(supervisor) ? 1 : apps->wanted - staff;
}

static void start_missing(struct supervisor *supervisor)
{
    for (uint32_t count = may_start(supervisor); count > 0; count--)
        if (!start_one(supervisor))
            return;
}

/* The oldest one, as Gunicorn does: generations of an index do not tell age, process ids nearly do, so the order is
 * that in which the indices were given out. */
static struct app_child *oldest(const struct supervisor *supervisor, enum app_state state)
{
    for (uint32_t i = 0; i < supervisor->shape.apps; i++) {
        uint32_t index = (supervisor->apps.cursor + i) % supervisor->shape.apps;
        struct app_child *app = supervisor->apps.children[index];
        if (app != NULL && is_wanted(supervisor, app, state))
            return app;
    }
    return NULL;
}

/* One that recycles goes as soon as there are enough without it. */
static void retire_surplus(struct supervisor *supervisor)
{
    while (count_ready(supervisor) + count_wanted(supervisor, APP_RECYCLING) > supervisor->apps.wanted) {
        struct app_child *app = oldest(supervisor, APP_RECYCLING);
        if (app == NULL)
            app = oldest(supervisor, APP_SERVING);
        if (app == NULL)
            return;
        retire(app);
    }
}

void app_children_settle(struct supervisor *supervisor)
{
    start_missing(supervisor);
    retire_surplus(supervisor);
}

void app_children_begin_epoch(struct supervisor *supervisor)
{
    struct app_children *apps = &supervisor->apps;
    apps->epoch = ++apps->epochs;
    apps->proven = false;
    apps->spawn_at_ms = 0;
}

void app_children_commit_epoch(struct supervisor *supervisor)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (is_wanted(supervisor, app, APP_WAITING)) {
            app->state = APP_SERVING;
            pairing_app_serves(supervisor, app);
        }
    index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (app->epoch != supervisor->apps.epoch)
            let_go(app);
}

void app_children_abandon_epoch(struct supervisor *supervisor, uint32_t epoch)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (app->epoch == supervisor->apps.epoch)
            let_go(app);
    supervisor->apps.epoch = epoch;
    supervisor->apps.proven = true;
}

void app_children_change_wanted(struct supervisor *supervisor, int by)
{
    struct app_children *apps = &supervisor->apps;
    uint32_t most = server_shape_workers_max(&supervisor->shape);
    int64_t wanted = (int64_t)apps->wanted + by;

    if (wanted < 1 || wanted > most) {
        log_warning("workers = %u already, which is the %s", apps->wanted, by > 0 ? "most that fit" : "least");
        return;
    }
    apps->wanted = (uint32_t)wanted;
    log_info("workers = %u from now on", apps->wanted);
}

void app_children_retire_all(struct supervisor *supervisor)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        let_go(app);
}

/* Once a second ---------------------------------------------------------------------------------------------- */

static void check_heartbeat(struct app_child *app, uint64_t now_ms)
{
    const struct app_status *status = (const struct app_status *)(const void *)app->outbound.base;
    uint64_t timeout_ms = (uint64_t)app->supervisor->settings.timeout_ms;
    /* Relaxed: the number alone is the message. */
    uint64_t heartbeat = atomic_load_explicit(&status->heartbeat, memory_order_relaxed);

    if (heartbeat != app->heartbeat) {
        app->heartbeat = heartbeat;
        app->heartbeat_at_ms = now_ms;
    } else if (timeout_ms > 0 && now_ms - app->heartbeat_at_ms >= timeout_ms) {
        app_child_is_stuck(app, "its event loop has not turned");
    }
}

bool app_children_know(const void *owner, pid_t pid)
{
    const struct supervisor *supervisor = owner;
    uint32_t index = 0;
    for (const struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (app->child.pid == pid)
            return true;
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++)
        if (supervisor->io.rings[ring].child.pid == pid)
            return true;
    return supervisor->reader.pid == pid || supervisor->upgrade.checker.pid == pid ||
           predecessors_include(supervisor, pid);
}

/* What applications left behind becomes ours where we are a subreaper, or the first process of a container. One that
 * we know is buried by its own watch, and hides the others until then. */
static void bury_strangers(const struct supervisor *supervisor)
{
    siginfo_t info = {};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !app_children_know(supervisor, info.si_pid)) {
        waitpid(info.si_pid, NULL, 0);
        info = (siginfo_t){};
    }
}

void app_children_check(struct supervisor *supervisor, uint64_t now_ms)
{
    bury_strangers(supervisor);
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        if (app_child_serves(app) && (app->flags & CONTROL_APP_EVENT_LOOP) != 0)
            check_heartbeat(app, now_ms);
}

/* All of them ------------------------------------------------------------------------------------------------ */

void app_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        child_send(&app->child, kind, NULL, 0, fds, fd_count);
}

void app_children_kill(struct supervisor *supervisor)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = next_child(supervisor, &index)) != NULL;)
        child_kill(&app->child, SIGKILL);
}
