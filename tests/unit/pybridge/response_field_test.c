#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pybridge/response_field.h"

static enum response_field check(const char *name, const char *value)
{
    int64_t length;
    return response_field_check(bytes_of_string(name), bytes_of_string(value), &length);
}

static void ordinary_fields_may_go_out([[maybe_unused]] void **state)
{
    assert_int_equal(check("Content-Type", "text/plain"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check("x", ""), RESPONSE_FIELD_GOOD);
    assert_int_equal(check("X-Tab", "a\tb"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check("X-Latin", "\xe9\xff"), RESPONSE_FIELD_GOOD);
}

static void a_name_must_be_a_token([[maybe_unused]] void **state)
{
    static const char *const NAMES[] = {"", "X Bad", "X:Bad", "X-Bad\r\nInjected", "X\xe9", "(x)"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        assert_int_equal(check(NAMES[i], "v"), RESPONSE_FIELD_BAD_NAME);
}

static void a_value_has_no_control_octet([[maybe_unused]] void **state)
{
    assert_int_equal(check("X", "a\r\nb"), RESPONSE_FIELD_BAD_VALUE);
    assert_int_equal(check("X", "a\nb"), RESPONSE_FIELD_BAD_VALUE);
    assert_int_equal(check("X", "a\x7f"), RESPONSE_FIELD_BAD_VALUE);
    int64_t length;
    assert_int_equal(response_field_check(BYTES_LITERAL("X"), BYTES_LITERAL("a\0b"), &length),
                     RESPONSE_FIELD_BAD_VALUE);
}

static void fields_of_the_connection_are_left_out([[maybe_unused]] void **state)
{
    static const char *const NAMES[] = {"Connection",       "KEEP-ALIVE", "Transfer-Encoding",
                                        "proxy-connection", "Upgrade",    "TE"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        assert_int_equal(check(NAMES[i], "v"), RESPONSE_FIELD_OF_CONNECTION);
    assert_int_equal(check("Connections", "v"), RESPONSE_FIELD_GOOD);
}

static void the_end_of_the_connection_may_be_asked_for([[maybe_unused]] void **state)
{
    assert_int_equal(check("Connection", "close"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check("connection", "x-hop, Close"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check("Connection", "keep-alive, x-close"), RESPONSE_FIELD_OF_CONNECTION);
    assert_int_equal(check("Keep-Alive", "close"), RESPONSE_FIELD_OF_CONNECTION);
}

static void content_length_is_told([[maybe_unused]] void **state)
{
    int64_t length = -1;
    enum response_field verdict =
        response_field_check(BYTES_LITERAL("content-LENGTH"), BYTES_LITERAL("9223372036854775807"), &length);
    assert_int_equal(verdict, RESPONSE_FIELD_CONTENT_LENGTH);
    assert_true(length == INT64_MAX);
}

static void a_content_length_that_is_no_number_is_refused([[maybe_unused]] void **state)
{
    static const char *const VALUES[] = {"", "-1", "+1", "1 2", "0x10", "1,1", "9223372036854775808"};
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        int64_t length = 7;
        assert_int_equal(response_field_check(BYTES_LITERAL("Content-Length"), bytes_of_string(VALUES[i]), &length),
                         RESPONSE_FIELD_BAD_LENGTH);
        assert_int_equal(length, 7);
    }
}

static enum response_field check_trailer(const char *name, const char *value)
{
    return response_trailer_check(bytes_of_string(name), bytes_of_string(value));
}

static void trailers_say_how_it_went([[maybe_unused]] void **state)
{
    assert_int_equal(check_trailer("grpc-status", "0"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check_trailer("Server-Timing", "db;dur=53"), RESPONSE_FIELD_GOOD);
    assert_int_equal(check_trailer("ETag", "\"a\""), RESPONSE_FIELD_GOOD);
}

static void what_a_client_needs_before_the_body_is_no_trailer([[maybe_unused]] void **state)
{
    static const char *const NAMES[] = {"Content-Length", "TRANSFER-ENCODING", "host", "Content-Type",
                                        "Set-Cookie",     "Connection",        "te",   "Keep-Alive",
                                        "Trailer",        "Location"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        assert_int_equal(check_trailer(NAMES[i], "close"), RESPONSE_FIELD_NO_TRAILER);
}

static void a_trailer_obeys_the_grammar_of_fields([[maybe_unused]] void **state)
{
    assert_int_equal(check_trailer(":status", "200"), RESPONSE_FIELD_BAD_NAME);
    assert_int_equal(check_trailer("", "v"), RESPONSE_FIELD_BAD_NAME);
    assert_int_equal(check_trailer("x", "a\r\nb: c"), RESPONSE_FIELD_BAD_VALUE);
}

static void every_refusal_has_words([[maybe_unused]] void **state)
{
    assert_non_null(response_field_complaint(RESPONSE_FIELD_BAD_NAME));
    assert_non_null(response_field_complaint(RESPONSE_FIELD_BAD_VALUE));
    assert_non_null(response_field_complaint(RESPONSE_FIELD_BAD_LENGTH));
    assert_null(response_field_complaint(RESPONSE_FIELD_GOOD));
    assert_null(response_field_complaint(RESPONSE_FIELD_OF_CONNECTION));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_fields_may_go_out),
        cmocka_unit_test(a_name_must_be_a_token),
        cmocka_unit_test(a_value_has_no_control_octet),
        cmocka_unit_test(fields_of_the_connection_are_left_out),
        cmocka_unit_test(content_length_is_told),
        cmocka_unit_test(a_content_length_that_is_no_number_is_refused),
        cmocka_unit_test(the_end_of_the_connection_may_be_asked_for),
        cmocka_unit_test(trailers_say_how_it_went),
        cmocka_unit_test(what_a_client_needs_before_the_body_is_no_trailer),
        cmocka_unit_test(a_trailer_obeys_the_grammar_of_fields),
        cmocka_unit_test(every_refusal_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
