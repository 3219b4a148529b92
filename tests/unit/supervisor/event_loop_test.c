#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/owned.h"
#include "daemon/supervisor/event_loop.h"
#include <cmocka.h>

#include <stdbool.h>
#include <sys/eventfd.h>

struct fixture {
    struct event_loop loop;
    struct event_watch watches[2];
    struct event_alarm alarms[3];
    int rung[3];
    int rung_count;
    int seen[2];
};

static int open_loop(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(event_loop_init(&fixture->loop), 0);
    for (int i = 0; i < 2; i++)
        fixture->watches[i] = (struct event_watch){.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), .owner = fixture};
    for (int i = 0; i < 3; i++)
        fixture->alarms[i].owner = fixture;
    *state = fixture;
    return 0;
}

static int close_loop(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        event_loop_unwatch(&fixture->loop, &fixture->watches[i]);
        fd_drop(&fixture->watches[i].fd);
    }
    event_loop_deinit(&fixture->loop);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    assert_int_equal(event_loop_turn(&fixture->loop), 0);
}

static void note_alarm(struct event_alarm *alarm)
{
    struct fixture *fixture = alarm->owner;
    fixture->rung[fixture->rung_count++] = (int)(alarm - fixture->alarms);
}

static void alarms_ring_in_the_order_of_their_time(void **state)
{
    struct fixture *fixture = *state;
    static const uint64_t at_ms[] = {3, 1, 2};
    for (int i = 0; i < 3; i++) {
        fixture->alarms[i].on_alarm = note_alarm;
        event_loop_arm(&fixture->loop, &fixture->alarms[i], at_ms[i]);
    }
    for (int i = 0; i < 3; i++)
        turn(fixture);
    static const int expected[] = {1, 2, 0};
    assert_memory_equal(fixture->rung, expected, sizeof expected);
}

static void an_alarm_that_moves_rings_once(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++)
        fixture->alarms[i].on_alarm = note_alarm;
    event_loop_arm(&fixture->loop, &fixture->alarms[0], 1);
    event_loop_arm(&fixture->loop, &fixture->alarms[1], 2);
    event_loop_arm(&fixture->loop, &fixture->alarms[0], 3);
    turn(fixture);
    turn(fixture);
    assert_int_equal(fixture->rung_count, 2);
    assert_int_equal(fixture->rung[0], 1);
    assert_null(fixture->loop.alarms);
}

static void a_disarmed_alarm_is_silent(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        fixture->alarms[i].on_alarm = note_alarm;
        event_loop_arm(&fixture->loop, &fixture->alarms[i], 1);
    }
    event_loop_disarm(&fixture->loop, &fixture->alarms[0]);
    event_loop_disarm(&fixture->loop, &fixture->alarms[0]);
    turn(fixture);
    assert_int_equal(fixture->rung_count, 1);
    assert_int_equal(fixture->rung[0], 1);
}

static void an_alarm_in_the_future_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    uint64_t at_ms = event_loop_now_ms() + 20;
    fixture->alarms[0].on_alarm = note_alarm;
    event_loop_arm(&fixture->loop, &fixture->alarms[0], at_ms);
    while (fixture->rung_count == 0)
        turn(fixture);
    assert_true(event_loop_now_ms() >= at_ms);
}

/* Each closes the other: whoever comes second must not come at all. */
static void close_the_other(struct event_watch *watch)
{
    struct fixture *fixture = watch->owner;
    int mine = (int)(watch - fixture->watches);
    fixture->seen[mine]++;
    event_loop_unwatch(&fixture->loop, &fixture->watches[1 - mine]);
    fd_drop(&fixture->watches[1 - mine].fd);
}

static void a_watch_that_was_removed_by_another_handler_is_not_called(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++) {
        fixture->watches[i].on_event = close_the_other;
        assert_int_equal(event_loop_watch(&fixture->loop, &fixture->watches[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        turn(fixture);
    assert_true((fixture->seen[0] == 4) != (fixture->seen[1] == 4));
    assert_int_equal(fixture->seen[0] + fixture->seen[1], 4);
}

static void a_watch_may_remove_itself(void **state)
{
    struct fixture *fixture = *state;
    fixture->watches[0].on_event = close_the_other;
    assert_int_equal(event_loop_watch(&fixture->loop, &fixture->watches[0]), 0);
    turn(fixture);
    event_loop_unwatch(&fixture->loop, &fixture->watches[0]);
    fixture->alarms[0].on_alarm = note_alarm;
    event_loop_arm(&fixture->loop, &fixture->alarms[0], event_loop_now_ms() + 5);
    while (fixture->rung_count == 0)
        turn(fixture);
    assert_int_equal(fixture->seen[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(alarms_ring_in_the_order_of_their_time, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(an_alarm_that_moves_rings_once, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_disarmed_alarm_is_silent, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(an_alarm_in_the_future_is_waited_for, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_watch_that_was_removed_by_another_handler_is_not_called, open_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(a_watch_may_remove_itself, open_loop, close_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
