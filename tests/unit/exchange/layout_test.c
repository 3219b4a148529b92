#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "daemon/exchange/layout.h"

static const struct exchange_shape SHAPE = {
    .version = EXCHANGE_VERSION,
    .rings = 2,
    .apps = 3,
    .slots = 100,
    .fields_max = 100,
    .request_entries = 64,
    .reply_entries = 128,
    .recv_buffers = 16,
    .recv_buffer_bytes = 4096,
    .upload_buffers = 4,
    .upload_buffer_bytes = 32'768,
    .staging_small = 8,
    .staging_large = 2,
    .outbound_small = 16,
    .outbound_large = 4,
};

static void a_sound_shape_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(exchange_shape_check(&SHAPE), 0);
}

static void each_count_out_of_bounds_is_refused(void **state)
{
    (void)state;
    const struct {
        size_t offset;
        uint32_t value;
    } bad[] = {
        {offsetof(struct exchange_shape, version), EXCHANGE_VERSION + 1},
        {offsetof(struct exchange_shape, rings), 0},
        {offsetof(struct exchange_shape, rings), LAYOUT_RINGS_MAX + 1},
        {offsetof(struct exchange_shape, apps), 0},
        {offsetof(struct exchange_shape, apps), LAYOUT_APPS_MAX + 1},
        {offsetof(struct exchange_shape, slots), 0},
        {offsetof(struct exchange_shape, slots), LAYOUT_SLOTS_MAX + 1},
        {offsetof(struct exchange_shape, fields_max), LAYOUT_FIELDS_MAX + 1},
        {offsetof(struct exchange_shape, request_entries), 0},
        {offsetof(struct exchange_shape, request_entries), 63},
        {offsetof(struct exchange_shape, request_entries), 2 * LAYOUT_QUEUE_MAX},
        {offsetof(struct exchange_shape, reply_entries), 0},
        {offsetof(struct exchange_shape, reply_entries), 96},
        {offsetof(struct exchange_shape, reply_entries), UINT32_MAX},
        {offsetof(struct exchange_shape, recv_buffers), 0},
        {offsetof(struct exchange_shape, recv_buffers), 65'536},
        {offsetof(struct exchange_shape, upload_buffers), 3},
        {offsetof(struct exchange_shape, recv_buffer_bytes), (1 << 20) + 1},
        {offsetof(struct exchange_shape, upload_buffer_bytes), UINT32_MAX},
        {offsetof(struct exchange_shape, staging_small), (1 << 16) + 1},
        {offsetof(struct exchange_shape, staging_large), UINT32_MAX},
        {offsetof(struct exchange_shape, outbound_small), UINT32_MAX},
        {offsetof(struct exchange_shape, outbound_large), 1 << 16}, /* 4 GiB of blocks alone */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct exchange_shape shape = SHAPE;
        *(uint32_t *)(void *)((uint8_t *)&shape + bad[i].offset) = bad[i].value;
        assert_int_equal(exchange_shape_check(&shape), -EINVAL);
    }
}

static void a_sum_past_four_gibibytes_is_refused(void **state)
{
    (void)state;
    struct exchange_shape shape = SHAPE;
    shape.slots = LAYOUT_SLOTS_MAX;
    shape.fields_max = LAYOUT_FIELDS_MAX;
    assert_int_equal(exchange_shape_check(&shape), -EINVAL);
    shape.slots = LAYOUT_SLOTS_MAX / 2;
    assert_int_equal(exchange_shape_check(&shape), 0);
}

/* Each region begins where the one before has room to end, on a page. */
static void inbound_regions_are_disjoint(void **state)
{
    (void)state;
    struct inbound_layout layout;
    inbound_layout_compute(&SHAPE, &layout);
    assert_true(layout.record_bytes >= sizeof(struct slot_record) + 100 * sizeof(struct slot_field));
    const struct {
        uint32_t begin, bytes, end;
    } regions[] = {
        {layout.queues, 3 * sizeof(struct queue_ends), layout.entries},
        {layout.entries, 3 * 64 * sizeof(struct message), layout.records},
        {layout.records, 100 * layout.record_bytes, layout.recv_buffers},
        {layout.recv_buffers, 16 * 4096, layout.upload_buffers},
        {layout.upload_buffers, 4 * 32'768, layout.staging},
        {layout.staging, 8 * LAYOUT_SMALL_BLOCK_BYTES + 2 * LAYOUT_LARGE_BLOCK_BYTES, layout.bytes},
    };
    assert_true(layout.queues > 0);
    for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++) {
        assert_true(regions[i].begin + regions[i].bytes <= regions[i].end);
        assert_int_equal(regions[i].begin % 4096, 0);
    }
}

static void outbound_regions_are_disjoint(void **state)
{
    (void)state;
    struct outbound_layout layout;
    outbound_layout_compute(&SHAPE, &layout);
    assert_true(layout.queues >= sizeof(struct app_status));
    assert_true(layout.queues + 2 * sizeof(struct queue_ends) <= layout.entries);
    assert_true(layout.entries + 2 * 128 * sizeof(struct message) <= layout.blocks);
    assert_int_equal(layout.blocks % 4096, 0);
    assert_int_equal(layout.blocks + 16 * LAYOUT_SMALL_BLOCK_BYTES + 4 * LAYOUT_LARGE_BLOCK_BYTES, layout.bytes);
}

static void the_pair_page_holds_a_claim_word_for_each_slot(void **state)
{
    (void)state;
    assert_true(pair_page_bytes(&SHAPE) >= sizeof(struct pair_page) + 100 * sizeof(uint32_t));
    assert_int_equal(pair_page_bytes(&SHAPE) % 4096, 0);
}

static void an_epoch_changes_with_either_generation(void **state)
{
    (void)state;
    assert_int_not_equal(layout_epoch(1, 1), layout_epoch(1, 2));
    assert_int_not_equal(layout_epoch(1, 1), layout_epoch(2, 1));
    assert_int_not_equal(layout_epoch(1, 2), layout_epoch(2, 1));
    assert_int_equal(layout_epoch(3, 4), layout_epoch(3, 4));
}

struct arenas {
    struct arena inbound[2], outbound[3];
};

static int setup(void **state)
{
    static struct arenas arenas;
    struct inbound_layout in;
    struct outbound_layout out;
    inbound_layout_compute(&SHAPE, &in);
    outbound_layout_compute(&SHAPE, &out);
    for (int i = 0; i < 2; i++)
        if (arena_create(&arenas.inbound[i], "inbound", in.bytes, ARENA_SEAL_WRITER) < 0)
            return -1;
    for (int i = 0; i < 3; i++)
        if (arena_create(&arenas.outbound[i], "outbound", out.bytes, ARENA_SEAL_SIZE) < 0)
            return -1;
    *state = &arenas;
    return 0;
}

static int teardown(void **state)
{
    struct arenas *arenas = *state;
    for (int i = 0; i < 2; i++)
        arena_deinit(&arenas->inbound[i]);
    for (int i = 0; i < 3; i++)
        arena_deinit(&arenas->outbound[i]);
    return 0;
}

static bool inside(const struct arena *arena, const volatile void *address)
{
    const volatile uint8_t *at = address;
    return at >= arena->base && at < arena->base + arena->bytes;
}

static void each_end_writes_its_own_arena_only(void **state)
{
    struct arenas *a = *state;
    struct spsc_writer writer;
    struct spsc_reader reader;
    layout_request_writer(&SHAPE, &a->inbound[1], &a->outbound[2], 1, 2, 5, &writer);
    assert_true(inside(&a->inbound[1], writer.entries) && inside(&a->inbound[1], writer.tail));
    assert_true(inside(&a->outbound[2], writer.head));
    layout_request_reader(&SHAPE, &a->inbound[1], &a->outbound[2], 1, 2, 5, &reader);
    assert_true(inside(&a->outbound[2], reader.head));
    layout_reply_writer(&SHAPE, &a->inbound[1], &a->outbound[2], 1, 2, 5, &writer);
    assert_true(inside(&a->outbound[2], writer.entries) && inside(&a->outbound[2], writer.tail));
    assert_true(inside(&a->inbound[1], writer.head));
    layout_reply_reader(&SHAPE, &a->inbound[1], &a->outbound[2], 1, 2, 5, &reader);
    assert_true(inside(&a->inbound[1], reader.head));
}

static void fill(struct spsc_writer *writer, uint32_t first)
{
    for (uint32_t i = 0; i < writer->capacity; i++)
        assert_true(spsc_push(writer, &(struct message){.slot = first + i}));
}

static void drain(struct spsc_reader *reader, uint32_t first)
{
    struct message message;
    for (uint32_t i = 0; i < reader->capacity; i++) {
        assert_int_equal(spsc_pop(reader, &message), 1);
        assert_int_equal(message.slot, first + i);
    }
    assert_int_equal(spsc_pop(reader, &message), 0);
}

/* All queues of all pairs, full at once: none writes into another. */
static void every_pair_has_its_own_two_queues(void **state)
{
    struct arenas *a = *state;
    for (uint32_t ring = 0; ring < 2; ring++)
        for (uint32_t app = 0; app < 3; app++) {
            struct spsc_writer writer;
            layout_request_writer(&SHAPE, &a->inbound[ring], &a->outbound[app], ring, app, 5, &writer);
            fill(&writer, 1000 * ring + 10'000 * app);
            layout_reply_writer(&SHAPE, &a->inbound[ring], &a->outbound[app], ring, app, 5, &writer);
            fill(&writer, 1000 * ring + 10'000 * app + 500);
        }
    for (uint32_t ring = 0; ring < 2; ring++)
        for (uint32_t app = 0; app < 3; app++) {
            struct spsc_reader reader;
            layout_request_reader(&SHAPE, &a->inbound[ring], &a->outbound[app], ring, app, 5, &reader);
            drain(&reader, 1000 * ring + 10'000 * app);
            layout_reply_reader(&SHAPE, &a->inbound[ring], &a->outbound[app], ring, app, 5, &reader);
            drain(&reader, 1000 * ring + 10'000 * app + 500);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_shape_is_accepted),
        cmocka_unit_test(each_count_out_of_bounds_is_refused),
        cmocka_unit_test(a_sum_past_four_gibibytes_is_refused),
        cmocka_unit_test(inbound_regions_are_disjoint),
        cmocka_unit_test(outbound_regions_are_disjoint),
        cmocka_unit_test(the_pair_page_holds_a_claim_word_for_each_slot),
        cmocka_unit_test(an_epoch_changes_with_either_generation),
        cmocka_unit_test_setup_teardown(each_end_writes_its_own_arena_only, setup, teardown),
        cmocka_unit_test_setup_teardown(every_pair_has_its_own_two_queues, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
