#include "tests/unit/supervisor/hooks_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/owned.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { LOG_BYTES = 65'536 };

static const char meeting_variable[] = "HOOKS_SCENE_MEETING";

/* Abstract, so that nothing is left behind. */
static socklen_t meeting_address(const char *name, struct sockaddr_un *ret_address)
{
    size_t length = strlen(name);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path + 1, name, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* The puppet --------------------------------------------------------------------------------------------------- */

void hooks_scene_be_puppet(void)
{
    struct sockaddr_un address;
    const char *name = getenv(meeting_variable);
    const int control = CONTROL_FD;
    uint8_t status = 0;
    if (name == NULL)
        return;
    socklen_t bytes = meeting_address(name, &address);
    int link = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (link < 0 || connect(link, (const struct sockaddr *)&address, bytes) < 0 ||
        control_send(link, CONTROL_READY, NULL, 0, &control, 1) < 0)
        _exit(99);
    close(control);
    ssize_t r = recv(link, &status, 1, 0);
    _exit(r == 1 ? status : 0);
}

struct puppet hooks_scene_meet(struct hooks_scene *scene)
{
    struct control_message message;
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    int link = accept4(scene->meeting, NULL, NULL, SOCK_CLOEXEC);
    assert_true(link >= 0);
    assert_int_equal(getsockopt(link, SOL_SOCKET, SO_PEERCRED, &peer, &bytes), 0);
    assert_int_equal(control_receive(link, &message), 1);
    assert_int_equal(message.fd_count, 1);
    struct puppet puppet = {.pid = peer.pid, .link = link, .control = message.fds[0]};
    assert_int_equal(puppet_hears(&puppet, &message), CONTROL_SETUP);
    return puppet;
}

enum control_kind puppet_hears(const struct puppet *puppet, struct control_message *ret_message)
{
    char octet;
    if (recv(puppet->control, &octet, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
        return 0;
    assert_int_equal(control_receive(puppet->control, ret_message), 1);
    control_close_fds(ret_message);
    return ret_message->kind;
}

void puppet_hears_nothing(const struct puppet *puppet)
{
    struct control_message message;
    assert_int_equal(puppet_hears(puppet, &message), 0);
}

struct control_hook puppet_is_called(const struct puppet *puppet, enum control_hook_name name)
{
    struct control_message message;
    assert_int_equal(puppet_hears(puppet, &message), CONTROL_HOOK);
    const struct control_hook *call = control_payload(&message, sizeof *call);
    assert_non_null(call);
    assert_int_equal(call->hook, name);
    return *call;
}

void puppet_says(struct hooks_scene *scene, const struct puppet *puppet, enum control_kind kind, const void *payload,
                 size_t bytes)
{
    assert_int_equal(control_send(puppet->control, kind, payload, bytes, NULL, 0), 0);
    hooks_scene_turn(scene);
}

void puppet_is_ready(struct hooks_scene *scene, const struct puppet *puppet)
{
    puppet_says(scene, puppet, CONTROL_READY, &(struct control_ready){}, sizeof(struct control_ready));
}

void puppet_returns(struct hooks_scene *scene, const struct puppet *puppet)
{
    puppet_says(scene, puppet, CONTROL_HOOK_DONE, &(struct control_hook_done){}, sizeof(struct control_hook_done));
}

void puppet_raises(struct hooks_scene *scene, const struct puppet *puppet)
{
    puppet_says(scene, puppet, CONTROL_HOOK_DONE, &(struct control_hook_done){.raised = 1},
                sizeof(struct control_hook_done));
}

void puppet_exits(const struct puppet *puppet, int status)
{
    uint8_t octet = (uint8_t)status;
    (void)send(puppet->link, &octet, 1, MSG_NOSIGNAL);
}

void puppet_leave(struct puppet *puppet)
{
    fd_drop(&puppet->link);
    fd_drop(&puppet->control);
}

/* The supervisor ----------------------------------------------------------------------------------------------- */

/* What the supervisor takes for the interpreter. */
static void make_program(struct hooks_scene *scene)
{
    char self[PATH_MAX], link[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    strcpy(scene->directory, "/tmp/uroboros-hooks-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    snprintf(link, sizeof link, "%s/uroboros-app", scene->directory);
    assert_int_equal(symlink(self, link), 0);
}

static void open_meeting(struct hooks_scene *scene)
{
    struct sockaddr_un address;
    const char *name = strrchr(scene->directory, '/') + 1;
    socklen_t bytes = meeting_address(name, &address);
    scene->meeting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(scene->meeting, (const struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(scene->meeting, 8), 0);
    snprintf(scene->variable, sizeof scene->variable, "%s=%s", meeting_variable, name);
    scene->variables[0] = scene->variable;
}

static void set_up_supervisor(struct hooks_scene *scene)
{
    struct supervisor *supervisor = &scene->supervisor;
    assert_int_equal(event_loop_init(&supervisor->loop), 0);
    supervisor->state = SUPERVISOR_STARTING;
    supervisor->manager.notify = -1;
    supervisor->logs = (struct log_files){.error = scene->log, .access = -1};
    supervisor->settings_fd = supervisor->fresh_fd = scene->log;
    supervisor->shape.apps = 4;
    supervisor->apps.wanted = 3;
    supervisor->settings.python = (char *)(uintptr_t) "embedded";
    supervisor->settings.raw_env = (struct string_list){.count = 1, .items = scene->variables};
    supervisor->fresh = supervisor->settings;
    snprintf(supervisor->directory, sizeof supervisor->directory, "%s", scene->directory);
}

struct hooks_scene *hooks_scene_open(void)
{
    struct hooks_scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", LOG_LEVEL_DEBUG, scene->log);
    make_program(scene);
    open_meeting(scene);
    set_up_supervisor(scene);
    return scene;
}

void hooks_scene_close(struct hooks_scene *scene)
{
    char link[PATH_MAX];
    snprintf(link, sizeof link, "%s/uroboros-app", scene->directory);
    unlink(link);
    rmdir(scene->directory);
    event_loop_deinit(&scene->supervisor.loop);
    log_set_fd(STDERR_FILENO);
    close(scene->log);
    close(scene->meeting);
    free(scene);
}

void hooks_scene_turn(struct hooks_scene *scene)
{
    assert_int_equal(event_loop_turn(&scene->supervisor.loop), 0);
}

static const char *read_log(const struct hooks_scene *scene, char text[LOG_BYTES])
{
    ssize_t length = pread(scene->log, text, LOG_BYTES - 1, 0);
    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

int hooks_scene_count_logged(const struct hooks_scene *scene, const char *words)
{
    char text[LOG_BYTES];
    int count = 0;
    for (const char *at = read_log(scene, text); (at = strstr(at, words)) != NULL; at += strlen(words))
        count++;
    return count;
}

void hooks_scene_assert_logged(const struct hooks_scene *scene, const char *words)
{
    char text[LOG_BYTES];
    if (strstr(read_log(scene, text), words) == NULL)
        fail_msg("'%s' is not in: %s", words, text);
}
