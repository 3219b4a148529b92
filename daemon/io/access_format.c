#include "daemon/io/access_format.h"

#include "daemon/io/access_json.h"
#include "daemon/io/log_text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
    LINE_END_BYTES = 4, /* "..." and the line end, kept free for a line that must be cut */
    TIME_TEXT_BYTES = 40,
};

struct op;
typedef void put_op(struct log_text *line, struct access_format *format, const struct access_entry *entry,
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

/* Pieces of several atoms ------------------------------------------------------------------------------------------ */

static void put_value(struct log_text *line, struct bytes value)
{
    log_text_put_escaped(line, value, ACCESS_VALUE_BYTES_MAX, log_text_escape_plain);
}

static void put_value_or_dash(struct log_text *line, struct bytes value)
{
    put_value(line, value.data ? value : BYTES_LITERAL("-"));
}

static void put_protocol(struct log_text *line, const struct access_entry *entry)
{
    LOG_TEXT_LITERAL(line, "HTTP/");
    log_text_put_decimal(line, entry->version_major);
    LOG_TEXT_LITERAL(line, ".");
    log_text_put_decimal(line, entry->version_minor);
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
    [[maybe_unused]] struct log_text *line, [[maybe_unused]] struct access_format *format, \
        [[maybe_unused]] const struct access_entry *entry, [[maybe_unused]] const struct op *op

static void put_literal(OP_PARAMETERS)
{
    log_text_put(line, op->text.data, op->text.length);
}

static void put_dash(OP_PARAMETERS)
{
    LOG_TEXT_LITERAL(line, "-");
}

static void put_remote_address(OP_PARAMETERS)
{
    put_value(line, entry->remote_address.length ? entry->remote_address : BYTES_LITERAL("-"));
}

static void put_user(OP_PARAMETERS)
{
    uint8_t user[ACCESS_USER_BYTES_MAX];
    struct bytes value = access_entry_user(entry, user);
    put_value(line, value.length ? value : BYTES_LITERAL("-"));
}

static void put_time(OP_PARAMETERS)
{
    struct bytes text = time_text_at(format, entry->time_us);
    log_text_put(line, text.data, text.length);
}

static void put_request_line(OP_PARAMETERS)
{
    put_value(line, entry->method);
    LOG_TEXT_LITERAL(line, " ");
    put_value(line, entry->target);
    LOG_TEXT_LITERAL(line, " ");
    put_protocol(line, entry);
}

static void put_method(OP_PARAMETERS)
{
    put_value(line, entry->method);
}

static void put_target(OP_PARAMETERS)
{
    put_value(line, entry->target);
}

static void put_path(OP_PARAMETERS)
{
    put_value(line, entry->path);
}

static void put_query(OP_PARAMETERS)
{
    put_value(line, entry->query);
}

static void put_scheme(OP_PARAMETERS)
{
    put_value(line, entry->scheme);
}

static void put_protocol_atom(OP_PARAMETERS)
{
    put_protocol(line, entry);
}

static void put_status(OP_PARAMETERS)
{
    log_text_put_decimal(line, entry->status);
}

static void put_body_bytes(OP_PARAMETERS)
{
    log_text_put_decimal(line, entry->body_bytes);
}

static void put_duration_s(OP_PARAMETERS)
{
    log_text_put_decimal(line, entry->duration_us / 1'000'000);
}

static void put_duration_ms(OP_PARAMETERS)
{
    log_text_put_decimal(line, entry->duration_us / 1000);
}

static void put_duration_us(OP_PARAMETERS)
{
    log_text_put_decimal(line, entry->duration_us);
}

static void put_duration_decimal(OP_PARAMETERS)
{
    log_text_put_seconds(line, entry->duration_us);
}

static void put_json(OP_PARAMETERS)
{
    access_json_put(line, entry, time_text_at(format, entry->time_us));
}

static void put_pid(OP_PARAMETERS)
{
    if (entry->app_pid <= 0) {
        LOG_TEXT_LITERAL(line, "-");
        return;
    }
    LOG_TEXT_LITERAL(line, "<");
    log_text_put_decimal(line, (uint64_t)entry->app_pid);
    LOG_TEXT_LITERAL(line, ">");
}

static void put_request_field(OP_PARAMETERS)
{
    put_value_or_dash(line, access_entry_request_field(entry, op->field_id, op->text));
}

static void put_response_field(OP_PARAMETERS)
{
    put_value_or_dash(line, access_entry_response_field(entry, op->text));
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

    const char *problem = format->json ? add_op(format, (struct op){.put = put_json}) : compile(format);
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
    bool bounded = capacity >= ACCESS_LINE_BYTES_MAX;
    size_t bytes_max = bounded ? ACCESS_LINE_BYTES_MAX : capacity;
    if (bytes_max < LINE_END_BYTES)
        return 0;

    struct log_text line = {.at = output, .end = output + bytes_max - LINE_END_BYTES};
    for (size_t i = 0; i < format->op_count && !line.full; i++)
        format->ops[i].put(&line, format, entry, &format->ops[i]);
    if (line.full && !bounded)
        return 0;

    struct log_text rest = {.at = line.at, .end = output + bytes_max};
    if (line.full)
        LOG_TEXT_LITERAL(&rest, "...");
    LOG_TEXT_LITERAL(&rest, "\n");
    return (size_t)(rest.at - output);
}
