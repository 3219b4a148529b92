/*
 * Conversations in which the n-th allocation fails, alone or with all that follow, for each n there is. Whatever
 * becomes of the requests, nothing is touched that was freed (the sanitizers see that, of slabs as well), and nothing
 * is left: scene_close() asserts it. Memory runs out in the daemon's part of a turn only, not in the engine or the
 * test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/io/failing_memory.h"
#include "tests/unit/io/http2_scene.h"

enum { ALLOCATIONS_MAX = 2'000, FILE_BYTES = 200'000, LARGE_BLOCK = 16, LARGE_BYTES = 40'000, WINDOW = 65'535 };

/* ---- an application that answers whatever comes ----------------------------------------------------------------- */

enum answer { ANSWER_SMALL, ANSWER_LARGE, ANSWER_FILE, ANSWER_PIECES, ANSWERS };

struct stage {
    struct http2_scene scene;
    struct message requests[8];
    uint32_t request_count;
    int file;
    int fd;
};

static uint8_t zeros[LARGE_BYTES];

static void turns(struct stage *stage, uint32_t count)
{
    failing_memory.is_daemon = true;
    http2_scene_turns(&stage->scene, count);
    failing_memory.is_daemon = false;
}

static void open_stage(struct stage *stage, void (*adjust)(struct scene *scene))
{
    *stage = (struct stage){};
    http2_scene_open(&stage->scene, adjust);
    scene_app_up(&stage->scene.io, 0, 8, 0);
    stage->file = memfd_create("test-file", MFD_CLOEXEC);
    assert_int_equal(ftruncate(stage->file, FILE_BYTES), 0);
}

/* Memory is back, but what it ran out for need not be: so nothing is asked of the connections. */
static void close_stage(struct stage *stage)
{
    http2_scene_close(&stage->scene);
    close(stage->file);
}

static void say(struct stage *stage, const struct message *message)
{
    scene_reply(&stage->scene.io, 0, message);
}

static void answer_with_file(struct stage *stage, const struct message *request)
{
    struct scene *scene = &stage->scene.io;
    const struct file_handover handover = {
        .slot = request->slot, .generation = request->generation, .length = FILE_BYTES};
    assert_int_equal(file_handover_send(scene->apps[0].files, &handover, dup(stage->file)), 0);
    struct message message = scene_piece(scene, 0, request, MESSAGE_RESPONSE, MESSAGE_NO_BLOCK, (struct bytes){});
    message.body_offset = 0;
    message.content_length = FILE_BYTES;
    message.flags = MESSAGE_FILE | MESSAGE_END | MESSAGE_WAS_DONE;
    say(stage, &message);
}

/* A hint, the head, a piece of body that is not copied, an end by itself. */
static void answer_by_pieces(struct stage *stage, const struct message *request)
{
    struct scene *scene = &stage->scene.io;
    struct message hint = scene_piece(scene, 0, request, MESSAGE_INTERIM, MESSAGE_NO_BLOCK, (struct bytes){});
    hint.body_offset = 0;
    hint.status = 103;
    say(stage, &hint);
    struct message head = scene_piece(scene, 0, request, MESSAGE_RESPONSE, 1, bytes_of(zeros, 3));
    say(stage, &head);
    struct message piece = scene_piece(scene, 0, request, MESSAGE_BODY, 2, bytes_of(zeros, 4'000));
    say(stage, &piece);
    struct message end = scene_piece(scene, 0, request, MESSAGE_BODY, MESSAGE_NO_BLOCK, (struct bytes){});
    end.body_offset = 0;
    end.flags = MESSAGE_END | MESSAGE_WAS_DONE;
    say(stage, &end);
}

static void answer(struct stage *stage, const struct message *request, enum answer kind)
{
    struct scene *scene = &stage->scene.io;
    if (kind == ANSWER_FILE) {
        answer_with_file(stage, request);
    } else if (kind == ANSWER_PIECES) {
        answer_by_pieces(stage, request);
    } else if (kind == ANSWER_LARGE) {
        struct message reply =
            scene_piece(scene, 0, request, MESSAGE_RESPONSE, LARGE_BLOCK, bytes_of(zeros, LARGE_BYTES));
        reply.flags = MESSAGE_END | MESSAGE_WAS_DONE;
        say(stage, &reply);
    } else {
        scene_respond(scene, 0, request, 200, "hello", MESSAGE_WAS_DONE);
    }
}

static void forget(struct stage *stage, const struct message *cancel)
{
    for (uint32_t i = 0; i < stage->request_count; i++)
        if (stage->requests[i].slot == cancel->slot && stage->requests[i].generation == cancel->generation) {
            scene_done(&stage->scene.io, 0, cancel);
            stage->requests[i] = stage->requests[--stage->request_count];
            return;
        }
}

static void consume(struct stage *stage, const struct message *piece)
{
    const struct message consumed = {
        .kind = MESSAGE_CONSUMED, .slot = piece->slot, .generation = piece->generation, .count = piece->body_length};
    if (piece->body_length > 0)
        say(stage, &consumed);
}

/* It takes whatever there is for it. */
static void take_all(struct stage *stage)
{
    struct message message;
    while (scene_take(&stage->scene.io, 0, &message)) {
        if (message.kind == MESSAGE_REQUEST && scene_claim(&stage->scene.io, 0, &message))
            stage->requests[stage->request_count++] = message;
        if (message.kind == MESSAGE_REQUEST || message.kind == MESSAGE_BODY)
            consume(stage, &message);
        if (message.kind == MESSAGE_CANCEL)
            forget(stage, &message);
    }
}

/* The first `count` of them are answered, each in another way. */
static void answer_all(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->request_count; i++)
        answer(stage, &stage->requests[i], i % ANSWERS);
    stage->request_count = 0;
}

static void go_on(struct stage *stage)
{
    turns(stage, 4);
    take_all(stage);
    turns(stage, 2);
}

/* ---- HTTP/2 ----------------------------------------------------------------------------------------------------- */

static void head(struct stage *stage, uint32_t stream)
{
    static const uint8_t block[] = {0x42, 4, 'H', 'E', 'A', 'D', 0x86, 0x84, 0x41, 1, 'a'};
    http2_scene_frame(&stage->scene, stage->fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS | HTTP2_FLAG_END_STREAM,
                      stream, bytes_of(block, sizeof block));
}

static void greet(struct stage *stage)
{
    struct scene *scene = &stage->scene.io;
    stage->fd = scripted_socket(scene->core.ring);
    struct connection *connection = connection_create(&scene->connections, stage->fd, &scene->listener);
    assert_non_null(connection);
    failing_memory.is_daemon = true;
    http2_session_accepted(&stage->scene.sessions, connection);
    failing_memory.is_daemon = false;
    scripted_client_sends(scene->core.ring, stage->fd, bytes_of_string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    http2_scene_frame(&stage->scene, stage->fd, HTTP2_FRAME_SETTINGS, 0, 0, bytes_of("", 0));
    http2_scene_frame(&stage->scene, stage->fd, HTTP2_FRAME_SETTINGS, HTTP2_FLAG_ACK, 0, bytes_of("", 0));
    http2_scene_number(&stage->scene, stage->fd, HTTP2_FRAME_WINDOW_UPDATE, 0, 1 << 20);
}

static void upload(struct stage *stage, uint32_t stream, uint8_t flags)
{
    http2_scene_frame(&stage->scene, stage->fd, HTTP2_FRAME_DATA, flags, stream, bytes_of(zeros, 5'000));
    go_on(stage);
}

/* Requests of every kind: with bodies, a head that is cut, one that is called off, files, two refusals, a ping. */
static void converse_http2(struct stage *stage)
{
    struct http2_scene *scene = &stage->scene;
    greet(stage);
    for (uint32_t stream = 1; stream <= 5; stream += 2)
        http2_scene_get(scene, stage->fd, stream);
    http2_scene_post(scene, stage->fd, 7);
    go_on(stage);
    head(stage, 9);
    http2_scene_get(scene, stage->fd, 11);
    http2_scene_number(scene, stage->fd, HTTP2_FRAME_RST_STREAM, 11, HTTP2_CANCEL);
    http2_scene_frame(scene, stage->fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_STREAM, 13, bytes_of("\x82\x86\x84", 3));
    go_on(stage);
    http2_scene_frame(scene, stage->fd, HTTP2_FRAME_CONTINUATION, HTTP2_FLAG_END_HEADERS, 13,
                      bytes_of("\x41\x01\x61", 3));
    upload(stage, 7, 0);
    answer_all(stage);
    go_on(stage);
    upload(stage, 7, HTTP2_FLAG_END_STREAM); /* answered before, unless it was held back */
    http2_scene_post(scene, stage->fd, 15);
    upload(stage, 15, 0);
    upload(stage, 15, HTTP2_FLAG_END_STREAM);
    http2_scene_number(scene, stage->fd, HTTP2_FRAME_WINDOW_UPDATE, 5, 1 << 20);
    http2_scene_frame(scene, stage->fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS | HTTP2_FLAG_END_STREAM, 17,
                      bytes_of("\x82\x86\x84", 3)); /* without an authority */
    http2_scene_frame(scene, stage->fd, HTTP2_FRAME_PING, 0, 0, bytes_of(zeros, 8));
    go_on(stage);
    answer_all(stage);
    go_on(stage);
    turns(stage, 20);
}

static void expect_all_served(struct stage *stage)
{
    static const uint32_t streams[] = {1, 3, 5, 7, 9, 13, 15};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        assert_int_equal(http2_scene_status(&stage->scene, stage->fd, streams[i]), 200);
        assert_true(http2_scene_ended(&stage->scene, stage->fd, streams[i]));
    }
    assert_int_equal(http2_scene_count(&stage->scene, stage->fd, HTTP2_FRAME_PING, 0), 1);
}

/* ---- HTTP/1 ----------------------------------------------------------------------------------------------------- */

static void speak(struct stage *stage, const char *text)
{
    scripted_client_sends(stage->scene.io.core.ring, stage->fd, bytes_of_string(text));
    go_on(stage);
}

static void meet(struct stage *stage)
{
    stage->fd = scene_connect(&stage->scene.io);
}

#define GET         "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(field) "POST / HTTP/1.1\r\nHost: a\r\n" field "\r\n\r\n"

static void converse_http1(struct stage *stage)
{
    meet(stage);
    speak(stage, GET GET GET GET "GET / HTT");
    answer_all(stage);
    go_on(stage);
    turns(stage, 20);
    speak(stage, "P/1.1\r\nHost: a\r\n\r\n" POST("Content-Length: 10\r\nExpect: 100-continue"));
    answer_all(stage);
    speak(stage, "01234");
    speak(stage, "56789" POST("Transfer-Encoding: chunked") "5\r\nhello\r\n");
    answer_all(stage);
    speak(stage, "3\r\nend\r\n0\r\n\r\n" GET GET);
    answer_all(stage);
    go_on(stage);
    answer_all(stage);
    go_on(stage);
    speak(stage, "nonsense\r\n\r\n");
    turns(stage, 20);
}

static void expect_all_heard(struct stage *stage)
{
    uint32_t count = 0;
    const char *text = (const char *)scripted_at(stage->scene.io.core.ring, stage->fd)->output;
    const size_t bytes = scripted_at(stage->scene.io.core.ring, stage->fd)->output_bytes;
    for (const char *at = text; (at = memmem(at, bytes - (size_t)(at - text), "HTTP/1.1 200", 12)) != NULL; at++)
        count++;
    assert_int_equal(count, 9);
    assert_non_null(memmem(text, bytes, "HTTP/1.1 100", 12));
    assert_non_null(memmem(text, bytes, "HTTP/1.1 400", 12));
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

static void held_and_buffered(struct scene *scene)
{
    scene->core.settings.request_buffering = BUFFERING_ON;
    scene->core.settings.response_buffering = BUFFERING_ON;
    scene->core.app_buffers_requests = true;
}

/* With its n-th allocation failing, for each n; then with none. */
static void starve(void (*converse)(struct stage *stage), void (*expect)(struct stage *stage),
                   void (*adjust)(struct scene *scene), bool rest)
{
    static struct stage stage;
    uint32_t first = 0;
    do {
        assert_true(++first < ALLOCATIONS_MAX);
        open_stage(&stage, adjust);
        failing_memory = (struct failing_memory){.first = first, .rest = rest};
        converse(&stage);
        if (failing_memory.count < first)
            expect(&stage);
        close_stage(&stage);
    } while (failing_memory.count >= first);
    assert_true(first > 30);
}

static void over_http2_an_allocation_may_fail(void **state)
{
    (void)state;
    starve(converse_http2, expect_all_served, NULL, false);
    starve(converse_http2, expect_all_served, held_and_buffered, false);
}

static void over_http2_memory_may_run_out(void **state)
{
    (void)state;
    starve(converse_http2, expect_all_served, NULL, true);
    starve(converse_http2, expect_all_served, held_and_buffered, true);
}

static void over_http1_an_allocation_may_fail(void **state)
{
    (void)state;
    starve(converse_http1, expect_all_heard, NULL, false);
    starve(converse_http1, expect_all_heard, held_and_buffered, false);
}

static void over_http1_memory_may_run_out(void **state)
{
    (void)state;
    starve(converse_http1, expect_all_heard, NULL, true);
    starve(converse_http1, expect_all_heard, held_and_buffered, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_http2_an_allocation_may_fail),
        cmocka_unit_test(over_http2_memory_may_run_out),
        cmocka_unit_test(over_http1_an_allocation_may_fail),
        cmocka_unit_test(over_http1_memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
