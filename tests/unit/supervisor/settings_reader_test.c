#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "config/settings_loader.h"
#include "daemon/supervisor/settings_reader.h"

/* A supervisor that serves "before:app" and asks for its settings again. */
struct reader_scene {
    struct event_loop loop;
    struct settings_reader reader;
    struct settings current;
    struct settings fresh;
    int fresh_fd;
    bool answered;
};

static void on_answer(struct event_watch *watch)
{
    struct reader_scene *scene = watch->owner;
    scene->answered = true;
}

static void open_scene(struct reader_scene *scene)
{
    struct settings_outcome outcome;
    const char *arguments[] = {"uroboros", "before:app", NULL};

    *scene = (struct reader_scene){.fresh_fd = -1};
    assert_int_equal(event_loop_init(&scene->loop), 0);
    assert_int_equal(settings_load(2, (char **)arguments, &scene->current, &outcome), SETTINGS_RUN);
    settings_outcome_deinit(&outcome);
    scene->reader.answer.on_event = on_answer;
    scene->reader.answer.owner = scene;
}

static void close_scene(struct reader_scene *scene)
{
    settings_reader_stop(&scene->reader, &scene->loop);
    settings_deinit(&scene->current);
    settings_deinit(&scene->fresh);
    if (scene->fresh_fd >= 0)
        close(scene->fresh_fd);
    event_loop_deinit(&scene->loop);
}

static void start(struct reader_scene *scene, const char *argument)
{
    const char *arguments[] = {"uroboros", "after:app", argument, NULL};
    const struct settings_reader_request request = {.argc = argument != NULL ? 3 : 2,
                                                    .argv = (char **)arguments,
                                                    .current = &scene->current,
                                                    .log_fd = STDERR_FILENO};
    assert_int_equal(settings_reader_start(&scene->reader, &scene->loop, &request), 0);
    assert_true(settings_reader_is_busy(&scene->reader));
}

static int take(struct reader_scene *scene)
{
    while (!scene->answered)
        assert_int_equal(event_loop_turn(&scene->loop), 0);
    int r = settings_reader_take(&scene->reader, &scene->loop, &scene->fresh, &scene->fresh_fd);
    assert_false(settings_reader_is_busy(&scene->reader));
    return r;
}

static void good_settings_come_with_the_descriptor_for_the_children(void **state)
{
    (void)state;
    static struct reader_scene scene;
    open_scene(&scene);
    start(&scene, "--workers=7");
    assert_int_equal(take(&scene), 0);
    assert_string_equal(scene.fresh.wsgi_app, "after:app");
    assert_int_equal(scene.fresh.workers, 7);
    assert_true(scene.fresh_fd >= 0);
    close_scene(&scene);
}

static void bad_settings_are_no_settings(void **state)
{
    (void)state;
    static struct reader_scene scene;
    open_scene(&scene);
    start(&scene, "--workers=many");
    assert_int_equal(take(&scene), -EINVAL);
    assert_null(scene.fresh.wsgi_app);
    close_scene(&scene);
}

static void a_reader_that_dies_says_nothing_of_the_settings(void **state)
{
    (void)state;
    static struct reader_scene scene;
    open_scene(&scene);
    start(&scene, NULL);
    kill(scene.reader.pid, SIGKILL);
    int r = take(&scene);
    assert_true(r == -ECHILD || r == 0); /* it may have been quicker */
    close_scene(&scene);
}

static void a_reader_that_is_stopped_leaves_no_process(void **state)
{
    (void)state;
    static struct reader_scene scene;
    open_scene(&scene);
    start(&scene, NULL);
    pid_t pid = scene.reader.pid;
    settings_reader_stop(&scene.reader, &scene.loop);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    settings_reader_stop(&scene.reader, &scene.loop); /* idle */
    start(&scene, NULL);
    assert_int_equal(take(&scene), 0);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_settings_come_with_the_descriptor_for_the_children),
        cmocka_unit_test(bad_settings_are_no_settings),
        cmocka_unit_test(a_reader_that_dies_says_nothing_of_the_settings),
        cmocka_unit_test(a_reader_that_is_stopped_leaves_no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
