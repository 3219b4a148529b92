#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "daemon/io/log_text.h"

enum { LINE_BYTES = 64 };

struct line {
    char text[LINE_BYTES + 1];
    struct log_text out;
};

static struct log_text *begin(struct line *line, size_t bytes)
{
    *line = (struct line){};
    line->out = (struct log_text){.at = line->text, .end = line->text + bytes};
    return &line->out;
}

static void text_is_cut_where_the_line_ends_and_nothing_follows(void **)
{
    struct line line;
    struct log_text *out = begin(&line, 5);
    log_text_put(out, "abcdefg", 7);
    assert_true(out->full);
    log_text_put_decimal(out, 7);
    assert_string_equal(line.text, "abcde");
}

static void numbers_are_decimal(void **)
{
    struct line line;
    log_text_put_decimal(begin(&line, LINE_BYTES), 0);
    assert_string_equal(line.text, "0");
    log_text_put_decimal(begin(&line, LINE_BYTES), UINT64_MAX);
    assert_string_equal(line.text, "18446744073709551615");
    log_text_put_seconds(begin(&line, LINE_BYTES), 2'000'045);
    assert_string_equal(line.text, "2.000045");
}

/* What a client sent, and how it stands in a line and in JSON. */
static const struct {
    struct bytes value;
    const char *plain;
    const char *json;
} escapes[] = {
    {BYTES_LITERAL("a b"), "a b", "a b"},
    {BYTES_LITERAL("\"\\"), "\\\"\\\\", "\\\"\\\\"},
    {BYTES_LITERAL("\r\n\x7f"), "\\x0d\\x0a\\x7f", "\\u000d\\u000a\\u007f"},
    {BYTES_LITERAL("\xc3\xa4"), "\\xc3\\xa4", "\xc3\xa4"},
    {BYTES_LITERAL("\xc2\x85"), "\\xc2\\x85", "\\u0085"},
    {BYTES_LITERAL("\xe2\x80\xa8"), "\\xe2\\x80\\xa8", "\\u2028"},
    {BYTES_LITERAL("\xed\xa0\x80"), "\\xed\\xa0\\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {BYTES_LITERAL("\xf4\x90"), "\\xf4\\x90", "\xef\xbf\xbd\xef\xbf\xbd"},
};

static void what_a_client_sent_cannot_end_a_line_or_a_string(void **)
{
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        struct line line;
        log_text_put_escaped(begin(&line, LINE_BYTES), escapes[i].value, LINE_BYTES, log_text_escape_plain);
        assert_string_equal(line.text, escapes[i].plain);
        log_text_put_escaped(begin(&line, LINE_BYTES), escapes[i].value, LINE_BYTES, log_text_escape_json);
        assert_string_equal(line.text, escapes[i].json);
    }
}

static void an_escape_is_never_cut_in_the_middle(void **)
{
    for (size_t bytes = 0; bytes < 6; bytes++) {
        struct line line;
        struct log_text *out = begin(&line, bytes);
        log_text_put_escaped(out, BYTES_LITERAL("\x01"), LINE_BYTES, log_text_escape_json);
        assert_true(out->full);
        assert_string_equal(line.text, "");
    }
}

static void a_long_value_is_cut_by_itself_and_says_so(void **)
{
    struct line line;
    struct log_text *out = begin(&line, LINE_BYTES);
    log_text_put_escaped(out, BYTES_LITERAL("0123456789"), 4, log_text_escape_plain);
    LOG_TEXT_LITERAL(out, "|");
    assert_false(out->full);
    assert_string_equal(line.text, "0123...|");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_where_the_line_ends_and_nothing_follows),
        cmocka_unit_test(numbers_are_decimal),
        cmocka_unit_test(what_a_client_sent_cannot_end_a_line_or_a_string),
        cmocka_unit_test(an_escape_is_never_cut_in_the_middle),
        cmocka_unit_test(a_long_value_is_cut_by_itself_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
