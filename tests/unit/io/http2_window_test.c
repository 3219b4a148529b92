#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/io/http2_scene.h"

enum { STREAM_WINDOW = 16'384, WIDEST = 65'536, USUAL = HTTP2_CONNECTION_WINDOW, FRAME = 8'192 };

static uint8_t zeros[FRAME];

static void narrow_streams(struct scene *scene)
{
    scene->core.settings.http2_initial_window_size = STREAM_WINDOW;
    scene->core.settings.http2_window_max = WIDEST;
}

static void wide_connections(struct scene *scene)
{
    scene->core.settings.http2_window_max = 4 * USUAL;
}

struct upload {
    struct http2_scene scene;
    int fd;
    struct message request;
};

static void begin(struct upload *upload, void (*adjust)(struct scene *scene))
{
    http2_scene_open(&upload->scene, adjust);
    scene_app_up(&upload->scene.io, 0, 4, 0);
    upload->scene.sessions.windows.most = 8 * USUAL; /* the scene's arena is a tiny one */
    upload->fd = http2_scene_connect(&upload->scene, 65'535);
    http2_scene_post(&upload->scene, upload->fd, 1);
    http2_scene_turns(&upload->scene, 4);
    assert_true(scene_take(&upload->scene.io, 0, &upload->request));
    assert_true(scene_claim(&upload->scene.io, 0, &upload->request));
}

static struct http2_session *session_of(struct upload *upload)
{
    return http2_scene_session(&upload->scene, upload->fd);
}

static void send_frame(struct upload *upload)
{
    http2_scene_frame(&upload->scene, upload->fd, HTTP2_FRAME_DATA, 0, 1, bytes_of(zeros, FRAME));
    http2_scene_turns(&upload->scene, 4);
}

/* The application takes all that is sent, a frame every so many milliseconds. */
static void send_and_take(struct upload *upload, size_t octets, uint64_t ms)
{
    for (; octets > 0; octets -= FRAME) {
        send_frame(upload);
        const struct message consumed = {.kind = MESSAGE_CONSUMED,
                                         .slot = upload->request.slot,
                                         .generation = upload->request.generation,
                                         .count = FRAME};
        scene_reply(&upload->scene.io, 0, &consumed);
        http2_scene_wait(&upload->scene, ms);
    }
}

static void finish(struct upload *upload)
{
    scene_respond(&upload->scene.io, 0, &upload->request, 200, "hello", MESSAGE_WAS_DONE);
    http2_scene_turns(&upload->scene, 4);
}

static void a_stream_whose_application_keeps_up_is_given_more_up_to_the_bound(void **state)
{
    (void)state;
    struct upload upload;
    begin(&upload, narrow_streams);
    const struct http2_stream *stream = &session_of(&upload)->first->protocol;
    send_and_take(&upload, STREAM_WINDOW, 1);
    assert_in_range(stream->window, STREAM_WINDOW + 1, WIDEST);
    send_and_take(&upload, 4 * WIDEST, 1);
    assert_int_equal(stream->window, WIDEST);
    assert_in_range(stream->receive_window, WIDEST / 2, WIDEST);
    http2_scene_close(&upload.scene);
}

static void a_slow_application_lets_no_more_in_than_at_first(void **state)
{
    (void)state;
    struct upload upload;
    begin(&upload, narrow_streams);
    send_and_take(&upload, FRAME, HTTP2_WINDOW_GROW_MS + 1);
    const uint32_t window = session_of(&upload)->first->protocol.window;
    send_and_take(&upload, 8 * STREAM_WINDOW, HTTP2_WINDOW_GROW_MS + 1);
    assert_int_equal(session_of(&upload)->first->protocol.window, window);
    http2_scene_close(&upload.scene);
}

static void an_application_that_stops_reading_holds_no_more_than_the_bound(void **state)
{
    (void)state;
    struct upload upload;
    begin(&upload, narrow_streams);
    send_and_take(&upload, 2 * WIDEST, 1);
    const int64_t allowed = session_of(&upload)->first->protocol.receive_window;
    assert_in_range(allowed, 1, WIDEST);
    for (int64_t sent = 0; sent + FRAME <= allowed; sent += FRAME)
        send_frame(&upload);
    assert_in_range(upload.scene.io.core.exchanges.live, 1, 1);
    assert_int_equal(http2_scene_error(&upload.scene, upload.fd, 1), -1);
    assert_in_range(session_of(&upload)->first->uncredited, allowed - FRAME, WIDEST);
    send_frame(&upload);
    send_frame(&upload);
    assert_int_equal(http2_scene_error(&upload.scene, upload.fd, 1), HTTP2_FLOW_CONTROL_ERROR);
    http2_scene_close(&upload.scene);
}

static void a_connection_is_given_more_and_gives_it_back_when_it_has_no_streams(void **state)
{
    (void)state;
    struct upload upload;
    begin(&upload, wide_connections);
    send_and_take(&upload, 8 * USUAL, 1);
    const struct http2_connection *connection = &session_of(&upload)->protocol;
    assert_int_equal(connection->window, 4 * USUAL);
    assert_int_equal(upload.scene.sessions.windows.given, 3 * USUAL);
    assert_int_equal(metrics_get(upload.scene.io.core.metrics, METRIC_HTTP2_WIDENED), 3 * USUAL);
    http2_scene_frame(&upload.scene, upload.fd, HTTP2_FRAME_DATA, HTTP2_FLAG_END_STREAM, 1, bytes_of(zeros, 1));
    http2_scene_turns(&upload.scene, 4);
    finish(&upload);
    assert_int_equal(connection->window, USUAL);
    assert_int_equal(upload.scene.sessions.windows.given, 0);
    assert_int_equal(connection->receive_window + connection->unannounced, USUAL + connection->excess);
    http2_scene_close(&upload.scene);
}

static void what_all_connections_have_is_bounded(void **state)
{
    (void)state;
    struct upload upload;
    begin(&upload, wide_connections);
    upload.scene.sessions.windows.most = USUAL;
    send_and_take(&upload, 4 * USUAL, 1);
    assert_in_range(upload.scene.sessions.windows.given, USUAL / 4, USUAL);
    assert_in_range(session_of(&upload)->protocol.window, USUAL + USUAL / 4, 2 * USUAL);
    http2_scene_close(&upload.scene);
    assert_int_equal(upload.scene.sessions.windows.given, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_whose_application_keeps_up_is_given_more_up_to_the_bound),
        cmocka_unit_test(a_slow_application_lets_no_more_in_than_at_first),
        cmocka_unit_test(an_application_that_stops_reading_holds_no_more_than_the_bound),
        cmocka_unit_test(a_connection_is_given_more_and_gives_it_back_when_it_has_no_streams),
        cmocka_unit_test(what_all_connections_have_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
