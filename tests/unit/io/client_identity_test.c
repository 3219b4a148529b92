#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/io/client_identity.h"

enum { FIELDS_MAX = 8 };

/* One request from 127.0.0.1:5000, which with 10.0.0.0/8 is trusted, to 192.0.2.80:8000. */
struct scene {
    struct io_core core;
    struct connection connection;
    struct connection_listener listener;
    struct http_field fields[FIELDS_MAX];
    struct http_head head;
    const char *refusal;
    struct slot_record record; /* last: it ends with its fields */
};

static void set_peer(struct scene *scene, const char *address)
{
    scene->connection.peer.ipv4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(5000)};
    assert_int_equal(inet_pton(AF_INET, address, &scene->connection.peer.ipv4.sin_addr), 1);
}

/* The items of a setting, which are separated by spaces in `text`. */
struct items {
    char text[128];
    char *at[8];
};

static struct string_list split(struct items *items, const char *text)
{
    size_t count = 0;
    snprintf(items->text, sizeof items->text, "%s", text);
    for (char *rest = items->text, *item; (item = strsep(&rest, " ")) != NULL;)
        items->at[count++] = item;
    return (struct string_list){.items = items->at, .count = count};
}

static int trust(struct scene *scene, const char *networks)
{
    size_t bad;
    struct items items;
    const struct string_list list = split(&items, networks);
    address_set_deinit(&scene->core.forwarded_allow);
    return address_set_init(&scene->core.forwarded_allow, &list, &bad);
}

static int set_schemes(struct scene *scene, const char *schemes)
{
    struct items items;
    const struct string_list list = split(&items, schemes);
    secure_schemes_deinit(&scene->core.secure_schemes);
    return secure_schemes_init(&scene->core.secure_schemes, &list);
}

static int set_scene(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (scene == NULL || trust(scene, "127.0.0.1 10.0.0.0/8 fd00::/8") < 0 ||
        set_schemes(scene, "X-FORWARDED-PROTOCOL=ssl X-FORWARDED-PROTO=https X-FORWARDED-SSL=on") < 0)
        return -1;
    set_peer(scene, "127.0.0.1");
    strcpy(scene->listener.server, "192.0.2.80");
    scene->listener.port = 8000;
    scene->connection.listener = &scene->listener;
    scene->connection.server = scene->listener.server;
    scene->head.fields = scene->fields;
    *state = scene;
    return 0;
}

static int strike_scene(void **state)
{
    struct scene *scene = *state;
    address_set_deinit(&scene->core.forwarded_allow);
    secure_schemes_deinit(&scene->core.secure_schemes);
    free(scene);
    return 0;
}

/* Fields as name, value, name, value, ..., NULL. */
static void play(struct scene *scene, const char *const *fields)
{
    scene->record = (struct slot_record){};
    scene->head.field_count = 0;
    for (; fields[0] != NULL; fields += 2) {
        struct bytes name = bytes_of_string(fields[0]);
        scene->fields[scene->head.field_count++] = (struct http_field){
            .name = name, .value = bytes_of_string(fields[1]), .id = (uint16_t)http_field_id_of(name)};
    }
    scene->refusal = client_identity_fill(&scene->core, &scene->connection, &scene->head, &scene->record);
}

#define PLAY(scene, ...) play((scene), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void assert_client(const struct scene *scene, const char *address, uint16_t port)
{
    assert_null(scene->refusal);
    assert_string_equal(scene->record.client, address);
    assert_int_equal(scene->record.client_port, port);
}

static void assert_server(const struct scene *scene, const char *name, uint16_t port)
{
    assert_null(scene->refusal);
    assert_string_equal(scene->record.server, name);
    assert_int_equal(scene->record.server_port, port);
}

static bool is_https(const struct scene *scene)
{
    assert_null(scene->refusal);
    return (scene->record.flags & SLOT_HTTPS) != 0;
}

/* ---- the connection --------------------------------------------------------------------------------------------- */

static void without_fields_the_socket_says_it_all(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "host", "evil.example:1", "user-agent", "x");
    assert_client(scene, "127.0.0.1", 5000);
    assert_server(scene, "192.0.2.80", 8000);
    assert_int_equal(scene->record.flags, SLOT_TRUSTED);
}

static void an_untrusted_peer_is_not_believed(void **state)
{
    struct scene *scene = *state;
    set_peer(scene, "203.0.113.1");
    PLAY(scene, "x-forwarded-for", "1.1.1.1", "x-forwarded-proto", "https", "x-forwarded-ssl", "off",
         "x-forwarded-host", "evil.example", "x-forwarded-port", "1", "forwarded", "for=1.1.1.1;proto=https");
    assert_client(scene, "203.0.113.1", 5000);
    assert_server(scene, "192.0.2.80", 8000);
    assert_int_equal(scene->record.flags, 0);
}

static void a_peer_on_a_unix_socket_is_trusted_and_has_no_address(void **state)
{
    struct scene *scene = *state;
    scene->connection.peer.any.sa_family = AF_UNIX;
    scene->listener.is_unix = true;
    strcpy(scene->listener.server, "/run/app.sock");
    scene->listener.port = 0;
    PLAY(scene, "x-forwarded-port", "8443");
    assert_client(scene, "", 0);
    assert_server(scene, "/run/app.sock", 0);
    assert_int_equal(scene->record.flags, SLOT_TRUSTED | SLOT_UNIX);
    PLAY(scene, "x-forwarded-for", "203.0.113.9", "x-forwarded-proto", "https", "x-forwarded-host", "a.example");
    assert_client(scene, "203.0.113.9", 0);
    assert_server(scene, "a.example", 443);
    assert_int_equal(scene->record.flags, SLOT_TRUSTED | SLOT_HTTPS);
}

static void over_tls_the_scheme_is_https_unless_a_trusted_peer_says_otherwise(void **state)
{
    struct scene *scene = *state;
    uint64_t channel;
    scene->connection.tls = (struct tls_channel *)(void *)&channel; /* nobody looks into it */
    PLAY(scene, "host", "a.example");
    assert_true(is_https(scene));
    PLAY(scene, "x-forwarded-proto", "http", "x-forwarded-host", "a.example");
    assert_false(is_https(scene));
    assert_server(scene, "a.example", 80);
    PLAY(scene, "forwarded", "proto=http");
    assert_false(is_https(scene));
    PLAY(scene, "forwarded", "for=203.0.113.9");
    assert_true(is_https(scene));
    set_peer(scene, "203.0.113.1");
    PLAY(scene, "x-forwarded-proto", "http");
    assert_true(is_https(scene));
}

static void a_trusted_peer_says_the_scheme_by_http_2_too(void **state)
{
    struct scene *scene = *state;
    scene->head.version = HTTP_VERSION_2;
    scene->head.target_is_https = true;
    PLAY(scene, "host", "a.example");
    assert_true(is_https(scene));
    PLAY(scene, "x-forwarded-proto", "http");
    assert_false(is_https(scene));
    set_peer(scene, "203.0.113.1");
    PLAY(scene, "host", "a.example");
    assert_false(is_https(scene));
    set_peer(scene, "127.0.0.1");
    scene->head.version = HTTP_VERSION_1_1; /* an absolute target says where to, not by what way */
    PLAY(scene, "host", "a.example");
    assert_false(is_https(scene));
}

/* ---- X-Forwarded-For -------------------------------------------------------------------------------------------- */

static void the_rightmost_address_that_is_not_trusted_is_the_client(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *list;
        const char *client;
        uint16_t port;
    } rows[] = {
        {"203.0.113.9", "203.0.113.9", 0},
        {"203.0.113.9:4711", "203.0.113.9", 4711},
        {"[2001:db8::9]:4711", "2001:db8::9", 4711},
        {"2001:DB8:0::9", "2001:db8::9", 0},
        {"1.1.1.1, 203.0.113.9", "203.0.113.9", 0},
        {"1.1.1.1,203.0.113.9 ,10.0.0.1,\t10.9.9.9", "203.0.113.9", 0},
        {"garbage, 203.0.113.9, 10.0.0.1", "203.0.113.9", 0},
        {"203.0.113.9, fd00::1", "203.0.113.9", 0},
        {"203.0.113.9,, 10.0.0.1,", "203.0.113.9", 0},
        {"10.0.0.7:80, 10.0.0.8", "10.0.0.7", 80},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        PLAY(scene, "x-forwarded-for", rows[i].list);
        assert_client(scene, rows[i].client, rows[i].port);
    }
}

static void garbage_where_the_client_should_stand_is_ignored(void **state)
{
    struct scene *scene = *state;
    static const char *const lists[] = {"",
                                        ",",
                                        "unknown",
                                        "_hidden",
                                        "203.0.113.9, unknown",
                                        "a",
                                        "203.0.113.9, x, 10.0.0.1",
                                        "203.0.113.9:0",
                                        "203.0.113.999"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        PLAY(scene, "x-forwarded-for", lists[i]);
        assert_client(scene, "127.0.0.1", 5000);
    }
}

static void several_fields_are_one_list(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "x-forwarded-for", "1.1.1.1", "x-forwarded-for", "203.0.113.9", "x-forwarded-for",
         "10.0.0.1, 10.0.0.2");
    assert_client(scene, "203.0.113.9", 0);
}

static void where_everyone_is_trusted_the_leftmost_is_the_client(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(trust(scene, "*"), 0);
    PLAY(scene, "x-forwarded-for", "203.0.113.9, 1.1.1.1");
    assert_client(scene, "203.0.113.9", 0);
}

static void no_more_than_a_hundred_entries_are_looked_at(void **state)
{
    struct scene *scene = *state;
    char list[2'000] = "203.0.113.9";
    for (int i = 0; i < 150; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), ",10.0.0.%d", i);
    PLAY(scene, "x-forwarded-for", list);
    assert_client(scene, "10.0.0.50", 0);
}

/* ---- the scheme ------------------------------------------------------------------------------------------------- */

static void the_scheme_headers_say_https(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *name;
        const char *value;
        bool https;
    } rows[] = {
        {"x-forwarded-proto", "https", true},
        {"x-forwarded-proto", "HTTPS", true},
        {"x-forwarded-proto", "wss", true},
        {"x-forwarded-proto", "ws", false},
        {"x-forwarded-proto", "http", false},
        {"x-forwarded-proto", "", false},
        {"x-forwarded-proto", "http, https", true},
        {"x-forwarded-proto", "https,http", false},
        {"x-forwarded-protocol", "ssl", true},
        {"x-forwarded-protocol", "https", false},
        {"x-forwarded-ssl", "on", true},
        {"x-forwarded-ssl", "off", false},
        {"x-forwarded-pr0to", "https", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        PLAY(scene, rows[i].name, rows[i].value);
        assert_int_equal(is_https(scene), rows[i].https);
    }
}

static void scheme_headers_that_contradict_each_other_are_refused(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "x-forwarded-proto", "https", "x-forwarded-ssl", "off");
    assert_non_null(scene->refusal);
    PLAY(scene, "x-forwarded-proto", "https", "x-forwarded-proto", "http");
    assert_non_null(scene->refusal);
    PLAY(scene, "x-forwarded-proto", "https", "x-forwarded-ssl", "on", "x-forwarded-protocol", "ssl");
    assert_true(is_https(scene));
    PLAY(scene, "x-forwarded-proto", "http", "x-forwarded-ssl", "off");
    assert_false(is_https(scene));
}

static void only_the_headers_of_the_setting_count(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(set_schemes(scene, "X-SCHEME=secure"), 0);
    PLAY(scene, "x-forwarded-proto", "https");
    assert_false(is_https(scene));
    PLAY(scene, "x-scheme", "secure");
    assert_true(is_https(scene));
}

/* ---- the server ------------------------------------------------------------------------------------------------- */

static void host_and_port_are_the_server_s(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "x-forwarded-host", "a.example");
    assert_server(scene, "a.example", 80);
    PLAY(scene, "x-forwarded-host", "a.example", "x-forwarded-proto", "https");
    assert_server(scene, "a.example", 443);
    PLAY(scene, "x-forwarded-host", "evil.example, a.example:8443");
    assert_server(scene, "a.example", 8443);
    PLAY(scene, "x-forwarded-host", "a.example:1", "x-forwarded-port", "1, 8443");
    assert_server(scene, "a.example", 8443);
    PLAY(scene, "x-forwarded-port", "8443");
    assert_server(scene, "192.0.2.80", 8443);
    PLAY(scene, "x-forwarded-host", "[2001:db8::1]:8443");
    assert_server(scene, "2001:db8::1", 8443);
    PLAY(scene, "x-forwarded-host", "[2001:db8::1]");
    assert_server(scene, "2001:db8::1", 80);
}

static void malformed_hosts_and_ports_are_ignored(void **state)
{
    struct scene *scene = *state;
    static const char *const hosts[] = {"", "a b", "user@a", "a:b", "[::1", "a/b", ":80", "a\\b"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        PLAY(scene, "x-forwarded-host", hosts[i], "x-forwarded-port", "0");
        assert_server(scene, "192.0.2.80", 8000);
    }
    char longest[200] = {};
    memset(longest, 'a', sizeof longest - 1);
    PLAY(scene, "x-forwarded-host", longest);
    assert_server(scene, "192.0.2.80", 8000);
    longest[SLOT_ADDRESS_BYTES - 1] = '\0';
    PLAY(scene, "x-forwarded-host", longest);
    assert_server(scene, longest, 80);
}

/* ---- RFC 7239 --------------------------------------------------------------------------------------------------- */

static void forwarded_says_client_scheme_and_host(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "forwarded", "for=\"[2001:db8::9]:4711\";proto=https;host=\"a.example:8443\";by=10.0.0.1");
    assert_client(scene, "2001:db8::9", 4711);
    assert_server(scene, "a.example", 8443);
    assert_true(is_https(scene));
}

static void of_forwarded_the_words_of_trusted_proxies_count(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "forwarded", "for=1.1.1.1;proto=https;host=evil.example, for=203.0.113.9;host=a.example", "forwarded",
         "for=10.0.0.1;proto=http;host=inner");
    assert_client(scene, "203.0.113.9", 0);
    assert_server(scene, "a.example", 80);
    assert_false(is_https(scene));
}

static void an_obfuscated_client_ends_the_walk(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "forwarded", "for=1.1.1.1;proto=http, for=_hidden;proto=https");
    assert_client(scene, "127.0.0.1", 5000);
    assert_true(is_https(scene));
    PLAY(scene, "forwarded", "for=1.1.1.1, proto=https, for=10.0.0.1");
    assert_client(scene, "127.0.0.1", 5000);
    assert_true(is_https(scene));
}

static void malformed_forwarded_says_nothing(void **state)
{
    struct scene *scene = *state;
    PLAY(scene, "forwarded", "for=203.0.113.9;proto=https", "forwarded", "for=\"10.0.0.1");
    assert_client(scene, "127.0.0.1", 5000);
    assert_false(is_https(scene));
}

static void beside_any_x_forwarded_field_forwarded_is_not_heard(void **state)
{
    struct scene *scene = *state;
    static const char *const others[][2] = {{"x-forwarded-for", "203.0.113.9"},
                                            {"x-forwarded-proto", "http"},
                                            {"x-forwarded-host", "a.example"},
                                            {"x-forwarded-port", "80"}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        PLAY(scene, "forwarded", "for=1.1.1.1;proto=https;host=evil.example", others[i][0], others[i][1]);
        assert_false(is_https(scene));
        assert_string_not_equal(scene->record.client, "1.1.1.1");
        assert_string_not_equal(scene->record.server, "evil.example");
    }
}

/* ---- PROXY ------------------------------------------------------------------------------------------------------ */

static void a_client_that_a_proxy_header_named_stays_the_client(void **state)
{
    struct scene *scene = *state;
    struct connection_proxied proxied = {"203.0.113.9", "198.51.100.2", 4711, 443};
    scene->connection.proxied = &proxied;
    PLAY(scene, "x-forwarded-for", "1.1.1.1", "x-forwarded-proto", "https");
    assert_client(scene, "203.0.113.9", 4711);
    assert_server(scene, "198.51.100.2", 443);
    assert_string_equal(scene->record.proxy_client, "203.0.113.9");
    assert_int_equal(scene->record.proxy_client_port, 4711);
    assert_int_equal(scene->record.flags, SLOT_TRUSTED | SLOT_PROXIED | SLOT_HTTPS);
    PLAY(scene, "forwarded", "for=1.1.1.1");
    assert_client(scene, "203.0.113.9", 4711);
}

static void trust_is_the_peer_s_and_not_the_named_client_s(void **state)
{
    struct scene *scene = *state;
    struct connection_proxied proxied = {"10.0.0.1", "198.51.100.2", 4711, 443};
    scene->connection.proxied = &proxied;
    set_peer(scene, "203.0.113.1");
    PLAY(scene, "x-forwarded-proto", "https");
    assert_int_equal(scene->record.flags, SLOT_PROXIED);
}

#define SCENE_TEST(name) cmocka_unit_test_setup_teardown(name, set_scene, strike_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_TEST(without_fields_the_socket_says_it_all),
        SCENE_TEST(an_untrusted_peer_is_not_believed),
        SCENE_TEST(a_peer_on_a_unix_socket_is_trusted_and_has_no_address),
        SCENE_TEST(over_tls_the_scheme_is_https_unless_a_trusted_peer_says_otherwise),
        SCENE_TEST(a_trusted_peer_says_the_scheme_by_http_2_too),
        SCENE_TEST(the_rightmost_address_that_is_not_trusted_is_the_client),
        SCENE_TEST(garbage_where_the_client_should_stand_is_ignored),
        SCENE_TEST(several_fields_are_one_list),
        SCENE_TEST(where_everyone_is_trusted_the_leftmost_is_the_client),
        SCENE_TEST(no_more_than_a_hundred_entries_are_looked_at),
        SCENE_TEST(the_scheme_headers_say_https),
        SCENE_TEST(scheme_headers_that_contradict_each_other_are_refused),
        SCENE_TEST(only_the_headers_of_the_setting_count),
        SCENE_TEST(host_and_port_are_the_server_s),
        SCENE_TEST(malformed_hosts_and_ports_are_ignored),
        SCENE_TEST(forwarded_says_client_scheme_and_host),
        SCENE_TEST(of_forwarded_the_words_of_trusted_proxies_count),
        SCENE_TEST(an_obfuscated_client_ends_the_walk),
        SCENE_TEST(malformed_forwarded_says_nothing),
        SCENE_TEST(beside_any_x_forwarded_field_forwarded_is_not_heard),
        SCENE_TEST(a_client_that_a_proxy_header_named_stays_the_client),
        SCENE_TEST(trust_is_the_peer_s_and_not_the_named_client_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
