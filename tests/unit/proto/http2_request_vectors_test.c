#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "guarded.h"
#include "proto/http2_request.h"
#include "tests/unit/proto/vector_file.h"

/* Runs the text vectors of tests/vectors/http2_request, whose README explains their form. */

enum { LINE_MAX = 512, FIELDS_MAX = 300, MEMORY_BYTES = 65536, TRAILER_FIELDS = 50 };

struct vector {
    const char *name;
    char *expected; /* lines as in the file */
    bool has_rule, has_body, is_trailers;
    struct http2_request_limits limits;
    struct hpack_section section; /* decoded, as HPACK would leave it */
    struct hpack_field fields[FIELDS_MAX];
    uint8_t memory[MEMORY_BYTES];
};

static void append(char **text, const char *line)
{
    size_t length = *text ? strlen(*text) : 0;
    *text = realloc(*text, length + strlen(line) + 2);
    assert_non_null(*text);
    sprintf(*text + length, "%s\n", line);
}

/* What became of a section, in the words of the files -------------------------------------------------------------- */

struct outcome {
    enum http2_request_verdict verdict;
    struct http2_request request;
    struct http_field fields[FIELDS_MAX];
    char *lines;
};

static void escape(char *line, struct bytes text)
{
    line += strlen(line);
    for (size_t i = 0; i < text.length; i++) {
        uint8_t octet = text.data[i];
        if (octet == '\t')
            line += sprintf(line, "\\t");
        else if (octet < 0x20 || octet >= 0x7f || (octet == ' ' && i + 1 == text.length))
            line += sprintf(line, "\\x%02x", octet);
        else
            line += sprintf(line, "%c", octet);
    }
}

/* Behind a blank; `-` when empty. */
static void add_word(char *line, struct bytes word)
{
    strcat(line, " ");
    escape(line, word.length > 0 ? word : BYTES_LITERAL("-"));
}

static void note_head(struct outcome *outcome)
{
    const struct http_head *head = &outcome->request.head;
    char line[4 * LINE_MAX] = "head";
    const struct bytes words[] = {head->method, head->path, head->query, head->host};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        add_word(line, words[i]);
    char rest[64];
    if (head->body_kind == HTTP_BODY_LENGTH)
        sprintf(rest, " length %llu %u", (unsigned long long)head->content_length, head->field_count);
    else
        sprintf(rest, " %s %u", head->body_kind == HTTP_BODY_NONE ? "none" : "unknown", head->field_count);
    strcat(line, rest);
    append(&outcome->lines, line);
}

static void note_flags(struct outcome *outcome)
{
    const struct http_head *head = &outcome->request.head;
    bool underscore = false;
    for (uint32_t i = 0; i < head->field_count; i++)
        underscore |= head->fields[i].has_underscore;
    char line[LINE_MAX] = "flags";
    strcat(line, head->target_is_https ? " https" : "");
    strcat(line, head->expect_continue ? " expect" : "");
    strcat(line, head->te_trailers ? " trailers" : "");
    strcat(line, underscore ? " underscore" : "");
    strcat(line, outcome->request.incremental ? " incremental" : "");
    append(&outcome->lines, line);
    sprintf(line, "urgency %u", outcome->request.urgency);
    append(&outcome->lines, line);
    strcpy(line, "protocol");
    add_word(line, head->protocol);
    append(&outcome->lines, line);
}

static void note_fields(struct outcome *outcome, const struct http_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char *line = calloc(1, 16 + 4 * (fields[i].name.length + fields[i].value.length));
        assert_non_null(line);
        assert_int_equal(fields[i].id, http_field_id_of(fields[i].name));
        strcpy(line, "field ");
        escape(line, fields[i].name);
        strcat(line, fields[i].value.length > 0 ? ": " : ":");
        escape(line, fields[i].value);
        append(&outcome->lines, line);
        free(line);
    }
}

static void assert_inside(const struct hpack_section *section, struct bytes span)
{
    assert_true(span.data >= section->memory);
    assert_true(span.data + span.length <= section->memory + section->used);
}

static void assert_head_inside(const struct hpack_section *section, const struct http_head *head)
{
    const struct bytes spans[] = {head->method, head->target, head->path, head->query, head->host};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        assert_inside(section, spans[i]);
    for (uint32_t i = 0; i < head->field_count; i++) {
        assert_inside(section, head->fields[i].name);
        assert_inside(section, head->fields[i].value);
    }
    assert_int_equal(head->fields[0].id, HTTP_FIELD_HOST);
}

static void note_verdict(struct outcome *outcome, bool is_trailers)
{
    char line[LINE_MAX];
    unsigned status = is_trailers ? 431 : outcome->request.status;
    if (outcome->verdict == HTTP2_REQUEST_REFUSED)
        sprintf(line, "= refused %u", status);
    else
        strcpy(line, outcome->verdict == HTTP2_REQUEST_GOOD ? "= good" : "= malformed");
    append(&outcome->lines, line);
    if (!is_trailers && outcome->verdict != HTTP2_REQUEST_GOOD)
        assert_non_null(outcome->request.reason);
}

/* Judges a copy of the section whose memory ends, `room` octets behind what was decoded, at the guard page. */
static struct outcome *run(const struct vector *vector, struct guarded *memory, size_t room, uint32_t *ret_used)
{
    struct outcome *outcome = calloc(1, sizeof(*outcome));
    assert_non_null(outcome);
    struct hpack_section section = vector->section;
    section.memory_bytes = section.used + (uint32_t)room;
    section.memory = memory->map + memory->room - section.memory_bytes;
    memcpy(section.memory, vector->memory, section.used);

    uint32_t count = 0;
    if (vector->is_trailers)
        outcome->verdict = http2_request_trailers(&section, outcome->fields, TRAILER_FIELDS, &count);
    else
        outcome->verdict = http2_request_read(&outcome->request, &vector->limits, &section, !vector->has_body,
                                              outcome->fields, FIELDS_MAX);
    note_verdict(outcome, vector->is_trailers);
    if (outcome->verdict == HTTP2_REQUEST_GOOD) {
        if (!vector->is_trailers) {
            assert_head_inside(&section, &outcome->request.head);
            note_head(outcome);
            note_flags(outcome);
            count = outcome->request.head.field_count;
        }
        note_fields(outcome, outcome->fields, count);
    }
    *ret_used = section.used;
    return outcome;
}

static void outcome_destroy(struct outcome *outcome)
{
    free(outcome->lines);
    free(outcome);
}

/* Comparing -------------------------------------------------------------------------------------------------------- */

/* Whether one of `lines` is `wanted`, or with `prefix_only` begins as it does. */
static bool has_line(const char *lines, const char *wanted, bool prefix_only)
{
    size_t length = strlen(wanted);
    for (const char *line = lines; *line != '\0'; line += strcspn(line, "\n") + 1)
        if (strncmp(line, wanted, length) == 0 && (prefix_only || line[length] == '\n'))
            return true;
    return false;
}

static void assert_line(const struct vector *vector, const char *lines, const char *expected)
{
    char wanted[4 * LINE_MAX];
    bool lacks = begins_with(expected, "lacks ");
    if (begins_with(expected, "has "))
        snprintf(wanted, sizeof(wanted), "field %s", expected + 4);
    else if (lacks)
        snprintf(wanted, sizeof(wanted), "field %s:", expected + 6);
    else
        snprintf(wanted, sizeof(wanted), "%s", expected);
    if (has_line(lines, wanted, lacks) == lacks)
        fail_msg("%s: unmet: %s\n%s", vector->name, expected, lines);
}

static void assert_expected(const struct vector *vector, const char *lines)
{
    char *copy = strdup(vector->expected), *rest = copy;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0')
            assert_line(vector, lines, line);
    free(copy);
}

static void run_vector(void **state)
{
    const struct vector *vector = *state;
    bool is_good = has_line(vector->expected, "= good", false);
    assert_non_null(vector->expected);
    assert_int_equal(is_good, !vector->has_rule);

    struct guarded memory = guarded_create(3 * MEMORY_BYTES);
    uint32_t used, used_again;
    struct outcome *outcome = run(vector, &memory, MEMORY_BYTES, &used);
    assert_expected(vector, outcome->lines);

    /* Just enough room changes nothing; one octet less is a section too large. */
    size_t room = used - vector->section.used;
    struct outcome *tight = run(vector, &memory, room, &used_again);
    assert_string_equal(tight->lines, outcome->lines);
    assert_int_equal(used_again, used);
    if (is_good && room > 0) {
        struct outcome *short_of = run(vector, &memory, room - 1, &used_again);
        assert_string_equal(short_of->lines, "= refused 431\n");
        outcome_destroy(short_of);
    }
    outcome_destroy(tight);
    outcome_destroy(outcome);
    guarded_destroy(&memory);
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

static uint32_t add_octets(struct vector *vector, const char *text, size_t length)
{
    struct hpack_section *section = &vector->section;
    assert_in_range(length, 0, MEMORY_BYTES - section->used);
    memcpy(vector->memory + section->used, text, length);
    section->used += (uint32_t)length;
    return section->used - (uint32_t)length;
}

static void add_field(struct vector *vector, struct bytes name, struct bytes value)
{
    struct hpack_section *section = &vector->section;
    assert_in_range(section->field_count, 0, FIELDS_MAX - 1);
    struct hpack_field *field = &vector->fields[section->field_count++];
    field->name_offset = add_octets(vector, (const char *)name.data, name.length);
    field->name_length = (uint32_t)name.length;
    field->value_offset = add_octets(vector, (const char *)value.data, value.length);
    field->value_length = (uint32_t)value.length;
    field->id = (uint16_t)http_field_id_of(name);
    section->seen_count++;
    section->list_bytes += name.length + value.length + HPACK_FIELD_OVERHEAD;
}

/* Unescapes where it stands. */
static struct bytes unescaped(char *text, size_t length)
{
    char *to = text;
    for (const char *from = text; from < text + length; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        if (*from == 'x') {
            char digits[3] = {from[1], from[2]};
            *to++ = (char)strtoul(digits, NULL, 16);
            from += 2;
        } else {
            *to++ = *from == 'r' ? '\r' : *from == 'n' ? '\n' : *from == 't' ? '\t' : '\\';
        }
    }
    return bytes_of(text, (size_t)(to - text));
}

/* `NAME | VALUE`: one blank on each side of the bar is no part of them. */
static void read_field(struct vector *vector, char *line, unsigned long count)
{
    char *bar = strchr(line, '|');
    assert_non_null(bar);
    size_t name_length = (size_t)(bar - line);
    if (name_length > 0 && line[name_length - 1] == ' ')
        name_length--;
    char *text = bar[1] == ' ' ? bar + 2 : bar + 1;
    struct bytes value = unescaped(text, strlen(text));
    struct bytes name = unescaped(line, name_length);
    for (unsigned long i = 0; i < count; i++)
        add_field(vector, name, value);
}

static void read_base(struct vector *vector, char *method)
{
    add_field(vector, BYTES_LITERAL(":method"), unescaped(method, strlen(method)));
    add_field(vector, BYTES_LITERAL(":scheme"), BYTES_LITERAL("https"));
    add_field(vector, BYTES_LITERAL(":path"), BYTES_LITERAL("/"));
    add_field(vector, BYTES_LITERAL(":authority"), BYTES_LITERAL("a.example"));
}

static void read_long(struct vector *vector, const char *line)
{
    char name[64];
    unsigned length;
    static char value[MEMORY_BYTES];
    assert_int_equal(sscanf(line, "%63s %u", name, &length), 2);
    assert_in_range(length, 1, sizeof(value));
    memset(value, 'v', length);
    add_field(vector, bytes_of_string(name), bytes_of(value, length));
}

static void set_limit(struct vector *vector, const char *name, unsigned long long value)
{
#define LIMIT(field)                                                \
    if (strcmp(name, #field) == 0) {                                \
        vector->limits.field = (typeof(vector->limits.field))value; \
        return;                                                     \
    }
    LIMIT(request_line_max)
    LIMIT(field_size_max)
    LIMIT(field_count_max)
    LIMIT(method_bytes_max)
    LIMIT(body_bytes_max)
    LIMIT(connect_protocol)
    LIMIT(refuse_underscore_names)
    LIMIT(is_secure)
    LIMIT(scheme_trusted)
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
    vector->section.fields = vector->fields;
    vector->section.fields_max = FIELDS_MAX;
    vector->limits = (struct http2_request_limits){
        .request_line_max = 8190,
        .field_size_max = 8190,
        .field_count_max = 100,
        .method_bytes_max = 32,
        .is_secure = true,
    };
    return vector;
}

static void vector_destroy(void *owned)
{
    struct vector *vector = owned;
    free(vector->expected);
    free(vector);
}

static void read_line(void *read, char *line)
{
    struct vector *vector = read;
    static const char *const expectations[] = {"= ", "head ", "flags", "urgency ", "protocol ", "has ", "lacks "};
    for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        if (begins_with(line, expectations[i])) {
            append(&vector->expected, line);
            return;
        }
    }
    char *end;
    if (begins_with(line, "> "))
        read_field(vector, line + 2, 1);
    else if (begins_with(line, ">*"))
        read_field(vector, (strtoul(line + 2, &end, 10), end + 1), strtoul(line + 2, NULL, 10));
    else if (begins_with(line, "base"))
        read_base(vector, line[4] == ' ' ? line + 5 : line + 4);
    else if (begins_with(line, "long "))
        read_long(vector, line + 5);
    else if (begins_with(line, "limits "))
        read_limits(vector, line + strlen("limits "));
    else if (begins_with(line, "rule "))
        vector->has_rule = true;
    else if (strcmp(line, "body") == 0)
        vector->has_body = true;
    else if (strcmp(line, "trailers") == 0)
        vector->is_trailers = true;
    else
        fail_msg("%s: what is this line? %s", vector->name, line);
}

int main(void)
{
    static const struct vector_kind kind = {
        .name = "http2_request_vectors",
        .directory = TESTS_DIR "/vectors/http2_request",
        .run = run_vector,
        .create = vector_create,
        .read_line = read_line,
        .destroy = vector_destroy,
    };
    return vector_files_run(&kind);
}
