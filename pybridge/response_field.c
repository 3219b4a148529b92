#include "pybridge/response_field.h"

/* Framing and the connection are the I/O process's; it writes these itself where they are due. */
static bool belongs_to_connection(struct bytes name)
{
    switch (name.length) {
    case 2:
        return bytes_equal_lower(name, BYTES_LITERAL("te"));
    case 7:
        return bytes_equal_lower(name, BYTES_LITERAL("upgrade"));
    case 10:
        return bytes_equal_lower(name, BYTES_LITERAL("connection")) ||
               bytes_equal_lower(name, BYTES_LITERAL("keep-alive"));
    case 16:
        return bytes_equal_lower(name, BYTES_LITERAL("proxy-connection"));
    case 17:
        return bytes_equal_lower(name, BYTES_LITERAL("transfer-encoding"));
    default:
        return false;
    }
}

/* One word about the connection is the application's to say. */
static bool asks_to_close(struct bytes name, struct bytes value)
{
    return name.length == 10 && bytes_equal_lower(name, BYTES_LITERAL("connection")) &&
           http_list_has_token(value, BYTES_LITERAL("close"));
}

static bool parse_length(struct bytes value, int64_t *ret_length)
{
    int64_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        if (__builtin_mul_overflow(length, 10, &length) || __builtin_add_overflow(length, value.data[i] - '0', &length))
            return false;
    }
    if (value.length == 0)
        return false;
    *ret_length = length;
    return true;
}

enum response_field response_field_check(struct bytes name, struct bytes value, int64_t *ret_content_length)
{
    if (!http_token_valid(name))
        return RESPONSE_FIELD_BAD_NAME;
    if (!http_field_value_valid(value))
        return RESPONSE_FIELD_BAD_VALUE;
    if (name.length == 14 && bytes_equal_lower(name, BYTES_LITERAL("content-length")))
        return parse_length(value, ret_content_length) ? RESPONSE_FIELD_CONTENT_LENGTH : RESPONSE_FIELD_BAD_LENGTH;
    return belongs_to_connection(name) && !asks_to_close(name, value) ? RESPONSE_FIELD_OF_CONNECTION
                                                                      : RESPONSE_FIELD_GOOD;
}

/* RFC 9110 6.5.1: framing, routing, request modifiers, authentication, content, control data of the response. */
static const char *const NO_TRAILERS[] = {
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
    "www-authenticate",
};

enum response_field response_trailer_check(struct bytes name, struct bytes value)
{
    if (!http_token_valid(name))
        return RESPONSE_FIELD_BAD_NAME;
    if (!http_field_value_valid(value))
        return RESPONSE_FIELD_BAD_VALUE;
    for (size_t i = 0; i < sizeof NO_TRAILERS / sizeof *NO_TRAILERS; i++)
        if (bytes_equal_lower(name, bytes_of_string(NO_TRAILERS[i])))
            return RESPONSE_FIELD_NO_TRAILER;
    return belongs_to_connection(name) ? RESPONSE_FIELD_NO_TRAILER : RESPONSE_FIELD_GOOD;
}

const char *response_field_complaint(enum response_field verdict)
{
    switch (verdict) {
    case RESPONSE_FIELD_BAD_NAME:
        return "the name of a response header is not a token";
    case RESPONSE_FIELD_BAD_VALUE:
        return "the value of a response header has a control character in it";
    case RESPONSE_FIELD_BAD_LENGTH:
        return "Content-Length is not a number of octets";
    case RESPONSE_FIELD_NO_TRAILER:
        return "this field may not stand in trailers";
    default:
        return NULL;
    }
}
