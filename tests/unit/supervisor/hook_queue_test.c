#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/hook_queue.h"
#include <cmocka.h>

static bool push(struct hook_queue *queue, enum control_hook_name name, int32_t pid)
{
    return hook_queue_push(queue, &(struct control_hook){.hook = name, .pid = pid});
}

static uint32_t fill(struct hook_queue *queue)
{
    uint32_t pushed = 0;
    while (push(queue, CONTROL_HOOK_CHILD_EXIT, (int32_t)pushed + 1))
        pushed++;
    (void)hook_queue_take_lost(queue);
    return pushed;
}

static void an_empty_queue_has_nothing([[maybe_unused]] void **state)
{
    struct hook_queue queue = {};
    struct control_hook call = {.pid = 7};
    assert_false(hook_queue_pop(&queue, &call));
    assert_int_equal(call.pid, 7);
}

static void calls_come_out_in_the_order_in_which_they_went_in_however_often_it_wraps([[maybe_unused]] void **state)
{
    struct hook_queue queue = {};
    struct control_hook call;
    int32_t in = 0, out = 0;
    for (int round = 0; round < 3 * HOOK_QUEUE_CALLS; round++) {
        assert_true(push(&queue, CONTROL_HOOK_PRE_FORK, ++in));
        if (round % 3 != 0)
            continue;
        assert_true(hook_queue_pop(&queue, &call));
        assert_int_equal(call.pid, ++out);
        if (queue.count < HOOK_QUEUE_CALLS / 2)
            continue;
        while (hook_queue_pop(&queue, &call))
            assert_int_equal(call.pid, ++out);
    }
    while (hook_queue_pop(&queue, &call))
        assert_int_equal(call.pid, ++out);
    assert_int_equal(in, out);
}

static void what_does_not_fit_is_counted_and_the_earlier_calls_stay([[maybe_unused]] void **state)
{
    struct hook_queue queue = {};
    struct control_hook call;
    uint32_t room = fill(&queue);
    assert_false(push(&queue, CONTROL_HOOK_CHILD_EXIT, -1));
    assert_false(push(&queue, CONTROL_HOOK_CHILD_EXIT, -1));
    assert_int_equal(hook_queue_take_lost(&queue), 2);
    assert_int_equal(hook_queue_take_lost(&queue), 0);
    for (uint32_t i = 1; i <= room; i++) {
        assert_true(hook_queue_pop(&queue, &call));
        assert_int_equal(call.pid, i);
    }
    assert_false(hook_queue_pop(&queue, &call));
}

static void a_full_queue_has_one_place_for_on_exit([[maybe_unused]] void **state)
{
    struct hook_queue queue = {};
    struct control_hook call = {};
    (void)fill(&queue);
    assert_true(push(&queue, CONTROL_HOOK_ON_EXIT, 0));
    assert_int_equal(queue.count, HOOK_QUEUE_CALLS);
    assert_false(push(&queue, CONTROL_HOOK_ON_EXIT, 0));
    while (hook_queue_pop(&queue, &call))
        continue;
    assert_int_equal(call.hook, CONTROL_HOOK_ON_EXIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_queue_has_nothing),
        cmocka_unit_test(calls_come_out_in_the_order_in_which_they_went_in_however_often_it_wraps),
        cmocka_unit_test(what_does_not_fit_is_counted_and_the_earlier_calls_stay),
        cmocka_unit_test(a_full_queue_has_one_place_for_on_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
