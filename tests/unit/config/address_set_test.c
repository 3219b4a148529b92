#include "config/address_set.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

static struct address_set set_of(size_t count, const char **items)
{
    struct address_set set = {};
    size_t bad;

    assert_int_equal(address_set_init(&set, &(struct string_list){count, (char **)items}, &bad), 0);
    return set;
}

static bool has(const struct address_set *set, const char *text)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
        return address_set_contains(set, (const struct sockaddr *)&ipv4);
    assert_int_equal(inet_pton(AF_INET6, text, &ipv6.sin6_addr), 1);
    return address_set_contains(set, (const struct sockaddr *)&ipv6);
}

static void an_address_is_only_itself(void **)
{
    struct address_set set = set_of(2, (const char *[]){"127.0.0.1", "::1"});

    assert_true(has(&set, "127.0.0.1"));
    assert_true(has(&set, "::1"));
    assert_false(has(&set, "127.0.0.2"));
    assert_false(has(&set, "::2"));
    assert_false(has(&set, "::"));
    address_set_deinit(&set);
}

static void a_network_has_all_its_addresses_and_no_other(void **)
{
    struct address_set set = set_of(3, (const char *[]){"10.1.2.3/8", "192.168.4.0/23", "2001:db8::/33"});

    assert_true(has(&set, "10.0.0.0"));
    assert_true(has(&set, "10.255.255.255"));
    assert_false(has(&set, "11.0.0.0"));
    assert_true(has(&set, "192.168.5.255"));
    assert_false(has(&set, "192.168.6.0"));
    assert_true(has(&set, "2001:db8:7fff::1"));
    assert_false(has(&set, "2001:db8:8000::1"));
    address_set_deinit(&set);
}

static void ipv4_and_its_mapped_form_are_one(void **)
{
    struct address_set set = set_of(2, (const char *[]){"127.0.0.1", "::ffff:10.0.0.0/104"});

    assert_true(has(&set, "::ffff:127.0.0.1"));
    assert_true(has(&set, "10.2.3.4"));
    assert_false(has(&set, "::ffff:127.0.0.2"));
    assert_false(has(&set, "::127.0.0.1"));
    address_set_deinit(&set);
}

static void zero_bits_mean_the_family_only(void **)
{
    struct address_set set = set_of(1, (const char *[]){"0.0.0.0/0"});

    assert_true(has(&set, "8.8.8.8"));
    assert_false(has(&set, "2001:db8::1"));
    address_set_deinit(&set);
}

static void the_star_is_everyone(void **)
{
    struct address_set set = set_of(1, (const char *[]){"*"});

    assert_true(has(&set, "8.8.8.8"));
    assert_true(has(&set, "2001:db8::1"));
    address_set_deinit(&set);
}

static void a_peer_on_a_unix_socket_is_always_trusted(void **)
{
    struct address_set set = {};
    struct sockaddr_un peer = {.sun_family = AF_UNIX};

    assert_true(address_set_contains(&set, (const struct sockaddr *)&peer));
}

static void an_empty_set_and_an_unknown_family_are_no_trust(void **)
{
    struct address_set set = set_of(0, NULL);
    struct sockaddr peer = {.sa_family = AF_UNSPEC};

    assert_false(has(&set, "127.0.0.1"));
    assert_false(address_set_contains(&set, &peer));
    address_set_deinit(&set);
}

static void a_wrong_item_is_named_by_its_index(void **)
{
    static const char *const wrong[] = {"",         "localhost",  "10.0.0.0/33",   "::1/129", "10.0.0.0/",
                                        "10.0.0/8", "1.2.3.4/+8", "10.0.0.0/0008", " ::1"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct address_set set = {};
        size_t bad = 99;
        const char *items[] = {"::1", wrong[i]};
        assert_int_equal(address_set_init(&set, &(struct string_list){2, (char **)items}, &bad), -EINVAL);
        assert_int_equal(bad, 1);
        assert_null(set.networks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_only_itself),
        cmocka_unit_test(a_network_has_all_its_addresses_and_no_other),
        cmocka_unit_test(ipv4_and_its_mapped_form_are_one),
        cmocka_unit_test(zero_bits_mean_the_family_only),
        cmocka_unit_test(the_star_is_everyone),
        cmocka_unit_test(a_peer_on_a_unix_socket_is_always_trusted),
        cmocka_unit_test(an_empty_set_and_an_unknown_family_are_no_trust),
        cmocka_unit_test(a_wrong_item_is_named_by_its_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
