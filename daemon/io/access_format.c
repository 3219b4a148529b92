#include "daemon/io/access_format.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
    LINE_END_BYTES = 4,          /* "..." and the line end, kept free for a line that must be cut */
    SHORT_VALUE_BYTES_MAX = 256, /* address, method, scheme: what JSON bounds more tightly */
    USER_BYTES_MAX = 256,
    TIME_TEXT_BYTES = 40,
};

/* Room in the output. Once something did not fit, nothing more is written. */
struct writer {
    char *at;
    char *end;
    bool full;
};

struct op;
typedef void put_op(struct writer *writer, struct access_format *format, const struct access_entry *entry,
                    const struct op *op);

struct op {
    put_op *put;
    struct bytes text; /* a piece of the format, or a field name in lower case */
    enum http_field_id field_id;
};

struct access_format {
    bool json;
    bool wants_response_fields;
    char *text; /* the format; ops point into it */
    size_t op_count;
    struct op ops[ACCESS_FORMAT_OPS_MAX];

    int64_t second; /* the one that time_text shows */
    size_t time_text_bytes;
    char time_text[TIME_TEXT_BYTES];
};

/* Plain pieces ----------------------------------------------------------------------------------------------------- */

static void put(struct writer *writer, const void *data, size_t length)
{
    size_t room = (size_t)(writer->end - writer->at);
    if (length > room) {
        length = room;
        writer->full = true;
    }
    memcpy(writer->at, data, length);
    writer->at += length;
    if (writer->full)
        writer->end = writer->at;
}

/* For escapes and UTF-8 sequences, which are never cut in the middle. */
static void put_whole(struct writer *writer, const void *data, size_t length)
{
    if (length <= (size_t)(writer->end - writer->at)) {
        put(writer, data, length);
        return;
    }
    writer->full = true;
    writer->end = writer->at;
}

#define PUT_LITERAL(writer, literal) put((writer), (literal), sizeof(literal) - 1)

static void put_decimal(struct writer *writer, uint64_t value)
{
    char digits[20];
    char *at = digits + sizeof digits;
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    put(writer, at, (size_t)(digits + sizeof digits - at));
}

static void write_digits(char *to, unsigned value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
}

static void put_seconds(struct writer *writer, uint64_t duration_us)
{
    char fraction[7] = ".";
    write_digits(fraction + 1, (unsigned)(duration_us % 1'000'000), 6);
    put_decimal(writer, duration_us / 1'000'000);
    put(writer, fraction, sizeof fraction);
}

static void put_protocol(struct writer *writer, const struct access_entry *entry)
{
    PUT_LITERAL(writer, "HTTP/");
    put_decimal(writer, entry->version_major);
    PUT_LITERAL(writer, ".");
    put_decimal(writer, entry->version_minor);
}

/* Escaping --------------------------------------------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";

static bool is_plain(uint8_t octet)
{
    return octet >= 0x20 && octet < 0x7f && octet != '"' && octet != '\\';
}

static size_t plain_run(const uint8_t *data, size_t length)
{
    size_t run = 0;
    while (run < length && is_plain(data[run]))
        run++;
    return run;
}

/* Writes what stands at `data`, which is not plain, and says how many octets that was. */
typedef size_t put_unit(struct writer *writer, const uint8_t *data, size_t length);

static size_t put_text_unit(struct writer *writer, const uint8_t *data, size_t length)
{
    (void)length;
    if (*data == '"' || *data == '\\')
        put_whole(writer, (char[]){'\\', (char)*data}, 2);
    else
        put_whole(writer, (char[]){'\\', 'x', hex_digits[*data >> 4], hex_digits[*data & 15]}, 4);
    return 1;
}

/* Unicode 15, table 3-7: which second octet may follow which first. The others are 80 to BF. */
static const struct utf8_row {
    uint8_t first_min, first_max, second_min, second_max, bytes;
} utf8_rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

static bool utf8_row_fits(const struct utf8_row *row, const uint8_t *data, size_t length)
{
    if (data[0] < row->first_min || data[0] > row->first_max || length < row->bytes)
        return false;
    if (data[1] < row->second_min || data[1] > row->second_max)
        return false;
    for (size_t i = 2; i < row->bytes; i++)
        if ((data[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* Length of the UTF-8 sequence of two or more octets that stands here; 0 if none does. */
static size_t utf8_sequence(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < sizeof utf8_rows / sizeof utf8_rows[0]; i++)
        if (utf8_row_fits(&utf8_rows[i], data, length))
            return utf8_rows[i].bytes;
    return 0;
}

static void put_json_code(struct writer *writer, unsigned code)
{
    char escape[6] = "\\u";
    for (int i = 0; i < 4; i++)
        escape[2 + i] = hex_digits[code >> (12 - 4 * i) & 15];
    put_whole(writer, escape, sizeof escape);
}

/* Some readers end a line at U+0080 to U+009F (NEL), U+2028 and U+2029 too; JSON allows to escape them. */
static unsigned line_end_code(const uint8_t *data, size_t sequence)
{
    if (sequence == 2 && data[0] == 0xc2 && data[1] < 0xa0)
        return data[1];
    if (sequence == 3 && data[0] == 0xe2 && data[1] == 0x80 && (data[2] == 0xa8 || data[2] == 0xa9))
        return 0x2000U | (data[2] & 0x3f);
    return 0;
}

static size_t put_json_unit(struct writer *writer, const uint8_t *data, size_t length)
{
    if (*data == '"' || *data == '\\') {
        put_whole(writer, (char[]){'\\', (char)*data}, 2);
        return 1;
    }
    if (*data < 0x80) {
        put_json_code(writer, *data);
        return 1;
    }
    size_t sequence = utf8_sequence(data, length);
    unsigned code = line_end_code(data, sequence);
    if (code)
        put_json_code(writer, code);
    else if (sequence)
        put_whole(writer, data, sequence);
    else
        put_whole(writer, "\xef\xbf\xbd", 3);
    return sequence ? sequence : 1;
}

/* At most `bytes_max` octets and the mark that something is missing, so that no value crowds out the others. */
static void put_escaped(struct writer *writer, struct bytes value, size_t bytes_max, put_unit *unit)
{
    struct writer part = {.at = writer->at, .end = writer->end};
    bool bounded = (size_t)(writer->end - writer->at) > bytes_max;
    if (bounded)
        part.end = part.at + bytes_max;

    size_t at = 0;
    while (at < value.length && !part.full) {
        size_t run = plain_run(value.data + at, value.length - at);
        put(&part, value.data + at, run);
        at += run;
        if (at < value.length && !part.full)
            at += unit(&part, value.data + at, value.length - at);
    }
    writer->at = part.at;
    if (part.full && bounded)
        PUT_LITERAL(writer, "...");
    else if (part.full)
        *writer = part;
}

static void put_value(struct writer *writer, struct bytes value)
{
    put_escaped(writer, value, ACCESS_FORMAT_VALUE_BYTES_MAX, put_text_unit);
}

static void put_value_or_dash(struct writer *writer, struct bytes value)
{
    put_value(writer, value.data ? value : BYTES_LITERAL("-"));
}

/* Fields ----------------------------------------------------------------------------------------------------------- */

/* The last one counts, as in Gunicorn. `data` is NULL if there is none. */
static struct bytes request_field(const struct access_entry *entry, enum http_field_id id, struct bytes lower_name)
{
    for (uint32_t i = entry->request_field_count; i-- > 0;) {
        const struct http_field *field = &entry->request_fields[i];
        if (id != HTTP_FIELD_OTHER ? field->id == id : bytes_equal(field->name, lower_name))
            return field->value.data ? field->value : BYTES_LITERAL("");
    }
    return (struct bytes){};
}

static struct bytes response_field(const struct access_entry *entry, struct bytes lower_name)
{
    for (uint32_t i = entry->response_field_count; i-- > 0;) {
        const struct http_field *field = &entry->response_fields[i];
        if (bytes_equal_lower(field->name, lower_name))
            return field->value.data ? field->value : BYTES_LITERAL("");
    }
    return (struct bytes){};
}

static int base64_value(uint8_t octet)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = octet ? strchr(digits, octet) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* RFC 7617 2: user-id ":" password. Decodes only up to the colon; without one nobody named himself. */
static size_t decode_user(struct bytes credentials, uint8_t user[USER_BYTES_MAX])
{
    uint32_t bits = 0;
    int bit_count = 0;
    size_t used = 0;
    for (size_t i = 0; i < credentials.length; i++) {
        int value = base64_value(credentials.data[i]);
        if (value < 0)
            return 0;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count < 8)
            continue;
        bit_count -= 8;
        uint8_t octet = (uint8_t)(bits >> bit_count);
        if (octet == ':')
            return used;
        if (used == USER_BYTES_MAX)
            return 0;
        user[used++] = octet;
    }
    return 0;
}

/* The user of Basic authentication; nobody has checked the password. Empty if there is none. */
static struct bytes user_of(const struct access_entry *entry, uint8_t user[USER_BYTES_MAX])
{
    static const struct bytes scheme = {(const uint8_t *)"basic ", 6};
    struct bytes value = request_field(entry, HTTP_FIELD_AUTHORIZATION, (struct bytes){});
    if (value.length < scheme.length || !bytes_equal_lower(bytes_of(value.data, scheme.length), scheme))
        return (struct bytes){};
    struct bytes credentials = http_trim(bytes_skip(value, scheme.length));
    return bytes_of(user, decode_user(credentials, user));
}

/* Time ------------------------------------------------------------------------------------------------------------- */

/* "[22/Nov/2026:17:00:00 +0000]" in local time, English whatever the locale says. */
static size_t local_time_text(const struct tm *local, char text[TIME_TEXT_BYTES])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    size_t length = strftime(text, TIME_TEXT_BYTES, "[%d/xxx/%Y:%H:%M:%S %z]", local);
    memcpy(text + 4, &months[3 * local->tm_mon], 3);
    return length;
}

/* Once a second; a clock that was set back makes a new text too. */
static struct bytes time_text_at(struct access_format *format, uint64_t time_us)
{
    int64_t second = (int64_t)(time_us / 1'000'000);
    if (second != format->second || format->time_text_bytes == 0) {
        struct tm parts;
        time_t time = second;
        format->second = second;
        format->time_text_bytes =
            format->json ? strftime(format->time_text, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", gmtime_r(&time, &parts))
                         : local_time_text(localtime_r(&time, &parts), format->time_text);
    }
    return bytes_of(format->time_text, format->time_text_bytes);
}

/* Atoms: one function each ----------------------------------------------------------------------------------------- */

#define OP_PARAMETERS                                                                      \
    [[maybe_unused]] struct writer *writer, [[maybe_unused]] struct access_format *format, \
        [[maybe_unused]] const struct access_entry *entry, [[maybe_unused]] const struct op *op

static void put_literal(OP_PARAMETERS)
{
    put(writer, op->text.data, op->text.length);
}

static void put_dash(OP_PARAMETERS)
{
    PUT_LITERAL(writer, "-");
}

static void put_remote_address(OP_PARAMETERS)
{
    put_value(writer, entry->remote_address.length ? entry->remote_address : BYTES_LITERAL("-"));
}

static void put_user(OP_PARAMETERS)
{
    uint8_t user[USER_BYTES_MAX];
    struct bytes value = user_of(entry, user);
    put_value(writer, value.length ? value : BYTES_LITERAL("-"));
}

static void put_time(OP_PARAMETERS)
{
    struct bytes text = time_text_at(format, entry->time_us);
    put(writer, text.data, text.length);
}

static void put_request_line(OP_PARAMETERS)
{
    put_value(writer, entry->method);
    PUT_LITERAL(writer, " ");
    put_value(writer, entry->target);
    PUT_LITERAL(writer, " ");
    put_protocol(writer, entry);
}

static void put_method(OP_PARAMETERS)
{
    put_value(writer, entry->method);
}

static void put_target(OP_PARAMETERS)
{
    put_value(writer, entry->target);
}

static void put_path(OP_PARAMETERS)
{
    put_value(writer, entry->path);
}

static void put_query(OP_PARAMETERS)
{
    put_value(writer, entry->query);
}

static void put_scheme(OP_PARAMETERS)
{
    put_value(writer, entry->scheme);
}

static void put_protocol_atom(OP_PARAMETERS)
{
    put_protocol(writer, entry);
}

static void put_status(OP_PARAMETERS)
{
    put_decimal(writer, entry->status);
}

static void put_body_bytes(OP_PARAMETERS)
{
    put_decimal(writer, entry->body_bytes);
}

static void put_duration_s(OP_PARAMETERS)
{
    put_decimal(writer, entry->duration_us / 1'000'000);
}

static void put_duration_ms(OP_PARAMETERS)
{
    put_decimal(writer, entry->duration_us / 1000);
}

static void put_duration_us(OP_PARAMETERS)
{
    put_decimal(writer, entry->duration_us);
}

static void put_duration_decimal(OP_PARAMETERS)
{
    put_seconds(writer, entry->duration_us);
}

static void put_pid(OP_PARAMETERS)
{
    if (entry->app_pid <= 0) {
        PUT_LITERAL(writer, "-");
        return;
    }
    PUT_LITERAL(writer, "<");
    put_decimal(writer, (uint64_t)entry->app_pid);
    PUT_LITERAL(writer, ">");
}

static void put_request_field(OP_PARAMETERS)
{
    put_value_or_dash(writer, request_field(entry, op->field_id, op->text));
}

static void put_response_field(OP_PARAMETERS)
{
    put_value_or_dash(writer, response_field(entry, op->text));
}

/* JSON: OpenTelemetry's names ----------------------------------------------------------------------------------------
 */

static void put_json_string(struct writer *writer, struct bytes value, size_t bytes_max)
{
    PUT_LITERAL(writer, "\"");
    put_escaped(writer, value, bytes_max, put_json_unit);
    PUT_LITERAL(writer, "\"");
}

/* A member that is absent from the request is absent from the line. */
static void put_json_member(struct writer *writer, const char *name, struct bytes value, size_t bytes_max)
{
    if (value.length == 0)
        return;
    put(writer, name, strlen(name));
    put_json_string(writer, value, bytes_max);
}

static void put_json_timestamp(struct writer *writer, struct access_format *format, uint64_t time_us)
{
    char fraction[] = ".000000Z\"";
    struct bytes second = time_text_at(format, time_us);
    write_digits(fraction + 1, (unsigned)(time_us % 1'000'000), 6);
    PUT_LITERAL(writer, "{\"timestamp\":\"");
    put(writer, second.data, second.length);
    put(writer, fraction, sizeof fraction - 1);
}

static void put_json_request(struct writer *writer, const struct access_entry *entry)
{
    enum { SHORT = SHORT_VALUE_BYTES_MAX, LONG = ACCESS_FORMAT_VALUE_BYTES_MAX };
    put_json_member(writer, ",\"client.address\":", entry->remote_address, SHORT);
    put_json_member(writer, ",\"http.request.method\":", entry->method, SHORT);
    put_json_member(writer, ",\"url.scheme\":", entry->scheme, SHORT);
    put_json_member(writer, ",\"url.path\":", entry->path, LONG);
    put_json_member(writer, ",\"url.query\":", entry->query, LONG);
    PUT_LITERAL(writer, ",\"network.protocol.version\":\"");
    put_decimal(writer, entry->version_major);
    PUT_LITERAL(writer, ".");
    put_decimal(writer, entry->version_minor);
    PUT_LITERAL(writer, "\"");
}

static void put_json_response(struct writer *writer, const struct access_entry *entry)
{
    PUT_LITERAL(writer, ",\"http.response.status_code\":");
    put_decimal(writer, entry->status);
    PUT_LITERAL(writer, ",\"http.response.body.size\":");
    put_decimal(writer, entry->body_bytes);
    PUT_LITERAL(writer, ",\"http.server.request.duration\":");
    put_seconds(writer, entry->duration_us);
    if (entry->app_pid > 0) {
        PUT_LITERAL(writer, ",\"process.pid\":");
        put_decimal(writer, (uint64_t)entry->app_pid);
    }
}

static void put_json_fields(struct writer *writer, const struct access_entry *entry)
{
    enum { LONG = ACCESS_FORMAT_VALUE_BYTES_MAX };
    static const struct bytes none = {};
    uint8_t user[USER_BYTES_MAX];
    struct bytes referer = request_field(entry, HTTP_FIELD_REFERER, none);

    put_json_member(writer, ",\"server.address\":", request_field(entry, HTTP_FIELD_HOST, none), LONG);
    put_json_member(writer, ",\"user_agent.original\":", request_field(entry, HTTP_FIELD_USER_AGENT, none), LONG);
    put_json_member(writer, ",\"http.request.header.referer\":[", referer, LONG); /* fields are lists there */
    if (referer.length)
        PUT_LITERAL(writer, "]");
    put_json_member(writer, ",\"user.name\":", user_of(entry, user), LONG);
}

enum { JSON_LONG_VALUES = 6, JSON_SHORT_VALUES = 3, JSON_REST_BYTES_MAX = 1024, JSON_VALUE_OVERHEAD = 3 };
static_assert(JSON_LONG_VALUES * (ACCESS_FORMAT_VALUE_BYTES_MAX + JSON_VALUE_OVERHEAD) +
                      JSON_SHORT_VALUES * (SHORT_VALUE_BYTES_MAX + JSON_VALUE_OVERHEAD) + JSON_REST_BYTES_MAX <=
                  ACCESS_FORMAT_LINE_BYTES_MAX,
              "a JSON line is never cut, for half an object is none");

static void put_json_object(OP_PARAMETERS)
{
    put_json_timestamp(writer, format, entry->time_us);
    put_json_request(writer, entry);
    put_json_response(writer, entry);
    put_json_fields(writer, entry);
    PUT_LITERAL(writer, "}");
}

/* Compiling -------------------------------------------------------------------------------------------------------- */

static const struct {
    char letter;
    put_op *put;
    enum http_field_id field_id;
} atoms[] = {
    {'h', put_remote_address, HTTP_FIELD_OTHER},
    {'l', put_dash, HTTP_FIELD_OTHER}, /* identd, of old */
    {'u', put_user, HTTP_FIELD_OTHER},
    {'t', put_time, HTTP_FIELD_OTHER},
    {'r', put_request_line, HTTP_FIELD_OTHER},
    {'m', put_method, HTTP_FIELD_OTHER},
    {'U', put_path, HTTP_FIELD_OTHER},
    {'q', put_query, HTTP_FIELD_OTHER},
    {'H', put_protocol_atom, HTTP_FIELD_OTHER},
    {'s', put_status, HTTP_FIELD_OTHER},
    {'B', put_body_bytes, HTTP_FIELD_OTHER},
    {'b', put_body_bytes, HTTP_FIELD_OTHER},
    {'f', put_request_field, HTTP_FIELD_REFERER},
    {'a', put_request_field, HTTP_FIELD_USER_AGENT},
    {'T', put_duration_s, HTTP_FIELD_OTHER},
    {'M', put_duration_ms, HTTP_FIELD_OTHER},
    {'D', put_duration_us, HTTP_FIELD_OTHER},
    {'L', put_duration_decimal, HTTP_FIELD_OTHER},
    {'p', put_pid, HTTP_FIELD_OTHER},
};

/* What an I/O process knows of the environ; the HTTP_* of it are request fields. */
static const struct {
    const char *lower_name;
    put_op *put;
} environ_atoms[] = {
    {"request_method", put_method},         {"path_info", put_path}, {"query_string", put_query},
    {"server_protocol", put_protocol_atom}, {"raw_uri", put_target}, {"remote_addr", put_remote_address},
    {"wsgi.url_scheme", put_scheme},
};

static struct op field_op(put_op *put_function, struct bytes lower_name)
{
    return (struct op){put_function, lower_name, http_field_id_of(lower_name)};
}

/* HTTP_X_Y is the field x-y; `name` lies in the format's own copy, so it may be changed. */
static struct op environ_field_op(char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (name[i] == '_')
            name[i] = '-';
    return field_op(put_request_field, bytes_of(name, length));
}

static struct op environ_op(char *name, size_t length)
{
    struct bytes wanted = bytes_of(name, length);
    for (size_t i = 0; i < sizeof environ_atoms / sizeof environ_atoms[0]; i++)
        if (bytes_equal(wanted, bytes_of_string(environ_atoms[i].lower_name)))
            return (struct op){.put = environ_atoms[i].put};
    if (length > 5 && memcmp(name, "http_", 5) == 0)
        return environ_field_op(name + 5, length - 5);
    if (bytes_equal(wanted, BYTES_LITERAL("content_type")) || bytes_equal(wanted, BYTES_LITERAL("content_length")))
        return environ_field_op(name, length);
    return (struct op){.put = put_dash};
}

/* {name}i, {name}o, {name}e; names have no case. */
static struct op named_op(struct access_format *format, char *name, size_t length, char kind)
{
    for (size_t i = 0; i < length; i++)
        name[i] = (char)bytes_lower((uint8_t)name[i]);
    switch (kind) {
    case 'i':
        return field_op(put_request_field, bytes_of(name, length));
    case 'o':
        format->wants_response_fields = true;
        return field_op(put_response_field, bytes_of(name, length));
    case 'e':
        return environ_op(name, length);
    default:
        return (struct op){.put = put_dash};
    }
}

/* The atom between the parentheses; one that nobody knows is a dash, as in Gunicorn. */
static struct op atom_op(struct access_format *format, char *atom, size_t length)
{
    if (length >= 3 && atom[0] == '{' && atom[length - 2] == '}')
        return named_op(format, atom + 1, length - 3, atom[length - 1]);
    for (size_t i = 0; length == 1 && i < sizeof atoms / sizeof atoms[0]; i++)
        if (atoms[i].letter == *atom)
            return (struct op){.put = atoms[i].put, .field_id = atoms[i].field_id};
    return (struct op){.put = put_dash};
}

static const char *add_op(struct access_format *format, struct op op)
{
    if (format->op_count == ACCESS_FORMAT_OPS_MAX)
        return "it has more than 128 pieces";
    format->ops[format->op_count++] = op;
    return NULL;
}

static const char *add_literal(struct access_format *format, const char *text, size_t length)
{
    return length ? add_op(format, (struct op){.put = put_literal, .text = bytes_of(text, length)}) : NULL;
}

/* What follows a '%': "%", "(atom)s" or "(atom)d". Moves *at behind it. */
static const char *add_conversion(struct access_format *format, char **at)
{
    char *start = *at;
    if (*start == '%') {
        *at = start + 1;
        return add_literal(format, start, 1);
    }
    if (*start != '(')
        return "a % must be followed by (atom)s or by another %";
    char *close = strchr(start, ')');
    if (!close)
        return "a %( has no closing parenthesis";
    if (close[1] != 's' && close[1] != 'd')
        return "a %(atom) must be followed by s";
    *at = close + 2;
    return add_op(format, atom_op(format, start + 1, (size_t)(close - start - 1)));
}

static const char *compile(struct access_format *format)
{
    char *at = format->text;
    const char *problem = NULL;
    while (*at && !problem) {
        size_t literal = strcspn(at, "%");
        problem = add_literal(format, at, literal);
        at += literal;
        if (problem || !*at)
            break;
        at++;
        problem = add_conversion(format, &at);
    }
    return problem;
}

int access_format_create(const char *text, struct access_format **ret_format, const char **ret_problem)
{
    static_assert(ACCESS_FORMAT_OPS_MAX == 128, "the number stands in a message");
    struct access_format *format = calloc(1, sizeof *format);
    char *copy = strdup(text);
    if (!format || !copy) {
        free(format);
        free(copy);
        return -ENOMEM;
    }
    tzset();
    format->text = copy;
    format->json = strcmp(text, "json") == 0;

    const char *problem = format->json ? add_op(format, (struct op){.put = put_json_object}) : compile(format);
    if (problem) {
        access_format_destroy(format);
        *ret_problem = problem;
        return -EINVAL;
    }
    *ret_format = format;
    return 0;
}

void access_format_destroy(struct access_format *format)
{
    if (!format)
        return;
    free(format->text);
    free(format);
}

bool access_format_wants_response_fields(const struct access_format *format)
{
    return format->wants_response_fields;
}

size_t access_format_render(struct access_format *format, const struct access_entry *entry, char *output,
                            size_t capacity)
{
    bool bounded = capacity >= ACCESS_FORMAT_LINE_BYTES_MAX;
    size_t bytes_max = bounded ? ACCESS_FORMAT_LINE_BYTES_MAX : capacity;
    if (bytes_max < LINE_END_BYTES)
        return 0;

    struct writer writer = {.at = output, .end = output + bytes_max - LINE_END_BYTES};
    for (size_t i = 0; i < format->op_count && !writer.full; i++)
        format->ops[i].put(&writer, format, entry, &format->ops[i]);
    if (writer.full && !bounded)
        return 0;

    struct writer rest = {.at = writer.at, .end = output + bytes_max};
    if (writer.full)
        PUT_LITERAL(&rest, "...");
    PUT_LITERAL(&rest, "\n");
    return (size_t)(rest.at - output);
}
