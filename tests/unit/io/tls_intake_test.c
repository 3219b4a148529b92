#include "daemon/io/tls_intake.h"

#include "daemon/io/tls_describe.h"
#include "tests/unit/io/io_scene.h"
#include "tests/unit/io/tls_peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEARD_MAX = 1 << 18, ROUNDS_MAX = 64 };

/* ---- an I/O process that speaks TLS ------------------------------------------------------------------------------ */

struct stage {
    struct scene scene;
    struct tls_store store;
    struct tls_intake intake;
    struct tls_descriptions descriptions;
    struct tls_place place;
    struct tls_files files;
    bool crowded;
};

/* A client: its TLS and its socket. */
struct client {
    struct stage *stage;
    struct tls_peer peer;
    int fd;
    size_t taken; /* of what the server has sent */
    char heard[HEARD_MAX];
    size_t heard_bytes;
    bool closed; /* close_notify has come */
};

static void on_ready(struct connection *connection, bool is_h2, void *context)
{
    struct stage *stage = context;
    assert_false(is_h2);
    connection->protocol = &stage->scene.http1.protocol;
    http1_session_accepted(&stage->scene.http1, connection);
}

static void on_plain_http(struct connection *connection, void *context)
{
    struct stage *stage = context;
    connection->protocol = &stage->scene.http1.protocol;
    http1_session_refuse(&stage->scene.http1, connection, 400, "TLS is spoken here", CLOSE_PLAIN_HTTP);
}

static void on_crowded(bool is_crowded, void *context)
{
    ((struct stage *)context)->crowded = is_crowded;
}

static struct stage *stage_open(void (*adjust)(struct scene *scene))
{
    struct stage *stage = test_calloc(1, sizeof *stage);
    struct scene *scene = &stage->scene;
    const struct tls_options options = {.version_min = TLS1_2_VERSION, .protocols = {"http/1.1"}, .tickets = true};
    const struct tls_intake_hooks hooks = {on_ready, on_plain_http, on_crowded, stage};
    char why[256];
    scene_open(scene, adjust);
    assert_int_equal(tls_store_init(&stage->store, &scene->core.settings), 0);
    tls_files_make(&stage->files, false, "DNS:a.example");
    const struct tls_sources sources = {.pairs = &stage->files.source, .pair_count = 1};
    assert_int_equal(tls_context_create(&options, &sources, &stage->store.tickets, &stage->store.signers, why,
                                        sizeof why, &stage->place.context),
                     0);
    stage->store.places[0] = &stage->place;
    assert_int_equal(buffer_pool_add_cipher(&scene->core.buffers, scene->core.ring), 0);
    tls_descriptions_init(&stage->descriptions, &scene->core.buffers);
    scene->core.tls = &stage->descriptions;
    tls_intake_init(&stage->intake, &scene->connections, &stage->store, &hooks);
    scene->tls = &stage->intake;
    scene_app_up(scene, 0, 64, 0);
    return stage;
}

static void stage_close(struct stage *stage)
{
    tls_descriptions_deinit(&stage->descriptions);
    for (uint32_t i = 0; i < stage->scene.connections.allocated; i++) /* a polite end takes its time */
        if (stage->scene.connections.by_index[i] != NULL)
            connection_abort(&stage->scene.connections, stage->scene.connections.by_index[i], CLOSE_SHUTDOWN, true);
    assert_int_equal(stage->scene.core.buffers.cipher.lent, 0);
    scene_close(&stage->scene);
    assert_int_equal(stage->intake.unfinished, 0);
    tls_intake_deinit(&stage->intake);
    stage->store.places[0] = NULL;
    tls_context_drop(stage->place.context);
    tls_store_deinit(&stage->store);
    tls_files_free(&stage->files);
    test_free(stage);
}

static struct client *client_open(struct stage *stage)
{
    struct client *client = test_calloc(1, sizeof *client);
    client->stage = stage;
    client->fd = scripted_socket(stage->scene.core.ring);
    tls_peer_open(&client->peer, "a.example", NULL);
    struct connection *connection = connection_create(&stage->scene.connections, client->fd, &stage->scene.listener);
    assert_non_null(connection);
    tls_intake_accepted(&stage->intake, connection);
    return client;
}

static void client_close(struct client *client)
{
    tls_peer_close(&client->peer);
    test_free(client);
}

static struct scripted_socket *socket_of(const struct client *client)
{
    return scripted_at(client->stage->scene.core.ring, client->fd);
}

static bool client_speaks(struct client *client)
{
    struct bytes said = tls_peer_says(&client->peer);
    if (said.length > 0)
        scripted_client_sends(client->stage->scene.core.ring, client->fd, said);
    free((void *)(uintptr_t)said.data);
    return said.length > 0;
}

static bool client_listens(struct client *client)
{
    const struct scripted_socket *socket = socket_of(client);
    size_t more = socket->output_bytes - client->taken;
    tls_peer_hears(&client->peer, bytes_of(socket->output + client->taken, more));
    client->taken += more;
    return more > 0;
}

/* Some turns of the loop, and of the conversation. */
static void talk(struct client *client)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        bool done = tls_peer_handshake(&client->peer);
        bool spoke = client_speaks(client);
        scene_turns(&client->stage->scene, 4);
        spoke = client_listens(client) || spoke;
        if (done)
            client->heard_bytes += tls_peer_reads(&client->peer, (uint8_t *)client->heard + client->heard_bytes,
                                                  HEARD_MAX - 1 - client->heard_bytes, &client->closed);
        if (!spoke)
            return;
    }
}

static void client_says(struct client *client, const char *text)
{
    tls_peer_writes(&client->peer, bytes_of_string(text));
    talk(client);
}

/* A client whose handshake is complete. */
static struct client *client_in(struct stage *stage)
{
    struct client *client = client_open(stage);
    talk(client);
    assert_true(SSL_is_init_finished(client->peer.ssl));
    assert_int_equal(stage->intake.unfinished, 0);
    return client;
}

static const char get[] = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

static void respond(struct stage *stage, const char *body)
{
    struct message request = scene_begin(&stage->scene, 0);
    scene_respond(&stage->scene, 0, &request, 200, body, 0);
    scene_done(&stage->scene, 0, &request);
}

static size_t count_in(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        count++;
    return count;
}

static uint64_t metric(const struct stage *stage, enum metric which)
{
    return metrics_get(stage->scene.core.metrics, which);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void a_request_is_answered_and_nothing_goes_in_clear(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, get);
    respond(stage, "the body");
    talk(client);
    assert_non_null(strstr(client->heard, "200 OK"));
    assert_non_null(strstr(client->heard, "the body"));
    const struct scripted_socket *socket = socket_of(client);
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
    socket_of(client)->send_max = 1;
    socket_of(client)->receive_max = 7;
    for (int i = 0; i < 400; i++)
        talk(client);
    tls_peer_writes(&client->peer, bytes_of_string(get));
    for (int i = 0; i < 40; i++)
        talk(client);
    respond(stage, "the body");
    for (int i = 0; i < 400; i++)
        talk(client);
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
        tls_peer_writes(&client->peer, bytes_of_string(get)); /* a record each: more than are read ahead */
    talk(client);
    for (int i = 0; i < REQUESTS; i++) {
        respond(stage, "one");
        talk(client);
    }
    assert_int_equal(count_in(client->heard, "200 OK"), REQUESTS);
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
    client_says(client, get);
    client_says(client, get);
    assert_int_equal(metric(stage, METRIC_REQUESTS), 0);
    assert_false(socket_of(client)->receive.armed);
    while (count > 0)
        buffer_pool_drop(buffers, &loans[--count]);
    talk(client);
    assert_int_equal(metric(stage, METRIC_REQUESTS), 2);
    respond(stage, "one");
    respond(stage, "two");
    talk(client);
    assert_int_equal(count_in(client->heard, "200 OK"), 2);
    client_close(client);
    stage_close(stage);
}

static void an_end_behind_a_request_comes_after_it(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    tls_peer_writes(&client->peer, bytes_of_string(get));
    SSL_shutdown(client->peer.ssl);
    client_speaks(client);
    scripted_client_ends(stage->scene.core.ring, client->fd);
    talk(client);
    respond(stage, "the body");
    talk(client);
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
    assert_false(socket_of(client)->shut);
    respond(stage, "last");
    talk(client);
    assert_non_null(strstr(client->heard, "last"));
    assert_true(client->closed);
    assert_true(socket_of(client)->shut);
    client_close(client);
    stage_close(stage);
}

static void an_idle_connection_holds_no_buffer_and_ends_politely(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, get);
    respond(stage, "one");
    talk(client);
    scene_wait(&stage->scene, CONNECTION_PARK_MS + 100);
    assert_true(socket_of(client)->poll.armed);
    client_says(client, get);
    respond(stage, "two");
    talk(client);
    assert_int_equal(count_in(client->heard, "200 OK"), 2);
    scene_wait(&stage->scene, 80'000);
    scene_wait(&stage->scene, 80'000);
    talk(client);
    assert_true(client->closed);
    client_close(client);
    stage_close(stage);
}

static void a_client_that_does_not_read_the_end_is_not_waited_for(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_in(stage);
    client_says(client, get);
    respond(stage, "one");
    talk(client);
    socket_of(client)->send_stalled = true;
    scene_wait(&stage->scene, 80'000);
    scene_wait(&stage->scene, 100);
    assert_false(scene_is_closed(&stage->scene, client->fd));
    scene_wait(&stage->scene, CONNECTION_LINGER_MS + 100);
    scene_wait(&stage->scene, 20);
    assert_true(scene_is_closed(&stage->scene, client->fd));
    assert_int_equal(metric(stage, METRIC_CLOSED_KEEPALIVE_IDLE), 1);
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
        talk(clients[i]);
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
    assert_int_equal(metric(stage, METRIC_TLS_FAILED_TIMEOUT), 1);
    assert_int_equal(metric(stage, METRIC_CLOSED_TLS_HANDSHAKE), 1);
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
    assert_int_equal(metric(stage, METRIC_TLS_FAILED_TIMEOUT), 1);
    client_close(client);
    stage_close(stage);
}

static void plain_http_is_answered_in_clear(void **state)
{
    (void)state;
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    scene_say(&stage->scene, client->fd, get);
    assert_non_null(strstr(scene_heard(&stage->scene, client->fd), "400 Bad Request"));
    assert_int_equal(metric(stage, METRIC_TLS_FAILED_PLAIN_HTTP), 1);
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
    assert_int_equal(metric(stage, METRIC_TLS_FAILED_PROTOCOL), 1);
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
