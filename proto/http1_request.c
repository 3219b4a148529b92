#include "proto/http1_request.h"

#include "proto/http_octets.h"
#include "proto/http_target.h"

enum { BLANK_LINES_MAX = 8 }; /* H1-31 */

/*
 *  IN_METHOD --> IN_REQUEST_LINE --> IN_FIELDS --> COMPLETE
 *      +-----------------+---------------+-------> REFUSED
 *
 * Empty lines before the request line are passed in IN_METHOD.
 */
enum phase { IN_METHOD, IN_REQUEST_LINE, IN_FIELDS, COMPLETE, REFUSED };

enum {
    SEEN_HOST = 1 << 0,
    SEEN_CONTENT_LENGTH = 1 << 1,
    SEEN_TRANSFER_ENCODING = 1 << 2,
    SEEN_CONTENT_TYPE = 1 << 3,
    SEEN_CLOSE = 1 << 4,
    SEEN_KEEP_ALIVE = 1 << 5,
    SEEN_CONNECTION_UPGRADE = 1 << 6,
    SEEN_WEBSOCKET = 1 << 7,
};

void http1_request_init(struct http1_request *request, struct http_field *fields, uint32_t fields_capacity)
{
    struct http_head *head = &request->head;
    /* A head that is refused half way shows what was understood of it, and nothing of the one before. One by one: a
     * whole struct is cleared by a string instruction, which takes longer. */
    head->method = head->target = head->path = head->query = (struct bytes){};
    head->host = head->protocol = (struct bytes){};
    head->fields = fields;
    head->field_count = 0;
    head->version = HTTP_VERSION_1_1;
    head->body_kind = HTTP_BODY_NONE;
    head->content_length = 0;
    head->target_is_https = head->expect_continue = head->te_trailers = false;
    request->fields_capacity = fields_capacity;
    request->authority = (struct bytes){};
    request->target_form = HTTP1_TARGET_ORIGIN;
    request->upgrade_websocket = false;
    request->phase = IN_METHOD;
    request->blank_lines = 0;
    request->seen = 0;
    request->scanned = 0;
    request->line_start = 0;
    request->input = NULL;
    request->status = 0;
    request->reason = NULL;
}

/* Always false, so that a rule can say `return refuse(...)`. */
static bool refuse(struct http1_request *request, uint16_t status, const char *reason)
{
    request->phase = REFUSED;
    request->status = status;
    request->reason = reason;
    return false;
}

/* Request line ------------------------------------------------------------------------------------------------- */

/*
 * Looks at the method as soon as enough of it is here: `line` ends at the line's end or where the octets received, or
 * the limits, end. The verdict depends on nothing behind it, so it is the same for every cut.
 */
static bool method_accepted(struct http1_request *request, const struct http1_limits *limits, struct bytes line)
{
    size_t length = 0;
    while (length < line.length && http_lower_tchar[line.data[length]] != 0) {
        if (length == limits->method_bytes_max)
            return refuse(request, 501, "method too long");
        length++;
    }
    if (length == line.length)
        return true;
    if (line.data[length] != ' ' || length == 0)
        return refuse(request, 400, "method is not a token");
    request->head.method = bytes_of(line.data, length);
    request->phase = IN_REQUEST_LINE;
    return true;
}

/* RFC 9112 2.3: exactly HTTP/DIGIT.DIGIT, in upper case. A minor version above 1 is served as 1.1. */
static bool parse_version(struct http1_request *request, struct bytes version)
{
    const uint8_t *text = version.data;
    if (version.length != 8 || memcmp(text, "HTTP/", 5) != 0 || text[6] != '.' ||
        !http_octet_is(text[5], OCTET_DIGIT) || !http_octet_is(text[7], OCTET_DIGIT))
        return refuse(request, 400, "no HTTP version");
    if (text[5] >= '2')
        return refuse(request, 505, "HTTP version not supported");
    if (text[5] == '0')
        return refuse(request, 400, "HTTP/0 is not spoken");
    request->head.version = text[7] == '0' ? HTTP_VERSION_1_0 : HTTP_VERSION_1_1;
    return true;
}

static bool split_path(struct http1_request *request, struct bytes path)
{
    http_target_split(path, &request->head.path, &request->head.query);
    return !http_target_has_nul(request->head.path) || refuse(request, 400, "%00 in the path");
}

/* `scheme` in lower case with its "://". */
static bool has_scheme(struct bytes target, struct bytes scheme)
{
    return target.length >= scheme.length && bytes_equal_lower(bytes_of(target.data, scheme.length), scheme);
}

/* RFC 9112 3.2.2, for the two schemes whose origin this server can be. */
static bool parse_absolute_form(struct http1_request *request, struct bytes target)
{
    const struct bytes http = BYTES_LITERAL("http://"), https = BYTES_LITERAL("https://");
    request->head.target_is_https = has_scheme(target, https);
    if (!request->head.target_is_https && !has_scheme(target, http))
        return refuse(request, 400, "target is neither a path nor an http URI");

    struct bytes rest = bytes_skip(target, request->head.target_is_https ? https.length : http.length);
    size_t length = 0;
    while (length < rest.length && rest.data[length] != '/' && rest.data[length] != '?')
        length++;
    request->target_form = HTTP1_TARGET_ABSOLUTE;
    request->authority = bytes_of(rest.data, length);
    /* RFC 9110 4.2.1: an http URI without host is invalid; userinfo is not in the grammar of a host. */
    if (length == 0 || !http_host_valid(request->authority))
        return refuse(request, 400, "invalid authority in the target");

    if (!split_path(request, bytes_skip(rest, length)))
        return false;
    /* RFC 9110 4.2.3: an empty path means "/"; the last slash before the authority serves as one. */
    if (request->head.path.length == 0)
        request->head.path = bytes_of(rest.data - 1, 1);
    return true;
}

static bool parse_target(struct http1_request *request, struct bytes target)
{
    if (!http_target_octets_valid(target))
        return refuse(request, 400, "octet not allowed in a target");

    request->head.target = target;
    request->authority = request->head.query = bytes_of(target.data, 0);
    if (target.data[0] == '/')
        return split_path(request, target);
    if (!bytes_equal(target, BYTES_LITERAL("*")))
        return parse_absolute_form(request, target);
    if (!bytes_equal(request->head.method, BYTES_LITERAL("OPTIONS")))
        return refuse(request, 400, "target * is for OPTIONS only"); /* RFC 9112 3.2.4 */
    request->target_form = HTTP1_TARGET_ASTERISK;
    request->head.path = target;
    return true;
}

/* RFC 9112 3: method SP target SP version, each blank a single space. */
static bool parse_request_line(struct http1_request *request, struct bytes line)
{
    if (request->phase != IN_REQUEST_LINE)
        return refuse(request, 400, "request line is one word");
    struct bytes rest = bytes_skip(line, request->head.method.length + 1);
    const uint8_t *space = memchr(rest.data, ' ', rest.length);
    if (!space || space == rest.data)
        return refuse(request, 400, "request line is not method, target, version");

    size_t target_length = (size_t)(space - rest.data);
    if (!parse_version(request, bytes_skip(rest, target_length + 1)))
        return false;
    /* H1-22: this server is no proxy, and what follows a CONNECT is no request. */
    if (bytes_equal(request->head.method, BYTES_LITERAL("CONNECT")))
        return refuse(request, 405, "CONNECT");
    request->head.host = bytes_of(rest.data, 0);
    request->phase = IN_FIELDS;
    return parse_target(request, bytes_of(rest.data, target_length));
}

/* Fields that the protocol itself reads ------------------------------------------------------------------------- */

/* Marks `flag`; false when it was marked before. */
static bool first_time(struct http1_request *request, uint16_t flag)
{
    bool first = (request->seen & flag) == 0;
    request->seen |= flag;
    return first;
}

static bool on_host(struct http1_request *request, struct bytes value)
{
    if (!first_time(request, SEEN_HOST))
        return refuse(request, 400, "two Host fields"); /* RFC 9112 3.2 */
    if (!http_host_valid(value))
        return refuse(request, 400, "invalid Host");
    request->head.host = value;
    return true;
}

static bool on_content_type(struct http1_request *request, struct bytes value)
{
    (void)value;
    return first_time(request, SEEN_CONTENT_TYPE) || refuse(request, 400, "two Content-Type fields");
}

/* RFC 9112 6.3, stricter: a repeated length is refused even when it repeats itself. */
static bool on_content_length(struct http1_request *request, struct bytes value)
{
    if (!first_time(request, SEEN_CONTENT_LENGTH))
        return refuse(request, 400, "two Content-Length fields");
    return http_content_length_parse(value, &request->head.content_length) ||
           refuse(request, 400, "invalid Content-Length");
}

/*
 * RFC 9112 6.1: one coding, "chunked", on one line. A well-formed list with another coding asks for what this server
 * has not (501); anything else is an attempt to be read in two ways (400).
 */
static bool on_transfer_encoding(struct http1_request *request, struct bytes value)
{
    const struct bytes chunked = BYTES_LITERAL("chunked");
    if (!first_time(request, SEEN_TRANSFER_ENCODING))
        return refuse(request, 400, "two Transfer-Encoding fields");
    if (bytes_equal_lower(value, chunked))
        return true;

    bool unknown = false;
    for (size_t start = 0; start <= value.length;) {
        struct bytes rest = bytes_skip(value, start);
        const uint8_t *comma = memchr(rest.data, ',', rest.length);
        size_t length = comma ? (size_t)(comma - rest.data) : rest.length;
        struct bytes coding = http_trim(bytes_of(rest.data, length));
        if (!http_token_valid(coding))
            return refuse(request, 400, "invalid Transfer-Encoding");
        unknown |= !bytes_equal_lower(coding, chunked);
        start += length + 1;
    }
    if (unknown)
        return refuse(request, 501, "unknown transfer coding");
    return refuse(request, 400, "chunked twice");
}

static bool on_connection(struct http1_request *request, struct bytes value)
{
    if (bytes_equal_lower(value, BYTES_LITERAL("keep-alive"))) {
        request->seen |= SEEN_KEEP_ALIVE; /* what nearly every browser and proxy says */
        return true;
    }
    if (http_list_has_token(value, BYTES_LITERAL("close")))
        request->seen |= SEEN_CLOSE;
    if (http_list_has_token(value, BYTES_LITERAL("keep-alive")))
        request->seen |= SEEN_KEEP_ALIVE;
    if (http_list_has_token(value, BYTES_LITERAL("upgrade")))
        request->seen |= SEEN_CONNECTION_UPGRADE;
    return true;
}

static bool on_upgrade(struct http1_request *request, struct bytes value)
{
    if (http_list_has_token(value, BYTES_LITERAL("websocket")))
        request->seen |= SEEN_WEBSOCKET;
    return true;
}

/* RFC 9110 10.1.1: an HTTP/1.0 client's expectation is ignored. */
static bool on_expect(struct http1_request *request, struct bytes value)
{
    if (request->head.version == HTTP_VERSION_1_0)
        return true;
    if (!bytes_equal_lower(value, BYTES_LITERAL("100-continue")))
        return refuse(request, 417, "unknown expectation");
    request->head.expect_continue = true;
    return true;
}

static bool on_te(struct http1_request *request, struct bytes value)
{
    request->head.te_trailers |= http_list_has_token(value, BYTES_LITERAL("trailers"));
    return true;
}

typedef bool field_rule(struct http1_request *request, struct bytes value);

static field_rule *const field_rules[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_CONNECTION] = on_connection,
    [HTTP_FIELD_CONTENT_LENGTH] = on_content_length,
    [HTTP_FIELD_CONTENT_TYPE] = on_content_type,
    [HTTP_FIELD_EXPECT] = on_expect,
    [HTTP_FIELD_HOST] = on_host,
    [HTTP_FIELD_TE] = on_te,
    [HTTP_FIELD_TRANSFER_ENCODING] = on_transfer_encoding,
    [HTTP_FIELD_UPGRADE] = on_upgrade,
};

/* One field line ------------------------------------------------------------------------------------------------ */

/* Nearly every value has one space before it and nothing behind it. */
static struct bytes trim_value(struct bytes value)
{
    if (value.length > 1 && value.data[0] == ' ')
        value = bytes_skip(value, 1);
    bool trimmed = value.length > 0 && !http_octet_is(value.data[0], OCTET_BLANK) &&
                   !http_octet_is(value.data[value.length - 1], OCTET_BLANK);
    return trimmed ? value : http_trim(value);
}

/* RFC 9112 5: name ":" OWS value OWS. Controls were refused by the scan; a blank before the colon or the name is no
 * tchar, so space before the colon and folding are refused together with every other bad name (RFC 9112 5.1, 5.2). */
static bool parse_field(struct http1_request *request, const struct http1_limits *limits, uint8_t *line, size_t length,
                        size_t readable)
{
    if (request->head.field_count == limits->field_count_max || request->head.field_count == request->fields_capacity)
        return refuse(request, 431, "too many fields");
    size_t name_length = http_name_lower(line, length, readable);
    if (name_length == 0 || name_length == length || line[name_length] != ':')
        return refuse(request, 400, "field name is not a token with a colon");

    struct http_field *field = &request->head.fields[request->head.field_count];
    field->name = bytes_of(line, name_length);
    field->value = trim_value(bytes_of(line + name_length + 1, length - name_length - 1));
    field->id = (uint16_t)http_field_id_of(field->name);
    field->has_underscore = field->id == HTTP_FIELD_OTHER && memchr(line, '_', name_length) != NULL;
    if (field->has_underscore && limits->refuse_underscore_names)
        return refuse(request, 400, "underscore in a field name");
    request->head.field_count++;
    field_rule *rule = field_rules[field->id];
    return !rule || rule(request, field->value);
}

/* The whole head -------------------------------------------------------------------------------------------------- */

static bool check_host(struct http1_request *request)
{
    if ((request->seen & SEEN_HOST) == 0)
        return request->head.version == HTTP_VERSION_1_0 || refuse(request, 400, "no Host"); /* RFC 9112 3.2 */
    /* H1-20: the proxy in front routed by one of the two; if they differ, it and the application disagree. */
    if (request->target_form == HTTP1_TARGET_ABSOLUTE &&
        !http_target_same_authority(request->authority, request->head.host, request->head.target_is_https))
        return refuse(request, 400, "Host is not the target's authority");
    return true;
}

static bool settle_framing(struct http1_request *request, const struct http1_limits *limits)
{
    bool has_length = (request->seen & SEEN_CONTENT_LENGTH) != 0;
    if ((request->seen & SEEN_TRANSFER_ENCODING) != 0) {
        /* RFC 9112 6.3: two framings at once is an attack, not a choice. */
        if (has_length)
            return refuse(request, 400, "Content-Length with Transfer-Encoding");
        /* RFC 9112 6.1: faulty framing, since HTTP/1.0 has no transfer codings. */
        if (request->head.version == HTTP_VERSION_1_0)
            return refuse(request, 400, "Transfer-Encoding in HTTP/1.0");
        request->head.body_kind = HTTP_BODY_UNKNOWN;
        return true;
    }
    if (!has_length)
        return true;
    if (limits->body_bytes_max != 0 && request->head.content_length > limits->body_bytes_max)
        return refuse(request, 413, "Content-Length over the limit");
    request->head.body_kind = HTTP_BODY_LENGTH;
    return true;
}

static bool finish_head(struct http1_request *request, const struct http1_limits *limits)
{
    if (!check_host(request) || !settle_framing(request, limits))
        return false;
    /* RFC 9112 9.3: close wins; HTTP/1.0 closes unless it asked not to. */
    bool persistent = request->head.version != HTTP_VERSION_1_0 || (request->seen & SEEN_KEEP_ALIVE) != 0;
    request->keep_alive = persistent && (request->seen & SEEN_CLOSE) == 0;
    /* RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored. */
    const unsigned upgrade = SEEN_CONNECTION_UPGRADE | SEEN_WEBSOCKET;
    request->upgrade_websocket = request->head.version != HTTP_VERSION_1_0 && (request->seen & upgrade) == upgrade;
    request->phase = COMPLETE;
    return true;
}

/* A line of `length` octets without CRLF, at the front of `readable` ones. */
static bool on_line(struct http1_request *request, const struct http1_limits *limits, uint8_t *line, size_t length,
                    size_t readable)
{
    if (request->phase == IN_FIELDS)
        return length == 0 ? finish_head(request, limits) : parse_field(request, limits, line, length, readable);
    if (length > 0)
        return parse_request_line(request, bytes_of(line, length));
    if (request->blank_lines++ == BLANK_LINES_MAX)
        return refuse(request, 400, "too many empty lines before the request"); /* RFC 9112 2.2 */
    return true;
}

/*
 * `end` is where the text received of the current line ends. A limit is passed at one certain octet, whatever the cut,
 * and of two limits the one that is passed first is reported.
 */
static bool bounds_hold(struct http1_request *request, const struct http1_limits *limits, const uint8_t *input,
                        size_t end)
{
    bool in_fields = request->phase == IN_FIELDS;
    size_t line_bound = request->line_start + (in_fields ? limits->field_size_max : limits->request_line_max);
    size_t bound = line_bound < limits->head_bytes_max ? line_bound : limits->head_bytes_max;
    size_t within = end < bound ? end : bound;
    if (request->phase == IN_METHOD) {
        struct bytes line = bytes_of(input + request->line_start, within - request->line_start);
        if (!method_accepted(request, limits, line))
            return false;
    }
    if (end <= bound)
        return true;
    if (line_bound > bound)
        return refuse(request, 431, "head too large");
    return in_fields ? refuse(request, 431, "field too large") : refuse(request, 414, "request line too long");
}

enum line_end { LINE_END_CUT, LINE_END_FOUND, LINE_END_REFUSED };

/* The control octet at `at`, the first of this line, has to be CR, with LF behind it (H1-14, H1-15, H1-18). */
static enum line_end check_line_end(struct http1_request *request, const struct http1_limits *limits,
                                    struct bytes input, size_t at)
{
    static const uint8_t line_end[2] = {'\r', '\n'};
    bool whole = input.length - at >= sizeof(line_end) && at + sizeof(line_end) <= limits->head_bytes_max;
    if (whole && memcmp(input.data + at, line_end, sizeof(line_end)) == 0)
        return LINE_END_FOUND;
    for (size_t i = 0; i < sizeof(line_end); i++, at++) {
        if (at == input.length)
            return LINE_END_CUT;
        bool in_bounds = at < limits->head_bytes_max || refuse(request, 431, "head too large");
        if (!in_bounds)
            return LINE_END_REFUSED;
        if (input.data[at] != line_end[i]) {
            (void)refuse(request, 400, i == 0 ? "control octet or bare LF in the head" : "bare CR in the head");
            return LINE_END_REFUSED;
        }
    }
    return LINE_END_FOUND;
}

static void move_span(struct bytes *span, const uint8_t *from, const uint8_t *to)
{
    span->data = to + ((uintptr_t)span->data - (uintptr_t)from);
}

/*
 * The octets stand elsewhere than in the last call. Whoever moved them has touched each of them, so this costs nothing
 * that was not paid already. Names are put in lower case again, should the copy have been made before the parse.
 */
static void follow_input(struct http1_request *request, uint8_t *input)
{
    const uint8_t *from = request->input;
    request->input = input;
    if (request->phase == IN_METHOD)
        return;
    move_span(&request->head.method, from, input);
    if (request->phase == IN_REQUEST_LINE)
        return;
    struct bytes *const spans[] = {&request->head.target, &request->head.path, &request->head.query,
                                   &request->authority, &request->head.host};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        move_span(spans[i], from, input);
    for (uint32_t i = 0; i < request->head.field_count; i++) {
        struct http_field *field = &request->head.fields[i];
        move_span(&field->name, from, input);
        move_span(&field->value, from, input);
        (void)http_name_lower_plain(input + (field->name.data - input), field->name.length);
    }
}

enum http1_progress http1_request_feed(struct http1_request *request, const struct http1_limits *limits, uint8_t *input,
                                       size_t length, size_t *ret_consumed)
{
    if (request->input != input && request->phase < COMPLETE)
        follow_input(request, input);
    while (request->phase < COMPLETE) {
        size_t end = http_control_find(input, request->scanned, length);
        request->scanned = end;
        if (!bounds_hold(request, limits, input, end))
            break;
        enum line_end found = check_line_end(request, limits, bytes_of(input, length), end);
        if (found == LINE_END_CUT)
            return HTTP1_NEED_MORE;
        if (found == LINE_END_REFUSED)
            break;
        size_t start = request->line_start;
        if (!on_line(request, limits, input + start, end - start, length - start))
            break;
        request->line_start = request->scanned = end + 2;
    }
    if (request->phase != COMPLETE)
        return HTTP1_REJECTED;
    *ret_consumed = request->scanned;
    return HTTP1_HEAD_READY;
}
