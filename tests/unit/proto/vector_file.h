/*
 * Vector file: text files with the cases of a test, bytes first and expected events after, and what all programs that
 * run such files do alike: growing texts, lines, and a cmocka test for each case.
 *
 * A file has lines; empty ones and those that begin with # are nobody's, "case NAME" begins a case, all others belong
 * to it. What they mean is told by the README of the files, and known to the program.
 */
#ifndef TESTS_UNIT_PROTO_VECTOR_FILE_H
#define TESTS_UNIT_PROTO_VECTOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed it is empty, without data; else its data ends with a NUL that is not counted. free() ends it. */
struct text {
    char *data;
    size_t length;
    size_t room;
};

void text_append(struct text *text, const void *data, size_t length);
__attribute__((format(printf, 2, 3))) void text_print(struct text *text, const char *format, ...);

/* Lines end with LF or with the text. */
size_t line_length(const char *line);
const char *next_line(const char *line);
bool begins_with(const char *line, const char *prefix);
/* They are the same, or `wanted` ends with "..." and `line` begins like it. */
bool line_matches(const char *line, const char *wanted);

struct vector_kind {
    const char *name;      /* of the group of tests */
    const char *directory; /* all of its files that end with .txt */
    void (*run)(void **state);
    void *(*create)(const char *name);           /* of a case; lives as long as it */
    void (*read_line)(void *vector, char *line); /* without its end */
    void (*finish)(void *vector);                /* after the last line; NULL: nothing to do */
    void (*destroy)(void *vector);
};

/* What main() returns. */
int vector_files_run(const struct vector_kind *kind);

#endif
