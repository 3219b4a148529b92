#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "config/settings_arena.h"
#include "daemon/supervisor/listener_plan.h"
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    struct settings settings;
    struct listener_plan plan;
    char why[CERTIFICATE_WHY_BYTES];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.settings.arena = settings_arena_create()};
    *state = &fixture;
    return fixture.settings.arena == NULL;
}

static int tear_down(void **state)
{
    settings_deinit(&((struct fixture *)*state)->settings);
    return 0;
}

static void add(struct fixture *fixture, struct string_list *list, const char *text)
{
    char *copy = settings_arena_string(fixture->settings.arena, text);
    assert_non_null(copy);
    assert_int_equal(string_list_add(fixture->settings.arena, list, copy), 0);
}

static int make(struct fixture *fixture)
{
    return listener_plan_make(&fixture->settings, fixture->settings.arena, &fixture->plan, fixture->why);
}

static void without_a_certificate_all_is_cleartext(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, &fixture->settings.bind, ":1");
    add(fixture, &fixture->settings.listen, "address=:2\ntls=false\nproxy_protocol=v1");
    assert_int_equal(make(fixture), 0);
    assert_int_equal(fixture->plan.context_count, 0);
    assert_int_equal(fixture->plan.addresses.count, 2);
    assert_string_equal(fixture->plan.addresses.items[1], ":2");
    assert_int_equal(fixture->plan.tls_contexts[0], -1);
    assert_int_equal(fixture->plan.tls_contexts[1], -1);
    assert_int_equal(fixture->plan.tls_context_of_all, -1);
    assert_int_equal(fixture->plan.proxies[0], LISTEN_PROXY_OF_ALL);
    assert_int_equal(fixture->plan.proxies[1], LISTEN_PROXY_V1);
}

static void tables_share_the_certificate_of_all_or_have_their_own(void **state)
{
    struct fixture *fixture = *state;
    struct settings *settings = &fixture->settings;

    add(fixture, &settings->bind, ":1");
    add(fixture, &settings->certfile, "/a");
    add(fixture, &settings->keyfile, "/b");
    add(fixture, &settings->http_protocols, "h2");
    add(fixture, &settings->http_protocols, "h1");
    add(fixture, &settings->listen, "address=:2\ntls=true");
    add(fixture, &settings->listen, "address=:3\ntls=false");
    add(fixture, &settings->listen, "address=:4\ntls=true\ncertfile=/c,/d\nkeyfile=/e,/f\nocsp_file=/g,/h");
    settings->keyfile_password_file = settings_arena_string(settings->arena, "/p");
    assert_int_equal(make(fixture), 0);

    static const int32_t expected[] = {0, 0, -1, 1};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fixture->plan.tls_contexts[i], expected[i]);
    assert_int_equal(fixture->plan.tls_context_of_all, 0);
    assert_int_equal(fixture->plan.context_count, 2);
    assert_string_equal(fixture->plan.contexts[0].certfile.items[0], "/a");
    assert_string_equal(fixture->plan.contexts[1].keyfile.items[1], "/f");
    assert_string_equal(fixture->plan.contexts[1].ocsp_file.items[1], "/h");
    assert_string_equal(fixture->plan.contexts[1].password_file, "/p");
    assert_string_equal(fixture->plan.protocols[0], "h2, http/1.1");
    assert_string_equal(fixture->plan.protocols[1], "h2, http/1.1");
}

static void a_table_with_protocols_of_its_own_is_a_context(void **state)
{
    struct fixture *fixture = *state;
    struct settings *settings = &fixture->settings;

    add(fixture, &settings->certfile, "/a");
    add(fixture, &settings->keyfile, "/b");
    add(fixture, &settings->http_protocols, "h2");
    add(fixture, &settings->listen, "address=:1\ntls=true\nhttp_protocols=h1");
    assert_int_equal(make(fixture), 0);
    assert_int_equal(fixture->plan.context_count, 2);
    assert_int_equal(fixture->plan.tls_contexts[0], 1);
    assert_string_equal(fixture->plan.contexts[1].certfile.items[0], "/a");
    assert_string_equal(fixture->plan.contexts[1].http_protocols.items[0], "h1");
    assert_string_equal(fixture->plan.protocols[1], "http/1.1");
    assert_int_equal(fixture->plan.contexts[0].http_protocols.count, 0);
}

static void authorities_are_read_only_when_somebody_asks(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, &fixture->settings.certfile, "/a");
    add(fixture, &fixture->settings.keyfile, "/b");
    fixture->settings.ca_certs = settings_arena_string(fixture->settings.arena, "/ca");
    assert_int_equal(make(fixture), 0);
    assert_null(fixture->plan.contexts[0].ca_certs);
    fixture->settings.cert_reqs = CERT_REQS_OPTIONAL;
    assert_int_equal(make(fixture), 0);
    assert_string_equal(fixture->plan.contexts[0].ca_certs, "/ca");
}

static void there_are_bounds(void **state)
{
    struct fixture *fixture = *state;
    char lines[64];

    for (int i = 0; i <= CONTROL_TLS_CONTEXTS_MAX; i++) {
        snprintf(lines, sizeof lines, "address=:%d\ntls=true\ncertfile=/a\nkeyfile=/b", i);
        add(fixture, &fixture->settings.listen, lines);
    }
    assert_int_equal(make(fixture), -E2BIG);
    assert_string_equal(fixture->why, "listen: more than 16 addresses have certificates or protocols of their own");
    fixture->settings.listen = (struct string_list){};
    for (int i = 0; i <= LISTENERS_MAX; i++)
        add(fixture, &fixture->settings.bind, ":0");
    assert_int_equal(make(fixture), -ENOBUFS);
    assert_string_equal(fixture->why, "bind and listen: more than 64 addresses");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_certificate_all_is_cleartext),
        TEST(tables_share_the_certificate_of_all_or_have_their_own),
        TEST(a_table_with_protocols_of_its_own_is_a_context),
        TEST(authorities_are_read_only_when_somebody_asks),
        TEST(there_are_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
