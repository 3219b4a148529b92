#include "proto/http2_block.h"

#include "proto/http2_control.h"

#include <assert.h>

enum { TAIL_STEP = 64 };

/* What becomes of it ------------------------------------------------------------------------------------------------
 */

static enum http2_fate fate_of_request(struct http2_receiver *receiver, uint32_t id)
{
    struct http2_connection *connection = receiver->connection;
    uint32_t skipped = (id - connection->last_stream_id) / 2;
    connection->used_ids = skipped < 64 ? connection->used_ids << skipped | 1 : 1;
    connection->last_stream_id = id;
    /* Behind the last id of our last GOAWAY nothing is begun any more (RFC 9113 6.8); the client may try elsewhere. */
    if (id > connection->goaway_stream_id)
        return HTTP2_FATE_REFUSED;
    uint32_t streams = connection->stream_count + connection->held_count;
    return streams < connection->limits->max_concurrent_streams ? HTTP2_FATE_REQUEST : HTTP2_FATE_REFUSED;
}

static void break_block(struct http2_reader *reader, enum http2_error error)
{
    reader->block_fate = HTTP2_FATE_BROKEN;
    reader->block_error = error;
}

/* RFC 9113 5.1.1: an id that was passed over can never be opened any more; one that was used is closed. */
static void fail_closed(struct http2_receiver *receiver, uint32_t id)
{
    const struct http2_connection *connection = receiver->connection;
    uint32_t back = (connection->last_stream_id - id) / 2;
    if (back < 64 && (connection->used_ids >> back & 1) == 0)
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "stream id lower than before");
    else
        http2_receiver_fail(receiver, HTTP2_STREAM_CLOSED_ERROR, "HEADERS on a closed stream");
}

static void decide_fate(struct http2_receiver *receiver, uint32_t id)
{
    struct http2_reader *reader = receiver->reader;
    struct http2_stream *stream;
    enum http2_standing standing = http2_receiver_standing(receiver->connection, id, &stream);
    switch (http2_frame_verdict(HTTP2_FRAME_HEADERS, standing)) {
    case HTTP2_TAKE:
        if (standing == HTTP2_STANDING_IDLE)
            reader->block_fate = fate_of_request(receiver, id);
        else if (reader->block_end_stream)
            reader->block_fate = HTTP2_FATE_TRAILERS;
        else
            break_block(reader, HTTP2_PROTOCOL_ERROR); /* RFC 9113 8.1: a second head, or trailers before the end */
        return;
    case HTTP2_PASS_OVER:
    case HTTP2_PASS_OVER_ODD:
        reader->block_fate = HTTP2_FATE_IGNORED;
        (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_ODD);
        return;
    case HTTP2_STREAM_ERROR:
        break_block(reader, HTTP2_STREAM_CLOSED_ERROR);
        return;
    case HTTP2_ERROR_CLOSED:
    case HTTP2_ERROR_PROTOCOL:
        fail_closed(receiver, id);
        return;
    }
}

void http2_block_begin(struct http2_receiver *receiver, uint32_t depends_on)
{
    struct http2_connection *connection = receiver->connection;
    struct http2_reader *reader = receiver->reader;
    uint32_t id = reader->frame.stream_id;
    if (id % 2 == 0) { /* RFC 9113 5.1.1: those are the server's, and it opens none */
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "even stream id");
        return;
    }
    reader->block_stream_id = id;
    reader->block_end_stream = (reader->frame.flags & HTTP2_FLAG_END_STREAM) != 0;
    reader->block_bytes = 0;
    reader->continuation_count = 0;
    decide_fate(receiver, id);
    if (depends_on == id && reader->block_fate != HTTP2_FATE_IGNORED)
        break_block(reader, HTTP2_PROTOCOL_ERROR); /* RFC 7540 5.3.1 */

    struct hpack_section *section = &receiver->block->section;
    section->used = section->field_count = section->seen_count = 0;
    section->list_bytes = 0;
    section->overflowed = false;
    receiver->block->tail_used = 0;
    connection->block_since_ms = receiver->now_ms > 0 ? receiver->now_ms : 1;
    hpack_decode_begin(&connection->decoder);
}

void http2_block_announce(struct http2_receiver *receiver, uint32_t octets)
{
    struct http2_reader *reader = receiver->reader;
    /* H2-03. Where the sum is too large, no octet of the frame is read. */
    if (__builtin_add_overflow(reader->block_bytes, octets, &reader->block_bytes) ||
        reader->block_bytes > HTTP2_BLOCK_BYTES)
        http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "field block too large");
}

/* Decoding ----------------------------------------------------------------------------------------------------------
 */

static bool is_kept(const struct http2_reader *reader)
{
    return reader->block_fate == HTTP2_FATE_REQUEST || reader->block_fate == HTTP2_FATE_TRAILERS;
}

/* Of a block that nobody will read nothing is kept but what it was counted as. */
static bool decode_unkept(struct http2_receiver *receiver, struct bytes input, size_t *ret_consumed)
{
    struct hpack_section *section = &receiver->block->section;
    struct hpack_section counted = {.seen_count = section->seen_count, .list_bytes = section->list_bytes};
    bool good = hpack_decode(&receiver->connection->decoder, input, &counted, ret_consumed);
    section->seen_count = counted.seen_count;
    section->list_bytes = counted.list_bytes;
    return good;
}

/* false: the connection has failed. */
static bool decode(struct http2_receiver *receiver, struct bytes input, size_t *ret_consumed)
{
    struct http2_connection *connection = receiver->connection;
    struct hpack_section *section = &receiver->block->section;
    bool good = is_kept(receiver->reader) ? hpack_decode(&connection->decoder, input, section, ret_consumed)
                                          : decode_unkept(receiver, input, ret_consumed);
    /* H2-04, H2-05: a little too much is answered with 431, this is an attack. It is looked at first, since it stood
     * before what could not be decoded: where the input is cut makes no difference. */
    if (section->list_bytes > 4 * (uint64_t)connection->limits->max_header_list_size ||
        section->seen_count >= HTTP2_FIELDS_SEEN_MAX) {
        http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "field section too large");
        return false;
    }
    if (!good)
        http2_receiver_fail(receiver, HTTP2_COMPRESSION_ERROR, "field block cannot be decoded");
    return good;
}

/* What is cut stays in the tail, and is given again with ever more of what follows, until it is whole. */
static bool take_over_tail(struct http2_receiver *receiver, struct bytes *piece)
{
    struct http2_block *block = receiver->block;
    size_t step = block->tail_used > TAIL_STEP ? block->tail_used : TAIL_STEP, consumed = 0;
    if (step > piece->length)
        step = piece->length;
    if (step > block->tail_max - block->tail_used)
        step = block->tail_max - block->tail_used;
    if (step == 0) {
        http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "field too large");
        return false;
    }
    memcpy(block->tail + block->tail_used, piece->data, step);
    if (!decode(receiver, bytes_of(block->tail, block->tail_used + step), &consumed))
        return false;
    if (consumed == 0) {
        block->tail_used += (uint32_t)step;
        *piece = bytes_skip(*piece, step);
        return true;
    }
    /* The tail was the beginning of one representation, so what was consumed ends behind it, inside the piece. */
    assert(consumed > block->tail_used);
    *piece = bytes_skip(*piece, consumed - block->tail_used);
    block->tail_used = 0;
    return true;
}

void http2_block_take(struct http2_receiver *receiver, struct bytes piece)
{
    struct http2_block *block = receiver->block;
    while (piece.length > 0) {
        size_t consumed = 0;
        if (block->tail_used == 0) {
            if (!decode(receiver, piece, &consumed))
                return;
            piece = bytes_skip(piece, consumed);
        }
        if (piece.length > 0 && !take_over_tail(receiver, &piece))
            return;
    }
}

/* The end -----------------------------------------------------------------------------------------------------------
 */

static void end_trailers(struct http2_receiver *receiver, uint32_t id)
{
    struct http2_stream *stream;
    if (http2_receiver_standing(receiver->connection, id, &stream) != HTTP2_STANDING_OPEN)
        return; /* we have reset it meanwhile */
    if (stream->content_left > 0) {
        http2_receiver_stream_error(receiver, id, stream, HTTP2_PROTOCOL_ERROR); /* H2-21 */
        return;
    }
    stream->trailers_seen = true;
    http2_receiver_end_stream(stream);
    receiver->event = (struct http2_event){.kind = HTTP2_HEAD, .stream_id = id, .stream = stream, .end_stream = true};
}

static void end_refused(struct http2_receiver *receiver, uint32_t id)
{
    http2_control_reset(receiver->connection, id, HTTP2_REFUSED_STREAM);
    (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_REFUSED);
}

static void end_broken(struct http2_receiver *receiver, uint32_t id)
{
    struct http2_stream *stream;
    if (http2_receiver_standing(receiver->connection, id, &stream) == HTTP2_STANDING_RESET)
        return; /* we have reset it meanwhile */
    http2_receiver_stream_error(receiver, id, stream, (enum http2_error)receiver->reader->block_error);
}

void http2_block_end(struct http2_receiver *receiver)
{
    struct http2_connection *connection = receiver->connection;
    struct http2_reader *reader = receiver->reader;
    struct hpack_section *section = &receiver->block->section;
    const enum http2_fate fate = (enum http2_fate)reader->block_fate;
    const uint32_t id = reader->block_stream_id;
    reader->block_fate = HTTP2_FATE_NONE;
    connection->block_since_ms = 0;
    if (receiver->block->tail_used > 0) {
        http2_receiver_fail(receiver, HTTP2_COMPRESSION_ERROR, "field block ends inside a field");
        return;
    }
    section->overflowed |= section->list_bytes > connection->limits->max_header_list_size;
    switch (fate) {
    case HTTP2_FATE_REQUEST:
        receiver->event =
            (struct http2_event){.kind = HTTP2_HEAD, .stream_id = id, .end_stream = reader->block_end_stream};
        return;
    case HTTP2_FATE_TRAILERS:
        end_trailers(receiver, id);
        return;
    case HTTP2_FATE_REFUSED:
        end_refused(receiver, id);
        return;
    case HTTP2_FATE_BROKEN:
        end_broken(receiver, id);
        return;
    case HTTP2_FATE_NONE:
    case HTTP2_FATE_IGNORED:
        return;
    }
}
