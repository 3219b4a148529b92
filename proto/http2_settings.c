#include "proto/http2_settings.h"

#include "proto/http2_control.h"

enum setting {
    HEADER_TABLE_SIZE = 0x1,
    ENABLE_PUSH = 0x2,
    MAX_CONCURRENT_STREAMS = 0x3,
    INITIAL_WINDOW_SIZE = 0x4,
    MAX_FRAME_SIZE = 0x5,
    MAX_HEADER_LIST_SIZE = 0x6,
    ENABLE_CONNECT_PROTOCOL = 0x8, /* RFC 8441 3 */
    NO_RFC7540_PRIORITIES = 0x9,   /* RFC 9218 2.1 */
    SETTINGS_KNOWN
};

enum { ENTRY_BYTES = 6, ENTRIES_SENT_MAX = 6 };

/* RFC 9113 6.5.2: what a value may be, and the error of one that is not. Where the table has no row, anything. */
static const struct setting_rule {
    uint32_t least;
    uint32_t most; /* 0: any */
    enum http2_error error;
} setting_rules[SETTINGS_KNOWN] = {
    [ENABLE_PUSH] = {0, 1, HTTP2_PROTOCOL_ERROR},
    [INITIAL_WINDOW_SIZE] = {0, HTTP2_WINDOW_MAX, HTTP2_FLOW_CONTROL_ERROR},
    [MAX_FRAME_SIZE] = {HTTP2_MAX_FRAME_SIZE_MIN, HTTP2_MAX_FRAME_SIZE_MAX, HTTP2_PROTOCOL_ERROR},
    [ENABLE_CONNECT_PROTOCOL] = {0, 1, HTTP2_PROTOCOL_ERROR},
    [NO_RFC7540_PRIORITIES] = {0, 1, HTTP2_PROTOCOL_ERROR},
};

/* Ours --------------------------------------------------------------------------------------------------------------
 */

static uint8_t *put_setting(uint8_t *at, enum setting id, uint32_t value)
{
    at[0] = 0;
    at[1] = (uint8_t)id;
    http2_put_uint32(at + 2, value);
    return at + ENTRY_BYTES;
}

void http2_settings_send(struct http2_connection *connection)
{
    const struct http2_limits *limits = connection->limits;
    uint8_t entries[ENTRIES_SENT_MAX * ENTRY_BYTES], *end = entries;
    end = put_setting(end, MAX_CONCURRENT_STREAMS, limits->max_concurrent_streams);
    end = put_setting(end, INITIAL_WINDOW_SIZE, limits->initial_window_size);
    end = put_setting(end, MAX_FRAME_SIZE, limits->max_frame_size);
    end = put_setting(end, MAX_HEADER_LIST_SIZE, limits->max_header_list_size);
    end = put_setting(end, NO_RFC7540_PRIORITIES, 1);
    if (limits->enable_connect_protocol)
        end = put_setting(end, ENABLE_CONNECT_PROTOCOL, 1);
    uint32_t length = (uint32_t)(end - entries);
    memcpy(http2_control_frame(connection, HTTP2_FRAME_SETTINGS, 0, 0, length), entries, length);
    if (limits->connection_window_size > HTTP2_WINDOW_DEFAULT)
        http2_control_window_update(connection, 0, limits->connection_window_size - HTTP2_WINDOW_DEFAULT);
}

void http2_settings_acknowledged(struct http2_connection *connection)
{
    connection->settings_acknowledged = true;
    connection->settings_sent_ms = 0;
    int64_t less = HTTP2_WINDOW_DEFAULT - (int64_t)connection->limits->initial_window_size;
    if (less <= 0)
        return;
    /* Streams that were opened before had the default window; the peer has taken the difference away as well. */
    for (int i = 0; i < HTTP2_BUCKETS; i++)
        for (struct http2_stream *stream = connection->streams[i]; stream != NULL; stream = stream->next) {
            stream->receive_window -= less;
            stream->window -= (uint32_t)less;
        }
}

/* The peer's --------------------------------------------------------------------------------------------------------
 */

static enum http2_error apply_entry(struct http2_connection *connection, uint32_t id, uint32_t value)
{
    if (id >= SETTINGS_KNOWN)
        return HTTP2_NO_ERROR; /* RFC 9113 6.5.2: unknown settings are ignored */
    const struct setting_rule *rule = &setting_rules[id];
    if (rule->most > 0 && (value < rule->least || value > rule->most))
        return rule->error;
    if (id == HEADER_TABLE_SIZE)
        hpack_encoder_limit(&connection->encoder, value);
    else if (id == INITIAL_WINDOW_SIZE)
        connection->peer_initial_window = value;
    else if (id == MAX_FRAME_SIZE)
        connection->peer_max_frame = value;
    else if (id == MAX_HEADER_LIST_SIZE)
        connection->peer_max_header_list = value;
    return HTTP2_NO_ERROR;
}

/* RFC 9113 6.9.2. Only looked at when windows grew, once a frame, so not what H2-14 is about. */
static bool any_window_too_large(const struct http2_connection *connection)
{
    for (int i = 0; i < HTTP2_BUCKETS; i++)
        for (const struct http2_stream *stream = connection->streams[i]; stream != NULL; stream = stream->next)
            if (connection->peer_initial_window + stream->send_offset > HTTP2_WINDOW_MAX)
                return true;
    return false;
}

enum http2_error http2_settings_apply(struct http2_connection *connection, struct bytes entries, uint32_t *ret_grown)
{
    const uint32_t window_before = connection->peer_initial_window;
    for (; entries.length >= ENTRY_BYTES; entries = bytes_skip(entries, ENTRY_BYTES)) {
        uint32_t id = (uint32_t)entries.data[0] << 8 | entries.data[1];
        enum http2_error error = apply_entry(connection, id, http2_get_uint32(entries.data + 2));
        if (error != HTTP2_NO_ERROR)
            return error;
    }
    bool grown = connection->peer_initial_window > window_before;
    if (grown && any_window_too_large(connection))
        return HTTP2_FLOW_CONTROL_ERROR;
    *ret_grown = grown ? connection->peer_initial_window - window_before : 0;
    return HTTP2_NO_ERROR;
}
