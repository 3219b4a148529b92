#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/supervisor/server_shape.h"
#include <cmocka.h>

#include <errno.h>
#include <string.h>

static struct settings usual(void)
{
    return (struct settings){
        .workers = 2,
        .threads = 4,
        .worker_connections = 1'000,
        .rings = 1,
        .request_slots = 4'096,
        .limit_request_fields = 100,
        .recv_buffers = 4'096,
        .recv_buffer_size = 4'096,
        .upload_buffers = 256,
        .upload_buffer_size = 32'768,
        .outbound_arena = 16 << 20,
    };
}

static struct exchange_shape shape_of(const struct settings *settings)
{
    struct exchange_shape shape;
    char why[256];
    assert_int_equal(server_shape_compute(settings, &shape, why, sizeof why), 0);
    return shape;
}

static void two_generations_of_workers_find_room(void **state)
{
    struct settings settings = usual();
    (void)state;
    for (settings.workers = 1; settings.workers <= 252; settings.workers++) {
        struct exchange_shape shape = shape_of(&settings);
        assert_true(shape.apps >= 2 * settings.workers);
        assert_true(server_shape_workers_max(&shape) >= settings.workers);
    }
}

static void a_record_has_room_for_the_field_that_http_2_sends_as_none(void **state)
{
    const struct settings settings = usual();
    (void)state;
    assert_int_equal(shape_of(&settings).fields_max, 101);
}

static void workers_that_leave_no_room_for_a_reload_are_refused(void **state)
{
    struct settings settings = usual();
    struct exchange_shape shape;
    char why[256];
    (void)state;
    settings.workers = 257;
    assert_int_equal(server_shape_compute(&settings, &shape, why, sizeof why), -EINVAL);
    assert_non_null(strstr(why, "workers = 257: at most 256 fit"));
}

static void a_queue_holds_all_places_twice_and_is_a_power_of_two(void **state)
{
    struct settings settings = usual();
    (void)state;
    for (int64_t places = 1; places < 10'000; places = places * 3 + 1) {
        settings.worker_connections = places;
        struct exchange_shape shape = shape_of(&settings);
        assert_int_equal(shape.request_entries & (shape.request_entries - 1), 0);
        assert_true(server_shape_places_max(&shape) >= places);
    }
}

static void threads_alone_count_where_the_class_says_so(void **state)
{
    struct settings settings = usual();
    (void)state;
    settings.worker_class = WORKER_CLASS_GTHREAD;
    assert_int_equal(shape_of(&settings).request_entries, 256);
    settings.worker_class = WORKER_CLASS_ASGI;
    assert_int_equal(shape_of(&settings).request_entries, 4'096);
}

static void an_outbound_arena_is_about_as_large_as_asked_for(void **state)
{
    struct settings settings = usual();
    struct outbound_layout layout;
    (void)state;
    struct exchange_shape shape = shape_of(&settings);
    outbound_layout_compute(&shape, &layout);
    assert_true(layout.bytes >= 16 << 20);
    assert_true(layout.bytes < 17 << 20);
}

static void more_than_the_layout_can_hold_is_refused(void **state)
{
    struct settings settings = usual();
    struct exchange_shape shape;
    char why[256] = "";
    (void)state;
    settings.recv_buffers = 3'000;
    assert_int_equal(server_shape_compute(&settings, &shape, why, sizeof why), -EINVAL);
    assert_true(strlen(why) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_generations_of_workers_find_room),
        cmocka_unit_test(a_record_has_room_for_the_field_that_http_2_sends_as_none),
        cmocka_unit_test(workers_that_leave_no_room_for_a_reload_are_refused),
        cmocka_unit_test(a_queue_holds_all_places_twice_and_is_a_power_of_two),
        cmocka_unit_test(threads_alone_count_where_the_class_says_so),
        cmocka_unit_test(an_outbound_arena_is_about_as_large_as_asked_for),
        cmocka_unit_test(more_than_the_layout_can_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
