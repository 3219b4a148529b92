#include "config/bind_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct bind_address parsed(const char *text)
{
    struct bind_address address = {};

    assert_null(bind_address_parse(text, &address));
    return address;
}

static void assert_tcp(const char *text, const char *host, uint16_t port)
{
    struct bind_address address = parsed(text);

    assert_int_equal(address.kind, BIND_ADDRESS_TCP);
    assert_string_equal(address.host, host);
    assert_int_equal(address.port, port);
}

static void assert_refused(const char *text)
{
    struct bind_address address = {.port = 4711};

    assert_non_null(bind_address_parse(text, &address));
    assert_int_equal(address.port, 4711);
}

static void a_host_and_a_port_are_taken_apart(void **)
{
    assert_tcp("127.0.0.1:8080", "127.0.0.1", 8080);
    assert_tcp("tcp://localhost:80", "localhost", 80);
    assert_tcp("TCP://my-host_1.example:0", "my-host_1.example", 0);
}

static void what_is_missing_is_filled_in(void **)
{
    assert_tcp("localhost", "localhost", 8000);
    assert_tcp(":9000", "0.0.0.0", 9000);
    assert_tcp("9000", "0.0.0.0", 9000);
    assert_tcp("[::1]", "::1", 8000);
}

static void ipv6_stands_in_brackets(void **)
{
    assert_tcp("[::1]:8443", "::1", 8443);
    assert_tcp("tcp://[2001:db8::7]:1", "2001:db8::7", 1);
    assert_tcp("[fe80::1%eth0]:80", "fe80::1%eth0", 80);
    assert_refused("::1:8000");
    assert_refused("[::1");
    assert_refused("[::1]8000");
    assert_refused("[not-an-address]:80");
}

static void unix_paths_may_be_abstract(void **)
{
    struct bind_address address = parsed("unix:/run/app.sock");
    assert_int_equal(address.kind, BIND_ADDRESS_UNIX);
    assert_string_equal(address.path, "/run/app.sock");

    address = parsed("unix:///run/app.sock");
    assert_string_equal(address.path, "/run/app.sock");

    address = parsed("unix:@app");
    assert_int_equal(address.kind, BIND_ADDRESS_ABSTRACT);
    assert_string_equal(address.path, "app");
}

static void a_path_that_the_kernel_cannot_hold_is_refused(void **)
{
    char text[200] = "unix:";

    memset(text + 5, 'a', 107);
    assert_int_equal(strlen(parsed(text).path), 107);
    memset(text + 5, 'a', 108);
    assert_refused(text);
    assert_refused("unix:");
    assert_refused("unix:@");
}

static void an_inherited_descriptor_is_a_number(void **)
{
    struct bind_address address = parsed("fd://3");

    assert_int_equal(address.kind, BIND_ADDRESS_FD);
    assert_int_equal(address.fd, 3);
    assert_refused("fd://");
    assert_refused("fd://99999999999999999999");
}

static void an_inherited_descriptor_has_a_name(void **)
{
    char text[300] = "fd://";
    struct bind_address address = parsed("fd://uroboros.socket");

    assert_int_equal(address.kind, BIND_ADDRESS_NAMED);
    assert_string_equal(address.host, "uroboros.socket");
    assert_int_equal(address.fd, -1);
    assert_int_equal(parsed("fd://3rd").kind, BIND_ADDRESS_NAMED);
    assert_refused("fd://a:b");
    assert_refused("fd://a b");
    assert_refused("fd://a\x7f");
    memset(text + 5, 'a', 255);
    assert_int_equal(strlen(parsed(text).host), 255);
    memset(text + 5, 'a', 256);
    assert_refused(text);
}

static void ports_outside_their_range_are_refused(void **)
{
    assert_tcp("localhost:65535", "localhost", 65535);
    assert_refused("localhost:65536");
    assert_refused("localhost:");
    assert_refused("localhost:http");
    assert_refused("localhost:-1");
    assert_refused("99999999999999999999");
}

static void what_is_no_address_is_refused(void **)
{
    assert_refused("");
    assert_refused("http://localhost");
    assert_refused("two words:80");
    assert_refused("host/path");
}

static void one_address_has_one_spelling(void **)
{
    static const char *const rows[][2] = {{"tcp://[::1]:80", "[::1]:80"}, {"9000", "0.0.0.0:9000"},
                                          {"unix:///a", "unix:/a"},       {"unix:@a", "unix:@a"},
                                          {"fd://3", "fd://3"},           {"FD://Web", "fd://Web"}};
    char text[BIND_ADDRESS_TEXT_BYTES];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bind_address address = parsed(rows[i][0]);
        bind_address_format(&address, text);
        assert_string_equal(text, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_and_a_port_are_taken_apart),
        cmocka_unit_test(what_is_missing_is_filled_in),
        cmocka_unit_test(ipv6_stands_in_brackets),
        cmocka_unit_test(unix_paths_may_be_abstract),
        cmocka_unit_test(a_path_that_the_kernel_cannot_hold_is_refused),
        cmocka_unit_test(an_inherited_descriptor_is_a_number),
        cmocka_unit_test(an_inherited_descriptor_has_a_name),
        cmocka_unit_test(ports_outside_their_range_are_refused),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(one_address_has_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
