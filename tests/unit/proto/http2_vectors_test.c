#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <ctype.h>

#include "guarded.h"
#include "proto/http2_connection.h"
#include "tests/unit/proto/vector_file.h"

/* Runs the text vectors of tests/vectors/http2, whose README explains their form. */

enum {
    LINE_BYTES = 256,
    LONG_BYTES = 1'200,
    LONG_EDGE = 50,
    LONG_STRIDE = 997,
    SHOWN_DATA_MAX = 60,
    MEMORY_BYTES = 4'096,
    FIELDS_MAX = 100,
    TAIL_BYTES = 4'096,
    WHOLE = 0,
    START_MS = 100'000
};
#define BY_OCTETS SIZE_MAX

/* Input in the order of the file: octets up to where an action stands, then the action. */
struct step {
    size_t input_end;
    char *action; /* NULL behind the last octets */
};

struct vector {
    const char *name;
    struct text input;
    struct text expected; /* lines as in the file */
    struct step *steps;
    size_t step_count;
    struct http2_limits limits;
    uint32_t tail_max;
    uint32_t next_id, same_id; /* while reading the file */
};

/* ---- the connection, and what a session does ----------------------------------------------------------------------
 */

struct scene {
    const struct vector *vector;
    struct http2_connection connection;
    struct http2_block block;
    struct guarded input, memory[2], tail[2]; /* of the block: one is in use */
    unsigned place;
    struct hpack_field fields[FIELDS_MAX];
    uint64_t now_ms;
    struct text data; /* of one stream, not yet noted */
    uint32_t data_id;
    enum http2_error refusal;
    uint32_t refusal_weight;
    bool refuse_next;
    bool over;
    struct text events;
    _Alignas(8) uint8_t decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES)];
    _Alignas(8) uint8_t encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES)];
};

static void note_data(struct scene *scene)
{
    struct text *data = &scene->data;
    if (data->length == 0)
        return;
    if (data->length <= SHOWN_DATA_MAX)
        text_print(&scene->events, "data %u \"%s\"\n", scene->data_id, data->data);
    else
        text_print(&scene->events, "data %u %zu octets\n", scene->data_id, data->length);
    data->length = 0;
}

static const char *const frame_names[] = {"DATA",         "HEADERS", "PRIORITY", "RST_STREAM",    "SETTINGS",
                                          "PUSH_PROMISE", "PING",    "GOAWAY",   "WINDOW_UPDATE", "CONTINUATION"};

static void note_frame(struct scene *scene, const struct http2_frame_head *head, const uint8_t *payload)
{
    struct text *events = &scene->events;
    text_print(events, "< %s", frame_names[head->type]);
    if (head->stream_id > 0)
        text_print(events, " %u", head->stream_id);
    if ((head->flags & HTTP2_FLAG_ACK) != 0)
        text_print(events, " ack");
    if (head->type == HTTP2_FRAME_RST_STREAM)
        text_print(events, " %s", http2_error_name(http2_get_uint32(payload)));
    if (head->type == HTTP2_FRAME_WINDOW_UPDATE)
        text_print(events, " %u", http2_get_uint32(payload));
    if (head->type == HTTP2_FRAME_PING)
        text_print(events, " %.8s", (const char *)payload);
    if (head->type == HTTP2_FRAME_GOAWAY)
        text_print(events, " %u %s", http2_get_uint32(payload), http2_error_name(http2_get_uint32(payload + 4)));
    text_print(events, "\n");
}

static void drain(struct scene *scene)
{
    struct http2_connection *connection = &scene->connection;
    const uint8_t *at = connection->output, *end = at + connection->output_used;
    if (at < end)
        note_data(scene);
    while (at < end) {
        struct http2_frame_head head;
        assert_true(end - at >= HTTP2_FRAME_HEAD_BYTES);
        http2_frame_read_head(at, &head);
        at += HTTP2_FRAME_HEAD_BYTES;
        assert_true(end - at >= head.length);
        note_frame(scene, &head, at);
        at += head.length;
    }
    connection->output_used = 0;
}

static struct http2_stream *stream_of(struct scene *scene, uint32_t id)
{
    struct http2_stream *stream = http2_connection_find(&scene->connection, id);
    if (stream == NULL)
        fail_msg("%s: no stream %u", scene->vector->name, id);
    return stream;
}

static void forget(struct scene *scene, struct http2_stream *stream)
{
    http2_connection_forget(&scene->connection, stream);
    free(stream);
}

static int64_t stated_length(const struct hpack_section *section)
{
    for (uint32_t i = 0; i < section->field_count; i++)
        if (section->fields[i].id == HTTP_FIELD_CONTENT_LENGTH)
            return strtoll((const char *)section->memory + section->fields[i].value_offset, NULL, 10);
    return -1;
}

static void on_head(struct scene *scene, const struct http2_event *event)
{
    const struct hpack_section *section = &scene->block.section;
    text_print(&scene->events, "%s %u, %u fields%s%s\n", event->stream != NULL ? "trailers" : "head", event->stream_id,
               section->field_count, section->overflowed ? ", overflowed" : "", event->end_stream ? ", end" : "");
    if (event->stream != NULL)
        return;
    if (scene->refuse_next) {
        http2_connection_refuse(&scene->connection, event->stream_id, scene->refusal, scene->refusal_weight,
                                scene->now_ms);
        scene->refuse_next = false;
        return;
    }
    struct http2_stream *stream = calloc(1, sizeof(*stream));
    assert_non_null(stream);
    http2_connection_open(&scene->connection, stream, event->stream_id, event->end_stream, stated_length(section));
}

static void on_data(struct scene *scene, const struct http2_event *event)
{
    if (scene->data_id != event->stream_id)
        note_data(scene);
    scene->data_id = event->stream_id;
    text_append(&scene->data, event->data.data, event->data.length);
    if (event->end_stream) {
        note_data(scene);
        text_print(&scene->events, "end %u\n", event->stream_id);
    }
}

static void on_event(struct scene *scene, const struct http2_event *event)
{
    struct text *events = &scene->events;
    if (event->kind == HTTP2_NEED_MORE || event->kind == HTTP2_DRAIN)
        return;
    if (event->kind == HTTP2_DATA) {
        on_data(scene, event);
        return;
    }
    note_data(scene);
    if (event->kind == HTTP2_HEAD) {
        on_head(scene, event);
    } else if (event->kind == HTTP2_RESET) {
        text_print(events, "reset %u %s%s\n", event->stream_id, http2_error_name(event->error),
                   event->by_us ? " by us" : "");
        forget(scene, event->stream);
    } else if (event->kind == HTTP2_WRITABLE) {
        text_print(events, "writable %u by %u\n", event->stream_id, event->increment);
    } else if (event->kind == HTTP2_PRIORITY) {
        text_print(events, "priority %u%s \"%.*s\"\n", event->stream_id, event->stream == NULL ? " idle" : "",
                   (int)event->data.length, (const char *)event->data.data);
    } else if (event->kind == HTTP2_GOAWAY_RECEIVED) {
        text_print(events, "goaway %s\n", http2_error_name(event->error));
    } else {
        text_print(events, "failed %s\n", http2_error_name(event->error));
        scene->over = true;
    }
}

/* Between feeds the memory of a block may move: it does, and where it was, or was not to be kept, is spoilt. */
static void move_block(struct scene *scene)
{
    struct http2_block *block = &scene->block;
    const struct guarded *memory = &scene->memory[!scene->place], *tail = &scene->tail[!scene->place];
    uint8_t *memory_at = memory->map + memory->room - MEMORY_BYTES;
    uint8_t *tail_at = tail->map + tail->room - block->tail_max;
    if (http2_connection_in_block(&scene->connection)) {
        memcpy(memory_at, block->section.memory, block->section.used);
        memcpy(tail_at, block->tail, block->tail_used);
    } else {
        block->section.used = block->section.field_count = block->section.seen_count = 0xdead;
        block->section.list_bytes = 0xdead;
        block->tail_used = 0xdead;
    }
    memset(scene->memory[scene->place].map, 0xee, scene->memory[scene->place].room);
    memset(scene->tail[scene->place].map, 0xee, scene->tail[scene->place].room);
    block->section.memory = memory_at;
    block->tail = tail_at;
    scene->place = !scene->place;
}

static void feed(struct scene *scene, const char *data, size_t length)
{
    const uint8_t *place = guarded_place(&scene->input, data, length);
    struct bytes input = bytes_of(place, length);
    struct http2_event event = {.kind = HTTP2_DRAIN};
    if (http2_connection_in_block(&scene->connection))
        move_block(scene);
    while (event.kind != HTTP2_NEED_MORE && !scene->over) {
        size_t consumed = SIZE_MAX;
        event = http2_connection_feed(&scene->connection, &scene->block, input, scene->now_ms, &consumed);
        assert_in_range(consumed, 0, input.length);
        assert_true(event.kind == HTTP2_FAILED || event.kind == HTTP2_DRAIN ||
                    HTTP2_OUTPUT_BYTES - scene->connection.output_used >= HTTP2_OUTPUT_ROOM);
        input = bytes_skip(input, consumed);
        assert_true(event.kind != HTTP2_NEED_MORE || input.length == 0);
        drain(scene);
        on_event(scene, &event);
        drain(scene);
    }
}

/* ---- actions ------------------------------------------------------------------------------------------------------
 */

static enum http2_error error_of(const char *name)
{
    for (uint32_t code = 0; code < 16; code++)
        if (strcmp(http2_error_name(code), name) == 0)
            return (enum http2_error)code;
    fail_msg("no such error: %s", name);
    return HTTP2_NO_ERROR;
}

static void end_response(struct scene *scene, uint32_t id)
{
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    http2_connection_data(&scene->connection, stream_of(scene, id), 0, true, head);
}

static void send_data(struct scene *scene, uint32_t id, uint32_t length)
{
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    http2_connection_data(&scene->connection, stream_of(scene, id), length, false, head);
}

static void take_time(struct scene *scene, uint32_t ms)
{
    scene->now_ms += ms;
    uint64_t deadline = http2_connection_deadline(&scene->connection);
    uint8_t state = scene->connection.state;
    http2_connection_on_time(&scene->connection, scene->now_ms);
    bool failed = state != scene->connection.state;
    assert_int_equal(failed, deadline > 0 && scene->now_ms >= deadline);
    scene->over |= failed;
}

static bool act_on_stream(struct scene *scene, const char *verb, uint32_t id, const char *word)
{
    if (strcmp(verb, "answer") == 0) {
        end_response(scene, id);
        forget(scene, stream_of(scene, id));
    } else if (strcmp(verb, "end") == 0) {
        end_response(scene, id);
    } else if (strcmp(verb, "send") == 0) {
        send_data(scene, id, (uint32_t)strtoul(word, NULL, 10));
    } else if (strcmp(verb, "forget") == 0) {
        forget(scene, stream_of(scene, id));
    } else if (strcmp(verb, "reset") == 0) {
        http2_connection_reset(&scene->connection, stream_of(scene, id), error_of(word));
        forget(scene, stream_of(scene, id));
    } else if (strcmp(verb, "consumed") == 0) {
        http2_connection_consumed(&scene->connection, id > 0 ? stream_of(scene, id) : NULL,
                                  (uint32_t)strtoul(word, NULL, 10));
    } else if (strcmp(verb, "sendable") == 0) {
        text_print(&scene->events, "sendable %u %u\n", id,
                   http2_connection_sendable(&scene->connection, stream_of(scene, id)));
    } else {
        return false;
    }
    return true;
}

static bool act_on_connection(struct scene *scene, const char *verb, uint32_t number, const char *word)
{
    struct http2_connection *connection = &scene->connection;
    if (strcmp(verb, "drain") == 0) {
        http2_connection_drain(connection);
    } else if (strcmp(verb, "drain_finally") == 0) {
        http2_connection_drain_finally(connection);
    } else if (strcmp(verb, "ping") == 0) {
        http2_connection_ping(connection, scene->now_ms);
    } else if (strcmp(verb, "time") == 0) {
        take_time(scene, number);
    } else if (strcmp(verb, "hold") == 0) {
        connection->held_count = number;
    } else if (strcmp(verb, "refuse") == 0) {
        scene->refuse_next = true;
        scene->refusal_weight = number;
        scene->refusal = error_of(word);
    } else if (strcmp(verb, "glitch") == 0) {
        scene->over |= !http2_connection_glitch(connection, number, scene->now_ms);
    } else if (strcmp(verb, "deadline") == 0) {
        uint64_t deadline = http2_connection_deadline(connection);
        text_print(&scene->events, "deadline %lld\n", deadline > 0 ? (long long)(deadline - scene->now_ms) : 0);
    } else {
        return false;
    }
    return true;
}

static void act(struct scene *scene, const char *action)
{
    char verb[32] = "", word[64] = "";
    unsigned number = 0;
    (void)sscanf(action, "%31s %u %63s", verb, &number, word);
    if (scene->over)
        return;
    note_data(scene);
    if (!act_on_stream(scene, verb, number, word) && !act_on_connection(scene, verb, number, word))
        fail_msg("%s: what is this action? %s", scene->vector->name, action);
    drain(scene);
    if (scene->over)
        text_print(&scene->events, "failed %s\n", http2_error_name(scene->connection.failure));
}

/* ---- a run --------------------------------------------------------------------------------------------------------
 */

static struct scene *scene_create(const struct vector *vector)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    scene->vector = vector;
    scene->now_ms = START_MS;
    scene->input = guarded_create(vector->input.length);
    for (int i = 0; i < 2; i++) {
        scene->memory[i] = guarded_create(MEMORY_BYTES);
        scene->tail[i] = guarded_create(TAIL_BYTES);
    }
    scene->block.section.fields = scene->fields;
    scene->block.section.fields_max = FIELDS_MAX;
    scene->block.section.memory_bytes = MEMORY_BYTES;
    scene->block.tail_max = vector->tail_max;
    text_append(&scene->events, "", 0);
    http2_connection_init(&scene->connection, &vector->limits, scene->decoder_memory, scene->encoder_memory,
                          scene->now_ms);
    scene->connection.output_used = 0;
    move_block(scene);
    return scene;
}

static char *scene_destroy(struct scene *scene)
{
    uint32_t count = 0;
    for (int i = 0; i < HTTP2_BUCKETS; i++) {
        for (struct http2_stream *stream = scene->connection.streams[i], *next; stream != NULL; stream = next) {
            next = stream->next;
            free(stream);
            count++;
        }
    }
    assert_int_equal(count, scene->connection.stream_count);
    guarded_destroy(&scene->input);
    for (int i = 0; i < 2; i++) {
        guarded_destroy(&scene->memory[i]);
        guarded_destroy(&scene->tail[i]);
    }
    char *events = scene->events.data;
    free(scene->data.data);
    free(scene);
    return events;
}

/* The input in two pieces, whole, or by octets; the events, to be freed. */
static char *run(const struct vector *vector, size_t cut)
{
    struct scene *scene = scene_create(vector);
    size_t at = 0;
    for (size_t i = 0; i < vector->step_count; i++) {
        const struct step *step = &vector->steps[i];
        while (at < step->input_end && !scene->over) {
            size_t piece = step->input_end - at;
            if (cut == BY_OCTETS)
                piece = 1;
            else if (at < cut && cut < step->input_end)
                piece = cut - at;
            feed(scene, vector->input.data + at, piece);
            at += piece;
        }
        if (step->action != NULL)
            act(scene, step->action);
    }
    note_data(scene);
    return scene_destroy(scene);
}

/* ---- comparing ----------------------------------------------------------------------------------------------------
 */

static bool same_line(const char *a, const char *b)
{
    return line_length(a) == line_length(b) && strncmp(a, b, line_length(a)) == 0;
}

static unsigned count_lines(const char *events, const char *prefix, size_t prefix_length)
{
    unsigned count = 0;
    for (const char *event = events; *event != '\0'; event = next_line(event))
        count += strncmp(event, prefix, prefix_length) == 0;
    return count;
}

/* "count LEAST MOST prefix" */
static void assert_count(const struct vector *vector, const char *expected, const char *events)
{
    unsigned least, most;
    int taken;
    if (sscanf(expected, "count %u %u %n", &least, &most, &taken) != 2)
        fail_msg("%s: what is this? %s", vector->name, expected);
    unsigned count = count_lines(events, expected + taken, line_length(expected + taken));
    if (count < least || count > most)
        fail_msg("%s: %u of %.*s", vector->name, count, (int)line_length(expected), expected);
}

static void assert_events(const struct vector *vector, const char *events)
{
    const char *event = events;
    bool skip = false;
    for (const char *expected = vector->expected.data; *expected != '\0'; expected = next_line(expected)) {
        if (begins_with(expected, "count ")) {
            assert_count(vector, expected, events);
            continue;
        }
        if (*expected == '~') {
            skip = true;
            continue;
        }
        const char *wanted = begins_with(expected, "= ") ? expected + 2 : expected;
        while (skip && *event != '\0' && !same_line(event, wanted))
            event = next_line(event);
        if (!same_line(event, wanted))
            fail_msg("%s: expected %.*s, events:\n%s", vector->name, (int)line_length(wanted), wanted, events);
        event = next_line(event);
        skip = false;
    }
    if (*event != '\0' && !skip)
        fail_msg("%s: unexpected %.*s, events:\n%s", vector->name, (int)line_length(event), event, events);
}

/* Every cut of a usual input; of a long one those at its edges and some between. */
static size_t next_cut(size_t cut, size_t length)
{
    if (length <= LONG_BYTES || cut < LONG_EDGE || cut + LONG_EDGE >= length)
        return cut + 1;
    size_t next = cut + LONG_STRIDE, edge = length - LONG_EDGE;
    return next > edge ? edge : next;
}

static void run_vector(void **state)
{
    const struct vector *vector = *state;
    char *whole = run(vector, WHOLE);
    assert_events(vector, whole);
    for (size_t cut = 1; cut <= vector->input.length; cut = next_cut(cut, vector->input.length)) {
        char *events = run(vector, cut == vector->input.length ? BY_OCTETS : cut);
        if (strcmp(events, whole) != 0)
            fail_msg("%s: cut at %zu gives\n%sinstead of\n%s", vector->name, cut, events, whole);
        free(events);
    }
    free(whole);
}

/* ---- reading the file: frames in words ----------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    uint8_t value;
} type_words[] = {{"DATA", 0},
                  {"HEADERS", 1},
                  {"PRIORITY", 2},
                  {"RST_STREAM", 3},
                  {"SETTINGS", 4},
                  {"PUSH_PROMISE", 5},
                  {"PING", 6},
                  {"GOAWAY", 7},
                  {"WINDOW_UPDATE", 8},
                  {"CONTINUATION", 9},
                  {"PRIORITY_UPDATE", 0x10}},
  flag_words[] = {{"end_stream", 1}, {"ack", 1}, {"end_headers", 4}, {"padded", 8}, {"priority", 0x20}},
  setting_words[] = {{"HEADER_TABLE_SIZE=", 1},       {"ENABLE_PUSH=", 2},           {"MAX_CONCURRENT_STREAMS=", 3},
                     {"INITIAL_WINDOW_SIZE=", 4},     {"MAX_FRAME_SIZE=", 5},        {"MAX_HEADER_LIST_SIZE=", 6},
                     {"ENABLE_CONNECT_PROTOCOL=", 8}, {"NO_RFC7540_PRIORITIES=", 9}, {"UNKNOWN=", 0xf0}};

/* Field blocks that leave the dynamic table alone. */
static const struct {
    const char *name;
    struct bytes block;
} block_words[] = {
    {"get", BYTES_LITERAL("\x82\x87\x84\x01\x01"
                          "a")},
    {"post", BYTES_LITERAL("\x83\x87\x84\x01\x01"
                           "a")},
    {"trailers", BYTES_LITERAL("\x00\x01"
                               "t"
                               "\x01"
                               "v")},
};

static void append_number(struct text *text, uint32_t number)
{
    uint8_t octets[4];
    http2_put_uint32(octets, number);
    text_append(text, octets, sizeof(octets));
}

static void append_many(struct text *text, unsigned long count)
{
    for (unsigned long i = 0; i < count; i++)
        text_append(text, "x", 1);
}

static bool append_setting(struct text *payload, const char *word)
{
    for (size_t i = 0; i < sizeof(setting_words) / sizeof(setting_words[0]); i++) {
        if (!begins_with(word, setting_words[i].name))
            continue;
        const uint8_t id[2] = {0, setting_words[i].value};
        text_append(payload, id, sizeof(id));
        append_number(payload, (uint32_t)strtoul(word + strlen(setting_words[i].name), NULL, 0));
        return true;
    }
    return false;
}

static bool append_block(struct text *payload, const char *word)
{
    for (size_t i = 0; i < sizeof(block_words) / sizeof(block_words[0]); i++) {
        if (strcmp(word, block_words[i].name) != 0)
            continue;
        text_append(payload, block_words[i].block.data, block_words[i].block.length);
        return true;
    }
    if (!begins_with(word, "content-length="))
        return false;
    const char *value = word + strlen("content-length=");
    const uint8_t start[] = {0x0f, 0x0d, (uint8_t)strlen(value)};
    text_append(payload, start, sizeof(start));
    text_append(payload, value, strlen(value));
    return true;
}

static void append_hex(struct text *payload, const char *word)
{
    assert_int_equal(strlen(word) % 2, 0);
    for (; *word != '\0'; word += 2) {
        char digits[3] = {word[0], word[1]}, *end;
        uint8_t octet = (uint8_t)strtoul(digits, &end, 16);
        assert_ptr_equal(end, digits + 2);
        text_append(payload, &octet, 1);
    }
}

static void append_payload(const struct vector *vector, struct text *payload, const char *word)
{
    if (*word == '"')
        text_append(payload, word + 1, strlen(word) - 2);
    else if (strcmp(word, "#same") == 0)
        append_number(payload, vector->same_id);
    else if (*word == '#')
        append_number(payload, (uint32_t)strtoul(word + 1, NULL, 0));
    else if (*word == '*')
        append_many(payload, strtoul(word + 1, NULL, 10));
    else if (!append_setting(payload, word) && !append_block(payload, word))
        append_hex(payload, word);
}

static void read_head_word(struct vector *vector, struct http2_frame_head *head, const char *word, bool *lies)
{
    for (size_t i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++) {
        if (strcmp(word, flag_words[i].name) == 0) {
            head->flags |= flag_words[i].value;
            return;
        }
    }
    if (strcmp(word, "next") == 0) {
        head->stream_id = vector->same_id = vector->next_id;
        vector->next_id += 2;
    } else if (strcmp(word, "same") == 0) {
        head->stream_id = vector->same_id;
    } else if (begins_with(word, "length=")) {
        head->length = (uint32_t)strtoul(word + 7, NULL, 0);
        *lies = true;
    } else if (begins_with(word, "flags=")) {
        head->flags |= (uint8_t)strtoul(word + 6, NULL, 0);
    } else {
        char *end;
        head->stream_id = (uint32_t)strtoul(word, &end, 0);
        if (*end != '\0')
            fail_msg("%s: what is this word? %s", vector->name, word);
    }
}

static uint8_t type_of(const char *word)
{
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++)
        if (strcmp(word, type_words[i].name) == 0)
            return type_words[i].value;
    return (uint8_t)strtoul(word, NULL, 0);
}

/* TYPE [STREAM] [flags] : payload */
static void append_frame(struct vector *vector, char *words)
{
    struct http2_frame_head head = {};
    struct text payload = {};
    bool in_payload = false, lies = false, first = true;
    text_append(&payload, "", 0);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        if (first)
            head.type = type_of(word);
        else if (strcmp(word, ":") == 0)
            in_payload = true;
        else if (in_payload)
            append_payload(vector, &payload, word);
        else
            read_head_word(vector, &head, word, &lies);
        first = false;
    }
    if (!lies)
        head.length = (uint32_t)payload.length;
    uint8_t octets[HTTP2_FRAME_HEAD_BYTES];
    http2_frame_write_head(&head, octets);
    text_append(&vector->input, octets, sizeof(octets));
    text_append(&vector->input, payload.data, payload.length);
    free(payload.data);
}

/* Frames with | between, "PREFACE", or "raw" and octets. */
static void append_frames(struct vector *vector, const char *line)
{
    char *copy = strdup(line), *rest = copy;
    assert_non_null(copy);
    for (char *part; (part = strsep(&rest, "|")) != NULL;) {
        while (*part == ' ')
            part++;
        if (begins_with(part, "PREFACE"))
            text_append(&vector->input, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP2_PREFACE_BYTES);
        else if (begins_with(part, "raw "))
            append_payload(vector, &vector->input, part + 4);
        else
            append_frame(vector, part);
    }
    free(copy);
}

static void append_repeated(struct vector *vector, const char *line)
{
    char *end;
    unsigned long count = strtoul(line, &end, 10);
    assert_int_equal(*end, ' ');
    for (unsigned long i = 0; i < count; i++)
        append_frames(vector, end + 1);
}

/* ---- reading the file: cases --------------------------------------------------------------------------------------
 */

static void set_limit(struct vector *vector, const char *name, unsigned long value)
{
#define LIMIT(field)                                                \
    if (strcmp(name, #field) == 0) {                                \
        vector->limits.field = (typeof(vector->limits.field))value; \
        return;                                                     \
    }
    LIMIT(max_concurrent_streams)
    LIMIT(initial_window_size)
    LIMIT(connection_window_size)
    LIMIT(max_frame_size)
    LIMIT(max_header_list_size)
    LIMIT(continuation_frames_max)
    LIMIT(max_requests_per_connection)
    LIMIT(enable_connect_protocol)
#undef LIMIT
    if (strcmp(name, "tail_max") != 0 || value > TAIL_BYTES)
        fail_msg("no such limit: %s", name);
    vector->tail_max = (uint32_t)value;
}

static void read_limits(struct vector *vector, const char *line)
{
    char name[64];
    unsigned long value;
    int taken;
    for (; sscanf(line, " %63[a-z_]=%lu%n", name, &value, &taken) == 2; line += taken)
        set_limit(vector, name, value);
    assert_int_equal(*line, '\0');
}

static void *vector_create(const char *name)
{
    struct vector *vector = calloc(1, sizeof(*vector));
    assert_non_null(vector);
    vector->name = name;
    vector->limits = (struct http2_limits){.max_concurrent_streams = 100,
                                           .initial_window_size = 65'535,
                                           .connection_window_size = 65'535,
                                           .max_frame_size = 16'384,
                                           .max_header_list_size = 65'536,
                                           .continuation_frames_max = 8};
    vector->tail_max = TAIL_BYTES;
    vector->next_id = 1;
    text_append(&vector->input, "", 0);
    text_append(&vector->expected, "", 0);
    return vector;
}

static void vector_destroy(void *owned)
{
    struct vector *vector = owned;
    for (size_t i = 0; i < vector->step_count; i++)
        free(vector->steps[i].action);
    free(vector->steps);
    free(vector->input.data);
    free(vector->expected.data);
    free(vector);
}

static void append_step(struct vector *vector, const char *action)
{
    vector->steps = realloc(vector->steps, (vector->step_count + 1) * sizeof(*vector->steps));
    assert_non_null(vector->steps);
    vector->steps[vector->step_count++] =
        (struct step){.input_end = vector->input.length, .action = action != NULL ? strdup(action) : NULL};
}

static void read_line(void *read, char *line)
{
    struct vector *vector = read;
    if (begins_with(line, "limits "))
        read_limits(vector, line + strlen("limits "));
    else if (strcmp(line, "hello") == 0) {
        append_frames(vector, "PREFACE | SETTINGS");
        text_print(&vector->expected, "< SETTINGS ack\n");
    } else if (begins_with(line, ">*"))
        append_repeated(vector, line + 2);
    else if (begins_with(line, "> "))
        append_frames(vector, line + 2);
    else if (begins_with(line, "! "))
        append_step(vector, line + 2);
    else if (strchr("=<~", line[0]) != NULL || begins_with(line, "count "))
        text_print(&vector->expected, "%s\n", line);
    else
        fail_msg("%s: what is this line? %s", vector->name, line);
}

static void end_input(void *vector)
{
    append_step(vector, NULL);
}

int main(void)
{
    static const struct vector_kind kind = {
        .name = "http2_vectors",
        .directory = TESTS_DIR "/vectors/http2",
        .run = run_vector,
        .create = vector_create,
        .read_line = read_line,
        .finish = end_input,
        .destroy = vector_destroy,
    };
    return vector_files_run(&kind);
}
