#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http_fields.h"

static const char *const names[] = {
#define NAME(symbol, name) name,
    HTTP_FIELDS(NAME)
#undef NAME
};
static const enum http_field_id ids[] = {
#define ID(symbol, name) HTTP_FIELD_##symbol,
    HTTP_FIELDS(ID)
#undef ID
};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

static enum http_field_id id_at_guard(struct guarded *memory, struct bytes name)
{
    return http_field_id_of(bytes_of(guarded_place(memory, name.data, name.length), name.length));
}

/* A failure here means that the hash is not perfect any more: run proto/http_fields_hash.py. */
static void every_known_name_has_its_number(void **state)
{
    (void)state;
    struct guarded memory = guarded_create(64);
    for (size_t i = 0; i < NAMES; i++) {
        assert_int_equal(id_at_guard(&memory, bytes_of_string(names[i])), ids[i]);
        assert_true(bytes_equal(http_field_name(ids[i]), bytes_of_string(names[i])));
    }
    guarded_destroy(&memory);
}

static void names_one_octet_away_from_a_known_one_are_unknown(void **state)
{
    (void)state;
    struct guarded memory = guarded_create(64);
    for (size_t i = 0; i < NAMES; i++) {
        size_t length = strlen(names[i]);
        char name[64] = {};
        for (size_t at = 0; at < length; at++) {
            memcpy(name, names[i], length);
            name[at] ^= 1;
            enum http_field_id id = id_at_guard(&memory, bytes_of(name, length));
            assert_true(id == HTTP_FIELD_OTHER || bytes_equal(http_field_name(id), bytes_of(name, length)));
            assert_int_not_equal(id, ids[i]);
        }
        memcpy(name, names[i], length);
        name[length] = 's';
        assert_int_not_equal(id_at_guard(&memory, bytes_of(name, length + 1)), ids[i]);
        assert_int_not_equal(id_at_guard(&memory, bytes_of(name, length - 1)), ids[i]);
    }
    guarded_destroy(&memory);
}

static void names_of_any_length_are_unknown_without_harm(void **state)
{
    (void)state;
    static uint8_t name[9000];
    struct guarded memory = guarded_create(sizeof(name));
    for (size_t length = 0; length < sizeof(name); length = length < 100 ? length + 1 : length * 3) {
        for (unsigned letter = 'a'; letter <= 'z'; letter++) {
            memset(name, (int)letter, length);
            assert_int_equal(id_at_guard(&memory, bytes_of(name, length)), HTTP_FIELD_OTHER);
        }
    }
    guarded_destroy(&memory);
}

static void numbers_that_are_none_have_no_name(void **state)
{
    (void)state;
    assert_int_equal(http_field_name(HTTP_FIELD_OTHER).length, 0);
    assert_int_equal(http_field_name(HTTP_FIELD_COUNT).length, 0);
    assert_int_equal(http_field_name((enum http_field_id)9999).length, 0);
}

static void tokens_are_not_empty_and_of_token_octets(void **state)
{
    (void)state;
    assert_true(http_token_valid(BYTES_LITERAL("a")));
    assert_true(http_token_valid(BYTES_LITERAL("X!#$%&'*+-.^_`|~09")));
    assert_false(http_token_valid(BYTES_LITERAL("")));
    static const char *const bad[] = {"a b", "a:", "(a", "a\"", "a\xff", "a\n", "{", "a/b", "a@"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http_token_valid(bytes_of_string(bad[i])));
    assert_false(http_token_valid(BYTES_LITERAL("a\0")));
}

static void values_have_no_control_octet_but_tab(void **state)
{
    (void)state;
    assert_true(http_field_value_valid(BYTES_LITERAL("")));
    assert_true(http_field_value_valid(BYTES_LITERAL("a \t\x80\xff~")));
    for (unsigned octet = 0; octet < 256; octet++) {
        uint8_t value[3] = {'a', (uint8_t)octet, 'b'};
        bool control = (octet < 0x20 && octet != '\t') || octet == 0x7f;
        assert_int_equal(http_field_value_valid(bytes_of(value, sizeof(value))), !control);
    }
}

static bool host_valid(const char *host)
{
    struct guarded memory = guarded_create(strlen(host));
    bool valid = http_host_valid(bytes_of(guarded_place(&memory, host, strlen(host)), strlen(host)));
    guarded_destroy(&memory);
    return valid;
}

static void hosts_are_those_of_rfc_3986(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "a.example",
                                       "A.Example:8080",
                                       "127.0.0.1",
                                       "127.0.0.1:1",
                                       "[::1]",
                                       "[::1]:443",
                                       "[2001:db8::]",
                                       "a:",
                                       "a:65535",
                                       "a_b.example",
                                       "%41%ff",
                                       "a,b;c=d!$&'()*+~",
                                       "a:00080",
                                       "xn--caf-dma"};
    static const char *const bad[] = {
        "a b", "a/b",  "a?b",   "a#b",   "a@b",     "u:p@a",  "a:65536",   "a:8o",   "a:-1",       "a:80:80", ":80",
        "::1", "[::1", "::1]",  "[]",    "[::1]80", "[::1]x", "[1.2.3.4]", "[v1.a]", "[::1%25lo]", "a\\b",    "%4",
        "%",   "%zz",  "a\xe9", "a\x7f", "a\t",     "<a>",    "a\"",       "a|b",    "[[::1]]",    "a[::1]",  ":"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!host_valid(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (host_valid(bad[i]))
            fail_msg("accepted: %s", bad[i]);
    assert_false(http_host_valid(BYTES_LITERAL("a\0")));
}

static void list_tokens_are_compared_whole_and_without_case(void **state)
{
    (void)state;
    const struct bytes token = BYTES_LITERAL("close");
    static const char *const with[] = {"close",       "CLOSE",   "a, close",      "close,a",
                                       "\tClose \t,", ",,close", "a,b ,c , close"};
    static const char *const without[] = {"", ",", "closed", "clos", "xclose", "a close", "close;q=1", "\"close\""};
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
        assert_true(http_list_has_token(bytes_of_string(with[i]), token));
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        assert_false(http_list_has_token(bytes_of_string(without[i]), token));
}

static void trimming_takes_blanks_off_both_ends_alone(void **state)
{
    (void)state;
    assert_true(bytes_equal(http_trim(BYTES_LITERAL(" \ta b\t ")), BYTES_LITERAL("a b")));
    assert_true(bytes_equal(http_trim(BYTES_LITERAL(" \t ")), BYTES_LITERAL("")));
    assert_true(bytes_equal(http_trim(BYTES_LITERAL("\xa0")), BYTES_LITERAL("\xa0")));
}

static void content_length_is_one_to_nineteen_digits_of_63_bits(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "+1",  "-1",  " 1",   "1 ",
                                      "0x1", "1_0", "1,1", "1.0",  "9223372036854775808",
                                      "a",   "/",   ":",   "\xb2", "00000000000000000001"};
    uint64_t length = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http_content_length_parse(bytes_of_string(bad[i]), &length));
    assert_int_equal(length, 77);
    assert_true(http_content_length_parse(BYTES_LITERAL("9223372036854775807"), &length));
    assert_int_equal(length, INT64_MAX);
    assert_true(http_content_length_parse(BYTES_LITERAL("0000000000000000010"), &length));
    assert_int_equal(length, 10);
    assert_true(http_content_length_parse(BYTES_LITERAL("0"), &length));
    assert_int_equal(length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_known_name_has_its_number),
        cmocka_unit_test(names_one_octet_away_from_a_known_one_are_unknown),
        cmocka_unit_test(names_of_any_length_are_unknown_without_harm),
        cmocka_unit_test(numbers_that_are_none_have_no_name),
        cmocka_unit_test(tokens_are_not_empty_and_of_token_octets),
        cmocka_unit_test(values_have_no_control_octet_but_tab),
        cmocka_unit_test(hosts_are_those_of_rfc_3986),
        cmocka_unit_test(list_tokens_are_compared_whole_and_without_case),
        cmocka_unit_test(trimming_takes_blanks_off_both_ends_alone),
        cmocka_unit_test(content_length_is_one_to_nineteen_digits_of_63_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
