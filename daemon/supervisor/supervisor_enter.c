#include "daemon/supervisor/supervisor_enter.h"

#include "daemon/base/log.h"
#include "daemon/supervisor/daemonize.h"

#include <assert.h>

enum { STOP_GRACE_MS = 1'000, LISTENERS_TEXT_BYTES = 1'024 };

#define STATE_BIT(state) (1u << (state))
static const unsigned next_states[] = {
    [SUPERVISOR_STARTING] = STATE_BIT(SUPERVISOR_KEEPING) | STATE_BIT(SUPERVISOR_SERVING) |
                            STATE_BIT(SUPERVISOR_DRAINING) | STATE_BIT(SUPERVISOR_STOPPING),
    [SUPERVISOR_KEEPING] = STATE_BIT(SUPERVISOR_DRAINING) | STATE_BIT(SUPERVISOR_STOPPING),
    [SUPERVISOR_SERVING] =
        STATE_BIT(SUPERVISOR_RELOADING) | STATE_BIT(SUPERVISOR_DRAINING) | STATE_BIT(SUPERVISOR_STOPPING),
    [SUPERVISOR_RELOADING] = STATE_BIT(SUPERVISOR_SERVING),
    [SUPERVISOR_DRAINING] = STATE_BIT(SUPERVISOR_STOPPING) | STATE_BIT(SUPERVISOR_ENDED),
    [SUPERVISOR_STOPPING] = STATE_BIT(SUPERVISOR_ENDED),
    [SUPERVISOR_ENDED] = 0,
};

static void say_ready(struct supervisor *supervisor)
{
    char text[LISTENERS_TEXT_BYTES];
    listeners_describe(&supervisor->listeners, text, sizeof text);
    log_info("ready: listening at %s (pid %d)", text, (int)getpid());
    service_status_ready(supervisor);
    daemonize_report(&supervisor->launcher, 0);
}

static void enter_serving(struct supervisor *supervisor, enum supervisor_state before)
{
    if (before == SUPERVISOR_STARTING) {
        say_ready(supervisor);
        server_hooks_ready(supervisor);
        predecessors_leave(supervisor);
    } else
        service_status_ready(supervisor);
}

static void enter_keeping(struct supervisor *supervisor, [[maybe_unused]] enum supervisor_state before)
{
    log_error("the new program cannot serve: the processes of the one before it serve on, and SIGUSR2 or SIGHUP tries "
              "again");
    service_status_failed(supervisor, "upgrade", "the new program could not start, see the log");
    service_status_ready(supervisor);
    upgrade_retry_later(supervisor);
}

/* Our copies of the listening sockets go first: then the I/O processes hold the last ones, and decide. */
static void stop_listening(struct supervisor *supervisor)
{
    if (supervisor->handed != NULL)
        listeners_own_handed(&supervisor->listeners, supervisor->handed);
    listeners_deinit(&supervisor->listeners);
    service_manager_close_sockets(&supervisor->manager);
}

static void enter_draining(struct supervisor *supervisor, [[maybe_unused]] enum supervisor_state before)
{
    uint64_t grace_ms = (uint64_t)supervisor->settings.graceful_timeout_ms;

    log_info("stopping, once the requests under way are answered");
    service_manager_stopping(&supervisor->manager, "finishing requests");
    stop_listening(supervisor);
    io_children_drain(supervisor);
    predecessors_drain(supervisor);
    if (grace_ms > 0)
        event_loop_arm(&supervisor->loop, &supervisor->stop, event_loop_now_ms() + grace_ms);
}

static void enter_stopping(struct supervisor *supervisor, [[maybe_unused]] enum supervisor_state before)
{
    log_info("stopping");
    service_manager_stopping(&supervisor->manager, "stopping");
    stop_listening(supervisor);
    io_children_send(supervisor, CONTROL_STOP, NULL, 0);
    app_children_send(supervisor, CONTROL_STOP, NULL, 0);
    predecessors_stop(supervisor);
    server_hooks_hurry(supervisor);
    event_loop_arm(&supervisor->loop, &supervisor->stop, event_loop_now_ms() + STOP_GRACE_MS);
}

static void enter_quietly([[maybe_unused]] struct supervisor *supervisor, [[maybe_unused]] enum supervisor_state before)
{
}

void supervisor_enter(struct supervisor *supervisor, enum supervisor_state state)
{
    static void (*const enter[])(struct supervisor *, enum supervisor_state before) = {
        [SUPERVISOR_STARTING] = enter_quietly,  [SUPERVISOR_KEEPING] = enter_keeping,
        [SUPERVISOR_SERVING] = enter_serving,   [SUPERVISOR_RELOADING] = enter_quietly,
        [SUPERVISOR_DRAINING] = enter_draining, [SUPERVISOR_STOPPING] = enter_stopping,
        [SUPERVISOR_ENDED] = enter_quietly,
    };
    enum supervisor_state before = supervisor->state;

    assert((next_states[before] & STATE_BIT(state)) != 0);
    supervisor->state = state;
    enter[state](supervisor, before);
}
