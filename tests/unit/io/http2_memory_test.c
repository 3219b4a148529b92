#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/io/http2_scene.h"

/* GET http / with an authority and a field that go into the table, and the same out of it. */
static const uint8_t first_get[] = {0x82, 0x86, 0x84, 0x41, 1, 'a', 0x40, 1, 'x', 1, 'y'};
static const uint8_t same_get[] = {0x82, 0x86, 0x84, 0xbf, 0xbe};
static const uint8_t beyond_table[] = {0x82, 0x86, 0x84, 0xbf, 0xc0};

static void open_with_one_warm(struct http2_scene *scene)
{
    http2_scene_open(scene, NULL);
    scene_app_up(&scene->io, 0, 4, 0);
    scene->sessions.warm.most = 1;
}

static void ask(struct http2_scene *scene, int fd, uint32_t stream, struct bytes block)
{
    http2_scene_frame(scene, fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS | HTTP2_FLAG_END_STREAM, stream, block);
    http2_scene_turns(scene, 4);
}

static void answer(struct http2_scene *scene)
{
    struct message request;
    assert_true(scene_take(&scene->io, 0, &request));
    assert_true(scene_claim(&scene->io, 0, &request));
    scene_respond(&scene->io, 0, &request, 200, "hello", MESSAGE_WAS_DONE);
    http2_scene_turns(scene, 4);
}

static enum http2_memory_state state_of(struct http2_scene *scene, int fd)
{
    return http2_scene_session(scene, fd)->rest.state;
}

static void an_idle_session_has_no_more_than_it_must_when_others_were_busy_since(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_one_warm(&scene);
    int fd = http2_scene_connect(&scene, 65'535);
    ask(&scene, fd, 1, bytes_of(first_get, sizeof first_get));
    assert_int_equal(state_of(&scene, fd), HTTP2_AT_WORK);
    answer(&scene);
    assert_int_equal(state_of(&scene, fd), HTTP2_WARM);
    assert_int_equal(scene.io.core.outputs.scratches.live, 1);
    int other = http2_scene_connect(&scene, 65'535);
    assert_int_equal(state_of(&scene, fd), HTTP2_PACKED);
    assert_int_equal(state_of(&scene, other), HTTP2_WARM);
    assert_int_equal(scene.sessions.tables.live, 1);
    assert_int_equal(scene.io.core.outputs.scratches.live, 1);
    http2_scene_close(&scene);
}

static void a_packed_session_has_forgotten_nothing(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_one_warm(&scene);
    int fd = http2_scene_connect(&scene, 65'535);
    ask(&scene, fd, 1, bytes_of(first_get, sizeof first_get));
    answer(&scene);
    int other = http2_scene_connect(&scene, 65'535);
    assert_int_equal(state_of(&scene, fd), HTTP2_PACKED);
    ask(&scene, fd, 3, bytes_of(same_get, sizeof same_get));
    assert_int_equal(state_of(&scene, fd), HTTP2_AT_WORK);
    answer(&scene);
    assert_int_equal(http2_scene_status(&scene, fd, 3), 200);
    assert_int_equal(state_of(&scene, fd), HTTP2_WARM);
    assert_int_equal(state_of(&scene, other), HTTP2_PACKED);
    ask(&scene, other, 1, bytes_of(first_get, sizeof first_get)); /* its tables were empty */
    answer(&scene);
    assert_int_equal(http2_scene_status(&scene, other, 1), 200);
    ask(&scene, fd, 5, bytes_of(beyond_table, sizeof beyond_table));
    assert_int_equal(http2_scene_error(&scene, fd, 0), HTTP2_COMPRESSION_ERROR);
    http2_scene_close(&scene);
}

static void a_session_may_end_in_each_state(void **state)
{
    (void)state;
    struct http2_scene scene;
    open_with_one_warm(&scene);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = http2_scene_connect(&scene, 65'535);
        ask(&scene, fds[i], 1, bytes_of(first_get, sizeof first_get));
        answer(&scene);
    }
    ask(&scene, fds[2], 3, bytes_of(same_get, sizeof same_get));
    assert_int_equal(state_of(&scene, fds[0]), HTTP2_PACKED);
    assert_int_equal(state_of(&scene, fds[2]), HTTP2_AT_WORK);
    http2_scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_session_has_no_more_than_it_must_when_others_were_busy_since),
        cmocka_unit_test(a_packed_session_has_forgotten_nothing),
        cmocka_unit_test(a_session_may_end_in_each_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
