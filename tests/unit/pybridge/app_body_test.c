#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/exchange/file_handover.h"
#include "pybridge/app_exchange_state.h"

enum { UNIT = MESSAGE_FILE_BLOCK_BYTES, FILE_BLOCKS = 3, MEMORY_OFFSET = 100 };

static const struct exchange_shape SHAPE = {.version = EXCHANGE_VERSION,
                                            .rings = 1,
                                            .apps = 1,
                                            .slots = 2,
                                            .fields_max = 1,
                                            .request_entries = 4,
                                            .reply_entries = 4,
                                            .recv_buffers = 1,
                                            .recv_buffer_bytes = 4096,
                                            .upload_buffers = 1,
                                            .upload_buffer_bytes = 4096,
                                            .staging_small = 1,
                                            .staging_large = 1,
                                            .outbound_small = 1,
                                            .outbound_large = 1};

/* An app process and the I/O process's ends of what they share; one request is open. */
struct stage {
    struct app_exchange exchange;
    struct ring_link link;
    struct ring_memory memory;
    struct arena outbound;
    struct spsc_reader replies;
    struct open_request request;
    int channel;
    int file;
};

/* The file says of each octet in which block it is. */
static int make_file(void)
{
    char path[] = "/tmp/app_body_test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    for (int block = 0; block < FILE_BLOCKS; block++) {
        uint8_t octets[UNIT];
        memset(octets, 'a' + block, sizeof octets);
        assert_int_equal(write(fd, octets, sizeof octets), sizeof octets);
    }
    return fd;
}

static void open_stage(struct stage *stage)
{
    int channel[2];
    struct inbound_layout inbound;
    struct outbound_layout outbound;
    *stage = (struct stage){};
    inbound_layout_compute(&SHAPE, &inbound);
    outbound_layout_compute(&SHAPE, &outbound);
    assert_int_equal(arena_create(&stage->memory.inbound, "test", inbound.bytes, ARENA_SEAL_SIZE), 0);
    assert_int_equal(arena_create(&stage->outbound, "test", outbound.bytes, ARENA_SEAL_SIZE), 0);
    assert_int_equal(file_handover_pair(channel), 0);
    stage->channel = channel[0];
    stage->file = make_file();
    stage->memory.spool = -1;
    stage->memory.holders = 2;
    stage->link = (struct ring_link){.memory = &stage->memory, .files = channel[1]};
    stage->exchange.setup.shape = SHAPE;
    stage->exchange.rings = &stage->link;
    layout_reply_writer(&SHAPE, &stage->memory.inbound, &stage->outbound, 0, 0, 1, &stage->link.replies);
    layout_reply_reader(&SHAPE, &stage->memory.inbound, &stage->outbound, 0, 0, 1, &stage->replies);
    stage->request.memory = &stage->memory;
}

static void close_stage(struct stage *stage)
{
    app_body_clear(&stage->exchange, &stage->request);
    while (stage->exchange.free_pieces != NULL) {
        struct piece *piece = stage->exchange.free_pieces;
        stage->exchange.free_pieces = piece->next;
        free(piece);
    }
    assert_int_equal(stage->memory.holders, 2);
    assert_int_equal(stage->request.reading, 0);
    arena_deinit(&stage->memory.inbound);
    arena_deinit(&stage->outbound);
    if (stage->memory.spool >= 0)
        close(stage->memory.spool);
    close(stage->channel);
    close(stage->link.files);
    close(stage->file);
}

static void hand_over(struct stage *stage)
{
    assert_int_equal(file_handover_send(stage->channel, &(struct file_handover){}, stage->file), 0);
}

static void arrive(struct stage *stage, uint32_t offset, uint32_t length, uint8_t flags)
{
    const struct message message = {.kind = MESSAGE_BODY, .flags = flags, .body_offset = offset, .body_length = length};
    app_body_arrived(&stage->exchange, &stage->request, &message);
}

/* Reads a part as an adapter does. */
static void assert_part(struct stage *stage, size_t most, size_t length, char first, char last)
{
    struct app_body_part part;
    uint8_t octets[FILE_BLOCKS * UNIT];
    assert_true(app_request_take_part(&stage->exchange, &stage->request.public, most, &part));
    assert_int_equal(part.length, length);
    int r = app_body_part_read(&part, octets);
    app_request_give_part_back(&stage->exchange, &stage->request.public, &part, r);
    assert_int_equal(r, 0);
    assert_int_equal(octets[0], first);
    assert_int_equal(octets[length - 1], last);
}

/* What the I/O process was told since it was asked last. */
static uint64_t credit(struct stage *stage)
{
    struct message message;
    uint64_t octets = 0;
    while (spsc_pop(&stage->replies, &message) == 1) {
        assert_int_equal(message.kind, MESSAGE_CONSUMED);
        octets += message.count;
    }
    return octets;
}

static void pieces_in_memory_and_in_the_file_are_read_in_order(void **state)
{
    (void)state;
    struct stage stage;
    struct app_body_part part;
    open_stage(&stage);
    hand_over(&stage);
    memset(stage.memory.inbound.base + MEMORY_OFFSET, 'm', 10);
    arrive(&stage, MEMORY_OFFSET, 10, 0);
    arrive(&stage, 1, UNIT + 5, MESSAGE_FILE);
    arrive(&stage, MEMORY_OFFSET, 3, MESSAGE_END);
    struct app_request *request = &stage.request.public;
    assert_int_equal(request->body_state, APP_BODY_ENDED);
    assert_int_equal(app_request_at_hand(request), 10 + UNIT + 5 + 3);
    assert_false(app_request_take_part(&stage.exchange, request, 1, &part));
    assert_int_equal(app_request_body(request).length, 10);
    app_request_consume(&stage.exchange, request, 10);
    assert_int_equal(app_request_body(request).length, 0);
    assert_part(&stage, UNIT - 1, UNIT - 1, 'b', 'b');
    assert_part(&stage, 4, 4, 'b', 'c');
    assert_part(&stage, SIZE_MAX, 2, 'c', 'c');
    assert_int_equal(app_request_body(request).length, 3);
    app_request_consume(&stage.exchange, request, 3);
    assert_int_equal(app_request_at_hand(request), 0);
    assert_int_equal(request->body_read, 10 + UNIT + 5 + 3);
    close_stage(&stage);
}

static void of_a_body_that_has_ended_the_file_earns_no_credit(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage);
    hand_over(&stage);
    arrive(&stage, 0, 2 * UNIT, MESSAGE_FILE | MESSAGE_END);
    assert_part(&stage, SIZE_MAX, 2 * UNIT, 'a', 'b');
    assert_int_equal(credit(&stage), 0);
    close_stage(&stage);
}

static void credit_comes_when_more_is_waited_for_and_nobody_reads_any_more(void **state)
{
    (void)state;
    struct stage stage;
    struct app_body_part part;
    open_stage(&stage);
    hand_over(&stage);
    arrive(&stage, 0, UNIT, MESSAGE_FILE);
    arrive(&stage, MEMORY_OFFSET, 20, 0);
    struct app_request *request = &stage.request.public;
    assert_true(app_request_take_part(&stage.exchange, request, SIZE_MAX, &part));
    app_request_consume(&stage.exchange, request, 20); /* by another thread: the part is still being read */
    assert_int_equal(credit(&stage), 0);
    app_request_give_part_back(&stage.exchange, request, &part, 0);
    assert_int_equal(credit(&stage), UNIT + 20);
    close_stage(&stage);
}

static void a_part_outlives_its_request(void **state)
{
    (void)state;
    struct stage stage;
    struct app_body_part part;
    uint8_t octets[UNIT];
    open_stage(&stage);
    hand_over(&stage);
    arrive(&stage, 2, UNIT, MESSAGE_FILE | MESSAGE_END);
    assert_true(app_request_take_part(&stage.exchange, &stage.request.public, SIZE_MAX, &part));
    stage.request.reading = 0; /* as a new request in the same memory has it */
    assert_int_equal(app_body_part_read(&part, octets), 0);
    app_request_give_part_back(&stage.exchange, NULL, &part, 0);
    assert_int_equal(octets[0], 'c');
    close_stage(&stage);
}

static void a_file_that_is_too_short_breaks_the_body(void **state)
{
    (void)state;
    struct stage stage;
    struct app_body_part part;
    static uint8_t octets[2 * UNIT];
    open_stage(&stage);
    hand_over(&stage);
    arrive(&stage, FILE_BLOCKS - 1, 2 * UNIT, MESSAGE_FILE | MESSAGE_END);
    assert_true(app_request_take_part(&stage.exchange, &stage.request.public, 2 * UNIT, &part));
    int r = app_body_part_read(&part, octets);
    assert_int_equal(r, -EIO);
    app_request_give_part_back(&stage.exchange, &stage.request.public, &part, r);
    assert_int_equal(stage.request.public.body_state, APP_BODY_BROKEN);
    assert_int_equal(app_request_at_hand(&stage.request.public), 0);
    close_stage(&stage);
}

static void a_body_whose_file_never_came_is_broken(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage);
    arrive(&stage, 0, 10, MESSAGE_FILE | MESSAGE_END);
    assert_int_equal(stage.request.public.body_state, APP_BODY_BROKEN);
    close_stage(&stage);
}

/* The descriptor waits in the channel until there is a place for it: only what comes before then fails. */
static void without_a_free_descriptor_one_body_is_broken_and_the_next_is_not(void **state)
{
    (void)state;
    struct stage stage;
    struct rlimit before;
    open_stage(&stage);
    hand_over(&stage);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit tight = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    arrive(&stage, 0, 10, MESSAGE_FILE | MESSAGE_END);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(stage.request.public.body_state, APP_BODY_BROKEN);
    assert_int_equal(stage.memory.spool, -1);
    stage.request.public.body_state = APP_BODY_MORE;
    arrive(&stage, 0, 10, MESSAGE_FILE | MESSAGE_END);
    assert_int_equal(stage.request.public.body_state, APP_BODY_ENDED);
    assert_part(&stage, SIZE_MAX, 10, 'a', 'a');
    close_stage(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_in_memory_and_in_the_file_are_read_in_order),
        cmocka_unit_test(of_a_body_that_has_ended_the_file_earns_no_credit),
        cmocka_unit_test(credit_comes_when_more_is_waited_for_and_nobody_reads_any_more),
        cmocka_unit_test(a_part_outlives_its_request),
        cmocka_unit_test(a_file_that_is_too_short_breaks_the_body),
        cmocka_unit_test(a_body_whose_file_never_came_is_broken),
        cmocka_unit_test(without_a_free_descriptor_one_body_is_broken_and_the_next_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
