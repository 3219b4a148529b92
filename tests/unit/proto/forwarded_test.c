#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/forwarded.h"

static void nodes_are_addresses_with_or_without_a_port(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *address;
        uint16_t port;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", 0},
        {"192.0.2.1:80", "192.0.2.1", 80},
        {"192.0.2.1:65535", "192.0.2.1", 65535},
        {"2001:db8::1", "2001:db8::1", 0},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1", 0},
        {"[2001:db8::1]", "2001:db8::1", 0},
        {"[2001:DB8::1]:4711", "2001:db8::1", 4711},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct forwarded_node node;
        char text[IP_TEXT_MAX];
        assert_true(forwarded_node_parse(bytes_of_string(rows[i].text), &node));
        if (node.is_ipv6)
            ip_text_format6(node.address, text);
        else
            ip_text_format4(node.address, text);
        assert_string_equal(text, rows[i].address);
        assert_int_equal(node.port, rows[i].port);
    }
}

static void what_is_no_address_is_no_node(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "unknown",     "_hidden",     "_gazonk",      "192.0.2",
                                        "192.0.2.1:", "192.0.2.1:0", ":80",         "192.0.2.1:+1", "192.0.2.1:65536",
                                        "[::1",       "[::1]80",     "[192.0.2.1]", "[]",           "::1]",
                                        "[::1]:",     "[::1]:http",  "::1%eth0",    "192.0.2.1 ",   "192.0.2.1:080000",
                                        "localhost",  "1.2.3.4:5:6"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct forwarded_node node;
        assert_false(forwarded_node_parse(bytes_of_string(texts[i]), &node));
    }
}

static void a_list_is_popped_from_its_end(void **state)
{
    (void)state;
    static const char *const items[] = {"c", "", "b b", "a"};
    struct bytes list = BYTES_LITERAL("a , b b,,\tc ");
    struct bytes item;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        assert_true(forwarded_list_pop(&list, &item));
        assert_true(bytes_equal(item, bytes_of_string(items[i])));
    }
    assert_false(forwarded_list_pop(&list, &item));
}

static void check_element(const struct forwarded_element *element, const char *node, const char *proto,
                          const char *host)
{
    assert_true(bytes_equal(element->node, bytes_of_string(node)));
    assert_true(bytes_equal(element->proto, bytes_of_string(proto)));
    assert_true(bytes_equal(element->host, bytes_of_string(host)));
}

static void elements_are_read_in_order(void **state)
{
    (void)state;
    struct forwarded_element elements[3];
    size_t count = 0;
    assert_true(forwarded_parse(BYTES_LITERAL("For=192.0.2.43;proto=https ; by=_x, ,for=\"[2001:db8::17]:4711\";"),
                                elements, 3, &count));
    assert_true(forwarded_parse(BYTES_LITERAL(";host=\"a,b;c\" ;ext=\"a\\\"b\""), elements, 3, &count));
    assert_int_equal(count, 3);
    check_element(&elements[0], "192.0.2.43", "https", "");
    check_element(&elements[1], "[2001:db8::17]:4711", "", "");
    check_element(&elements[2], "", "", "a,b;c");
}

static void an_address_with_a_port_is_read_without_its_quotes(void **state)
{
    (void)state;
    struct forwarded_element element;
    size_t count = 0;
    assert_true(forwarded_parse(BYTES_LITERAL("for=[::1]:80;host=a:8080"), &element, 1, &count));
    check_element(&element, "[::1]:80", "", "a:8080");
}

static void malformed_values_are_refused(void **state)
{
    (void)state;
    static const char *const values[] = {
        "for",     "for=",         "=a",         "for=a b",      "for =a",          "for= a",
        "for=\"a", "for=\"a\\",    "for=\"a\"b", "for=a;for=b",  "for=\"\";for=a",  "for=a;;proto",
        "for=a/b", "for=\"\x7f\"", "(for=a)",    "for=a,proto=", "host=\"a\\\x01\""};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct forwarded_element elements[4];
        size_t count = 0;
        assert_false(forwarded_parse(bytes_of_string(values[i]), elements, 4, &count));
    }
}

static void more_elements_than_fit_are_refused(void **state)
{
    (void)state;
    struct forwarded_element elements[2];
    size_t count = 0;
    assert_true(forwarded_parse(BYTES_LITERAL("for=a,for=b"), elements, 2, &count));
    assert_false(forwarded_parse(BYTES_LITERAL("for=c"), elements, 2, &count));
    assert_int_equal(count, 2);
}

/* Cut anywhere, nothing behind the cut is looked at. */
static void no_octet_behind_the_value_is_read(void **state)
{
    (void)state;
    static const char text[] = "for=\"[2001:db8::17]:4711\";proto=https;host=\"a\\\"b\", for=192.0.2.1:80";
    struct guarded guarded = guarded_create(sizeof text);
    for (size_t length = 0; length < sizeof text; length++) {
        struct bytes value = bytes_of(guarded_place(&guarded, text, length), length);
        struct forwarded_element elements[2];
        struct forwarded_node node;
        size_t count = 0;
        bool good = forwarded_parse(value, elements, 2, &count);
        for (size_t i = 0; good && i < count; i++)
            (void)!forwarded_node_parse(elements[i].node, &node);
        struct bytes item;
        while (forwarded_list_pop(&value, &item))
            (void)!forwarded_node_parse(item, &node);
    }
    guarded_destroy(&guarded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_addresses_with_or_without_a_port),
        cmocka_unit_test(what_is_no_address_is_no_node),
        cmocka_unit_test(a_list_is_popped_from_its_end),
        cmocka_unit_test(elements_are_read_in_order),
        cmocka_unit_test(an_address_with_a_port_is_read_without_its_quotes),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(more_elements_than_fit_are_refused),
        cmocka_unit_test(no_octet_behind_the_value_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
