#include "proto/http2_data.h"

/* Nobody wants the rest: the connection's window must not be lost with it. */
static void skip_data(struct http2_receiver *receiver, uint32_t credit)
{
    struct http2_reader *reader = receiver->reader;
    reader->padding_left += reader->payload_left;
    reader->payload_left = 0;
    http2_connection_consumed(receiver->connection, NULL, credit);
}

/* The error of what DATA says by its head; NO_ERROR: none. */
static enum http2_error check_data(const struct http2_receiver *receiver, struct http2_stream *stream)
{
    const struct http2_reader *reader = receiver->reader;
    const uint32_t payload = reader->payload_left;
    const bool end_stream = (reader->frame.flags & HTTP2_FLAG_END_STREAM) != 0;
    stream->receive_window -= reader->frame.length;
    if (stream->receive_window < 0)
        return HTTP2_FLOW_CONTROL_ERROR;
    /* H2-21: the octets are counted as the length that was stated says, no more and no less (RFC 9113 8.1.1). */
    if (stream->content_left >= 0) {
        if (payload > stream->content_left || (end_stream && payload < stream->content_left))
            return HTTP2_PROTOCOL_ERROR;
        stream->content_left -= payload;
    }
    if (payload == 0 && !end_stream && ++stream->empty_frames > HTTP2_EMPTY_FRAMES_MAX)
        return HTTP2_ENHANCE_YOUR_CALM;
    return HTTP2_NO_ERROR;
}

/* RFC 9113 6.9: the whole payload counts against both windows, padding too. */
static bool take_connection_window(struct http2_receiver *receiver)
{
    struct http2_connection *connection = receiver->connection;
    connection->receive_window -= receiver->reader->frame.length;
    if (connection->receive_window >= 0)
        return true;
    http2_receiver_fail(receiver, HTTP2_FLOW_CONTROL_ERROR, "more DATA than the connection's window");
    return false;
}

static void tell_data(struct http2_receiver *receiver, struct http2_stream *stream, struct bytes data)
{
    const struct http2_reader *reader = receiver->reader;
    bool end_stream = reader->payload_left == 0 && (reader->frame.flags & HTTP2_FLAG_END_STREAM) != 0;
    if (end_stream)
        http2_receiver_end_stream(stream);
    receiver->event = (struct http2_event){
        .kind = HTTP2_DATA, .stream_id = stream->id, .stream = stream, .data = data, .end_stream = end_stream};
}

void http2_data_begin(struct http2_receiver *receiver, uint32_t padding)
{
    struct http2_reader *reader = receiver->reader;
    if (!take_connection_window(receiver))
        return;
    struct http2_stream *stream = http2_receiver_judge(receiver);
    enum http2_error error = stream != NULL ? check_data(receiver, stream) : HTTP2_NO_ERROR;
    if (error != HTTP2_NO_ERROR)
        http2_receiver_stream_error(receiver, stream->id, stream, error);
    if (stream == NULL || error != HTTP2_NO_ERROR) {
        skip_data(receiver, reader->frame.length);
        return;
    }
    http2_connection_consumed(receiver->connection, stream, padding);
    if (reader->payload_left == 0 && (reader->frame.flags & HTTP2_FLAG_END_STREAM) != 0)
        tell_data(receiver, stream, bytes_of("", 0));
}

void http2_data_take(struct http2_receiver *receiver, struct bytes piece)
{
    struct http2_stream *stream;
    enum http2_standing standing =
        http2_receiver_standing(receiver->connection, receiver->reader->frame.stream_id, &stream);
    if (standing == HTTP2_STANDING_OPEN)
        tell_data(receiver, stream, piece);
    else /* reset by us since the frame began */
        skip_data(receiver, (uint32_t)piece.length + receiver->reader->payload_left);
}
