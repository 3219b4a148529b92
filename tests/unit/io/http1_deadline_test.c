#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/http1_scene.h"

static void a_slow_head_is_answered_with_408(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, "GET / HT");
    scene_wait(&scene, 9'900);
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_wait(&scene, 200);
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 408");
    scene_close(&scene);
}

static void a_silent_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_wait(&scene, 5'100);
    scene_wait(&scene, 5'100);
    scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene, fd));
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_close(&scene);
}

static void a_stuck_body_is_answered_with_408(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    scene.core.settings.body_rate_min = 0;
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, POST("Content-Length: 4\r\n\r\nab"));
    struct message request = scene_begin(&scene, 0);
    scene_wait(&scene, 29'900);
    assert_string_equal(scene_heard(&scene, fd), "");
    scene_wait(&scene, 200);
    expect_in(scene_heard(&scene, fd), "HTTP/1.1 408");
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void a_body_below_the_rate_is_ended_and_a_client_that_may_not_send_is_not(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    scene.core.settings.timeout_ms = 0;
    int slow = scene_connect(&scene);
    int held = scene_connect(&scene);
    static char kibibytes[80 * 1024 + 1];
    memset(kibibytes, 'x', sizeof kibibytes - 1);
    scene_say(&scene, slow, POST("Content-Length: 400000\r\n\r\nab"));
    struct message first = scene_begin(&scene, 0);
    scene_say(&scene, held, POST("Content-Length: 90000\r\n\r\n"));
    struct message second = scene_begin(&scene, 0);
    struct message message;
    scene_say(&scene, held, kibibytes); /* the application takes 64 KiB, and then nothing for two minutes */
    uint32_t waiting = 0;
    while (scene_take(&scene, 0, &message))
        waiting += message.body_length;
    assert_true(waiting >= 65'536);
    for (int seconds = 0; seconds < 120; seconds += 5)
        scene_wait(&scene, 5'000);
    expect_in(scene_heard(&scene, slow), "HTTP/1.1 408");
    assert_string_equal(scene_heard(&scene, held), "");
    struct message consumed = {
        .kind = MESSAGE_CONSUMED, .slot = second.slot, .generation = second.generation, .count = waiting};
    scene_reply(&scene, 0, &consumed);
    scene_wait(&scene, 2'000);
    scene_wait(&scene, 2'000);
    assert_string_equal(scene_heard(&scene, held), "");
    scene_done(&scene, 0, &first);
    scene_done(&scene, 0, &second);
    scene_close(&scene);
}

/* How many ticks of that time find a deadline that has passed already. */
static uint32_t ticks_overdue(struct scene *scene, uint64_t ms)
{
    uint32_t ticks = 0;
    for (uint64_t at = 0; at < ms; at += TIMER_WHEEL_TICK_MS) {
        scene_wait(scene, TIMER_WHEEL_TICK_MS);
        const struct connection *connection = scene->connections.by_index[0];
        assert_non_null(connection);
        ticks += connection->deadline_ms != 0 && connection->deadline_ms <= scene->core.now_ms;
    }
    return ticks;
}

static void a_body_that_is_slow_enough_is_looked_at_once_a_second(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    static char start[40'001];
    memset(start, 'x', sizeof start - 1);
    scene_say(&scene, fd, POST("Content-Length: 400000\r\n\r\n"));
    struct message request = scene_begin(&scene, 0);
    scene_say(&scene, fd, start);
    scene_wait(&scene, 11'000);
    assert_true(ticks_overdue(&scene, 4'000) <= 6);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
}

static void a_refused_client_that_does_not_read_costs_no_timer_a_tick(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, "GET / HT");
    scene_wait(&scene, 10'100); /* 408, which it does not take */
    assert_true(ticks_overdue(&scene, 4'000) <= 2);
    scene_wait(&scene, 27'000);
    assert_true(scene_is_closed(&scene, fd)); /* by write_timeout */
    scene_close(&scene);
}

static void a_client_that_does_not_take_its_answer_is_reset(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scripted_at(scene.core.ring, fd)->send_stalled = true;
    scene_say(&scene, fd, GET("/"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "unwanted");
    scene_wait(&scene, 29'000);
    assert_false(scene_is_closed(&scene, fd));
    scene_wait(&scene, 1'100);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

static void an_idle_connection_is_parked_and_wakes_and_ends(void **state)
{
    (void)state;
    struct scene scene;
    open_with_app(&scene, NULL);
    int fd = scene_connect(&scene);
    scene_say(&scene, fd, GET("/1"));
    struct message request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "one");
    scene_wait(&scene, CONNECTION_PARK_MS + 50);
    assert_false(scripted_at(scene.core.ring, fd)->receive.armed);
    assert_true(scripted_at(scene.core.ring, fd)->poll.armed);
    scene_say(&scene, fd, GET("/2"));
    request = scene_begin(&scene, 0);
    answer(&scene, 0, &request, "two");
    expect_in(scene_heard(&scene, fd), "two");
    scene_wait(&scene, CONNECTION_PARK_MS + 50);
    scene_wait(&scene, 75'000);
    scene_wait(&scene, CONNECTION_LINGER_MS + 50);
    assert_true(scene_is_closed(&scene, fd));
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_head_is_answered_with_408),
        cmocka_unit_test(a_silent_connection_is_closed_without_a_word),
        cmocka_unit_test(a_stuck_body_is_answered_with_408),
        cmocka_unit_test(a_body_below_the_rate_is_ended_and_a_client_that_may_not_send_is_not),
        cmocka_unit_test(a_body_that_is_slow_enough_is_looked_at_once_a_second),
        cmocka_unit_test(a_refused_client_that_does_not_read_costs_no_timer_a_tick),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_reset),
        cmocka_unit_test(an_idle_connection_is_parked_and_wakes_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
