#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/io/dispatch_queue.h"

enum { CLIENTS = 3, EXCHANGES = 8 };

/* Clients A, B, C and what they have. An exchange is known by its slot: 0 to 7 of A, 10 to 17 of B, 20 to 27 of C. */
struct queue_scene {
    struct dispatch_queue queue;
    struct dispatch_lane lanes[CLIENTS];
    struct http_exchange exchanges[CLIENTS][EXCHANGES];
};

static void open_queue(struct queue_scene *scene)
{
    *scene = (struct queue_scene){};
    for (uint32_t client = 0; client < CLIENTS; client++)
        for (uint32_t i = 0; i < EXCHANGES; i++) {
            scene->exchanges[client][i].slot = 10 * client + i;
            scene->exchanges[client][i].lane = &scene->lanes[client];
        }
}

static struct http_exchange *at(struct queue_scene *scene, uint32_t slot)
{
    return &scene->exchanges[slot / 10][slot % 10];
}

static void append(struct queue_scene *scene, uint32_t slot)
{
    dispatch_queue_append(&scene->queue, at(scene, slot));
}

static void expect_taken(struct queue_scene *scene, uint32_t slot)
{
    assert_non_null(scene->queue.first);
    struct http_exchange *exchange = dispatch_queue_take(&scene->queue, scene->queue.first);
    assert_int_equal(exchange->slot, slot);
}

static void expect_empty(struct queue_scene *scene)
{
    assert_int_equal(scene->queue.count, 0);
    assert_null(scene->queue.first);
    assert_null(scene->queue.last);
}

static void one_client_is_served_oldest_first(void **state)
{
    (void)state;
    static struct queue_scene scene;
    open_queue(&scene);
    for (uint32_t slot = 0; slot < 3; slot++)
        append(&scene, slot);
    assert_int_equal(scene.queue.count, 3);
    for (uint32_t slot = 0; slot < 3; slot++)
        expect_taken(&scene, slot);
    expect_empty(&scene);
}

static void many_of_one_client_do_not_stand_before_one_of_another(void **state)
{
    (void)state;
    static struct queue_scene scene;
    static const uint32_t order[] = {0, 10, 20, 1, 21, 2, 3};
    open_queue(&scene);
    for (uint32_t slot = 0; slot < 4; slot++)
        append(&scene, slot);
    append(&scene, 10);
    append(&scene, 20);
    append(&scene, 21);
    for (uint32_t i = 0; i < sizeof order / sizeof order[0]; i++)
        expect_taken(&scene, order[i]);
    expect_empty(&scene);
}

static void who_comes_back_after_being_served_goes_behind_the_others(void **state)
{
    (void)state;
    static struct queue_scene scene;
    open_queue(&scene);
    append(&scene, 0);
    append(&scene, 10);
    expect_taken(&scene, 0);
    append(&scene, 1);
    expect_taken(&scene, 10);
    expect_taken(&scene, 1);
    expect_empty(&scene);
}

static void what_is_put_back_is_taken_next(void **state)
{
    (void)state;
    static struct queue_scene scene;
    open_queue(&scene);
    for (uint32_t slot = 0; slot < 3; slot++)
        append(&scene, slot);
    append(&scene, 10);
    expect_taken(&scene, 0); /* its client has had its turn ... */
    dispatch_queue_put_back(&scene.queue, at(&scene, 0));
    expect_taken(&scene, 0); /* ... but it came to nothing */
    expect_taken(&scene, 10);
    dispatch_queue_put_back(&scene.queue, at(&scene, 20));
    expect_taken(&scene, 20);
    expect_taken(&scene, 1);
    expect_taken(&scene, 2);
    expect_empty(&scene);
}

static void what_is_removed_leaves_the_others_in_order(void **state)
{
    (void)state;
    static struct queue_scene scene;
    open_queue(&scene);
    for (uint32_t slot = 0; slot < 3; slot++)
        append(&scene, slot);
    append(&scene, 10);
    append(&scene, 20);
    dispatch_queue_remove(&scene.queue, at(&scene, 10)); /* a lane in the middle */
    dispatch_queue_remove(&scene.queue, at(&scene, 1));
    expect_taken(&scene, 0);
    dispatch_queue_remove(&scene.queue, at(&scene, 2)); /* the last lane */
    expect_taken(&scene, 20);
    expect_empty(&scene);
    append(&scene, 10);
    expect_taken(&scene, 10);
    expect_empty(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_client_is_served_oldest_first),
        cmocka_unit_test(many_of_one_client_do_not_stand_before_one_of_another),
        cmocka_unit_test(who_comes_back_after_being_served_goes_behind_the_others),
        cmocka_unit_test(what_is_put_back_is_taken_next),
        cmocka_unit_test(what_is_removed_leaves_the_others_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
