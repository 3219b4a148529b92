#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/io/io_scene.h"

/* A client of the scripted engine, and a real socket that stands for its own while the watch looks: of what becomes of
 * that one the engine says nothing, as the kernel does in the case in question. */
struct silent_client {
    struct connection *connection;
    int scripted;
    int real;
    int peer; /* the client's end; -1: it has left */
};

static void connect_pair(int ret_fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    ret_fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ret_fds[0], (struct sockaddr *)&address, length), 0);
    ret_fds[1] = accept(listening, NULL, NULL);
    close(listening);
}

static struct silent_client connect_silently(struct scene *scene)
{
    int fds[2];
    connect_pair(fds);
    int scripted = scene_connect(scene);
    return (struct silent_client){
        .connection = scene->connections.by_index[scene->connections.allocated - 1],
        .scripted = scripted,
        .real = fds[1],
        .peer = fds[0],
    };
}

static void reset(struct silent_client *client)
{
    const struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(client->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(client->peer);
    client->peer = -1;
}

static void close_client(struct silent_client *client)
{
    close(client->real);
    if (client->peer >= 0)
        close(client->peer);
}

static void look_after(struct scene *scene, struct silent_client *clients, uint32_t count, uint64_t ms)
{
    for (uint32_t i = 0; i < count; i++)
        if (!scene_is_closed(scene, clients[i].scripted))
            clients[i].connection->fd = clients[i].real;
    scene->core.now_ms += ms;
    gone_watch_turn(&scene->gone, &scene->connections);
    for (uint32_t i = 0; i < count; i++)
        if (!scene_is_closed(scene, clients[i].scripted))
            clients[i].connection->fd = clients[i].scripted;
    scene_turns(scene, 4);
}

static void a_reset_that_nobody_told_of_is_noticed_and_the_application_hears_of_it(void **state)
{
    (void)state;
    struct scene scene;
    struct message message;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct silent_client client = connect_silently(&scene);
    scene_say(&scene, client.scripted, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct message request = scene_begin(&scene, 0);
    look_after(&scene, &client, 1, GONE_WATCH_PERIOD_MS);
    assert_false(scene_is_closed(&scene, client.scripted));
    reset(&client);
    look_after(&scene, &client, 1, GONE_WATCH_PERIOD_MS);
    assert_true(scene_is_closed(&scene, client.scripted));
    assert_true(scene_take(&scene, 0, &message));
    assert_int_equal(message.kind, MESSAGE_CANCEL);
    assert_int_equal(metrics_get(scene.metrics, METRIC_CLOSED_CLIENT_RESET), 1);
    scene_done(&scene, 0, &request);
    scene_close(&scene);
    close_client(&client);
}

static void a_client_that_has_closed_its_half_is_still_there(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, NULL);
    scene_app_up(&scene, 0, 1, 0);
    struct silent_client client = connect_silently(&scene);
    scene_say(&scene, client.scripted, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct message request = scene_begin(&scene, 0);
    assert_int_equal(shutdown(client.peer, SHUT_WR), 0);
    look_after(&scene, &client, 1, 2 * GONE_WATCH_PERIOD_MS);
    assert_false(scene_is_closed(&scene, client.scripted));
    scene_respond(&scene, 0, &request, 200, "still for you", MESSAGE_WAS_DONE);
    scene_turns(&scene, 4);
    assert_non_null(strstr(scene_heard(&scene, client.scripted), "still for you"));
    scene_close(&scene);
    close_client(&client);
}

static void a_few_are_looked_at_in_each_turn_and_all_of_them_in_a_period(void **state)
{
    (void)state;
    enum { CLIENTS = 10 };
    struct scene scene;
    struct silent_client clients[CLIENTS];
    scene_open(&scene, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = connect_silently(&scene);
        scene_say(&scene, clients[i].scripted, "GET / HT");
    }
    look_after(&scene, clients, CLIENTS, GONE_WATCH_PERIOD_MS);
    for (int i = 0; i < CLIENTS; i++)
        reset(&clients[i]);
    for (uint32_t left = CLIENTS; left > 0; left--) {
        assert_int_equal(scene.connections.live, left);
        look_after(&scene, clients, CLIENTS, GONE_WATCH_PERIOD_MS / CLIENTS);
    }
    assert_int_equal(scene.connections.live, 0);
    scene_close(&scene);
    for (int i = 0; i < CLIENTS; i++)
        close_client(&clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reset_that_nobody_told_of_is_noticed_and_the_application_hears_of_it),
        cmocka_unit_test(a_client_that_has_closed_its_half_is_still_there),
        cmocka_unit_test(a_few_are_looked_at_in_each_turn_and_all_of_them_in_a_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
