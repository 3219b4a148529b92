/*
 * HTTP/2 frames: the nine octets before each, the table of what each type may be, and the reader that cuts octets into
 * frames (RFC 9113 4 and 6).
 */
#ifndef PROTO_HTTP2_FRAME_H
#define PROTO_HTTP2_FRAME_H

#include "proto/bytes.h"

enum {
    HTTP2_FRAME_HEAD_BYTES = 9,
    HTTP2_MAX_FRAME_SIZE_MIN = 16'384,
    HTTP2_MAX_FRAME_SIZE_MAX = 0xffffff,
    HTTP2_WINDOW_DEFAULT = 65'535,
    HTTP2_WINDOW_MAX = 0x7fffffff,
    HTTP2_STREAM_ID_MAX = 0x7fffffff,
    HTTP2_GATHER_BYTES = 224, /* a control frame that is cut is put together in so much; longer ones are refused */
};

/* RFC 9113 7. HTTP2_STREAM_CLOSED is the state of a stream, so the error of that name is called an error here. */
#define HTTP2_ERRORS(X)                                \
    X(NO_ERROR, 0x0, "NO_ERROR")                       \
    X(PROTOCOL_ERROR, 0x1, "PROTOCOL_ERROR")           \
    X(INTERNAL_ERROR, 0x2, "INTERNAL_ERROR")           \
    X(FLOW_CONTROL_ERROR, 0x3, "FLOW_CONTROL_ERROR")   \
    X(SETTINGS_TIMEOUT, 0x4, "SETTINGS_TIMEOUT")       \
    X(STREAM_CLOSED_ERROR, 0x5, "STREAM_CLOSED")       \
    X(FRAME_SIZE_ERROR, 0x6, "FRAME_SIZE_ERROR")       \
    X(REFUSED_STREAM, 0x7, "REFUSED_STREAM")           \
    X(CANCEL, 0x8, "CANCEL")                           \
    X(COMPRESSION_ERROR, 0x9, "COMPRESSION_ERROR")     \
    X(CONNECT_ERROR, 0xa, "CONNECT_ERROR")             \
    X(ENHANCE_YOUR_CALM, 0xb, "ENHANCE_YOUR_CALM")     \
    X(INADEQUATE_SECURITY, 0xc, "INADEQUATE_SECURITY") \
    X(HTTP_1_1_REQUIRED, 0xd, "HTTP_1_1_REQUIRED")

enum http2_error {
#define HTTP2_ERROR_ENUM(symbol, code, name) HTTP2_##symbol = (code),
    HTTP2_ERRORS(HTTP2_ERROR_ENUM)
#undef HTTP2_ERROR_ENUM
};

/* "UNKNOWN" for codes that RFC 9113 does not name. */
const char *http2_error_name(uint32_t code);

/* RFC 9113 6, RFC 9218 7.1. */
enum http2_frame_type {
    HTTP2_FRAME_DATA = 0x0,
    HTTP2_FRAME_HEADERS = 0x1,
    HTTP2_FRAME_PRIORITY = 0x2,
    HTTP2_FRAME_RST_STREAM = 0x3,
    HTTP2_FRAME_SETTINGS = 0x4,
    HTTP2_FRAME_PUSH_PROMISE = 0x5,
    HTTP2_FRAME_PING = 0x6,
    HTTP2_FRAME_GOAWAY = 0x7,
    HTTP2_FRAME_WINDOW_UPDATE = 0x8,
    HTTP2_FRAME_CONTINUATION = 0x9,
    HTTP2_FRAME_PRIORITY_UPDATE = 0x10,
};

enum http2_frame_flag {
    HTTP2_FLAG_END_STREAM = 0x1,
    HTTP2_FLAG_ACK = 0x1,
    HTTP2_FLAG_END_HEADERS = 0x4,
    HTTP2_FLAG_PADDED = 0x8,
    HTTP2_FLAG_PRIORITY = 0x20,
};

struct http2_frame_head {
    uint32_t length;
    uint32_t stream_id;
    uint8_t type;
    uint8_t flags;
};

void http2_frame_write_head(const struct http2_frame_head *head, uint8_t out[HTTP2_FRAME_HEAD_BYTES]);
void http2_frame_read_head(const uint8_t in[HTTP2_FRAME_HEAD_BYTES], struct http2_frame_head *ret_head);

static inline void http2_put_uint32(uint8_t out[4], uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(out, &value, sizeof(value));
}

static inline uint32_t http2_get_uint32(const uint8_t in[4])
{
    uint32_t value;
    memcpy(&value, in, sizeof(value));
    return __builtin_bswap32(value);
}

/* ---- the table of frame rules ---- */

/* Where a stream stands towards what its client may still send. */
enum http2_standing {
    HTTP2_STANDING_IDLE,
    HTTP2_STANDING_OPEN,
    HTTP2_STANDING_ENDED, /* half-closed (remote) */
    HTTP2_STANDING_RESET, /* by us, lately: the client may not know yet */
    HTTP2_STANDING_CLOSED,
    HTTP2_STANDINGS
};

/* What becomes of a frame on a stream that stands so. */
enum http2_verdict {
    HTTP2_TAKE,
    HTTP2_PASS_OVER,      /* a race that nobody is to blame for */
    HTTP2_PASS_OVER_ODD,  /* read past as well, and counted */
    HTTP2_STREAM_ERROR,   /* STREAM_CLOSED on the stream */
    HTTP2_ERROR_CLOSED,   /* STREAM_CLOSED on the connection */
    HTTP2_ERROR_PROTOCOL, /* PROTOCOL_ERROR on the connection */
};

/* Whether a frame may be what its head says, whatever its stream: NO_ERROR, or the connection error it is. Types that
 * are not known may be anything (RFC 9113 4.1). */
enum http2_error http2_frame_check(const struct http2_frame_head *head, uint32_t length_max);

enum http2_verdict http2_frame_verdict(uint8_t type, enum http2_standing standing);

/* Octets at the beginning of a payload that are looked at as a whole: pad length and priority of what carries them, and
 * control frames up to HTTP2_GATHER_BYTES. At most the length, when http2_frame_check() found no error. */
uint32_t http2_frame_prefix(const struct http2_frame_head *head);

/* ---- the reader ---- */

/*
 *   PREFACE --> HEAD --> PREFIX --> PAYLOAD --> PADDING
 *                ^                                 |      each may be empty; PADDING is all that is skipped
 *                +---------------------------------+
 */
enum http2_stage {
    HTTP2_STAGE_PREFACE,
    HTTP2_STAGE_HEAD,
    HTTP2_STAGE_PREFIX,
    HTTP2_STAGE_PAYLOAD,
    HTTP2_STAGE_PADDING,
};

/* What happens to a field block when it is whole. All are decoded, for the sake of the dynamic table. */
enum http2_fate {
    HTTP2_FATE_NONE, /* no block is in progress */
    HTTP2_FATE_REQUEST,
    HTTP2_FATE_TRAILERS,
    HTTP2_FATE_IGNORED,
    HTTP2_FATE_REFUSED, /* RST_STREAM with REFUSED_STREAM */
    HTTP2_FATE_BROKEN,  /* RST_STREAM with `block_error` */
};

struct http2_reader {
    uint8_t stage; /* enum http2_stage */
    uint8_t gathered[HTTP2_GATHER_BYTES];
    uint32_t gathered_bytes;
    struct http2_frame_head frame;
    uint32_t payload_left;
    uint32_t padding_left;

    /* The field block in progress, over HEADERS and CONTINUATION. */
    uint8_t block_fate; /* enum http2_fate */
    bool block_end_stream;
    uint32_t block_stream_id;
    uint32_t block_error; /* enum http2_error */
    uint32_t block_bytes; /* encoded */
    uint32_t continuation_count;
};

/* The next `wanted` octets as one run, at most HTTP2_GATHER_BYTES of them: inside the input where it has all of them,
 * else put together in the reader; NULL: the input was all taken and more is needed. */
const uint8_t *http2_reader_gather(struct http2_reader *reader, uint32_t wanted, struct bytes *input);

#endif
