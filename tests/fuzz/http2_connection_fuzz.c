/*
 * HTTP/2 connections: frames that the input describes, cut where it says, and a session that opens, refuses, answers,
 * resets and forgets as a random sequence has it.
 *
 * Input: one octet of flags, one of limits, two of seed, then octets as they are, or records that become frames.
 * Where the session acts on whole frames only, another run over uncut octets must tell the same.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/http2_connection.h"

enum {
    FLAG_RAW = 1,     /* octets, not records */
    FLAG_CHAOS = 2,   /* the session also acts between pieces of DATA */
    FLAG_OCTETS = 4,  /* cut everywhere, up to OCTETS_MAX */
    FLAG_GREETED = 8, /* preface and SETTINGS come first */
};

enum {
    HEAD_BYTES = 4,
    INPUT_MAX = 1 << 17,
    OCTETS_MAX = 4'096,
    MEMORY_BYTES = 2'048,
    FIELDS_MAX = 20,
    TAIL_BYTES = HTTP2_BLOCK_BYTES
};

static const struct http2_limits limits_of_choice[] = {
    {100, 65'535, 65'535, 16'384, 65'536, 8, 0, false},
    {3, 100, 1'000'000, 16'384, 200, 2, 5, true},
    {1, 1, 65'535, 20'000, 0, 0, 0, true},
    {5, 2'147'483'647, 2'147'483'647, 16'777'215, 4'096, 100, 0, false},
};

struct member {
    struct http2_stream protocol; /* first */
    uint64_t outstanding;         /* received, not consumed */
};

struct scene {
    struct http2_connection connection;
    struct http2_block block;
    struct hpack_field fields[FIELDS_MAX];
    uint8_t memory[MEMORY_BYTES], tail[TAIL_BYTES];
    _Alignas(8) uint8_t decoder_memory[HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES)];
    _Alignas(8) uint8_t encoder_memory[HPACK_TABLE_MEMORY(HPACK_ENCODER_BYTES)];
    uint64_t now_ms, random, told; /* told: a hash of all events and output */
    int64_t window, outstanding;   /* of the connection; outstanding of streams that are gone as well */
    bool chaos;
};

static uint32_t draw(struct scene *scene, uint32_t below)
{
    scene->random = scene->random * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(scene->random >> 33) % below;
}

static void tell(struct scene *scene, const void *data, size_t length)
{
    for (const uint8_t *at = data, *end = at + length; at < end; at++)
        scene->told = (scene->told ^ *at) * 0x100000001b3;
}

static void tell_number(struct scene *scene, uint32_t number)
{
    tell(scene, &number, sizeof(number));
}

/* What the engine says is whole frames. */
static void drain(struct scene *scene)
{
    struct http2_connection *connection = &scene->connection;
    assert(connection->output_used <= HTTP2_OUTPUT_BYTES);
    for (uint32_t at = 0; at < connection->output_used;) {
        struct http2_frame_head head;
        assert(connection->output_used - at >= HTTP2_FRAME_HEAD_BYTES);
        http2_frame_read_head(connection->output + at, &head);
        at += HTTP2_FRAME_HEAD_BYTES + head.length;
        assert(at <= connection->output_used);
        assert(http2_frame_check(&head, HTTP2_MAX_FRAME_SIZE_MIN) == HTTP2_NO_ERROR);
    }
    tell(scene, connection->output, connection->output_used);
    connection->output_used = 0;
}

static struct member *any_member(struct scene *scene)
{
    uint32_t start = draw(scene, HTTP2_BUCKETS);
    for (uint32_t i = 0; i < HTTP2_BUCKETS; i++) {
        struct http2_stream *stream = scene->connection.streams[(start + i) % HTTP2_BUCKETS];
        if (stream != NULL)
            return (struct member *)stream;
    }
    return NULL;
}

static void part(struct scene *scene, struct member *member)
{
    http2_connection_forget(&scene->connection, &member->protocol);
    free(member);
}

/* Octets of those that are gone are consumed by the connection. */
static void consume(struct scene *scene, struct member *member)
{
    uint32_t octets = draw(scene, 40'000);
    int64_t most = member != NULL && draw(scene, 4) > 0 ? (int64_t)member->outstanding : 0;
    struct http2_stream *stream = most > 0 ? &member->protocol : NULL;
    if (stream == NULL) {
        most = scene->outstanding;
        for (int i = 0; i < HTTP2_BUCKETS; i++)
            for (struct http2_stream *at = scene->connection.streams[i]; at != NULL; at = at->next)
                most -= (int64_t)((struct member *)at)->outstanding;
    }
    assert(most >= 0);
    if (octets > most)
        octets = (uint32_t)most;
    if (stream != NULL)
        member->outstanding -= octets;
    scene->outstanding -= octets;
    http2_connection_consumed(&scene->connection, stream, octets);
}

static void send_data(struct scene *scene, struct member *member, bool end)
{
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    uint8_t state = member->protocol.state;
    if (state == HTTP2_STREAM_CLOSED || state == HTTP2_STREAM_HALF_CLOSED_LOCAL)
        return;
    uint32_t length = http2_connection_sendable(&scene->connection, &member->protocol);
    assert(length <= HTTP2_WINDOW_MAX);
    if (length > scene->connection.peer_max_frame)
        length = scene->connection.peer_max_frame;
    length = draw(scene, length + 1);
    http2_connection_data(&scene->connection, &member->protocol, length, end, head);
    tell(scene, head, sizeof(head));
}

static void act_on_stream(struct scene *scene, struct member *member)
{
    switch (draw(scene, 6)) {
    case 0:
        http2_connection_reset(&scene->connection, &member->protocol, HTTP2_INTERNAL_ERROR);
        part(scene, member);
        return;
    case 1:
        send_data(scene, member, true);
        part(scene, member);
        return;
    case 2:
        part(scene, member);
        return;
    default:
        send_data(scene, member, draw(scene, 4) == 0);
        return;
    }
}

static void act(struct scene *scene)
{
    struct member *member = any_member(scene);
    switch (draw(scene, 24)) {
    case 0:
        http2_connection_drain(&scene->connection);
        break;
    case 1:
        http2_connection_drain_finally(&scene->connection);
        break;
    case 2:
        http2_connection_ping(&scene->connection, scene->now_ms);
        break;
    case 3:
        scene->now_ms += draw(scene, 3'000);
        http2_connection_on_time(&scene->connection, scene->now_ms);
        break;
    case 4:
        scene->connection.held_count = draw(scene, 3);
        break;
    case 5:
        tell_number(scene, http2_connection_glitch(&scene->connection, draw(scene, 20), scene->now_ms));
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        consume(scene, member);
        break;
    case 10:
    case 11:
    case 12:
        if (member != NULL)
            act_on_stream(scene, member);
        break;
    default:
        break;
    }
    drain(scene);
}

static void check_section(const struct scene *scene)
{
    const struct hpack_section *section = &scene->block.section;
    assert(section->used <= MEMORY_BYTES && section->field_count <= FIELDS_MAX);
    for (uint32_t i = 0; i < section->field_count; i++) {
        const struct hpack_field *field = &section->fields[i];
        assert((uint64_t)field->name_offset + field->name_length <= section->used);
        assert((uint64_t)field->value_offset + field->value_length <= section->used);
    }
    assert(section->seen_count < HTTP2_FIELDS_SEEN_MAX);
    assert(section->list_bytes <= 4 * (uint64_t)scene->connection.limits->max_header_list_size);
}

static void on_head(struct scene *scene, const struct http2_event *event)
{
    struct http2_connection *connection = &scene->connection;
    check_section(scene);
    tell(scene, scene->block.section.memory, scene->block.section.used);
    if (event->stream != NULL) {
        assert(event->end_stream);
        return;
    }
    assert(event->stream_id > connection->accepted_stream_id && event->stream_id % 2 == 1);
    assert(connection->stream_count + connection->held_count < connection->limits->max_concurrent_streams);
    if (draw(scene, 4) == 0) {
        http2_connection_refuse(connection, event->stream_id, HTTP2_PROTOCOL_ERROR, draw(scene, 20), scene->now_ms);
        return;
    }
    struct member *member = calloc(1, sizeof(*member));
    assert(member);
    int64_t length = draw(scene, 3) == 0 ? (int64_t)draw(scene, 300) : -1;
    http2_connection_open(connection, &member->protocol, event->stream_id, event->end_stream, length);
}

static void on_event(struct scene *scene, const struct http2_event *event, struct bytes input)
{
    struct member *member = (struct member *)event->stream;
    if (member != NULL)
        assert(http2_connection_find(&scene->connection, event->stream_id) == event->stream);
    if (event->kind == HTTP2_DATA) {
        assert(event->data.length == 0 ||
               (event->data.data >= input.data && event->data.data + event->data.length <= input.data + input.length));
        member->outstanding += event->data.length;
        scene->outstanding += (int64_t)event->data.length;
        tell(scene, event->data.data, event->data.length);
    }
    if (event->kind != HTTP2_DATA || event->end_stream) {
        const uint32_t numbers[] = {event->kind, event->stream_id, event->error, event->end_stream, event->by_us};
        tell(scene, numbers, sizeof(numbers));
    }
    if (event->kind == HTTP2_HEAD)
        on_head(scene, event);
    if (event->kind == HTTP2_RESET)
        part(scene, member);
    if (event->kind == HTTP2_PRIORITY)
        tell(scene, event->data.data, event->data.length);
    drain(scene);
    if (event->kind != HTTP2_DATA || scene->chaos)
        act(scene);
}

/* No octet of the connection's window is ever lost, or given twice. */
static void check_balance(const struct scene *scene)
{
    const struct http2_connection *connection = &scene->connection;
    const struct http2_reader *reader = &connection->reader;
    uint32_t count = 0;
    for (int i = 0; i < HTTP2_BUCKETS; i++)
        for (const struct http2_stream *stream = connection->streams[i]; stream != NULL; stream = stream->next)
            count++;
    assert(count == connection->stream_count && count <= connection->limits->max_concurrent_streams);
    if (connection->state == HTTP2_FAILED_STATE)
        return;
    bool in_data = reader->stage == HTTP2_STAGE_PAYLOAD && reader->frame.type == HTTP2_FRAME_DATA;
    int64_t coming = in_data ? reader->payload_left : 0;
    assert(connection->receive_window >= 0 && connection->send_window <= HTTP2_WINDOW_MAX);
    assert(connection->receive_window + connection->unannounced + scene->outstanding + coming == scene->window);
}

static bool feed(struct scene *scene, struct bytes piece)
{
    uint8_t *copy = malloc(piece.length + (piece.length == 0));
    assert(copy);
    memcpy(copy, piece.data, piece.length);
    struct bytes input = bytes_of(copy, piece.length);
    struct http2_event event = {.kind = HTTP2_DRAIN};
    while (event.kind != HTTP2_NEED_MORE && event.kind != HTTP2_FAILED) {
        size_t consumed;
        event = http2_connection_feed(&scene->connection, &scene->block, input, scene->now_ms, &consumed);
        assert(consumed <= input.length && (event.kind != HTTP2_NEED_MORE || consumed == input.length));
        assert(event.kind == HTTP2_DRAIN || event.kind == HTTP2_FAILED ||
               HTTP2_OUTPUT_BYTES - scene->connection.output_used >= HTTP2_OUTPUT_ROOM);
        drain(scene);
        if (event.kind != HTTP2_NEED_MORE && event.kind != HTTP2_DRAIN)
            on_event(scene, &event, input);
        check_balance(scene);
        input = bytes_skip(input, consumed);
    }
    free(copy);
    return event.kind != HTTP2_FAILED;
}

static void destroy_streams(struct scene *scene)
{
    for (struct member *member; (member = any_member(scene)) != NULL;) {
        scene->connection.output_used = 0;
        part(scene, member);
    }
    assert(scene->connection.stream_count == 0);
}

static uint64_t run(const uint8_t head[HEAD_BYTES], struct bytes input, bool cut)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert(scene);
    const struct http2_limits *limits = &limits_of_choice[head[1] % 4];
    scene->block = (struct http2_block){
        .section = {.memory = scene->memory, .memory_bytes = MEMORY_BYTES, .fields = scene->fields},
        .tail = scene->tail,
        .tail_max = TAIL_BYTES,
    };
    scene->block.section.fields_max = FIELDS_MAX;
    scene->chaos = (head[0] & FLAG_CHAOS) != 0;
    scene->random = (uint64_t)head[2] << 8 | head[3];
    scene->now_ms = 1'000;
    uint64_t cuts = scene->random;
    http2_connection_init(&scene->connection, limits, scene->decoder_memory, scene->encoder_memory, scene->now_ms);
    scene->window = scene->connection.receive_window;
    drain(scene);
    const uint8_t *begin = input.data;
    bool goes_on = true;
    while (input.length > 0 && goes_on) {
        cuts = cuts * 6364136223846793005 + 1442695040888963407;
        bool single = (head[0] & FLAG_OCTETS) != 0 && input.data - begin < OCTETS_MAX;
        size_t piece = single ? 1 : 1 + (cuts >> 33) % ((cuts >> 60) == 0 ? 5'000 : 40);
        if (!cut || piece > input.length)
            piece = input.length;
        goes_on = feed(scene, bytes_of(input.data, piece));
        input = bytes_skip(input, piece);
    }
    uint64_t told = scene->told;
    destroy_streams(scene);
    free(scene);
    return told;
}

/* Records: type, flags, stream, length, payload. The length 255 lies, in the direction that the stream's top bits say;
 * 254 is a long payload of one octet. */
static size_t build(const uint8_t *data, size_t size, uint8_t *out)
{
    static const uint8_t types[] = {0, 1, 2, 3, 4, 6, 7, 8, 9, 0x10, 0, 1, 1, 8, 3, 0};
    size_t used = 0;
    while (size >= 4 && used + 20'000 < INPUT_MAX) {
        struct http2_frame_head head = {.type = data[0] < 16 ? types[data[0]] : data[0] & 0x1f,
                                        .flags = data[1],
                                        .stream_id = data[2] == 255 ? HTTP2_STREAM_ID_MAX : data[2] & 0x3f};
        size_t length = data[3] >= 254 ? 0 : data[3], filler = data[3] == 254 ? 16'384 : 0;
        uint8_t lie = data[3] == 255 ? data[2] >> 6 : 0;
        data += 4;
        size -= 4;
        if (length > size)
            length = size;
        head.length = (uint32_t)(length + filler + lie);
        http2_frame_write_head(&head, out + used);
        used += HTTP2_FRAME_HEAD_BYTES;
        memcpy(out + used, data, length);
        memset(out + used + length, 'x', filler);
        used += length + filler;
        data += length;
        size -= length;
    }
    return used;
}

static size_t greet(uint8_t *out)
{
    static const char greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    memcpy(out, greeting, sizeof(greeting));
    return sizeof(greeting); /* the last octet of the stream's id is the string's end */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES || size > INPUT_MAX / 2)
        return 0;
    static uint8_t octets[INPUT_MAX];
    const uint8_t *rest = data + HEAD_BYTES;
    size_t length = (data[0] & FLAG_GREETED) != 0 ? greet(octets) : 0;
    if ((data[0] & FLAG_RAW) != 0) {
        memcpy(octets + length, rest, size - HEAD_BYTES);
        length += size - HEAD_BYTES;
    } else {
        length += build(rest, size - HEAD_BYTES, octets + length);
    }
    uint64_t told = run(data, bytes_of(octets, length), true);
    if ((data[0] & FLAG_CHAOS) == 0)
        assert(told == run(data, bytes_of(octets, length), false));
    return 0;
}
