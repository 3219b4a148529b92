#include "pybridge/app_main.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/base/process_title.h"
#include "daemon/base/sandbox.h"
#include "pybridge/app_copy.h"
#include "pybridge/app_interpreter.h"
#include "pybridge/app_log.h"
#include "pybridge/app_template.h"
#include "pybridge/workers/worker_class.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

/* An orphan gets so long to end what it has begun. */
enum { ORPHAN_SECONDS = 30 };

/* For the signal handler, which has no argument of its own. */
static atomic_int own_pid;

/*
 * SIGTERM is how others than the supervisor ask a process to go: the supervisor hears of it and starts a successor,
 * then DRAIN comes as always. It is also the parent-death signal: then nobody hears, and nobody would end a process
 * whose application hangs.
 *
 * What the application has forked (multiprocessing) has inherited the handler, and is to end like any other program.
 */
static void on_terminate(int number)
{
    int saved = errno;
    /* Relaxed: the number alone is the message. */
    if (getpid() != atomic_load_explicit(&own_pid, memory_order_relaxed)) {
        signal(number, SIG_DFL);
        raise(number);
    } else if (control_send(CONTROL_FD, CONTROL_RECYCLE, NULL, 0, NULL, 0) < 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(ORPHAN_SECONDS);
    }
    errno = saved;
}

static void handle_terminate(void)
{
    struct sigaction action = {.sa_handler = on_terminate, .sa_flags = SA_RESTART};
    atomic_store_explicit(&own_pid, getpid(), memory_order_relaxed);
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
}

/* max_requests, and up to the jitter more, so that processes born together do not leave together. */
static uint64_t choose_requests_max(const struct settings *settings)
{
    if (settings->max_requests <= 0)
        return 0;
    uint64_t random = 0;
    if (settings->max_requests_jitter > 0 && getrandom(&random, sizeof random, GRND_NONBLOCK) == sizeof random)
        random %= (uint64_t)settings->max_requests_jitter + 1;
    return (uint64_t)settings->max_requests + random;
}

static int join_supervisor(struct app_process *process, int *ret_settings_fd, int *ret_log_fd)
{
    /* The supervisor had to leave it open for this process; what the application starts has no business with it. */
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    int r = app_exchange_create(CONTROL_FD, &process->exchange, ret_settings_fd, ret_log_fd);
    if (r < 0)
        log_critical("an app process cannot take over from the supervisor: %s", strerror(-r));
    return r;
}

static bool is_template(const struct app_process *process)
{
    return (app_exchange_setup(process->exchange)->flags & CONTROL_TEMPLATE) != 0;
}

static void take_identity(struct app_process *process, int log_fd)
{
    uint32_t index = app_exchange_setup(process->exchange)->index;
    app_log_init(&process->settings, index, log_fd);
    if (is_template(process))
        process_title_set("uroboros: template");
    else
        process_title_set("uroboros: app %u", index);
    process->requests_max = choose_requests_max(&process->settings);
    app_exchange_set_spin(process->exchange, process->settings.spin != SPIN_SLEEP,
                          process->settings.spin == SPIN_ADAPTIVE, (uint32_t)process->settings.workers);
}

/* What the supervisor has to say about this process. */
static int receive_setup(struct app_process *process, int *ret_log_fd)
{
    OWNED_FD settings_fd = -1;
    int log_fd;
    int r = join_supervisor(process, &settings_fd, &log_fd);
    if (r < 0)
        return r;
    r = settings_deserialize(settings_fd, &process->settings);
    if (r < 0) {
        log_critical("an app process cannot read its settings: %s", strerror(-r));
        return r;
    }
    take_identity(process, log_fd);
    *ret_log_fd = log_fd;
    return 0;
}

/* The same for a copy of a template: the settings are those that the template has read, and the error log stays where
 * the interpreter knows it. A parent-death signal is not inherited. */
static int receive_copys_setup(struct app_process *process, int log_fd)
{
    OWNED_FD settings_fd = -1;
    int new_log_fd;
    app_exchange_destroy(process->exchange);
    process->exchange = NULL;
    int r = join_supervisor(process, &settings_fd, &new_log_fd);
    if (r < 0)
        return r;
    app_exchange_put_log(process->exchange, log_fd);
    take_identity(process, log_fd);
    return sandbox_follow_parent((pid_t)app_exchange_setup(process->exchange)->supervisor_pid, SIGTERM);
}

/* ---- the Python part ---- */

static int status_of(PyObject *load_error)
{
    PyObject *status = PyObject_GetAttrString(load_error, "status");
    long number = status != NULL ? PyLong_AsLong(status) : -1;
    Py_XDECREF(status);
    PyErr_Clear();
    return number >= 0 ? (int)number : APP_EXIT_LOAD_FAILED;
}

/* A LoadError says all in its text; the exception behind it, if there is one, is shown once. The exit status. */
static int report_load_error(const struct app_process *process)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = PyObject_Str(value);
    const char *words = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    log_critical("the application cannot be loaded: %s", words != NULL ? words : "(no text)");
    PyErr_Clear();
    PyObject *cause = PyException_GetCause(value);
    if (cause != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(cause), cause);
        app_log_exception(process, NULL, "the exception was");
        Py_DECREF(cause);
    }
    int status = status_of(value);
    Py_XDECREF(text);
    Py_DECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return status;
}

static int load_application(struct app_process *process)
{
    const struct settings *settings = &process->settings;
    PyObject *found = app_interpreter_call(
        "uroboros.loader", "load",
        Py_BuildValue("(NO)", app_interpreter_text(settings->wsgi_app), settings->factory ? Py_True : Py_False));
    int is_asgi;
    if (found == NULL || !PyArg_ParseTuple(found, "Op", &process->application, &is_asgi)) {
        Py_XDECREF(found);
        return -1;
    }
    Py_INCREF(process->application);
    process->is_asgi = is_asgi;
    Py_DECREF(found);
    return 0;
}

/* ---- hooks of a Python settings file ---- */

static bool wants_request_hooks(const struct settings *settings)
{
    return settings->pre_request != 0 || settings->post_request != 0;
}

static int make_hooks(struct app_process *process)
{
    const struct settings *settings = &process->settings;
    bool any = settings->post_fork || settings->post_worker_init || settings->worker_int || settings->worker_abort ||
               settings->worker_exit || wants_request_hooks(settings);
    if (settings->config == NULL || !any)
        return 0;
    process->hooks = app_interpreter_call("uroboros.hooks", "load",
                                          Py_BuildValue("(NIN)", app_interpreter_text(settings->config),
                                                        app_exchange_setup(process->exchange)->age,
                                                        app_interpreter_settings(settings)));
    return process->hooks != NULL ? 0 : -1;
}

/* Before anything starts a thread: SIGABRT is for the one that waits for it, in all others it is blocked. */
static int await_abort(const struct app_process *process)
{
    if (process->hooks == NULL || process->settings.worker_abort == 0)
        return 0;
    PyObject *done = PyObject_CallMethod(process->hooks, "await_abort", NULL);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* `line` is the setting: 0 when the file has no such function. */
static int run_hook(const struct app_process *process, const char *name, int64_t line)
{
    if (process->hooks == NULL || line == 0)
        return 0;
    PyObject *application = process->application != NULL ? process->application : Py_None;
    PyObject *done = PyObject_CallMethod(process->hooks, "run", "sO", name, application);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static int wrap_application(struct app_process *process)
{
    const char *wrapper = process->is_asgi ? "around_asgi_requests" : "around_requests";
    if (process->hooks == NULL || !wants_request_hooks(&process->settings))
        return 0;
    PyObject *wrapped = PyObject_CallMethod(process->hooks, wrapper, "O", process->application);
    if (wrapped == NULL)
        return -1;
    Py_SETREF(process->application, wrapped);
    return 0;
}

/* ---- life ---- */

static int boot_failed(const struct app_process *process, const char *what)
{
    app_log_exception(process, NULL, what);
    return APP_EXIT_BOOT_FAILED;
}

static int serve(struct app_process *process)
{
    process->worker_class = worker_class_choose(&process->settings, process->is_asgi);
    if (process->worker_class == NULL)
        return boot_failed(process, "no worker class fits");
    if (run_hook(process, "post_worker_init", process->settings.post_worker_init) < 0)
        return boot_failed(process, "the hook post_worker_init failed");
    if (wrap_application(process) < 0)
        return boot_failed(process, "the hooks around requests cannot be set up");
    int status = process->worker_class->run(process);
    if (status < 0)
        return boot_failed(process, "the worker failed");
    return status;
}

static void run_leaving_hooks(const struct app_process *process)
{
    if (app_exchange_stopping(process->exchange) && run_hook(process, "worker_int", process->settings.worker_int) < 0)
        app_log_exception(process, NULL, "the hook worker_int failed");
    if (run_hook(process, "worker_exit", process->settings.worker_exit) < 0)
        app_log_exception(process, NULL, "the hook worker_exit failed");
}

/* A copy of a template has its application already. */
static int load_and_serve(struct app_process *process)
{
    if (make_hooks(process) < 0 || await_abort(process) < 0 ||
        run_hook(process, "post_fork", process->settings.post_fork) < 0)
        return boot_failed(process, "the hooks of the settings file failed");
    if (process->application == NULL && load_application(process) < 0)
        return report_load_error(process);
    int status = serve(process);
    run_leaving_hooks(process);
    return status;
}

/* Comes back in the template, and in each of its copies. */
static int load_and_be_copied(struct app_process *process, int log_fd)
{
    if (load_application(process) < 0)
        return report_load_error(process);
    PyObject *done = app_interpreter_call("uroboros.boot", "freeze", PyTuple_New(0));
    Py_XDECREF(done);
    if (done == NULL)
        return boot_failed(process, "the template cannot be frozen");
    if (app_template_run(log_fd) == APP_TEMPLATE_OVER)
        return APP_EXIT_CLEAN;
    handle_terminate();
    if (receive_copys_setup(process, log_fd) < 0)
        _exit(APP_EXIT_BOOT_FAILED);
    return load_and_serve(process);
}

int app_main(PyObject *module)
{
    struct app_process process = {.module = module};
    int log_fd;
    if (receive_setup(&process, &log_fd) < 0)
        return APP_EXIT_BOOT_FAILED;
    handle_terminate();
    int status = APP_EXIT_BOOT_FAILED;
    if (app_interpreter_prepare(&process.settings, log_fd) < 0 || app_copy_watch(&process) < 0)
        boot_failed(&process, "the interpreter cannot be prepared");
    else if (is_template(&process))
        status = load_and_be_copied(&process, log_fd);
    else
        status = load_and_serve(&process);
    app_interpreter_finish(!app_exchange_stopping(process.exchange));
    /* The caller ends the process; threads that still run may use the rest of it until then. */
    Py_CLEAR(process.application);
    Py_CLEAR(process.hooks);
    return status;
}
