#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http1_body.h"
#include "proto/http1_request.h"
#include "tests/unit/proto/vector_file.h"

/* Runs the text vectors of tests/vectors/http1, whose README explains their form. */

enum { LONG_BYTES = 8000, LONG_EDGE = 300, LONG_STRIDE = 997, SHOWN_BODY_MAX = 100, FIELDS_CAPACITY = 128 };

struct vector {
    const char *name;
    struct text input;
    struct text expected; /* lines as in the file */
    struct http1_limits limits;
    struct http1_body_limits body_limits;
};

static void text_escape(struct text *text, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\r' || data[i] == '\n' || data[i] == '\t')
            text_print(text, "\\%c", data[i] == '\r' ? 'r' : data[i] == '\n' ? 'n' : 't');
        else if (data[i] == '\\')
            text_print(text, "\\\\");
        else if (data[i] < 0x20 || data[i] >= 0x7f)
            text_print(text, "\\x%02x", data[i]);
        else
            text_append(text, &data[i], 1);
    }
}

/* The connection: parsers bound together as a session does it ---------------------------------------------------- */

struct connection {
    const struct vector *vector;
    struct guarded memory;
    uint8_t *window; /* octets received and not yet taken */
    size_t window_length;
    enum { IN_HEAD, IN_BODY, OVER } stage;
    struct http1_request request;
    struct http_field fields[FIELDS_CAPACITY];
    struct http1_body body;
    struct text decoded;
    struct text events;
};

static uint8_t percent_decoded(struct bytes *rest)
{
    char digits[3] = {};
    uint8_t octet = rest->data[0];
    if (octet == '%' && rest->length > 2) {
        memcpy(digits, rest->data + 1, 2);
        octet = (uint8_t)strtoul(digits, NULL, 16);
        *rest = bytes_skip(*rest, 2);
    }
    *rest = bytes_skip(*rest, 1);
    return octet;
}

static void assert_inside(const struct connection *connection, struct bytes span)
{
    assert_true(span.data >= connection->window);
    assert_true(span.data + span.length <= connection->window + connection->window_length);
}

static void note_flags(struct connection *connection)
{
    const struct http1_request *request = &connection->request;
    bool underscore = false;
    for (uint32_t i = 0; i < request->head.field_count; i++)
        underscore |= request->head.fields[i].has_underscore;
    const struct {
        bool set;
        const char *name;
    } flags[] = {
        {request->target_form == HTTP1_TARGET_ABSOLUTE, " absolute"},
        {request->head.target_is_https, " https"},
        {request->target_form == HTTP1_TARGET_ASTERISK, " asterisk"},
        {request->head.expect_continue, " expect"},
        {request->upgrade_websocket, " websocket"},
        {request->head.te_trailers, " trailers"},
        {underscore, " underscore"},
    };
    bool any = false;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (!flags[i].set)
            continue;
        text_print(&connection->events, "%s%s", any ? "" : "flags", flags[i].name);
        any = true;
    }
    if (any)
        text_print(&connection->events, "\n");
}

static void note_head(struct connection *connection)
{
    const struct http1_request *request = &connection->request;
    const struct http_head *head = &request->head;
    struct text *events = &connection->events;
    const struct bytes spans[] = {head->method, head->target, head->path, head->query, request->authority, head->host};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        assert_inside(connection, spans[i]);

    text_print(events, "head %.*s ", (int)head->method.length, head->method.data);
    for (struct bytes rest = head->path; rest.length > 0;) {
        uint8_t octet = percent_decoded(&rest);
        text_escape(events, &octet, 1);
    }
    text_print(events, " ");
    text_escape(events, head->query.data, head->query.length);
    text_print(events, "%s 1.%d %s ", head->query.length ? "" : "-", head->version - HTTP_VERSION_1_0,
               request->keep_alive ? "keep" : "close");
    if (head->body_kind == HTTP_BODY_LENGTH)
        text_print(events, "length %llu", (unsigned long long)head->content_length);
    else
        text_print(events, "%s", head->body_kind == HTTP_BODY_UNKNOWN ? "chunked" : "none");
    text_print(events, " %u\n", head->field_count);
    note_flags(connection);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        assert_inside(connection, field->name);
        assert_inside(connection, field->value);
        assert_int_equal(field->id, http_field_id_of(field->name));
        text_print(events, "field %.*s:%s", (int)field->name.length, field->name.data, field->value.length ? " " : "");
        text_escape(events, field->value.data, field->value.length);
        text_print(events, "\n");
    }
}

static void note_body(struct connection *connection)
{
    struct text *decoded = &connection->decoded;
    if (decoded->length == 0)
        return;
    text_print(&connection->events, "body ");
    if (decoded->length <= SHOWN_BODY_MAX) {
        text_escape(&connection->events, (const uint8_t *)decoded->data, decoded->length);
    } else {
        uint64_t hash = 0xcbf29ce484222325;
        for (size_t i = 0; i < decoded->length; i++)
            hash = (hash ^ (uint8_t)decoded->data[i]) * 0x100000001b3;
        text_print(&connection->events, "%zu octets, fnv %016llx", decoded->length, (unsigned long long)hash);
    }
    text_print(&connection->events, "\n");
    decoded->length = 0;
}

static void begin_message(struct connection *connection)
{
    http1_request_init(&connection->request, connection->fields, FIELDS_CAPACITY);
    connection->stage = IN_HEAD;
}

static void note_rejection(struct connection *connection, unsigned status, const char *reason)
{
    note_body(connection);
    assert_non_null(reason);
    text_print(&connection->events, "reject %u\n", status);
    connection->stage = OVER;
}

static void take(struct connection *connection, size_t count)
{
    assert_in_range(count, 0, connection->window_length);
    connection->window += count;
    connection->window_length -= count;
}

/* False when more input is needed. */
static bool step_head(struct connection *connection)
{
    struct http1_request *request = &connection->request;
    size_t consumed = SIZE_MAX;
    switch (http1_request_feed(request, &connection->vector->limits, connection->window, connection->window_length,
                               &consumed)) {
    case HTTP1_NEED_MORE:
        assert_int_equal(consumed, SIZE_MAX);
        return false;
    case HTTP1_REJECTED:
        assert_int_equal(consumed, SIZE_MAX);
        note_rejection(connection, request->status, request->reason);
        return true;
    case HTTP1_HEAD_READY:
        break;
    }
    note_head(connection);
    take(connection, consumed);
    http1_body_init(&connection->body, request->head.body_kind, request->head.content_length);
    connection->stage = IN_BODY;
    return true;
}

static bool step_body(struct connection *connection)
{
    struct http1_body *body = &connection->body;
    size_t consumed, offset, decoded;
    enum http1_body_progress progress = http1_body_feed(body, &connection->vector->body_limits, connection->window,
                                                        connection->window_length, &consumed, &offset, &decoded);
    assert_in_range(offset + decoded, 0, consumed);
    text_append(&connection->decoded, connection->window + offset, decoded);
    take(connection, consumed);
    if (progress == HTTP1_BODY_NEED_MORE) {
        assert_int_equal(connection->window_length, 0);
        return false;
    }
    if (progress == HTTP1_BODY_REJECTED) {
        note_rejection(connection, body->status, body->reason);
        return true;
    }
    assert_int_equal(body->received, connection->decoded.length);
    note_body(connection);
    text_print(&connection->events, "end\n");
    bool keep = connection->request.keep_alive;
    begin_message(connection);
    if (!keep) {
        text_print(&connection->events, "close\n");
        connection->stage = OVER;
    }
    return true;
}

/* More octets arrive: behind those not yet taken, which move so that all of them end at the guard page. */
static void receive(struct connection *connection, const char *data, size_t length)
{
    size_t total = connection->window_length + length;
    uint8_t *place = connection->memory.map + connection->memory.room - total;
    memmove(place, connection->window, connection->window_length);
    memcpy(place + connection->window_length, data, length);
    connection->window = place;
    connection->window_length = total;
    bool more = connection->stage != OVER;
    while (more && connection->stage != OVER)
        more = connection->stage == IN_HEAD ? step_head(connection) : step_body(connection);
}

/* Feeds the input in two pieces, or in pieces of one octet when `cut` is SIZE_MAX; the events, to be freed. */
static char *run(const struct vector *vector, struct guarded memory, size_t cut)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    assert_non_null(connection);
    connection->vector = vector;
    connection->memory = memory;
    connection->window = memory.map + memory.room;
    text_append(&connection->events, "", 0);
    begin_message(connection);
    const struct text *input = &vector->input;
    size_t at = 0;
    while (at < input->length && connection->stage != OVER) {
        size_t piece = cut == SIZE_MAX ? 1 : at < cut ? cut : input->length - at;
        receive(connection, input->data + at, piece);
        at += piece;
    }
    bool in_message = connection->stage == IN_BODY || connection->window_length > 0;
    if (connection->stage != OVER && in_message) {
        note_body(connection);
        text_print(&connection->events, "more\n");
    }
    char *events = connection->events.data;
    free(connection->decoded.data);
    free(connection);
    return events;
}

/* Comparing ------------------------------------------------------------------------------------------------------- */

/* Whether the field lines at `event` have `wanted`, the whole line or, for `lacks`, its name. */
static bool fields_have(const char *event, const char *wanted, bool name_only)
{
    size_t length = line_length(wanted);
    for (; begins_with(event, "field ") || begins_with(event, "flags "); event = next_line(event)) {
        const char *field = event + strlen("field ");
        bool same = strncmp(field, wanted, length) == 0;
        if (same && (name_only ? field[length] == ':' : line_length(field) == length))
            return true;
    }
    return false;
}

/* The event line behind `event` and the fields of a head. */
static const char *skip_fields(const char *event)
{
    while (begins_with(event, "field "))
        event = next_line(event);
    return event;
}

static const char *skip_unasked(const char *event, const char *expected)
{
    event = skip_fields(event);
    bool flags_asked = begins_with(expected, "= flags");
    return begins_with(event, "flags") && !flags_asked ? skip_fields(next_line(event)) : event;
}

static void assert_events(const struct vector *vector, const char *events)
{
    const char *event = events, *fields = events;
    for (const char *expected = vector->expected.data; *expected != '\0'; expected = next_line(expected)) {
        if (begins_with(expected, "has ") || begins_with(expected, "lacks ")) {
            bool has = begins_with(expected, "has ");
            if (fields_have(fields, expected + (has ? 4 : 6), !has) != has)
                fail_msg("%s: unmet: %.*s\n%s", vector->name, (int)line_length(expected), expected, events);
            continue;
        }
        event = skip_unasked(event, expected);
        bool optional = begins_with(expected, "? ");
        bool matches = line_matches(event, expected + 2);
        while (!matches && begins_with(next_line(expected), "| ")) {
            expected = next_line(expected);
            matches = line_matches(event, expected + 2);
        }
        while (begins_with(next_line(expected), "| "))
            expected = next_line(expected);
        if (!matches && !optional)
            fail_msg("%s: expected %.*s, events:\n%s", vector->name, (int)line_length(expected), expected, events);
        if (matches)
            fields = event = next_line(event);
    }
    event = skip_unasked(event, "");
    if (*event != '\0')
        fail_msg("%s: unexpected %.*s, events:\n%s", vector->name, (int)line_length(event), event, events);
}

/* Every cut of a usual input; of a long one those at its edges, around the default limits, and some between. */
static size_t next_cut(size_t cut, size_t length)
{
    bool at_limits = cut > 8150 && cut < 8250;
    if (length <= LONG_BYTES || cut < LONG_EDGE || cut + LONG_EDGE > length || at_limits)
        return cut + 1;
    size_t next = cut - cut % LONG_STRIDE + LONG_STRIDE;
    size_t edge = length - LONG_EDGE;
    if (cut < 8151 && next > 8151)
        next = 8151;
    return cut < edge && next > edge ? edge : next;
}

static void run_vector(void **state)
{
    const struct vector *vector = *state;
    struct guarded memory = guarded_create(vector->input.length);
    char *whole = run(vector, memory, 0);
    assert_events(vector, whole);
    for (size_t cut = 1; cut < vector->input.length; cut = next_cut(cut, vector->input.length)) {
        char *events = run(vector, memory, cut);
        if (strcmp(events, whole) != 0)
            fail_msg("%s: cut at %zu gives\n%sinstead of\n%s", vector->name, cut, events, whole);
        free(events);
    }
    char *single = run(vector, memory, SIZE_MAX);
    assert_string_equal(single, whole);
    free(single);
    free(whole);
    guarded_destroy(&memory);
}

/* Reading --------------------------------------------------------------------------------------------------------- */

static void append_unescaped(struct text *text, const char *line)
{
    while (*line != '\0' && *line != '\n') {
        char octet = *line++;
        if (octet == '\\' && *line == 'x') {
            char digits[3] = {line[1], line[2]};
            octet = (char)strtoul(digits, NULL, 16);
            line += 3;
        } else if (octet == '\\') {
            octet = *line == 'r' ? '\r' : *line == 'n' ? '\n' : *line == 't' ? '\t' : *line;
            line++;
        }
        text_append(text, &octet, 1);
    }
}

static void append_repeated(struct text *text, const char *line)
{
    char *end;
    unsigned long repeat = strtoul(line, &end, 10);
    assert_int_equal(*end, ' ');
    struct text piece = {};
    append_unescaped(&piece, end + 1);
    for (unsigned long i = 0; i < repeat; i++)
        text_append(text, piece.data, piece.length);
    free(piece.data);
}

static void set_limit(struct vector *vector, const char *name, unsigned long long value)
{
#define LIMIT(owner, field)                                       \
    if (strcmp(name, #field) == 0) {                              \
        vector->owner.field = (typeof(vector->owner.field))value; \
        return;                                                   \
    }
    if (strcmp(name, "body_bytes_max") == 0)
        vector->body_limits.body_bytes_max = value;
    LIMIT(limits, request_line_max)
    LIMIT(limits, field_size_max)
    LIMIT(limits, field_count_max)
    LIMIT(limits, head_bytes_max)
    LIMIT(limits, method_bytes_max)
    LIMIT(limits, body_bytes_max)
    LIMIT(limits, refuse_underscore_names)
    LIMIT(body_limits, trailer_bytes_max)
    LIMIT(body_limits, trailer_count_max)
    LIMIT(body_limits, chunk_extension_max)
    LIMIT(body_limits, extensions_bytes_max)
#undef LIMIT
    fail_msg("no such limit: %s", name);
}

static void read_limits(struct vector *vector, const char *line)
{
    char name[64];
    unsigned long long value;
    int taken;
    while (*line != '\0' && sscanf(line, " %63[a-z_]=%llu%n", name, &value, &taken) == 2) {
        set_limit(vector, name, value);
        line += taken;
    }
    assert_int_equal(*line, '\0');
}

static void *vector_create(const char *name)
{
    struct vector *vector = calloc(1, sizeof(*vector));
    assert_non_null(vector);
    vector->name = name;
    vector->limits = (struct http1_limits){8190, 8190, 100, 65536, 32, 0, false};
    vector->body_limits = (struct http1_body_limits){0, 16384, 50, 256, 16384};
    text_append(&vector->input, "", 0);
    text_append(&vector->expected, "", 0);
    return vector;
}

static void vector_destroy(void *owned)
{
    struct vector *vector = owned;
    free(vector->input.data);
    free(vector->expected.data);
    free(vector);
}

static void read_line(void *read, char *line)
{
    struct vector *vector = read;
    if (begins_with(line, "limits "))
        read_limits(vector, line + strlen("limits "));
    else if (begins_with(line, ">*"))
        append_repeated(&vector->input, line + 2);
    else if (begins_with(line, "> "))
        append_unescaped(&vector->input, line + 2);
    else if (strchr("=|?", line[0]) != NULL || begins_with(line, "has ") || begins_with(line, "lacks "))
        text_print(&vector->expected, "%s\n", line);
    else
        fail_msg("%s: what is this line? %s", vector->name, line);
}

int main(void)
{
    static const struct vector_kind kind = {
        .name = "http1_vectors",
        .directory = TESTS_DIR "/vectors/http1",
        .run = run_vector,
        .create = vector_create,
        .read_line = read_line,
        .destroy = vector_destroy,
    };
    return vector_files_run(&kind);
}
