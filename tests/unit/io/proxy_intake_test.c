#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/io/proxy_intake.h"
#include "tests/unit/io/io_scene.h"

#define HEADER  "PROXY TCP4 203.0.113.9 198.51.100.2 56324 443\r\n"
#define REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

struct proxy_scene {
    struct scene io; /* first */
    struct proxy_intake intake;
};

static void on_ready(struct connection *connection, void *context)
{
    struct http1_sessions *http1 = context;
    connection->protocol = &http1->protocol;
    http1_session_accepted(http1, connection);
}

static void allow(struct proxy_scene *scene, char *peers)
{
    const struct string_list list = {.count = 1, .items = &peers};
    size_t bad;
    address_set_deinit(&scene->io.core.proxy_allow);
    assert_int_equal(address_set_init(&scene->io.core.proxy_allow, &list, &bad), 0);
}

static int set_up(void **state)
{
    struct proxy_scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene_open(&scene->io, NULL);
    scene_app_up(&scene->io, 0, 4, 0);
    scene->io.listener.is_unix = true; /* peers without an address, which `*` trusts */
    scene->io.listener.tls_context = -1;
    scene->io.core.settings.proxy_protocol = PROXY_PROTOCOL_AUTO;
    allow(scene, (char[]){"*"});
    proxy_intake_init(&scene->intake, &scene->io.connections, &scene->io.http1, on_ready, &scene->io.http1);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct proxy_scene *scene = *state;
    scene_close(&scene->io);
    address_set_deinit(&scene->io.core.proxy_allow);
    free(scene);
    return 0;
}

static int connect_client(struct proxy_scene *scene)
{
    int fd = scripted_socket(scene->io.core.ring);
    struct connection *connection = connection_create(&scene->io.connections, fd, &scene->io.listener);
    assert_non_null(connection);
    proxy_intake_accepted(&scene->intake, connection);
    return fd;
}

/* The next request is from the client that the header names. */
static void assert_served(struct proxy_scene *scene)
{
    const struct io_core *core = &scene->io.core;
    struct message request = scene_begin(&scene->io, 0);
    const struct slot_record *record = layout_record(&core->inbound, &core->layout, request.slot);
    assert_string_equal(record->client, "203.0.113.9");
    assert_int_equal(record->client_port, 56'324);
    scene_respond(&scene->io, 0, &request, 200, "hello", MESSAGE_WAS_DONE);
    scene_turns(&scene->io, 4);
}

static void a_header_and_a_request_behind_it_are_cut_anywhere(void **state)
{
    struct proxy_scene *scene = *state;
    static const char text[] = HEADER REQUEST;
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        int fd = connect_client(scene);
        scripted_client_sends(scene->io.core.ring, fd, bytes_of(text, cut));
        scene_turns(&scene->io, 4);
        scripted_client_sends(scene->io.core.ring, fd, bytes_of(text + cut, sizeof text - 1 - cut));
        scene_turns(&scene->io, 4);
        assert_served(scene);
        scripted_client_ends(scene->io.core.ring, fd);
        scene_turns(&scene->io, 4);
        assert_true(scene_is_closed(&scene->io, fd));
    }
}

static void octets_one_by_one_are_a_header_too(void **state)
{
    struct proxy_scene *scene = *state;
    int fd = connect_client(scene);
    scripted_at(scene->io.core.ring, fd)->receive_max = 1;
    scripted_client_sends(scene->io.core.ring, fd, BYTES_LITERAL(HEADER REQUEST));
    scene_turns(&scene->io, sizeof(HEADER REQUEST));
    assert_served(scene);
}

static void a_request_without_a_header_is_closed_without_an_answer(void **state)
{
    struct proxy_scene *scene = *state;
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, REQUEST);
    assert_true(scene_is_closed(&scene->io, fd));
    assert_string_equal(scene_heard(&scene->io, fd), "");
    assert_int_equal(metrics_get(scene->io.metrics, METRIC_CLOSED_PROXY_HEADER), 1);
}

static void a_header_that_goes_on_for_ever_is_closed(void **state)
{
    struct proxy_scene *scene = *state;
    static const uint8_t endless[16 + PROXY_INTAKE_BYTES_MAX] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
    int fd = connect_client(scene);
    for (size_t at = 0; at < sizeof endless && !scene_is_closed(&scene->io, fd); at += 512) {
        size_t length = sizeof endless - at < 512 ? sizeof endless - at : 512;
        scripted_client_sends(scene->io.core.ring, fd, bytes_of(endless + at, length));
        scene_turns(&scene->io, 4);
    }
    assert_true(scene_is_closed(&scene->io, fd));
}

static void half_a_header_is_closed_after_its_time(void **state)
{
    struct proxy_scene *scene = *state;
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, "PROXY TCP4 203.0");
    scene_wait(&scene->io, PROXY_INTAKE_TIMEOUT_MS - 100);
    scene_turns(&scene->io, 4);
    assert_false(scene_is_closed(&scene->io, fd));
    scene_wait(&scene->io, 200);
    scene_turns(&scene->io, 4);
    assert_true(scene_is_closed(&scene->io, fd));
}

static void a_client_that_leaves_within_the_header_leaves_nothing_behind(void **state)
{
    struct proxy_scene *scene = *state;
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, "PROXY TCP4 203.0");
    scripted_client_ends(scene->io.core.ring, fd);
    scene_turns(&scene->io, 4);
    assert_true(scene_is_closed(&scene->io, fd));
    int broken = connect_client(scene);
    scene_say(&scene->io, broken, "PROXY TCP4 203.0");
    scripted_at(scene->io.core.ring, broken)->receive_error = -ECONNRESET;
    scene_turns(&scene->io, 4);
    assert_true(scene_is_closed(&scene->io, broken));
}

static void a_peer_that_may_not_send_one_is_told_so(void **state)
{
    struct proxy_scene *scene = *state;
    allow(scene, (char[]){"192.0.2.77"});
    scene->io.listener.is_unix = false;
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, HEADER REQUEST);
    assert_non_null(strstr(scene_heard(&scene->io, fd), "HTTP/1.1 403 "));
}

static void where_tls_is_spoken_such_a_peer_is_told_nothing(void **state)
{
    struct proxy_scene *scene = *state;
    allow(scene, (char[]){"192.0.2.77"});
    scene->io.listener.is_unix = false;
    scene->io.listener.tls_context = 0;
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, HEADER REQUEST);
    assert_true(scene_is_closed(&scene->io, fd));
    assert_string_equal(scene_heard(&scene->io, fd), "");
}

static void an_address_of_its_own_goes_before_the_setting(void **state)
{
    struct proxy_scene *scene = *state;
    struct connection_listener *listener = &scene->io.listener;
    assert_true(proxy_intake_wanted(&scene->intake, listener));
    listener->proxy_protocol = LISTEN_PROXY_OFF;
    assert_false(proxy_intake_wanted(&scene->intake, listener));
    scene->io.listener.tls_context = -1;
    scene->io.core.settings.proxy_protocol = PROXY_PROTOCOL_OFF;
    listener->proxy_protocol = LISTEN_PROXY_OF_ALL;
    assert_false(proxy_intake_wanted(&scene->intake, listener));
    listener->proxy_protocol = LISTEN_PROXY_V2;
    assert_true(proxy_intake_wanted(&scene->intake, listener));
    int fd = connect_client(scene);
    scene_say(&scene->io, fd, HEADER REQUEST);
    assert_true(scene_is_closed(&scene->io, fd));
    listener->proxy_protocol = LISTEN_PROXY_V1;
    fd = connect_client(scene);
    scene_say(&scene->io, fd, HEADER REQUEST);
    assert_served(scene);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_header_and_a_request_behind_it_are_cut_anywhere),
        TEST(octets_one_by_one_are_a_header_too),
        TEST(a_request_without_a_header_is_closed_without_an_answer),
        TEST(a_header_that_goes_on_for_ever_is_closed),
        TEST(half_a_header_is_closed_after_its_time),
        TEST(a_client_that_leaves_within_the_header_leaves_nothing_behind),
        TEST(a_peer_that_may_not_send_one_is_told_so),
        TEST(where_tls_is_spoken_such_a_peer_is_told_nothing),
        TEST(an_address_of_its_own_goes_before_the_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
