/*
 * Settings fixture: loads settings in an empty directory and an environment without settings.
 */
#ifndef TESTS_UNIT_CONFIG_SETTINGS_FIXTURE_H
#define TESTS_UNIT_CONFIG_SETTINGS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/settings_loader.h"

enum { FIXTURE_ARGUMENTS_MAX = 32, FIXTURE_PATH_BYTES = 256 };

struct fixture {
    char directory[FIXTURE_PATH_BYTES];
    struct settings settings;
    struct settings_outcome outcome;
};

static inline void fixture_clear_environment(void)
{
    static const char *const variables[] = {
        "PORT",        "WEB_CONCURRENCY",  "FORWARDED_ALLOW_IPS", "SENDFILE", "TMPDIR", "GUNICORN_CMD_ARGS",
        "VIRTUAL_ENV", "UROBOROS_WORKERS", "UROBOROS_BIND",       "UROBOROS"};

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        unsetenv(variables[i]);
}

static inline int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL)
        return -1;
    strcpy(fixture->directory, "/tmp/uroboros-settings-XXXXXX");
    *state = fixture;
    fixture_clear_environment();
    return mkdtemp(fixture->directory) == NULL || chdir(fixture->directory) < 0 ? -1 : 0;
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[FIXTURE_PATH_BYTES + 16];

    fixture_clear_environment();
    settings_deinit(&fixture->settings);
    settings_outcome_deinit(&fixture->outcome);
    snprintf(command, sizeof(command), "rm -r %s", fixture->directory);
    int status = chdir("/") < 0 ? -1 : system(command);
    free(fixture);
    return status;
}

static inline void fixture_write(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Cuts at blanks into an argument vector that begins with the program's name. */
static inline int fixture_arguments(char *line, char **arguments)
{
    int count = 1;

    arguments[0] = (char *)"uroboros";
    for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
        arguments[count++] = word;
    arguments[count] = NULL;
    return count;
}

static inline enum settings_verdict fixture_load(struct fixture *fixture, const char *line)
{
    char text[1024], *arguments[FIXTURE_ARGUMENTS_MAX];

    settings_deinit(&fixture->settings);
    settings_outcome_deinit(&fixture->outcome);
    snprintf(text, sizeof(text), "%s", line);
    int count = fixture_arguments(text, arguments);
    return settings_load(count, arguments, &fixture->settings, &fixture->outcome);
}

static inline struct settings *fixture_run(struct fixture *fixture, const char *line)
{
    if (fixture_load(fixture, line) != SETTINGS_RUN)
        fail_msg("%s: %s", line, fixture->outcome.message);
    return &fixture->settings;
}

/* The directory's name differs from run to run: `%s` in `message` stands for it. */
static inline void fixture_fail(struct fixture *fixture, const char *line, const char *message)
{
    char expected[SETTINGS_MESSAGE_BYTES];
    const char *directory = strstr(message, "%s");
    int before = directory == NULL ? (int)strlen(message) : (int)(directory - message);

    snprintf(expected, sizeof(expected), "%.*s%s%s", before, message, directory == NULL ? "" : fixture->directory,
             directory == NULL ? "" : directory + 2);
    assert_int_equal(fixture_load(fixture, line), SETTINGS_FAILED);
    assert_string_equal(fixture->outcome.message, expected);
}

static inline bool fixture_warned(const struct fixture *fixture, const char *part)
{
    for (size_t i = 0; i < fixture->outcome.warnings.count; i++)
        if (strstr(fixture->outcome.warnings.items[i], part) != NULL)
            return true;
    return false;
}

#endif
