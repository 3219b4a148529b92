#include "daemon/supervisor/boot.h"

#include "config/settings_transfer.h"
#include "daemon/base/log.h"
#include "daemon/base/owned.h"
#include "daemon/base/process_title.h"
#include "daemon/supervisor/daemonize.h"
#include "daemon/supervisor/dev_certificate.h"
#include "daemon/supervisor/handover.h"
#include "daemon/supervisor/listener_plan.h"
#include "daemon/supervisor/pid_file.h"
#include "daemon/supervisor/server_shape.h"
#include "daemon/supervisor/socket_names.h"
#include "daemon/supervisor/supervisor_state.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...)
{
    char text[LISTENERS_WHY_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_critical("%s", text);
    return -1;
}

/* A child's descriptors would land on 0 to 2 if they were free, and be taken for its standard streams. */
static int open_standard_streams([[maybe_unused]] struct supervisor *supervisor)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return fail("cannot open /dev/null: %s", strerror(errno));
    close(fd);
    return 0;
}

static int find_directory(struct supervisor *supervisor)
{
    ssize_t length = readlink("/proc/self/exe", supervisor->directory, sizeof supervisor->directory - 1);
    if (length < 0)
        return fail("cannot read /proc/self/exe: %s; is /proc mounted?", strerror(errno));
    supervisor->directory[length] = '\0';
    memcpy(supervisor->program, supervisor->directory, (size_t)length + 1);
    char *slash = strrchr(supervisor->directory, '/');
    if (slash != NULL)
        *slash = '\0';
    return 0;
}

/* What the program before this one has, whether we are to take its place or only try. */
static const struct handover *before_us(const struct supervisor *supervisor)
{
    return supervisor->handed != NULL ? supervisor->handed : supervisor->tried;
}

static int hear_service_manager(struct supervisor *supervisor)
{
    const struct handover *before = before_us(supervisor);
    service_manager_init(&supervisor->manager);
    if (before != NULL)
        service_manager_adopt_sockets(&supervisor->manager, (int)before->inherited_count, before->inherited_names);
    return 0;
}

static int enter_directory(struct supervisor *supervisor)
{
    const char *directory = supervisor->settings.chdir;
    umask((mode_t)supervisor->settings.umask);
    if (directory != NULL && chdir(directory) < 0)
        return fail("chdir = %s: %s", directory, strerror(errno));
    return 0;
}

static int go_to_background(struct supervisor *supervisor)
{
    if (!supervisor->settings.daemon || supervisor->settings.check_config || supervisor->handed != NULL)
        return 0;
    int r = daemonize_begin(&supervisor->launcher);
    return r < 0 ? fail("cannot go into the background: %s", strerror(-r)) : 0;
}

int boot_hold_signals(struct supervisor *supervisor)
{
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &supervisor->held_signals, NULL) < 0)
        return fail("cannot hold signals: %s", strerror(errno));
    return 0;
}

static int resolve_ids(struct supervisor *supervisor)
{
    const struct settings *settings = &supervisor->settings;
    int r = sandbox_resolve_ids(settings->user, settings->group, settings->initgroups, &supervisor->ids);
    if (r == -ENOENT)
        return fail("user = %s: there is no such user", settings->user);
    if (r == -ESRCH)
        return fail("group = %s: there is no such group", settings->group);
    if (r == -EPERM)
        return fail("user and group: only root may become another user");
    if (r < 0)
        return fail("user and group: %s", strerror(-r));
    if (geteuid() == 0 && supervisor->ids.uid == 0)
        log_warning("running as root: name a user with `user`, so that the application is not root as well");
    return 0;
}

static void raise_limit(int resource, const char *name)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        log_warning("cannot raise the limit %s: %s", name, strerror(errno));
}

/* Children inherit them. The memory lock is for the rings, see the messages of the I/O process. */
static int raise_limits([[maybe_unused]] struct supervisor *supervisor)
{
    raise_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE");
    raise_limit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK");
    return 0;
}

/* There is a socket for each ring, and connections wait in every one of them. */
static void keep_rings(struct supervisor *supervisor)
{
    int64_t rings = before_us(supervisor)->rings;
    if (supervisor->settings.rings != rings)
        log_warning("the new value of rings needs a restart, %lld stay", (long long)rings);
    supervisor->settings.rings = rings;
}

static int choose_shape(struct supervisor *supervisor)
{
    char why[CHILD_TEXT_BYTES];
    if (before_us(supervisor) != NULL)
        keep_rings(supervisor);
    if (server_shape_compute(&supervisor->settings, &supervisor->shape, why, sizeof why) < 0)
        return fail("%s", why);
    return 0;
}

static int make_development_certificate(struct supervisor *supervisor)
{
    const struct settings *settings = &supervisor->settings;
    char why[DEV_CERTIFICATE_WHY_BYTES];
    bool made;

    if (!settings->dev_tls)
        return 0;
    const char *certificate = settings->certfile.items[0];
    if (dev_certificate_ensure(certificate, settings->keyfile.items[0], &made, why) < 0)
        return fail("%s", why);
    log_info("development certificate %s: %s; browsers warn, because nobody else has signed it; clients trust it when "
             "told to, as in curl --cacert",
             made ? "made" : "used", certificate);
    return 0;
}

static int open_with(struct supervisor *supervisor, const struct listener_plan *plan, struct handover *untaken)
{
    char why[LISTENERS_WHY_BYTES];
    const struct settings *settings = &supervisor->settings;
    const struct listeners_request request = {
        .bind = &plan->addresses,
        .tls_contexts = plan->tls_contexts,
        .proxies = plan->proxies,
        .tls_context_of_inherited = plan->tls_context_of_all,
        .protocols = plan->protocols,
        .http2_cleartext = settings->http2_cleartext != HTTP2_CLEARTEXT_OFF,
        .backlog = settings->backlog < INT_MAX ? (int)settings->backlog : INT_MAX,
        .rings = supervisor->shape.rings,
        .reuse_port = settings->reuse_port,
        .ids = &supervisor->ids,
        .inherited_first = SERVICE_MANAGER_FIRST_FD,
        .inherited_count = supervisor->manager.listen_count,
        .inherited_names = supervisor->manager.listen_names,
        .handed = untaken,
        .is_trial = supervisor->tried != NULL,
    };
    return listeners_open(&supervisor->listeners, &request, why) < 0 ? fail("%s", why) : 0;
}

static int open_addresses(struct supervisor *supervisor, const struct listener_plan *plan)
{
    if (before_us(supervisor) == NULL)
        return open_with(supervisor, plan, NULL);
    struct handover *untaken = handover_copy(before_us(supervisor));
    int r = untaken == NULL ? fail("no memory") : open_with(supervisor, plan, untaken);
    handover_destroy(untaken);
    return r;
}

static void warn_of_unused(const struct supervisor *supervisor)
{
    const struct service_manager *manager = &supervisor->manager;
    for (int i = 0; i < manager->listen_count; i++) {
        char name[BIND_ADDRESS_TEXT_BYTES], address[LISTENER_TEXT_BYTES];
        if ((supervisor->listeners.inherited_used & UINT64_C(1) << i) != 0)
            continue;
        socket_names_at(manager->listen_names, manager->listen_count, i, name, sizeof name);
        listeners_describe_socket(SERVICE_MANAGER_FIRST_FD + i, address);
        log_warning(
            "the service manager has opened the socket %s, and no address of the settings stands for it: whoever "
            "connects there waits in vain. Name it (fd://%s), or take it out of the socket unit",
            address, name);
    }
}

/* Those that the running program does not have: ours for a moment, so that what is in the way is known in time. */
static int try_addresses(struct supervisor *supervisor, const struct listener_plan *plan)
{
    int r = supervisor->tried != NULL ? open_addresses(supervisor, plan) : 0;
    listeners_deinit(&supervisor->listeners);
    return r;
}

static int open_listeners(struct supervisor *supervisor)
{
    char why[CERTIFICATE_WHY_BYTES];
    struct listener_plan plan;
    const struct settings *settings = &supervisor->settings;

    if (supervisor->handed != NULL)
        supervisor->certificates.keys.keys = supervisor->handed->tickets;
    if (listener_plan_make(settings, settings->arena, &plan, why) < 0 ||
        certificate_keeper_init(supervisor, &plan, why) < 0)
        return fail("%s", why);
    if (settings->check_config)
        return try_addresses(supervisor, &plan);
    if (open_addresses(supervisor, &plan) < 0)
        return -1;
    warn_of_unused(supervisor);
    return 0;
}

/* Where all run as one user an application could else open the keys among our descriptors, in /proc. */
static int hide_keys(struct supervisor *supervisor)
{
    bool has_keys = supervisor->certificates.count > 0;
    if (has_keys && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail("cannot hide keys from other processes: %s", strerror(errno));
    return 0;
}

/* One that is another than the running program's is written as at a start, and taken back. */
static bool tries_pid_file(const struct supervisor *supervisor)
{
    char absolute[PATH_MAX];
    pid_file_absolute(supervisor->settings.pidfile, absolute);
    return supervisor->tried != NULL && strcmp(supervisor->tried->pid_file, absolute) != 0;
}

static int write_pid_file(struct supervisor *supervisor)
{
    const char *path = supervisor->settings.pidfile;
    pid_t other = 0;
    if (path == NULL || (supervisor->settings.check_config && !tries_pid_file(supervisor)))
        return 0;
    int r = pid_file_create(path, &other);
    if (r == -EEXIST)
        return fail("pidfile = %s: process %d runs already", path, (int)other);
    if (r < 0)
        return fail("pidfile = %s: %s", path, strerror(-r));
    supervisor->pid_file_is_ours = true;
    return 0;
}

/* "-" means the terminal that a daemon leaves, so logs are opened after it has left. */
static int open_logs(struct supervisor *supervisor)
{
    char why[LOG_FILES_WHY_BYTES];
    if (supervisor->logs.error >= 0)
        return 0;
    if (log_files_open(&supervisor->logs, &supervisor->settings, why) < 0)
        return fail("%s", why);
    return 0;
}

static int leave_terminal(struct supervisor *supervisor)
{
    if (supervisor->launcher >= 0 && daemonize_leave_terminal() < 0)
        return fail("cannot leave the terminal: %s", strerror(errno));
    return 0;
}

static int use_logs(struct supervisor *supervisor)
{
    log_init("supervisor", supervisor->settings.loglevel, supervisor->logs.error);
    return 0;
}

/* In the place of another program the terminal has been left long ago, and what fails from here on belongs in the log.
 */
static int log_as_before(struct supervisor *supervisor)
{
    if (supervisor->handed == NULL)
        return 0;
    int r = open_logs(supervisor);
    return r < 0 ? r : use_logs(supervisor);
}

static int publish_settings(struct supervisor *supervisor)
{
    int r = settings_serialize(&supervisor->settings, &supervisor->settings_fd);
    return r < 0 ? fail("cannot hand the settings on: %s", strerror(-r)) : 0;
}

static int make_shared_memory(struct supervisor *supervisor)
{
    const size_t bytes = sizeof(uint32_t) * LAYOUT_RINGS_MAX * LAYOUT_APPS_MAX;
    int r = arena_create(&supervisor->load_board, "uroboros-load", bytes, ARENA_SEAL_SIZE);
    if (r == 0)
        r = arena_create(&supervisor->io.metrics, "uroboros-metrics",
                         (size_t)supervisor->shape.rings * CONTROL_METRICS_PAGE_BYTES, ARENA_SEAL_SIZE);
    if (r == 0)
        r = pairing_init(supervisor);
    return r < 0 ? fail("cannot make shared memory: %s", strerror(-r)) : 0;
}

static int show_title(struct supervisor *supervisor)
{
    process_title_set("uroboros: supervisor [%s]", supervisor->settings.proc_name);
    return 0;
}

static int run(struct supervisor *supervisor, int (*const steps[])(struct supervisor *), size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (steps[i](supervisor) < 0)
            return -1;
    return 0;
}

/* The service manager's words name this process id, so they are read before a fork. */
int boot_itself(struct supervisor *supervisor)
{
    static int (*const steps[])(struct supervisor *) = {open_standard_streams, find_directory, hear_service_manager};
    return run(supervisor, steps, sizeof steps / sizeof steps[0]);
}

/*
 * Addresses are bound and the pid file is written while the terminal is still there to complain on. Files are opened by
 * root, before anybody drops to a user.
 */
int boot(struct supervisor *supervisor)
{
    static int (*const steps[])(struct supervisor *) = {
        enter_directory, log_as_before, go_to_background, boot_hold_signals,
        resolve_ids,     raise_limits,  choose_shape,     make_development_certificate,
        open_listeners,  hide_keys,     write_pid_file,   leave_terminal,
        open_logs,       use_logs,      publish_settings, make_shared_memory,
        show_title,
    };
    return run(supervisor, steps, sizeof steps / sizeof steps[0]);
}
