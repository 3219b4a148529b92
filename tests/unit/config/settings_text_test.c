#include "config/settings_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct settings defaults;

static int set_up(void **)
{
    defaults = (struct settings){.arena = settings_arena_create()};
    return defaults.arena == NULL ? -1 : settings_assign_defaults(&defaults);
}

static int tear_down(void **)
{
    settings_deinit(&defaults);
    return 0;
}

static char *contents(const char *path)
{
    FILE *file = fopen(path, "r");

    if (file == NULL)
        fail_msg("%s is missing", path);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static char *printed(void (*print)(FILE *output, const struct settings *defaults))
{
    char *text = NULL;
    size_t bytes;
    FILE *output = open_memstream(&text, &bytes);

    print(output, &defaults);
    fclose(output);
    return text;
}

static void assert_current(const char *path, void (*print)(FILE *output, const struct settings *defaults),
                           const char *command)
{
    char *committed = contents(path), *fresh = printed(print);

    if (strcmp(committed, fresh) != 0)
        fail_msg("%s is not what the table says; renew it: uroboros %s > %s", path, command, path);
    free(committed);
    free(fresh);
}

static void the_committed_default_file_is_current(void **)
{
    assert_current(TESTS_DIR "/../config/default.toml", settings_print_default_file, "--print-default-config");
}

static void the_committed_reference_page_is_current(void **)
{
    assert_current(TESTS_DIR "/../docs/settings.md", settings_print_reference, "--print-settings-reference");
}

static void the_reference_page_has_every_setting(void **)
{
    char *text = printed(settings_print_reference);

    for (size_t i = 0; i < setting_count(); i++) {
        char heading[128];
        snprintf(heading, sizeof(heading), "\n### %s\n", setting_at(i)->name);
        assert_int_equal(strstr(text, heading) != NULL, setting_at(i)->group != NULL);
    }
    free(text);
}

static void help_shows_what_has_effect_and_nothing_else(void **)
{
    char *text = NULL;
    size_t bytes;
    FILE *output = open_memstream(&text, &bytes);

    settings_print_help(output, 80);
    fclose(output);
    assert_non_null(strstr(text, "\n  -w, --workers N "));
    assert_non_null(strstr(text, "--no-sendfile"));
    assert_null(strstr(text, "--logger-class"));
    assert_non_null(strstr(text, "\n  --proxy-protocol[=WORD] "));
    assert_non_null(strstr(text, "\n  --head-timeout SECONDS "));
    assert_non_null(strstr(text, "--certfile LIST"));
    assert_null(strstr(text, "--listen"));
    assert_null(strstr(text, "--dirty"));
    assert_null(strstr(text, "post"));
    free(text);
}

static void the_manual_escapes_what_roff_would_take_for_its_own(void **)
{
    char *text = printed(settings_print_manual_settings);

    assert_non_null(strstr(text, "\n.SS Limits\n.TP\n.B limit_request_line\n"));
    assert_non_null(strstr(text, "Default: 2048.\n"));
    assert_non_null(strstr(text, "\\(aq"));
    assert_null(strchr(text, '`'));
    for (const char *line = text; (line = strstr(line, "\n.")) != NULL; line++)
        assert_true(strncmp(line, "\n.TP\n", 5) == 0 || strncmp(line, "\n.B ", 4) == 0 ||
                    strncmp(line, "\n.SS ", 5) == 0 || strncmp(line, "\n.br\n", 5) == 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_committed_default_file_is_current, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_committed_reference_page_is_current, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_reference_page_has_every_setting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(help_shows_what_has_effect_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_manual_escapes_what_roff_would_take_for_its_own, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
