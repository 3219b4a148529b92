#include "pybridge/app_template.h"

#include "daemon/base/log.h"
#include "daemon/exchange/control.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned count_threads(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return 1;
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.' ? 1 : 0;
    closedir(tasks);
    return count;
}

static void warn_of_threads(void)
{
    unsigned count = count_threads();
    if (count > 1)
        log_warning("preload_app: the application has started %u threads while it was imported; they do not run in the "
                    "processes that serve. Start them at the first request, or in the hook post_fork",
                    count - 1);
}

/* 0 in the copy, in the template its pid or a negative errno. */
static pid_t fork_twice(const int report[2])
{
    PyOS_BeforeFork();
    pid_t between = fork();
    if (between == 0) {
        pid_t copy = fork();
        if (copy == 0) {
            PyOS_AfterFork_Child();
            return 0;
        }
        copy = copy < 0 ? -errno : copy;
        ssize_t written = write(report[1], &copy, sizeof copy);
        _exit(written == sizeof copy ? 0 : 1);
    }
    pid_t copy = between < 0 ? -errno : -ECHILD;
    PyOS_AfterFork_Parent();
    if (between < 0)
        return copy;
    /* Once it has ended the copy is the supervisor's child, and what it reported is in the pipe. */
    while (waitpid(between, NULL, 0) < 0 && errno == EINTR)
        continue;
    return read(report[0], &copy, sizeof copy) == sizeof copy ? copy : -ECHILD;
}

static pid_t make_copy(void)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    pid_t copy = fork_twice(report);
    close(report[0]);
    close(report[1]);
    return copy;
}

/* The places where a process that was executed finds them. */
static void take_descriptors(const struct control_message *message)
{
    dup2(message->fds[0], CONTROL_FD);
    if (message->fd_count < 3)
        return;
    dup2(message->fds[1], STDOUT_FILENO);
    dup2(message->fds[2], STDERR_FILENO);
}

/* Whether this is the copy. */
static bool on_fork(const struct control_message *message)
{
    struct control_forked forked = {.pid = -EINVAL};
    if (message->fd_count > 0)
        forked.pid = make_copy();
    if (forked.pid == 0) {
        take_descriptors(message);
        return true;
    }
    /* One that cannot be told of it is gone; the next look at the socket says so. */
    if (control_send(CONTROL_FD, CONTROL_FORKED, &forked, sizeof forked, NULL, 0) < 0)
        log_debug("nobody hears of the copy");
    return false;
}

static int receive(struct control_message *message)
{
    int r;
    Py_BEGIN_ALLOW_THREADS r = control_receive(CONTROL_FD, message);
    Py_END_ALLOW_THREADS return r;
}

/* Whether there is more to come. */
static bool handle(const struct control_message *message, int log_fd, enum app_template_end *end)
{
    switch (message->kind) {
    case CONTROL_FORK:
        if (!on_fork(message))
            return true;
        *end = APP_TEMPLATE_COPY;
        return false;
    case CONTROL_LOG:
        if (message->fd_count > 0)
            dup3(message->fds[0], log_fd, O_CLOEXEC);
        return true;
    case CONTROL_DRAIN:
    case CONTROL_STOP:
        return false;
    default:
        return true;
    }
}

enum app_template_end app_template_run(int log_fd)
{
    const struct control_ready ready = {};
    struct control_message message;
    enum app_template_end end = APP_TEMPLATE_OVER;
    bool goes_on = true;

    warn_of_threads();
    int r = control_send(CONTROL_FD, CONTROL_READY, &ready, sizeof ready, NULL, 0);
    while (r >= 0 && goes_on) {
        r = receive(&message);
        if (r == -EINTR || r == -EBADMSG) {
            r = 1;
            continue;
        }
        if (r <= 0)
            break;
        goes_on = handle(&message, log_fd, &end);
        control_close_fds(&message);
    }
    return end;
}
