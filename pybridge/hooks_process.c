#include "pybridge/hooks_process.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/base/process_title.h"
#include "daemon/exchange/control.h"
#include "pybridge/app_interpreter.h"
#include "pybridge/app_log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* Without a supervisor a call gets so long to return. */
enum { ORPHAN_SECONDS = 30 };

struct hooks_process {
    struct settings settings;
    uint32_t supervisor_pid;
    int log_fd;
    PyObject *hooks; /* uroboros.server_hooks.ServerHooks */
};

/* For the signal handler, which has no argument of its own. */
static atomic_int supervisor_pid;
static atomic_int own_pid;

static void end_within(unsigned seconds)
{
    signal(SIGALRM, SIG_DFL);
    alarm(seconds);
}

/*
 * The end of this process is the supervisor's to say: a service manager that tells all processes to go must not take
 * on_exit away. SIGTERM is the parent-death signal as well, and then the closed socket ends the loop.
 *
 * What a hook has forked (multiprocessing) has inherited the handler, and is to end like any other program.
 */
static void on_terminate(int number)
{
    /* Relaxed: the numbers alone are the message. */
    if (getpid() != atomic_load_explicit(&own_pid, memory_order_relaxed)) {
        signal(number, SIG_DFL);
        raise(number);
    } else if (getppid() != atomic_load_explicit(&supervisor_pid, memory_order_relaxed)) {
        end_within(ORPHAN_SECONDS);
    }
}

static void handle_terminate(uint32_t parent)
{
    struct sigaction action = {.sa_handler = on_terminate, .sa_flags = SA_RESTART};
    atomic_store_explicit(&supervisor_pid, (int)parent, memory_order_relaxed);
    atomic_store_explicit(&own_pid, getpid(), memory_order_relaxed);
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
}

static int take_setup(struct hooks_process *process, struct control_message *message)
{
    const struct control_setup *setup = control_payload(message, sizeof *setup);
    if (message->kind != CONTROL_SETUP || message->fd_count != 2 || setup == NULL)
        return -EPROTO;
    int r = settings_deserialize(message->fds[0], &process->settings);
    if (r < 0)
        return r;
    process->supervisor_pid = setup->supervisor_pid;
    process->log_fd = message->fds[1];
    close(message->fds[0]);
    message->fd_count = 0;
    return 0;
}

static int receive_setup(struct hooks_process *process)
{
    struct control_message message;
    /* The supervisor had to leave it open for this process; what a hook starts has no business with it. */
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    int r = control_receive(CONTROL_FD, &message);
    if (r <= 0)
        return r < 0 ? r : -EPIPE;
    r = take_setup(process, &message);
    control_close_fds(&message);
    return r;
}

/* Calls ------------------------------------------------------------------------------------------------------ */

static const char *const names[CONTROL_HOOK_NAMES] = {
    [CONTROL_HOOK_NWORKERS_CHANGED] = "nworkers_changed",
    [CONTROL_HOOK_ON_STARTING] = "on_starting",
    [CONTROL_HOOK_ON_RELOAD] = "on_reload",
    [CONTROL_HOOK_WHEN_READY] = "when_ready",
    [CONTROL_HOOK_PRE_FORK] = "pre_fork",
    [CONTROL_HOOK_BORN] = "born",
    [CONTROL_HOOK_CHILD_EXIT] = "child_exit",
    [CONTROL_HOOK_PRE_EXEC] = "pre_exec",
    [CONTROL_HOOK_ON_EXIT] = "on_exit",
};

static bool call(const struct hooks_process *process, const struct control_hook *hook)
{
    const char *name = names[hook->hook];
    PyObject *done = PyObject_CallMethod(process->hooks, "call", "siIiII", name, hook->pid, hook->age, hook->status,
                                         hook->workers, hook->workers_before);
    Py_XDECREF(done);
    if (done != NULL)
        return true;
    char what[64];
    snprintf(what, sizeof what, "the hook %s failed", name);
    app_log_exception(NULL, NULL, what);
    return false;
}

/* A copy that a hook has forked, and that came back from it: there is one process that serves the socket. */
static void end_copy(const struct control_hook *hook)
{
    /* Relaxed: written before the first call, by this thread. */
    if (getpid() == atomic_load_explicit(&own_pid, memory_order_relaxed))
        return;
    log_warning("a process that %s has forked returned from it, it ends", names[hook->hook]);
    _exit(APP_EXIT_CLEAN);
}

static int on_hook(const struct hooks_process *process, const struct control_message *message)
{
    const struct control_hook *hook = control_payload(message, sizeof *hook);
    if (hook == NULL || hook->hook >= CONTROL_HOOK_NAMES)
        return -EPROTO;
    const struct control_hook_done done = {.raised = call(process, hook) ? 0 : 1};
    end_copy(hook);
    if (hook->hook == CONTROL_HOOK_BORN)
        return 0;
    return control_send(CONTROL_FD, CONTROL_HOOK_DONE, &done, sizeof done, NULL, 0);
}

static int receive(struct control_message *message)
{
    int r;
    do {
        Py_BEGIN_ALLOW_THREADS r = control_receive(CONTROL_FD, message);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR || r == -EBADMSG);
    return r;
}

/* 1: there is more to come; else this is over. */
static int handle(const struct hooks_process *process, const struct control_message *message)
{
    switch (message->kind) {
    case CONTROL_HOOK:
        return on_hook(process, message) < 0 ? 0 : 1;
    case CONTROL_LOG:
        if (message->fd_count > 0)
            dup3(message->fds[0], process->log_fd, O_CLOEXEC);
        return 1;
    case CONTROL_DRAIN:
    case CONTROL_STOP:
        return 0;
    default:
        return 1;
    }
}

/* Signals are heard between calls, so that handlers of the file run. */
static void serve(const struct hooks_process *process)
{
    const struct control_ready ready = {};
    struct control_message message;
    int goes_on = control_send(CONTROL_FD, CONTROL_READY, &ready, sizeof ready, NULL, 0) == 0 ? 1 : 0;
    while (goes_on > 0 && receive(&message) > 0) {
        goes_on = handle(process, &message);
        control_close_fds(&message);
    }
    /* Closed, as by an upgrade: nobody else sets a limit to what the file does at its end. */
    if (goes_on > 0)
        end_within(ORPHAN_SECONDS);
}

/* Life ------------------------------------------------------------------------------------------------------- */

static int load(struct hooks_process *process)
{
    const struct settings *settings = &process->settings;
    process->hooks = app_interpreter_call("uroboros.server_hooks", "load",
                                          Py_BuildValue("(NIN)", app_interpreter_text(settings->config),
                                                        process->supervisor_pid, app_interpreter_settings(settings)));
    return process->hooks != NULL ? 0 : -1;
}

static int load_and_serve(struct hooks_process *process)
{
    if (app_interpreter_prepare(&process->settings, process->log_fd) < 0) {
        app_log_exception(NULL, NULL, "the interpreter cannot be prepared");
        return APP_EXIT_BOOT_FAILED;
    }
    if (load(process) < 0) {
        app_log_exception(NULL, NULL, "the settings file failed");
        return APP_EXIT_BOOT_FAILED;
    }
    serve(process);
    return APP_EXIT_CLEAN;
}

int hooks_process_main(void)
{
    struct hooks_process process = {.log_fd = -1};
    int r = receive_setup(&process);
    if (r < 0) {
        log_critical("the process for hooks cannot take over from the supervisor: %s", strerror(-r));
        return APP_EXIT_BOOT_FAILED;
    }
    log_init("hooks", process.settings.loglevel, process.log_fd);
    process_title_set("uroboros: hooks");
    handle_terminate(process.supervisor_pid);
    int status = load_and_serve(&process);
    app_interpreter_finish(false);
    Py_CLEAR(process.hooks);
    return status;
}
