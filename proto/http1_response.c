#include "proto/http1_response.h"

#include <errno.h>

#include "proto/http_octets.h"

enum { STATUS_MIN = 100, STATUS_MAX = 999, DECIMAL_DIGITS_MAX = 20 };

/* A bound for the int that tells the length; far above every limit on a head. */
enum { OUTPUT_BYTES_MAX = 1 << 30 };

/* RFC 9110 15 and the registry; phrases are for people, no client reads them. */
#define STATUSES(X)                           \
    X(100, "Continue")                        \
    X(101, "Switching Protocols")             \
    X(102, "Processing")                      \
    X(103, "Early Hints")                     \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(203, "Non-Authoritative Information")   \
    X(204, "No Content")                      \
    X(205, "Reset Content")                   \
    X(206, "Partial Content")                 \
    X(207, "Multi-Status")                    \
    X(208, "Already Reported")                \
    X(226, "IM Used")                         \
    X(300, "Multiple Choices")                \
    X(301, "Moved Permanently")               \
    X(302, "Found")                           \
    X(303, "See Other")                       \
    X(304, "Not Modified")                    \
    X(305, "Use Proxy")                       \
    X(307, "Temporary Redirect")              \
    X(308, "Permanent Redirect")              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(402, "Payment Required")                \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(406, "Not Acceptable")                  \
    X(407, "Proxy Authentication Required")   \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(412, "Precondition Failed")             \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(421, "Misdirected Request")             \
    X(422, "Unprocessable Content")           \
    X(423, "Locked")                          \
    X(424, "Failed Dependency")               \
    X(425, "Too Early")                       \
    X(426, "Upgrade Required")                \
    X(428, "Precondition Required")           \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(451, "Unavailable For Legal Reasons")   \
    X(500, "Internal Server Error")           \
    X(501, "Not Implemented")                 \
    X(502, "Bad Gateway")                     \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")      \
    X(506, "Variant Also Negotiates")         \
    X(507, "Insufficient Storage")            \
    X(508, "Loop Detected")                   \
    X(511, "Network Authentication Required")

const char *http1_reason(uint16_t status)
{
    switch (status) {
#define PHRASE(number, phrase) \
    case number:               \
        return phrase;
        STATUSES(PHRASE)
#undef PHRASE
    default:
        return "Unknown";
    }
}

/* Writing --------------------------------------------------------------------------------------------------------- */

/* Writes while there is room; once something did not fit, `full` stays and nothing more is written. */
struct writer {
    uint8_t *at;
    uint8_t *end;
    bool full;
};

static struct writer writer_of(uint8_t *output, size_t capacity)
{
    return (struct writer){output, output + (capacity < OUTPUT_BYTES_MAX ? capacity : OUTPUT_BYTES_MAX), false};
}

static void put(struct writer *writer, struct bytes text)
{
    if (writer->full || (size_t)(writer->end - writer->at) < text.length) {
        writer->full = true;
        return;
    }
    if (text.length > 0)
        memcpy(writer->at, text.data, text.length);
    writer->at += text.length;
}

#define PUT_LITERAL(writer, text) put(writer, BYTES_LITERAL(text))

static void put_decimal(struct writer *writer, uint64_t value)
{
    uint8_t digits[DECIMAL_DIGITS_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(writer, bytes_of(digits + at, sizeof(digits) - at));
}

static void put_field(struct writer *writer, struct bytes name, struct bytes value)
{
    const size_t separators = 4; /* ": " and CRLF */
    size_t room = writer->full ? 0 : (size_t)(writer->end - writer->at);
    size_t total;
    if (__builtin_add_overflow(name.length, value.length, &total) || room < separators || total > room - separators) {
        writer->full = true;
        return;
    }
    uint8_t *at = writer->at;
    memcpy(at, name.data, name.length);
    at += name.length;
    *at++ = ':';
    *at++ = ' ';
    if (value.length > 0)
        memcpy(at, value.data, value.length);
    at += value.length;
    *at++ = '\r';
    *at++ = '\n';
    writer->at = at;
}

/* Fields ---------------------------------------------------------------------------------------------------------- */

/* What the server does with a field that the application gave. */
enum field_use { USE_AS_IS, USE_NEVER, USE_AS_DATE, USE_AS_SERVER, USE_ON_SWITCH };

static const struct special_field {
    struct bytes lower_name;
    enum field_use use;
} special_fields[] = {
    {{(const uint8_t *)"connection", 10}, USE_NEVER},
    {{(const uint8_t *)"content-length", 14}, USE_NEVER},
    {{(const uint8_t *)"date", 4}, USE_AS_DATE},
    {{(const uint8_t *)"keep-alive", 10}, USE_NEVER},
    {{(const uint8_t *)"proxy-connection", 16}, USE_NEVER},
    {{(const uint8_t *)"server", 6}, USE_AS_SERVER},
    {{(const uint8_t *)"transfer-encoding", 17}, USE_NEVER},
    {{(const uint8_t *)"upgrade", 7}, USE_ON_SWITCH},
};

static enum field_use use_of(struct bytes name)
{
    /* Bit n: some special name has n octets. Most names are told by this alone. */
    const uint32_t lengths = 1U << 4 | 1U << 6 | 1U << 7 | 1U << 10 | 1U << 14 | 1U << 16 | 1U << 17;
    if (name.length >= 32 || (lengths >> name.length & 1) == 0)
        return USE_AS_IS;
    for (size_t i = 0; i < sizeof(special_fields) / sizeof(special_fields[0]); i++)
        if (bytes_equal_lower(name, special_fields[i].lower_name))
            return special_fields[i].use;
    return USE_AS_IS;
}

/* Writes the application's fields; false for one that must not be sent. */
static bool put_fields(struct writer *writer, const struct http1_response *response, bool *ret_has_date,
                       bool *ret_has_server, uint32_t *ret_bad_field)
{
    for (uint32_t i = 0; i < response->field_count; i++) {
        struct bytes name = response->fields[i].name, value = response->fields[i].value;
        if (!http_token_valid(name) || !http_octets_safe(value)) {
            *ret_bad_field = i;
            return false;
        }
        enum field_use use = use_of(name);
        *ret_has_date |= use == USE_AS_DATE;
        *ret_has_server |= use == USE_AS_SERVER;
        if (use != USE_NEVER && (use != USE_ON_SWITCH || response->status == 101))
            put_field(writer, name, value);
    }
    return true;
}

/* The head -------------------------------------------------------------------------------------------------------- */

static void put_status_line(struct writer *writer, const struct http1_response *response)
{
    if (response->status == 200 && response->reason.length == 0) {
        PUT_LITERAL(writer, "HTTP/1.1 200 OK\r\n");
        return;
    }
    /* RFC 9112 2.3: the version is the server's own, also towards an HTTP/1.0 client. */
    PUT_LITERAL(writer, "HTTP/1.1 ");
    put_decimal(writer, response->status);
    PUT_LITERAL(writer, " ");
    put(writer, response->reason.length > 0 ? response->reason : bytes_of_string(http1_reason(response->status)));
    PUT_LITERAL(writer, "\r\n");
}

/* RFC 9112 6.3: the end of such a body is told by the end of the connection alone. */
static bool ends_with_connection(const struct http1_response *response)
{
    return response->body == HTTP1_RESPONSE_UNTIL_CLOSE ||
           (response->body == HTTP1_RESPONSE_CHUNKED && response->version_minor == 0);
}

static void put_framing(struct writer *writer, const struct http1_response *response)
{
    /* RFC 9110 8.6 and RFC 9112 6.1: neither field in 1xx and 204. */
    if (response->status < 200 || response->status == 204)
        return;
    if (response->body == HTTP1_RESPONSE_CHUNKED) {
        if (response->version_minor != 0)
            PUT_LITERAL(writer, "Transfer-Encoding: chunked\r\n");
        return;
    }
    if (!response->add_content_length || response->body == HTTP1_RESPONSE_UNTIL_CLOSE)
        return;
    PUT_LITERAL(writer, "Content-Length: ");
    put_decimal(writer, response->content_length);
    PUT_LITERAL(writer, "\r\n");
}

static void put_connection(struct writer *writer, const struct http1_response *response)
{
    if (response->status == 101)
        PUT_LITERAL(writer, "Connection: upgrade\r\n");
    else if (response->status < 200)
        return; /* the final response says what becomes of the connection */
    else if (!response->keep_alive || ends_with_connection(response))
        PUT_LITERAL(writer, "Connection: close\r\n");
    else if (response->version_minor == 0)
        PUT_LITERAL(writer, "Connection: keep-alive\r\n");
}

int http1_response_encode(const struct http1_response *response, uint8_t *output, size_t capacity,
                          uint32_t *ret_bad_field)
{
    struct writer writer = writer_of(output, capacity);
    bool has_date = response->date.length == 0, has_server = response->server.length == 0;
    bool status_valid = response->status >= STATUS_MIN && response->status <= STATUS_MAX;
    if (!status_valid || !http_field_value_valid(response->reason)) {
        *ret_bad_field = UINT32_MAX;
        return -EBADMSG;
    }
    put_status_line(&writer, response);
    if (!put_fields(&writer, response, &has_date, &has_server, ret_bad_field))
        return -EBADMSG;
    if (!has_date)
        put_field(&writer, BYTES_LITERAL("Date"), response->date);
    if (!has_server)
        put_field(&writer, BYTES_LITERAL("Server"), response->server);
    put_framing(&writer, response);
    put_connection(&writer, response);
    PUT_LITERAL(&writer, "\r\n");
    return writer.full ? -ENOSPC : (int)(writer.at - output);
}

int http1_response_trailers(const struct http_field *fields, uint32_t field_count, uint8_t *output, size_t capacity,
                            uint32_t *ret_bad_field)
{
    const struct http1_response response = {.fields = fields, .field_count = field_count};
    struct writer writer = writer_of(output, capacity);
    bool has_date = false, has_server = false;
    PUT_LITERAL(&writer, "0\r\n");
    if (!put_fields(&writer, &response, &has_date, &has_server, ret_bad_field))
        return -EBADMSG;
    PUT_LITERAL(&writer, "\r\n");
    return writer.full ? -ENOSPC : (int)(writer.at - output);
}

size_t http1_chunk_head(uint64_t chunk_bytes, uint8_t output[HTTP1_CHUNK_HEAD_MAX])
{
    unsigned digits = chunk_bytes > 0 ? (unsigned)(67 - __builtin_clzll(chunk_bytes)) / 4 : 1;
    for (unsigned i = digits; i-- > 0; chunk_bytes >>= 4)
        output[i] = (uint8_t) "0123456789abcdef"[chunk_bytes & 15];
    output[digits] = '\r';
    output[digits + 1] = '\n';
    return digits + 2;
}

int http1_response_plain(uint16_t status, const char *text, const struct http_field *extra, bool keep_alive,
                         bool head_only, struct bytes date, uint8_t *output, size_t capacity)
{
    const struct http1_response response = {.status = status, .keep_alive = keep_alive, .version_minor = 1};
    struct writer writer = writer_of(output, capacity);
    struct bytes line = bytes_of_string(text);

    put_status_line(&writer, &response);
    if (date.length > 0)
        put_field(&writer, BYTES_LITERAL("Date"), date);
    if (extra)
        put_field(&writer, extra->name, extra->value);
    PUT_LITERAL(&writer, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    put_decimal(&writer, line.length + 1);
    PUT_LITERAL(&writer, "\r\n");
    put_connection(&writer, &response);
    PUT_LITERAL(&writer, "\r\n");
    if (!head_only) {
        put(&writer, line);
        PUT_LITERAL(&writer, "\n");
    }
    return writer.full ? -ENOSPC : (int)(writer.at - output);
}
