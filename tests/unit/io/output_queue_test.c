#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/io/output_queue.h"

enum { BLOCKS = 8 };

struct scene {
    struct output_pools pools;
    struct output_queue queue;
    struct app_memory *memory;
    uint8_t arena[40'000];
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    output_pools_init(&scene->pools);
    output_queue_init(&scene->queue, &scene->pools);
    scene->memory = calloc(1, sizeof *scene->memory + 2UL * BLOCKS * sizeof scene->memory->returns[0]);
    assert_non_null(scene->memory);
    scene->memory->blocks = BLOCKS;
    scene->memory->shares = scene->memory->returns + BLOCKS;
    scene->memory->holders = 1;
    for (size_t i = 0; i < sizeof scene->arena; i++)
        scene->arena[i] = (uint8_t)('A' + i % 26);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    output_queue_deinit(&scene->queue);
    assert_int_equal(scene->pools.pieces.live, 0);
    assert_int_equal(scene->pools.scratches.live, 0);
    assert_int_equal(scene->pools.files.live, 0);
    assert_int_equal(scene->pools.detached_bytes, 0);
    assert_int_equal(scene->memory->holders, 1);
    output_pools_deinit(&scene->pools);
    free(scene->memory);
    free(scene);
    return 0;
}

static void copy(struct scene *scene, const char *text)
{
    assert_int_equal(output_queue_copy(&scene->queue, bytes_of_string(text)), 0);
}

static void lend(struct scene *scene, uint32_t block, uint32_t offset, uint32_t length)
{
    struct bytes data = bytes_of(scene->arena + offset, length);
    assert_int_equal(output_queue_lend(&scene->queue, scene->memory, block, data), 0);
}

/* A file with the octets of the arena. */
static struct output_file *make_file(struct scene *scene)
{
    int fd = memfd_create("test-file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, scene->arena, sizeof scene->arena), sizeof scene->arena);
    struct output_file *file = output_file_create(&scene->pools, fd);
    assert_non_null(file);
    return file;
}

static void refer(struct scene *scene, struct output_file *file, uint64_t offset, uint32_t length)
{
    assert_int_equal(output_queue_append_file(&scene->queue, file, offset, length), 0);
}

static size_t send_file(struct scene *scene, size_t step, uint8_t *out)
{
    const struct output_file_part part = output_queue_file_part(&scene->queue, (uint32_t)step);
    assert_true(part.length > 0);
    assert_true(part.length <= step);
    assert_int_equal(pread(part.fd, out, part.length, (off_t)part.offset), part.length);
    output_queue_sent(&scene->queue, part.length);
    return part.length;
}

/* Sends all, `step` octets at a time, and returns what went out. */
static size_t send_all(struct scene *scene, size_t step, uint8_t *out)
{
    size_t total = 0;
    while (scene->queue.bytes > 0) {
        struct iovec parts[OUTPUT_PARTS_MAX];
        if (output_queue_begin_file(&scene->queue)) {
            total += send_file(scene, step, out + total);
            continue;
        }
        uint32_t count = output_queue_gather(&scene->queue, parts);
        size_t left = step;
        assert_true(count > 0);
        for (uint32_t i = 0; i < count && left > 0; i++) {
            size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
            memcpy(out + total, parts[i].iov_base, length);
            total += length;
            left -= length;
        }
        output_queue_sent(&scene->queue, step - left);
    }
    return total;
}

static void neighbouring_copies_are_one_part(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    copy(scene, "one ");
    copy(scene, "two ");
    copy(scene, "three");
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    assert_int_equal(parts[0].iov_len, 13);
    assert_memory_equal(parts[0].iov_base, "one two three", 13);
    output_queue_sent(&scene->queue, 13);
}

static void a_part_in_flight_does_not_grow(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    copy(scene, "told");
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    copy(scene, " later");
    assert_int_equal(parts[0].iov_len, 4);
    output_queue_sent(&scene->queue, 4);
    assert_int_equal(scene->queue.bytes, 6);
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    assert_memory_equal(parts[0].iov_base, " later", 6);
    output_queue_sent(&scene->queue, 6);
}

static void a_send_can_be_made_shorter_before_it_begins(void **state)
{
    struct scene *scene = *state;
    static const struct {
        uint64_t bytes;
        uint32_t parts, last;
    } cases[] = {{1, 1, 1}, {100, 1, 100}, {101, 2, 1}, {200, 2, 100}, {299, 3, 99}, {300, 3, 100}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct iovec parts[OUTPUT_PARTS_MAX];
        for (uint32_t block = 0; block < 3; block++)
            lend(scene, MESSAGE_NO_BLOCK, 4 * block, 100);
        assert_int_equal(output_queue_gather(&scene->queue, parts), 3);
        assert_int_equal(output_queue_shorten(&scene->queue, parts, cases[i].bytes), cases[i].parts);
        assert_int_equal(parts[cases[i].parts - 1].iov_len, cases[i].last);
        assert_int_equal(scene->queue.in_flight_bytes, cases[i].bytes);
        output_queue_sent(&scene->queue, cases[i].bytes);
        assert_int_equal(scene->queue.bytes, 300 - cases[i].bytes);
        while (scene->queue.bytes > 0) {
            output_queue_gather(&scene->queue, parts);
            output_queue_sent(&scene->queue, scene->queue.in_flight_bytes);
        }
    }
}

static void a_send_has_bounded_parts_and_about_bounded_octets(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    for (uint32_t i = 0; i < OUTPUT_PARTS_MAX + 4; i++)
        lend(scene, MESSAGE_NO_BLOCK, i, 2);
    assert_int_equal(output_queue_gather(&scene->queue, parts), OUTPUT_PARTS_MAX);
    output_queue_sent(&scene->queue, 2 * OUTPUT_PARTS_MAX);
    assert_int_equal(output_queue_gather(&scene->queue, parts), 4);
    output_queue_sent(&scene->queue, 8);
    for (uint32_t i = 0; i < 8; i++)
        lend(scene, MESSAGE_NO_BLOCK, 0, 40'000);
    assert_int_equal(output_queue_gather(&scene->queue, parts), (OUTPUT_SEND_MAX + 39'999) / 40'000);
    output_queue_sent(&scene->queue, 0);
}

static void octets_leave_in_order_however_short_the_sends(void **state)
{
    struct scene *scene = *state;
    for (size_t step = 1; step < 60; step++) {
        uint8_t out[128];
        copy(scene, "head ");
        lend(scene, 1, 0, 20);
        copy(scene, " middle ");
        lend(scene, MESSAGE_NO_BLOCK, 20, 6);
        lend(scene, 2, 26, 7);
        copy(scene, " tail");
        assert_int_equal(send_all(scene, step, out), 51);
        assert_memory_equal(out, "head ABCDEFGHIJKLMNOPQRST middle UVWXYZABCDEFG tail", 51);
        assert_int_equal(scene->memory->returns_count, 2);
        assert_int_equal(scene->memory->returns[0], 1);
        assert_int_equal(scene->memory->returns[1], 2);
        scene->memory->returns_count = 0;
        assert_int_equal(scene->memory->holders, 1);
    }
}

static void parts_of_files_leave_in_order_with_the_rest_however_short_the_sends(void **state)
{
    struct scene *scene = *state;
    for (size_t step = 1; step < 70; step++) {
        uint8_t out[128];
        struct output_file *file = make_file(scene);
        copy(scene, "head ");
        refer(scene, file, 0, 20);
        copy(scene, " middle ");
        lend(scene, MESSAGE_NO_BLOCK, 20, 6);
        refer(scene, file, 26, 7);
        refer(scene, file, 52, 3);
        output_file_drop(&scene->pools, file);
        copy(scene, " tail");
        assert_int_equal(send_all(scene, step, out), 54);
        assert_memory_equal(out, "head ABCDEFGHIJKLMNOPQRST middle UVWXYZABCDEFGABC tail", 54);
        assert_int_equal(scene->pools.files.live, 0);
    }
}

static void a_send_of_octets_ends_where_a_file_begins_and_says_so(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    struct output_file *file = make_file(scene);
    copy(scene, "head");
    lend(scene, MESSAGE_NO_BLOCK, 0, 5);
    refer(scene, file, 0, 10);
    output_file_drop(&scene->pools, file);
    assert_false(output_queue_begin_file(&scene->queue));
    assert_int_equal(output_queue_gather(&scene->queue, parts), 2);
    assert_true(output_queue_file_follows(&scene->queue));
    output_queue_sent(&scene->queue, 8);
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    assert_true(output_queue_file_follows(&scene->queue));
    output_queue_sent(&scene->queue, 1);
    assert_false(output_queue_file_follows(&scene->queue));
}

static void neighbouring_parts_of_a_file_are_one_also_while_it_is_sent(void **state)
{
    struct scene *scene = *state;
    struct output_file *file = make_file(scene), *other = make_file(scene);
    refer(scene, file, 10, 5);
    assert_true(output_queue_begin_file(&scene->queue));
    refer(scene, file, 15, 6);
    assert_int_equal(scene->queue.piece_count, 1);
    assert_int_equal(output_queue_file_part(&scene->queue, 100).length, 11);
    output_queue_sent(&scene->queue, 3);
    assert_int_equal(output_queue_file_part(&scene->queue, 100).offset, 13);
    refer(scene, file, 22, 1);
    refer(scene, other, 23, 1);
    assert_int_equal(scene->queue.piece_count, 3);
    assert_int_equal(scene->queue.bytes, 10);
    output_file_drop(&scene->pools, file);
    output_file_drop(&scene->pools, other);
}

static void parts_of_files_need_no_copy_when_the_client_is_slow(void **state)
{
    struct scene *scene = *state;
    uint8_t out[128];
    struct output_file *file = make_file(scene);
    refer(scene, file, 0, 10);
    lend(scene, 1, 10, 10);
    refer(scene, file, 20, 10);
    lend(scene, 2, 30, 10);
    output_file_drop(&scene->pools, file);
    output_queue_detach(&scene->queue, 1000, 1000);
    assert_int_equal(scene->pools.detached_bytes, 20);
    assert_int_equal(scene->memory->returns_count, 2);
    assert_int_equal(send_all(scene, 7, out), 40);
    assert_memory_equal(out, scene->arena, 40);
}

static void a_file_that_is_moved_or_cut_is_closed_once_both_ends_of_it_are_sent(void **state)
{
    struct scene *scene = *state;
    uint8_t out[128];
    struct output_queue to;
    output_queue_init(&to, &scene->pools);
    struct output_file *file = make_file(scene);
    refer(scene, file, 0, 30);
    output_file_drop(&scene->pools, file);
    assert_int_equal(output_queue_move(&scene->queue, &to, 12), 0);
    assert_true(output_queue_begin_file(&to));
    assert_int_equal(output_queue_file_part(&to, 100).length, 12);
    output_queue_deinit(&to);
    assert_int_equal(send_all(scene, 100, out), 18);
    assert_memory_equal(out, scene->arena + 12, 18);
}

static void a_block_goes_back_when_its_last_octet_has_left_and_once(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    lend(scene, 3, 0, 10);
    output_queue_gather(&scene->queue, parts);
    output_queue_sent(&scene->queue, 9);
    assert_int_equal(scene->memory->returns_count, 0);
    output_queue_gather(&scene->queue, parts);
    assert_int_equal(parts[0].iov_len, 1);
    output_queue_sent(&scene->queue, 1);
    assert_int_equal(scene->memory->returns_count, 1);
}

static void a_long_copy_has_a_buffer_of_its_own(void **state)
{
    struct scene *scene = *state;
    static uint8_t out[40'000];
    struct bytes data = bytes_of(scene->arena, 30'000);
    copy(scene, "x");
    assert_int_equal(output_queue_copy(&scene->queue, data), 0);
    copy(scene, "y");
    assert_int_equal(send_all(scene, 999, out), 30'002);
    assert_memory_equal(out + 1, scene->arena, 30'000);
    assert_int_equal(out[30'001], 'y');
}

static void detaching_spares_what_is_in_flight_and_keeps_the_octets(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    uint8_t out[64];
    lend(scene, 1, 0, 10);
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    lend(scene, 2, 10, 10);
    output_queue_detach(&scene->queue, 1'000, 1'000);
    assert_int_equal(scene->memory->returns_count, 1);
    assert_int_equal(scene->memory->returns[0], 2);
    assert_ptr_equal(parts[0].iov_base, scene->arena);
    assert_int_equal(scene->pools.detached_bytes, 10);
    memset(scene->arena + 10, '?', 10); /* the application has its block again, and writes to it */
    output_queue_sent(&scene->queue, 0);
    assert_int_equal(send_all(scene, 100, out), 20);
    assert_memory_equal(out, "ABCDEFGHIJKLMNOPQRST", 20);
    assert_int_equal(scene->pools.detached_bytes, 0);
}

static void detaching_stops_at_the_bound_of_a_queue_and_of_all(void **state)
{
    struct scene *scene = *state;
    uint8_t out[64];
    for (uint32_t i = 0; i < 4; i++)
        lend(scene, i, i * 10, 10);
    output_queue_detach(&scene->queue, 25, 1'000);
    assert_int_equal(scene->pools.detached_bytes, 20);
    scene->pools.detached_bytes += 80; /* of other queues */
    output_queue_detach(&scene->queue, 1'000, 105);
    assert_int_equal(scene->pools.detached_bytes, 100);
    scene->pools.detached_bytes -= 80;
    assert_int_equal(send_all(scene, 7, out), 40);
    assert_int_equal(scene->memory->returns_count, 4);
}

static void detached_octets_share_a_buffer_and_are_one_piece(void **state)
{
    struct scene *scene = *state;
    struct iovec parts[OUTPUT_PARTS_MAX];
    uint8_t out[512];
    lend(scene, 0, 0, 4);
    assert_int_equal(output_queue_gather(&scene->queue, parts), 1);
    for (uint32_t i = 4; i < 300; i++) {
        lend(scene, i % BLOCKS, i, 1);
        output_queue_detach(&scene->queue, 1'000, 1'000);
        scene->memory->returns_count = 0; /* they are free again, and lent once more */
    }
    assert_int_equal(scene->queue.piece_count, 2);
    assert_int_equal(scene->pools.scratches.live, 1);
    assert_int_equal(scene->pools.detached_bytes, 296);
    assert_int_equal(output_queue_cost(&scene->queue), 300 + 2 * sizeof(struct output_piece));
    output_queue_sent(&scene->queue, 0);
    assert_int_equal(send_all(scene, 100, out), 300);
    assert_memory_equal(out, scene->arena, 300);
    assert_int_equal(scene->queue.piece_count, 0);
}

/* ---- moving from one queue to another --------------------------------------------------------------------------- */

static void what_moves_keeps_its_order_and_its_block_goes_back_with_its_last_octet(void **state)
{
    struct scene *scene = *state;
    struct output_queue stream;
    uint8_t out[64];
    output_queue_init(&stream, &scene->pools);
    assert_int_equal(output_queue_lend(&stream, scene->memory, 3, bytes_of(scene->arena, 10)), 0);
    assert_int_equal(output_queue_lend(&stream, scene->memory, 4, bytes_of(scene->arena + 10, 6)), 0);
    copy(scene, "<");
    assert_int_equal(output_queue_move(&stream, &scene->queue, 4), 0);
    copy(scene, "|");
    assert_int_equal(stream.bytes, 12);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 12), 0);
    copy(scene, ">");
    assert_int_equal(stream.bytes, 0);
    assert_int_equal(scene->memory->returns_count, 0);
    assert_int_equal(send_all(scene, 7, out), 19);
    assert_memory_equal(out, "<ABCD|EFGHIJKLMNOP>", 19);
    assert_int_equal(scene->memory->returns_count, 2);
    assert_int_equal(scene->memory->returns[0], 3);
    output_queue_deinit(&stream);
}

/* Its application would write the next response into octets that are still to be sent, to a client whose they are not.
 */
static void a_block_stays_lent_while_a_part_that_moved_waits_though_the_rest_is_detached(void **state)
{
    struct scene *scene = *state;
    struct output_queue stream;
    uint8_t out[64];
    output_queue_init(&stream, &scene->pools);
    assert_int_equal(output_queue_lend(&stream, scene->memory, 3, bytes_of(scene->arena, 10)), 0);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 2), 0);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 2), 0);
    output_queue_detach(&stream, 1'000, 1'000);
    assert_int_equal(scene->memory->returns_count, 0);
    assert_int_equal(send_all(scene, 3, out), 4);
    assert_int_equal(scene->memory->returns_count, 1);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 6), 0);
    assert_int_equal(send_all(scene, 64, out + 4), 6);
    assert_memory_equal(out, "ABCDEFGHIJ", 10);
    assert_int_equal(scene->memory->returns_count, 1);
    output_queue_deinit(&stream);
}

static void a_block_stays_lent_while_a_part_that_moved_waits_though_the_rest_is_dropped(void **state)
{
    struct scene *scene = *state;
    struct output_queue stream;
    uint8_t out[64];
    output_queue_init(&stream, &scene->pools);
    assert_int_equal(output_queue_lend(&stream, scene->memory, 3, bytes_of(scene->arena, 10)), 0);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 4), 0);
    output_queue_deinit(&stream);
    assert_int_equal(scene->memory->returns_count, 0);
    assert_int_equal(send_all(scene, 64, out), 4);
    assert_int_equal(scene->memory->returns_count, 1);
}

static void what_was_copied_can_move_in_parts_and_outlives_its_queue(void **state)
{
    struct scene *scene = *state;
    struct output_queue stream;
    uint8_t out[64];
    output_queue_init(&stream, &scene->pools);
    assert_int_equal(output_queue_copy(&stream, BYTES_LITERAL("a copied body")), 0);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 2), 0);
    assert_int_equal(output_queue_copy(&stream, BYTES_LITERAL(" grows")), 0);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 10), 0);
    output_queue_deinit(&stream);
    assert_int_equal(send_all(scene, 5, out), 12);
    assert_memory_equal(out, "a copied bod", 12);
}

static void detached_octets_are_counted_until_the_last_part_that_moved_is_sent(void **state)
{
    struct scene *scene = *state;
    struct output_queue stream;
    uint8_t out[64];
    output_queue_init(&stream, &scene->pools);
    assert_int_equal(output_queue_lend(&stream, scene->memory, 9, bytes_of(scene->arena, 10)), 0);
    output_queue_detach(&stream, 1'000, 1'000);
    assert_int_equal(output_queue_move(&stream, &scene->queue, 3), 0);
    output_queue_deinit(&stream);
    assert_int_equal(scene->pools.detached_bytes, 10);
    assert_int_equal(send_all(scene, 64, out), 3);
    assert_int_equal(scene->pools.detached_bytes, 0);
}

static void what_is_dropped_gives_its_blocks_back(void **state)
{
    struct scene *scene = *state;
    copy(scene, "head");
    lend(scene, 5, 0, 10);
    output_queue_deinit(&scene->queue);
    assert_int_equal(scene->memory->returns_count, 1);
    output_queue_deinit(&scene->queue);
}

int main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_SCENE(neighbouring_copies_are_one_part),
        WITH_SCENE(a_part_in_flight_does_not_grow),
        WITH_SCENE(a_send_can_be_made_shorter_before_it_begins),
        WITH_SCENE(a_send_has_bounded_parts_and_about_bounded_octets),
        WITH_SCENE(octets_leave_in_order_however_short_the_sends),
        WITH_SCENE(parts_of_files_leave_in_order_with_the_rest_however_short_the_sends),
        WITH_SCENE(a_send_of_octets_ends_where_a_file_begins_and_says_so),
        WITH_SCENE(neighbouring_parts_of_a_file_are_one_also_while_it_is_sent),
        WITH_SCENE(parts_of_files_need_no_copy_when_the_client_is_slow),
        WITH_SCENE(a_file_that_is_moved_or_cut_is_closed_once_both_ends_of_it_are_sent),
        WITH_SCENE(a_block_goes_back_when_its_last_octet_has_left_and_once),
        WITH_SCENE(a_long_copy_has_a_buffer_of_its_own),
        WITH_SCENE(detaching_spares_what_is_in_flight_and_keeps_the_octets),
        WITH_SCENE(detached_octets_share_a_buffer_and_are_one_piece),
        WITH_SCENE(detaching_stops_at_the_bound_of_a_queue_and_of_all),
        WITH_SCENE(what_moves_keeps_its_order_and_its_block_goes_back_with_its_last_octet),
        WITH_SCENE(a_block_stays_lent_while_a_part_that_moved_waits_though_the_rest_is_detached),
        WITH_SCENE(a_block_stays_lent_while_a_part_that_moved_waits_though_the_rest_is_dropped),
        WITH_SCENE(what_was_copied_can_move_in_parts_and_outlives_its_queue),
        WITH_SCENE(detached_octets_are_counted_until_the_last_part_that_moved_is_sent),
        WITH_SCENE(what_is_dropped_gives_its_blocks_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
