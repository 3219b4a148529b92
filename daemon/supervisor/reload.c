#include "daemon/supervisor/reload.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/server_shape.h"
#include "daemon/supervisor/supervisor_enter.h"
#include "daemon/supervisor/supervisor_state.h"

#include <errno.h>
#include <string.h>

/* The number of indices was settled at start. */
static uint32_t workers_that_fit(const struct supervisor *supervisor)
{
    uint32_t most = server_shape_workers_max(&supervisor->shape);
    int64_t wanted = supervisor->fresh.workers;
    if (wanted <= most)
        return (uint32_t)wanted;
    log_warning("workers = %lld needs a restart: %u fit until then", (long long)wanted, most);
    return most;
}

/* Files that cannot be read end a reload before anything has been started for it. */
static bool read_certificates(struct supervisor *supervisor)
{
    char why[CERTIFICATE_WHY_BYTES];
    if (certificate_keeper_prepare(supervisor, why) == 0)
        return true;
    log_error("reload failed, nothing has changed: %s", why);
    service_status_failed(supervisor, "reload", why);
    reload_forget(supervisor);
    return false;
}

/* Who reads the settings has said what is wrong with them. */
static void report_reading(struct supervisor *supervisor, int error)
{
    const char *why = error == -EINVAL   ? "the settings are wrong, see the log"
                      : error == -ECHILD ? "the process that read the settings ended early"
                                         : strerror(-error);
    if (error != -EINVAL)
        log_error("reload failed, nothing has changed: the settings could not be read: %s", why);
    service_status_failed(supervisor, "reload", why);
}

static void start_processes(struct supervisor *supervisor)
{
    supervisor->epoch_before = supervisor->apps.epoch;
    supervisor->wanted_before = supervisor->apps.wanted;
    supervisor->apps.wanted = workers_that_fit(supervisor);
    app_children_begin_epoch(supervisor);
    supervisor_enter(supervisor, SUPERVISOR_RELOADING);
    server_hooks_reload(supervisor);
}

static void on_settings(struct event_watch *watch)
{
    struct supervisor *supervisor = watch->owner;
    int r = settings_reader_take(&supervisor->reader, &supervisor->loop, &supervisor->fresh, &supervisor->fresh_fd);
    if (r < 0)
        report_reading(supervisor, r);
    if (r < 0 || !read_certificates(supervisor))
        service_status_ready(supervisor);
    else
        start_processes(supervisor);
}

void reload_begin(struct supervisor *supervisor)
{
    const struct settings_reader_request request = {
        .argc = supervisor->argc,
        .argv = supervisor->argv,
        .current = &supervisor->settings,
        .log_fd = supervisor->logs.error,
    };
    if (supervisor->state == SUPERVISOR_RELOADING)
        reload_fail(supervisor, "another one was asked for");
    reload_stop_reading(supervisor);
    service_manager_reloading(&supervisor->manager);
    log_info("reloading the settings");
    supervisor->reader.answer.on_event = on_settings;
    supervisor->reader.answer.owner = supervisor;
    int r = settings_reader_start(&supervisor->reader, &supervisor->loop, &request);
    if (r < 0) {
        log_error("reload failed, nothing has changed: %s", strerror(-r));
        service_status_failed(supervisor, "reload", strerror(-r));
        service_status_ready(supervisor);
    }
}

void reload_stop_reading(struct supervisor *supervisor)
{
    settings_reader_stop(&supervisor->reader, &supervisor->loop);
}

void reload_forget(struct supervisor *supervisor)
{
    fd_drop(&supervisor->fresh_fd);
    settings_deinit(&supervisor->fresh);
    memset(&supervisor->fresh, 0, sizeof supervisor->fresh);
}

void reload_commit(struct supervisor *supervisor)
{
    struct settings old = supervisor->settings;

    supervisor->settings = supervisor->fresh;
    memset(&supervisor->fresh, 0, sizeof supervisor->fresh);
    fd_replace(&supervisor->settings_fd, fd_take(&supervisor->fresh_fd));
    settings_deinit(&old);

    log_set_level(supervisor->settings.loglevel);
    io_children_send(supervisor, CONTROL_SETTINGS, &supervisor->settings_fd, 1);
    certificate_keeper_commit(supervisor);
    server_hooks_commit(supervisor);
    reload_logs(supervisor);
    app_children_commit_epoch(supervisor);
    service_status_worked(supervisor);
    supervisor_enter(supervisor, SUPERVISOR_SERVING);
    log_info("reloaded: %u new application processes serve, the old ones finish", supervisor->apps.wanted);
}

void reload_fail(struct supervisor *supervisor, const char *why)
{
    log_error("reload failed, the old application processes stay: %s", why);
    service_status_failed(supervisor, "reload", why);
    app_children_abandon_epoch(supervisor, supervisor->epoch_before);
    supervisor->apps.wanted = supervisor->wanted_before;
    certificate_keeper_abandon(supervisor);
    server_hooks_abandon(supervisor);
    reload_forget(supervisor);
    supervisor_enter(supervisor, SUPERVISOR_SERVING);
}

void reload_logs(struct supervisor *supervisor)
{
    char why[LOG_FILES_WHY_BYTES];
    if (log_files_reopen(&supervisor->logs, &supervisor->settings, why) < 0) {
        log_error("the old log files stay: %s", why);
        return;
    }
    const int fds[] = {supervisor->logs.error, supervisor->logs.access};
    io_children_send(supervisor, CONTROL_LOG, fds, supervisor->logs.access >= 0 ? 2 : 1);
    app_children_send(supervisor, CONTROL_LOG, fds, 1);
    server_hooks_send_logs(supervisor);
    predecessors_send_logs(supervisor);
}
