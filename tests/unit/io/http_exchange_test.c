#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/io/io_scene.h"

/* Of the tally; bodies are tested by http1_input_test.c and request_body_test.c. */

static void an_exchange_counts_until_its_application_is_done(void **state)
{
    (void)state;
    static const struct http_exchange_owner OWNER = {};
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 4, 0);
    struct exchange_tally *tally = exchange_tally_create();
    struct http_exchange *exchange = dispatch_exchange(&scene.dispatch);
    assert_non_null(tally);
    assert_non_null(exchange);
    exchange->owner = &OWNER;
    exchange->body_ended = true;
    exchange_tally_join(tally, exchange);
    assert_true(dispatch_submit(&scene.dispatch, exchange));
    struct message request = scene_begin(&scene, 0);
    dispatch_let_go(&scene.dispatch, exchange, true);
    scene_turns(&scene, 2);
    assert_int_equal(tally->exchanges, 1);
    scene_done(&scene, 0, &request);
    scene_turns(&scene, 2);
    assert_int_equal(tally->exchanges, 0);
    exchange_tally_forget(tally);
    scene_close(&scene);
}

static void a_forgotten_tally_goes_with_its_last_exchange(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    struct exchange_tally *tally = exchange_tally_create();
    struct http_exchange *exchanges[2];
    for (size_t i = 0; i < 2; i++) {
        exchanges[i] = dispatch_exchange(&scene.dispatch);
        exchange_tally_join(tally, exchanges[i]);
    }
    assert_int_equal(tally->exchanges, 2);
    exchange_tally_forget(tally); /* the sanitizers see a leak, or a use after it is freed */
    dispatch_let_go(&scene.dispatch, exchanges[0], true);
    assert_int_equal(tally->exchanges, 1);
    dispatch_let_go(&scene.dispatch, exchanges[1], true);
    scene_close(&scene);
}

static void a_tally_of_nothing_is_forgotten_at_once(void **state)
{
    (void)state;
    exchange_tally_forget(NULL);
    exchange_tally_forget(exchange_tally_create());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_counts_until_its_application_is_done),
        cmocka_unit_test(a_forgotten_tally_goes_with_its_last_exchange),
        cmocka_unit_test(a_tally_of_nothing_is_forgotten_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
