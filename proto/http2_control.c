#include "proto/http2_control.h"

#include <assert.h>

const char http2_preface[HTTP2_PREFACE_BYTES + 1] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const char http2_ping[HTTP2_PING_BYTES + 1] = "uroboros";

uint8_t *http2_control_frame(struct http2_connection *connection, enum http2_frame_type type, uint8_t flags,
                             uint32_t stream_id, uint32_t length)
{
    assert(HTTP2_FRAME_HEAD_BYTES + length <= http2_control_room(connection));
    uint8_t *at = connection->output + connection->output_used;
    const struct http2_frame_head head = {
        .length = length, .stream_id = stream_id, .type = (uint8_t)type, .flags = flags};
    http2_frame_write_head(&head, at);
    connection->output_used += HTTP2_FRAME_HEAD_BYTES + length;
    return at + HTTP2_FRAME_HEAD_BYTES;
}

void http2_control_window_update(struct http2_connection *connection, uint32_t stream_id, uint32_t increment)
{
    http2_put_uint32(http2_control_frame(connection, HTTP2_FRAME_WINDOW_UPDATE, 0, stream_id, 4), increment);
}

void http2_control_reset(struct http2_connection *connection, uint32_t stream_id, enum http2_error error)
{
    http2_put_uint32(http2_control_frame(connection, HTTP2_FRAME_RST_STREAM, 0, stream_id, 4), error);
    connection->reset_ids[connection->reset_next] = stream_id;
    connection->reset_next = (connection->reset_next + 1) % HTTP2_CLOSED_KEPT;
}

void http2_control_goaway(struct http2_connection *connection, uint32_t last_id, enum http2_error error,
                          struct bytes text)
{
    if (text.length > HTTP2_DEBUG_BYTES)
        text.length = HTTP2_DEBUG_BYTES;
    uint8_t *payload = http2_control_frame(connection, HTTP2_FRAME_GOAWAY, 0, 0, 8 + (uint32_t)text.length);
    http2_put_uint32(payload, last_id);
    http2_put_uint32(payload + 4, error);
    memcpy(payload + 8, text.data, text.length);
    connection->goaway_stream_id = last_id;
}
