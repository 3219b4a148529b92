#include "daemon/supervisor/socket_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_name_is_found_where_it_stands(void **)
{
    assert_int_equal(socket_names_find("web:admin", 2, "web", 0), 0);
    assert_int_equal(socket_names_find("web:admin", 2, "admin", 0), 1);
    assert_int_equal(socket_names_find("web:admin", 2, "adm", 0), -1);
    assert_int_equal(socket_names_find("web:admin", 2, "admin2", 0), -1);
    assert_int_equal(socket_names_find("web:admin", 2, "", 0), -1);
}

static void one_name_may_have_several_sockets(void **)
{
    static const char names[] = "web:admin:web";
    assert_int_equal(socket_names_find(names, 3, "web", 0), 0);
    assert_int_equal(socket_names_find(names, 3, "web", 1), 2);
    assert_int_equal(socket_names_find(names, 3, "web", 3), -1);
}

static void names_beyond_the_sockets_do_not_count(void **)
{
    assert_int_equal(socket_names_find("web:admin", 1, "admin", 0), -1);
    assert_int_equal(socket_names_find("web", 2, "web", 1), -1);
    assert_int_equal(socket_names_find(NULL, 2, "web", 0), -1);
    assert_int_equal(socket_names_find("", 1, "web", 0), -1);
}

static void a_sentence_has_each_name_once(void **)
{
    char text[64], narrow[8];
    socket_names_describe("web:admin:web::x", 5, text, sizeof text);
    assert_string_equal(text, "web, admin, x");
    socket_names_describe("web:admin", 1, text, sizeof text);
    assert_string_equal(text, "web");
    socket_names_describe(NULL, 2, text, sizeof text);
    assert_string_equal(text, "");
    socket_names_describe("web:admin:other", 3, narrow, sizeof narrow);
    assert_string_equal(narrow, "web, ad");
}

static void a_socket_without_a_name_goes_by_its_number(void **)
{
    char text[64];
    socket_names_at("web::admin", 4, 0, text, sizeof text);
    assert_string_equal(text, "web");
    socket_names_at("web::admin", 4, 1, text, sizeof text);
    assert_string_equal(text, "4");
    socket_names_at("web::admin", 4, 2, text, sizeof text);
    assert_string_equal(text, "admin");
    socket_names_at("web::admin", 4, 3, text, sizeof text);
    assert_string_equal(text, "6");
    socket_names_at(NULL, 1, 0, text, sizeof text);
    assert_string_equal(text, "3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_found_where_it_stands),
        cmocka_unit_test(one_name_may_have_several_sockets),
        cmocka_unit_test(names_beyond_the_sockets_do_not_count),
        cmocka_unit_test(a_sentence_has_each_name_once),
        cmocka_unit_test(a_socket_without_a_name_goes_by_its_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
