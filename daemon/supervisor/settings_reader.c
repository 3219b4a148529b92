#include "daemon/supervisor/settings_reader.h"

#include "config/settings_loader.h"
#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/base/process_title.h"
#include "daemon/base/sandbox.h"
#include "daemon/exchange/control.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { STATUS_GOOD = 0, STATUS_BAD_SETTINGS = 2, STATUS_FAILED = 3 };

/* In the process that reads ---------------------------------------------------------------------------------- */

/* Nothing that the supervisor closes meanwhile may stay open here, and no child may hear from two of us. */
static void keep_only(int socket, int log_fd)
{
    unsigned low = (unsigned)(socket < log_fd ? socket : log_fd);
    unsigned high = (unsigned)(socket < log_fd ? log_fd : socket);
    const unsigned first = STDERR_FILENO + 1;

    if (low > first)
        close_range(first, low - 1, 0);
    if (high > low + 1 && high > first)
        close_range(low + 1 > first ? low + 1 : first, high - 1, 0);
    close_range(high + 1, UINT_MAX, 0);
}

static void report(const struct settings_outcome *outcome)
{
    for (size_t i = 0; i < outcome->warnings.count; i++)
        log_warning("%s", outcome->warnings.items[i]);
    for (size_t i = 0; i < outcome->needs_restart.count; i++)
        log_warning("the new value of %s needs a restart, the old one stays", outcome->needs_restart.items[i]);
    for (size_t i = 0; i < outcome->changed.count; i++)
        log_info("%s has a new value", outcome->changed.items[i]);
}

static int read_and_send(const struct settings_reader_request *request, int socket)
{
    struct settings_outcome outcome = {};
    struct settings fresh = {};
    OWNED_FD fd = -1;

    if (settings_reload(request->argc, request->argv, request->current, &fresh, &outcome) != SETTINGS_RUN) {
        log_error("reload failed, nothing has changed: %s", outcome.message);
        return STATUS_BAD_SETTINGS;
    }
    report(&outcome);
    if (settings_serialize(&fresh, &fd) < 0)
        return STATUS_FAILED;
    return control_send(socket, CONTROL_SETTINGS, NULL, 0, &fd, 1) < 0 ? STATUS_FAILED : STATUS_GOOD;
}

static int read_in_child(const struct settings_reader_request *request, int socket, pid_t supervisor)
{
    if (setpgid(0, 0) < 0 || sandbox_follow_parent(supervisor, SIGKILL) < 0)
        return STATUS_FAILED;
    process_title_set("uroboros: settings reader");
    keep_only(socket, request->log_fd);
    return read_and_send(request, socket);
}

/* In the supervisor ------------------------------------------------------------------------------------------ */

/* The group first: an interpreter that sleeps in the middle of a file has nobody else to end it. */
static int bury(struct settings_reader *reader, struct event_loop *loop)
{
    int status = 0;

    event_loop_unwatch(loop, &reader->answer);
    fd_drop(&reader->answer.fd);
    kill(-reader->pid, SIGKILL);
    while (waitpid(reader->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    reader->pid = 0;
    return status;
}

int settings_reader_start(struct settings_reader *reader, struct event_loop *loop,
                          const struct settings_reader_request *request)
{
    int ends[2];
    int r = control_pair(ends);
    if (r < 0)
        return r;
    OWNED_FD ours = ends[0];
    OWNED_FD theirs = ends[1];
    pid_t supervisor = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(read_in_child(request, theirs, supervisor));
    setpgid(pid, pid); /* whichever of us is first: it must be a group before it can be ended */
    reader->pid = pid;
    reader->answer.fd = fd_take(&ours);
    r = event_loop_watch(loop, &reader->answer);
    if (r < 0)
        bury(reader, loop);
    return r;
}

static int explain(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == STATUS_BAD_SETTINGS ? -EINVAL : -ECHILD;
}

int settings_reader_take(struct settings_reader *reader, struct event_loop *loop, struct settings *ret_settings,
                         int *ret_fd)
{
    struct control_message message = {};
    int r = control_receive(reader->answer.fd, &message);
    int status = bury(reader, loop);
    if (r <= 0)
        return r < 0 ? r : explain(status);
    if (message.fd_count != 1) {
        control_close_fds(&message);
        return -EBADMSG;
    }
    OWNED_FD fd = message.fds[0];
    r = settings_deserialize(fd, ret_settings);
    if (r == 0)
        *ret_fd = fd_take(&fd);
    return r;
}

void settings_reader_stop(struct settings_reader *reader, struct event_loop *loop)
{
    if (settings_reader_is_busy(reader))
        bury(reader, loop);
}
