#include "daemon/supervisor/upgrade.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/pid_file.h"
#include "daemon/supervisor/supervisor_state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { CHECK_MS = 60'000, END_MS = 5'000, RETRY_MS = 10'000 };

static void fail(struct supervisor *supervisor, const char *why)
{
    supervisor->upgrade.state = UPGRADE_IDLE;
    log_error("upgrade failed, nothing has changed: %s", why);
    service_status_failed(supervisor, "upgrade", why);
    service_status_ready(supervisor);
    upgrade_retry_later(supervisor);
}

static void on_retry(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    if (supervisor->state == SUPERVISOR_KEEPING && supervisor->upgrade.state == UPGRADE_IDLE)
        upgrade_begin(supervisor);
}

void upgrade_retry_later(struct supervisor *supervisor)
{
    struct event_alarm *retry = &supervisor->upgrade.retry;
    if (supervisor->state != SUPERVISOR_KEEPING || !supervisor->predecessors.incomplete || retry->armed)
        return;
    *retry = (struct event_alarm){.on_alarm = on_retry, .owner = supervisor};
    event_loop_arm(&supervisor->loop, retry, event_loop_now_ms() + RETRY_MS);
}

/* What is left to it ----------------------------------------------------------------------------------------- */

static void leave_listeners(const struct supervisor *supervisor, struct handover *handover)
{
    for (size_t i = 0; i < supervisor->listeners.count; i++) {
        const struct listener *listener = &supervisor->listeners.items[i];
        struct handover_listener *left = &handover->listeners[handover->listener_count++];
        memcpy(left->key, listener->key, sizeof left->key);
        memcpy(left->path, listener->path, sizeof left->path);
        left->flags = listener->hello.flags;
        left->device = listener->device;
        left->inode = listener->inode;
        left->fd_count = listener->fd_count;
        for (uint32_t ring = 0; ring < listener->fd_count; ring++)
            left->fds[ring] = listener->fds[ring];
    }
}

static void leave_child(struct handover *handover, const struct child *child, struct handover_child description)
{
    if (!child_lives(child))
        return;
    description.pid = child->pid;
    description.control = child->control.fd;
    handover->children[handover->child_count++] = description;
}

/* Half a line of an application stays here, so it goes to the log as it is. */
static void finish_lines(struct app_child *app)
{
    log_lines_finish(&app->output[0].lines, log_lines_to_log, NULL);
    log_lines_finish(&app->output[1].lines, log_lines_to_log, NULL);
}

static void leave_children(struct supervisor *supervisor, struct handover *handover)
{
    for (uint32_t ring = 0; ring < supervisor->shape.rings; ring++) {
        const struct io_child *io = &supervisor->io.rings[ring];
        leave_child(handover, &io->child,
                    (struct handover_child){.output = {-1, -1}, .index = ring, .generation = io->generation});
    }
    for (uint32_t index = 0; index < supervisor->shape.apps; index++) {
        struct app_child *app = supervisor->apps.children[index];
        if (app == NULL)
            continue;
        finish_lines(app);
        leave_child(handover, &app->child,
                    (struct handover_child){.output = {app->output[0].watch.fd, app->output[1].watch.fd},
                                            .is_app = 1,
                                            .index = index,
                                            .generation = app->generation});
    }
}

/* Keys of a file are read from there again. */
static void leave_keys(const struct supervisor *supervisor, struct handover *handover)
{
    if (supervisor->certificates.keys.file.path == NULL)
        handover->tickets = supervisor->certificates.keys.keys;
}

/* The pid file is found again from another directory. */
static void leave_pid_file(const struct supervisor *supervisor, struct handover *handover)
{
    pid_file_absolute(supervisor->settings.pidfile, handover->pid_file);
}

static void leave_inherited(const struct supervisor *supervisor, struct handover *handover)
{
    const char *names = supervisor->manager.listen_names;
    handover->inherited_count = (uint32_t)supervisor->manager.listen_count;
    if (names != NULL && strlen(names) < sizeof handover->inherited_names)
        memcpy(handover->inherited_names, names, strlen(names) + 1);
}

/* Without the processes. A program that could not start leaves what it was left. */
static struct handover *collect_things(const struct supervisor *supervisor)
{
    bool keeps = supervisor->state == SUPERVISOR_KEEPING;
    struct handover *handover = keeps ? handover_copy(supervisor->handed) : handover_create();
    if (handover == NULL || keeps)
        return handover;
    handover->rings = supervisor->shape.rings;
    leave_listeners(supervisor, handover);
    leave_inherited(supervisor, handover);
    leave_pid_file(supervisor, handover);
    leave_keys(supervisor, handover);
    return handover;
}

static struct handover *collect(struct supervisor *supervisor)
{
    struct handover *handover = collect_things(supervisor);
    if (handover != NULL && supervisor->state == SUPERVISOR_SERVING)
        leave_children(supervisor, handover);
    else if (handover != NULL)
        predecessors_hand_on(supervisor, handover);
    return handover;
}

/* The same for a program that is only tried: it finds out what it could not have. */
static int publish_trial(const struct supervisor *supervisor, int *ret_fd)
{
    struct handover *handover = collect_things(supervisor);
    if (handover == NULL)
        return -ENOMEM;
    handover->is_trial = 1;
    explicit_bzero(&handover->tickets, sizeof handover->tickets);
    int r = handover_publish(handover, ret_fd);
    handover_destroy(handover);
    return r;
}

/* The new program before it is executed ---------------------------------------------------------------------- */

static void on_checked(struct event_watch *watch)
{
    struct supervisor *supervisor = watch->owner;
    struct upgrade *upgrade = &supervisor->upgrade;
    char end[CHILD_TEXT_BYTES], why[CHILD_TEXT_BYTES + 32];

    event_loop_disarm(&supervisor->loop, &upgrade->deadline);
    int status = child_bury(&upgrade->checker, &supervisor->loop);
    if (upgrade->state != UPGRADE_CHECKING)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        log_info("the new program is good");
        upgrade->state = UPGRADE_PROVEN;
        return;
    }
    child_describe_end(status, end);
    snprintf(why, sizeof why, "its --check-config %s", end);
    fail(supervisor, why);
}

/* It has nothing to tell us; the end of its socket is not the end of the process. */
static void on_silence(struct event_watch *watch)
{
    struct supervisor *supervisor = watch->owner;
    child_end_control(&supervisor->upgrade.checker, &supervisor->loop);
}

/* In peace first: it has processes of its own, which a kill would leave behind. */
static void end_checker(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    child_kill(&upgrade->checker, upgrade->is_told_to_end ? SIGKILL : SIGTERM);
    upgrade->is_told_to_end = true;
    if (child_lives(&upgrade->checker))
        event_loop_arm(&supervisor->loop, &upgrade->deadline, event_loop_now_ms() + END_MS);
}

static void on_deadline(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    if (!supervisor->upgrade.is_told_to_end)
        log_warning("the new program has checked the settings for %d s, it is ended", CHECK_MS / 1'000);
    end_checker(supervisor);
}

/* Our own arguments, with --check-config in front of them. */
static char **check_arguments(const struct supervisor *supervisor)
{
    static char check[] = "--check-config";
    char **arguments = calloc((size_t)supervisor->argc + 2, sizeof *arguments);
    if (arguments == NULL)
        return NULL;
    arguments[0] = supervisor->argv[0];
    arguments[1] = check;
    for (int i = 1; i < supervisor->argc; i++)
        arguments[i + 1] = supervisor->argv[i];
    return arguments;
}

static int spawn_checker(struct supervisor *supervisor, int trial, char why[CHILD_TEXT_BYTES])
{
    struct upgrade *upgrade = &supervisor->upgrade;
    OWNED_MEMORY char **arguments = check_arguments(supervisor);
    if (arguments == NULL) {
        snprintf(why, CHILD_TEXT_BYTES, "no memory");
        return -ENOMEM;
    }
    const struct child_launch launch = {
        .path = supervisor->program,
        .argv = arguments,
        .envp = environ,
        .directory = supervisor->settings.start_directory,
        .output = {supervisor->logs.error, supervisor->logs.error},
        .kept = trial,
    };
    upgrade->is_told_to_end = false;
    upgrade->deadline = (struct event_alarm){.on_alarm = on_deadline, .owner = supervisor};
    upgrade->checker = (struct child){.exit = {.fd = -1, .on_event = on_checked, .owner = supervisor},
                                      .control = {.fd = -1, .on_event = on_silence, .owner = supervisor}};
    return child_spawn(&upgrade->checker, &supervisor->loop, &launch, why);
}

/* What is said in the environment is said before `environ` is read, which this moves. */
static int start_check(struct supervisor *supervisor, char why[CHILD_TEXT_BYTES])
{
    int trial = -1;
    int r = publish_trial(supervisor, &trial);
    if (r < 0) {
        snprintf(why, CHILD_TEXT_BYTES, "cannot tell the new program what there is: %s", strerror(-r));
        return r;
    }
    handover_announce_format();
    r = spawn_checker(supervisor, trial, why);
    handover_unannounce_format();
    handover_unpublish(trial);
    return r;
}

/* What it has to wait for, or NULL. */
static const char *obstacle(const struct supervisor *supervisor)
{
    bool predecessors = supervisor->predecessors.first != NULL;
    if (supervisor->state == SUPERVISOR_KEEPING || (supervisor->state == SUPERVISOR_STARTING && predecessors))
        return NULL;
    if (predecessors)
        return "the processes of the program before this one have finished their requests";
    if (supervisor->state != SUPERVISOR_SERVING || settings_reader_is_busy(&supervisor->reader))
        return "the server has started or reloaded";
    return NULL;
}

static void begin(struct supervisor *supervisor)
{
    char why[CHILD_TEXT_BYTES];
    log_info("upgrading to what is %s now", supervisor->program);
    service_manager_reloading(&supervisor->manager);
    if (start_check(supervisor, why) < 0) {
        fail(supervisor, why);
        return;
    }
    supervisor->upgrade.state = UPGRADE_CHECKING;
    event_loop_arm(&supervisor->loop, &supervisor->upgrade.deadline, event_loop_now_ms() + CHECK_MS);
}

void upgrade_begin(struct supervisor *supervisor)
{
    const char *until = obstacle(supervisor);
    if (supervisor_is_ending(supervisor) || supervisor->upgrade.state != UPGRADE_IDLE) {
        log_warning("no upgrade is begun: %s",
                    supervisor_is_ending(supervisor) ? "the server stops" : "another one is under way");
    } else if (until != NULL) {
        log_info("the upgrade waits until %s", until);
        supervisor->upgrade.state = UPGRADE_WAITING;
    } else {
        begin(supervisor);
    }
}

void upgrade_give_up(struct supervisor *supervisor)
{
    supervisor->upgrade.state = UPGRADE_IDLE;
    event_loop_disarm(&supervisor->loop, &supervisor->upgrade.retry);
    if (!supervisor->upgrade.is_told_to_end)
        end_checker(supervisor);
}

/* In the place of this program ------------------------------------------------------------------------------- */

/* Without settings there is none, and we are where we were started. */
static int change_directory(const char *directory)
{
    return directory != NULL ? chdir(directory) : 0;
}

/* Comes back only on failure. The new program finds what this one found: arguments, environment, directory. */
static int become(struct supervisor *supervisor, const struct handover *handover)
{
    int fd = -1;
    int r = handover_publish(handover, &fd);
    if (r < 0)
        return r;
    handover_set_inherited(handover, true);
    service_manager_export(&supervisor->manager);
    r = change_directory(supervisor->settings.start_directory);
    if (r == 0)
        execve(supervisor->program, supervisor->argv, environ);
    r = -errno;
    service_manager_unexport();
    handover_set_inherited(handover, false);
    handover_unpublish(fd);
    if (change_directory(supervisor->settings.chdir) < 0)
        log_error("cannot go back to %s: %s", supervisor->settings.chdir, strerror(errno));
    return r;
}

static int hand_over(struct supervisor *supervisor)
{
    struct handover *handover = collect(supervisor);
    if (handover == NULL)
        return -ENOMEM;
    /* Of a start that has not got to the end nobody serves yet. They are reaped by whoever runs here then. */
    if (supervisor->state == SUPERVISOR_STARTING)
        app_children_kill(supervisor);
    int r = become(supervisor, handover);
    handover_destroy(handover);
    return r;
}

/* An I/O process of ours has clients already while it starts: then the start is soon over, and theirs is the set that
 * is left. */
static bool may_execute(const struct supervisor *supervisor)
{
    if (obstacle(supervisor) != NULL)
        return false;
    if (supervisor->state == SUPERVISOR_SERVING)
        return io_children_complete(supervisor) && app_children_complete(supervisor);
    return io_children_alive(supervisor) == 0;
}

void upgrade_settle(struct supervisor *supervisor)
{
    if (supervisor->upgrade.state == UPGRADE_WAITING && obstacle(supervisor) == NULL)
        begin(supervisor);
    if (supervisor->upgrade.state != UPGRADE_PROVEN || !may_execute(supervisor) ||
        !server_hooks_let_execute(supervisor))
        return;
    log_info("executing %s", supervisor->program);
    int r = hand_over(supervisor);
    fail(supervisor, strerror(-r));
}
