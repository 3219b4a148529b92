#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "daemon/io/timer_wheel.h"

/* A deadline counts from the next tick on. */
static uint64_t due_ms(uint64_t deadline_ms)
{
    return (deadline_ms + TIMER_WHEEL_TICK_MS - 1) / TIMER_WHEEL_TICK_MS * TIMER_WHEEL_TICK_MS;
}

static void count_expiry(struct timer_entry *entry, void *context)
{
    assert_false(timer_armed(entry));
    ++*(int *)context;
}

static struct timer_wheel *wheel_at(uint64_t now_ms)
{
    struct timer_wheel *wheel = malloc(sizeof *wheel);
    assert_non_null(wheel);
    timer_wheel_init(wheel, now_ms);
    return wheel;
}

static void an_empty_wheel_has_no_next_time(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(12345);
    int fired = 0;
    assert_true(timer_wheel_next_ms(wheel) == UINT64_MAX);
    assert_int_equal(timer_wheel_advance(wheel, 1ULL << 50, count_expiry, &fired), 0);
    assert_int_equal(timer_wheel_count(wheel), 0);
    timer_wheel_validate(wheel);
    free(wheel);
}

static void a_timer_fires_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(1000);
    struct timer_entry entry = {};
    int fired = 0;
    timer_wheel_arm(wheel, &entry, 1601);
    timer_wheel_advance(wheel, 1600, count_expiry, &fired);
    assert_int_equal(fired, 0);
    assert_true(timer_armed(&entry));
    timer_wheel_advance(wheel, due_ms(1601), count_expiry, &fired);
    assert_int_equal(fired, 1);
    assert_int_equal(timer_wheel_count(wheel), 0);
    free(wheel);
}

static void a_past_deadline_fires_at_the_next_tick(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(1600);
    struct timer_entry entry = {};
    int fired = 0;
    timer_wheel_arm(wheel, &entry, 3);
    assert_true(timer_wheel_next_ms(wheel) == 1600 + TIMER_WHEEL_TICK_MS);
    timer_wheel_advance(wheel, 1600 + TIMER_WHEEL_TICK_MS, count_expiry, &fired);
    assert_int_equal(fired, 1);
    free(wheel);
}

static void a_disarmed_timer_never_fires_and_may_be_disarmed_again(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(0);
    struct timer_entry entry = {};
    int fired = 0;
    timer_wheel_disarm(wheel, &entry);
    timer_wheel_arm(wheel, &entry, 50);
    timer_wheel_disarm(wheel, &entry);
    timer_wheel_disarm(wheel, &entry);
    assert_int_equal(timer_wheel_count(wheel), 0);
    assert_true(timer_wheel_next_ms(wheel) == UINT64_MAX);
    timer_wheel_advance(wheel, 100000, count_expiry, &fired);
    assert_int_equal(fired, 0);
    free(wheel);
}

static void arming_again_moves_the_deadline(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(0);
    struct timer_entry entry = {};
    int fired = 0;
    timer_wheel_arm(wheel, &entry, 160);
    timer_wheel_arm(wheel, &entry, 16000);
    assert_int_equal(timer_wheel_count(wheel), 1);
    timer_wheel_advance(wheel, 15999, count_expiry, &fired);
    assert_int_equal(fired, 0);
    timer_wheel_advance(wheel, 16000, count_expiry, &fired);
    assert_int_equal(fired, 1);
    free(wheel);
}

static void time_that_goes_back_changes_nothing(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(16000);
    struct timer_entry entry = {};
    int fired = 0;
    timer_wheel_arm(wheel, &entry, 16100);
    assert_int_equal(timer_wheel_advance(wheel, 5, count_expiry, &fired), 0);
    timer_wheel_validate(wheel);
    timer_wheel_advance(wheel, due_ms(16100), count_expiry, &fired);
    assert_int_equal(fired, 1);
    free(wheel);
}

static void a_deadline_of_never_never_comes(void **state)
{
    (void)state;
    struct timer_wheel *wheel = wheel_at(77);
    struct timer_entry entries[3] = {};
    int fired = 0;
    timer_wheel_arm(wheel, &entries[0], UINT64_MAX);
    timer_wheel_arm(wheel, &entries[1], UINT64_MAX - 1);
    timer_wheel_arm(wheel, &entries[2], UINT64_MAX / 2);
    timer_wheel_validate(wheel);
    timer_wheel_advance(wheel, UINT64_MAX, count_expiry, &fired);
    assert_int_equal(fired, 1);
    assert_true(timer_armed(&entries[0]));
    assert_true(timer_armed(&entries[1]));
    timer_wheel_validate(wheel);
    free(wheel);
}

static void far_deadlines_fire_after_one_long_jump_and_after_many_small_ones(void **state)
{
    (void)state;
    static const uint64_t deadlines_ms[] = {1,     1023,    1024,    1025,       65535,
                                            65536, 4194304, 4194305, 1ULL << 36, 1ULL << 50};
    enum { COUNT = sizeof deadlines_ms / sizeof deadlines_ms[0] };
    for (size_t i = 0; i < COUNT; i++) {
        struct timer_wheel *wheel = wheel_at(0);
        struct timer_entry entry = {};
        int fired = 0;
        timer_wheel_arm(wheel, &entry, deadlines_ms[i]);
        int hops = 0;
        while (fired == 0) {
            uint64_t next_ms = timer_wheel_next_ms(wheel);
            assert_true(next_ms <= due_ms(deadlines_ms[i]));
            timer_wheel_advance(wheel, next_ms - 1, count_expiry, &fired);
            assert_int_equal(fired, 0);
            timer_wheel_advance(wheel, next_ms, count_expiry, &fired);
            timer_wheel_validate(wheel);
            assert_true(++hops <= TIMER_WHEEL_LEVELS);
        }
        timer_wheel_arm(wheel, &entry, 1ULL << 58);
        timer_wheel_advance(wheel, 1ULL << 58, count_expiry, &fired);
        assert_int_equal(fired, 2);
        free(wheel);
    }
}

struct party {
    struct timer_wheel *wheel;
    struct timer_entry self;
    struct timer_entry others[8];
    int fired;
};

static void rearm_self_in_the_past(struct timer_entry *entry, void *context)
{
    struct party *party = context;
    party->fired++;
    timer_wheel_arm(party->wheel, entry, 0);
}

static void a_timer_that_rearms_itself_in_the_past_fires_once_per_advance(void **state)
{
    (void)state;
    struct party party = {.wheel = wheel_at(0)};
    timer_wheel_arm(party.wheel, &party.self, 20);
    assert_int_equal(timer_wheel_advance(party.wheel, 1ULL << 40, rearm_self_in_the_past, &party), 1);
    timer_wheel_validate(party.wheel);
    assert_int_equal(timer_wheel_advance(party.wheel, (1ULL << 40) + 16, rearm_self_in_the_past, &party), 1);
    assert_int_equal(party.fired, 2);
    free(party.wheel);
}

static void disarm_the_others(struct timer_entry *entry, void *context)
{
    struct party *party = context;
    (void)entry;
    party->fired++;
    for (size_t i = 0; i < 8; i++)
        timer_wheel_disarm(party->wheel, &party->others[i]);
}

static void a_callback_may_disarm_timers_that_are_due_in_the_same_advance(void **state)
{
    (void)state;
    struct party party = {.wheel = wheel_at(0)};
    timer_wheel_arm(party.wheel, &party.self, 20);
    for (size_t i = 0; i < 8; i++)
        timer_wheel_arm(party.wheel, &party.others[i], i < 4 ? 20 : 20000);
    timer_wheel_advance(party.wheel, 100000, disarm_the_others, &party);
    assert_int_equal(party.fired, 1);
    assert_int_equal(timer_wheel_count(party.wheel), 0);
    timer_wheel_validate(party.wheel);
    free(party.wheel);
}

/* Brute force: a table of deadlines, compared after every step. */
enum { MODEL_TIMERS = 200, MODEL_STEPS = 60000 };

struct model {
    struct timer_wheel *wheel;
    uint64_t now_ms;
    uint64_t seed;
    uint64_t last_due_ms; /* of the expiries of this advance */
    struct model_timer {
        struct timer_entry entry;
        bool armed;
        uint64_t due_ms;
    } timers[MODEL_TIMERS];
};

static uint64_t random_below(struct model *model, uint64_t bound)
{
    model->seed ^= model->seed << 13;
    model->seed ^= model->seed >> 7;
    model->seed ^= model->seed << 17;
    return model->seed % bound;
}

/* Mostly short, sometimes absurdly long, so that every level is used. */
static uint64_t random_span(struct model *model)
{
    return random_below(model, 1ULL << (4 + random_below(model, random_below(model, 8) ? 14 : 44)));
}

static void model_arm(struct model *model, struct model_timer *timer, uint64_t earliest_ms)
{
    uint64_t deadline_ms = model->now_ms + random_span(model) - (random_below(model, 8) ? 0 : random_below(model, 50));
    if (deadline_ms > model->now_ms + (1ULL << 60))
        deadline_ms = 0; /* it went below zero */
    timer_wheel_arm(model->wheel, &timer->entry, deadline_ms);
    timer->armed = true;
    timer->due_ms = due_ms(deadline_ms) < earliest_ms ? earliest_ms : due_ms(deadline_ms);
}

static uint64_t next_tick_ms(uint64_t now_ms)
{
    return now_ms / TIMER_WHEEL_TICK_MS * TIMER_WHEEL_TICK_MS + TIMER_WHEEL_TICK_MS;
}

static void model_expired(struct timer_entry *entry, void *context)
{
    struct model *model = context;
    struct model_timer *timer = TIMER_OWNER(entry, struct model_timer, entry);
    assert_true(timer->armed);
    assert_true(timer->due_ms <= model->now_ms);
    assert_true(timer->due_ms >= model->last_due_ms);
    model->last_due_ms = timer->due_ms;
    timer->armed = false;

    struct model_timer *other = &model->timers[random_below(model, MODEL_TIMERS)];
    switch (random_below(model, 6)) {
    case 0:
        model_arm(model, timer, next_tick_ms(model->now_ms));
        break;
    case 1:
        model_arm(model, other, next_tick_ms(model->now_ms));
        break;
    case 2:
        timer_wheel_disarm(model->wheel, &other->entry);
        other->armed = false;
        break;
    }
}

static void model_advance(struct model *model)
{
    bool to_the_next = random_below(model, 3) == 0 && timer_wheel_count(model->wheel) > 0;
    model->now_ms = to_the_next ? timer_wheel_next_ms(model->wheel) : model->now_ms + random_span(model) / 8;
    model->last_due_ms = 0;
    timer_wheel_advance(model->wheel, model->now_ms, model_expired, model);
}

static void model_compare(const struct model *model)
{
    size_t armed = 0;
    uint64_t first_ms = UINT64_MAX;
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        const struct model_timer *timer = &model->timers[i];
        assert_int_equal(timer->armed, timer_armed(&timer->entry));
        if (!timer->armed)
            continue;
        armed++;
        assert_true(timer->due_ms > model->now_ms);
        first_ms = timer->due_ms < first_ms ? timer->due_ms : first_ms;
    }
    assert_int_equal(armed, timer_wheel_count(model->wheel));
    assert_true(timer_wheel_next_ms(model->wheel) <= first_ms);
    assert_true(armed == 0 || timer_wheel_next_ms(model->wheel) > model->now_ms);
}

static void random_operations_agree_with_a_plain_table(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    *model = (struct model){.seed = 0x9e3779b97f4a7c15, .now_ms = 123456789};
    model->wheel = wheel_at(model->now_ms);

    for (int step = 0; step < MODEL_STEPS; step++) {
        struct model_timer *timer = &model->timers[random_below(model, MODEL_TIMERS)];
        uint64_t choice = random_below(model, 8);
        if (choice < 4)
            model_arm(model, timer, next_tick_ms(model->now_ms));
        else if (choice == 4) {
            timer_wheel_disarm(model->wheel, &timer->entry);
            timer->armed = false;
        } else
            model_advance(model);
        model_compare(model);
        if (step % 64 == 0)
            timer_wheel_validate(model->wheel);
    }
    free(model->wheel);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_wheel_has_no_next_time),
        cmocka_unit_test(a_timer_fires_at_its_deadline_and_not_before),
        cmocka_unit_test(a_past_deadline_fires_at_the_next_tick),
        cmocka_unit_test(a_disarmed_timer_never_fires_and_may_be_disarmed_again),
        cmocka_unit_test(arming_again_moves_the_deadline),
        cmocka_unit_test(time_that_goes_back_changes_nothing),
        cmocka_unit_test(a_deadline_of_never_never_comes),
        cmocka_unit_test(far_deadlines_fire_after_one_long_jump_and_after_many_small_ones),
        cmocka_unit_test(a_timer_that_rearms_itself_in_the_past_fires_once_per_advance),
        cmocka_unit_test(a_callback_may_disarm_timers_that_are_due_in_the_same_advance),
        cmocka_unit_test(random_operations_agree_with_a_plain_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
