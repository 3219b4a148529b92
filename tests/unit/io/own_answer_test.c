#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/io/own_answer.h"

static void an_answer_has_words_of_its_own_or_the_standard_phrase(void **state)
{
    (void)state;
    assert_string_equal(own_answer_text(503), "The server is busy; try again.");
    assert_string_equal(own_answer_text(405), "Method Not Allowed");
    assert_string_equal(own_answer_text(404), "Not Found");
    assert_string_equal(own_answer_text(999), "Unknown");
}

static void some_answers_have_a_field(void **state)
{
    (void)state;
    struct bytes name;
    struct bytes value;
    assert_true(own_answer_field(503, &name, &value));
    assert_true(bytes_equal(name, BYTES_LITERAL("Retry-After")) && bytes_equal(value, BYTES_LITERAL("1")));
    assert_true(own_answer_field(405, &name, &value));
    assert_true(bytes_equal(name, BYTES_LITERAL("Allow")));
}

static void others_leave_the_results_alone(void **state)
{
    (void)state;
    struct bytes name = BYTES_LITERAL("name");
    struct bytes value = BYTES_LITERAL("value");
    assert_false(own_answer_field(200, &name, &value));
    assert_false(own_answer_field(404, &name, &value));
    assert_true(bytes_equal(name, BYTES_LITERAL("name")) && bytes_equal(value, BYTES_LITERAL("value")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_words_of_its_own_or_the_standard_phrase),
        cmocka_unit_test(some_answers_have_a_field),
        cmocka_unit_test(others_leave_the_results_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
