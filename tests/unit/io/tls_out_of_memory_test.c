#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/io/failing_memory.h"
#include "tests/unit/io/tls_scene.h"

enum { ALLOCATIONS_MAX = 1'000 };

void __real_scene_turns(struct scene *scene, uint32_t count);
void __wrap_scene_turns(struct scene *scene, uint32_t count);

/* The part of a conversation that is the daemon's. */
void __wrap_scene_turns(struct scene *scene, uint32_t count)
{
    failing_memory.is_daemon = true;
    __real_scene_turns(scene, count);
    failing_memory.is_daemon = false;
}

/* Answers whatever has come, if anything has. */
static void respond(struct stage *stage, const char *body)
{
    struct scene *scene = &stage->scene;
    struct message request;
    while (scene_take(scene, 0, &request)) {
        if (request.kind == MESSAGE_REQUEST && scene_claim(scene, 0, &request))
            scene_respond(scene, 0, &request, 200, body, MESSAGE_WAS_DONE);
    }
}

/* A handshake, a request in one piece and one that comes octet by octet. */
static void converse(struct stage *stage, struct client *client)
{
    static const char last[] = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    client_talk(client);
    if (!SSL_is_init_finished(client->peer.ssl))
        return;
    client_says(client, tls_scene_get);
    respond(stage, "first");
    client_talk(client);
    client_socket(client)->receive_max = 1;
    client_socket(client)->send_max = 7;
    tls_peer_writes(&client->peer, bytes_of_string(last));
    for (int i = 0; i < 60; i++)
        client_talk(client);
    respond(stage, "second");
    for (int i = 0; i < 60; i++)
        client_talk(client);
}

/* Returns whether no allocation failed: then all was said and heard. */
static bool converse_with(uint32_t first, bool rest)
{
    struct stage *stage = stage_open(NULL);
    struct client *client = client_open(stage);
    failing_memory = (struct failing_memory){.first = first, .rest = rest};
    converse(stage, client);
    failing_memory.first = failing_memory.rest = 0;
    const bool was_spared = failing_memory.count < first;
    if (was_spared) {
        assert_non_null(strstr(client->heard, "first"));
        assert_non_null(strstr(client->heard, "second"));
    }
    client_close(client);
    stage_close(stage);
    return was_spared;
}

static void an_allocation_may_fail(void **state)
{
    (void)state;
    uint32_t first = 1;
    while (!converse_with(first, false))
        assert_true(++first < ALLOCATIONS_MAX);
    assert_true(first > 10);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    uint32_t first = 1;
    while (!converse_with(first, true))
        assert_true(++first < ALLOCATIONS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_may_fail),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
