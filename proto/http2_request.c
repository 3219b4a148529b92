#include "proto/http2_request.h"

#include <assert.h>

#include "proto/http2_priority.h"
#include "proto/http_octets.h"
#include "proto/http_target.h"

enum {
    REQUEST_LINE_REST = 10, /* what HTTP/1 has on that line beside method and target */
    FIELD_LINE_REST = 2,
    TRAILERS_MAX = 50, /* H2-21 */
    TRAILERS_LIST_BYTES_MAX = 16'384,
};

/* RFC 9113 8.3.1, RFC 8441 4. */
#define PSEUDO_FIELDS(X)       \
    X(METHOD, ":method")       \
    X(SCHEME, ":scheme")       \
    X(AUTHORITY, ":authority") \
    X(PATH, ":path")           \
    X(PROTOCOL, ":protocol")

enum pseudo {
#define PSEUDO_ENUM(symbol, name) PSEUDO_##symbol,
    PSEUDO_FIELDS(PSEUDO_ENUM)
#undef PSEUDO_ENUM
        PSEUDO_COUNT
};

enum {
    SEEN_HOST = 1 << 0,
    SEEN_CONTENT_LENGTH = 1 << 1,
    SEEN_CONTENT_TYPE = 1 << 2,
};

struct reader {
    struct http2_request *request;
    struct http_head *head; /* of the request */
    const struct http2_request_limits *limits;
    struct hpack_section *section;
    struct bytes pseudo[PSEUDO_COUNT]; /* no data: not there */
    struct bytes host;                 /* of the field */
    unsigned seen;
    uint32_t field_count; /* regular ones, each crumb of a cookie too */
    uint32_t crumb_count;
    uint32_t cookie_at; /* in head->fields */
    size_t crumb_bytes; /* with a separator behind each */
};

/* Both are always false, so that a rule can say `return refuse(...)`. */
static bool malformed(struct http2_request *request, const char *reason)
{
    request->status = 0;
    request->reason = reason;
    return false;
}

static bool refuse(struct http2_request *request, uint16_t status, const char *reason)
{
    request->status = status;
    request->reason = reason;
    return false;
}

/* One field, of a head or of trailers ----------------------------------------------------------------------------- */

static struct bytes name_of(const struct hpack_section *section, const struct hpack_field *field)
{
    return bytes_of(section->memory + field->name_offset, field->name_length);
}

static struct bytes value_of(const struct hpack_section *section, const struct hpack_field *field)
{
    return bytes_of(section->memory + field->value_offset, field->value_length);
}

/* RFC 9113 8.2.1: a token without upper case. A name that is known by number is one. */
static bool name_valid(struct bytes name, uint16_t id)
{
    if (id != HTTP_FIELD_OTHER)
        return true;
    for (size_t i = 0; i < name.length; i++)
        if (name.data[i] == 0 || http_lower_tchar[name.data[i]] != name.data[i])
            return false;
    return name.length > 0;
}

/* Why a value is malformed, or NULL. RFC 9113 8.2.1; it leaves controls other than NUL, CR and LF to us. */
static const char *value_fault(struct bytes value)
{
    if (value.length == 0)
        return NULL;
    if (http_octet_is(value.data[0], OCTET_BLANK) || http_octet_is(value.data[value.length - 1], OCTET_BLANK))
        return "blank around a field value";
    return http_field_value_valid(value) ? NULL : "control octet in a field value";
}

/* RFC 9113 8.2.2, which leaves te one value. */
static const bool connection_specific[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_CONNECTION] = true,        [HTTP_FIELD_KEEP_ALIVE] = true, [HTTP_FIELD_PROXY_CONNECTION] = true,
    [HTTP_FIELD_TRANSFER_ENCODING] = true, [HTTP_FIELD_UPGRADE] = true,
};

/* Why a regular field is malformed wherever it stands, or NULL. */
static const char *field_fault(const struct hpack_section *section, const struct hpack_field *field)
{
    if (!name_valid(name_of(section, field), field->id))
        return "field name is not a token in lower case";
    if (connection_specific[field->id])
        return "connection-specific field";
    if (field->id == HTTP_FIELD_TE && !bytes_equal_lower(value_of(section, field), BYTES_LITERAL("trailers")))
        return "te is not trailers";
    return value_fault(value_of(section, field));
}

static struct http_field field_of(const struct hpack_section *section, const struct hpack_field *field)
{
    struct bytes name = name_of(section, field);
    bool has_underscore = field->id == HTTP_FIELD_OTHER && memchr(name.data, '_', name.length) != NULL;
    return (struct http_field){name, value_of(section, field), field->id, has_underscore};
}

/* Fields that the protocol itself reads ---------------------------------------------------------------------------- */

enum field_use { USE_KEEP, USE_DROP, USE_REFUSED };

typedef enum field_use field_rule(struct reader *reader, struct bytes value);

/* Marks `flag`; false when it was marked before. */
static bool first_time(struct reader *reader, unsigned flag)
{
    bool first = (reader->seen & flag) == 0;
    reader->seen |= flag;
    return first;
}

static enum field_use kept(bool good)
{
    return good ? USE_KEEP : USE_REFUSED;
}

/* RFC 9113 8.1.1: a length that cannot be that of the content. Stricter: never twice, not even the same. */
static enum field_use on_content_length(struct reader *reader, struct bytes value)
{
    if (!first_time(reader, SEEN_CONTENT_LENGTH))
        return kept(malformed(reader->request, "two content-length fields"));
    bool good = http_content_length_parse(value, &reader->head->content_length);
    return kept(good || malformed(reader->request, "invalid content-length"));
}

static enum field_use on_content_type(struct reader *reader, struct bytes value)
{
    (void)value;
    bool good = first_time(reader, SEEN_CONTENT_TYPE);
    return kept(good || refuse(reader->request, 400, "two content-type fields"));
}

/* The first crumb keeps the place; RFC 9113 8.2.3. */
static enum field_use on_cookie(struct reader *reader, struct bytes value)
{
    reader->crumb_bytes += value.length + 2;
    if (reader->crumb_count++ > 0)
        return USE_DROP;
    reader->cookie_at = reader->head->field_count;
    return USE_KEEP;
}

/* RFC 9110 10.1.1. */
static enum field_use on_expect(struct reader *reader, struct bytes value)
{
    reader->head->expect_continue = bytes_equal_lower(value, BYTES_LITERAL("100-continue"));
    return kept(reader->head->expect_continue || refuse(reader->request, 417, "unknown expectation"));
}

/* It takes the first place in the end, should :authority not have done so. */
static enum field_use on_host(struct reader *reader, struct bytes value)
{
    bool good = first_time(reader, SEEN_HOST) || refuse(reader->request, 400, "two host fields");
    good = good && (http_host_valid(value) || refuse(reader->request, 400, "invalid host"));
    reader->host = value;
    return good ? USE_DROP : USE_REFUSED;
}

static enum field_use on_priority(struct reader *reader, struct bytes value)
{
    struct http2_request *request = reader->request;
    struct http2_priority priority = {request->urgency, request->incremental};
    http2_priority_parse(value, &priority);
    request->urgency = priority.urgency;
    request->incremental = priority.incremental;
    return USE_KEEP;
}

/* What its value is has been looked at already. */
static enum field_use on_te(struct reader *reader, struct bytes value)
{
    (void)value;
    reader->head->te_trailers = true;
    return USE_KEEP;
}

static field_rule *const field_rules[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_CONTENT_LENGTH] = on_content_length,
    [HTTP_FIELD_CONTENT_TYPE] = on_content_type,
    [HTTP_FIELD_COOKIE] = on_cookie,
    [HTTP_FIELD_EXPECT] = on_expect,
    [HTTP_FIELD_HOST] = on_host,
    [HTTP_FIELD_PRIORITY] = on_priority,
    [HTTP_FIELD_TE] = on_te,
};

/* Reading the section ---------------------------------------------------------------------------------------------- */

static enum pseudo pseudo_of(struct bytes name)
{
    static const struct {
        uint8_t length;
        char text[11];
    } names[PSEUDO_COUNT] = {
#define PSEUDO_NAME(symbol, name) [PSEUDO_##symbol] = {sizeof(name) - 1, name},
        PSEUDO_FIELDS(PSEUDO_NAME)
#undef PSEUDO_NAME
    };
    unsigned i = 0;
    while (i < PSEUDO_COUNT && !bytes_equal(name, bytes_of(names[i].text, names[i].length)))
        i++;
    return (enum pseudo)i;
}

/* RFC 9113 8.3: known ones, before all others, each once. The grammar of each is stricter than that of values. */
static bool read_pseudo(struct reader *reader, const struct hpack_field *field)
{
    if (reader->field_count > 0)
        return malformed(reader->request, "pseudo field behind a regular one");
    enum pseudo pseudo = pseudo_of(name_of(reader->section, field));
    if (pseudo == PSEUDO_COUNT)
        return malformed(reader->request, "unknown pseudo field");
    if (reader->pseudo[pseudo].data)
        return malformed(reader->request, "pseudo field twice");
    reader->pseudo[pseudo] = value_of(reader->section, field);
    return true;
}

static bool read_regular(struct reader *reader, const struct hpack_field *decoded)
{
    const struct http2_request_limits *limits = reader->limits;
    const char *fault = field_fault(reader->section, decoded);
    if (fault)
        return malformed(reader->request, fault);
    if (reader->field_count++ == limits->field_count_max)
        return refuse(reader->request, 431, "too many fields"); /* H2-05: before crumbs are joined */
    struct http_field field = field_of(reader->section, decoded);
    if (field.name.length + field.value.length + FIELD_LINE_REST > limits->field_size_max)
        return refuse(reader->request, 431, "field too large");
    if (field.has_underscore && limits->refuse_underscore_names)
        return refuse(reader->request, 400, "underscore in a field name");

    field_rule *rule = field_rules[field.id];
    enum field_use use = rule ? rule(reader, field.value) : USE_KEEP;
    if (use == USE_KEEP)
        reader->head->fields[reader->head->field_count++] = field;
    return use != USE_REFUSED;
}

static bool read_section(struct reader *reader)
{
    const struct hpack_section *section = reader->section;
    for (uint32_t i = 0; i < section->field_count; i++) {
        const struct hpack_field *field = &section->fields[i];
        bool is_pseudo = field->name_length > 0 && section->memory[field->name_offset] == ':';
        if (is_pseudo ? !read_pseudo(reader, field) : !read_regular(reader, field))
            return false;
    }
    return true;
}

/* What was read, good or not, as far as the log wants to know it. */
static void show(struct reader *reader)
{
    struct http_head *head = reader->head;
    head->method = reader->pseudo[PSEUDO_METHOD];
    head->target = reader->pseudo[PSEUDO_PATH];
    head->protocol = reader->pseudo[PSEUDO_PROTOCOL];
    if (head->target.data)
        http_target_split(head->target, &head->path, &head->query);
}

/* The whole head --------------------------------------------------------------------------------------------------- */

static bool check_method(struct reader *reader)
{
    struct bytes method = reader->pseudo[PSEUDO_METHOD];
    if (!method.data)
        return malformed(reader->request, "no :method");
    if (!http_token_valid(method))
        return malformed(reader->request, ":method is not a token");
    return method.length <= reader->limits->method_bytes_max || refuse(reader->request, 501, "method too long");
}

/* RFC 9113 8.3.1: not empty, no userinfo. */
static bool check_authority(struct reader *reader)
{
    struct bytes authority = reader->pseudo[PSEUDO_AUTHORITY];
    if (!authority.data)
        return true;
    if (authority.length == 0 || !http_host_valid(authority))
        return malformed(reader->request, "invalid :authority");
    return authority.length + BYTES_LITERAL("host").length + FIELD_LINE_REST <= reader->limits->field_size_max ||
           refuse(reader->request, 431, "field too large");
}

/* RFC 9113 8.5 and, with :protocol, RFC 8441 4 (H2-23). */
static bool check_connect(struct reader *reader)
{
    const struct bytes *pseudo = reader->pseudo;
    bool is_connect = bytes_equal(pseudo[PSEUDO_METHOD], BYTES_LITERAL("CONNECT"));
    if (pseudo[PSEUDO_PROTOCOL].data) {
        if (!reader->limits->connect_protocol)
            return malformed(reader->request, ":protocol without the setting");
        if (!is_connect)
            return malformed(reader->request, ":protocol without CONNECT");
        return http_token_valid(pseudo[PSEUDO_PROTOCOL]) || malformed(reader->request, ":protocol is not a token");
    }
    if (!is_connect)
        return true;
    if (pseudo[PSEUDO_SCHEME].data || pseudo[PSEUDO_PATH].data)
        return malformed(reader->request, "CONNECT with :scheme or :path");
    if (!pseudo[PSEUDO_AUTHORITY].data)
        return malformed(reader->request, "CONNECT without :authority");
    return refuse(reader->request, 405, "CONNECT"); /* this server is no proxy */
}

/* RFC 3986 3.1. */
static bool scheme_valid(struct bytes scheme)
{
    for (size_t i = 0; i < scheme.length; i++) {
        uint8_t lower = bytes_lower(scheme.data[i]);
        bool is_alpha = lower >= 'a' && lower <= 'z';
        bool is_inner = http_octet_is(lower, OCTET_DIGIT) || lower == '+' || lower == '-' || lower == '.';
        if (!is_alpha && (i == 0 || !is_inner))
            return false;
    }
    return scheme.length > 0;
}

/* RFC 9113 8.3.1. An application that trusts the scheme must not be told another than that of the transport. */
static bool check_scheme(struct reader *reader)
{
    struct bytes scheme = reader->pseudo[PSEUDO_SCHEME];
    if (!scheme.data)
        return malformed(reader->request, "no :scheme");
    if (!scheme_valid(scheme))
        return malformed(reader->request, "invalid :scheme");
    bool is_https = bytes_equal_lower(scheme, BYTES_LITERAL("https"));
    if (!is_https && !bytes_equal_lower(scheme, BYTES_LITERAL("http")))
        return refuse(reader->request, 400, "scheme is neither http nor https");
    reader->head->target_is_https = is_https;
    return is_https == reader->limits->is_secure || reader->limits->scheme_trusted ||
           refuse(reader->request, 400, "scheme is not that of the transport");
}

/* RFC 9113 8.3.1: an absolute path with query, or "*" for OPTIONS. */
static bool check_path(struct reader *reader)
{
    const struct http_head *head = reader->head;
    struct bytes target = head->target;
    if (!target.data)
        return malformed(reader->request, "no :path");
    if (head->method.length + target.length + REQUEST_LINE_REST > reader->limits->request_line_max)
        return refuse(reader->request, 414, "request line too long");
    if (target.length == 0)
        return malformed(reader->request, "empty :path");
    if (!http_target_octets_valid(target))
        return malformed(reader->request, "octet not allowed in a :path");
    bool is_asterisk = bytes_equal(target, BYTES_LITERAL("*"));
    if (is_asterisk && !bytes_equal(head->method, BYTES_LITERAL("OPTIONS")))
        return malformed(reader->request, ":path * is for OPTIONS only");
    if (!is_asterisk && target.data[0] != '/')
        return malformed(reader->request, ":path is not absolute");
    return !http_target_has_nul(head->path) || refuse(reader->request, 400, "%00 in the path");
}

/* RFC 9113 8.3.1: :authority counts; a host field beside it that says something else was meant for somebody else. */
static bool check_host(struct reader *reader)
{
    struct http_head *head = reader->head;
    struct bytes authority = reader->pseudo[PSEUDO_AUTHORITY];
    bool has_host = (reader->seen & SEEN_HOST) != 0;
    if (!authority.data && !has_host)
        return refuse(reader->request, 400, "neither :authority nor host");
    if (authority.data && has_host && !http_target_same_authority(authority, reader->host, head->target_is_https))
        return refuse(reader->request, 400, "host is not :authority");
    head->host = authority.data ? authority : reader->host;
    if (head->host.length == 0)
        return malformed(reader->request, "empty host");
    head->fields[0].value = head->host;
    return true;
}

/* RFC 9113 8.1.1. What DATA frames bring is held against the length as they come. */
static bool check_body(struct reader *reader, bool end_stream)
{
    struct http_head *head = reader->head;
    if ((reader->seen & SEEN_CONTENT_LENGTH) == 0) {
        head->body_kind = end_stream ? HTTP_BODY_NONE : HTTP_BODY_UNKNOWN;
        return true;
    }
    if (end_stream && head->content_length > 0)
        return malformed(reader->request, "content-length without content"); /* H2-21 */
    uint64_t bytes_max = reader->limits->body_bytes_max;
    if (bytes_max != 0 && head->content_length > bytes_max)
        return refuse(reader->request, 413, "content-length over the limit");
    head->body_kind = HTTP_BODY_LENGTH;
    return true;
}

/* Room behind what was decoded, or NULL. */
static uint8_t *take_memory(struct hpack_section *section, size_t bytes)
{
    if (section->memory_bytes - section->used < bytes)
        return NULL;
    uint8_t *memory = section->memory + section->used;
    section->used += (uint32_t)bytes;
    return memory;
}

/* RFC 9113 8.2.3: with "; " between them. */
static bool join_crumbs(struct reader *reader)
{
    struct hpack_section *section = reader->section;
    if (reader->crumb_count < 2)
        return true;
    size_t bytes = reader->crumb_bytes - 2;
    uint8_t *joined = take_memory(section, bytes);
    if (!joined)
        return refuse(reader->request, 431, "cookies too large");
    uint8_t *at = joined;
    for (uint32_t i = 0, crumbs = 0; i < section->field_count; i++) {
        if (section->fields[i].id != HTTP_FIELD_COOKIE)
            continue;
        if (crumbs++ > 0) {
            *at++ = ';';
            *at++ = ' ';
        }
        struct bytes crumb = value_of(section, &section->fields[i]);
        memcpy(at, crumb.data, crumb.length);
        at += crumb.length;
    }
    reader->head->fields[reader->cookie_at].value = bytes_of(joined, bytes);
    return true;
}

/* The first field of every head; its value comes when it is known. */
static bool place_host(struct reader *reader)
{
    const struct bytes name = BYTES_LITERAL("host");
    uint8_t *memory = take_memory(reader->section, name.length);
    if (!memory)
        return refuse(reader->request, 431, "field section too large");
    memcpy(memory, name.data, name.length);
    reader->head->fields[0] =
        (struct http_field){.name = bytes_of(memory, name.length), .value = bytes_of(memory, 0), .id = HTTP_FIELD_HOST};
    reader->head->field_count = 1;
    return true;
}

static bool check_head(struct reader *reader, bool end_stream)
{
    return check_method(reader) && check_authority(reader) && check_connect(reader) && check_scheme(reader) &&
           check_path(reader) && check_host(reader) && check_body(reader, end_stream) && join_crumbs(reader);
}

enum http2_request_verdict http2_request_read(struct http2_request *request, const struct http2_request_limits *limits,
                                              struct hpack_section *section, bool end_stream, struct http_field *fields,
                                              uint32_t fields_capacity)
{
    assert(fields_capacity > limits->field_count_max);
    *request = (struct http2_request){
        .head = {.fields = fields, .version = HTTP_VERSION_2},
        .urgency = HTTP2_URGENCY_DEFAULT,
    };
    struct reader reader = {.request = request, .head = &request->head, .limits = limits, .section = section};
    bool good = place_host(&reader) && read_section(&reader);
    show(&reader);
    /* Of a section that is not all there, only its size can be judged. */
    if (section->overflowed)
        good = refuse(request, 431, "field section too large");
    if (good && check_head(&reader, end_stream))
        return HTTP2_REQUEST_GOOD;
    return request->status != 0 ? HTTP2_REQUEST_REFUSED : HTTP2_REQUEST_MALFORMED;
}

/* Trailers --------------------------------------------------------------------------------------------------------- */

/* RFC 9110 6.5.1: what frames, routes, authenticates or describes the message comes too late in trailers. */
static const bool never_trailer[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_AUTHORIZATION] = true,
    [HTTP_FIELD_CACHE_CONTROL] = true,
    [HTTP_FIELD_CONTENT_ENCODING] = true,
    [HTTP_FIELD_CONTENT_LENGTH] = true,
    [HTTP_FIELD_CONTENT_TYPE] = true,
    [HTTP_FIELD_COOKIE] = true,
    [HTTP_FIELD_EXPECT] = true,
    [HTTP_FIELD_FORWARDED] = true,
    [HTTP_FIELD_HOST] = true,
    [HTTP_FIELD_HTTP2_SETTINGS] = true,
    [HTTP_FIELD_IF_MATCH] = true,
    [HTTP_FIELD_IF_MODIFIED_SINCE] = true,
    [HTTP_FIELD_IF_NONE_MATCH] = true,
    [HTTP_FIELD_IF_RANGE] = true,
    [HTTP_FIELD_IF_UNMODIFIED_SINCE] = true,
    [HTTP_FIELD_PRIORITY] = true,
    [HTTP_FIELD_PROXY] = true,
    [HTTP_FIELD_RANGE] = true,
    [HTTP_FIELD_TE] = true,
    [HTTP_FIELD_TRAILER] = true,
    [HTTP_FIELD_X_FORWARDED_FOR] = true,
    [HTTP_FIELD_X_FORWARDED_HOST] = true,
    [HTTP_FIELD_X_FORWARDED_PORT] = true,
    [HTTP_FIELD_X_FORWARDED_PROTO] = true,
};

enum http2_request_verdict http2_request_trailers(const struct hpack_section *section, struct http_field *fields,
                                                  uint32_t fields_capacity, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < section->field_count; i++)
        if (field_fault(section, &section->fields[i])) /* a pseudo field's name is no token */
            return HTTP2_REQUEST_MALFORMED;
    if (section->overflowed || section->seen_count > TRAILERS_MAX || section->list_bytes > TRAILERS_LIST_BYTES_MAX)
        return HTTP2_REQUEST_REFUSED;
    for (uint32_t i = 0; i < section->field_count; i++) {
        if (never_trailer[section->fields[i].id])
            continue;
        if (count == fields_capacity)
            return HTTP2_REQUEST_REFUSED;
        fields[count++] = field_of(section, &section->fields[i]);
    }
    *ret_count = count;
    return HTTP2_REQUEST_GOOD;
}
