#include "proto/http1_body.h"

#include "proto/http_octets.h"

enum {
    CHUNK_SIZE_DIGITS_MAX = 16, /* H1-09; 16 digits cannot overflow 64 bits */
    OVERHEAD_FREE_BYTES = 100 * 1024,
};

/*
 * RFC 9112 7.1, one state per place in
 *
 *   chunk   = 1*HEXDIG *( ";" token [ "=" ( token / quoted-string ) ] ) CRLF data CRLF
 *   trailer = *( token ":" value CRLF ) CRLF
 *
 * without the optional blanks around ";" and "=" (H1-11). A chunk of size zero leads to the trailer.
 */
enum state {
    SIZE_FIRST,
    SIZE,
    SIZE_LF,
    EXTENSION_NAME_FIRST,
    EXTENSION_NAME,
    EXTENSION_VALUE_FIRST,
    EXTENSION_TOKEN,
    EXTENSION_QUOTED,
    EXTENSION_QUOTED_PAIR,
    EXTENSION_QUOTED_END,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    LENGTH_DATA,
    ENDED,
    REFUSED,
};

void http1_body_init(struct http1_body *body, enum http_body_kind kind, uint64_t content_length)
{
    *body = (struct http1_body){.kind = kind};
    if (kind == HTTP_BODY_UNKNOWN) {
        body->state = SIZE_FIRST;
        return;
    }
    body->remaining = kind == HTTP_BODY_LENGTH ? content_length : 0;
    body->state = body->remaining > 0 ? LENGTH_DATA : ENDED;
}

static enum state refuse(struct http1_body *body, uint16_t status, const char *reason)
{
    body->status = status;
    body->reason = reason;
    return REFUSED;
}

/* Chunk size and extensions ------------------------------------------------------------------------------------ */

static unsigned hex_value(uint8_t digit)
{
    return digit <= '9' ? digit - (unsigned)'0' : (digit | 0x20U) - 'a' + 10;
}

static enum state on_size_digit(struct http1_body *body, uint8_t octet)
{
    if (body->digits == CHUNK_SIZE_DIGITS_MAX)
        return refuse(body, 400, "chunk size too long");
    body->digits++;
    body->remaining = body->remaining << 4 | hex_value(octet);
    return SIZE;
}

/* What may stand behind the size or behind a whole extension. */
static enum state on_extension_end(struct http1_body *body, uint8_t octet)
{
    if (octet == '\r')
        return SIZE_LF;
    if (octet == ';')
        return EXTENSION_NAME_FIRST;
    return refuse(body, 400, "octet not allowed in a chunk size line");
}

/* The whole line of a chunk size is here. */
static enum state on_size_line(struct http1_body *body, const struct http1_body_limits *limits)
{
    uint64_t total;
    bool overflow = __builtin_add_overflow(body->received, body->remaining, &total);
    if (overflow || (limits->body_bytes_max != 0 && total > limits->body_bytes_max))
        return refuse(body, 413, "body over the limit");
    /* H1-11, CVE-2023-39326: one-octet chunks and long extensions make a server work for nothing. */
    if (body->overhead > OVERHEAD_FREE_BYTES && body->received < (body->received + body->overhead) / 4)
        return refuse(body, 400, "more chunk framing than data");
    body->digits = 0;
    body->extension_bytes = 0;
    return body->remaining > 0 ? DATA : TRAILER_FIRST;
}

/* Trailer ------------------------------------------------------------------------------------------------------- */

static enum state on_trailer_name_octet(struct http1_body *body, uint8_t octet)
{
    uint8_t lower = http_lower_tchar[octet];
    if (lower == 0)
        return refuse(body, 400, "trailer name is not a token with a colon");
    if (body->trailer_name_length < HTTP1_TRAILER_NAME_MAX)
        body->trailer_name[body->trailer_name_length++] = lower;
    return TRAILER_NAME;
}

/* RFC 9110 6.5.1: framing and routing cannot be said afterwards. */
static enum state on_trailer_name(struct http1_body *body)
{
    switch (http_field_id_of(bytes_of(body->trailer_name, body->trailer_name_length))) {
    case HTTP_FIELD_CONTENT_LENGTH:
    case HTTP_FIELD_HOST:
    case HTTP_FIELD_TRAILER:
    case HTTP_FIELD_TRANSFER_ENCODING:
        return refuse(body, 400, "field not allowed in a trailer");
    default:
        return TRAILER_VALUE;
    }
}

static enum state on_trailer_start(struct http1_body *body, const struct http1_body_limits *limits, uint8_t octet)
{
    if (body->trailer_count == limits->trailer_count_max)
        return refuse(body, 431, "too many trailer fields");
    body->trailer_count++;
    body->trailer_name_length = 0;
    return on_trailer_name_octet(body, octet);
}

/* The machine --------------------------------------------------------------------------------------------------- */

static enum state expect(struct http1_body *body, uint8_t octet, uint8_t wanted, enum state next)
{
    return octet == wanted ? next : refuse(body, 400, "bare CR or LF, or data longer than its chunk");
}

/* One octet of framing. */
static enum state next_state(struct http1_body *body, const struct http1_body_limits *limits, uint8_t octet)
{
    bool tchar = http_lower_tchar[octet] != 0;
    switch ((enum state)body->state) {
    case SIZE_FIRST:
        return http_octet_is(octet, OCTET_HEX) ? on_size_digit(body, octet) : refuse(body, 400, "no chunk size");
    case SIZE:
        return http_octet_is(octet, OCTET_HEX) ? on_size_digit(body, octet) : on_extension_end(body, octet);
    case SIZE_LF:
        return octet == '\n' ? on_size_line(body, limits) : refuse(body, 400, "bare CR in a chunk size line");
    case EXTENSION_NAME_FIRST:
        return tchar ? EXTENSION_NAME : refuse(body, 400, "empty chunk extension");
    case EXTENSION_NAME:
        if (octet == '=')
            return EXTENSION_VALUE_FIRST;
        return tchar ? EXTENSION_NAME : on_extension_end(body, octet);
    case EXTENSION_VALUE_FIRST:
        if (octet == '"')
            return EXTENSION_QUOTED;
        return tchar ? EXTENSION_TOKEN : refuse(body, 400, "empty chunk extension value");
    case EXTENSION_TOKEN:
        return tchar ? EXTENSION_TOKEN : on_extension_end(body, octet);
    case EXTENSION_QUOTED:
        if (octet == '"')
            return EXTENSION_QUOTED_END;
        if (octet == '\\')
            return EXTENSION_QUOTED_PAIR;
        return http_octet_is(octet, OCTET_QUOTED) ? EXTENSION_QUOTED : refuse(body, 400, "bad chunk extension");
    case EXTENSION_QUOTED_PAIR:
        return http_octet_is(octet, OCTET_QUOTED_PAIR) ? EXTENSION_QUOTED : refuse(body, 400, "bad chunk extension");
    case EXTENSION_QUOTED_END:
        return on_extension_end(body, octet);
    case DATA_CR:
        return expect(body, octet, '\r', DATA_LF);
    case DATA_LF:
        return expect(body, octet, '\n', SIZE_FIRST);
    case TRAILER_FIRST:
        return octet == '\r' ? LAST_LF : on_trailer_start(body, limits, octet);
    case TRAILER_NAME:
        return octet == ':' ? on_trailer_name(body) : on_trailer_name_octet(body, octet);
    case TRAILER_VALUE:
        if (octet == '\r')
            return TRAILER_LF;
        return http_octet_is(octet, OCTET_VALUE) ? TRAILER_VALUE : refuse(body, 400, "control octet in a trailer");
    case TRAILER_LF:
        return expect(body, octet, '\n', TRAILER_FIRST);
    case LAST_LF:
        return expect(body, octet, '\n', ENDED);
    case DATA:
    case LENGTH_DATA:
    case ENDED:
    case REFUSED:
        break;
    }
    __builtin_unreachable();
}

/* Takes one octet of framing: counts it against the bounds of the part it belongs to, and moves on. */
static enum state take_framing(struct http1_body *body, const struct http1_body_limits *limits, uint8_t octet)
{
    body->overhead++;
    if (body->state >= TRAILER_FIRST && ++body->trailer_bytes > limits->trailer_bytes_max)
        return refuse(body, 431, "trailer too large");
    enum state next = next_state(body, limits, octet);
    bool in_extension = next >= EXTENSION_NAME_FIRST && next <= EXTENSION_QUOTED_END;
    if (in_extension && (++body->extension_bytes > limits->chunk_extension_max ||
                         ++body->extensions_total > limits->extensions_bytes_max))
        return refuse(body, 400, "chunk extensions too long");
    return next;
}

/* Takes octets of data up to the end of chunk or body and appends them to what was decoded before. */
static size_t take_data(struct http1_body *body, uint8_t *input, size_t at, size_t length, size_t *offset,
                        size_t *decoded)
{
    size_t count = length - at;
    if (count > body->remaining)
        count = (size_t)body->remaining;
    if (*decoded == 0)
        *offset = at;
    else
        memmove(input + *offset + *decoded, input + at, count);
    *decoded += count;
    body->received += count;
    body->remaining -= count;
    if (body->remaining == 0)
        body->state = body->state == DATA ? DATA_CR : ENDED;
    return count;
}

enum http1_body_progress http1_body_feed(struct http1_body *body, const struct http1_body_limits *limits,
                                         uint8_t *input, size_t length, size_t *ret_consumed, size_t *ret_data_offset,
                                         size_t *ret_decoded)
{
    size_t at = 0, offset = 0, decoded = 0;
    while (at < length && body->state < ENDED) {
        if (body->state == DATA || body->state == LENGTH_DATA) {
            at += take_data(body, input, at, length, &offset, &decoded);
            continue;
        }
        body->state = take_framing(body, limits, input[at]);
        if (body->state != REFUSED)
            at++;
    }
    *ret_consumed = at;
    *ret_data_offset = offset;
    *ret_decoded = decoded;
    if (body->state == ENDED)
        return HTTP1_BODY_END;
    return body->state == REFUSED ? HTTP1_BODY_REJECTED : HTTP1_BODY_NEED_MORE;
}
