#include "proto/http2_frame.h"

#include <assert.h>

const char *http2_error_name(uint32_t code)
{
    static const char *const names[] = {
#define HTTP2_ERROR_NAME(symbol, code, name) [code] = name,
        HTTP2_ERRORS(HTTP2_ERROR_NAME)
#undef HTTP2_ERROR_NAME
    };
    return code < sizeof(names) / sizeof(names[0]) ? names[code] : "UNKNOWN";
}

void http2_frame_write_head(const struct http2_frame_head *head, uint8_t out[HTTP2_FRAME_HEAD_BYTES])
{
    out[0] = (uint8_t)(head->length >> 16);
    out[1] = (uint8_t)(head->length >> 8);
    out[2] = (uint8_t)head->length;
    out[3] = head->type;
    out[4] = head->flags;
    http2_put_uint32(out + 5, head->stream_id);
}

void http2_frame_read_head(const uint8_t in[HTTP2_FRAME_HEAD_BYTES], struct http2_frame_head *ret_head)
{
    *ret_head = (struct http2_frame_head){
        .length = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2],
        .type = in[3],
        .flags = in[4],
        /* RFC 9113 4.1: the reserved bit is ignored. */
        .stream_id = http2_get_uint32(in + 5) & HTTP2_STREAM_ID_MAX,
    };
}

/* The table of frame rules ---------------------------------------------------------------------------------------- */

enum stream_rule { TYPE_UNKNOWN, NO_STREAM, A_STREAM, ANY_STREAM, NEVER };
enum length_rule { ANY_LENGTH, EXACTLY, AT_LEAST, MULTIPLE_OF };

enum { PRIORITY_BYTES = 5 };

#define TAKE    HTTP2_TAKE
#define PASS    HTTP2_PASS_OVER
#define ODD     HTTP2_PASS_OVER_ODD
#define STREAM  HTTP2_STREAM_ERROR
#define CLOSED  HTTP2_ERROR_CLOSED
#define PROTO   HTTP2_ERROR_PROTOCOL
#define TYPE(x) [HTTP2_FRAME_##x]

/* RFC 9113 6; verdicts: RFC 9113 5.1, where the client may not know yet that we have reset a stream H2-17, where it has
 * ended its side itself H2-02. A wrong stream is a PROTOCOL_ERROR, a wrong length a FRAME_SIZE_ERROR, both of the
 * connection; that of PRIORITY could be the stream's, which attacks have made use of. */
static const struct frame_rule {
    uint8_t stream;
    uint8_t length_rule;
    uint8_t length;
    uint8_t gather;                    /* of the payload, at most */
    uint8_t verdicts[HTTP2_STANDINGS]; /* idle, open, ended, reset, closed */
} frame_rules[] = {
    TYPE(DATA) /*          6.1 */ = {A_STREAM, ANY_LENGTH, 0, 0, {PROTO, TAKE, STREAM, ODD, CLOSED}},
    TYPE(HEADERS) /*       6.2 */ = {A_STREAM, ANY_LENGTH, 0, 0, {TAKE, TAKE, STREAM, ODD, CLOSED}},
    TYPE(PRIORITY) /*      6.3 */ = {A_STREAM, EXACTLY, PRIORITY_BYTES, 5, {TAKE, TAKE, TAKE, TAKE, TAKE}},
    TYPE(RST_STREAM) /*    6.4 */ = {A_STREAM, EXACTLY, 4, 4, {PROTO, TAKE, TAKE, ODD, ODD}},
    TYPE(SETTINGS) /*      6.5 */ = {NO_STREAM, MULTIPLE_OF, 6, HTTP2_GATHER_BYTES, {}},
    TYPE(PUSH_PROMISE) /*  8.4 */ = {NEVER, ANY_LENGTH, 0, 0, {}},
    TYPE(PING) /*          6.7 */ = {NO_STREAM, EXACTLY, 8, 8, {}},
    TYPE(GOAWAY) /*        6.8 */ = {NO_STREAM, AT_LEAST, 8, 8, {}},
    TYPE(WINDOW_UPDATE) /* 6.9 */ = {ANY_STREAM, EXACTLY, 4, 4, {PROTO, TAKE, TAKE, PASS, PASS}},
    TYPE(CONTINUATION) /* 6.10 */ = {A_STREAM, ANY_LENGTH, 0, 0, {}},
    /* RFC 9218 7.1 */
    TYPE(PRIORITY_UPDATE) = {NO_STREAM, AT_LEAST, 4, HTTP2_GATHER_BYTES, {}},
};

#undef TAKE
#undef PASS
#undef ODD
#undef STREAM
#undef CLOSED
#undef PROTO
#undef TYPE

static const struct frame_rule *rule_of(uint8_t type)
{
    static const struct frame_rule unknown = {};
    return type < sizeof(frame_rules) / sizeof(frame_rules[0]) ? &frame_rules[type] : &unknown;
}

static bool stream_fits(const struct frame_rule *rule, uint32_t stream_id)
{
    switch ((enum stream_rule)rule->stream) {
    case NO_STREAM:
        return stream_id == 0;
    case A_STREAM:
        return stream_id != 0;
    case NEVER:
        return false;
    case TYPE_UNKNOWN:
    case ANY_STREAM:
        break;
    }
    return true;
}

static bool length_fits(const struct frame_rule *rule, const struct http2_frame_head *head)
{
    /* RFC 9113 6.5: an acknowledgement is empty. */
    if (head->type == HTTP2_FRAME_SETTINGS && (head->flags & HTTP2_FLAG_ACK) != 0)
        return head->length == 0;
    switch ((enum length_rule)rule->length_rule) {
    case EXACTLY:
        return head->length == rule->length;
    case AT_LEAST:
        return head->length >= rule->length;
    case MULTIPLE_OF:
        return head->length % rule->length == 0;
    case ANY_LENGTH:
        break;
    }
    return http2_frame_prefix(head) <= head->length;
}

enum http2_error http2_frame_check(const struct http2_frame_head *head, uint32_t length_max)
{
    const struct frame_rule *rule = rule_of(head->type);
    if (head->length > length_max)
        return HTTP2_FRAME_SIZE_ERROR;
    if (!stream_fits(rule, head->stream_id))
        return HTTP2_PROTOCOL_ERROR;
    return length_fits(rule, head) ? HTTP2_NO_ERROR : HTTP2_FRAME_SIZE_ERROR;
}

enum http2_verdict http2_frame_verdict(uint8_t type, enum http2_standing standing)
{
    return (enum http2_verdict)rule_of(type)->verdicts[standing];
}

uint32_t http2_frame_prefix(const struct http2_frame_head *head)
{
    bool headers = head->type == HTTP2_FRAME_HEADERS;
    if (headers || head->type == HTTP2_FRAME_DATA) {
        uint32_t padded = (head->flags & HTTP2_FLAG_PADDED) != 0;
        return padded + (headers && (head->flags & HTTP2_FLAG_PRIORITY) != 0 ? PRIORITY_BYTES : 0);
    }
    uint32_t gather = rule_of(head->type)->gather;
    return head->length < gather ? head->length : gather;
}

/* The reader ------------------------------------------------------------------------------------------------------ */

const uint8_t *http2_reader_gather(struct http2_reader *reader, uint32_t wanted, struct bytes *input)
{
    assert(wanted <= HTTP2_GATHER_BYTES);
    if (wanted == 0)
        return reader->gathered;
    const uint8_t *data = input->data;
    if (reader->gathered_bytes == 0 && input->length >= wanted) {
        *input = bytes_skip(*input, wanted);
        return data;
    }
    uint32_t count = wanted - reader->gathered_bytes;
    if (count > input->length)
        count = (uint32_t)input->length;
    if (count == 0)
        return NULL;
    memcpy(reader->gathered + reader->gathered_bytes, data, count);
    reader->gathered_bytes += count;
    *input = bytes_skip(*input, count);
    if (reader->gathered_bytes < wanted)
        return NULL;
    reader->gathered_bytes = 0;
    return reader->gathered;
}
