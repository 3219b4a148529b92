#include "tests/unit/io/tls_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROUNDS_MAX = 64 };

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

struct stage *stage_open(void (*adjust)(struct scene *scene))
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

void stage_close(struct stage *stage)
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

struct client *client_open(struct stage *stage)
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

void client_close(struct client *client)
{
    tls_peer_close(&client->peer);
    test_free(client);
}

struct scripted_socket *client_socket(const struct client *client)
{
    return scripted_at(client->stage->scene.core.ring, client->fd);
}

bool client_speaks(struct client *client)
{
    struct bytes said = tls_peer_says(&client->peer);
    if (said.length > 0)
        scripted_client_sends(client->stage->scene.core.ring, client->fd, said);
    free((void *)(uintptr_t)said.data);
    return said.length > 0;
}

static bool client_listens(struct client *client)
{
    const struct scripted_socket *socket = client_socket(client);
    size_t more = socket->output_bytes - client->taken;
    tls_peer_hears(&client->peer, bytes_of(socket->output + client->taken, more));
    client->taken += more;
    return more > 0;
}

/* Some turns of the loop, and of the conversation. */
void client_talk(struct client *client)
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

void client_says(struct client *client, const char *text)
{
    tls_peer_writes(&client->peer, bytes_of_string(text));
    client_talk(client);
}

/* A client whose handshake is complete. */
struct client *client_in(struct stage *stage)
{
    struct client *client = client_open(stage);
    client_talk(client);
    assert_true(SSL_is_init_finished(client->peer.ssl));
    assert_int_equal(stage->intake.unfinished, 0);
    return client;
}

const char tls_scene_get[] = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

void stage_respond(struct stage *stage, const char *body)
{
    struct message request = scene_begin(&stage->scene, 0);
    scene_respond(&stage->scene, 0, &request, 200, body, 0);
    scene_done(&stage->scene, 0, &request);
}

size_t tls_scene_count(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        count++;
    return count;
}

uint64_t stage_metric(const struct stage *stage, enum metric which)
{
    return metrics_get(stage->scene.core.metrics, which);
}
