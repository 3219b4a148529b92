#include "pybridge/response_field.h"

/* Framing and the connection are the I/O process's; it writes these itself where they are due. One word about it is the
 * application's to say: that the connection is to end. */
static bool belongs_to_connection(struct bytes name, struct bytes value)
{
    switch (name.length) {
    case 2:
        return bytes_equal_lower(name, BYTES_LITERAL("te"));
    case 7:
        return bytes_equal_lower(name, BYTES_LITERAL("upgrade"));
    case 10:
        if (bytes_equal_lower(name, BYTES_LITERAL("connection")))
            return !http_list_has_token(value, BYTES_LITERAL("close"));
        return bytes_equal_lower(name, BYTES_LITERAL("keep-alive"));
    case 16:
        return bytes_equal_lower(name, BYTES_LITERAL("proxy-connection"));
    case 17:
        return bytes_equal_lower(name, BYTES_LITERAL("transfer-encoding"));
    default:
        return false;
    }
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
    return belongs_to_connection(name, value) ? RESPONSE_FIELD_OF_CONNECTION : RESPONSE_FIELD_GOOD;
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
    default:
        return NULL;
    }
}
