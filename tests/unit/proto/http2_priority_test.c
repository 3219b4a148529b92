#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "guarded.h"
#include "proto/http2_priority.h"

enum { TURN = HTTP2_PRIORITY_TURN, STREAMS = 40, STEPS = 200'000 };

/* The value -------------------------------------------------------------------------------------------------------- */

/* Parses from memory that ends at an unmapped page, over urgency 3 and not incremental. */
static struct http2_priority parsed(const char *text)
{
    struct guarded memory = guarded_create(256);
    struct http2_priority priority = {HTTP2_URGENCY_DEFAULT, false};
    http2_priority_parse(bytes_of(guarded_place(&memory, text, strlen(text)), strlen(text)), &priority);
    guarded_destroy(&memory);
    return priority;
}

static void assert_parses(const char *text, uint8_t urgency, bool incremental)
{
    struct http2_priority priority = parsed(text);
    if (priority.urgency != urgency || priority.incremental != incremental)
        fail_msg("%s: u=%u, i=%d", text, priority.urgency, priority.incremental);
}

static void urgency_and_incremental_are_read(void **state)
{
    (void)state;
    char text[] = "u=0";
    for (uint8_t urgency = 0; urgency < HTTP2_URGENCIES; urgency++) {
        text[2] = (char)('0' + urgency);
        assert_parses(text, urgency, false);
    }
    assert_parses("i", 3, true);
    assert_parses("i=?1", 3, true);
    assert_parses("i=?0", 3, false);
    assert_parses("u=5, i", 5, true);
    assert_parses("i,u=5", 5, true);
    assert_parses("  u=1 \t,\t i  ", 1, true);
    assert_parses("u=00002", 2, false);
}

static void absent_members_keep_what_was_there(void **state)
{
    (void)state;
    struct http2_priority priority = {6, true};
    http2_priority_parse(BYTES_LITERAL("u=1"), &priority);
    assert_int_equal(priority.urgency, 1);
    assert_true(priority.incremental);
    http2_priority_parse(BYTES_LITERAL(""), &priority);
    assert_int_equal(priority.urgency, 1);
    http2_priority_parse(BYTES_LITERAL("i=?0"), &priority);
    assert_int_equal(priority.urgency, 1);
    assert_false(priority.incremental);
}

static void members_out_of_range_or_of_another_type_are_ignored(void **state)
{
    (void)state;
    static const char *const values[] = {
        "u=8",  "u=-1",     "u=255",    "u=256", "u=999999999999999", "u=1.0",          "u=\"1\"", "u=x",
        "u=?1", "u",        "u=:MQ==:", "u=()",  "u=(1 2)",           "u=-999999999.5", "i=1",     "i=0",
        "i=x",  "i=\"?1\"", "i=(?1)",   "i=1.5",
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_parses(values[i], 3, false);
}

static void unknown_members_and_parameters_are_passed_over(void **state)
{
    (void)state;
    assert_parses("a, u=1, b=2", 1, false);
    assert_parses("u=1;i", 1, false);
    assert_parses("u=1;a=2;b;c=\"x, \\\"y\\\\\"", 1, false);
    assert_parses("x=\"u=5, i\", u=1", 1, false);
    assert_parses("x=(1 2;a \"b\" ?1);y, u=1", 1, false);
    assert_parses("x=(  ), u=1", 1, false);
    assert_parses("x=:aGk=:, y=tok/en:*~, z=-1.250, *a_b-c.d*=?0, u=1", 1, false);
    assert_parses("uu=5, ii, u=1", 1, false);
    assert_parses("x=:AZaz09+/==:, y=::, u=1", 1, false);
    assert_parses("x=-999999999999999, y=999999999999.123, u=1", 1, false);
}

static void last_of_a_repeated_member_counts(void **state)
{
    (void)state;
    assert_parses("u=1, u=2", 2, false);
    assert_parses("i, i=?0", 3, false);
    assert_parses("u=1, u=9", 3, false);
    assert_parses("i, i=1", 3, false);
}

static void what_is_no_dictionary_changes_nothing(void **state)
{
    (void)state;
    static const char *const values[] = {
        "u=1,",
        "u=1,,i",
        ",u=1",
        "u=1 i",
        "u=1;",
        "u=1; ",
        "u=",
        "u= 1",
        "u =1",
        "=1, u=1",
        "u=1, =",
        "u=1, 5",
        "u=1, X",
        "U=1, u=1",
        "u=1, \"x\"",
        "u=1, x=\"",
        "u=1, x=\"\\a\"",
        "u=1, x=(",
        "u=1, x=(1",
        "u=1, x=(1,2)",
        "u=1, x=(1\t2)",
        "u=1, x=:?:",
        "u=1, x=:aGk=",
        "u=1, x=?2",
        "u=1, x=?",
        "u=1, x=-",
        "u=1, x=1.",
        "u=1, x=1.2345",
        "u=1, x=1234567890123456",
        "u=1, x=1234567890123.1",
        "u=1, x=\x80",
        "u=1, x=\"\x7f\"",
        "u=1, x=\"\n\"",
        "u=1, x=@1",
        "u=1\n",
        "\tu=1",
        "u=1, i;A",
        "u=1;a=",
        "u=1, x=--1",
        "u=1, x=\"\x7f",
        "u=1, x=:?",
        "u=1, x=\"\\",
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_parses(values[i], 3, false);
}

static void value_over_its_bound_is_not_looked_at(void **state)
{
    (void)state;
    char text[HTTP2_PRIORITY_VALUE_MAX + 2];
    memset(text, ' ', sizeof(text));
    memcpy(text, "u=1", 3);
    text[HTTP2_PRIORITY_VALUE_MAX] = '\0';
    assert_parses(text, 1, false);
    text[HTTP2_PRIORITY_VALUE_MAX] = ' ';
    text[HTTP2_PRIORITY_VALUE_MAX + 1] = '\0';
    assert_parses(text, 3, false);
}

/* Who is next ------------------------------------------------------------------------------------------------------ */

static struct http2_turn stream(uint32_t id, uint8_t urgency, bool incremental)
{
    return (struct http2_turn){.id = id, .priority = {urgency, incremental}};
}

static uint32_t next_id(const struct http2_schedule *schedule)
{
    const struct http2_turn *next = http2_schedule_next(schedule);
    return next ? next->id : 0;
}

/* Sends `bytes` of whoever is next; its id. */
static uint32_t serve(struct http2_schedule *schedule, uint32_t bytes)
{
    struct http2_turn *next = http2_schedule_next(schedule);
    assert_non_null(next);
    http2_schedule_sent(schedule, next, bytes);
    return next->id;
}

static void nobody_is_next_where_nobody_waits(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn one = stream(1, 3, false);
    assert_null(http2_schedule_next(&schedule));
    http2_schedule_remove(&schedule, &one);
    assert_null(http2_schedule_next(&schedule));
    http2_schedule_add(&schedule, &one);
    assert_ptr_equal(http2_schedule_next(&schedule), &one);
    http2_schedule_remove(&schedule, &one);
    assert_null(http2_schedule_next(&schedule));
    assert_int_equal(schedule.waiting_count, 0);
}

static void adding_and_removing_twice_is_harmless(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn one = stream(1, 3, true), two = stream(3, 3, true);
    http2_schedule_add(&schedule, &one);
    http2_schedule_add(&schedule, &two);
    http2_schedule_add(&schedule, &one);
    assert_int_equal(schedule.waiting_count, 2);
    assert_int_equal(next_id(&schedule), 1);
    http2_schedule_remove(&schedule, &one);
    http2_schedule_remove(&schedule, &one);
    assert_int_equal(schedule.waiting_count, 1);
    assert_int_equal(next_id(&schedule), 3);
}

static void most_urgent_is_first(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[HTTP2_URGENCIES];
    for (uint8_t i = 0; i < HTTP2_URGENCIES; i++) {
        streams[i] = stream(1 + 2U * i, (uint8_t)(7 - i), i % 2 == 0);
        http2_schedule_add(&schedule, &streams[i]);
        assert_int_equal(next_id(&schedule), streams[i].id);
    }
    for (unsigned i = HTTP2_URGENCIES; i-- > 0;) {
        assert_int_equal(next_id(&schedule), streams[i].id);
        for (int turn = 0; turn < 5; turn++)
            assert_int_equal(serve(&schedule, TURN), streams[i].id);
        http2_schedule_remove(&schedule, &streams[i]);
    }
}

static void sequential_streams_go_by_id_each_to_its_end(void **state)
{
    (void)state;
    static const uint32_t order[] = {5, 1, 9, 3, 7};
    struct http2_schedule schedule = {};
    struct http2_turn streams[5];
    for (unsigned i = 0; i < 5; i++) {
        streams[i] = stream(order[i], 3, false);
        http2_schedule_add(&schedule, &streams[i]);
    }
    for (uint32_t id = 1; id <= 9; id += 2) {
        for (int turn = 0; turn < 4; turn++)
            assert_int_equal(serve(&schedule, TURN), id);
        http2_schedule_remove(&schedule, http2_schedule_next(&schedule));
    }
    assert_null(http2_schedule_next(&schedule));
}

static void incremental_streams_take_turns(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[3];
    for (unsigned i = 0; i < 3; i++) {
        streams[i] = stream(1 + 2 * i, 3, true);
        http2_schedule_add(&schedule, &streams[i]);
    }
    static const uint32_t order[] = {1, 3, 5, 1, 3, 5};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(serve(&schedule, TURN), order[i]);
}

static void turn_is_over_when_its_octets_are_sent(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn one = stream(1, 3, true), two = stream(3, 3, true);
    http2_schedule_add(&schedule, &one);
    http2_schedule_add(&schedule, &two);
    assert_int_equal(serve(&schedule, TURN - 1), 1);
    assert_int_equal(serve(&schedule, 1), 1);
    assert_int_equal(serve(&schedule, TURN / 2), 3);
    assert_int_equal(serve(&schedule, UINT32_MAX), 3); /* more than a turn is a turn */
    assert_int_equal(next_id(&schedule), 1);
}

static void both_kinds_take_turns(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[] = {stream(1, 3, false), stream(3, 3, true), stream(5, 3, false), stream(7, 3, true)};
    for (unsigned i = 0; i < 4; i++)
        http2_schedule_add(&schedule, &streams[i]);
    static const uint32_t order[] = {1, 3, 1, 7, 1, 3, 1, 7};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(serve(&schedule, TURN), order[i]);
}

/* Without the rule of turns that end early the sequential stream would wait for as long as such streams come. */
static void short_incremental_streams_do_not_starve_a_sequential_one(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn large = stream(1, 3, false), small[100];
    unsigned served = 0;
    http2_schedule_add(&schedule, &large);
    for (unsigned i = 0; i < 100; i++) {
        small[i] = stream(3 + 2 * i, 3, true);
        http2_schedule_add(&schedule, &small[i]);
    }
    while (schedule.waiting_count > 1) {
        struct http2_turn *next = http2_schedule_next(&schedule);
        http2_schedule_sent(&schedule, next, next == &large ? TURN : 100);
        if (next == &large)
            served++;
        else
            http2_schedule_remove(&schedule, next);
    }
    assert_in_range(served, 99, 101);
}

static void stream_that_left_before_it_was_counted_had_its_turn(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn sequential = stream(1, 3, false), incremental = stream(3, 3, true);
    http2_schedule_add(&schedule, &sequential);
    http2_schedule_add(&schedule, &incremental);
    http2_schedule_remove(&schedule, &sequential);
    http2_schedule_sent(&schedule, &sequential, 100);
    http2_schedule_add(&schedule, &sequential);
    assert_int_equal(next_id(&schedule), 3);
}

static void stream_that_comes_back_stands_at_the_end_of_its_kind(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[] = {stream(1, 3, true), stream(3, 3, true), stream(5, 3, true)};
    for (unsigned i = 0; i < 3; i++)
        http2_schedule_add(&schedule, &streams[i]);
    http2_schedule_sent(&schedule, &streams[0], 100);
    http2_schedule_remove(&schedule, &streams[0]);
    http2_schedule_add(&schedule, &streams[0]);
    static const uint32_t order[] = {3, 5, 1};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(serve(&schedule, TURN), order[i]);
}

static void change_moves_a_waiting_stream(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[] = {stream(1, 3, false), stream(3, 3, false), stream(5, 3, false)};
    for (unsigned i = 0; i < 3; i++)
        http2_schedule_add(&schedule, &streams[i]);
    http2_schedule_change(&schedule, &streams[2], (struct http2_priority){0, false});
    assert_int_equal(next_id(&schedule), 5);
    http2_schedule_change(&schedule, &streams[2], (struct http2_priority){7, true});
    assert_int_equal(next_id(&schedule), 1);
    http2_schedule_change(&schedule, &streams[0], (struct http2_priority){7, true});
    http2_schedule_remove(&schedule, &streams[1]);
    assert_int_equal(next_id(&schedule), 5);
    assert_int_equal(schedule.waiting_count, 2);
}

static void change_of_nothing_keeps_the_turn(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn one = stream(1, 3, true), two = stream(3, 3, true);
    http2_schedule_add(&schedule, &one);
    http2_schedule_add(&schedule, &two);
    serve(&schedule, TURN - 1);
    http2_schedule_change(&schedule, &one, (struct http2_priority){3, true});
    assert_int_equal(serve(&schedule, 1), 1);
    assert_int_equal(next_id(&schedule), 3);
}

static void change_of_one_that_does_not_wait_counts_later(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn one = stream(1, 3, false), two = stream(3, 3, false);
    http2_schedule_add(&schedule, &one);
    http2_schedule_change(&schedule, &two, (struct http2_priority){1, false});
    assert_int_equal(schedule.waiting_count, 1);
    http2_schedule_add(&schedule, &two);
    assert_int_equal(next_id(&schedule), 3);
}

/* Against a model -------------------------------------------------------------------------------------------------- */

/* The rules as the header tells them, by looking at every stream each time. */
struct model {
    struct {
        uint8_t urgency;
        bool incremental, waiting;
        uint64_t since; /* when it came to the end of its kind */
        uint32_t turn_bytes;
    } streams[STREAMS];
    bool incremental_next[HTTP2_URGENCIES];
    uint64_t now;
};

static bool is_before(const struct model *model, unsigned a, unsigned b)
{
    return model->streams[a].incremental ? model->streams[a].since < model->streams[b].since : a < b;
}

static int first_of(const struct model *model, unsigned urgency, bool incremental)
{
    int first = -1;
    for (unsigned i = 0; i < STREAMS; i++) {
        bool belongs = model->streams[i].waiting && model->streams[i].urgency == urgency &&
                       model->streams[i].incremental == incremental;
        if (belongs && (first < 0 || is_before(model, i, (unsigned)first)))
            first = (int)i;
    }
    return first;
}

static int model_next(const struct model *model)
{
    for (unsigned urgency = 0; urgency < HTTP2_URGENCIES; urgency++) {
        int sequential = first_of(model, urgency, false), incremental = first_of(model, urgency, true);
        if (sequential >= 0 && (incremental < 0 || !model->incremental_next[urgency]))
            return sequential;
        if (incremental >= 0)
            return incremental;
    }
    return -1;
}

static void model_end_turn(struct model *model, unsigned i)
{
    model->incremental_next[model->streams[i].urgency] = !model->streams[i].incremental;
    model->streams[i].turn_bytes = 0;
}

static void model_add(struct model *model, unsigned i)
{
    if (!model->streams[i].waiting)
        model->streams[i].since = ++model->now;
    model->streams[i].waiting = true;
}

static void model_remove(struct model *model, unsigned i)
{
    if (model->streams[i].waiting && model->streams[i].turn_bytes > 0)
        model_end_turn(model, i);
    model->streams[i].waiting = false;
}

static void model_change(struct model *model, unsigned i, struct http2_priority priority)
{
    bool waiting = model->streams[i].waiting;
    if (model->streams[i].urgency == priority.urgency && model->streams[i].incremental == priority.incremental)
        return;
    model_remove(model, i);
    model->streams[i].urgency = priority.urgency;
    model->streams[i].incremental = priority.incremental;
    if (waiting)
        model_add(model, i);
}

static void model_sent(struct model *model, unsigned i, uint32_t bytes)
{
    bool was_first = first_of(model, model->streams[i].urgency, model->streams[i].incremental) == (int)i;
    if (model->streams[i].waiting) {
        model->streams[i].turn_bytes += bytes;
        if (model->streams[i].turn_bytes < TURN)
            return;
    }
    model_end_turn(model, i);
    if (model->streams[i].waiting && was_first)
        model->streams[i].since = ++model->now;
}

static void assert_as_the_model(const struct http2_schedule *schedule, const struct model *model)
{
    uint32_t waiting_count = 0;
    for (unsigned i = 0; i < STREAMS; i++)
        waiting_count += model->streams[i].waiting;
    assert_int_equal(schedule->waiting_count, waiting_count);
    int expected = model_next(model);
    assert_int_equal(next_id(schedule), expected < 0 ? 0 : 1 + 2 * expected);
    for (unsigned urgency = 0; urgency < HTTP2_URGENCIES; urgency++) {
        bool waits = first_of(model, urgency, false) >= 0 || first_of(model, urgency, true) >= 0;
        assert_int_equal(schedule->occupied >> urgency & 1, waits);
    }
}

/* One random step for both. Mostly the next one is sent, as in life. */
static void step(struct http2_schedule *schedule, struct model *model, struct http2_turn *streams, unsigned *seed)
{
    unsigned i = (unsigned)rand_r(seed) % STREAMS;
    uint32_t bytes = (uint32_t)rand_r(seed) % (TURN + TURN / 2);
    struct http2_priority priority = {(uint8_t)(rand_r(seed) % HTTP2_URGENCIES), rand_r(seed) % 2 == 0};
    int next = model_next(model);
    switch (rand_r(seed) % 10) {
    case 0:
    case 1:
        http2_schedule_add(schedule, &streams[i]);
        model_add(model, i);
        break;
    case 2:
        http2_schedule_remove(schedule, &streams[i]);
        model_remove(model, i);
        break;
    case 3:
        http2_schedule_change(schedule, &streams[i], priority);
        model_change(model, i, priority);
        break;
    case 4:
        http2_schedule_sent(schedule, &streams[i], bytes);
        model_sent(model, i, bytes);
        break;
    default:
        if (next < 0)
            break;
        http2_schedule_sent(schedule, &streams[next], bytes);
        model_sent(model, (unsigned)next, bytes);
        break;
    }
}

static void any_sequence_of_calls_does_as_the_model_does(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct model model = {};
    struct http2_turn streams[STREAMS];
    unsigned seed = 20261122;
    for (unsigned i = 0; i < STREAMS; i++) {
        model.streams[i].urgency = i % 3 == 0 ? (uint8_t)(i % HTTP2_URGENCIES) : HTTP2_URGENCY_DEFAULT;
        model.streams[i].incremental = i % 4 == 0;
        streams[i] = stream(1 + 2 * i, model.streams[i].urgency, model.streams[i].incremental);
    }
    for (unsigned n = 0; n < STEPS; n++) {
        step(&schedule, &model, streams, &seed);
        assert_as_the_model(&schedule, &model);
    }
}

static void incremental_streams_get_equal_shares(void **state)
{
    (void)state;
    struct http2_schedule schedule = {};
    struct http2_turn streams[STREAMS];
    uint64_t shares[STREAMS] = {}, least = UINT64_MAX, most = 0;
    unsigned seed = 1;
    for (unsigned i = 0; i < STREAMS; i++) {
        streams[i] = stream(1 + 2 * i, 3, true);
        http2_schedule_add(&schedule, &streams[i]);
    }
    for (unsigned n = 0; n < STEPS; n++) {
        uint32_t bytes = 1 + (uint32_t)rand_r(&seed) % 4096;
        shares[serve(&schedule, bytes) / 2] += bytes;
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        least = shares[i] < least ? shares[i] : least;
        most = shares[i] > most ? shares[i] : most;
    }
    assert_true(most - least < most / 20); /* a turn ends with the frame that fills it, so not quite equal */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgency_and_incremental_are_read),
        cmocka_unit_test(absent_members_keep_what_was_there),
        cmocka_unit_test(members_out_of_range_or_of_another_type_are_ignored),
        cmocka_unit_test(unknown_members_and_parameters_are_passed_over),
        cmocka_unit_test(last_of_a_repeated_member_counts),
        cmocka_unit_test(what_is_no_dictionary_changes_nothing),
        cmocka_unit_test(value_over_its_bound_is_not_looked_at),
        cmocka_unit_test(nobody_is_next_where_nobody_waits),
        cmocka_unit_test(adding_and_removing_twice_is_harmless),
        cmocka_unit_test(most_urgent_is_first),
        cmocka_unit_test(sequential_streams_go_by_id_each_to_its_end),
        cmocka_unit_test(incremental_streams_take_turns),
        cmocka_unit_test(turn_is_over_when_its_octets_are_sent),
        cmocka_unit_test(both_kinds_take_turns),
        cmocka_unit_test(short_incremental_streams_do_not_starve_a_sequential_one),
        cmocka_unit_test(stream_that_left_before_it_was_counted_had_its_turn),
        cmocka_unit_test(stream_that_comes_back_stands_at_the_end_of_its_kind),
        cmocka_unit_test(change_moves_a_waiting_stream),
        cmocka_unit_test(change_of_nothing_keeps_the_turn),
        cmocka_unit_test(change_of_one_that_does_not_wait_counts_later),
        cmocka_unit_test(any_sequence_of_calls_does_as_the_model_does),
        cmocka_unit_test(incremental_streams_get_equal_shares),
    };
    return cmocka_run_group_tests_name("http2_priority", tests, NULL, NULL);
}
