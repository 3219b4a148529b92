#include "daemon/supervisor/app_life.h"

#include "daemon/supervisor/app_launch.h"
#include "daemon/supervisor/app_table.h"
#include "daemon/supervisor/known_processes.h"
#include "daemon/supervisor/pairing.h"
#include "daemon/supervisor/supervisor_state.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { LOST_CHANNEL_MS = 5'000, COPY_MS = 5'000, LAST_WORDS_MAX = 64 };

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

void app_life_retire(struct app_child *app)
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

void app_life_let_go(struct app_child *app)
{
    if (app_child_serves(app))
        app_life_retire(app);
    else if (app->state < APP_DRAINING)
        abandon(app);
}

void app_life_is_stuck(struct app_child *app, const char *how)
{
    const struct settings *settings = &app->supervisor->settings;
    if (!app_child_serves(app))
        return;
    log_critical("app %u (pid %d) is stuck: %s for %.3g s; stacks of its threads follow, another is started",
                 app->index, (int)app->child.pid, how, (double)settings->timeout_ms / 1000);
    child_kill(&app->child, SIGUSR2);
    if (app->wants_abort)
        child_kill(&app->child, SIGABRT);
    app->timed_out = true;
    app_life_retire(app);
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
    bool wanted = app_table_wants(supervisor, app, APP_COPYING) && !supervisor_is_stopping(supervisor);
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
    app->original = NULL;
    event_loop_disarm(&supervisor->loop, &app->deadline);
    log_info("app %u started (pid %d)", app->index, (int)pid);
    if (app->state != APP_COPYING || supervisor_is_stopping(supervisor)) {
        child_kill(&app->child, SIGKILL);
        return;
    }
    app->state = APP_STARTING;
    app_launch_send_setup(supervisor, app);
    server_hooks_app_lives(supervisor, app);
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
    else if (!child_may_be(forked->pid) || known_processes_include(supervisor, forked->pid))
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
    bool asked = app->state >= APP_DRAINING || supervisor_is_stopping(app->supervisor);
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

    if (!wanted || supervisor_is_stopping(supervisor))
        return;
    if (supervisor_must_start(supervisor) && app->state <= APP_TEMPLATE) {
        log_critical("%s, the server stops", start_failure_status(supervisor, status) == SUPERVISOR_EXIT_APP_LOAD
                                                 ? "the application could not be loaded"
                                                 : "an application process could not start");
        verdict_stop(&supervisor->verdict, start_failure_status(supervisor, status));
    } else if (supervisor->state == SUPERVISOR_RELOADING) {
        verdict_reload_fails(&supervisor->verdict, "a new application process did not become ready");
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
    server_hooks_app_ended(supervisor, app, pid, status);
    judge_death(supervisor, app, status);
    forget(supervisor, app);
}

/* Birth ------------------------------------------------------------------------------------------------------ */

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
    app->is_template = app_table_lacks_template(supervisor);
    app->original = app_table_template(supervisor, APP_TEMPLATE);
    app->age = app->is_template ? 0 : ++supervisor->apps.births;
    app->wants_abort = supervisor_launch_settings(supervisor)->worker_abort != 0;
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
        verdict_stop(&supervisor->verdict, SUPERVISOR_EXIT_FAILURE);
    } else if (supervisor->state == SUPERVISOR_RELOADING) {
        verdict_reload_fails(&supervisor->verdict, why);
    } else {
        log_error("cannot start an application process: %s", why);
        slow_down(supervisor);
    }
}

bool app_life_start(struct supervisor *supervisor)
{
    char why[CHILD_TEXT_BYTES] = "no memory";
    int64_t index = app_table_free_index(supervisor);
    if (index < 0)
        return false;
    struct app_child *app = create(supervisor, (uint32_t)index);
    if (app != NULL)
        server_hooks_app_forks(supervisor, app);
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
    server_hooks_app_lives(supervisor, app);
    pairing_app_up(supervisor, app);
    log_info("app %u started (pid %d)", app->index, (int)app->child.pid);
    return true;
}
