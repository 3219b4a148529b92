#include "proto/http2_receiver.h"

#include "proto/http2_control.h"

void http2_receiver_fail(struct http2_receiver *receiver, enum http2_error error, const char *text)
{
    http2_connection_fail(receiver->connection, error, text);
    receiver->event = (struct http2_event){.kind = HTTP2_FAILED, .error = receiver->connection->failure};
}

bool http2_receiver_glitch(struct http2_receiver *receiver, uint32_t weight)
{
    bool bearable = http2_connection_glitch(receiver->connection, weight, receiver->now_ms);
    if (!bearable)
        receiver->event = (struct http2_event){.kind = HTTP2_FAILED, .error = receiver->connection->failure};
    return bearable;
}

bool http2_receiver_flood(struct http2_receiver *receiver, enum http2_flood flood)
{
    struct http2_counts *counts = &receiver->connection->counts;
    return http2_receiver_glitch(receiver, http2_flood_weight(counts, flood, receiver->now_ms));
}

void http2_receiver_stream_error(struct http2_receiver *receiver, uint32_t id, struct http2_stream *stream,
                                 enum http2_error error)
{
    http2_control_reset(receiver->connection, id, error);
    if (stream != NULL) {
        stream->state = HTTP2_STREAM_CLOSED;
        receiver->event =
            (struct http2_event){.kind = HTTP2_RESET, .stream_id = id, .stream = stream, .by_us = true, .error = error};
    }
    (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_MADE_RESET);
}

void http2_receiver_end_stream(struct http2_stream *stream)
{
    stream->state = stream->state == HTTP2_STREAM_OPEN ? HTTP2_STREAM_HALF_CLOSED_REMOTE : (uint8_t)HTTP2_STREAM_CLOSED;
}

static bool was_reset_by_us(const struct http2_connection *connection, uint32_t id)
{
    for (int i = 0; i < HTTP2_CLOSED_KEPT; i++)
        if (connection->reset_ids[i] == id)
            return true;
    return false;
}

enum http2_standing http2_receiver_standing(const struct http2_connection *connection, uint32_t id,
                                            struct http2_stream **ret_stream)
{
    struct http2_stream *stream = http2_connection_find(connection, id);
    *ret_stream = stream != NULL && stream->state != HTTP2_STREAM_CLOSED ? stream : NULL;
    if (*ret_stream != NULL)
        return stream->state == HTTP2_STREAM_HALF_CLOSED_REMOTE ? HTTP2_STANDING_ENDED : HTTP2_STANDING_OPEN;
    /* Even ids are the server's, which opens no streams. */
    if (id > connection->last_stream_id || id % 2 == 0)
        return HTTP2_STANDING_IDLE;
    return was_reset_by_us(connection, id) ? HTTP2_STANDING_RESET : HTTP2_STANDING_CLOSED;
}

struct http2_stream *http2_receiver_judge(struct http2_receiver *receiver)
{
    const struct http2_frame_head *frame = &receiver->reader->frame;
    struct http2_stream *stream;
    enum http2_standing standing = http2_receiver_standing(receiver->connection, frame->stream_id, &stream);
    switch (http2_frame_verdict(frame->type, standing)) {
    case HTTP2_TAKE:
        return stream;
    case HTTP2_PASS_OVER:
        return NULL;
    case HTTP2_PASS_OVER_ODD:
        (void)http2_receiver_glitch(receiver, HTTP2_WEIGHT_ODD);
        return NULL;
    case HTTP2_STREAM_ERROR:
        http2_receiver_stream_error(receiver, frame->stream_id, stream, HTTP2_STREAM_CLOSED_ERROR);
        return NULL;
    case HTTP2_ERROR_CLOSED:
        http2_receiver_fail(receiver, HTTP2_STREAM_CLOSED_ERROR, "frame on a closed stream");
        return NULL;
    case HTTP2_ERROR_PROTOCOL:
        http2_receiver_fail(receiver, HTTP2_PROTOCOL_ERROR, "frame on an idle stream");
        return NULL;
    }
    return NULL;
}
