#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/supervisor/hooks_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SLOW_MS = 30'000, FAR_MS = 1'000'000, LAST_WORDS_MAX = 64 };

/* What the owner of the process has been told. */
struct fixture {
    struct hooks_scene *scene;
    struct hooks_child *hooks;
    struct puppet puppet;
    int respawns, successes, failures, ends;
    bool was_starting;
};

static struct fixture *fixture_now; /* for the handlers, which are given nothing of ours */

static void note_respawn([[maybe_unused]] struct hooks_child *hooks)
{
    fixture_now->respawns++;
}

static void note_starting_done([[maybe_unused]] struct hooks_child *hooks, bool succeeded)
{
    fixture_now->successes += succeeded ? 1 : 0;
    fixture_now->failures += succeeded ? 0 : 1;
}

static void note_end([[maybe_unused]] struct hooks_child *hooks, bool was_starting)
{
    fixture_now->ends++;
    fixture_now->was_starting = was_starting;
}

static const struct hooks_child_events events = {
    .on_respawn = note_respawn,
    .on_starting_done = note_starting_done,
    .on_end = note_end,
};

static int set_up(void **state)
{
    struct fixture *fixture = fixture_now = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->scene = hooks_scene_open();
    fixture->hooks = hooks_child_create(&fixture->scene->supervisor, &events);
    assert_non_null(fixture->hooks);
    fixture->puppet = (struct puppet){.link = -1, .control = -1};
    *state = fixture;
    return 0;
}

static void run_to_end(struct fixture *fixture)
{
    for (int before = fixture->ends; fixture->ends == before;)
        hooks_scene_turn(fixture->scene);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->hooks->state != HOOKS_DEAD) {
        child_kill(&fixture->hooks->child, SIGKILL);
        run_to_end(fixture);
    }
    puppet_leave(&fixture->puppet);
    hooks_child_destroy(fixture->hooks);
    hooks_scene_close(fixture->scene);
    free(fixture);
    return 0;
}

static int start(struct fixture *fixture, char why[CHILD_TEXT_BYTES])
{
    const struct supervisor *supervisor = &fixture->scene->supervisor;
    return hooks_child_start(fixture->hooks, &supervisor->settings, supervisor->settings_fd, why);
}

static void begin(struct fixture *fixture)
{
    char why[CHILD_TEXT_BYTES];
    assert_int_equal(start(fixture, why), 0);
    fixture->puppet = hooks_scene_meet(fixture->scene);
    assert_int_equal(fixture->hooks->state, HOOKS_STARTING);
}

static void begin_idle(struct fixture *fixture)
{
    begin(fixture);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->hooks->state, HOOKS_IDLE);
}

/* `age` tells the calls of a test apart. */
static void call(struct fixture *fixture, enum control_hook_name name, uint32_t age)
{
    hooks_child_call(fixture->hooks, &(struct control_hook){.hook = name, .age = age});
}

static void assert_called(struct fixture *fixture, enum control_hook_name name, uint32_t age)
{
    assert_int_equal(puppet_is_called(&fixture->puppet, name).age, age);
}

static void begin_call(struct fixture *fixture, enum control_hook_name name)
{
    begin_idle(fixture);
    call(fixture, name, 1);
    assert_called(fixture, name, 1);
    assert_int_equal(fixture->hooks->state, HOOKS_CALLING);
}

/* Birth -------------------------------------------------------------------------------------------------------- */

static void one_that_starts_hears_who_lives_before_anything_else(void **state)
{
    struct fixture *fixture = *state;
    struct app_child serving = {.child.pid = 11, .age = 5};
    struct app_child template = {.child.pid = 12, .is_template = true};
    struct app_child unborn = {.age = 6}; /* a copy that is asked for */
    struct app_children *apps = &fixture->scene->supervisor.apps;
    apps->children[0] = &template;
    apps->children[1] = &unborn;
    apps->children[3] = &serving;
    call(fixture, CONTROL_HOOK_WHEN_READY, 1);
    begin(fixture);
    struct control_hook born = puppet_is_called(&fixture->puppet, CONTROL_HOOK_BORN);
    assert_int_equal(born.pid, 11);
    assert_int_equal(born.age, 5);
    assert_int_equal(born.workers, apps->wanted);
    puppet_hears_nothing(&fixture->puppet);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_WHEN_READY, 1);
}

static void an_interpreter_that_is_not_there_is_named_and_another_start_may_succeed(void **state)
{
    struct fixture *fixture = *state;
    struct settings *settings = &fixture->scene->supervisor.settings;
    char *there = settings->python, why[CHILD_TEXT_BYTES], directory[sizeof fixture->scene->supervisor.directory];
    strcpy(directory, fixture->scene->supervisor.directory);
    strcpy(fixture->scene->supervisor.directory, "/nowhere");
    assert_int_equal(start(fixture, why), -ENOENT);
    assert_non_null(strstr(why, "uroboros-app is neither in /nowhere"));
    assert_int_equal(fixture->hooks->state, HOOKS_DEAD);
    settings->python = there;
    strcpy(fixture->scene->supervisor.directory, directory);
    begin_idle(fixture);
}

/* Calls -------------------------------------------------------------------------------------------------------- */

static void calls_wait_for_the_file_to_be_executed_and_then_for_each_other(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t age = 1; age <= 3; age++)
        call(fixture, CONTROL_HOOK_PRE_FORK, age);
    begin(fixture);
    puppet_hears_nothing(&fixture->puppet);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    for (uint32_t age = 1; age <= 3; age++) {
        assert_false(hooks_child_is_quiet(fixture->hooks));
        assert_called(fixture, CONTROL_HOOK_PRE_FORK, age);
        puppet_hears_nothing(&fixture->puppet);
        puppet_returns(fixture->scene, &fixture->puppet);
    }
    puppet_hears_nothing(&fixture->puppet);
    assert_true(hooks_child_is_quiet(fixture->hooks));
}

static void nobody_waits_for_an_answer_to_a_birth(void **state)
{
    struct fixture *fixture = *state;
    begin_idle(fixture);
    call(fixture, CONTROL_HOOK_BORN, 1);
    assert_true(hooks_child_is_quiet(fixture->hooks));
    call(fixture, CONTROL_HOOK_CHILD_EXIT, 2);
    assert_called(fixture, CONTROL_HOOK_BORN, 1);
    assert_called(fixture, CONTROL_HOOK_CHILD_EXIT, 2);
}

static void what_on_starting_did_is_told_and_that_another_function_raised_is_not(void **state)
{
    struct fixture *fixture = *state;
    begin_call(fixture, CONTROL_HOOK_PRE_FORK);
    puppet_raises(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->failures, 0);
    call(fixture, CONTROL_HOOK_ON_STARTING, 1);
    puppet_raises(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->failures, 1);
    call(fixture, CONTROL_HOOK_ON_STARTING, 2);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->successes, 1);
    assert_int_equal(fixture->failures, 1);
}

static void calls_that_find_no_room_are_counted_and_said(void **state)
{
    struct fixture *fixture = *state;
    char lost[64];
    uint32_t made = 0;
    begin_call(fixture, CONTROL_HOOK_PRE_FORK);
    for (uint32_t age = 1; age <= HOOK_QUEUE_CALLS + 4; age++)
        call(fixture, CONTROL_HOOK_CHILD_EXIT, age);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, "calls wait for pre_fork; until they are made"), 1);
    puppet_returns(fixture->scene, &fixture->puppet);
    while (fixture->hooks->state == HOOKS_CALLING) {
        assert_called(fixture, CONTROL_HOOK_CHILD_EXIT, ++made);
        puppet_returns(fixture->scene, &fixture->puppet);
    }
    assert_in_range(made, HOOK_QUEUE_CALLS - 1, HOOK_QUEUE_CALLS);
    snprintf(lost, sizeof lost, ": %u calls were not made, too many waited", HOOK_QUEUE_CALLS + 4 - made);
    hooks_scene_assert_logged(fixture->scene, lost);
}

/* Garbage ------------------------------------------------------------------------------------------------------ */

static void an_answer_that_nobody_waits_for_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->hooks->state, HOOKS_STARTING);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->hooks->state, HOOKS_IDLE);
    call(fixture, CONTROL_HOOK_ON_STARTING, 1);
    call(fixture, CONTROL_HOOK_PRE_FORK, 2);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_ON_STARTING, 1);
    puppet_hears_nothing(&fixture->puppet);
    assert_int_equal(fixture->successes + fixture->failures, 0);
}

static void assert_open_fds(int expected)
{
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(lowest, expected);
    close(lowest);
}

static void garbage_is_passed_over_and_leaves_no_descriptors(void **state)
{
    struct fixture *fixture = *state;
    const struct puppet *puppet = &fixture->puppet;
    begin_call(fixture, CONTROL_HOOK_ON_STARTING);
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(lowest);
    puppet_says(fixture->scene, puppet, CONTROL_HOOK_DONE, "short", 2);
    puppet_says(fixture->scene, puppet, CONTROL_KINDS, NULL, 0);
    puppet_says(fixture->scene, puppet, CONTROL_RECYCLE, NULL, 0);
    assert_int_equal(send(puppet->control, "x", 1, MSG_NOSIGNAL), 1);
    hooks_scene_turn(fixture->scene);
    const int many[] = {0, 0, 0, 0};
    assert_int_equal(control_send(puppet->control, CONTROL_FORKED, NULL, 0, many, 4), 0);
    hooks_scene_turn(fixture->scene);
    assert_open_fds(lowest);
    assert_int_equal(fixture->hooks->state, HOOKS_CALLING);
    puppet_returns(fixture->scene, puppet);
    assert_int_equal(fixture->successes, 1);
}

/* As many messages as fit between two looks of the supervisor; how many. */
static int flood(const struct puppet *puppet)
{
    int sent = 0;
    assert_int_equal(fcntl(puppet->control, F_SETFL, O_NONBLOCK), 0);
    while (control_send(puppet->control, CONTROL_RECYCLE, NULL, 0, NULL, 0) == 0)
        sent++;
    return sent;
}

static void send_done(const struct fixture *fixture)
{
    const struct control_hook_done done = {};
    assert_int_equal(control_send(fixture->puppet.control, CONTROL_HOOK_DONE, &done, sizeof done, NULL, 0), 0);
}

/* Whether the last words or the death comes first is the kernel's choice: here it is the death. */
static void die(struct fixture *fixture)
{
    child_kill(&fixture->hooks->child, SIGKILL);
    fixture->hooks->child.exit.on_event(&fixture->hooks->child.exit);
}

/* One message for each turn of the loop: what else there is comes in between. */
static void a_flood_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    char octet;
    begin_call(fixture, CONTROL_HOOK_ON_STARTING);
    for (int left = flood(&fixture->puppet); left > 0; left--) {
        assert_int_equal(recv(fixture->hooks->child.control.fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT), 1);
        hooks_scene_turn(fixture->scene);
    }
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_int_equal(fixture->successes, 1);
}

/* Whoever has inherited the channel may go on for ever: only so many last words are heard. */
static void a_flood_does_not_put_off_a_burial(void **state)
{
    struct fixture *fixture = *state;
    begin_call(fixture, CONTROL_HOOK_ON_STARTING);
    for (int i = 0; i < LAST_WORDS_MAX; i++)
        assert_int_equal(control_send(fixture->puppet.control, CONTROL_RECYCLE, NULL, 0, NULL, 0), 0);
    send_done(fixture);
    die(fixture);
    assert_int_equal(fixture->successes, 0);
    assert_int_equal(fixture->ends, 1);
}

/* Death -------------------------------------------------------------------------------------------------------- */

static void a_death_while_the_file_is_executed_is_told_as_such(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    puppet_exits(&fixture->puppet, 3);
    run_to_end(fixture);
    assert_true(fixture->was_starting);
    assert_int_equal(fixture->hooks->state, HOOKS_DEAD);
    hooks_scene_assert_logged(fixture->scene, "exited with status 3\n");
}

static void a_death_in_a_call_names_it_and_the_next_process_makes_the_others(void **state)
{
    struct fixture *fixture = *state;
    begin_call(fixture, CONTROL_HOOK_PRE_FORK);
    call(fixture, CONTROL_HOOK_CHILD_EXIT, 2);
    call(fixture, CONTROL_HOOK_NWORKERS_CHANGED, 3);
    child_kill(&fixture->hooks->child, SIGKILL);
    run_to_end(fixture);
    assert_false(fixture->was_starting);
    hooks_scene_assert_logged(fixture->scene, "was killed by signal 9 (Killed), in pre_fork");
    call(fixture, CONTROL_HOOK_WHEN_READY, 4);
    puppet_leave(&fixture->puppet);
    begin(fixture);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_CHILD_EXIT, 2);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_NWORKERS_CHANGED, 3);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_WHEN_READY, 4);
}

static void a_death_between_calls_is_an_error_too(void **state)
{
    struct fixture *fixture = *state;
    begin_idle(fixture);
    puppet_exits(&fixture->puppet, 0);
    run_to_end(fixture);
    assert_false(fixture->was_starting);
    hooks_scene_assert_logged(fixture->scene, "[ERROR] hooks (pid ");
}

/* Its last words may be that the call has returned; the next call is for the next process. */
static void an_answer_is_heard_after_the_death_and_no_call_is_lost_to_the_dead(void **state)
{
    struct fixture *fixture = *state;
    struct control_hook next;
    begin_call(fixture, CONTROL_HOOK_ON_STARTING);
    call(fixture, CONTROL_HOOK_PRE_FORK, 2);
    send_done(fixture);
    die(fixture);
    assert_int_equal(fixture->successes, 1);
    assert_int_equal(fixture->ends, 1);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, ", in on_starting"), 0);
    assert_true(hook_queue_pop(&fixture->hooks->queue, &next));
    assert_int_equal(next.age, 2);
}

static void one_that_closes_its_channel_is_killed(void **state)
{
    struct fixture *fixture = *state;
    begin_idle(fixture);
    close(fixture->puppet.control);
    fixture->puppet.control = -1;
    run_to_end(fixture);
    hooks_scene_assert_logged(fixture->scene, "was killed by signal 9");
}

/* What takes long ---------------------------------------------------------------------------------------------- */

static void a_call_that_takes_long_is_said_once_and_its_stacks_are_asked_for(void **state)
{
    struct fixture *fixture = *state;
    static const char said[] = ": child_exit has not returned for 30 s, 1 calls wait for it";
    begin_call(fixture, CONTROL_HOOK_CHILD_EXIT);
    call(fixture, CONTROL_HOOK_PRE_FORK, 2);
    uint64_t called_at_ms = fixture->hooks->called_at_ms;
    hooks_child_check(fixture->hooks, called_at_ms + SLOW_MS - 1);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, said), 0);
    hooks_child_check(fixture->hooks, called_at_ms + SLOW_MS);
    hooks_child_check(fixture->hooks, called_at_ms + FAR_MS);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, said), 1);
    run_to_end(fixture); /* a puppet has no stacks to write */
    hooks_scene_assert_logged(fixture->scene, "was killed by signal 12 (User defined signal 2)");
}

static void each_call_has_its_own_time(void **state)
{
    struct fixture *fixture = *state;
    begin_call(fixture, CONTROL_HOOK_CHILD_EXIT);
    fixture->hooks->is_slow = true;
    puppet_returns(fixture->scene, &fixture->puppet);
    hooks_child_check(fixture->hooks, fixture->hooks->called_at_ms + FAR_MS);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, "has not returned"), 0);
    call(fixture, CONTROL_HOOK_PRE_FORK, 2);
    hooks_child_check(fixture->hooks, fixture->hooks->called_at_ms + SLOW_MS);
    hooks_scene_assert_logged(fixture->scene, ": pre_fork has not returned for 30 s, 0 calls wait for it");
}

/* The signal that asks for stacks would be the end of an interpreter that is not prepared for it. */
static void a_start_that_takes_long_is_said_and_goes_on(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture);
    call(fixture, CONTROL_HOOK_PRE_FORK, 1);
    hooks_child_check(fixture->hooks, fixture->hooks->called_at_ms + SLOW_MS);
    hooks_child_check(fixture->hooks, fixture->hooks->called_at_ms + FAR_MS);
    assert_int_equal(hooks_scene_count_logged(fixture->scene, "has not been executed for 30 s, 1 calls wait for it"),
                     1);
    puppet_exits(&fixture->puppet, 7);
    run_to_end(fixture);
    hooks_scene_assert_logged(fixture->scene, "exited with status 7");
}

/* Retiring ----------------------------------------------------------------------------------------------------- */

static void retire(struct fixture *fixture)
{
    hooks_child_retire(fixture->hooks, event_loop_now_ms() + FAR_MS);
}

static void one_that_retires_makes_what_waits_and_is_told_to_end_then(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    begin_call(fixture, CONTROL_HOOK_PRE_FORK);
    call(fixture, CONTROL_HOOK_ON_EXIT, 2);
    retire(fixture);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_called(fixture, CONTROL_HOOK_ON_EXIT, 2);
    puppet_hears_nothing(&fixture->puppet);
    puppet_returns(fixture->scene, &fixture->puppet);
    assert_int_equal(puppet_hears(&fixture->puppet, &message), CONTROL_DRAIN);
    assert_int_equal(fixture->hooks->state, HOOKS_ENDING);
    close(fixture->puppet.control); /* first its channel goes, as an interpreter that ends may do it */
    fixture->puppet.control = -1;
    hooks_scene_turn(fixture->scene);
    puppet_exits(&fixture->puppet, 0);
    run_to_end(fixture);
    hooks_scene_assert_logged(fixture->scene, "[DEBUG] hooks (pid ");
    hooks_scene_assert_logged(fixture->scene, "exited with status 0");
    assert_int_equal(hooks_scene_count_logged(fixture->scene, "[ERROR]"), 0);
}

static void one_that_retires_while_it_starts_is_told_to_end_once_it_is_ready(void **state)
{
    struct fixture *fixture = *state;
    struct control_message message;
    begin(fixture);
    retire(fixture);
    puppet_hears_nothing(&fixture->puppet);
    puppet_is_ready(fixture->scene, &fixture->puppet);
    assert_int_equal(puppet_hears(&fixture->puppet, &message), CONTROL_DRAIN);
}

static void one_that_does_not_end_in_time_is_killed_and_what_it_leaves_is_said(void **state)
{
    struct fixture *fixture = *state;
    begin_call(fixture, CONTROL_HOOK_ON_EXIT);
    call(fixture, CONTROL_HOOK_CHILD_EXIT, 2);
    call(fixture, CONTROL_HOOK_CHILD_EXIT, 3);
    hooks_child_retire(fixture->hooks, 1);
    run_to_end(fixture);
    hooks_scene_assert_logged(fixture->scene, "did not end in time, in on_exit, it is killed");
    hooks_scene_assert_logged(fixture->scene, "was killed by signal 9");
    hooks_scene_assert_logged(fixture->scene, ": 2 calls that waited are not made");
}

int main(void)
{
    hooks_scene_be_puppet();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_that_starts_hears_who_lives_before_anything_else),
        TEST(an_interpreter_that_is_not_there_is_named_and_another_start_may_succeed),
        TEST(calls_wait_for_the_file_to_be_executed_and_then_for_each_other),
        TEST(nobody_waits_for_an_answer_to_a_birth),
        TEST(what_on_starting_did_is_told_and_that_another_function_raised_is_not),
        TEST(calls_that_find_no_room_are_counted_and_said),
        TEST(an_answer_that_nobody_waits_for_changes_nothing),
        TEST(garbage_is_passed_over_and_leaves_no_descriptors),
        TEST(a_flood_holds_up_nobody),
        TEST(a_flood_does_not_put_off_a_burial),
        TEST(a_death_while_the_file_is_executed_is_told_as_such),
        TEST(a_death_in_a_call_names_it_and_the_next_process_makes_the_others),
        TEST(a_death_between_calls_is_an_error_too),
        TEST(an_answer_is_heard_after_the_death_and_no_call_is_lost_to_the_dead),
        TEST(one_that_closes_its_channel_is_killed),
        TEST(a_call_that_takes_long_is_said_once_and_its_stacks_are_asked_for),
        TEST(each_call_has_its_own_time),
        TEST(a_start_that_takes_long_is_said_and_goes_on),
        TEST(one_that_retires_makes_what_waits_and_is_told_to_end_then),
        TEST(one_that_retires_while_it_starts_is_told_to_end_once_it_is_ready),
        TEST(one_that_does_not_end_in_time_is_killed_and_what_it_leaves_is_said),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
