#include "daemon/supervisor/hooks_child.h"

#include "daemon/base/owned.h"
#include "daemon/supervisor/app_launch.h"
#include "daemon/supervisor/supervisor_state.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { SLOW_MS = 30'000, LAST_WORDS_MAX = 64 };

static const char *name_of(const struct control_hook *call)
{
    static const char *const names[CONTROL_HOOK_NAMES] = {
        [CONTROL_HOOK_NWORKERS_CHANGED] = "nworkers_changed",
        [CONTROL_HOOK_ON_STARTING] = "on_starting",
        [CONTROL_HOOK_ON_RELOAD] = "on_reload",
        [CONTROL_HOOK_WHEN_READY] = "when_ready",
        [CONTROL_HOOK_PRE_FORK] = "pre_fork",
        [CONTROL_HOOK_BORN] = "(none)",
        [CONTROL_HOOK_CHILD_EXIT] = "child_exit",
        [CONTROL_HOOK_PRE_EXEC] = "pre_exec",
        [CONTROL_HOOK_ON_EXIT] = "on_exit",
    };
    assert(call->hook < CONTROL_HOOK_NAMES);
    return names[call->hook];
}

/* Calls ------------------------------------------------------------------------------------------------------ */

static void say_lost(struct hooks_child *hooks)
{
    uint64_t lost = hook_queue_take_lost(&hooks->queue);
    if (lost > 0)
        log_warning("hooks (pid %d): %llu calls were not made, too many waited", (int)hooks->child.pid,
                    (unsigned long long)lost);
}

/* Nobody answers to BORN: it is no function that could take its time. */
static void send_call(struct hooks_child *hooks, const struct control_hook *call)
{
    child_send(&hooks->child, CONTROL_HOOK, call, sizeof *call, NULL, 0);
    if (call->hook == CONTROL_HOOK_BORN)
        return;
    hooks->call = *call;
    hooks->called_at_ms = event_loop_now_ms();
    hooks->is_slow = false;
    hooks->state = HOOKS_CALLING;
}

static void go_on(struct hooks_child *hooks)
{
    struct control_hook call;
    while (hooks->state == HOOKS_IDLE && hook_queue_pop(&hooks->queue, &call))
        send_call(hooks, &call);
    if (hooks->state != HOOKS_IDLE)
        return;
    say_lost(hooks);
    if (!hooks->retires)
        return;
    hooks->state = HOOKS_ENDING;
    child_send(&hooks->child, CONTROL_DRAIN, NULL, 0, NULL, 0);
}

void hooks_child_call(struct hooks_child *hooks, const struct control_hook *call)
{
    if (hook_queue_push(&hooks->queue, call))
        go_on(hooks);
    else if (hooks->queue.lost == 1)
        log_warning("hooks: %u calls wait%s%s; until they are made, others are lost", hooks->queue.count,
                    hooks->state == HOOKS_CALLING ? " for " : "",
                    hooks->state == HOOKS_CALLING ? name_of(&hooks->call) : "");
}

void hooks_child_retire(struct hooks_child *hooks, uint64_t at_ms)
{
    hooks->retires = true;
    event_loop_arm(&hooks->supervisor->loop, &hooks->deadline, at_ms);
    go_on(hooks);
}

/* The stacks go to the log (pybridge/uroboros/boot.py). */
static void say_slow_call(struct hooks_child *hooks)
{
    log_warning("hooks (pid %d): %s has not returned for %u s, %u calls wait for it; its stacks follow",
                (int)hooks->child.pid, name_of(&hooks->call), SLOW_MS / 1'000, hooks->queue.count);
    child_kill(&hooks->child, SIGUSR2);
}

/* No stacks: before the interpreter is prepared the signal would be its end. */
static void say_slow_start(const struct hooks_child *hooks)
{
    log_warning("hooks (pid %d): the settings file has not been executed for %u s, %u calls wait for it",
                (int)hooks->child.pid, SLOW_MS / 1'000, hooks->queue.count);
}

void hooks_child_check(struct hooks_child *hooks, uint64_t now_ms)
{
    bool works = hooks->state == HOOKS_STARTING || hooks->state == HOOKS_CALLING;
    if (!works || hooks->is_slow || now_ms - hooks->called_at_ms < SLOW_MS)
        return;
    hooks->is_slow = true;
    if (hooks->state == HOOKS_CALLING)
        say_slow_call(hooks);
    else
        say_slow_start(hooks);
}

/* What it says ----------------------------------------------------------------------------------------------- */

static void on_ready(struct hooks_child *hooks)
{
    if (hooks->state == HOOKS_STARTING)
        hooks->state = HOOKS_IDLE;
}

static void on_done(struct hooks_child *hooks, const struct control_message *message)
{
    const struct control_hook_done *done = control_payload(message, sizeof *done);
    if (done == NULL || hooks->state != HOOKS_CALLING)
        return;
    hooks->state = HOOKS_IDLE;
    if (hooks->call.hook == CONTROL_HOOK_ON_STARTING)
        hooks->events->on_starting_done(hooks, done->raised == 0);
}

/* 1: there may be more; 0: there is none. */
static int take_message(struct hooks_child *hooks)
{
    struct control_message message;
    int r = control_receive(hooks->child.control.fd, &message);
    if (r == -EAGAIN)
        return 0;
    if (r == -EBADMSG)
        return 1;
    if (r <= 0) {
        /* Without it the process is of no use; one that ends has nothing to lose. */
        child_end_control(&hooks->child, &hooks->supervisor->loop);
        if (hooks->state != HOOKS_ENDING)
            child_kill(&hooks->child, SIGKILL);
        return 0;
    }
    if (message.kind == CONTROL_READY)
        on_ready(hooks);
    else if (message.kind == CONTROL_HOOK_DONE)
        on_done(hooks, &message);
    control_close_fds(&message);
    return 1;
}

static void on_control(struct event_watch *watch)
{
    if (take_message(watch->owner) == 1)
        go_on(watch->owner);
}

static void on_output(struct event_watch *watch)
{
    struct hooks_child *hooks = watch->owner;
    app_output_take(&hooks->supervisor->loop, watch == &hooks->output[0].watch ? &hooks->output[0] : &hooks->output[1]);
}

/* Death ------------------------------------------------------------------------------------------------------ */

static void report_end(const struct hooks_child *hooks, pid_t pid, int status)
{
    char end[CHILD_TEXT_BYTES];
    child_describe_end(status, end);
    if (hooks->state == HOOKS_ENDING)
        log_debug("hooks (pid %d) %s", (int)pid, end);
    else if (hooks->state == HOOKS_CALLING)
        log_error("hooks (pid %d) %s, in %s", (int)pid, end, name_of(&hooks->call));
    else
        log_error("hooks (pid %d) %s", (int)pid, end);
    if (hooks->retires && hooks->queue.count > 0)
        log_warning("hooks (pid %d): %u calls that waited are not made", (int)pid, hooks->queue.count);
}

static void on_end(struct event_watch *watch)
{
    struct hooks_child *hooks = watch->owner;
    struct supervisor *supervisor = hooks->supervisor;
    bool was_starting = hooks->state == HOOKS_STARTING;
    pid_t pid = hooks->child.pid;

    /* Its last words may say that the call under way has returned. No other is given to it. */
    for (int i = 0; i < LAST_WORDS_MAX && hooks->child.control.watched && take_message(hooks) == 1; i++)
        continue;
    int status = child_bury(&hooks->child, &supervisor->loop);
    app_output_finish(&supervisor->loop, &hooks->output[0]);
    app_output_finish(&supervisor->loop, &hooks->output[1]);
    report_end(hooks, pid, status);
    hooks->state = HOOKS_DEAD;
    hooks->events->on_end(hooks, was_starting);
}

static void end_at_deadline(struct event_alarm *alarm)
{
    struct hooks_child *hooks = alarm->owner;
    bool calls = hooks->state == HOOKS_CALLING;
    log_warning("hooks (pid %d) did not end in time%s%s, it is killed", (int)hooks->child.pid, calls ? ", in " : "",
                calls ? name_of(&hooks->call) : "");
    child_kill(&hooks->child, SIGKILL);
}

/* Birth ------------------------------------------------------------------------------------------------------ */

static void on_respawn(struct event_alarm *alarm)
{
    struct hooks_child *hooks = alarm->owner;
    hooks->events->on_respawn(hooks);
}

struct hooks_child *hooks_child_create(struct supervisor *supervisor, const struct hooks_child_events *events)
{
    struct hooks_child *hooks = calloc(1, sizeof *hooks);
    if (hooks == NULL)
        return NULL;
    hooks->supervisor = supervisor;
    hooks->events = events;
    hooks->output[0].watch.fd = hooks->output[1].watch.fd = -1;
    hooks->child.exit = (struct event_watch){.fd = -1, .on_event = on_end, .owner = hooks};
    hooks->child.control = (struct event_watch){.fd = -1, .on_event = on_control, .owner = hooks};
    hooks->deadline = (struct event_alarm){.on_alarm = end_at_deadline, .owner = hooks};
    hooks->respawn = (struct event_alarm){.on_alarm = on_respawn, .owner = hooks};
    return hooks;
}

static int spawn(struct hooks_child *hooks, const struct settings *settings, char *why)
{
    struct supervisor *supervisor = hooks->supervisor;
    OWNED_FD standard_output = -1;
    OWNED_FD standard_error = -1;
    int r = 0;

    if (settings->capture_output) {
        r = app_output_open(&supervisor->loop, &hooks->output[0], on_output, hooks, &standard_output);
        if (r == 0)
            r = app_output_open(&supervisor->loop, &hooks->output[1], on_output, hooks, &standard_error);
    }
    const int output[2] = {standard_output, standard_error};
    if (r == 0)
        r = app_launch_program(supervisor, settings, &hooks->child, "hooks", output, why);
    if (r < 0) {
        app_output_finish(&supervisor->loop, &hooks->output[0]);
        app_output_finish(&supervisor->loop, &hooks->output[1]);
    }
    return r;
}

/* Those that it was not there to see being started. */
static void tell_who_lives(struct hooks_child *hooks)
{
    const struct supervisor *supervisor = hooks->supervisor;
    for (uint32_t index = 0; index < supervisor->shape.apps; index++) {
        const struct app_child *app = supervisor->apps.children[index];
        if (app == NULL || app->is_template || !child_lives(&app->child))
            continue;
        const struct control_hook born = {
            .hook = CONTROL_HOOK_BORN, .pid = app->child.pid, .age = app->age, .workers = supervisor->apps.wanted};
        send_call(hooks, &born);
    }
}

int hooks_child_start(struct hooks_child *hooks, const struct settings *settings, int settings_fd,
                      char why[CHILD_TEXT_BYTES])
{
    struct supervisor *supervisor = hooks->supervisor;
    assert(hooks->state == HOOKS_DEAD);
    why[0] = '\0';
    int r = spawn(hooks, settings, why);
    if (r < 0) {
        if (why[0] == '\0')
            snprintf(why, CHILD_TEXT_BYTES, "%s", strerror(-r));
        return r;
    }
    hooks->state = HOOKS_STARTING;
    hooks->called_at_ms = event_loop_now_ms();
    hooks->is_slow = false;
    const struct control_setup setup = {.shape = supervisor->shape, .cpu = -1, .supervisor_pid = (uint32_t)getpid()};
    const int fds[] = {settings_fd, supervisor->logs.error};
    child_send(&hooks->child, CONTROL_SETUP, &setup, sizeof setup, fds, 2);
    tell_who_lives(hooks);
    log_info("hooks started (pid %d)", (int)hooks->child.pid);
    return 0;
}

void hooks_child_destroy(struct hooks_child *hooks)
{
    assert(hooks->state == HOOKS_DEAD);
    event_loop_disarm(&hooks->supervisor->loop, &hooks->deadline);
    event_loop_disarm(&hooks->supervisor->loop, &hooks->respawn);
    free(hooks);
}
