/*
 * HTTP/2 requests: whatever the fields of a section are, a head that is accepted keeps the promises of http2_request.h,
 * and so do trailers; more room than is needed changes nothing.
 *
 * Input: one octet for the limits, one for flags, then fields: an octet that names one of the names below or, above
 * those, says how long the name is that follows; an octet for the length of the value; the value.
 */
#include <assert.h>
#include <stdlib.h>

#include "proto/http2_request.h"

enum { FIELDS_MAX = 64, FIELDS_CAPACITY = 65, NAME_BYTES_MAX = 64, ROOM_BYTES = 20'000 };

enum { FLAG_END_STREAM = 1 << 0, FLAG_OVERFLOWED = 1 << 1 };

static const char *const names[] = {
    ":method", ":scheme", ":path",          ":authority",        ":protocol", ":status",    "host",
    "cookie",  "te",      "content-length", "content-type",      "expect",    "priority",   "connection",
    "trailer", "upgrade", "keep-alive",     "transfer-encoding", "accept",    "user-agent", "x-forwarded-for",
    "x_under",
};

enum { NAMES = sizeof(names) / sizeof(names[0]) };

static const struct http2_request_limits limits_of_choice[] = {
    {.request_line_max = 8190,
     .field_size_max = 8190,
     .field_count_max = 64,
     .method_bytes_max = 32,
     .is_secure = true},
    {.request_line_max = 30,
     .field_size_max = 8190,
     .field_count_max = 64,
     .method_bytes_max = 5,
     .body_bytes_max = 10,
     .refuse_underscore_names = true},
    {.request_line_max = 8190,
     .field_size_max = 20,
     .field_count_max = 3,
     .method_bytes_max = 32,
     .connect_protocol = true,
     .scheme_trusted = true},
    {.request_line_max = 8190,
     .field_size_max = 8190,
     .field_count_max = 64,
     .method_bytes_max = 32,
     .connect_protocol = true,
     .is_secure = true},
};

/* A section as HPACK leaves it, in memory of exactly the size of what is decoded and the room behind. */
struct decoded {
    struct hpack_section section;
    struct hpack_field fields[FIELDS_MAX];
};

static struct bytes take(struct bytes *input, size_t length)
{
    struct bytes taken = bytes_of(input->data, length < input->length ? length : input->length);
    *input = bytes_skip(*input, taken.length);
    return taken;
}

static size_t take_octet(struct bytes *input)
{
    struct bytes taken = take(input, 1);
    return taken.length > 0 ? taken.data[0] : 0;
}

static uint32_t put(struct hpack_section *section, struct bytes text)
{
    if (text.length > 0)
        memcpy(section->memory + section->used, text.data, text.length);
    section->used += (uint32_t)text.length;
    return section->used - (uint32_t)text.length;
}

static void add_field(struct decoded *decoded, struct bytes name, struct bytes value)
{
    struct hpack_section *section = &decoded->section;
    section->fields[section->field_count++] = (struct hpack_field){
        .name_offset = put(section, name),
        .name_length = (uint32_t)name.length,
        .value_offset = put(section, value),
        .value_length = (uint32_t)value.length,
        .id = (uint16_t)http_field_id_of(name),
    };
    section->seen_count++;
    section->list_bytes += name.length + value.length + HPACK_FIELD_OVERHEAD;
}

static void decode(struct decoded *decoded, struct bytes input, bool overflowed)
{
    decoded->section = (struct hpack_section){.fields = decoded->fields, .fields_max = FIELDS_MAX};
    decoded->section.memory = malloc(ROOM_BYTES + FIELDS_MAX * (NAME_BYTES_MAX + 256));
    assert(decoded->section.memory);
    decoded->section.overflowed = overflowed;
    while (input.length > 0 && decoded->section.field_count < FIELDS_MAX) {
        size_t choice = take_octet(&input);
        struct bytes name =
            choice < NAMES ? bytes_of_string(names[choice]) : take(&input, (choice - NAMES) % NAME_BYTES_MAX);
        add_field(decoded, name, take(&input, take_octet(&input)));
    }
}

/* Moves the section to memory that ends `room` octets behind what was decoded. */
static struct hpack_section with_room(const struct decoded *decoded, uint32_t room)
{
    struct hpack_section section = decoded->section;
    section.memory_bytes = section.used + room;
    section.memory = malloc(section.memory_bytes + (section.memory_bytes == 0));
    assert(section.memory);
    memcpy(section.memory, decoded->section.memory, section.used);
    return section;
}

static void assert_inside(const struct hpack_section *section, struct bytes span)
{
    assert(span.data >= section->memory && span.data + span.length <= section->memory + section->used);
}

static void assert_field(const struct hpack_section *section, const struct http_field *field)
{
    assert_inside(section, field->name);
    assert_inside(section, field->value);
    assert(http_token_valid(field->name) && http_field_value_valid(field->value));
    assert(bytes_equal(http_trim(field->value), field->value) || field->id == HTTP_FIELD_COOKIE);
    assert(field->id == http_field_id_of(field->name));
    for (size_t i = 0; i < field->name.length; i++)
        assert(field->name.data[i] == bytes_lower(field->name.data[i]));
    assert(field->has_underscore == (memchr(field->name.data, '_', field->name.length) != NULL));
    assert(field->id != HTTP_FIELD_CONNECTION && field->id != HTTP_FIELD_KEEP_ALIVE);
    assert(field->id != HTTP_FIELD_PROXY_CONNECTION && field->id != HTTP_FIELD_UPGRADE);
    assert(field->id != HTTP_FIELD_TRANSFER_ENCODING);
    assert(field->id != HTTP_FIELD_TE || bytes_equal_lower(field->value, BYTES_LITERAL("trailers")));
}

static void assert_fields(const struct hpack_section *section, const struct http_head *head)
{
    unsigned counts[HTTP_FIELD_COUNT] = {};
    for (uint32_t i = 0; i < head->field_count; i++) {
        assert_field(section, &head->fields[i]);
        counts[head->fields[i].id]++;
    }
    assert(head->fields[0].id == HTTP_FIELD_HOST && bytes_equal(head->fields[0].value, head->host));
    assert(counts[HTTP_FIELD_HOST] == 1 && counts[HTTP_FIELD_COOKIE] <= 1);
    assert(counts[HTTP_FIELD_CONTENT_LENGTH] == (head->body_kind == HTTP_BODY_LENGTH));
    assert(counts[HTTP_FIELD_CONTENT_TYPE] <= 1);
    assert(head->te_trailers == (counts[HTTP_FIELD_TE] > 0));
    assert(head->expect_continue == (counts[HTTP_FIELD_EXPECT] > 0));
}

static void assert_promises(const struct hpack_section *section, const struct http2_request *request,
                            const struct http2_request_limits *limits, bool end_stream)
{
    const struct http_head *head = &request->head;
    const struct bytes spans[] = {head->method, head->target, head->path, head->query, head->host};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        assert_inside(section, spans[i]);
    assert(head->version == HTTP_VERSION_2 && !section->overflowed);
    assert(http_token_valid(head->method) && head->method.length <= limits->method_bytes_max);
    assert(head->method.length + head->target.length + 10 <= limits->request_line_max);
    assert(head->path.data == head->target.data);
    assert(head->path.data[0] == '/' || (head->path.data[0] == '*' && head->target.length == 1));
    for (size_t i = 0; i < head->target.length; i++)
        assert(head->target.data[i] > ' ' && head->target.data[i] < 0x7f && head->target.data[i] != '#');
    assert(head->host.length > 0 && http_host_valid(head->host));
    assert(memchr(head->host.data, '@', head->host.length) == NULL);
    assert(head->target_is_https == limits->is_secure || limits->scheme_trusted);
    bool is_connect = bytes_equal(head->method, BYTES_LITERAL("CONNECT"));
    assert(is_connect == (head->protocol.length > 0) && (!is_connect || limits->connect_protocol));
    assert(head->field_count >= 1 && head->field_count <= limits->field_count_max + 1);
    assert(!end_stream || head->body_kind == HTTP_BODY_NONE || head->content_length == 0);
    assert(end_stream || head->body_kind != HTTP_BODY_NONE);
    assert(limits->body_bytes_max == 0 || head->content_length <= limits->body_bytes_max);
    assert(request->urgency < 8);
    assert_fields(section, head);
}

static enum http2_request_verdict check_request(const struct decoded *decoded, uint32_t room,
                                                const struct http2_request_limits *limits, bool end_stream,
                                                struct http2_request *request, uint32_t *ret_used)
{
    struct http_field fields[FIELDS_CAPACITY];
    struct hpack_section section = with_room(decoded, room);
    enum http2_request_verdict verdict =
        http2_request_read(request, limits, &section, end_stream, fields, FIELDS_CAPACITY);
    assert(memcmp(section.memory, decoded->section.memory, decoded->section.used) == 0);
    if (verdict == HTTP2_REQUEST_GOOD)
        assert_promises(&section, request, limits, end_stream);
    else
        assert(request->reason && (request->status != 0) == (verdict == HTTP2_REQUEST_REFUSED));
    *ret_used = section.used - decoded->section.used;
    free(section.memory);
    return verdict;
}

static void check_trailers(const struct decoded *decoded)
{
    struct http_field fields[FIELDS_CAPACITY];
    uint32_t count = 0;
    struct hpack_section section = with_room(decoded, 0);
    if (http2_request_trailers(&section, fields, 50, &count) == HTTP2_REQUEST_GOOD) {
        assert(count <= 50 && !section.overflowed);
        for (uint32_t i = 0; i < count; i++) {
            assert_field(&section, &fields[i]);
            assert(fields[i].id != HTTP_FIELD_CONTENT_LENGTH && fields[i].id != HTTP_FIELD_HOST);
        }
    }
    free(section.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct http2_request_limits *limits = &limits_of_choice[data[0] % 4];
    bool end_stream = (data[1] & FLAG_END_STREAM) != 0;
    struct decoded decoded;
    struct http2_request request, again;
    uint32_t used, used_again;
    decode(&decoded, bytes_of(data + 2, size - 2), (data[1] & FLAG_OVERFLOWED) != 0);

    enum http2_request_verdict verdict = check_request(&decoded, ROOM_BYTES, limits, end_stream, &request, &used);
    enum http2_request_verdict tight = check_request(&decoded, used, limits, end_stream, &again, &used_again);
    assert(tight == verdict && used_again == used && again.status == request.status && again.reason == request.reason);
    if (verdict == HTTP2_REQUEST_GOOD) {
        verdict = check_request(&decoded, used - 1, limits, end_stream, &again, &used_again);
        assert(verdict == HTTP2_REQUEST_REFUSED && again.status == 431);
    }
    check_trailers(&decoded);
    free(decoded.section.memory);
    return 0;
}
