#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "daemon/io/request_body.h"
#include "tests/unit/io/io_scene.h"

enum { BLOCK = SPOOL_BLOCK_BYTES, MEMORY_MAX = 100'000, FILE_BLOCKS = 4 };

/* One exchange whose body comes in staging blocks, before a file of four blocks. */
struct stage {
    struct scene scene;
    struct http_exchange *exchange;
};

static void more_blocks(struct scene *scene)
{
    scene->core.setup.shape.staging_large = 16;
}

static void open_stage(struct stage *stage, enum buffering buffering, bool with_file)
{
    scene_open(&stage->scene, more_blocks);
    struct io_core *core = &stage->scene.core;
    core->settings.request_buffering = buffering;
    core->settings.request_buffer_max = MEMORY_MAX;
    if (with_file)
        assert_int_equal(spool_init(&core->spool, "/tmp", (uint64_t)FILE_BLOCKS * BLOCK), 0);
    stage->exchange = dispatch_exchange(&stage->scene.dispatch);
    assert_non_null(stage->exchange);
}

static void close_stage(struct stage *stage)
{
    dispatch_let_go(&stage->scene.dispatch, stage->exchange, true);
    assert_int_equal(stage->scene.core.spool.live, 0);
    if (spool_is_open(&stage->scene.core.spool))
        spool_deinit(&stage->scene.core.spool);
    scene_close(&stage->scene);
}

static int keep(struct stage *stage, uint32_t length, bool is_last)
{
    struct io_core *core = &stage->scene.core;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    assert_int_equal(buffer_pool_stage(&core->buffers, length, &loan, &memory, &capacity), 0);
    memset(memory, 'b', length);
    int r = request_body_keep(core, stage->exchange, loan, memory, length, is_last);
    buffer_pool_drop(&core->buffers, &loan);
    return r;
}

static bool room(const struct stage *stage)
{
    return request_body_room(&stage->scene.core, stage->exchange, 1'000, 2);
}

static void a_body_nobody_wants_has_room_without_end(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_OFF, false);
    assert_true(request_body_unwanted(NULL));
    assert_true(request_body_room(&stage.scene.core, NULL, 0, 0));
    assert_false(request_body_unwanted(stage.exchange));
    stage.exchange->local_status = 413;
    assert_true(request_body_unwanted(stage.exchange));
    assert_true(request_body_room(&stage.scene.core, stage.exchange, 0, 0));
    close_stage(&stage);
}

static void a_streamed_body_has_room_ahead_of_the_application(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_OFF, true);
    assert_false(request_body_held(&stage.scene.core, stage.exchange));
    assert_true(room(&stage));
    assert_int_equal(keep(&stage, 1'000, false), 0);
    assert_false(room(&stage)); /* it was not even sent yet */
    stage.exchange->state = EXCHANGE_QUEUED;
    assert_false(room(&stage));
    stage.exchange->unconsumed_bytes--; /* the application took one octet */
    assert_true(room(&stage));
    stage.exchange->piece_count = 2;
    assert_false(room(&stage));
    stage.exchange->piece_count = 1;
    stage.exchange->unconsumed_bytes++;
    stage.exchange->state = EXCHANGE_BUFFERING;
    close_stage(&stage);
}

static void a_held_body_without_a_file_has_room_in_memory_only(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, false);
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_true(request_body_held(&stage.scene.core, stage.exchange));
    assert_true(room(&stage));
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_false(request_body_held(&stage.scene.core, stage.exchange)); /* it goes to its application now */
    assert_false(room(&stage));
    close_stage(&stage);
}

static void a_held_body_goes_to_the_file_beyond_its_share_of_memory(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, true);
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_int_equal(stage.exchange->spooled_bytes, 0);
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_int_equal(stage.exchange->spooled_bytes, BLOCK);
    assert_int_equal(keep(&stage, 1, true), 0); /* behind others that are there */
    assert_int_equal(stage.exchange->spooled_bytes, BLOCK + 1);
    assert_int_equal(stage.exchange->body_bytes, 2 * BLOCK + 1);
    assert_true(request_body_held(&stage.scene.core, stage.exchange));
    assert_true(room(&stage));
    close_stage(&stage);
}

static void the_last_octets_stay_in_memory(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, true);
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_int_equal(keep(&stage, BLOCK, true), 0);
    assert_int_equal(stage.exchange->spooled_bytes, 0);
    close_stage(&stage);
}

static void a_body_that_fills_the_file_alone_is_413_and_one_that_finds_it_full_503(void **state)
{
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct stage stage;
        struct spool_run run = {};
        size_t written = 0;
        static const uint8_t octets[BLOCK];
        open_stage(&stage, BUFFERING_ON, true);
        struct io_core *core = &stage.scene.core;
        if (others)
            assert_int_equal(spool_append(&core->spool, &run, bytes_of(octets, BLOCK), &written), 0);
        int r = 0;
        while (r == 0)
            r = keep(&stage, 40'000, false);
        assert_int_equal(r, -ENOBUFS);
        assert_int_equal(request_body_lost_status(core, stage.exchange), others ? 503 : 413);
        spool_release(&core->spool, &run);
        close_stage(&stage);
    }
}

static void a_length_that_could_never_be_held_is_known_from_the_head(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, true);
    struct io_core *core = &stage.scene.core;
    struct http_head head = {.body_kind = HTTP_BODY_LENGTH, .content_length = MEMORY_MAX + FILE_BLOCKS * BLOCK};
    assert_false(request_body_too_long(core, &head));
    head.content_length++;
    assert_true(request_body_too_long(core, &head));
    head.body_kind = HTTP_BODY_UNKNOWN;
    assert_false(request_body_too_long(core, &head));
    head.body_kind = HTTP_BODY_LENGTH;
    core->settings.request_buffering = BUFFERING_OFF;
    assert_false(request_body_too_long(core, &head));
    close_stage(&stage);
}

static void what_is_in_the_file_is_one_piece_in_its_place(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(keep(&stage, BLOCK, false), 0);
    const struct http_exchange *exchange = stage.exchange;
    assert_int_equal(exchange->piece_count, 2);
    assert_false(body_piece_is_in_file(exchange->first));
    assert_true(body_piece_is_in_file(exchange->last));
    assert_int_equal(exchange->last->length, 3 * BLOCK);
    assert_int_equal(exchange->unconsumed_bytes, 4 * BLOCK);
    stage.exchange->state = EXCHANGE_QUEUED; /* what comes when it has begun follows in memory */
    stage.exchange->unsent = NULL;
    assert_int_equal(keep(&stage, BLOCK, false), 0);
    assert_false(body_piece_is_in_file(exchange->last));
    stage.exchange->state = EXCHANGE_BUFFERING;
    close_stage(&stage);
}

static void blocks_come_back_when_all_of_a_piece_is_consumed(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, BUFFERING_ON, true);
    struct io_core *core = &stage.scene.core;
    for (int i = 0; i < 3; i++)
        assert_int_equal(keep(&stage, BLOCK, false), 0);
    stage.exchange->unsent = NULL;
    assert_int_equal(http_exchange_body_consumed(core, stage.exchange, 2 * BLOCK), 2 * BLOCK);
    assert_int_equal(core->spool.live, 2);
    assert_int_equal(http_exchange_body_consumed(core, stage.exchange, UINT32_MAX), BLOCK);
    assert_int_equal(core->spool.live, 0);
    close_stage(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_nobody_wants_has_room_without_end),
        cmocka_unit_test(a_streamed_body_has_room_ahead_of_the_application),
        cmocka_unit_test(a_held_body_without_a_file_has_room_in_memory_only),
        cmocka_unit_test(a_held_body_goes_to_the_file_beyond_its_share_of_memory),
        cmocka_unit_test(the_last_octets_stay_in_memory),
        cmocka_unit_test(a_body_that_fills_the_file_alone_is_413_and_one_that_finds_it_full_503),
        cmocka_unit_test(a_length_that_could_never_be_held_is_known_from_the_head),
        cmocka_unit_test(what_is_in_the_file_is_one_piece_in_its_place),
        cmocka_unit_test(blocks_come_back_when_all_of_a_piece_is_consumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
