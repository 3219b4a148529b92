#include "daemon/supervisor/app_children.h"

#include "daemon/supervisor/app_life.h"
#include "daemon/supervisor/app_table.h"
#include "daemon/supervisor/server_shape.h"
#include "daemon/supervisor/supervisor_state.h"

#include <signal.h>
#include <stdatomic.h>

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

/* Ready ones of the wanted epoch that stay. */
static uint32_t count_ready(const struct supervisor *supervisor)
{
    return app_table_count(supervisor, APP_WAITING) + app_table_count(supervisor, APP_SERVING);
}

bool app_children_complete(const struct supervisor *supervisor)
{
    return count_ready(supervisor) >= supervisor->apps.wanted;
}

uint32_t app_children_alive(const struct supervisor *supervisor)
{
    uint32_t count = 0, index = 0;
    while (app_table_next(supervisor, &index) != NULL)
        count++;
    return count;
}

struct app_census app_children_count(const struct supervisor *supervisor)
{
    struct app_census census = {};
    uint32_t index = 0;
    for (const struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;) {
        census.serving += app_child_serves(app) ? 1 : 0;
        census.waiting += app->state == APP_WAITING ? 1 : 0;
        census.leaving += app->state == APP_DRAINING ? 1 : 0;
    }
    return census;
}

/* Population ------------------------------------------------------------------------------------------------- */

/* The first of an epoch goes alone: an application that cannot be loaded says so once, not once per process. */
static uint32_t may_start(const struct supervisor *supervisor)
{
    const struct app_children *apps = &supervisor->apps;
    uint32_t starting = app_table_count(supervisor, APP_COPYING) + app_table_count(supervisor, APP_STARTING);
    uint32_t staff = starting + count_ready(supervisor);

    if (event_loop_now_ms() < apps->spawn_at_ms || !server_hooks_let_start(supervisor))
        return 0;
    if (app_table_lacks_template(supervisor))
        return 1;
    if (staff >= apps->wanted || app_table_template(supervisor, APP_STARTING) != NULL || apps->copying != NULL)
        return 0;
    if (!apps->proven)
        return starting == 0 ? 1 : 0;
    return app_table_preloads(supervisor) ? 1 : apps->wanted - staff;
}

static void start_missing(struct supervisor *supervisor)
{
    for (uint32_t count = may_start(supervisor); count > 0; count--)
        if (!app_life_start(supervisor))
            return;
}

/* One that recycles goes as soon as there are enough without it. */
static void retire_surplus(struct supervisor *supervisor)
{
    while (count_ready(supervisor) + app_table_count(supervisor, APP_RECYCLING) > supervisor->apps.wanted) {
        struct app_child *app = app_table_oldest(supervisor, APP_RECYCLING);
        if (app == NULL)
            app = app_table_oldest(supervisor, APP_SERVING);
        if (app == NULL)
            return;
        app_life_retire(app);
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
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        if (app_table_wants(supervisor, app, APP_WAITING)) {
            app->state = APP_SERVING;
            pairing_app_serves(supervisor, app);
        }
    index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        if (app->epoch != supervisor->apps.epoch)
            app_life_let_go(app);
}

void app_children_abandon_epoch(struct supervisor *supervisor, uint32_t epoch)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        if (app->epoch == supervisor->apps.epoch)
            app_life_let_go(app);
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
    server_hooks_workers_changed(supervisor, (uint32_t)(wanted - by));
}

void app_children_retire_all(struct supervisor *supervisor)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        app_life_let_go(app);
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
        app_life_is_stuck(app, "its event loop has not turned");
    }
}

void app_children_check(struct supervisor *supervisor, uint64_t now_ms)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        if (app_child_serves(app) && (app->flags & CONTROL_APP_EVENT_LOOP) != 0)
            check_heartbeat(app, now_ms);
}

/* All of them ------------------------------------------------------------------------------------------------ */

void app_children_send(struct supervisor *supervisor, enum control_kind kind, const int *fds, size_t fd_count)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        child_send(&app->child, kind, NULL, 0, fds, fd_count);
}

void app_children_kill(struct supervisor *supervisor)
{
    uint32_t index = 0;
    for (struct app_child *app; (app = app_table_next(supervisor, &index)) != NULL;)
        child_kill(&app->child, SIGKILL);
}
