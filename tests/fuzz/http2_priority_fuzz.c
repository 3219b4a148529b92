/*
 * Priorities: a value means the same with unknown members around it; a schedule keeps its order whatever is done to it.
 *
 * Input: one octet for what is tested, then the value, or the calls: an octet for the stream and what is done to it,
 * one for how.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/http2_priority.h"

enum { STREAMS = 16 };

/* The value -------------------------------------------------------------------------------------------------------- */

static struct http2_priority parse_between(const char *before, struct bytes value, const char *behind)
{
    struct http2_priority priority = {HTTP2_URGENCY_DEFAULT, false};
    size_t head = strlen(before), tail = strlen(behind), length = head + value.length + tail;
    uint8_t *text = malloc(length + (length == 0));
    assert(text);
    memcpy(text, before, head);
    if (value.length > 0)
        memcpy(text + head, value.data, value.length);
    memcpy(text + head + value.length, behind, tail);
    http2_priority_parse(bytes_of(text, length), &priority);
    free(text);
    assert(priority.urgency < HTTP2_URGENCIES);
    return priority;
}

static void assert_same(struct http2_priority a, struct http2_priority b)
{
    assert(a.urgency == b.urgency && a.incremental == b.incremental);
}

static void check_value(struct bytes value)
{
    static const char before[] = "x=(1 \"u=5\");y, ", behind[] = " ,\tz=:aQ==:";
    struct http2_priority priority = parse_between("", value, "");
    if (value.length + sizeof(before) + sizeof(behind) > HTTP2_PRIORITY_VALUE_MAX)
        return;
    assert_same(parse_between(" ", value, " "), priority);
    /* A tab may stand behind a comma, but not at the beginning. */
    size_t spaces = 0;
    while (spaces < value.length && value.data[spaces] == ' ')
        spaces++;
    if (spaces == value.length || value.data[spaces] != '\t')
        assert_same(parse_between(before, value, ""), priority);
    assert_same(parse_between("", value, behind), priority);
}

/* The schedule ----------------------------------------------------------------------------------------------------- */

static uint32_t check_ring(const struct http2_turn *first, unsigned urgency, bool incremental)
{
    uint32_t count = 0;
    const struct http2_turn *turn = first;
    if (!first)
        return 0;
    do {
        assert(turn->waiting && turn->priority.urgency == urgency && turn->priority.incremental == incremental);
        assert(turn->next->previous == turn && turn->previous->next == turn);
        assert(turn->turn_bytes < HTTP2_PRIORITY_TURN);
        assert(incremental || turn->next == first || turn->id < turn->next->id);
        turn = turn->next;
        count++;
        assert(count <= STREAMS);
    } while (turn != first);
    return count;
}

static void check_schedule(const struct http2_schedule *schedule)
{
    uint32_t count = 0;
    const struct http2_turn *next = http2_schedule_next(schedule);
    for (unsigned urgency = 0; urgency < HTTP2_URGENCIES; urgency++) {
        const struct http2_queue *queue = &schedule->queues[urgency];
        uint32_t here = check_ring(queue->sequential, urgency, false) + check_ring(queue->incremental, urgency, true);
        assert((schedule->occupied >> urgency & 1) == (here > 0));
        if (here > 0 && count == 0)
            assert(next == queue->sequential || next == queue->incremental);
        count += here;
    }
    assert(schedule->waiting_count == count && (next == NULL) == (count == 0));
}

static void call(struct http2_schedule *schedule, struct http2_turn *turn, unsigned what, uint8_t how)
{
    switch (what) {
    case 0:
        http2_schedule_add(schedule, turn);
        break;
    case 1:
        http2_schedule_remove(schedule, turn);
        break;
    case 2:
        http2_schedule_change(schedule, turn, (struct http2_priority){how % HTTP2_URGENCIES, how >= 128});
        break;
    default:
        http2_schedule_sent(schedule, turn, how * 1000U);
        break;
    }
}

static void check_calls(struct bytes calls)
{
    struct http2_schedule schedule = {};
    struct http2_turn streams[STREAMS] = {};
    for (unsigned i = 0; i < STREAMS; i++)
        streams[i] = (struct http2_turn){.id = 1 + 2 * i, .priority = {i % 4, i % 2 == 0}};
    for (; calls.length >= 2; calls = bytes_skip(calls, 2)) {
        uint8_t octet = calls.data[0];
        struct http2_turn *next = http2_schedule_next(&schedule);
        if (octet >= 128 && next)
            http2_schedule_sent(&schedule, next, calls.data[1] * 100U);
        else
            call(&schedule, &streams[octet % STREAMS], octet / STREAMS % 4, calls.data[1]);
        check_schedule(&schedule);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        check_value(bytes_of(data + 1, size - 1));
    else
        check_calls(bytes_of(data + 1, size - 1));
    return 0;
}
