#include "config/listen_table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct settings_arena *arena;
static char wrong[LISTEN_TABLE_WRONG_BYTES];

static int set_up(void **)
{
    arena = settings_arena_create();
    return arena == NULL;
}

static int tear_down(void **)
{
    settings_arena_destroy(arena);
    return 0;
}

static void every_key_is_read_and_written_again(void **)
{
    static const char lines[] = "address=127.0.0.1:8443\ntls=true\ncertfile=/a,/b\nkeyfile=/c,/d\nocsp_file=/e,/f\n"
                                "http_protocols=h1,h2\nproxy_protocol=v2";
    struct listen_table table;

    assert_int_equal(listen_table_parse(lines, arena, &table, wrong), 0);
    assert_string_equal(table.address, "127.0.0.1:8443");
    assert_int_equal(table.tls, LISTEN_TLS_ON);
    assert_int_equal(table.certfile.count, 2);
    assert_string_equal(table.keyfile.items[1], "/d");
    assert_string_equal(table.ocsp_file.items[0], "/e");
    assert_string_equal(table.http_protocols.items[0], "h1");
    assert_int_equal(table.proxy_protocol, LISTEN_PROXY_V2);
    assert_string_equal(listen_table_format(&table, arena), lines);
}

static void an_address_is_all_that_a_table_needs(void **)
{
    struct listen_table table;

    assert_int_equal(listen_table_parse("address=unix:/run/a.sock", arena, &table, wrong), 0);
    assert_int_equal(table.tls, LISTEN_TLS_BY_CERTIFICATE);
    assert_int_equal(table.certfile.count, 0);
    assert_int_equal(table.proxy_protocol, LISTEN_PROXY_OF_ALL);
    assert_string_equal(listen_table_format(&table, arena), "address=unix:/run/a.sock");
}

static void what_is_wrong_is_said(void **)
{
    static const char *const rows[][2] = {
        {"", "a table without an address"},
        {"tls=true", "a table without an address"},
        {"address=:x", "address = \":x\": expected a port from 0 to 65535"},
        {"address=:1\ntls=maybe", "tls = \"maybe\": expected true or false"},
        {"address=:1\nkey=/a", "unknown key \"key\": expected \"address\", \"tls\", \"certfile\", \"keyfile\", "
                               "\"ocsp_file\", \"http_protocols\" or \"proxy_protocol\""},
        {"address=:1\nproxy_protocol=v3", "proxy_protocol = \"v3\": expected \"off\", \"v1\", \"v2\" or \"auto\""},
    };
    struct listen_table table = {.tls = LISTEN_TLS_OFF};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(listen_table_parse(rows[i][0], arena, &table, wrong), -EINVAL);
        assert_string_equal(wrong, rows[i][1]);
        assert_int_equal(table.tls, LISTEN_TLS_OFF);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_key_is_read_and_written_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_is_all_that_a_table_needs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
