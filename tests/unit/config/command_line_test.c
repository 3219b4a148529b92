#include "config/command_line.h"

#include "tests/unit/config/settings_fixture.h"

static void values_stand_behind_or_inside_the_option(void **state)
{
    static const char *const spellings[] = {"-w 7", "-w7", "-w=7", "--workers 7", "--workers=7", "--w 7 -w 7"};

    for (size_t i = 0; i < 5; i++) {
        char line[64];
        snprintf(line, sizeof(line), "a:b %s", spellings[i]);
        assert_int_equal(fixture_run(*state, line)->workers, 7);
    }
    fixture_fail(*state, spellings[5], "uroboros: command line: unknown option --w; --help lists them all");
}

static void dashes_and_underscores_are_the_same_in_long_options(void **state)
{
    assert_int_equal(fixture_run(*state, "a:b --limit-request-field_size 100")->limit_request_field_size, 100);
    assert_int_equal(fixture_run(*state, "a:b --limit_request_field_size=101")->limit_request_field_size, 101);
    assert_int_equal(fixture_run(*state, "a:b --limit-request-field-size=102")->limit_request_field_size, 102);
    assert_int_equal(fixture_run(*state, "a:b --keep-alive 3")->keepalive_ms, 3000);
    assert_int_equal(fixture_run(*state, "a:b --keepalive 4")->keepalive_ms, 4000);
}

static void booleans_stand_alone_or_negated(void **state)
{
    assert_true(fixture_run(*state, "-D a:b")->daemon);
    assert_true(fixture_run(*state, "--preload a:b")->preload_app);
    assert_false(fixture_run(*state, "--no-sendfile a:b")->sendfile);
    assert_false(fixture_run(*state, "--no-capture_output a:b")->capture_output);
    assert_true(fixture_run(*state, "--no-control-socket a:b")->control_socket_disable);
    assert_false(fixture_run(*state, "--daemon=false a:b")->daemon);
    assert_true(fixture_run(*state, "-DR a:b")->daemon);
    fixture_fail(*state, "--no-daemon=1", "uroboros: command line: --no-daemon takes no value");
    fixture_fail(*state, "--no-workers",
                 "uroboros: command line: unknown option --no-workers; the nearest setting is "
                 "--workers");
}

static void a_word_that_may_stand_alone_takes_only_its_words(void **state)
{
    assert_int_equal(fixture_run(*state, "--proxy-protocol a:b")->proxy_protocol, PROXY_PROTOCOL_AUTO);
    assert_int_equal(fixture_run(*state, "--proxy-protocol v2 a:b")->proxy_protocol, PROXY_PROTOCOL_V2);
    assert_int_equal(fixture_run(*state, "a:b --proxy-protocol=v1")->proxy_protocol, PROXY_PROTOCOL_V1);
}

static void repeated_lists_grow_and_repeated_values_replace(void **state)
{
    struct settings *settings = fixture_run(*state, "a:b -b :1 -b :2 --bind=:3,:4 -e A=1,2 -e B=3 -w 2 -w 3");

    assert_int_equal(settings->bind.count, 4);
    assert_string_equal(settings->bind.items[3], ":4");
    assert_int_equal(settings->raw_env.count, 2);
    assert_string_equal(settings->raw_env.items[0], "A=1,2");
    assert_int_equal(settings->workers, 3);
}

static void the_application_is_the_word_that_is_no_option(void **state)
{
    assert_string_equal(fixture_run(*state, "-w 2 mod:app -t 3")->wsgi_app, "mod:app");
    assert_string_equal(fixture_run(*state, "-w 2 -- mod:app")->wsgi_app, "mod:app");
    assert_string_equal(fixture_run(*state, "-w2 -- -odd")->wsgi_app, "-odd");
    fixture_fail(*state, "a b",
                 "uroboros: command line: \"b\" is one argument too many: the application is named already");
}

static void what_is_wrong_is_said_with_the_option(void **state)
{
    fixture_fail(*state, "a:b -w", "uroboros: command line: -w needs a value");
    fixture_fail(*state, "a:b --workers many",
                 "uroboros: command line: --workers = \"many\": expected a whole number from 1 to 512, or \"auto\"");
    fixture_fail(*state, "a:b --worker 3",
                 "uroboros: command line: unknown option --worker; the nearest setting is --workers");
    fixture_fail(*state, "a:b -Z", "uroboros: command line: unknown option -Z; --help lists them all");
    fixture_fail(*state, "a:b --post-fork x",
                 "uroboros: command line: --post-fork = \"x\": expected a function of a Python settings file");
}

static struct string_list split(struct settings_arena *arena, const char *text)
{
    struct string_list words = {};

    assert_int_equal(command_line_split(text, arena, &words), 0);
    return words;
}

static void shell_words_keep_what_quotes_hold(void **)
{
    struct settings_arena *arena = settings_arena_create();
    struct string_list words = split(arena, "  -w 3 --name 'a b' \"c 'd'\" e\\ f --x='y z' ''");

    assert_int_equal(words.count, 8);
    assert_string_equal(words.items[3], "a b");
    assert_string_equal(words.items[4], "c 'd'");
    assert_string_equal(words.items[5], "e f");
    assert_string_equal(words.items[6], "--x=y z");
    assert_string_equal(words.items[7], "");
    assert_int_equal(split(arena, " \t\n").count, 0);
    assert_true(command_line_split("a 'b", arena, &words) < 0);
    settings_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_stand_behind_or_inside_the_option, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(dashes_and_underscores_are_the_same_in_long_options, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(booleans_stand_alone_or_negated, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_word_that_may_stand_alone_takes_only_its_words, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(repeated_lists_grow_and_repeated_values_replace, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(the_application_is_the_word_that_is_no_option, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said_with_the_option, fixture_set_up, fixture_tear_down),
        cmocka_unit_test(shell_words_keep_what_quotes_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
