#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/supervisor/hooks_scene.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PUPPETS = 4, LINE = 12, GRACE_MS = 700'000 };

struct fixture {
    struct hooks_scene *scene;
    struct supervisor *supervisor;
    struct puppet puppets[PUPPETS]; /* in the order of their births */
    int births;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->scene = hooks_scene_open();
    fixture->supervisor = &fixture->scene->supervisor;
    fixture->supervisor->settings.when_ready = LINE;
    fixture->supervisor->settings.graceful_timeout_ms = GRACE_MS;
    *state = fixture;
    return 0;
}

static bool lives(const struct hooks_child *hooks)
{
    return hooks != NULL && child_lives(&hooks->child);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    supervisor->state = SUPERVISOR_STOPPING;
    server_hooks_abandon(supervisor);
    for (int i = 0; i < fixture->births; i++)
        puppet_exits(&fixture->puppets[i], 0);
    while (!server_hooks_finish(supervisor))
        hooks_scene_turn(fixture->scene);
    for (int i = 0; i < fixture->births; i++)
        puppet_leave(&fixture->puppets[i]);
    hooks_scene_close(fixture->scene);
    free(fixture);
    return 0;
}

static struct puppet *meet(struct fixture *fixture)
{
    assert_in_range(fixture->births, 0, PUPPETS - 1);
    struct puppet *puppet = &fixture->puppets[fixture->births++];
    *puppet = hooks_scene_meet(fixture->scene);
    return puppet;
}

/* on_starting is under way. */
static struct puppet *begin(struct fixture *fixture)
{
    server_hooks_begin(fixture->supervisor);
    struct puppet *puppet = meet(fixture);
    puppet_is_ready(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED);
    puppet_returns(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_ON_STARTING);
    return puppet;
}

static struct puppet *serve(struct fixture *fixture)
{
    struct puppet *puppet = begin(fixture);
    puppet_returns(fixture->scene, puppet);
    fixture->supervisor->state = SUPERVISOR_SERVING;
    return puppet;
}

/* Of a new epoch; on_reload is under way. */
static struct puppet *reload(struct fixture *fixture)
{
    struct supervisor *supervisor = fixture->supervisor;
    supervisor->state = SUPERVISOR_RELOADING;
    supervisor->wanted_before = 2;
    supervisor->apps.epoch++;
    server_hooks_reload(supervisor);
    struct puppet *puppet = meet(fixture);
    puppet_is_ready(fixture->scene, puppet);
    assert_int_equal(puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED).workers_before, 2);
    puppet_returns(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_ON_RELOAD);
    return puppet;
}

static void die(struct fixture *fixture, struct hooks_child *hooks)
{
    pid_t pid = hooks->child.pid;
    child_kill(&hooks->child, SIGKILL);
    while (server_hooks_include(fixture->supervisor, pid))
        hooks_scene_turn(fixture->scene);
}

/* Dead and forgotten. */
static void run_until_gone(struct fixture *fixture, const struct puppet *puppet)
{
    while (server_hooks_include(fixture->supervisor, puppet->pid))
        hooks_scene_turn(fixture->scene);
}

static void assert_ends(struct fixture *fixture, const struct puppet *puppet)
{
    struct control_message message;
    assert_int_equal(puppet_hears(puppet, &message), CONTROL_DRAIN);
    puppet_exits(puppet, 0);
    run_until_gone(fixture, puppet);
}

static void assert_stops(const struct fixture *fixture, int exit_code, const char *words)
{
    assert_int_equal(fixture->supervisor->verdict.kind, VERDICT_STOP);
    assert_int_equal(fixture->supervisor->verdict.exit_code, exit_code);
    hooks_scene_assert_logged(fixture->scene, words);
}

/* Who has a process at all ------------------------------------------------------------------------------------- */

static void without_a_hook_there_is_no_process_and_nobody_waits(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    supervisor->settings.when_ready = 0;
    server_hooks_begin(supervisor);
    assert_null(supervisor->hooks.current);
    assert_true(server_hooks_let_start(supervisor));
    server_hooks_ready(supervisor);
    server_hooks_reload(supervisor);
    server_hooks_commit(supervisor);
    assert_true(server_hooks_let_execute(supervisor));
    assert_true(server_hooks_finish(supervisor));
    assert_false(server_hooks_include(supervisor, getpid()));
}

static void a_check_of_the_settings_calls_no_hook(void **state)
{
    struct fixture *fixture = *state;
    fixture->supervisor->settings.check_config = true;
    server_hooks_begin(fixture->supervisor);
    assert_null(fixture->supervisor->hooks.current);
}

static void each_hook_alone_is_reason_enough(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct settings *settings = &supervisor->settings;
    int64_t *const lines[] = {&settings->on_starting, &settings->on_reload,        &settings->when_ready,
                              &settings->pre_fork,    &settings->nworkers_changed, &settings->child_exit,
                              &settings->pre_exec,    &settings->on_exit};
    supervisor->state = SUPERVISOR_STOPPING; /* the dead are forgotten */
    settings->when_ready = 0;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        *lines[i] = LINE;
        server_hooks_begin(supervisor);
        assert_non_null(supervisor->hooks.current);
        fixture->births = 0;
        struct puppet *puppet = meet(fixture);
        puppet_exits(puppet, 0);
        run_until_gone(fixture, puppet);
        assert_null(supervisor->hooks.current);
        puppet_leave(puppet);
        *lines[i] = 0;
    }
    fixture->births = 0;
}

/* on_starting -------------------------------------------------------------------------------------------------- */

static void nothing_starts_before_on_starting_has_returned(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    server_hooks_begin(supervisor);
    struct puppet *puppet = meet(fixture);
    assert_false(server_hooks_let_start(supervisor));
    assert_true(supervisor->hooks.current->deadline.armed);
    puppet_is_ready(fixture->scene, puppet);
    struct control_hook call = puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED);
    assert_int_equal(call.workers, 3);
    assert_int_equal(call.workers_before, 0);
    puppet_returns(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_ON_STARTING);
    assert_false(server_hooks_let_start(supervisor));
    puppet_returns(fixture->scene, puppet);
    assert_true(server_hooks_let_start(supervisor));
    assert_false(supervisor->hooks.current->deadline.armed);
    assert_int_equal(supervisor->verdict.kind, VERDICT_NONE);
}

static void a_server_whose_on_starting_raises_stops(void **state)
{
    struct fixture *fixture = *state;
    struct puppet *puppet = begin(fixture);
    puppet_raises(fixture->scene, puppet);
    assert_stops(fixture, SUPERVISOR_EXIT_WORKER_BOOT, "on_starting did not succeed, the server stops");
    assert_false(server_hooks_let_start(fixture->supervisor));
}

static void a_server_whose_hooks_die_in_on_starting_stops(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    die(fixture, fixture->supervisor->hooks.current);
    assert_stops(fixture, SUPERVISOR_EXIT_WORKER_BOOT, "on_starting did not succeed, the server stops");
    hooks_scene_assert_logged(fixture->scene, "in on_starting");
}

static void an_on_starting_that_never_returns_is_killed_and_stops_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    begin(fixture);
    event_loop_arm(&supervisor->loop, &supervisor->hooks.current->deadline, 1);
    while (supervisor->verdict.kind == VERDICT_NONE)
        hooks_scene_turn(fixture->scene);
    assert_stops(fixture, SUPERVISOR_EXIT_WORKER_BOOT, "did not end in time, in on_starting, it is killed");
}

static void a_server_that_is_told_to_end_does_not_try_on_starting_again(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    fixture->supervisor->state = SUPERVISOR_DRAINING;
    die(fixture, fixture->supervisor->hooks.current);
    assert_null(fixture->supervisor->hooks.current);
    assert_int_equal(fixture->supervisor->verdict.kind, VERDICT_NONE);
}

static void a_server_without_an_interpreter_for_its_hooks_stops(void **state)
{
    struct fixture *fixture = *state;
    strcpy(fixture->supervisor->directory, "/nowhere");
    server_hooks_begin(fixture->supervisor);
    assert_stops(fixture, SUPERVISOR_EXIT_WORKER_BOOT, "cannot start the process for hooks: ");
}

/* Processes of another program serve meanwhile, so there is time. */
static void beside_another_program_on_starting_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    supervisor->predecessors.first = (struct predecessor *)(void *)fixture;
    struct puppet *puppet = begin(fixture);
    server_hooks_ready(supervisor);
    server_hooks_ready(supervisor); /* what waits is not for the next process, which starts at the beginning */
    puppet_raises(fixture->scene, puppet);
    while (lives(supervisor->hooks.current))
        hooks_scene_turn(fixture->scene);
    assert_int_equal(supervisor->verdict.kind, VERDICT_NONE);
    assert_false(server_hooks_let_start(supervisor));
    while (!lives(supervisor->hooks.current))
        hooks_scene_turn(fixture->scene);
    puppet = meet(fixture);
    puppet_is_ready(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED);
    puppet_returns(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_ON_STARTING);
    puppet_returns(fixture->scene, puppet);
    puppet_hears_nothing(puppet);
    assert_true(server_hooks_let_start(supervisor));
    supervisor->predecessors.first = NULL;
}

/* What is told ------------------------------------------------------------------------------------------------- */

static void the_life_of_an_application_process_is_told_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct app_child app = {.age = 5};
    const struct app_child template = {.is_template = true, .child.pid = 40};
    struct puppet *puppet = serve(fixture);
    server_hooks_app_forks(supervisor, &template);
    server_hooks_app_lives(supervisor, &template);
    server_hooks_app_ended(supervisor, &template, 40, 0);
    server_hooks_app_forks(supervisor, &app);
    app.child.pid = 41;
    server_hooks_app_lives(supervisor, &app);
    server_hooks_app_ended(supervisor, &app, 41, 9);
    struct control_hook call = puppet_is_called(puppet, CONTROL_HOOK_PRE_FORK);
    assert_int_equal(call.age, 5);
    assert_int_equal(call.workers, 3);
    puppet_returns(fixture->scene, puppet);
    call = puppet_is_called(puppet, CONTROL_HOOK_BORN);
    assert_int_equal(call.age, 5);
    assert_int_equal(call.pid, 41);
    call = puppet_is_called(puppet, CONTROL_HOOK_CHILD_EXIT);
    assert_int_equal(call.age, 5);
    assert_int_equal(call.pid, 41);
    assert_int_equal(call.status, 9);
}

static void what_concerns_the_server_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = serve(fixture);
    server_hooks_ready(supervisor);
    puppet_is_called(puppet, CONTROL_HOOK_WHEN_READY);
    puppet_returns(fixture->scene, puppet);
    supervisor->apps.wanted = 4;
    server_hooks_workers_changed(supervisor, 3);
    struct control_hook call = puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED);
    assert_int_equal(call.workers, 4);
    assert_int_equal(call.workers_before, 3);
    puppet_returns(fixture->scene, puppet);
    server_hooks_predecessor_ended(supervisor, 77, 256);
    call = puppet_is_called(puppet, CONTROL_HOOK_CHILD_EXIT);
    assert_int_equal(call.pid, 77);
    assert_int_equal(call.age, 0);
    assert_int_equal(call.status, 256);
}

/* Replacement -------------------------------------------------------------------------------------------------- */

static void a_dead_one_is_replaced_and_what_waited_is_called(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    server_hooks_ready(supervisor);
    server_hooks_workers_changed(supervisor, 1);
    die(fixture, supervisor->hooks.current);
    hooks_scene_assert_logged(fixture->scene, "in when_ready");
    assert_true(server_hooks_let_start(supervisor));
    while (!lives(supervisor->hooks.current))
        hooks_scene_turn(fixture->scene);
    struct puppet *puppet = meet(fixture);
    puppet_is_ready(fixture->scene, puppet);
    puppet_is_called(puppet, CONTROL_HOOK_NWORKERS_CHANGED);
    puppet_returns(fixture->scene, puppet);
    puppet_hears_nothing(puppet);
}

static void one_that_keeps_dying_is_replaced_more_slowly(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    for (int death = 1; death < BACKOFF_DEATHS; death++) {
        die(fixture, supervisor->hooks.current);
        while (!lives(supervisor->hooks.current))
            hooks_scene_turn(fixture->scene);
        meet(fixture);
    }
    assert_int_equal(hooks_scene_count_logged(fixture->scene, "the hooks keep dying"), 0);
    die(fixture, supervisor->hooks.current);
    hooks_scene_assert_logged(fixture->scene, "the hooks keep dying: they are started again in 100 ms");
    assert_true(supervisor->hooks.current->respawn.armed);
}

static void a_server_that_stops_replaces_none(void **state)
{
    struct fixture *fixture = *state;
    serve(fixture);
    fixture->supervisor->state = SUPERVISOR_STOPPING;
    die(fixture, fixture->supervisor->hooks.current);
    assert_null(fixture->supervisor->hooks.current);
}

/* Reload ------------------------------------------------------------------------------------------------------- */

static void during_a_reload_each_hears_of_its_own_processes(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    const struct app_child of_old = {.age = 1, .epoch = supervisor->apps.epoch};
    supervisor->fresh.on_reload = LINE;
    struct puppet *fresh = reload(fixture);
    const struct app_child of_fresh = {.age = 2, .epoch = supervisor->apps.epoch};
    server_hooks_app_forks(supervisor, &of_fresh);
    server_hooks_app_forks(supervisor, &of_old);
    assert_int_equal(puppet_is_called(old, CONTROL_HOOK_PRE_FORK).age, 1);
    puppet_hears_nothing(old);
    puppet_returns(fixture->scene, fresh);
    assert_int_equal(puppet_is_called(fresh, CONTROL_HOOK_PRE_FORK).age, 2);
    puppet_hears_nothing(fresh);
}

static void after_a_reload_the_old_one_finishes_and_the_new_one_hears_all(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    server_hooks_ready(supervisor);
    supervisor->fresh.on_reload = LINE;
    struct puppet *fresh = reload(fixture);
    puppet_returns(fixture->scene, fresh);
    const struct hooks_child *child = supervisor->hooks.fresh;
    server_hooks_commit(supervisor);
    supervisor->state = SUPERVISOR_SERVING;
    assert_ptr_equal(supervisor->hooks.current, child);
    assert_null(supervisor->hooks.fresh);
    assert_true(server_hooks_include(supervisor, old->pid));
    server_hooks_workers_changed(supervisor, 1);
    puppet_is_called(fresh, CONTROL_HOOK_NWORKERS_CHANGED);
    puppet_is_called(old, CONTROL_HOOK_WHEN_READY);
    puppet_returns(fixture->scene, old);
    assert_ends(fixture, old);
    assert_null(supervisor->hooks.retired);
    assert_true(server_hooks_include(supervisor, fresh->pid));
}

static void after_a_reload_that_fails_the_old_one_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    supervisor->fresh.on_reload = LINE;
    struct puppet *fresh = reload(fixture);
    puppet_returns(fixture->scene, fresh);
    server_hooks_abandon(supervisor);
    supervisor->state = SUPERVISOR_SERVING;
    assert_null(supervisor->hooks.fresh);
    assert_ends(fixture, fresh);
    server_hooks_ready(supervisor);
    puppet_is_called(old, CONTROL_HOOK_WHEN_READY);
}

static void settings_without_hooks_end_the_process_of_those_before(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    supervisor->state = SUPERVISOR_RELOADING;
    server_hooks_reload(supervisor);
    assert_null(supervisor->hooks.fresh);
    server_hooks_commit(supervisor);
    assert_null(supervisor->hooks.current);
    assert_ends(fixture, old);
}

static void a_reload_fails_when_its_hooks_cannot_start(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    supervisor->fresh.on_reload = LINE;
    supervisor->state = SUPERVISOR_RELOADING;
    server_hooks_reload(supervisor);
    puppet_exits(meet(fixture), 1); /* a file that cannot be executed */
    while (supervisor->verdict.kind == VERDICT_NONE)
        hooks_scene_turn(fixture->scene);
    assert_int_equal(supervisor->verdict.kind, VERDICT_RELOAD_FAILS);
    assert_string_equal(supervisor->verdict.why, "the process for its hooks did not start");
    assert_false(supervisor->hooks.fresh->respawn.armed);
    server_hooks_abandon(supervisor);
    assert_null(supervisor->hooks.retired); /* of a dead one there is nothing to wait for */
}

static void one_that_dies_later_in_a_reload_is_replaced_with_the_new_settings(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    supervisor->fresh.on_reload = LINE;
    reload(fixture);
    supervisor->settings.raw_env.count = 0; /* with the old ones it would not find the way here */
    die(fixture, supervisor->hooks.fresh);
    assert_int_equal(supervisor->verdict.kind, VERDICT_NONE);
    while (!lives(supervisor->hooks.fresh))
        hooks_scene_turn(fixture->scene);
    meet(fixture);
}

/* Another program ---------------------------------------------------------------------------------------------- */

static void another_program_waits_for_pre_exec(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = serve(fixture);
    assert_false(server_hooks_let_execute(supervisor));
    puppet_is_called(puppet, CONTROL_HOOK_PRE_EXEC);
    assert_false(server_hooks_let_execute(supervisor));
    puppet_hears_nothing(puppet); /* told once */
    puppet_returns(fixture->scene, puppet);
    puppet_hears_nothing(puppet);
    assert_true(server_hooks_let_execute(supervisor));
    assert_int_equal(supervisor->hooks.execute_at_ms, 0);
    assert_true(lives(supervisor->hooks.current));
}

static void another_program_does_not_wait_for_ever(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = serve(fixture);
    assert_false(server_hooks_let_execute(supervisor));
    supervisor->hooks.execute_at_ms = 1;
    assert_true(server_hooks_let_execute(supervisor));
    hooks_scene_assert_logged(fixture->scene, "the upgrade does not wait for the hooks any longer, they are killed");
    while (lives(supervisor->hooks.current))
        hooks_scene_turn(fixture->scene);
    hooks_scene_assert_logged(fixture->scene, "was killed by signal 9 (Killed), in pre_exec");
    puppet_is_called(puppet, CONTROL_HOOK_PRE_EXEC);
}

static void a_reload_on_the_way_to_another_program_tells_the_new_ones_too(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    assert_false(server_hooks_let_execute(supervisor));
    supervisor->fresh.on_reload = LINE;
    struct puppet *fresh = reload(fixture);
    puppet_returns(fixture->scene, fresh);
    server_hooks_commit(supervisor);
    supervisor->state = SUPERVISOR_SERVING;
    assert_false(server_hooks_let_execute(supervisor));
    puppet_is_called(fresh, CONTROL_HOOK_PRE_EXEC);
    puppet_returns(fixture->scene, fresh);
    assert_false(server_hooks_let_execute(supervisor)); /* the old one has not ended */
    puppet_is_called(old, CONTROL_HOOK_PRE_EXEC);
    puppet_returns(fixture->scene, old);
    assert_ends(fixture, old);
    assert_true(server_hooks_let_execute(supervisor));
}

/* The end ------------------------------------------------------------------------------------------------------ */

static void the_server_ends_when_on_exit_has_returned_and_the_process_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = serve(fixture);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_false(server_hooks_finish(supervisor));
    puppet_is_called(puppet, CONTROL_HOOK_ON_EXIT);
    assert_false(server_hooks_finish(supervisor));
    puppet_hears_nothing(puppet); /* told once */
    puppet_returns(fixture->scene, puppet);
    assert_false(server_hooks_finish(supervisor));
    assert_ends(fixture, puppet);
    assert_true(server_hooks_finish(supervisor));
}

static void the_server_waits_for_one_that_retires_too(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    server_hooks_ready(supervisor);
    supervisor->state = SUPERVISOR_RELOADING;
    server_hooks_reload(supervisor);
    server_hooks_commit(supervisor);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_false(server_hooks_finish(supervisor));
    server_hooks_hurry(supervisor);
    assert_in_range(supervisor->hooks.retired->deadline.at_ms, 1, event_loop_now_ms() + 1'000);
    puppet_is_called(old, CONTROL_HOOK_WHEN_READY);
    puppet_returns(fixture->scene, old);
    assert_ends(fixture, old); /* without on_exit: its settings are not the server's any more */
    assert_true(server_hooks_finish(supervisor));
}

static void on_exit_comes_after_the_calls_of_a_reload_that_failed(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *old = serve(fixture);
    supervisor->fresh.on_reload = LINE;
    struct puppet *fresh = reload(fixture);
    server_hooks_abandon(supervisor);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_false(server_hooks_finish(supervisor));
    puppet_hears_nothing(old);
    puppet_returns(fixture->scene, fresh);
    assert_ends(fixture, fresh);
    assert_false(server_hooks_finish(supervisor));
    puppet_is_called(old, CONTROL_HOOK_ON_EXIT);
    puppet_returns(fixture->scene, old);
    assert_ends(fixture, old);
    assert_true(server_hooks_finish(supervisor));
}

static void on_exit_has_what_is_left_of_graceful_timeout(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    supervisor->state = SUPERVISOR_DRAINING;
    uint64_t stop_at_ms = event_loop_now_ms() + GRACE_MS;
    event_loop_arm(&supervisor->loop, &supervisor->stop, stop_at_ms);
    assert_false(server_hooks_finish(supervisor));
    assert_int_equal(supervisor->hooks.current->deadline.at_ms, stop_at_ms);
    server_hooks_hurry(supervisor);
    assert_in_range(supervisor->hooks.current->deadline.at_ms, 1, event_loop_now_ms() + 1'000);
    event_loop_disarm(&supervisor->loop, &supervisor->stop);
}

static void a_stop_at_once_leaves_on_exit_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    supervisor->state = SUPERVISOR_STOPPING;
    event_loop_arm(&supervisor->loop, &supervisor->stop, event_loop_now_ms() + GRACE_MS);
    uint64_t before_ms = event_loop_now_ms();
    assert_false(server_hooks_finish(supervisor));
    assert_in_range(supervisor->hooks.current->deadline.at_ms, before_ms + 1'000, event_loop_now_ms() + 1'000);
    event_loop_disarm(&supervisor->loop, &supervisor->stop);
}

static void an_on_exit_that_hangs_does_not_hold_up_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = serve(fixture);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_false(server_hooks_finish(supervisor));
    event_loop_arm(&supervisor->loop, &supervisor->hooks.current->deadline, 1);
    run_until_gone(fixture, puppet);
    hooks_scene_assert_logged(fixture->scene, "did not end in time, in on_exit, it is killed");
    assert_true(server_hooks_finish(supervisor));
}

static void without_on_starting_there_is_no_on_exit(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct puppet *puppet = begin(fixture);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_false(server_hooks_finish(supervisor));
    puppet_hears_nothing(puppet);
    run_until_gone(fixture, puppet);
    assert_true(server_hooks_finish(supervisor));
    assert_int_equal(supervisor->verdict.kind, VERDICT_NONE);
}

static void an_on_exit_that_nobody_can_call_is_said(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    serve(fixture);
    die(fixture, supervisor->hooks.current);
    supervisor->state = SUPERVISOR_DRAINING;
    assert_true(server_hooks_finish(supervisor));
    hooks_scene_assert_logged(fixture->scene, "on_exit is not called: the process for hooks has died");
}

/* All of them -------------------------------------------------------------------------------------------------- */

static void log_files_and_time_outs_are_for_each_of_them(void **state)
{
    struct fixture *fixture = *state;
    struct supervisor *supervisor = fixture->supervisor;
    struct control_message message;
    struct puppet *oldest = serve(fixture);
    server_hooks_ready(supervisor); /* holds it up */
    puppet_is_called(oldest, CONTROL_HOOK_WHEN_READY);
    supervisor->fresh.on_reload = LINE;
    puppet_returns(fixture->scene, reload(fixture));
    server_hooks_commit(supervisor);
    reload(fixture);
    server_hooks_send_logs(supervisor);
    for (int i = 0; i < fixture->births; i++)
        assert_int_equal(puppet_hears(&fixture->puppets[i], &message), CONTROL_LOG);
    server_hooks_check(supervisor, event_loop_now_ms() + GRACE_MS);
    hooks_scene_assert_logged(fixture->scene, ": when_ready has not returned for 30 s");
    hooks_scene_assert_logged(fixture->scene, ": on_reload has not returned for 30 s");
    for (int i = 0; i < fixture->births; i++)
        assert_true(server_hooks_include(supervisor, fixture->puppets[i].pid));
}

int main(void)
{
    hooks_scene_be_puppet();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_a_hook_there_is_no_process_and_nobody_waits),
        TEST(a_check_of_the_settings_calls_no_hook),
        TEST(each_hook_alone_is_reason_enough),
        TEST(nothing_starts_before_on_starting_has_returned),
        TEST(a_server_whose_on_starting_raises_stops),
        TEST(a_server_whose_hooks_die_in_on_starting_stops),
        TEST(an_on_starting_that_never_returns_is_killed_and_stops_the_server),
        TEST(a_server_that_is_told_to_end_does_not_try_on_starting_again),
        TEST(a_server_without_an_interpreter_for_its_hooks_stops),
        TEST(beside_another_program_on_starting_is_tried_again),
        TEST(the_life_of_an_application_process_is_told_in_order),
        TEST(what_concerns_the_server_is_told),
        TEST(a_dead_one_is_replaced_and_what_waited_is_called),
        TEST(one_that_keeps_dying_is_replaced_more_slowly),
        TEST(a_server_that_stops_replaces_none),
        TEST(during_a_reload_each_hears_of_its_own_processes),
        TEST(after_a_reload_the_old_one_finishes_and_the_new_one_hears_all),
        TEST(after_a_reload_that_fails_the_old_one_goes_on),
        TEST(settings_without_hooks_end_the_process_of_those_before),
        TEST(a_reload_fails_when_its_hooks_cannot_start),
        TEST(one_that_dies_later_in_a_reload_is_replaced_with_the_new_settings),
        TEST(another_program_waits_for_pre_exec),
        TEST(another_program_does_not_wait_for_ever),
        TEST(a_reload_on_the_way_to_another_program_tells_the_new_ones_too),
        TEST(the_server_ends_when_on_exit_has_returned_and_the_process_is_gone),
        TEST(the_server_waits_for_one_that_retires_too),
        TEST(on_exit_comes_after_the_calls_of_a_reload_that_failed),
        TEST(on_exit_has_what_is_left_of_graceful_timeout),
        TEST(a_stop_at_once_leaves_on_exit_a_second),
        TEST(an_on_exit_that_hangs_does_not_hold_up_the_end),
        TEST(without_on_starting_there_is_no_on_exit),
        TEST(an_on_exit_that_nobody_can_call_is_said),
        TEST(log_files_and_time_outs_are_for_each_of_them),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
