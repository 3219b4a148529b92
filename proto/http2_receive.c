#include "proto/http2_block.h"
#include "proto/http2_control.h"
#include "proto/http2_data.h"
#include "proto/http2_settings.h"

#include <assert.h>

enum { GOAWAY_ERROR_AT = 4, PRIORITY_UPDATE_ID_BYTES = 4 };

static_assert((HTTP2_GATHER_BYTES) >= HTTP2_SETTINGS_ENTRIES_MAX * 6, "SETTINGS are read as a whole");

/* Frames that are passed on as they come ----------------------------------------------------------------------------
 */

/* H2-20, of DATA: its payload against its framing. */
static bool count_ratio(struct http2_receiver *receiver, uint32_t padding)
{
    const struct http2_frame_head *frame = &receiver->reader->frame;
    uint32_t framing = frame->type == HTTP2_FRAME_DATA ? HTTP2_FRAME_HEAD_BYTES : 0;
    if (http2_flood_ratio(&receiver->connection->counts, framing + padding, frame->length - padding, receiver->now_ms))
        return true;
    http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "more framing than payload");
    return false;
}

/* The first octet of a padded payload says how much padding follows it: so much less is payload. False: that cannot be.
 * Returns all that is not payload. */
static bool split_padding(struct http2_receiver *receiver, const uint8_t *prefix, uint32_t *ret_padding)
{
    struct http2_reader *reader = receiver->reader;
    bool padded = (reader->frame.flags & HTTP2_FLAG_PADDED) != 0;
    uint32_t padding = padded ? prefix[0] : 0;
    if (padding > reader->payload_left) {
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "more padding than frame"); /* RFC 9113 6.1, 6.2 */
        return false;
    }
    reader->payload_left -= padding;
    reader->padding_left = padding;
    *ret_padding = padding + padded;
    return count_ratio(receiver, *ret_padding);
}

static void begin_data(struct http2_receiver *receiver, const uint8_t *prefix)
{
    uint32_t padding;
    if (split_padding(receiver, prefix, &padding))
        http2_data_begin(receiver, padding);
}

static void begin_headers(struct http2_receiver *receiver, const uint8_t *prefix)
{
    struct http2_reader *reader = receiver->reader;
    uint32_t padding, depends_on = 0;
    if (!split_padding(receiver, prefix, &padding))
        return;
    if ((reader->frame.flags & HTTP2_FLAG_PRIORITY) != 0)
        depends_on = http2_get_uint32(prefix + (padding > 0)) & HTTP2_STREAM_ID_MAX;
    http2_block_begin(receiver, depends_on);
    http2_block_announce(receiver, reader->payload_left);
}

static void begin_continuation(struct http2_receiver *receiver)
{
    /* H2-03: those without content count as well. */
    if (++receiver->reader->continuation_count > receiver->connection->limits->continuation_frames_max)
        http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "too many CONTINUATION frames");
    else
        http2_block_announce(receiver, receiver->reader->payload_left);
}

/* Frames that are read whole ----------------------------------------------------------------------------------------
 */

/* RFC 9113 5.3.2: read past. H2-10: no tree is kept, so there are no cycles in it. */
static void on_priority(struct http2_receiver *receiver, const uint8_t *payload)
{
    const uint32_t id = receiver->reader->frame.stream_id;
    if (!http2_receiver_flood(receiver, HTTP2_FLOOD_PRIORITY) ||
        (http2_get_uint32(payload) & HTTP2_STREAM_ID_MAX) != id)
        return;
    struct http2_stream *stream; /* RFC 7540 5.3.1: no stream depends on itself */
    if (http2_receiver_standing(receiver->connection, id, &stream) == HTTP2_STANDING_IDLE)
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "stream depends on itself");
    else if (stream != NULL)
        http2_receiver_stream_error(receiver, id, stream, HTTP2_PROTOCOL_ERROR);
    else
        (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_MADE_RESET);
}

static void on_rst_stream(struct http2_receiver *receiver, const uint8_t *payload)
{
    struct http2_stream *stream = http2_receiver_judge(receiver);
    if (stream == NULL)
        return;
    bool finished = stream->state == HTTP2_STREAM_HALF_CLOSED_LOCAL;
    stream->state = HTTP2_STREAM_CLOSED;
    receiver->event = (struct http2_event){.kind = HTTP2_RESET,
                                           .stream_id = stream->id,
                                           .stream = stream,
                                           .error = (enum http2_error)http2_get_uint32(payload)};
    (void)http2_receiver_glitch(receiver, finished ? 0 : HTTP2_WEIGHT_RESET_BY_PEER);
}

static void on_settings_ack(struct http2_receiver *receiver)
{
    struct http2_connection *connection = receiver->connection;
    if (connection->settings_acknowledged)
        (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_ODD);
    else
        http2_settings_acknowledged(connection);
}

static void on_settings(struct http2_receiver *receiver, const uint8_t *payload)
{
    struct http2_connection *connection = receiver->connection;
    const struct http2_frame_head *frame = &receiver->reader->frame;
    if ((frame->flags & HTTP2_FLAG_ACK) != 0) {
        on_settings_ack(receiver);
        return;
    }
    if (!http2_receiver_flood(receiver, HTTP2_FLOOD_SETTINGS))
        return;
    uint32_t grown = 0;
    enum http2_error error = http2_settings_apply(connection, bytes_of(payload, frame->length), &grown);
    if (error != HTTP2_NO_ERROR) {
        http2_receiver_fail(receiver, error, "setting out of range");
        return;
    }
    (void)http2_control_frame(connection, HTTP2_FRAME_SETTINGS, HTTP2_FLAG_ACK, 0, 0);
    connection->began_ms = 0;
    if (connection->state == HTTP2_SETTINGS)
        connection->state = HTTP2_OPEN;
    if (grown > 0)
        receiver->event = (struct http2_event){.kind = HTTP2_WRITABLE};
}

static void on_ping(struct http2_receiver *receiver, const uint8_t *payload)
{
    struct http2_connection *connection = receiver->connection;
    bool answer = (receiver->reader->frame.flags & HTTP2_FLAG_ACK) != 0;
    if (!answer && http2_receiver_flood(receiver, HTTP2_FLOOD_PING)) {
        uint8_t *echo = http2_control_frame(connection, HTTP2_FRAME_PING, HTTP2_FLAG_ACK, 0, HTTP2_PING_BYTES);
        memcpy(echo, payload, HTTP2_PING_BYTES);
    } else if (answer && connection->ping_sent_ms > 0 && memcmp(payload, http2_ping, HTTP2_PING_BYTES) == 0) {
        connection->ping_sent_ms = 0;
    } else if (answer) {
        (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_ODD);
    }
}

static void on_goaway(struct http2_receiver *receiver, const uint8_t *payload)
{
    if (!http2_receiver_flood(receiver, HTTP2_FLOOD_UNKNOWN))
        return;
    receiver->connection->peer_goes = true;
    receiver->event = (struct http2_event){.kind = HTTP2_GOAWAY_RECEIVED,
                                           .error = (enum http2_error)http2_get_uint32(payload + GOAWAY_ERROR_AT)};
}

static void widen_connection(struct http2_receiver *receiver, uint32_t increment)
{
    struct http2_connection *connection = receiver->connection;
    connection->send_window += increment;
    if (increment == 0)
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "window opened by nothing"); /* RFC 9113 6.9 */
    else if (connection->send_window > HTTP2_WINDOW_MAX)
        http2_receiver_fail(receiver, HTTP2_FLOW_CONTROL_ERROR, "window too large"); /* RFC 9113 6.9.1 */
    else
        receiver->event = (struct http2_event){.kind = HTTP2_WRITABLE, .increment = increment};
}

static void on_window_update(struct http2_receiver *receiver, const uint8_t *payload)
{
    struct http2_connection *connection = receiver->connection;
    const uint32_t id = receiver->reader->frame.stream_id;
    const uint32_t increment = http2_get_uint32(payload) & HTTP2_WINDOW_MAX;
    if (!http2_receiver_flood(receiver, HTTP2_FLOOD_WINDOW_UPDATE))
        return;
    if (id == 0) {
        widen_connection(receiver, increment);
        return;
    }
    struct http2_stream *stream = http2_receiver_judge(receiver);
    if (stream == NULL)
        return;
    stream->send_offset += increment;
    if (increment == 0)
        http2_receiver_stream_error(receiver, id, stream, HTTP2_PROTOCOL_ERROR);
    else if (connection->peer_initial_window + stream->send_offset > HTTP2_WINDOW_MAX)
        http2_receiver_stream_error(receiver, id, stream, HTTP2_FLOW_CONTROL_ERROR);
    else
        receiver->event =
            (struct http2_event){.kind = HTTP2_WRITABLE, .stream_id = id, .stream = stream, .increment = increment};
}

/* RFC 9218 7.1. */
static void on_priority_update(struct http2_receiver *receiver, const uint8_t *payload)
{
    const struct http2_frame_head *frame = &receiver->reader->frame;
    const uint32_t id = http2_get_uint32(payload) & HTTP2_STREAM_ID_MAX;
    if (!http2_receiver_flood(receiver, HTTP2_FLOOD_PRIORITY))
        return;
    if (id % 2 == 0) { /* none, or a push that was never promised */
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "PRIORITY_UPDATE for no request");
        return;
    }
    struct http2_stream *stream;
    enum http2_standing standing = http2_receiver_standing(receiver->connection, id, &stream);
    bool over = standing == HTTP2_STANDING_RESET || standing == HTTP2_STANDING_CLOSED;
    if (over || frame->length > HTTP2_GATHER_BYTES) /* so long is no priority */
        return;
    receiver->event = (struct http2_event){
        .kind = HTTP2_PRIORITY,
        .stream_id = id,
        .stream = stream,
        .data = bytes_of(payload + PRIORITY_UPDATE_ID_BYTES, frame->length - PRIORITY_UPDATE_ID_BYTES),
    };
}

/* The machine -------------------------------------------------------------------------------------------------------
 */

static void take_prefix(struct http2_receiver *receiver, const uint8_t *prefix)
{
    switch ((enum http2_frame_type)receiver->reader->frame.type) {
    case HTTP2_FRAME_DATA:
        begin_data(receiver, prefix);
        return;
    case HTTP2_FRAME_HEADERS:
        begin_headers(receiver, prefix);
        return;
    case HTTP2_FRAME_CONTINUATION:
        begin_continuation(receiver);
        return;
    case HTTP2_FRAME_PRIORITY:
        on_priority(receiver, prefix);
        return;
    case HTTP2_FRAME_RST_STREAM:
        on_rst_stream(receiver, prefix);
        return;
    case HTTP2_FRAME_SETTINGS:
        on_settings(receiver, prefix);
        return;
    case HTTP2_FRAME_PING:
        on_ping(receiver, prefix);
        return;
    case HTTP2_FRAME_GOAWAY:
        on_goaway(receiver, prefix);
        return;
    case HTTP2_FRAME_WINDOW_UPDATE:
        on_window_update(receiver, prefix);
        return;
    case HTTP2_FRAME_PRIORITY_UPDATE:
        on_priority_update(receiver, prefix);
        return;
    case HTTP2_FRAME_PUSH_PROMISE: /* refused by the table */
        break;
    }
    (void)http2_receiver_flood(receiver, HTTP2_FLOOD_UNKNOWN); /* RFC 9113 5.5: read past */
}

static bool carries_block(uint8_t type)
{
    return type == HTTP2_FRAME_HEADERS || type == HTTP2_FRAME_CONTINUATION;
}

/* What must not come now, whatever it is; NULL: nothing is wrong. */
static const char *out_of_order(const struct http2_connection *connection, const struct http2_frame_head *frame)
{
    const struct http2_reader *reader = &connection->reader;
    bool in_block = reader->block_fate != HTTP2_FATE_NONE, continues = frame->type == HTTP2_FRAME_CONTINUATION;
    bool settings = frame->type == HTTP2_FRAME_SETTINGS && (frame->flags & HTTP2_FLAG_ACK) == 0;
    if (connection->began_ms > 0 && !settings)
        return "first frame is not SETTINGS"; /* RFC 9113 3.4 */
    if (in_block && (!continues || frame->stream_id != reader->block_stream_id))
        return "field block interrupted"; /* RFC 9113 6.10 */
    return continues && !in_block ? "CONTINUATION of nothing" : NULL;
}

static void begin_frame(struct http2_receiver *receiver, const uint8_t *head)
{
    struct http2_reader *reader = receiver->reader;
    struct http2_frame_head *frame = &reader->frame;
    http2_frame_read_head(head, frame);
    const char *disorder = out_of_order(receiver->connection, frame);
    enum http2_error error = http2_frame_check(frame, receiver->connection->limits->max_frame_size);
    if (disorder != NULL) {
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, disorder);
        return;
    }
    if (error != HTTP2_NO_ERROR) {
        http2_receiver_fail(receiver, error, "frame of wrong length or stream");
        return;
    }
    if (frame->type == HTTP2_FRAME_SETTINGS && frame->length > HTTP2_SETTINGS_ENTRIES_MAX * 6) {
        http2_receiver_fail(receiver, HTTP2_ENHANCE_YOUR_CALM, "too many settings"); /* H2-06 */
        return;
    }
    reader->stage = HTTP2_STAGE_PREFIX;
}

/* The prefix is here: the rest is payload to be passed on, or of no interest. */
static void end_prefix(struct http2_receiver *receiver, const uint8_t *prefix, uint32_t prefix_bytes)
{
    struct http2_reader *reader = receiver->reader;
    const uint8_t type = reader->frame.type;
    bool passed_on = type == HTTP2_FRAME_DATA || carries_block(type);
    const uint32_t rest = reader->frame.length - prefix_bytes;
    reader->payload_left = passed_on ? rest : 0;
    reader->padding_left = passed_on ? 0 : rest;
    reader->stage = passed_on ? HTTP2_STAGE_PAYLOAD : HTTP2_STAGE_PADDING;
    take_prefix(receiver, prefix);
}

static struct bytes take_input(struct http2_receiver *receiver, uint32_t most)
{
    struct bytes piece = receiver->input;
    if (piece.length > most)
        piece.length = most;
    if (piece.length > 0) /* an empty input may have no address */
        receiver->input = bytes_skip(receiver->input, piece.length);
    return piece;
}

/* A piece of payload. The frame's last octet of it, and no padding behind, ends what the frame carries. */
static void take_payload(struct http2_receiver *receiver)
{
    struct http2_reader *reader = receiver->reader;
    struct bytes piece = take_input(receiver, reader->payload_left);
    bool block = carries_block(reader->frame.type);
    reader->payload_left -= (uint32_t)piece.length;
    if (reader->payload_left == 0)
        reader->stage = HTTP2_STAGE_PADDING;
    if (piece.length > 0 && block)
        http2_block_take(receiver, piece);
    else if (piece.length > 0)
        http2_data_take(receiver, piece);
    bool ends = reader->payload_left == 0 && (reader->frame.flags & HTTP2_FLAG_END_HEADERS) != 0;
    if (block && ends && receiver->event.kind == HTTP2_NEED_MORE)
        http2_block_end(receiver);
}

static void take_preface(struct http2_receiver *receiver)
{
    struct http2_connection *connection = receiver->connection;
    struct http2_reader *reader = receiver->reader;
    struct bytes piece = take_input(receiver, HTTP2_PREFACE_BYTES - reader->gathered_bytes);
    if (memcmp(piece.data, http2_preface + reader->gathered_bytes, piece.length) != 0) {
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "not a preface of HTTP/2");
        return;
    }
    reader->gathered_bytes += (uint32_t)piece.length;
    if (reader->gathered_bytes < HTTP2_PREFACE_BYTES)
        return;
    reader->gathered_bytes = 0;
    reader->stage = HTTP2_STAGE_HEAD;
    if (connection->state == HTTP2_PREFACE)
        connection->state = HTTP2_SETTINGS;
}

/* Whether the stage can go on without further input. */
static bool is_empty_stage(const struct http2_reader *reader)
{
    switch ((enum http2_stage)reader->stage) {
    case HTTP2_STAGE_PREFIX:
        return http2_frame_prefix(&reader->frame) == 0;
    case HTTP2_STAGE_PAYLOAD:
        return reader->payload_left == 0;
    case HTTP2_STAGE_PADDING:
        return reader->padding_left == 0;
    case HTTP2_STAGE_PREFACE:
    case HTTP2_STAGE_HEAD:
        break;
    }
    return false;
}

static void advance(struct http2_receiver *receiver)
{
    struct http2_reader *reader = receiver->reader;
    const uint8_t *gathered;
    uint32_t prefix_bytes;
    switch ((enum http2_stage)reader->stage) {
    case HTTP2_STAGE_PREFACE:
        take_preface(receiver);
        return;
    case HTTP2_STAGE_HEAD:
        gathered = http2_reader_gather(reader, HTTP2_FRAME_HEAD_BYTES, &receiver->input);
        if (gathered != NULL)
            begin_frame(receiver, gathered);
        return;
    case HTTP2_STAGE_PREFIX:
        prefix_bytes = http2_frame_prefix(&reader->frame);
        gathered = http2_reader_gather(reader, prefix_bytes, &receiver->input);
        if (gathered != NULL)
            end_prefix(receiver, gathered, prefix_bytes);
        return;
    case HTTP2_STAGE_PAYLOAD:
        take_payload(receiver);
        return;
    case HTTP2_STAGE_PADDING:
        reader->padding_left -= (uint32_t)take_input(receiver, reader->padding_left).length;
        if (reader->padding_left == 0)
            reader->stage = HTTP2_STAGE_HEAD;
        return;
    }
}

struct http2_event http2_connection_feed(struct http2_connection *connection, struct http2_block *block,
                                         struct bytes input, uint64_t now_ms, size_t *ret_consumed)
{
    struct http2_receiver receiver = {
        .connection = connection,
        .reader = &connection->reader,
        .block = block,
        .input = input,
        .now_ms = now_ms,
    };
    if (connection->state == HTTP2_FAILED_STATE)
        receiver.event = (struct http2_event){.kind = HTTP2_FAILED, .error = connection->failure};
    while (receiver.event.kind == HTTP2_NEED_MORE) {
        if (receiver.input.length == 0 && !is_empty_stage(&connection->reader))
            break;
        /* What reading takes, and then as much for the calls that answer an event. */
        if (http2_control_room(connection) < HTTP2_STEP_BYTES + HTTP2_OUTPUT_ROOM)
            receiver.event.kind = HTTP2_DRAIN;
        else
            advance(&receiver);
    }
    *ret_consumed = input.length - receiver.input.length;
    return receiver.event;
}
