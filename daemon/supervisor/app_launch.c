#include "daemon/supervisor/app_launch.h"

#include "daemon/base/owned.h"
#include "daemon/supervisor/child_environment.h"
#include "daemon/supervisor/supervisor_state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

enum { PROGRAM_ROLE_BYTES = 16 };

/* From PREFIX/bin, so that a package may be unpacked and tried anywhere. */
static const char installed_directory[] = "../lib/uroboros";

/* The program ------------------------------------------------------------------------------------------------ */

struct program {
    char path[PATH_MAX];
    char script[PATH_MAX];
    char role[PROGRAM_ROLE_BYTES];
    char *argv[4]; /* [the script,] [the role,] NULL */
};

/* Beside our own program, as in a build tree, or where a package puts it. */
static bool find_part(const struct supervisor *supervisor, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", supervisor->directory, name) < PATH_MAX && access(path, F_OK) == 0)
        return true;
    return snprintf(path, PATH_MAX, "%s/%s/%s", supervisor->directory, installed_directory, name) < PATH_MAX &&
           access(path, F_OK) == 0;
}

static int choose_embedded(const struct supervisor *supervisor, struct program *program, char *why)
{
    if (!find_part(supervisor, "uroboros-app", program->path)) {
        snprintf(why, CHILD_TEXT_BYTES, "python = embedded: uroboros-app is neither in %.200s nor in its %s",
                 supervisor->directory, installed_directory);
        return -ENOENT;
    }
    program->argv[0] = program->path;
    return 0;
}

static int choose_program(const struct supervisor *supervisor, const struct settings *settings, struct program *program,
                          char *why)
{
    if (strcmp(settings->python, "embedded") == 0)
        return choose_embedded(supervisor, program, why);
    if (!find_part(supervisor, "pybridge/app.py", program->script)) {
        snprintf(why, CHILD_TEXT_BYTES, "pybridge/app.py is neither in %.200s nor in its %s", supervisor->directory,
                 installed_directory);
        return -ENOENT;
    }
    snprintf(program->path, sizeof program->path, "%s", settings->python);
    program->argv[0] = program->path;
    program->argv[1] = program->script;
    return 0;
}

/* A copy becomes our child when the process between has ended; for that we have to be a subreaper. */
static int copy(struct app_child *app, const int output[2])
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return -errno;
    int r = child_begin_copy(&app->child, &app->original->child, output);
    if (r < 0) {
        child_kill(&app->original->child, SIGKILL); /* another takes its place */
        return r;
    }
    app->state = APP_COPYING;
    return 0;
}

int app_launch_program(struct supervisor *supervisor, const struct settings *settings, struct child *child,
                       const char *role, const int output[2], char *why)
{
    const struct string_list *const changes[] = {&settings->file_environ, &settings->raw_env};
    struct program program = {};

    int r = choose_program(supervisor, settings, &program, why);
    if (r < 0)
        return r;
    if (role != NULL) {
        snprintf(program.role, sizeof program.role, "%s", role);
        program.argv[program.argv[1] == NULL ? 1 : 2] = program.role;
    }
    OWNED_MEMORY char **variables = child_environment_create(environ, changes, 2);
    if (variables == NULL)
        return -ENOMEM;
    const struct child_launch launch = {
        .path = program.path,
        .argv = program.argv,
        .envp = variables,
        .directory = settings->chdir,
        .ids = &supervisor->ids,
        .output = {output[0], output[1]},
        .deny_io_uring = true,
    };
    return child_spawn(child, &supervisor->loop, &launch, why);
}

static int spawn(struct supervisor *supervisor, struct app_child *app, const int output[2], char *why)
{
    if (app->original != NULL)
        return copy(app, output);
    return app_launch_program(supervisor, supervisor_launch_settings(supervisor), &app->child, NULL, output, why);
}

/* The whole -------------------------------------------------------------------------------------------------- */

static int make_shared(struct supervisor *supervisor, struct app_child *app)
{
    struct outbound_layout layout;
    outbound_layout_compute(&supervisor->shape, &layout);
    int r = arena_create(&app->outbound, "uroboros-outbound", layout.bytes, ARENA_SEAL_SIZE);
    if (r < 0)
        return r;
    app->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return app->doorbell < 0 ? -errno : 0;
}

void app_launch_send_setup(struct supervisor *supervisor, struct app_child *app)
{
    const struct control_setup setup = {
        .shape = supervisor->shape,
        .index = app->index,
        .generation = app->generation,
        .flags = app->is_template ? CONTROL_TEMPLATE : 0,
        .cpu = -1,
        .supervisor_pid = (uint32_t)getpid(),
        .age = app->age,
    };
    const int fds[] = {supervisor_launch_settings_fd(supervisor), supervisor->logs.error, app->doorbell,
                       app->outbound.fd};
    child_send(&app->child, CONTROL_SETUP, &setup, sizeof setup, fds, 4);
}

static void read_output(struct event_watch *watch)
{
    struct app_child *app = watch->owner;
    app_output_take(&app->supervisor->loop, watch == &app->output[0].watch ? &app->output[0] : &app->output[1]);
}

static int launch_with_outputs(struct supervisor *supervisor, struct app_child *app, char *why)
{
    OWNED_FD standard_output = -1;
    OWNED_FD standard_error = -1;

    if (!supervisor_launch_settings(supervisor)->capture_output)
        return spawn(supervisor, app, (const int[2]){-1, -1}, why);
    int r = app_output_open(&supervisor->loop, &app->output[0], read_output, app, &standard_output);
    if (r == 0)
        r = app_output_open(&supervisor->loop, &app->output[1], read_output, app, &standard_error);
    if (r < 0)
        return r;
    const int output[2] = {standard_output, standard_error};
    return spawn(supervisor, app, output, why);
}

int app_launch(struct supervisor *supervisor, struct app_child *app, char why[CHILD_TEXT_BYTES])
{
    why[0] = '\0';
    app->doorbell = app->outbound.fd = app->output[0].watch.fd = app->output[1].watch.fd = -1;
    int r = make_shared(supervisor, app);
    if (r == 0)
        r = launch_with_outputs(supervisor, app, why);
    if (r < 0) {
        if (why[0] == '\0')
            snprintf(why, CHILD_TEXT_BYTES, "%s", strerror(-r));
        app_launch_undo(supervisor, app);
        return r;
    }
    if (app->state != APP_COPYING)
        app_launch_send_setup(supervisor, app);
    return 0;
}

void app_launch_undo(struct supervisor *supervisor, struct app_child *app)
{
    app_output_finish(&supervisor->loop, &app->output[0]);
    app_output_finish(&supervisor->loop, &app->output[1]);
    fd_drop(&app->doorbell);
    arena_deinit(&app->outbound);
}
