#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/proxy_header.h"

/* Feeds all of `input` at a guard page and every shorter part of it, which must not be ready, nor refused otherwise. */
static enum proxy_progress feed(enum proxy_version accept, struct bytes input, struct proxy_header *header,
                                size_t *ret_consumed)
{
    struct guarded memory = guarded_create(input.length);
    *ret_consumed = SIZE_MAX;
    const uint8_t *place = guarded_place(&memory, input.data, input.length);
    enum proxy_progress whole = proxy_header_feed(header, accept, bytes_of(place, input.length), ret_consumed);
    struct proxy_header part_header;
    size_t part_consumed;
    enum proxy_progress part = PROXY_NEED_MORE;
    for (size_t length = 0; length < input.length && part == PROXY_NEED_MORE; length++) {
        place = guarded_place(&memory, input.data, length);
        part = proxy_header_feed(&part_header, accept, bytes_of(place, length), &part_consumed);
    }
    if (part != PROXY_NEED_MORE) {
        assert_int_equal(part, whole);
        if (part == PROXY_READY)
            assert_int_equal(part_consumed, *ret_consumed);
        else
            assert_string_equal(part_header.reason, header->reason);
    }
    guarded_destroy(&memory);
    return whole;
}

static void assert_ready(const char *line, enum proxy_family family, const char *source, unsigned source_port,
                         const char *destination, unsigned destination_port)
{
    struct proxy_header header;
    size_t consumed;
    char text[256];
    snprintf(text, sizeof(text), "%s\r\nGET", line);
    assert_int_equal(feed(PROXY_AUTO, bytes_of_string(text), &header, &consumed), PROXY_READY);
    assert_int_equal(consumed, strlen(line) + 2);
    assert_int_equal(header.version, PROXY_V1);
    assert_int_equal(header.family, family);
    assert_string_equal(header.source, source);
    assert_string_equal(header.destination, destination);
    assert_int_equal(header.source_port, source_port);
    assert_int_equal(header.destination_port, destination_port);
}

static void assert_refused(enum proxy_version accept, struct bytes input)
{
    struct proxy_header header;
    size_t consumed;
    assert_int_equal(feed(accept, input, &header, &consumed), PROXY_REJECTED);
    assert_non_null(header.reason);
    assert_int_equal(consumed, SIZE_MAX);
}

static void assert_waits(enum proxy_version accept, struct bytes input)
{
    struct proxy_header header;
    size_t consumed;
    assert_int_equal(feed(accept, input, &header, &consumed), PROXY_NEED_MORE);
    assert_int_equal(consumed, SIZE_MAX);
}

static void version_1_gives_addresses_and_ports(void **state)
{
    (void)state;
    assert_ready("PROXY TCP4 192.0.2.1 198.51.100.255 56324 443", PROXY_IPV4, "192.0.2.1", 56324, "198.51.100.255",
                 443);
    assert_ready("PROXY TCP6 2001:DB8::1 ::1 9 65535", PROXY_IPV6, "2001:db8::1", 9, "::1", 65535);
    assert_ready("PROXY TCP4 0.0.0.0 255.255.255.255 0 0", PROXY_IPV4, "0.0.0.0", 0, "255.255.255.255", 0);
}

static void version_1_unknown_keeps_the_sockets_addresses(void **state)
{
    (void)state;
    assert_ready("PROXY UNKNOWN", PROXY_UNKNOWN, "", 0, "", 0);
    assert_ready("PROXY UNKNOWN whatever ffff::1 stands here", PROXY_UNKNOWN, "", 0, "", 0);
}

static void malformed_version_1_lines_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 1::2::3 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "GET / HTTP/1.1\r\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_refused(PROXY_AUTO, bytes_of_string(lines[i]));
}

static void version_1_line_has_at_most_107_octets(void **state)
{
    (void)state;
    char line[PROXY_V1_BYTES_MAX + 8];
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    struct proxy_header header;
    size_t consumed;
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "\r\n", 2);
    assert_int_equal(feed(PROXY_V1, bytes_of(line, PROXY_V1_BYTES_MAX), &header, &consumed), PROXY_READY);
    assert_int_equal(consumed, PROXY_V1_BYTES_MAX);
    memcpy(line + PROXY_V1_BYTES_MAX - 2, "x\r\n", 3);
    assert_refused(PROXY_V1, bytes_of(line, PROXY_V1_BYTES_MAX + 1));
    /* Refused at the limit, not at a line end that may never come. */
    assert_refused(PROXY_V1, bytes_of(line, PROXY_V1_BYTES_MAX - 1));
    assert_waits(PROXY_V1, bytes_of(line, PROXY_V1_BYTES_MAX - 2));
    line[PROXY_V1_BYTES_MAX - 1] = '\n';
    assert_refused(PROXY_V1, bytes_of(line, PROXY_V1_BYTES_MAX));
}

/* Builds a version 2 header in `output`; returns its length. */
static size_t build_v2(uint8_t *output, unsigned command, unsigned family, const void *payload, size_t length)
{
    memcpy(output, "\r\n\r\n\0\r\nQUIT\n", 12);
    output[12] = (uint8_t)command;
    output[13] = (uint8_t)family;
    output[14] = (uint8_t)(length >> 8);
    output[15] = (uint8_t)length;
    memcpy(output + 16, payload, length);
    return 16 + length;
}

static const uint8_t ipv4_payload[] = {192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb};

static void version_2_gives_ipv4_addresses_and_ports(void **state)
{
    (void)state;
    uint8_t input[64];
    size_t length = build_v2(input, 0x21, 0x11, ipv4_payload, sizeof(ipv4_payload));
    struct proxy_header header;
    size_t consumed;
    assert_int_equal(feed(PROXY_AUTO, bytes_of(input, length + 5), &header, &consumed), PROXY_READY);
    assert_int_equal(consumed, length);
    assert_int_equal(header.version, PROXY_V2);
    assert_int_equal(header.family, PROXY_IPV4);
    assert_string_equal(header.source, "192.0.2.1");
    assert_string_equal(header.destination, "198.51.100.2");
    assert_int_equal(header.source_port, 0xdc04);
    assert_int_equal(header.destination_port, 443);
}

static void version_2_gives_ipv6_addresses_and_ports(void **state)
{
    (void)state;
    uint8_t payload[36] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1, [31] = 1, [32] = 0x12, 0x34, 0, 80};
    uint8_t input[64];
    size_t length = build_v2(input, 0x21, 0x21, payload, sizeof(payload));
    struct proxy_header header;
    size_t consumed;
    assert_int_equal(feed(PROXY_V2, bytes_of(input, length), &header, &consumed), PROXY_READY);
    assert_int_equal(header.family, PROXY_IPV6);
    assert_string_equal(header.source, "2001:db8::1");
    assert_string_equal(header.destination, "::1");
    assert_int_equal(header.source_port, 0x1234);
    assert_int_equal(header.destination_port, 80);
}

static void version_2_without_stream_addresses_keeps_the_sockets_own(void **state)
{
    (void)state;
    static const struct {
        uint8_t command, family, length, expected;
    } cases[] = {
        {0x20, 0x00, 0, PROXY_UNKNOWN}, {0x20, 0x11, 12, PROXY_UNKNOWN}, {0x20, 0xff, 3, PROXY_UNKNOWN},
        {0x21, 0x00, 0, PROXY_UNKNOWN}, {0x21, 0x00, 7, PROXY_UNKNOWN},  {0x21, 0x12, 12, PROXY_UNKNOWN},
        {0x21, 0x31, 216, PROXY_UNIX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t payload[216] = {}, input[256];
        size_t length = build_v2(input, cases[i].command, cases[i].family, payload, cases[i].length);
        struct proxy_header header;
        size_t consumed;
        assert_int_equal(feed(PROXY_V2, bytes_of(input, length), &header, &consumed), PROXY_READY);
        assert_int_equal(consumed, length);
        assert_int_equal(header.family, cases[i].expected);
        assert_string_equal(header.source, "");
        assert_int_equal(header.source_port, 0);
    }
}

static void version_2_skips_tlvs_up_to_the_headers_length(void **state)
{
    (void)state;
    uint8_t payload[sizeof(ipv4_payload) + 8], input[64];
    memcpy(payload, ipv4_payload, sizeof(ipv4_payload));
    memcpy(payload + sizeof(ipv4_payload), "\x04\x00\x02zz\x05\x00\x00", 8);
    size_t length = build_v2(input, 0x21, 0x11, payload, sizeof(payload));
    struct proxy_header header;
    size_t consumed;
    assert_int_equal(feed(PROXY_V2, bytes_of(input, length), &header, &consumed), PROXY_READY);
    assert_int_equal(consumed, length);
    assert_string_equal(header.source, "192.0.2.1");
}

static void version_2_tlv_beyond_the_headers_length_is_refused(void **state)
{
    (void)state;
    uint8_t payload[sizeof(ipv4_payload) + 5], input[64];
    memcpy(payload, ipv4_payload, sizeof(ipv4_payload));
    memcpy(payload + sizeof(ipv4_payload), "\x04\x00\x03zz", 5);
    size_t length = build_v2(input, 0x21, 0x11, payload, sizeof(payload));
    assert_refused(PROXY_V2, bytes_of(input, length));
    length = build_v2(input, 0x21, 0x11, payload, sizeof(ipv4_payload) + 2);
    assert_refused(PROXY_V2, bytes_of(input, length));
}

static void version_2_shorter_than_its_addresses_is_refused(void **state)
{
    (void)state;
    uint8_t input[64];
    size_t length = build_v2(input, 0x21, 0x11, ipv4_payload, sizeof(ipv4_payload) - 1);
    assert_refused(PROXY_V2, bytes_of(input, length));
    length = build_v2(input, 0x21, 0x21, ipv4_payload, sizeof(ipv4_payload));
    assert_refused(PROXY_V2, bytes_of(input, length));
}

static void version_2_unknown_values_are_refused_before_the_payload(void **state)
{
    (void)state;
    static const uint8_t cases[][2] = {{0x11, 0x11}, {0x22, 0x11}, {0x2f, 0x11}, {0x21, 0x41}, {0x21, 0x13}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t input[64];
        (void)build_v2(input, cases[i][0], cases[i][1], ipv4_payload, sizeof(ipv4_payload));
        assert_refused(PROXY_V2, bytes_of(input, 16));
    }
}

static void only_accepted_versions_are_read(void **state)
{
    (void)state;
    uint8_t input[64];
    size_t length = build_v2(input, 0x21, 0x11, ipv4_payload, sizeof(ipv4_payload));
    assert_refused(PROXY_V1, bytes_of(input, length));
    assert_refused(PROXY_V2, BYTES_LITERAL("PROXY UNKNOWN\r\n"));
    assert_refused(PROXY_V1, bytes_of(input, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_gives_addresses_and_ports),
        cmocka_unit_test(version_1_unknown_keeps_the_sockets_addresses),
        cmocka_unit_test(malformed_version_1_lines_are_refused),
        cmocka_unit_test(version_1_line_has_at_most_107_octets),
        cmocka_unit_test(version_2_gives_ipv4_addresses_and_ports),
        cmocka_unit_test(version_2_gives_ipv6_addresses_and_ports),
        cmocka_unit_test(version_2_without_stream_addresses_keeps_the_sockets_own),
        cmocka_unit_test(version_2_skips_tlvs_up_to_the_headers_length),
        cmocka_unit_test(version_2_tlv_beyond_the_headers_length_is_refused),
        cmocka_unit_test(version_2_shorter_than_its_addresses_is_refused),
        cmocka_unit_test(version_2_unknown_values_are_refused_before_the_payload),
        cmocka_unit_test(only_accepted_versions_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
