#include "daemon/supervisor/child.h"

#include "daemon/base/log.h"
#include "daemon/base/owned.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_FDS = CONTROL_FD + 1, NEVER_INHERITED_FD = 16, CHILD_SEND_BUFFER_BYTES = 1 << 20 };
static_assert(NEVER_INHERITED_FD > CHILD_FDS, "the report of a failed start must not be in the way");

/* In the child, between fork and exec ----------------------------------------------------------------------- */

struct birth {
    const struct child_launch *launch;
    pid_t supervisor;
    int control;
};

static int put_at(int fd, int number)
{
    if (fd == number)
        return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
    return dup2(fd, number) < 0 ? -errno : 0;
}

static int arrange_descriptors(const struct birth *birth)
{
    const int *output = birth->launch->output;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int r = null < 0 ? -errno : put_at(null, STDIN_FILENO);
    if (r == 0 && output[0] >= 0)
        r = put_at(output[0], STDOUT_FILENO);
    if (r == 0 && output[1] >= 0)
        r = put_at(output[1], STDERR_FILENO);
    if (r == 0)
        r = put_at(birth->control, CONTROL_FD);
    if (r < 0)
        return r;
    /* At exec, not now: the report of a failure still has to go out. */
    if (close_range(CHILD_FDS, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    int kept = birth->launch->kept;
    return kept > CONTROL_FD && fcntl(kept, F_SETFD, 0) < 0 ? -errno : 0;
}

/* A terminal sends INT, QUIT and HUP to the whole group; only the supervisor decides what they mean. */
static int reset_signals([[maybe_unused]] const struct birth *birth)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    sigset_t none;

    for (int number = 1; number < SIGRTMAX; number++)
        sigaction(number, &plain, NULL);
    sigaction(SIGINT, &ignored, NULL);
    sigaction(SIGQUIT, &ignored, NULL);
    sigaction(SIGHUP, &ignored, NULL);
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

static int enter_directory(const struct birth *birth)
{
    const char *directory = birth->launch->directory;
    return directory != NULL && chdir(directory) < 0 ? -errno : 0;
}

static int become_user(const struct birth *birth)
{
    return birth->launch->ids != NULL ? sandbox_become(birth->launch->ids) : 0;
}

static int follow_supervisor(const struct birth *birth)
{
    return sandbox_follow_parent(birth->supervisor, SIGTERM);
}

static int deny_io_uring(const struct birth *birth)
{
    return birth->launch->deny_io_uring ? sandbox_lock_app() : 0;
}

/* In this order: descriptors before the user who may not open them, the user before the signal that a change of user
 * would clear. */
static const struct {
    int (*run)(const struct birth *birth);
    const char *what;
} birth_steps[] = {
    {arrange_descriptors, "arrange its descriptors"}, {reset_signals, "reset its signals"},
    {enter_directory, "enter its directory"},         {become_user, "become its user"},
    {follow_supervisor, "follow the supervisor"},     {deny_io_uring, "install its system call filter"},
};

/* The first directory on the way to `path` that this user may not pass, as a length of `path`; 0: none. */
static size_t closed_directory(const char *path)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t length = (size_t)(slash - path);
        if (length >= sizeof part)
            return 0;
        memcpy(part, path, length);
        part[length] = '\0';
        if (access(part, X_OK) < 0 && errno == EACCES)
            return length;
    }
    return 0;
}

static void explain_missing(const char *path, char *why, size_t bytes)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0)
        snprintf(why, bytes, "%.160s is a broken link: it leads to %.*s, which is not there", path,
                 length < 160 ? (int)length : 160, target);
    else if (access(path, F_OK) == 0)
        snprintf(why, bytes, "%.160s names an interpreter in its first line that is not there", path);
    else
        snprintf(why, bytes, "%.300s is not there", path);
}

static void explain_denied(const char *path, char *why, size_t bytes)
{
    struct stat status;
    size_t closed = closed_directory(path);
    if (closed > 0)
        snprintf(why, bytes, "%.160s cannot be reached: uid %u may not search the directory %.*s", path,
                 (unsigned)getuid(), closed < 160 ? (int)closed : 160, path);
    else if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        snprintf(why, bytes, "%.300s is a directory, not a program", path);
    else
        snprintf(why, bytes, "%.300s is not executable for uid %u", path, (unsigned)getuid());
}

static void explain_exec(const char *path, int error, char *why, size_t bytes)
{
    if (error == ENOENT || error == ENOTDIR || error == ELOOP)
        explain_missing(path, why, bytes);
    else if (error == EACCES)
        explain_denied(path, why, bytes);
    else if (error == ENOEXEC)
        snprintf(why, bytes, "%.300s is no program for this machine", path);
    else
        snprintf(why, bytes, "cannot run %.300s: %s", path, strerror(error));
}

/* Runs the steps and the program; comes back only when one of them failed. */
static void be_born(const struct birth *birth, char *why, size_t bytes)
{
    const struct child_launch *launch = birth->launch;
    for (size_t i = 0; i < sizeof birth_steps / sizeof birth_steps[0]; i++) {
        int r = birth_steps[i].run(birth);
        if (r < 0) {
            snprintf(why, bytes, "a new process cannot %s: %s", birth_steps[i].what, strerror(-r));
            return;
        }
    }
    execve(launch->path, launch->argv, launch->envp);
    explain_exec(launch->path, errno, why, bytes);
}

_Noreturn static void child_main(const struct birth *birth, int report)
{
    char why[CHILD_TEXT_BYTES] = "";
    be_born(birth, why, sizeof why);
    ssize_t written = write(report, why, strlen(why) + 1);
    (void)written;
    _exit(1);
}

/* In the supervisor ------------------------------------------------------------------------------------------ */

/* A pipe that ends silently when the program runs, and else brings the reason. */
static int report_pipe(int ret_fds[2])
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    int moved = fcntl(fds[1], F_DUPFD_CLOEXEC, NEVER_INHERITED_FD);
    int r = moved < 0 ? -errno : 0;
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return r;
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = moved;
    return 0;
}

/* 0 when the program runs, -ENOEXEC with the reason in `why` when not. */
static int await_exec(int report, char why[CHILD_TEXT_BYTES])
{
    ssize_t length;
    do
        length = read(report, why, CHILD_TEXT_BYTES - 1);
    while (length < 0 && errno == EINTR);
    if (length <= 0)
        return 0;
    why[length] = '\0';
    return -ENOEXEC;
}

static int fork_and_exec(const struct birth *birth, pid_t *ret_pid, char why[CHILD_TEXT_BYTES])
{
    int report[2] = {-1, -1};
    int r = report_pipe(report);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid == 0)
        child_main(birth, report[1]);
    r = pid < 0 ? -errno : 0;
    close(report[1]);
    if (r == 0)
        r = await_exec(report[0], why);
    close(report[0]);
    if (r < 0 && pid > 0)
        waitpid(pid, NULL, 0);
    if (r == 0)
        *ret_pid = pid;
    return r;
}

static int adopt(struct child *child, struct event_loop *loop, pid_t pid, int control)
{
    child->pid = pid;
    child->deaf = false;
    child->control.fd = control;
    child->exit.fd = pidfd_open(pid, 0);
    int r = child->exit.fd < 0 ? -errno : event_loop_watch(loop, &child->exit);
    return r < 0 ? r : event_loop_watch(loop, &child->control);
}

static void disown(struct child *child, struct event_loop *loop)
{
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    event_loop_unwatch(loop, &child->exit);
    event_loop_unwatch(loop, &child->control);
    fd_drop(&child->exit.fd);
    child->control.fd = -1;
    child->pid = 0;
}

static int open_control(int ret_ends[2])
{
    int r = control_pair(ret_ends);
    if (r < 0)
        return r;
    /* Room for the greetings of a whole generation at once; what the system does not grant is not missed. */
    const int bytes = CHILD_SEND_BUFFER_BYTES;
    setsockopt(ret_ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return 0;
}

static int spawn(struct child *child, struct event_loop *loop, const struct child_launch *launch,
                 char why[CHILD_TEXT_BYTES])
{
    int ends[2];
    pid_t pid = 0;
    int r = open_control(ends);
    if (r < 0)
        return r;
    OWNED_FD ours = ends[0];
    OWNED_FD theirs = ends[1];

    const struct birth birth = {.launch = launch, .supervisor = getpid(), .control = theirs};
    r = fork_and_exec(&birth, &pid, why);
    if (r < 0)
        return r;
    r = adopt(child, loop, pid, ours);
    if (r < 0) {
        disown(child, loop);
        return r;
    }
    (void)fd_take(&ours);
    return 0;
}

int child_spawn(struct child *child, struct event_loop *loop, const struct child_launch *launch,
                char why[CHILD_TEXT_BYTES])
{
    assert(child->pid == 0);
    why[0] = '\0';
    int r = spawn(child, loop, launch, why);
    if (r < 0 && why[0] == '\0')
        snprintf(why, CHILD_TEXT_BYTES, "cannot start a process: %s", strerror(-r));
    return r;
}

/* Copies ----------------------------------------------------------------------------------------------------- */

int child_begin_copy(struct child *child, const struct child *original, const int output[2])
{
    int ends[2];
    assert(child->pid == 0);
    int r = open_control(ends);
    if (r < 0)
        return r;
    OWNED_FD ours = ends[0];
    OWNED_FD theirs = ends[1];
    const int fds[] = {theirs, output[0], output[1]};
    r = control_send(original->control.fd, CONTROL_FORK, NULL, 0, fds, output[0] >= 0 ? 3 : 1);
    if (r < 0)
        return r;
    child->control.fd = fd_take(&ours);
    return 0;
}

bool child_may_be(pid_t pid)
{
    siginfo_t info = {};
    return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

int child_end_copy(struct child *child, struct event_loop *loop, pid_t pid)
{
    int control = child->control.fd;
    child->control.fd = -1;
    return child_adopt(child, loop, pid, control);
}

void child_give_up_copy(struct child *child)
{
    assert(child->pid == 0);
    fd_drop(&child->control.fd);
}

int child_adopt(struct child *child, struct event_loop *loop, pid_t pid, int control)
{
    assert(child->pid == 0);
    int r = adopt(child, loop, pid, control);
    if (r == 0)
        return 0;
    disown(child, loop);
    close(control);
    return r;
}

void child_send(struct child *child, enum control_kind kind, const void *payload, size_t bytes, const int *fds,
                size_t fd_count)
{
    if (child->pid == 0 || child->deaf)
        return;
    int r = control_send(child->control.fd, kind, payload, bytes, fds, fd_count);
    /* A child that is ending has closed its end; its pidfd says the rest. */
    if (r == 0 || r == -EPIPE || r == -ECONNRESET)
        return;
    child->deaf = true;
    log_error("process %d does not take messages (%s), it is killed", (int)child->pid, strerror(-r));
    child_kill(child, SIGKILL);
}

void child_kill(struct child *child, int signal)
{
    if (child->pid != 0)
        pidfd_send_signal(child->exit.fd, signal, NULL, 0);
}

void child_end_control(struct child *child, struct event_loop *loop)
{
    event_loop_unwatch(loop, &child->control);
}

int child_bury(struct child *child, struct event_loop *loop)
{
    int status = 0;
    event_loop_unwatch(loop, &child->exit);
    event_loop_unwatch(loop, &child->control);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    fd_drop(&child->exit.fd);
    fd_drop(&child->control.fd);
    child->pid = 0;
    return status;
}

void child_describe_end(int status, char text[CHILD_TEXT_BYTES])
{
    if (WIFSIGNALED(status))
        snprintf(text, CHILD_TEXT_BYTES, "was killed by signal %d (%s)%s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
    else
        snprintf(text, CHILD_TEXT_BYTES, "exited with status %d", WEXITSTATUS(status));
}
