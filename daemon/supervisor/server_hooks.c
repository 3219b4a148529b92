#include "daemon/supervisor/server_hooks.h"

#include "daemon/base/log.h"
#include "daemon/supervisor/hooks_child.h"
#include "daemon/supervisor/supervisor_state.h"

#include <signal.h>
#include <string.h>

enum {
    /* A migration of a database has time; a function that hangs is told from a server that starts. */
    ON_STARTING_MS = 300'000,
    PRE_EXEC_MS = 10'000,
    END_MS = 30'000, /* where graceful_timeout sets no limit */
    HURRY_MS = 1'000,
    /* What a service manager adds each second to its limit for a start (90 s with systemd) while on_starting runs. */
    EXTENSION_MS = 10'000,
};

/* Who is called ----------------------------------------------------------------------------------------------- */

static bool wants_hooks(const struct settings *settings)
{
    const int64_t lines[] = {settings->on_starting,      settings->on_reload,  settings->when_ready, settings->pre_fork,
                             settings->nworkers_changed, settings->child_exit, settings->pre_exec,   settings->on_exit};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i] != 0)
            return true;
    return false;
}

/* Of two generations of settings each hears of its own processes. */
static struct hooks_child *hooks_of(const struct supervisor *supervisor, const struct app_child *app)
{
    bool is_fresh = supervisor->state == SUPERVISOR_RELOADING && app->epoch == supervisor->apps.epoch;
    return is_fresh ? supervisor->hooks.fresh : supervisor->hooks.current;
}

/* All functions are the process's to find: it also keeps account of who lives. */
static void tell(struct supervisor *supervisor, struct hooks_child *hooks, struct control_hook call)
{
    if (hooks == NULL || hooks->retires)
        return;
    call.workers = supervisor->apps.wanted;
    hooks_child_call(hooks, &call);
}

static void tell_about(struct supervisor *supervisor, const struct app_child *app, struct control_hook about)
{
    if (app->is_template)
        return;
    about.age = app->age;
    tell(supervisor, hooks_of(supervisor, app), about);
}

void server_hooks_app_forks(struct supervisor *supervisor, const struct app_child *app)
{
    tell_about(supervisor, app, (struct control_hook){.hook = CONTROL_HOOK_PRE_FORK});
}

void server_hooks_app_lives(struct supervisor *supervisor, const struct app_child *app)
{
    tell_about(supervisor, app, (struct control_hook){.hook = CONTROL_HOOK_BORN, .pid = app->child.pid});
}

void server_hooks_app_ended(struct supervisor *supervisor, const struct app_child *app, pid_t pid, int status)
{
    tell_about(supervisor, app,
               (struct control_hook){.hook = CONTROL_HOOK_CHILD_EXIT, .pid = (int32_t)pid, .status = status});
}

void server_hooks_predecessor_ended(struct supervisor *supervisor, pid_t pid, int status)
{
    tell(supervisor, supervisor->hooks.current,
         (struct control_hook){.hook = CONTROL_HOOK_CHILD_EXIT, .pid = (int32_t)pid, .status = status});
}

void server_hooks_workers_changed(struct supervisor *supervisor, uint32_t before)
{
    tell(supervisor, supervisor->hooks.current,
         (struct control_hook){.hook = CONTROL_HOOK_NWORKERS_CHANGED, .workers_before = before});
}

void server_hooks_ready(struct supervisor *supervisor)
{
    tell(supervisor, supervisor->hooks.current, (struct control_hook){.hook = CONTROL_HOOK_WHEN_READY});
}

/* Birth and death ---------------------------------------------------------------------------------------------- */

static void arm(struct hooks_child *hooks, uint64_t in_ms)
{
    event_loop_arm(&hooks->supervisor->loop, &hooks->deadline, event_loop_now_ms() + in_ms);
}

static void forget(struct hooks_child *hooks)
{
    struct server_hooks *all = &hooks->supervisor->hooks;
    struct hooks_child **at = &all->retired;
    while (*at != NULL && *at != hooks)
        at = &(*at)->next;
    if (*at != NULL)
        *at = hooks->next;
    if (all->current == hooks)
        all->current = NULL;
    if (all->fresh == hooks)
        all->fresh = NULL;
    hooks_child_destroy(hooks);
}

static void start_later(struct hooks_child *hooks)
{
    uint64_t now_ms = event_loop_now_ms();
    uint32_t delay_ms = backoff_after_death(&hooks->backoff, now_ms);
    if (delay_ms > 0)
        log_warning("the hooks keep dying: they are started again in %u ms", delay_ms);
    event_loop_arm(&hooks->supervisor->loop, &hooks->respawn, now_ms + delay_ms);
}

/* In the order of Gunicorn. */
static void tell_first(struct hooks_child *hooks)
{
    struct supervisor *supervisor = hooks->supervisor;
    hooks->queue = (struct hook_queue){};
    tell(supervisor, hooks, (struct control_hook){.hook = CONTROL_HOOK_NWORKERS_CHANGED});
    tell(supervisor, hooks, (struct control_hook){.hook = CONTROL_HOOK_ON_STARTING});
}

/* While processes of another program serve there is time to try again. */
static void fail_start(struct hooks_child *hooks)
{
    struct supervisor *supervisor = hooks->supervisor;
    if (supervisor_must_start(supervisor)) {
        log_critical("on_starting did not succeed, the server stops");
        verdict_stop(&supervisor->verdict, SUPERVISOR_EXIT_WORKER_BOOT);
    } else if (hooks->state != HOOKS_DEAD) {
        child_kill(&hooks->child, SIGKILL);
    } else {
        event_loop_disarm(&supervisor->loop, &hooks->deadline);
        tell_first(hooks);
        start_later(hooks);
    }
}

static void on_starting_done(struct hooks_child *hooks, bool succeeded)
{
    if (!succeeded) {
        fail_start(hooks);
        return;
    }
    hooks->starts_server = false;
    if (!hooks->retires)
        event_loop_disarm(&hooks->supervisor->loop, &hooks->deadline);
}

static void on_end(struct hooks_child *hooks, bool was_starting)
{
    struct supervisor *supervisor = hooks->supervisor;
    bool is_over = hooks->starts_server ? supervisor_is_ending(supervisor) : supervisor_is_stopping(supervisor);
    if (hooks->retires || is_over)
        forget(hooks);
    else if (hooks->starts_server)
        fail_start(hooks);
    else if (hooks == supervisor->hooks.fresh && was_starting)
        verdict_reload_fails(&supervisor->verdict, "the process for its hooks did not start");
    else
        start_later(hooks);
}

static void start(struct hooks_child *hooks)
{
    struct supervisor *supervisor = hooks->supervisor;
    bool is_fresh = hooks == supervisor->hooks.fresh;
    char why[CHILD_TEXT_BYTES];
    int r = hooks_child_start(hooks, is_fresh ? &supervisor->fresh : &supervisor->settings,
                              is_fresh ? supervisor->fresh_fd : supervisor->settings_fd, why);
    if (r < 0) {
        log_error("cannot start the process for hooks: %s", why);
        on_end(hooks, true);
        return;
    }
    if (hooks->starts_server)
        arm(hooks, ON_STARTING_MS);
}

static const struct hooks_child_events hooks_events = {
    .on_respawn = start,
    .on_starting_done = on_starting_done,
    .on_end = on_end,
};

void server_hooks_begin(struct supervisor *supervisor)
{
    if (supervisor->settings.check_config || !wants_hooks(&supervisor->settings))
        return;
    struct hooks_child *hooks = supervisor->hooks.current = hooks_child_create(supervisor, &hooks_events);
    if (hooks == NULL) {
        log_critical("no memory for hooks, the server stops");
        verdict_stop(&supervisor->verdict, SUPERVISOR_EXIT_FAILURE);
        return;
    }
    hooks->starts_server = true;
    tell_first(hooks);
    start(hooks);
}

bool server_hooks_let_start(const struct supervisor *supervisor)
{
    const struct hooks_child *hooks = supervisor->hooks.current;
    return hooks == NULL || !hooks->starts_server;
}

/* Reload ------------------------------------------------------------------------------------------------------ */

static uint64_t grace_ms(const struct supervisor *supervisor)
{
    int64_t graceful_ms = supervisor->settings.graceful_timeout_ms;
    return graceful_ms > 0 ? (uint64_t)graceful_ms : END_MS;
}

static void retire(struct hooks_child *hooks)
{
    struct server_hooks *all = &hooks->supervisor->hooks;
    if (hooks->state == HOOKS_DEAD) {
        forget(hooks);
        return;
    }
    hooks->next = all->retired;
    all->retired = hooks;
    hooks_child_retire(hooks, event_loop_now_ms() + grace_ms(hooks->supervisor));
}

void server_hooks_reload(struct supervisor *supervisor)
{
    if (!wants_hooks(&supervisor->fresh))
        return;
    struct hooks_child *hooks = supervisor->hooks.fresh = hooks_child_create(supervisor, &hooks_events);
    if (hooks == NULL) {
        verdict_reload_fails(&supervisor->verdict, "no memory for hooks");
        return;
    }
    tell(supervisor, hooks,
         (struct control_hook){.hook = CONTROL_HOOK_NWORKERS_CHANGED, .workers_before = supervisor->wanted_before});
    tell(supervisor, hooks, (struct control_hook){.hook = CONTROL_HOOK_ON_RELOAD});
    start(hooks);
}

void server_hooks_commit(struct supervisor *supervisor)
{
    struct server_hooks *all = &supervisor->hooks;
    struct hooks_child *old = all->current;
    all->current = all->fresh;
    all->fresh = NULL;
    all->execute_at_ms = 0; /* an upgrade that waited tells the new ones */
    if (old != NULL)
        retire(old);
}

void server_hooks_abandon(struct supervisor *supervisor)
{
    struct hooks_child *fresh = supervisor->hooks.fresh;
    supervisor->hooks.fresh = NULL;
    if (fresh != NULL)
        retire(fresh);
}

/* The end ------------------------------------------------------------------------------------------------------ */

static void kill_all(struct supervisor *supervisor)
{
    if (supervisor->hooks.current != NULL)
        child_kill(&supervisor->hooks.current->child, SIGKILL);
    for (struct hooks_child *hooks = supervisor->hooks.retired; hooks != NULL; hooks = hooks->next)
        child_kill(&hooks->child, SIGKILL);
}

/* Those that are quiet end by themselves when the socket closes. */
bool server_hooks_let_execute(struct supervisor *supervisor)
{
    struct server_hooks *all = &supervisor->hooks;
    if (all->current == NULL && all->retired == NULL)
        return true;
    uint64_t now_ms = event_loop_now_ms();
    if (all->execute_at_ms == 0) {
        all->execute_at_ms = now_ms + PRE_EXEC_MS;
        tell(supervisor, all->current, (struct control_hook){.hook = CONTROL_HOOK_PRE_EXEC});
    }
    bool quiet = (all->current == NULL || hooks_child_is_quiet(all->current)) && all->retired == NULL;
    if (!quiet && now_ms < all->execute_at_ms)
        return false;
    if (!quiet) {
        log_warning("the upgrade does not wait for the hooks any longer, they are killed");
        kill_all(supervisor);
    }
    all->execute_at_ms = 0;
    return true;
}

/* What is left of graceful_timeout, and a second in any case. */
static uint64_t end_at_ms(const struct supervisor *supervisor)
{
    uint64_t now_ms = event_loop_now_ms(), least_ms = now_ms + HURRY_MS;
    if (supervisor->state == SUPERVISOR_STOPPING)
        return least_ms;
    if (!supervisor->stop.armed)
        return now_ms + END_MS;
    return supervisor->stop.at_ms > least_ms ? supervisor->stop.at_ms : least_ms;
}

/* Without on_starting there is no on_exit. */
static void end_current(struct supervisor *supervisor, struct hooks_child *hooks)
{
    if (hooks->state == HOOKS_DEAD) {
        if (!hooks->starts_server)
            log_warning("on_exit is not called: the process for hooks has died");
        forget(hooks);
        return;
    }
    if (hooks->starts_server)
        child_kill(&hooks->child, SIGKILL);
    else
        tell(supervisor, hooks, (struct control_hook){.hook = CONTROL_HOOK_ON_EXIT});
    hooks_child_retire(hooks, end_at_ms(supervisor));
}

/* on_exit is the last of all calls: those of other settings, which may still be under way, come before it. */
bool server_hooks_finish(struct supervisor *supervisor)
{
    struct server_hooks *all = &supervisor->hooks;
    if (all->retired != NULL)
        return false;
    if (!all->told_exit && all->current != NULL)
        end_current(supervisor, all->current);
    all->told_exit = true;
    return all->current == NULL;
}

void server_hooks_hurry(struct supervisor *supervisor)
{
    struct server_hooks *all = &supervisor->hooks;
    if (all->told_exit && all->current != NULL)
        arm(all->current, HURRY_MS);
    for (struct hooks_child *hooks = all->retired; hooks != NULL; hooks = hooks->next)
        arm(hooks, HURRY_MS);
}

/* All of them -------------------------------------------------------------------------------------------------- */

static struct hooks_child *next_of(const struct supervisor *supervisor, const struct hooks_child *hooks)
{
    const struct server_hooks *all = &supervisor->hooks;
    if (hooks == NULL && all->current != NULL)
        return all->current;
    if ((hooks == NULL || hooks == all->current) && all->fresh != NULL)
        return all->fresh;
    return hooks == NULL || hooks == all->current || hooks == all->fresh ? all->retired : hooks->next;
}

void server_hooks_check(struct supervisor *supervisor, uint64_t now_ms)
{
    if (!server_hooks_let_start(supervisor))
        service_manager_extend(&supervisor->manager, EXTENSION_MS);
    for (struct hooks_child *hooks = NULL; (hooks = next_of(supervisor, hooks)) != NULL;)
        hooks_child_check(hooks, now_ms);
}

void server_hooks_send_logs(struct supervisor *supervisor)
{
    for (struct hooks_child *hooks = NULL; (hooks = next_of(supervisor, hooks)) != NULL;)
        child_send(&hooks->child, CONTROL_LOG, NULL, 0, &supervisor->logs.error, 1);
}

bool server_hooks_include(const struct supervisor *supervisor, pid_t pid)
{
    for (const struct hooks_child *hooks = NULL; (hooks = next_of(supervisor, hooks)) != NULL;)
        if (hooks->child.pid == pid)
            return true;
    return false;
}
