#include "daemon/supervisor/predecessors.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/supervisor/app_output.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/supervisor_state.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { DRAIN_GRACE_MS = 1'000, STOP_GRACE_MS = 1'000 };

struct predecessor {
    struct predecessor *next;
    struct supervisor *supervisor;
    struct child child;
    bool is_app;
    uint32_t index;
    uint32_t generation;
    struct app_output output[2];
};

static const char *name_of(const struct predecessor *one)
{
    return one->is_app ? "app" : "io";
}

/* What they say ---------------------------------------------------------------------------------------------- */

/* Only a last word matters: none of them is to be paired, trusted with certificates or replaced any more. */
static int take_message(struct predecessor *one)
{
    struct control_message message;
    int r = control_receive(one->child.control.fd, &message);
    if (r == -EAGAIN)
        return 0;
    if (r == -EBADMSG)
        return 1;
    if (r <= 0) {
        child_end_control(&one->child, &one->supervisor->loop);
        return 0;
    }
    if (message.kind == CONTROL_FAILED)
        log_error("old %s %u (pid %d): %.*s", name_of(one), one->index, (int)one->child.pid, (int)message.payload_bytes,
                  (const char *)message.payload);
    control_close_fds(&message);
    return 1;
}

static void on_control(struct event_watch *watch)
{
    (void)take_message(watch->owner);
}

static void on_output(struct event_watch *watch)
{
    struct predecessor *one = watch->owner;
    app_output_take(&one->supervisor->loop, watch == &one->output[0].watch ? &one->output[0] : &one->output[1]);
}

/* All of a kind ---------------------------------------------------------------------------------------------- */

static void send_to(struct supervisor *supervisor, bool apps, enum control_kind kind, const void *payload, size_t bytes)
{
    for (struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        if (one->is_app == apps)
            child_send(&one->child, kind, payload, bytes, NULL, 0);
}

static uint32_t count(const struct supervisor *supervisor, bool apps)
{
    uint32_t found = 0;
    for (const struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        found += one->is_app == apps ? 1 : 0;
    return found;
}

bool predecessors_take_loss(struct supervisor *supervisor)
{
    bool has_loss = supervisor->predecessors.has_loss;
    supervisor->predecessors.has_loss = false;
    return has_loss;
}

bool predecessors_include(const struct supervisor *supervisor, pid_t pid)
{
    for (const struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        if (one->child.pid == pid)
            return true;
    return false;
}

/* Death ------------------------------------------------------------------------------------------------------ */

static void forget(struct predecessor *one)
{
    struct supervisor *supervisor = one->supervisor;
    struct predecessor **at = &supervisor->predecessors.first;
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    free(one);
    if (supervisor->predecessors.first == NULL)
        event_loop_disarm(&supervisor->loop, &supervisor->predecessors.deadline);
}

static void on_end(struct event_watch *watch)
{
    struct predecessor *one = watch->owner;
    char end[CHILD_TEXT_BYTES];
    pid_t pid = one->child.pid;

    while (one->child.control.watched && take_message(one) == 1)
        continue;
    int status = child_bury(&one->child, &one->supervisor->loop);
    app_output_finish(&one->supervisor->loop, &one->output[0]);
    app_output_finish(&one->supervisor->loop, &one->output[1]);
    child_describe_end(status, end);
    log_info("old %s %u (pid %d) %s", name_of(one), one->index, (int)pid, end);
    const struct control_peer peer = {.index = one->index, .generation = one->generation};
    struct supervisor *supervisor = one->supervisor;
    if (one->is_app)
        server_hooks_predecessor_ended(supervisor, pid, status);
    send_to(supervisor, !one->is_app, CONTROL_PEER_GONE, &peer, sizeof peer);
    forget(one);
    supervisor->predecessors.incomplete |= supervisor->predecessors.state == PREDECESSORS_SERVING;
    supervisor->predecessors.has_loss |= supervisor->state == SUPERVISOR_KEEPING;
}

/* Life ------------------------------------------------------------------------------------------------------- */

static void watch_output(struct predecessor *one, struct app_output *output, int fd)
{
    output->watch = (struct event_watch){.fd = fd, .on_event = on_output, .owner = one};
    if (fd >= 0 && event_loop_watch(&one->supervisor->loop, &output->watch) < 0)
        fd_drop(&output->watch.fd);
}

static int adopt(struct supervisor *supervisor, const struct handover_child *left)
{
    struct predecessor *one = calloc(1, sizeof *one);
    if (one == NULL) {
        kill(left->pid, SIGKILL);
        waitpid(left->pid, NULL, 0);
        close(left->control);
        return -ENOMEM;
    }
    one->supervisor = supervisor;
    one->is_app = left->is_app != 0;
    one->index = left->index;
    one->generation = left->generation;
    one->child.exit = (struct event_watch){.fd = -1, .on_event = on_end, .owner = one};
    one->child.control = (struct event_watch){.fd = -1, .on_event = on_control, .owner = one};
    int r = child_adopt(&one->child, &supervisor->loop, left->pid, left->control);
    if (r < 0) {
        free(one);
        return r;
    }
    watch_output(one, &one->output[0], left->output[0]);
    watch_output(one, &one->output[1], left->output[1]);
    one->next = supervisor->predecessors.first;
    supervisor->predecessors.first = one;
    return 0;
}

static void arm(struct supervisor *supervisor, uint64_t in_ms)
{
    event_loop_arm(&supervisor->loop, &supervisor->predecessors.deadline, event_loop_now_ms() + in_ms);
}

static void on_deadline(struct event_alarm *alarm)
{
    struct supervisor *supervisor = alarm->owner;
    switch (supervisor->predecessors.state) {
    case PREDECESSORS_SERVING:
        break;
    case PREDECESSORS_LEAVING:
        log_info("graceful_timeout has passed, the old processes end");
        predecessors_drain(supervisor);
        arm(supervisor, DRAIN_GRACE_MS);
        break;
    case PREDECESSORS_DRAINING:
        predecessors_stop(supervisor);
        break;
    case PREDECESSORS_STOPPING:
        predecessors_kill(supervisor);
        break;
    }
}

void predecessors_adopt(struct supervisor *supervisor, struct handover *handover)
{
    supervisor->predecessors.deadline = (struct event_alarm){.on_alarm = on_deadline, .owner = supervisor};
    for (uint32_t i = 0; i < handover->child_count; i++) {
        const struct handover_child *left = &handover->children[i];
        int r = adopt(supervisor, left);
        if (r < 0)
            log_error("the old process %d cannot be watched (%s), it is killed", (int)left->pid, strerror(-r));
    }
    handover->child_count = 0;
    supervisor->predecessors.incomplete = count(supervisor, false) < handover->rings || count(supervisor, true) == 0;
}

/* Half a line of an application stays here, so it goes to the log as it is. */
static void leave_one(struct predecessor *one, struct handover_child *left)
{
    log_lines_finish(&one->output[0].lines, log_lines_to_log, NULL);
    log_lines_finish(&one->output[1].lines, log_lines_to_log, NULL);
    *left = (struct handover_child){.pid = one->child.pid,
                                    .control = one->child.control.fd,
                                    .output = {one->output[0].watch.fd, one->output[1].watch.fd},
                                    .is_app = one->is_app ? 1 : 0,
                                    .index = one->index,
                                    .generation = one->generation};
}

void predecessors_hand_on(const struct supervisor *supervisor, struct handover *handover)
{
    for (struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        leave_one(one, &handover->children[handover->child_count++]);
}

void predecessors_send_logs(struct supervisor *supervisor)
{
    const int fds[] = {supervisor->logs.error, supervisor->logs.access};
    for (struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        child_send(&one->child, CONTROL_LOG, NULL, 0, fds, !one->is_app && supervisor->logs.access >= 0 ? 2 : 1);
}

void predecessors_leave(struct supervisor *supervisor)
{
    uint64_t grace_ms = (uint64_t)supervisor->settings.graceful_timeout_ms;
    if (supervisor->predecessors.first == NULL)
        return;
    assert(supervisor->predecessors.state == PREDECESSORS_SERVING);
    supervisor->predecessors.state = PREDECESSORS_LEAVING;
    send_to(supervisor, false, CONTROL_LEAVE, NULL, 0);
    if (grace_ms > 0)
        arm(supervisor, grace_ms);
}

void predecessors_drain(struct supervisor *supervisor)
{
    if (supervisor->predecessors.first == NULL || supervisor->predecessors.state >= PREDECESSORS_DRAINING)
        return;
    supervisor->predecessors.state = PREDECESSORS_DRAINING;
    send_to(supervisor, false, CONTROL_DRAIN, NULL, 0);
}

void predecessors_settle(struct supervisor *supervisor)
{
    struct predecessors *all = &supervisor->predecessors;
    bool leaves = all->state == PREDECESSORS_LEAVING || all->state == PREDECESSORS_DRAINING;
    if (!leaves || all->apps_drain || count(supervisor, false) > 0)
        return;
    all->apps_drain = true;
    send_to(supervisor, true, CONTROL_DRAIN, NULL, 0);
    /* Nobody waits for their answers any more. */
    uint64_t timeout_ms = (uint64_t)supervisor->settings.timeout_ms;
    if (!all->deadline.armed && timeout_ms > 0 && all->first != NULL)
        arm(supervisor, timeout_ms);
}

void predecessors_stop(struct supervisor *supervisor)
{
    if (supervisor->predecessors.first == NULL)
        return;
    supervisor->predecessors.state = PREDECESSORS_STOPPING;
    send_to(supervisor, false, CONTROL_STOP, NULL, 0);
    send_to(supervisor, true, CONTROL_STOP, NULL, 0);
    arm(supervisor, STOP_GRACE_MS);
}

void predecessors_kill(struct supervisor *supervisor)
{
    for (struct predecessor *one = supervisor->predecessors.first; one != NULL; one = one->next)
        child_kill(&one->child, SIGKILL);
}
