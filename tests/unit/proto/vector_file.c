#include "tests/unit/proto/vector_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { CASES_MAX = 1'000, LINE_BYTES = 1'024, PATH_BYTES = 512 };

/* Texts and lines ---------------------------------------------------------------------------------------------- */

void text_append(struct text *text, const void *data, size_t length)
{
    if (text->room < text->length + length + 1) {
        text->room = 2 * (text->length + length + 1);
        text->data = realloc(text->data, text->room);
        assert_non_null(text->data);
    }
    if (length > 0)
        memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_print(struct text *text, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    assert_in_range(length, 0, sizeof(line) - 1);
    text_append(text, line, (size_t)length);
}

size_t line_length(const char *line)
{
    return strcspn(line, "\n");
}

const char *next_line(const char *line)
{
    size_t length = line_length(line);
    return line + length + (line[length] == '\n');
}

bool begins_with(const char *line, const char *prefix)
{
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

bool line_matches(const char *line, const char *wanted)
{
    size_t length = line_length(wanted);
    if (length >= 3 && strncmp(wanted + length - 3, "...", 3) == 0)
        return strncmp(line, wanted, length - 3) == 0;
    return line_length(line) == length && strncmp(line, wanted, length) == 0;
}

/* Cases -------------------------------------------------------------------------------------------------------- */

struct cases {
    const struct vector_kind *kind;
    size_t count;
    struct CMUnitTest tests[CASES_MAX];
};

static void add_case(struct cases *cases, const char *name)
{
    assert_in_range(cases->count, 0, CASES_MAX - 1);
    char *copy = strdup(name);
    assert_non_null(copy);
    cases->tests[cases->count++] = (struct CMUnitTest){copy, cases->kind->run, NULL, NULL, cases->kind->create(copy)};
}

static void finish_case(const struct cases *cases)
{
    if (cases->count > 0 && cases->kind->finish != NULL)
        cases->kind->finish(cases->tests[cases->count - 1].initial_state);
}

static void read_line(struct cases *cases, char *line, bool *has_case)
{
    if (begins_with(line, "case ")) {
        if (*has_case)
            finish_case(cases);
        add_case(cases, line + strlen("case "));
        *has_case = true;
        return;
    }
    assert_true(*has_case);
    cases->kind->read_line(cases->tests[cases->count - 1].initial_state, line);
}

static void read_file(struct cases *cases, const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0;
    bool has_case = false;
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        line[length - (line[length - 1] == '\n')] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            read_line(cases, line, &has_case);
    }
    assert_true(has_case);
    finish_case(cases);
    free(line);
    fclose(file);
}

static void read_directory(struct cases *cases)
{
    DIR *listing = opendir(cases->kind->directory);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".txt") != 0)
            continue;
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s/%s", cases->kind->directory, entry->d_name);
        read_file(cases, path);
    }
    closedir(listing);
    assert_true(cases->count > 0);
}

int vector_files_run(const struct vector_kind *kind)
{
    struct cases *cases = calloc(1, sizeof *cases);
    assert_non_null(cases);
    cases->kind = kind;
    read_directory(cases);
    int failed = _cmocka_run_group_tests(kind->name, cases->tests, cases->count, NULL, NULL);
    for (size_t i = 0; i < cases->count; i++) {
        kind->destroy(cases->tests[i].initial_state);
        free((void *)(uintptr_t)cases->tests[i].name);
    }
    free(cases);
    return failed;
}
