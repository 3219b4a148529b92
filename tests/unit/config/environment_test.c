#include "config/environment.h"

#include "tests/unit/config/settings_fixture.h"

static void platform_variables_are_defaults_only(void **state)
{
    setenv("PORT", "9001", 1);
    setenv("WEB_CONCURRENCY", "3", 1);
    setenv("FORWARDED_ALLOW_IPS", "*", 1);
    setenv("SENDFILE", "no", 1);
    struct settings *settings = fixture_run(*state, "a:b");
    assert_string_equal(settings->bind.items[0], "0.0.0.0:9001");
    assert_int_equal(settings->workers, 3);
    assert_string_equal(settings->forwarded_allow_ips.items[0], "*");
    assert_false(settings->sendfile);

    fixture_write("gunicorn.conf.py", "workers = 4\n");
    settings = fixture_run(*state, "a:b -b :1 --forwarded-allow-ips 10.0.0.1");
    assert_int_equal(settings->bind.count, 1);
    assert_string_equal(settings->bind.items[0], ":1");
    assert_int_equal(settings->workers, 4);
    assert_string_equal(settings->forwarded_allow_ips.items[0], "10.0.0.1");
}

static void each_source_wins_over_the_one_below(void **state)
{
    fixture_write("uroboros.toml", "workers = 2\nthreads = 2\ntimeout = 2\nbacklog = 2\n");
    setenv("GUNICORN_CMD_ARGS", "--threads 3 --timeout=3 --backlog '3'", 1);
    setenv("UROBOROS_TIMEOUT", "4", 1);
    setenv("UROBOROS_BACKLOG", "4", 1);
    struct settings *settings = fixture_run(*state, "a:b --backlog 5");
    unsetenv("UROBOROS_TIMEOUT");
    unsetenv("UROBOROS_BACKLOG");

    assert_int_equal(settings->workers, 2);
    assert_int_equal(settings->threads, 3);
    assert_int_equal(settings->timeout_ms, 4000);
    assert_int_equal(settings->backlog, 5);
}

static void a_list_of_a_stronger_source_replaces_the_weaker_one(void **state)
{
    setenv("GUNICORN_CMD_ARGS", "-b :1 -b :2", 1);
    assert_int_equal(fixture_run(*state, "a:b")->bind.count, 2);
    assert_int_equal(fixture_run(*state, "a:b -b :3")->bind.count, 1);
}

static void an_empty_variable_is_not_there(void **state)
{
    setenv("UROBOROS_WORKERS", "", 1);
    setenv("PORT", "", 1);
    struct settings *settings = fixture_run(*state, "a:b");

    assert_int_equal(settings->workers, 1);
    assert_string_equal(settings->bind.items[0], "127.0.0.1:8000");
}

static void a_wrong_value_names_the_variable(void **state)
{
    setenv("UROBOROS_WORKERS", "x", 1);
    fixture_fail(*state, "a:b",
                 "uroboros: environment: UROBOROS_WORKERS = \"x\": expected a whole number from 1 to 512, "
                 "or \"auto\"");
    unsetenv("UROBOROS_WORKERS");
    setenv("WEB_CONCURRENCY", "0", 1);
    fixture_fail(*state, "a:b",
                 "uroboros: environment: WEB_CONCURRENCY = \"0\": expected a whole number from 1 to 512, "
                 "or \"auto\"");
    unsetenv("WEB_CONCURRENCY");
    setenv("PORT", "70000", 1);
    fixture_fail(*state, "a:b",
                 "uroboros: environment: PORT = \"0.0.0.0:70000\": \"0.0.0.0:70000\": expected a port "
                 "from 0 to 65535");
    unsetenv("PORT");
    setenv("GUNICORN_CMD_ARGS", "-w 'x", 1);
    fixture_fail(*state, "a:b", "uroboros: environment: GUNICORN_CMD_ARGS: a quote is not closed");
    setenv("GUNICORN_CMD_ARGS", "-w x", 1);
    fixture_fail(*state, "a:b",
                 "uroboros: GUNICORN_CMD_ARGS: -w = \"x\": expected a whole number from 1 to 512, or \"auto\"");
}

static void a_slip_in_a_name_is_an_error_and_a_foreign_name_a_warning(void **state)
{
    setenv("UROBOROS_WORKER", "3", 1);
    fixture_fail(*state, "a:b",
                 "uroboros: environment: unknown setting UROBOROS_WORKER; the nearest setting is \"workers\"");
    unsetenv("UROBOROS_WORKER");
    setenv("UROBOROS_SERVICE_HOST", "10.0.0.1", 1);
    setenv("UROBOROS_LIVE_COUNTERS", "1", 1);
    fixture_run(*state, "a:b");
    unsetenv("UROBOROS_SERVICE_HOST");
    unsetenv("UROBOROS_LIVE_COUNTERS");
    assert_int_equal(((struct fixture *)*state)->outcome.warnings.count, 1);
    assert_true(fixture_warned(*state, "UROBOROS_SERVICE_HOST is not a setting; ignored"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(platform_variables_are_defaults_only, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(each_source_wins_over_the_one_below, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_list_of_a_stronger_source_replaces_the_weaker_one, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_empty_variable_is_not_there, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_value_names_the_variable, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_slip_in_a_name_is_an_error_and_a_foreign_name_a_warning, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
