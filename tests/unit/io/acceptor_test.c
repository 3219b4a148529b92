#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/io/io_scene.h"

struct stage {
    struct scene scene;
    struct acceptor acceptor;
    uint32_t accepted;
};

static void on_accepted(struct connection *connection, void *context)
{
    struct stage *stage = context;
    stage->accepted++;
    http1_session_accepted(&stage->scene.http1, connection);
}

static void open_stage(struct stage *stage)
{
    *stage = (struct stage){};
    scene_open(&stage->scene, NULL);
    acceptor_init(&stage->acceptor, &stage->scene.connections, on_accepted, stage);
    const struct control_listener listener = {.server_port = 80, .tls_context = -1, .server = "192.0.2.1"};
    assert_int_equal(acceptor_add(&stage->acceptor, &listener, dup(STDIN_FILENO)), 0);
    acceptor_start(&stage->acceptor);
}

static void close_stage(struct stage *stage)
{
    acceptor_deinit(&stage->acceptor);
    scene_close(&stage->scene);
}

static void happens(struct stage *stage, int32_t result, bool more)
{
    const struct ring_event event = {
        .token = ring_token_make(RING_ACCEPT, 0, 0), .result = result, .buffer = -1, .more = more};
    acceptor_on_accept(&stage->acceptor, &event);
}

static uint32_t armed(struct stage *stage)
{
    return scripted_accepts(stage->scene.core.ring);
}

static void an_accept_that_stays_armed_is_not_armed_twice(void **state)
{
    (void)state;
    static struct stage stage;
    open_stage(&stage);
    assert_int_equal(armed(&stage), 1);
    happens(&stage, scripted_socket(stage.scene.core.ring), true);
    assert_int_equal(armed(&stage), 1);
    happens(&stage, scripted_socket(stage.scene.core.ring), false);
    assert_int_equal(armed(&stage), 2);
    assert_int_equal(stage.accepted, 2);
    close_stage(&stage);
}

static void without_descriptors_it_pauses_and_tries_again(void **state)
{
    (void)state;
    static const int errors[] = {-EMFILE, -ENFILE, -ENOMEM, -ENOBUFS};
    for (size_t i = 0; i < 4; i++) {
        static struct stage stage;
        open_stage(&stage);
        happens(&stage, errors[i], false);
        assert_int_equal(armed(&stage), 1);
        uint64_t next = acceptor_turn(&stage.acceptor);
        assert_int_equal(next, stage.scene.core.now_ms + ACCEPT_RETRY_MS);
        stage.scene.core.now_ms += ACCEPT_RETRY_MS - 1;
        acceptor_turn(&stage.acceptor);
        assert_int_equal(armed(&stage), 1);
        stage.scene.core.now_ms += 1;
        assert_int_equal(acceptor_turn(&stage.acceptor), UINT64_MAX);
        assert_int_equal(armed(&stage), 2);
        close_stage(&stage);
    }
}

/* A client that waits to be accepted by the stage's second listener. */
static int waiting_client(struct stage *stage)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const struct control_listener listener = {.tls_context = -1, .server = "127.0.0.1"};
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 8), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(acceptor_add(&stage->acceptor, &listener, listening), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
    return client;
}

static bool was_closed(int client)
{
    char octet;
    return recv(client, &octet, 1, MSG_DONTWAIT) == 0;
}

static void while_descriptors_stay_out_those_who_wait_are_turned_away(void **state)
{
    (void)state;
    static struct stage stage;
    const struct ring_event out = {.token = ring_token_make(RING_ACCEPT, 0, 1), .result = -EMFILE, .buffer = -1};
    open_stage(&stage);
    int client = waiting_client(&stage);
    acceptor_on_accept(&stage.acceptor, &out);
    assert_false(was_closed(client)); /* it may be over in a moment */
    stage.scene.core.now_ms += ACCEPT_RETRY_MS;
    acceptor_turn(&stage.acceptor);
    acceptor_on_accept(&stage.acceptor, &out);
    assert_true(was_closed(client));
    assert_int_equal(metrics_get(stage.scene.metrics, METRIC_ACCEPT_SHED), 1);
    assert_true(stage.acceptor.spare_fd >= 0);
    close(client);
    close_stage(&stage);
}

static void what_several_processes_accept_from_is_left_to_the_others(void **state)
{
    (void)state;
    static struct stage stage;
    const struct ring_event out = {.token = ring_token_make(RING_ACCEPT, 0, 1), .result = -EMFILE, .buffer = -1};
    open_stage(&stage);
    int client = waiting_client(&stage);
    stage.acceptor.listeners[1].is_shared = true;
    for (int i = 0; i < 3; i++) {
        acceptor_on_accept(&stage.acceptor, &out);
        stage.scene.core.now_ms += ACCEPT_RETRY_MS;
        acceptor_turn(&stage.acceptor);
    }
    assert_false(was_closed(client));
    close(client);
    close_stage(&stage);
}

static void without_descriptors_an_idle_connection_makes_room_at_once(void **state)
{
    (void)state;
    static struct stage stage;
    open_stage(&stage);
    int idle = scripted_socket(stage.scene.core.ring);
    happens(&stage, idle, true);
    connection_set_idle(&stage.scene.connections, stage.scene.connections.by_index[0], true);
    happens(&stage, -EMFILE, false);
    assert_int_equal(armed(&stage), 1);
    scene_turns(&stage.scene, 3);
    assert_true(scene_is_closed(&stage.scene, idle));
    assert_int_equal(acceptor_turn(&stage.acceptor), UINT64_MAX); /* and not ACCEPT_RETRY_MS later */
    assert_int_equal(armed(&stage), 2);
    close_stage(&stage);
}

static void a_connection_that_was_aborted_pauses_nothing(void **state)
{
    (void)state;
    static const int errors[] = {-ECONNABORTED, -EPROTO, -EAGAIN, -EINTR};
    for (size_t i = 0; i < 4; i++) {
        static struct stage stage;
        open_stage(&stage);
        happens(&stage, errors[i], false);
        assert_int_equal(armed(&stage), 2);
        assert_int_equal(acceptor_turn(&stage.acceptor), UINT64_MAX);
        close_stage(&stage);
    }
}

static void beyond_max_connections_the_idle_go_and_then_nobody_comes(void **state)
{
    (void)state;
    static struct stage stage;
    open_stage(&stage);
    stage.scene.core.settings.max_connections = 2;
    int first = scripted_socket(stage.scene.core.ring);
    happens(&stage, first, true);
    happens(&stage, scripted_socket(stage.scene.core.ring), true);
    connection_set_idle(&stage.scene.connections, stage.scene.connections.by_index[0], true);
    happens(&stage, scripted_socket(stage.scene.core.ring), true);
    scene_turns(&stage.scene, 3);
    assert_true(scene_is_closed(&stage.scene, first));
    assert_int_equal(acceptor_turn(&stage.acceptor), UINT64_MAX);
    happens(&stage, scripted_socket(stage.scene.core.ring), true); /* none is idle */
    assert_true(acceptor_turn(&stage.acceptor) != UINT64_MAX);
    happens(&stage, -ECANCELED, false);
    assert_int_equal(armed(&stage), 1);
    stage.scene.core.now_ms += ACCEPT_RETRY_MS;
    acceptor_turn(&stage.acceptor);
    assert_int_equal(armed(&stage), 1); /* still full */
    connection_abort(&stage.scene.connections, stage.scene.connections.by_index[1], CLOSE_REQUESTED, false);
    scene_turns(&stage.scene, 3);
    stage.scene.core.now_ms += ACCEPT_RETRY_MS;
    acceptor_turn(&stage.acceptor);
    assert_int_equal(armed(&stage), 2);
    close_stage(&stage);
}

static void a_stop_closes_the_listener_once_its_accept_has_ended(void **state)
{
    (void)state;
    static struct stage stage;
    open_stage(&stage);
    acceptor_stop(&stage.acceptor);
    assert_false(acceptor_is_closed(&stage.acceptor));
    happens(&stage, scripted_socket(stage.scene.core.ring), true); /* came before the cancel */
    assert_int_equal(stage.accepted, 1);
    happens(&stage, -ECANCELED, false);
    assert_true(acceptor_is_closed(&stage.acceptor));
    assert_int_equal(armed(&stage), 1);
    close_stage(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_accept_that_stays_armed_is_not_armed_twice),
        cmocka_unit_test(without_descriptors_it_pauses_and_tries_again),
        cmocka_unit_test(while_descriptors_stay_out_those_who_wait_are_turned_away),
        cmocka_unit_test(what_several_processes_accept_from_is_left_to_the_others),
        cmocka_unit_test(without_descriptors_an_idle_connection_makes_room_at_once),
        cmocka_unit_test(a_connection_that_was_aborted_pauses_nothing),
        cmocka_unit_test(beyond_max_connections_the_idle_go_and_then_nobody_comes),
        cmocka_unit_test(a_stop_closes_the_listener_once_its_accept_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
