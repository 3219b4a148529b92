#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/io/io_scene.h"

enum { FILE_BYTES = 700'001, TURNS_MAX = 4'000 };

static uint8_t *octets;

/* A file of FILE_BYTES. */
static int make_file(void)
{
    int fd = memfd_create("test-file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, octets, FILE_BYTES), FILE_BYTES);
    return fd;
}

/* The application answers with a part of a file. */
static void answer(struct scene *scene, const struct message *request, int fd, uint64_t offset, uint64_t length,
                   uint8_t flags)
{
    const struct file_handover handover = {
        .slot = request->slot, .generation = request->generation, .offset = offset, .length = length};
    assert_int_equal(file_handover_send(scene->apps[0].files, &handover, fd), 0);
    struct message message = scene_piece(scene, 0, request, MESSAGE_RESPONSE, 0, (struct bytes){});
    message.body_length = 0;
    message.body_block = MESSAGE_NO_BLOCK;
    message.content_length = (int64_t)length;
    message.flags = MESSAGE_FILE | MESSAGE_END | flags;
    scene_reply(scene, 0, &message);
}

static int ask(struct scene *scene, struct message *ret_request)
{
    int client = scene_connect(scene);
    scene_say(scene, client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    do
        assert_true(scene_take(scene, 0, ret_request));
    while (ret_request->kind != MESSAGE_REQUEST); /* one that was refused is called off as well */
    assert_true(scene_claim(scene, 0, ret_request));
    return client;
}

static size_t heard_bytes(struct scene *scene, int client)
{
    return scripted_at(scene->core.ring, client)->output_bytes;
}

/* Behind the head. */
static struct bytes body_heard(struct scene *scene, int client)
{
    const char *text = scene_heard(scene, client);
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    size_t head = (size_t)(end + 4 - text);
    return bytes_of((const uint8_t *)text + head, heard_bytes(scene, client) - head);
}

static void turn_until_sent(struct scene *scene)
{
    for (uint32_t i = 0; i < TURNS_MAX && scene->core.files.live > 0; i++)
        scene_turn(scene);
    assert_int_equal(scene->core.files.live, 0);
    scene_turns(scene, TURNS_MAX);
}

static void open_scene(struct scene *scene)
{
    scene_open(scene, NULL);
    scene_app_up(scene, 0, 4, 0);
}

static void send_by(size_t read_max, size_t send_max)
{
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_read_max(scene.core.ring, read_max);
    scripted_at(scene.core.ring, client)->send_max = send_max;
    answer(&scene, &request, fd, 1, FILE_BYTES - 2, MESSAGE_WAS_DONE);
    close(fd);
    turn_until_sent(&scene);
    struct bytes body = body_heard(&scene, client);
    assert_int_equal(body.length, FILE_BYTES - 2);
    assert_memory_equal(body.data, octets + 1, FILE_BYTES - 2);
    assert_false(scene_is_closed(&scene, client));
    scene_close(&scene);
}

static void a_file_comes_whole_however_reads_and_sends_are_cut(void **state)
{
    (void)state;
    send_by(0, 0);
    send_by(0, 1'001);
    send_by(777, 0);
    send_by(65'535, 65'537);
}

static void a_file_that_is_not_at_hand_delays_nobody_else(void **state)
{
    (void)state;
    struct scene scene;
    struct message request, other;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_hold_reads(scene.core.ring, true);
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 20);
    assert_int_equal(scripted_reads_held(scene.core.ring), 1);
    int second = ask(&scene, &other);
    scene_respond(&scene, 0, &other, 200, "quick", MESSAGE_WAS_DONE);
    scene_turns(&scene, 20);
    assert_non_null(strstr(scene_heard(&scene, second), "quick"));
    scripted_hold_reads(scene.core.ring, false);
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene_close(&scene);
}

static void a_client_that_does_not_read_has_a_window_of_the_file_in_memory(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_at(scene.core.ring, client)->send_stalled = true;
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 100);
    assert_true(scene.core.outputs.file_bytes > 0);
    assert_true(scene.core.outputs.file_bytes <= FILE_WINDOW_BYTES);
    assert_int_equal(scripted_reads_held(scene.core.ring), 0);
    scripted_at(scene.core.ring, client)->send_stalled = false;
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene_close(&scene);
}

static void where_all_files_hold_much_little_is_read_for_each(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scene.core.outputs.file_bytes += FILE_MEMORY_BYTES;
    scripted_at(scene.core.ring, client)->send_stalled = true;
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 100);
    assert_true(scene.core.outputs.file_bytes <= FILE_MEMORY_BYTES + FILE_SCARCE_READ_BYTES);
    scripted_at(scene.core.ring, client)->send_stalled = false;
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene.core.outputs.file_bytes -= FILE_MEMORY_BYTES;
    scene_close(&scene);
}

static void where_clients_hold_much_little_is_read_for_each(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scene.core.memory.step = MEMORY_SCARCE;
    scripted_at(scene.core.ring, client)->send_stalled = true;
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 100);
    assert_true(scene.core.outputs.file_bytes <= FILE_SCARCE_READ_BYTES);
    scripted_at(scene.core.ring, client)->send_stalled = false;
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene_close(&scene);
}

static void a_client_that_goes_while_the_file_is_read_leaves_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_hold_reads(scene.core.ring, true);
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 20);
    scripted_at(scene.core.ring, client)->receive_error = -ECONNRESET;
    scene_turns(&scene, 20);
    assert_int_equal(scene.core.exchanges.live, 0);
    assert_int_equal(scene.core.files.live, 1); /* the kernel may write to its buffer */
    scripted_hold_reads(scene.core.ring, false);
    scene_turns(&scene, 20);
    assert_int_equal(scene.core.files.live, 0);
    scene_close(&scene);
}

static void a_file_that_is_shorter_than_stated_ends_the_connection(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    answer(&scene, &request, fd, 0, FILE_BYTES + 5, MESSAGE_WAS_DONE);
    close(fd);
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    assert_true(scripted_at(scene.core.ring, client)->shut);
    scene_close(&scene);
}

/* ---- by reference ----------------------------------------------------------------------------------------------- */

static void refer_by(size_t at_hand, size_t send_max)
{
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_files_at_hand(scene.core.ring, at_hand);
    scripted_at(scene.core.ring, client)->send_max = send_max;
    answer(&scene, &request, fd, 1, FILE_BYTES - 2, MESSAGE_WAS_DONE);
    close(fd);
    turn_until_sent(&scene);
    struct bytes body = body_heard(&scene, client);
    assert_int_equal(body.length, FILE_BYTES - 2);
    assert_memory_equal(body.data, octets + 1, FILE_BYTES - 2);
    assert_true(scripted_at(scene.core.ring, client)->corked_bytes > 0);
    assert_int_equal(metrics_get(scene.metrics, METRIC_FILE_BYTES_SENDFILE), FILE_BYTES - 2);
    assert_int_equal(metrics_get(scene.metrics, METRIC_FILE_BYTES_READ), 0);
    assert_true((metrics_get(scene.metrics, METRIC_FILE_COLD_READS) > 0) == (at_hand == 0));
    assert_int_equal(scene.core.outputs.files.live, 0);
    assert_false(scene_is_closed(&scene, client));
    scene_close(&scene);
}

static void a_file_that_is_referred_to_comes_whole_however_it_is_cut(void **state)
{
    (void)state;
    refer_by(FILE_BYTES, 0);
    refer_by(FILE_BYTES, 1'001);
    refer_by(4'097, 0);
    refer_by(0, 0);
    refer_by(0, 7'777);
}

static void what_is_not_in_the_page_cache_is_read_first_and_delays_nobody_else(void **state)
{
    (void)state;
    struct scene scene;
    struct message request, other;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_files_at_hand(scene.core.ring, 0);
    scripted_hold_reads(scene.core.ring, true);
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 20);
    assert_int_equal(scripted_reads_held(scene.core.ring), 1);
    assert_int_equal(scripted_at(scene.core.ring, client)->file_sends, 0);
    int second = ask(&scene, &other);
    scene_respond(&scene, 0, &other, 200, "quick", MESSAGE_WAS_DONE);
    scene_turns(&scene, 20);
    assert_non_null(strstr(scene_heard(&scene, second), "quick"));
    scripted_hold_reads(scene.core.ring, false);
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene_close(&scene);
}

static void a_client_that_does_not_read_has_no_octet_of_the_file_in_memory(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_files_at_hand(scene.core.ring, FILE_BYTES);
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scripted_at(scene.core.ring, client)->send_stalled = true;
    scene_turns(&scene, 100);
    assert_int_equal(scene.core.outputs.file_bytes, 0);
    assert_int_equal(scene.core.outputs.files.live, 1);
    scripted_at(scene.core.ring, client)->send_stalled = false;
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    scene_close(&scene);
}

/* While its socket is asked for room, or while the file is read. */
static void leave_early(bool is_read)
{
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_files_at_hand(scene.core.ring, is_read ? 0 : FILE_BYTES);
    scripted_hold_reads(scene.core.ring, true);
    answer(&scene, &request, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 1);
    scripted_at(scene.core.ring, client)->send_stalled = !is_read;
    scene_turns(&scene, 20);
    scripted_at(scene.core.ring, client)->receive_error = -ECONNRESET;
    scene_turns(&scene, 20);
    assert_int_equal(scene.core.exchanges.live, 0);
    assert_int_equal(scene.core.files.live, 0);
    assert_int_equal(scripted_reads_held(scene.core.ring), is_read);
    assert_int_equal(scene_is_closed(&scene, client), !is_read); /* the kernel has the descriptor of the file in hand */
    scripted_hold_reads(scene.core.ring, false);
    scene_turns(&scene, 20);
    assert_int_equal(scene.core.outputs.files.live, 0);
    assert_true(scene_is_closed(&scene, client));
    scene_close(&scene);
}

static void a_client_that_goes_while_a_reference_is_sent_leaves_nothing(void **state)
{
    (void)state;
    leave_early(false);
    leave_early(true);
}

static void fall_short(size_t at_hand)
{
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scripted_files_at_hand(scene.core.ring, at_hand);
    answer(&scene, &request, fd, 0, FILE_BYTES + 5, MESSAGE_WAS_DONE);
    close(fd);
    turn_until_sent(&scene);
    assert_int_equal(body_heard(&scene, client).length, FILE_BYTES);
    assert_true(scene_is_closed(&scene, client));
    assert_int_equal(scene.core.outputs.files.live, 0);
    scene_close(&scene);
}

static void a_file_that_is_referred_to_and_too_short_ends_the_connection(void **state)
{
    (void)state;
    fall_short(2 * FILE_BYTES);
    fall_short(0);
}

static void what_follows_a_file_that_is_referred_to_comes_behind_it(void **state)
{
    (void)state;
    struct scene scene;
    struct message first, second;
    open_scene(&scene);
    scripted_files_at_hand(scene.core.ring, FILE_BYTES);
    int client = scene_connect(&scene);
    scene_say(&scene, client, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(scene_take(&scene, 0, &first));
    assert_true(scene_take(&scene, 0, &second));
    assert_true(scene_claim(&scene, 0, &first));
    assert_true(scene_claim(&scene, 0, &second));
    int fd = make_file();
    scene_respond(&scene, 0, &second, 200, "behind", MESSAGE_WAS_DONE);
    answer(&scene, &first, fd, 0, FILE_BYTES, MESSAGE_WAS_DONE);
    close(fd);
    turn_until_sent(&scene);
    struct bytes body = body_heard(&scene, client);
    assert_true(body.length > FILE_BYTES);
    assert_memory_equal(body.data, octets, FILE_BYTES);
    assert_memory_equal(body.data + FILE_BYTES, "HTTP/1.1 200", 12);
    assert_memory_equal(body.data + body.length - 6, "behind", 6);
    scene_close(&scene);
}

static void expect_refusal(struct scene *scene, int client, const char *status)
{
    scene_turns(scene, 20);
    assert_memory_equal(scene_heard(scene, client) + 9, status, 3);
    assert_int_equal(scene->core.files.live, 0);
}

static void what_is_no_regular_file_or_another_requests_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    int ends[2];
    open_scene(&scene);
    assert_int_equal(pipe(ends), 0);
    int client = ask(&scene, &request);
    answer(&scene, &request, ends[0], 0, 10, MESSAGE_WAS_DONE);
    expect_refusal(&scene, client, "502");

    client = ask(&scene, &request);
    int fd = make_file();
    struct message other = request;
    other.generation++;
    const struct file_handover wrong = {.slot = request.slot, .generation = other.generation, .length = 10};
    assert_int_equal(file_handover_send(scene.apps[0].files, &wrong, fd), 0);
    struct message message = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, (struct bytes){});
    message.flags = MESSAGE_FILE | MESSAGE_END | MESSAGE_WAS_DONE;
    scene_reply(&scene, 0, &message);
    expect_refusal(&scene, client, "502");

    client = ask(&scene, &request);
    scene_reply(&scene, 0,
                &(struct message){.kind = MESSAGE_RESPONSE,
                                  .flags = MESSAGE_FILE | MESSAGE_END | MESSAGE_WAS_DONE,
                                  .status = 200,
                                  .slot = request.slot,
                                  .generation = request.generation,
                                  .head_block = MESSAGE_NO_BLOCK,
                                  .body_block = MESSAGE_NO_BLOCK,
                                  .content_length = 10});
    expect_refusal(&scene, client, "502"); /* no descriptor came at all */
    close(fd);
    close(ends[0]);
    close(ends[1]);
    scene_close(&scene);
}

static void too_many_files_are_answered_503(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    scene.core.files.live += FILE_SOURCES_MAX;
    answer(&scene, &request, fd, 0, 10, MESSAGE_WAS_DONE);
    close(fd);
    scene_turns(&scene, 20);
    scene.core.files.live -= FILE_SOURCES_MAX;
    expect_refusal(&scene, client, "503");
    scene_close(&scene);
}

static void what_is_said_behind_a_file_follows_it(void **state)
{
    (void)state;
    struct scene scene;
    struct message request;
    open_scene(&scene);
    int client = ask(&scene, &request);
    int fd = make_file();
    const struct file_handover handover = {
        .slot = request.slot, .generation = request.generation, .length = FILE_BYTES};
    struct message head = scene_piece(&scene, 0, &request, MESSAGE_RESPONSE, 0, (struct bytes){});
    head.flags = MESSAGE_FILE;
    head.content_length = 2 * FILE_BYTES + 6;
    struct message middle = scene_piece(&scene, 0, &request, MESSAGE_BODY, 1, BYTES_LITERAL("middle"));
    struct message last = scene_piece(&scene, 0, &request, MESSAGE_BODY, 2, (struct bytes){});
    last.flags = MESSAGE_FILE | MESSAGE_END | MESSAGE_WAS_DONE;
    assert_int_equal(file_handover_send(scene.apps[0].files, &handover, fd), 0);
    assert_int_equal(file_handover_send(scene.apps[0].files, &handover, fd), 0);
    close(fd);
    scene_reply(&scene, 0, &head);
    scene_reply(&scene, 0, &middle);
    scene_reply(&scene, 0, &last);
    scene_turns(&scene, 2);
    turn_until_sent(&scene);
    struct bytes body = body_heard(&scene, client);
    assert_int_equal(body.length, 2 * FILE_BYTES + 6);
    assert_memory_equal(body.data, octets, FILE_BYTES);
    assert_memory_equal(body.data + FILE_BYTES, "middle", 6);
    assert_memory_equal(body.data + FILE_BYTES + 6, octets, FILE_BYTES);
    assert_false(scene_is_closed(&scene, client));
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_whole_however_reads_and_sends_are_cut),
        cmocka_unit_test(a_file_that_is_not_at_hand_delays_nobody_else),
        cmocka_unit_test(a_client_that_does_not_read_has_a_window_of_the_file_in_memory),
        cmocka_unit_test(where_all_files_hold_much_little_is_read_for_each),
        cmocka_unit_test(where_clients_hold_much_little_is_read_for_each),
        cmocka_unit_test(a_client_that_goes_while_the_file_is_read_leaves_nothing),
        cmocka_unit_test(a_file_that_is_shorter_than_stated_ends_the_connection),
        cmocka_unit_test(a_file_that_is_referred_to_comes_whole_however_it_is_cut),
        cmocka_unit_test(what_is_not_in_the_page_cache_is_read_first_and_delays_nobody_else),
        cmocka_unit_test(a_client_that_does_not_read_has_no_octet_of_the_file_in_memory),
        cmocka_unit_test(a_client_that_goes_while_a_reference_is_sent_leaves_nothing),
        cmocka_unit_test(a_file_that_is_referred_to_and_too_short_ends_the_connection),
        cmocka_unit_test(what_follows_a_file_that_is_referred_to_comes_behind_it),
        cmocka_unit_test(what_is_no_regular_file_or_another_requests_is_refused),
        cmocka_unit_test(too_many_files_are_answered_503),
        cmocka_unit_test(what_is_said_behind_a_file_follows_it),
    };
    octets = malloc(FILE_BYTES);
    for (uint32_t i = 0; i < FILE_BYTES; i++)
        octets[i] = (uint8_t)(1 + i * 2'654'435'761U % 255);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(octets);
    return failed;
}
