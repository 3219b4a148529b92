#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "guarded.h"
#include "proto/ip_text.h"

static bool parse4(const char *text, uint8_t address[IP4_BYTES])
{
    struct guarded memory = guarded_create(strlen(text));
    bool valid = ip_text_parse4(bytes_of(guarded_place(&memory, text, strlen(text)), strlen(text)), address);
    guarded_destroy(&memory);
    return valid;
}

static bool parse6(const char *text, uint8_t address[IP6_BYTES])
{
    struct guarded memory = guarded_create(strlen(text));
    bool valid = ip_text_parse6(bytes_of(guarded_place(&memory, text, strlen(text)), strlen(text)), address);
    guarded_destroy(&memory);
    return valid;
}

static void ipv4_addresses_are_read_and_written(void **state)
{
    (void)state;
    static const char *const addresses[] = {"0.0.0.0", "127.0.0.1", "255.255.255.255", "10.20.30.40", "1.99.100.199"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        uint8_t address[IP4_BYTES];
        char text[IP_TEXT_MAX];
        assert_true(parse4(addresses[i], address));
        ip_text_format4(address, text);
        assert_string_equal(text, addresses[i]);
    }
}

static void malformed_ipv4_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const addresses[] = {"",         "1",         "1.2.3",     "1.2.3.",    "1.2.3.4.", "1.2.3.4.5",
                                            ".1.2.3.4", "1..2.3",    "256.1.1.1", "1.2.3.04",  "01.2.3.4", "1.2.3.4 ",
                                            " 1.2.3.4", "0x1.2.3.4", "1.2.3.-4",  "1.2.3.1000"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        uint8_t address[IP4_BYTES];
        assert_false(parse4(addresses[i], address));
    }
}

static void ipv6_addresses_are_written_in_canonical_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"2001:0db8::0001", "2001:db8::1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
        {"::ffff:c000:201", "::ffff:192.0.2.1"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
        {"abcd:ef01:2345:6789:abcd:ef01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        uint8_t address[IP6_BYTES];
        char text[IP_TEXT_MAX];
        assert_true(parse6(pairs[i][0], address));
        ip_text_format6(address, text);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void malformed_ipv6_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const addresses[] = {"",
                                            ":",
                                            ":::",
                                            "1",
                                            "1:2:3:4:5:6:7",
                                            "1:2:3:4:5:6:7:8:9",
                                            "1::2::3",
                                            ":1",
                                            "1:",
                                            "::1:",
                                            ":1::",
                                            "12345::",
                                            "g::",
                                            "::1%lo",
                                            "::1.2.3",
                                            "1.2.3.4::",
                                            "::1.2.3.4:5",
                                            "1:2:3:4:5:6:7:1.2.3.4",
                                            "1:2:3:4:5:6:7:8::",
                                            "::1:2:3:4:5:6:7:8",
                                            " ::1"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        uint8_t address[IP6_BYTES];
        assert_false(parse6(addresses[i], address));
    }
}

/* Texts of the alphabet of addresses, drawn at random; the system's own parser is the judge. */
static void ipv6_parser_agrees_with_the_system(void **state)
{
    (void)state;
    static const char *const parts[] = {":", ":", ":", "::", "0", "1", "f", "ab", "12", "1.2.3.4", "ffff", "00001"};
    uint64_t chance = 1;
    unsigned valid = 0;
    for (unsigned round = 0; round < 200'000; round++) {
        char text[IP_TEXT_MAX * 2] = "";
        chance = chance * 6364136223846793005U + 1442695040888963407U;
        uint64_t draw = chance >> 20;
        for (unsigned i = 0; i < 4 + round % 12; i++, draw = draw * 25214903917U + 11)
            strcat(text, parts[(draw >> 16) % (sizeof(parts) / sizeof(parts[0]))]);
        uint8_t ours[IP6_BYTES], theirs[IP6_BYTES];
        bool accepted = ip_text_parse6(bytes_of_string(text), ours);
        if (accepted != (inet_pton(AF_INET6, text, theirs) == 1))
            fail_msg("%s", text);
        if (!accepted)
            continue;
        valid++;
        assert_memory_equal(ours, theirs, IP6_BYTES);
        char written[IP_TEXT_MAX];
        ip_text_format6(ours, written);
        assert_true(ip_text_parse6(bytes_of_string(written), theirs));
        assert_memory_equal(ours, theirs, IP6_BYTES);
    }
    assert_true(valid > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_addresses_are_read_and_written),
        cmocka_unit_test(malformed_ipv4_addresses_are_refused),
        cmocka_unit_test(ipv6_addresses_are_written_in_canonical_form),
        cmocka_unit_test(malformed_ipv6_addresses_are_refused),
        cmocka_unit_test(ipv6_parser_agrees_with_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
