#include "config/setting_value.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/settings_arena.h"

static struct settings settings;
static char expected[SETTING_EXPECTED_BYTES];

static int set_up(void **)
{
    settings = (struct settings){.arena = settings_arena_create()};
    return settings.arena == NULL ? -1 : settings_assign_defaults(&settings);
}

static int tear_down(void **)
{
    settings_deinit(&settings);
    return 0;
}

static int assign_kind(const char *name, enum raw_kind kind, const char *text)
{
    char *item = (char *)text;
    struct raw_value raw = {.kind = kind, .items = {1, &item}};

    return setting_assign(&settings, setting_find(name), &raw, false, expected);
}

static int assign(const char *name, const char *text)
{
    return assign_kind(name, RAW_TEXT, text);
}

static void assert_refused(const char *name, const char *text, const char *reason)
{
    assert_int_equal(assign(name, text), -EINVAL);
    assert_string_equal(expected, reason);
}

static void whole_numbers_stay_within_their_bounds(void **)
{
    static const char reason[] = "expected a whole number from 1 to 512, or \"auto\"";

    assert_int_equal(assign("workers", "512"), 0);
    assert_int_equal(settings.workers, 512);
    assert_refused("workers", "513", reason);
    assert_refused("workers", "0", reason);
    assert_refused("workers", "-1", reason);
    assert_refused("workers", " 1", reason);
    assert_refused("workers", "1x", reason);
    assert_refused("workers", "1.5", reason);
    assert_refused("workers", "", reason);
    assert_refused("workers", "99999999999999999999", reason);
    assert_int_equal(settings.workers, 512);
}

static void auto_is_kept_until_it_is_resolved(void **)
{
    assert_int_equal(assign("workers", "AUTO"), 0);
    assert_int_equal(settings.workers, SETTING_AUTOMATIC);
    assert_int_equal(assign("threads", "auto"), -EINVAL);
}

static void sizes_take_a_suffix(void **)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } rows[] = {{"0", 0}, {"17", 17}, {"2k", 2048}, {"3M", 3 << 20}, {"1G", 1 << 30}, {"1024G", (int64_t)1 << 40}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(assign("limit_request_body", rows[i].text), 0);
        assert_int_equal(settings.limit_request_body, rows[i].bytes);
    }
    assert_int_equal(assign("limit_request_body", "1T"), -EINVAL);
    assert_int_equal(assign("limit_request_body", "1KB"), -EINVAL);
    assert_int_equal(assign("limit_request_body", "K"), -EINVAL);
    assert_int_equal(assign("limit_request_body", "9007199254740992G"), -EINVAL);
}

static void durations_are_seconds_outside_and_milliseconds_inside(void **)
{
    static const struct {
        const char *text;
        int64_t milliseconds;
    } rows[] = {{"0", 0},       {"30", 30'000},    {"0.25", 250},
                {"2.5", 2'500}, {"1.0009", 1'000}, {"31536000", 31'536'000'000}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(assign("timeout", rows[i].text), 0);
        assert_int_equal(settings.timeout_ms, rows[i].milliseconds);
    }
    assert_refused("timeout", "31536001", "expected seconds from 0 to 31536000, fractions allowed");
    assert_int_equal(assign("timeout", "1."), -EINVAL);
    assert_int_equal(assign("timeout", ".5"), -EINVAL);
    assert_int_equal(assign("timeout", "-1"), -EINVAL);
    assert_int_equal(assign("timeout", "1e3"), -EINVAL);
    assert_int_equal(assign("timeout", "9223372036854775807"), -EINVAL);
}

static void modes_are_octal_behind_a_zero(void **)
{
    assert_int_equal(assign("umask", "022"), 0);
    assert_int_equal(settings.umask, 022);
    assert_int_equal(assign("umask", "0o077"), 0);
    assert_int_equal(settings.umask, 077);
    assert_int_equal(assign("umask", "18"), 0);
    assert_int_equal(settings.umask, 022);
    assert_int_equal(assign_kind("umask", RAW_NUMBER, "18"), 0);
    assert_int_equal(settings.umask, 022);
    assert_int_equal(assign("umask", "01000"), -EINVAL);
    assert_int_equal(assign("umask", "09"), -EINVAL);
}

static void booleans_know_a_few_words(void **)
{
    static const char *const yes[] = {"true", "True", "yes", "on", "1"};
    static const char *const no[] = {"false", "NO", "off", "0"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        settings.reload = false;
        assert_int_equal(assign("reload", yes[i]), 0);
        assert_true(settings.reload);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        settings.reload = true;
        assert_int_equal(assign("reload", no[i]), 0);
        assert_false(settings.reload);
    }
    assert_refused("reload", "maybe", "expected true or false");
    assert_int_equal(assign_kind("reload", RAW_NUMBER, "1"), -EINVAL);
}

static void words_are_those_of_the_table(void **)
{
    assert_int_equal(assign("worker_class", "ASGI"), 0);
    assert_int_equal(settings.worker_class, WORKER_CLASS_ASGI);
    assert_int_equal(assign("worker_class", "uvicorn.workers.UvicornWorker"), 0);
    assert_int_equal(settings.worker_class, WORKER_CLASS_ASGI);
    assert_refused("worker_class", "threads", "expected one of \"auto\", \"sync\", \"gthread\", \"asgi\"");
    assert_refused("worker_class", "tornado",
                   "this class is not built yet; use \"auto\", \"sync\", \"gthread\" or \"asgi\"");
    assert_refused("http2_cleartext", "on", "expected one of \"off\", \"prior-knowledge\", \"both\"");
    assert_int_equal(assign("http2_cleartext", "upgrade"), -EINVAL);
    assert_int_equal(assign_kind("worker_class", RAW_NUMBER, "1"), -EINVAL);
    assert_int_equal(assign_kind("tls_min_version", RAW_NUMBER, "1.3"), 0);
    assert_int_equal(settings.tls_min_version, TLS_MIN_VERSION_13);
}

static void an_empty_string_is_no_string(void **)
{
    assert_int_equal(assign("accesslog", "-"), 0);
    assert_string_equal(settings.accesslog, "-");
    assert_int_equal(assign("accesslog", ""), 0);
    assert_null(settings.accesslog);
    assert_int_equal(assign_kind("accesslog", RAW_NUMBER, "1"), -EINVAL);
    assert_int_equal(assign_kind("user", RAW_NUMBER, "1000"), 0);
    assert_string_equal(settings.user, "1000");
}

static void lists_are_cut_at_commas_where_items_have_none(void **)
{
    assert_int_equal(assign("pythonpath", " a , b,,c "), 0);
    assert_int_equal(settings.pythonpath.count, 3);
    assert_string_equal(settings.pythonpath.items[0], "a");
    assert_string_equal(settings.pythonpath.items[2], "c");
    assert_int_equal(assign("raw_env", "A=1,B=2"), 0);
    assert_int_equal(settings.raw_env.count, 1);
    assert_string_equal(settings.raw_env.items[0], "A=1,B=2");
}

static void appending_keeps_what_is_there(void **)
{
    const char *items[] = {"d", "e"};
    struct raw_value raw = {.kind = RAW_LIST, .items = {2, (char **)items}};

    assert_int_equal(assign("pythonpath", "a,b,c"), 0);
    assert_int_equal(setting_assign(&settings, setting_find("pythonpath"), &raw, true, expected), 0);
    assert_int_equal(settings.pythonpath.count, 5);
    assert_string_equal(settings.pythonpath.items[4], "e");
    assert_int_equal(setting_assign(&settings, setting_find("pythonpath"), &raw, false, expected), 0);
    assert_int_equal(settings.pythonpath.count, 2);
}

static void pairs_have_a_name_and_a_value(void **)
{
    assert_int_equal(assign("secure_scheme_headers", "A=b,C="), 0);
    assert_int_equal(settings.secure_scheme_headers.count, 2);
    assert_int_equal(assign("secure_scheme_headers", "A"), -EINVAL);
    assert_int_equal(assign("secure_scheme_headers", "=b"), -EINVAL);
}

static void a_hook_is_a_function_of_a_file(void **)
{
    assert_int_equal(assign_kind("post_fork", RAW_CALLABLE, "17"), 0);
    assert_int_equal(settings.post_fork, 17);
    assert_int_equal(assign_kind("post_fork", RAW_NONE, ""), 0);
    assert_int_equal(settings.post_fork, 0);
    assert_refused("post_fork", "module:function", "expected a function of a Python settings file");
}

static void a_copy_is_equal_and_apart(void **)
{
    struct settings other = {.arena = settings_arena_create()};

    for (size_t i = 0; i < setting_count(); i++) {
        const struct setting *setting = setting_at(i);
        if (setting->field == SETTING_NO_FIELD)
            continue;
        assert_int_equal(setting_copy(setting, &other, &settings), 0);
        assert_true(setting_equal(setting, &other, &settings));
    }
    assert_ptr_not_equal(other.errorlog, settings.errorlog);
    assert_int_equal(assign("bind", "x"), 0);
    assert_false(setting_equal(setting_find("bind"), &other, &settings));
    settings_deinit(&other);
}

static void a_full_arena_is_an_error_and_no_crash(void **)
{
    char *text = calloc(1, SETTINGS_ARENA_BYTES);

    memset(text, 'a', SETTINGS_ARENA_BYTES - 1);
    assert_int_equal(assign("errorlog", text), -ENOMEM);
    assert_int_equal(assign("bind", text), -ENOMEM);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_numbers_stay_within_their_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(auto_is_kept_until_it_is_resolved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sizes_take_a_suffix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(durations_are_seconds_outside_and_milliseconds_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modes_are_octal_behind_a_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(booleans_know_a_few_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(words_are_those_of_the_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_string_is_no_string, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_are_cut_at_commas_where_items_have_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(appending_keeps_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pairs_have_a_name_and_a_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hook_is_a_function_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_copy_is_equal_and_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_arena_is_an_error_and_no_crash, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
