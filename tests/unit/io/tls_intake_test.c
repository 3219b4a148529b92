#include "tests/unit/io/tls_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void a_request_is_answered_and_nothing_goes_in_clear(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "the body");
    client_talk(client);
    assert_non_null(strstr(client->heard, "200 OK"));
    assert_non_null(strstr(client->heard, "the body"));
    const struct scripted_socket *socket = client_socket(client);
    assert_null(memmem(socket->output, socket->output_bytes, "the body", 8));
    assert_null(memmem(socket->output, socket->output_bytes, "HTTP", 4));
    client_close(client);
    stage_close(stage);
}

static void octets_may_come_and_go_one_by_one(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    client_socket(client)->send_max = 1;
    client_socket(client)->receive_max = 7;
    for (int i = 0; i < 400; i++)
        client_talk(client);
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
    for (int i = 0; i < 40; i++)
        client_talk(client);
    stage_respond(stage, "the body");
    for (int i = 0; i < 400; i++)
        client_talk(client);
    assert_non_null(strstr(client->heard, "the body"));
    assert_int_equal(stage->scene.core.sessions.live, 0); /* the last octet ended the session, and not an earlier one */
    client_close(client);
    stage_close(stage);
}

static void many_requests_at_once_are_all_answered(void **state)
{
    (void)state;
    enum { REQUESTS = 60 };
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    for (int i = 0; i < REQUESTS; i++)
        tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get)); /* a record each: more than are read ahead */
    client_talk(client);
    for (int i = 0; i < REQUESTS; i++) {
        stage_respond(stage, "one");
        client_talk(client);
    }
    assert_int_equal(tls_scene_count(client->heard, "200 OK"), REQUESTS);
    client_close(client);
    stage_close(stage);
}

static void without_a_block_ciphertext_waits(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct buffer_pool *buffers = &stage->scene.core.buffers;
    struct client *client = client_in(stage);
    struct loan loans[16];
    uint8_t *memory;
    uint32_t capacity, count = 0;
    while (count < 16 && buffer_pool_stage(buffers, 1, &loans[count], &memory, &capacity) == 0)
        count++;
    client_says(client, tls_scene_get);
    client_says(client, tls_scene_get);
    assert_int_equal(stage_metric(stage, METRIC_REQUESTS), 0);
    assert_false(client_socket(client)->receive.armed);
    while (count > 0)
        buffer_pool_drop(buffers, &loans[--count]);
    client_talk(client);
    assert_int_equal(stage_metric(stage, METRIC_REQUESTS), 2);
    stage_respond(stage, "one");
    stage_respond(stage, "two");
    client_talk(client);
    assert_int_equal(tls_scene_count(client->heard, "200 OK"), 2);
    client_close(client);
    stage_close(stage);
}

static void an_end_behind_a_request_comes_after_it(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    tls_peer_writes(&client->peer, bytes_of_string(tls_scene_get));
    SSL_shutdown(client->peer.ssl);
    client_speaks(client);
    scripted_client_ends(stage->scene.core.ring, client->fd);
    client_talk(client);
    stage_respond(stage, "the body");
    client_talk(client);
    assert_non_null(strstr(client->heard, "the body"));
    assert_true(client->closed);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    client_close(client);
    stage_close(stage);
}

static void the_end_is_said_in_tls_and_then_in_tcp(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert_false(client_socket(client)->shut);
    stage_respond(stage, "last");
    client_talk(client);
    assert_non_null(strstr(client->heard, "last"));
    assert_true(client->closed);
    assert_true(client_socket(client)->shut);
    client_close(client);
    stage_close(stage);
}

static void an_idle_connection_holds_no_buffer_and_ends_politely(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "one");
    client_talk(client);
    scene_wait(&stage->scene, CONNECTION_PARK_MS + 100);
    assert_true(client_socket(client)->poll.armed);
    client_says(client, tls_scene_get);
    stage_respond(stage, "two");
    client_talk(client);
    assert_int_equal(tls_scene_count(client->heard, "200 OK"), 2);
    scene_wait(&stage->scene, 80'000);
    scene_wait(&stage->scene, 80'000);
    client_talk(client);
    assert_true(client->closed);
    client_close(client);
    stage_close(stage);
}

static void a_client_that_does_not_read_the_end_is_not_waited_for(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, tls_scene_get);
    stage_respond(stage, "one");
    client_talk(client);
    client_socket(client)->send_stalled = true;
    scene_wait(&stage->scene, 80'000);
    scene_wait(&stage->scene, 100);
    assert_false(scene_is_closed(&stage->scene, client->fd));
    scene_wait(&stage->scene, CONNECTION_LINGER_MS + 100);
    scene_wait(&stage->scene, 20);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_KEEPALIVE_IDLE), 1);
    client_close(client);
    stage_close(stage);
}

static void a_misdirected_request_is_answered_421(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_non_null(strstr(client->heard, "421 Misdirected Request"));
    client_close(client);
    stage_close(stage);
}

/* ---- handshakes ------------------------------------------------------------------------------------------------- */

static void hellos_have_their_turns(void **state)
{
    (void)state;
    enum { CLIENTS = 3 * TLS_HELLOS_PER_TURN };
    struct stage *stage = stage_open(NULL);
    struct client *clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(stage);
        (void)tls_peer_handshake(&clients[i]->peer);
    }
    scene_turn(&stage->scene); /* receives are armed */
    for (int i = 0; i < CLIENTS; i++)
        client_speaks(clients[i]);
    for (uint32_t turn = 1; turn <= 3; turn++) {
        uint32_t met = 0;
        scene_turn(&stage->scene);
        for (uint32_t i = 0; i < stage->scene.connections.allocated; i++) {
            const struct connection *connection = stage->scene.connections.by_index[i];
            met += connection->tls != NULL && tls_channel_has_hello(connection->tls);
        }
        assert_int_equal(met, turn * TLS_HELLOS_PER_TURN);
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_talk(clients[i]);
        assert_true(SSL_is_init_finished(clients[i]->peer.ssl));
        client_close(clients[i]);
    }
    stage_close(stage);
}

static void a_client_that_says_nothing_has_two_seconds(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    scene_wait(&stage->scene, TLS_HELLO_MS - 100);
    assert_false(scene_is_closed(&stage->scene, client->fd));
    scene_wait(&stage->scene, 200);
    scene_wait(&stage->scene, 20);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    assert_int_equal(stage_metric(stage, METRIC_TLS_FAILED_TIMEOUT), 1);
    assert_int_equal(stage_metric(stage, METRIC_CLOSED_TLS_HANDSHAKE), 1);
    client_close(client);
    stage_close(stage);
}

static void a_client_that_does_not_finish_has_five(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    (void)tls_peer_handshake(&client->peer);
    client_speaks(client);
    scene_turns(&stage->scene, 4);
    scene_wait(&stage->scene, TLS_HANDSHAKE_MS - 100);
    scene_wait(&stage->scene, 20);
    assert_int_equal(stage->intake.unfinished, 1);
    scene_wait(&stage->scene, 200);
    scene_wait(&stage->scene, CONNECTION_LINGER_MS + 100);
    scene_wait(&stage->scene, 20);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    assert_int_equal(stage_metric(stage, METRIC_TLS_FAILED_TIMEOUT), 1);
    client_close(client);
    stage_close(stage);
}

static void plain_http_is_answered_in_clear(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    scene_say(&stage->scene, client->fd, tls_scene_get);
    assert_non_null(strstr(scene_heard(&stage->scene, client->fd), "400 Bad Request"));
    assert_int_equal(stage_metric(stage, METRIC_TLS_FAILED_PLAIN_HTTP), 1);
    client_close(client);
    stage_close(stage);
}

static void noise_is_closed_without_an_answer(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    scene_say(&stage->scene, client->fd, "\x80\x2e\x01\x03\x01");
    assert_string_equal(scene_heard(&stage->scene, client->fd), "");
    assert_true(scene_is_closed(&stage->scene, client->fd));
    assert_int_equal(stage_metric(stage, METRIC_TLS_FAILED_PROTOCOL), 1);
    client_close(client);
    stage_close(stage);
}

static void a_client_that_goes_early_leaves_nothing(void **state)
{
    (void)state;
    for (int ended = 0; ended < 3; ended++) {
        struct stage *stage = stage_open(NULL);
        struct client *client = client_open(stage);
        if (ended > 0)
            (void)tls_peer_handshake(&client->peer);
        client_speaks(client);
        scene_turns(&stage->scene, ended);
        scripted_client_ends(stage->scene.core.ring, client->fd);
        scene_turns(&stage->scene, 8);
        assert_true(scene_is_closed(&stage->scene, client->fd));
        client_close(client);
        stage_close(stage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_and_nothing_goes_in_clear),
        cmocka_unit_test(octets_may_come_and_go_one_by_one),
        cmocka_unit_test(many_requests_at_once_are_all_answered),
        cmocka_unit_test(without_a_block_ciphertext_waits),
        cmocka_unit_test(an_end_behind_a_request_comes_after_it),
        cmocka_unit_test(the_end_is_said_in_tls_and_then_in_tcp),
        cmocka_unit_test(an_idle_connection_holds_no_buffer_and_ends_politely),
        cmocka_unit_test(a_client_that_does_not_read_the_end_is_not_waited_for),
        cmocka_unit_test(a_misdirected_request_is_answered_421),
        cmocka_unit_test(hellos_have_their_turns),
        cmocka_unit_test(a_client_that_says_nothing_has_two_seconds),
        cmocka_unit_test(a_client_that_does_not_finish_has_five),
        cmocka_unit_test(plain_http_is_answered_in_clear),
        cmocka_unit_test(noise_is_closed_without_an_answer),
        cmocka_unit_test(a_client_that_goes_early_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
