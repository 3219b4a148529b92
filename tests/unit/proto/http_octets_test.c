#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http_octets.h"

typedef size_t find(const uint8_t *data, size_t from, size_t length);

static find *const finds[] = {
    http_control_find,
    http_control_find_plain,
#if HTTP_OCTETS_X86
    http_control_find_sse2,
    http_control_find_avx2,
#endif
};

static size_t finds_count(void)
{
    size_t count = sizeof(finds) / sizeof(finds[0]);
#if HTTP_OCTETS_X86
    return http_control_has_avx2() ? count : count - 1;
#else
    return count;
#endif
}

static void every_octet_is_found_or_passed_alike_at_every_place(void **state)
{
    (void)state;
    enum { LENGTH_MAX = 130 };
    struct guarded memory = guarded_create(LENGTH_MAX);
    uint8_t data[LENGTH_MAX];
    for (size_t length = 1; length <= LENGTH_MAX; length += length < 70 ? 1 : 7) {
        for (size_t at = 0; at < length; at++) {
            for (unsigned octet = 0; octet < 256; octet += at % 16 == length % 16 ? 1 : 31) {
                memset(data, 'x', length);
                data[at] = (uint8_t)octet;
                const uint8_t *place = guarded_place(&memory, data, length);
                bool control = (octet < 0x20 && octet != '\t') || octet == 0x7f;
                for (size_t i = 0; i < finds_count(); i++)
                    assert_int_equal(finds[i](place, 0, length), control ? at : length);
            }
        }
    }
    guarded_destroy(&memory);
}

static void nothing_before_the_start_is_found(void **state)
{
    (void)state;
    enum { LENGTH = 100 };
    struct guarded memory = guarded_create(LENGTH);
    uint8_t data[LENGTH];
    for (size_t from = 0; from <= LENGTH; from++) {
        memset(data, '\n', from);
        memset(data + from, 'x', LENGTH - from);
        for (size_t length = from; length <= LENGTH; length++) {
            const uint8_t *place = guarded_place(&memory, data, length);
            for (size_t i = 0; i < finds_count(); i++)
                assert_int_equal(finds[i](place, from, length), length);
        }
    }
    guarded_destroy(&memory);
}

static void the_first_of_several_is_found(void **state)
{
    (void)state;
    uint8_t data[96];
    memset(data, 'x', sizeof(data));
    for (size_t first = 0; first < sizeof(data); first++) {
        memset(data + first, '\r', sizeof(data) - first);
        for (size_t i = 0; i < finds_count(); i++)
            for (size_t from = 0; from <= first; from++)
                assert_int_equal(finds[i](data, from, sizeof(data)), first);
        memset(data + first, 'x', sizeof(data) - first);
    }
}

static void classes_are_those_of_the_grammar(void **state)
{
    (void)state;
    static const struct {
        unsigned class;
        const char *members;
    } classes[] = {
        {OCTET_DIGIT, "0123456789"},
        {OCTET_HEX, "0123456789abcdefABCDEF"},
        {OCTET_BLANK, " \t"},
        {OCTET_REGISTERED_NAME, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;="},
    };
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        for (unsigned octet = 1; octet < 256; octet++)
            assert_int_equal(http_octet_is((uint8_t)octet, classes[i].class),
                             strchr(classes[i].members, (int)octet) != NULL);
    for (unsigned octet = 0; octet < 256; octet++) {
        bool visible = octet > 0x20 && octet < 0x7f;
        bool text = visible || octet == ' ' || octet == '\t' || octet >= 0x80;
        assert_int_equal(http_octet_is((uint8_t)octet, OCTET_TARGET), visible && octet != '#');
        assert_int_equal(http_octet_is((uint8_t)octet, OCTET_VALUE), text);
        assert_int_equal(http_octet_is((uint8_t)octet, OCTET_QUOTED_PAIR), text);
        assert_int_equal(http_octet_is((uint8_t)octet, OCTET_QUOTED), text && octet != '"' && octet != '\\');
    }
}

static void token_octets_are_those_of_rfc_9110_in_lower_case(void **state)
{
    (void)state;
    static const char *const tchars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    assert_int_equal(http_lower_tchar[0], 0);
    for (unsigned octet = 1; octet < 256; octet++) {
        unsigned lower = octet >= 'A' && octet <= 'Z' ? octet - 'A' + 'a' : octet;
        assert_int_equal(http_lower_tchar[octet], strchr(tchars, (int)lower) ? lower : 0);
    }
}

/* Every octet at every place of names of every length, with more text behind them that must not change. */
static void names_are_put_in_lower_case_alike_up_to_their_end(void **state)
{
    (void)state;
    enum { ROOM = 80 };
    struct guarded memory = guarded_create(ROOM), plain_memory = guarded_create(ROOM);
    for (size_t readable = 1; readable <= ROOM; readable += readable < 40 ? 1 : 9) {
        for (size_t at = 0; at < readable; at += 1 + readable / 20) {
            for (unsigned octet = 0; octet < 256; octet++) {
                uint8_t text[ROOM];
                memset(text, octet % 2 ? 'Q' : 'z', readable);
                text[at] = (uint8_t)octet;
                size_t length = octet % 3 ? readable : at + (readable - at) / 2;
                uint8_t *plain = guarded_place(&plain_memory, text, readable);
                uint8_t *vector = guarded_place(&memory, text, readable);
                size_t expected = http_name_lower_plain(plain, length);
                assert_int_equal(expected, at < length && http_lower_tchar[octet] == 0 ? at : length);
                assert_int_equal(http_name_lower(vector, length, readable), expected);
                assert_memory_equal(vector, plain, readable);
                assert_memory_equal(vector + expected, text + expected, readable - expected);
            }
        }
    }
    guarded_destroy(&memory);
    guarded_destroy(&plain_memory);
}

static void values_are_safe_without_line_end_and_nul(void **state)
{
    (void)state;
    assert_true(http_octets_safe((struct bytes){}));
    for (unsigned octet = 0; octet < 256; octet++) {
        const uint8_t value[] = {'a', 1, (uint8_t)octet, 'b'};
        bool bad = octet == '\r' || octet == '\n' || octet == 0;
        assert_int_equal(http_octets_safe(bytes_of(value, sizeof(value))), !bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_octet_is_found_or_passed_alike_at_every_place),
        cmocka_unit_test(nothing_before_the_start_is_found),
        cmocka_unit_test(the_first_of_several_is_found),
        cmocka_unit_test(names_are_put_in_lower_case_alike_up_to_their_end),
        cmocka_unit_test(classes_are_those_of_the_grammar),
        cmocka_unit_test(token_octets_are_those_of_rfc_9110_in_lower_case),
        cmocka_unit_test(values_are_safe_without_line_end_and_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
