#include "config/setting_toml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/settings_arena.h"

static struct settings settings;

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

static int assign(const char *name, const char *text)
{
    char expected[SETTING_EXPECTED_BYTES];
    char *item = (char *)text;
    struct raw_value raw = {.kind = RAW_TEXT, .items = {1, &item}};

    return setting_assign(&settings, setting_find(name), &raw, false, expected);
}

static char *written(const char *name)
{
    char *text = NULL;
    size_t bytes;
    FILE *output = open_memstream(&text, &bytes);

    setting_write(setting_find(name), &settings, output);
    fclose(output);
    return text;
}

static void values_are_written_as_toml(void **)
{
    static const char *const rows[][3] = {{"timeout", "0.25", "0.25"},
                                          {"timeout", "100", "100"},
                                          {"queue_timeout", "timeout", "\"timeout\""},
                                          {"recv_buffer_size", "4096", "\"4K\""},
                                          {"limit_request_body", "0", "0"},
                                          {"limit_request_line", "8190", "8190"},
                                          {"umask", "022", "0o022"},
                                          {"errorlog", "a\"b\\c\n", "\"a\\\"b\\\\c\\u000A\""},
                                          {"bind", "a,b", "[\"a\", \"b\"]"},
                                          {"secure_scheme_headers", "A=b", "{ \"A\" = \"b\" }"},
                                          {"loglevel", "warn", "\"warning\""}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(assign(rows[i][0], rows[i][1]), 0);
        char *text = written(rows[i][0]);
        assert_string_equal(text, rows[i][2]);
        free(text);
    }
}

static void what_a_file_held_is_shown_as_it_stood_there(void **)
{
    static char one[] = "a=1", two[] = "b=c=d";
    static char *items[] = {one, two};
    static const struct {
        struct raw_value raw;
        const char *shown;
    } rows[] = {{{RAW_TEXT, {1, items}}, "\"a=1\""},
                {{RAW_NUMBER, {1, items}}, "a=1"},
                {{RAW_NONE, {}}, "None"},
                {{RAW_LIST, {2, items}}, "[\"a=1\", \"b=c=d\"]"},
                {{RAW_CALLABLE, {1, items}}, "a callable"},
                {{RAW_PAIRS, {2, items}}, "{ \"a\" = \"1\", \"b\" = \"c=d\" }"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *output = open_memstream(&text, &bytes);
        raw_value_write(&rows[i].raw, output);
        fclose(output);
        assert_string_equal(text, rows[i].shown);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_are_written_as_toml, set_up, tear_down),
        cmocka_unit_test(what_a_file_held_is_shown_as_it_stood_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
