#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/exchange/field_block.h"
#include "daemon/io/response_head.h"

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct stage {
    struct io_core core;
    uint8_t block[IO_SCRATCH_HEAD_BYTES + 1];
    size_t used;
    struct response_head head;
};

static int set_stage(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    *state = stage;
    return stage != NULL ? io_scratch_init(&stage->core.scratch, 1) : -1;
}

static int strike_stage(void **state)
{
    struct stage *stage = *state;
    io_scratch_deinit(&stage->core.scratch);
    free(stage);
    return 0;
}

static void put(struct stage *stage, const char *name, const char *value)
{
    assert_true(field_block_append(stage->block, sizeof stage->block, &stage->used, bytes_of_string(name),
                                   bytes_of_string(value)));
}

static int read_block(struct stage *stage)
{
    return response_head_read(&stage->core, bytes_of(stage->block, stage->used), &stage->head);
}

static void what_the_application_does_to_its_block_later_changes_nothing(void **state)
{
    struct stage *stage = *state;
    put(stage, "Content-Type", "text/plain");
    put(stage, "X", "");
    assert_int_equal(read_block(stage), 0);
    memset(stage->block, 0xff, sizeof stage->block);
    assert_int_equal(stage->head.field_count, 2);
    assert_true(bytes_equal(stage->head.fields[0].name, BYTES_LITERAL("Content-Type")));
    assert_true(bytes_equal(stage->head.fields[0].value, BYTES_LITERAL("text/plain")));
    assert_int_equal(stage->head.fields[1].value.length, 0);
    assert_int_equal(stage->head.copy.length, stage->used);
    assert_int_equal(stage->head.reason.length, 0);
    assert_false(stage->head.closes);
}

static void a_reason_is_no_field(void **state)
{
    struct stage *stage = *state;
    put(stage, ":reason", "Very Well");
    put(stage, "X", "y");
    assert_int_equal(read_block(stage), 0);
    assert_true(bytes_equal(stage->head.reason, BYTES_LITERAL("Very Well")));
    assert_int_equal(stage->head.field_count, 1);
    assert_true(bytes_equal(stage->head.fields[0].name, BYTES_LITERAL("X")));
}

static void connection_close_is_seen_wherever_it_stands(void **state)
{
    struct stage *stage = *state;
    put(stage, "Connections", "close");
    put(stage, "Connection", "closed");
    assert_int_equal(read_block(stage), 0);
    assert_false(stage->head.closes);
    put(stage, "CONNECTION", "x, Close");
    assert_int_equal(read_block(stage), 0);
    assert_true(stage->head.closes);
}

static void no_block_is_no_fields(void **state)
{
    struct stage *stage = *state;
    assert_int_equal(response_head_read(&stage->core, bytes_of(stage->block, 0), &stage->head), 0);
    assert_int_equal(stage->head.field_count, 0);
}

static void a_block_that_is_too_long_or_lies_is_refused(void **state)
{
    struct stage *stage = *state;
    stage->head.field_count = 4711;
    put(stage, "X", "y");
    assert_int_equal(response_head_read(&stage->core, bytes_of(stage->block, stage->used - 1), &stage->head), -EBADMSG);
    assert_int_equal(response_head_read(&stage->core, bytes_of(stage->block, sizeof stage->block), &stage->head),
                     -EMSGSIZE);
    for (size_t i = 0; i < IO_SCRATCH_RESPONSE_FIELDS_MAX; i++)
        put(stage, "X", "y");
    assert_int_equal(read_block(stage), -EBADMSG); /* one field too many */
    assert_int_equal(stage->head.field_count, 4711);
}

/* ---- framing ---------------------------------------------------------------------------------------------------- */

static void the_body_follows_from_status_method_and_what_is_known(void **state)
{
    (void)state;
    static const struct {
        struct reply reply;
        bool is_head;
        struct response_framing expected;
    } CASES[] = {
        /* the application states a length */
        {{.status = 200, .content_length = 7}, false, {HTTP_BODY_LENGTH, true, 7}},
        {{.status = 200, .content_length = 7}, true, {HTTP_BODY_NONE, true, 7}},
        {{.status = 304, .content_length = 7}, false, {HTTP_BODY_NONE, true, 7}},
        {{.status = 204, .content_length = 0}, false, {HTTP_BODY_NONE, false, 0}},
        {{.status = 103, .content_length = 0}, false, {HTTP_BODY_NONE, false, 0}},
        /* it does not, and more comes */
        {{.status = 200, .content_length = -1, .body.length = 3}, false, {HTTP_BODY_UNKNOWN, false, 0}},
        {{.status = 200, .content_length = -1}, true, {HTTP_BODY_NONE, false, 0}},
        {{.status = 204, .content_length = -1}, false, {HTTP_BODY_NONE, false, 0}},
        /* it does not, but all of it is here */
        {{.status = 200, .content_length = -1, .flags = MESSAGE_END, .body.length = 3},
         false,
         {HTTP_BODY_LENGTH, true, 3}},
        {{.status = 200, .content_length = -1, .flags = MESSAGE_END}, false, {HTTP_BODY_LENGTH, true, 0}},
        {{.status = 200, .content_length = -1, .flags = MESSAGE_END}, true, {HTTP_BODY_NONE, false, 0}},
        {{.status = 304, .content_length = -1, .flags = MESSAGE_END}, false, {HTTP_BODY_NONE, false, 0}},
        /* all that there will be is not all that there should be */
        {{.status = 200, .content_length = -1, .flags = MESSAGE_END | MESSAGE_FAILED, .body.length = 3},
         false,
         {HTTP_BODY_UNKNOWN, false, 0}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct response_framing framing = response_head_framing(&CASES[i].reply, CASES[i].is_head);
        if (framing.body != CASES[i].expected.body || framing.states_length != CASES[i].expected.states_length ||
            framing.content_length != CASES[i].expected.content_length)
            fail_msg("case %zu: body %d, %s, %llu", i, (int)framing.body,
                     framing.states_length ? "stated" : "not stated", (unsigned long long)framing.content_length);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_stage, strike_stage)
    const struct CMUnitTest tests[] = {
        TEST(what_the_application_does_to_its_block_later_changes_nothing),
        TEST(a_reason_is_no_field),
        TEST(connection_close_is_seen_wherever_it_stands),
        TEST(no_block_is_no_fields),
        TEST(a_block_that_is_too_long_or_lies_is_refused),
        cmocka_unit_test(the_body_follows_from_status_method_and_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
