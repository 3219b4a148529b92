#include "proto/http2_connection.h"

#include "proto/http2_control.h"
#include "proto/http2_settings.h"

#include <assert.h>

bool http2_preface_matches(struct bytes input)
{
    if (input.length > HTTP2_PREFACE_BYTES)
        input.length = HTTP2_PREFACE_BYTES;
    return bytes_equal(input, bytes_of(http2_preface, input.length));
}

/* 0 says that a time is not running. */
static uint64_t running_since(uint64_t now_ms)
{
    return now_ms > 0 ? now_ms : 1;
}

void http2_connection_init(struct http2_connection *connection, const struct http2_limits *limits, void *decoder_memory,
                           void *encoder_memory, uint64_t now_ms)
{
    assert(limits->max_frame_size >= HTTP2_MAX_FRAME_SIZE_MIN && limits->max_frame_size <= HTTP2_MAX_FRAME_SIZE_MAX);
    assert(limits->initial_window_size <= HTTP2_WINDOW_MAX);
    assert(limits->connection_window_size <= HTTP2_WINDOW_MAX);
    *connection = (struct http2_connection){
        .limits = limits,
        .goaway_stream_id = UINT32_MAX,
        .peer_initial_window = HTTP2_WINDOW_DEFAULT,
        .peer_max_frame = HTTP2_MAX_FRAME_SIZE_MIN,
        .peer_max_header_list = UINT32_MAX,
        .send_window = HTTP2_WINDOW_DEFAULT,
        .receive_window = HTTP2_WINDOW_DEFAULT,
        .window = HTTP2_WINDOW_DEFAULT,
        .began_ms = running_since(now_ms),
        .settings_sent_ms = running_since(now_ms),
    };
    if (limits->connection_window_size > HTTP2_WINDOW_DEFAULT)
        connection->receive_window = connection->window = limits->connection_window_size;
    hpack_decoder_init(&connection->decoder, decoder_memory);
    hpack_encoder_init(&connection->encoder, encoder_memory);
    http2_flood_init(&connection->counts, &connection->glitches, now_ms);
    http2_settings_send(connection);
}

bool http2_connection_in_block(const struct http2_connection *connection)
{
    return connection->reader.block_fate != HTTP2_FATE_NONE;
}

/* The table of streams ----------------------------------------------------------------------------------------------
 */

/* Ids of clients are odd. */
static uint32_t bucket_of(uint32_t id)
{
    return (id >> 1) % HTTP2_BUCKETS;
}

struct http2_stream *http2_connection_find(const struct http2_connection *connection, uint32_t id)
{
    struct http2_stream *stream = connection->streams[bucket_of(id)];
    while (stream != NULL && stream->id != id)
        stream = stream->next;
    return stream;
}

/* A peer sends by the default window until it has read our settings; it may not have when ours is smaller. */
static uint32_t first_receive_window(const struct http2_connection *connection)
{
    uint32_t ours = connection->limits->initial_window_size;
    bool unread = !connection->settings_acknowledged;
    return unread && ours < HTTP2_WINDOW_DEFAULT ? HTTP2_WINDOW_DEFAULT : ours;
}

void http2_connection_open(struct http2_connection *connection, struct http2_stream *stream, uint32_t id,
                           bool end_stream, int64_t content_length)
{
    assert(http2_connection_find(connection, id) == NULL);
    stream->id = id;
    stream->state = end_stream ? HTTP2_STREAM_HALF_CLOSED_REMOTE : HTTP2_STREAM_OPEN;
    stream->receive_window = stream->window = first_receive_window(connection);
    stream->content_left = content_length;
    struct http2_stream **bucket = &connection->streams[bucket_of(id)];
    stream->next = *bucket;
    *bucket = stream;
    connection->stream_count++;
    connection->accepted_stream_id = id;
    http2_flood_allow(&connection->counts, HTTP2_FLOOD_PRIORITY, 1);

    uint32_t requests_max = connection->limits->max_requests_per_connection;
    connection->counts.request_count++;
    if (id >= HTTP2_LAST_ID || (requests_max > 0 && connection->counts.request_count >= requests_max))
        http2_connection_drain(connection);
}

void http2_connection_refuse(struct http2_connection *connection, uint32_t id, enum http2_error error, uint32_t weight,
                             uint64_t now_ms)
{
    if (connection->state == HTTP2_FAILED_STATE)
        return;
    http2_control_reset(connection, id, error);
    (void)http2_connection_glitch(connection, weight, now_ms);
}

void http2_connection_reset(struct http2_connection *connection, struct http2_stream *stream, enum http2_error error)
{
    if (stream->state == HTTP2_STREAM_CLOSED)
        return;
    stream->state = HTTP2_STREAM_CLOSED;
    if (connection->state != HTTP2_FAILED_STATE)
        http2_control_reset(connection, stream->id, error);
}

void http2_connection_forget(struct http2_connection *connection, struct http2_stream *stream)
{
    bool answered = stream->state == HTTP2_STREAM_HALF_CLOSED_LOCAL;
    http2_connection_reset(connection, stream, answered ? HTTP2_NO_ERROR : HTTP2_CANCEL);
    struct http2_stream **link = &connection->streams[bucket_of(stream->id)];
    while (*link != NULL && *link != stream)
        link = &(*link)->next;
    assert(*link == stream);
    *link = stream->next;
    connection->stream_count--;
}

/* Receiving: credit -------------------------------------------------------------------------------------------------
 */

/* Half a window at a time: the peer still has the other half when it hears of it. */
static bool worth_saying(uint32_t unannounced, uint32_t window)
{
    return unannounced > 0 && unannounced >= window / 2;
}

void http2_connection_consumed(struct http2_connection *connection, struct http2_stream *stream, uint32_t octets)
{
    if (connection->state == HTTP2_FAILED_STATE)
        return;
    const uint32_t kept = octets < connection->excess ? octets : connection->excess;
    connection->excess -= kept;
    connection->unannounced += octets - kept;
    if (worth_saying(connection->unannounced, connection->window)) {
        http2_control_window_update(connection, 0, connection->unannounced);
        connection->receive_window += connection->unannounced;
        connection->unannounced = 0;
    }
    if (stream == NULL || stream->state == HTTP2_STREAM_CLOSED || stream->state == HTTP2_STREAM_HALF_CLOSED_REMOTE)
        return;
    stream->unannounced += octets;
    if (worth_saying(stream->unannounced, stream->window)) {
        http2_control_window_update(connection, stream->id, stream->unannounced);
        stream->receive_window += stream->unannounced;
        stream->unannounced = 0;
    }
}

static void widen_connection(struct http2_connection *connection, uint32_t octets)
{
    const uint32_t given = octets < connection->excess ? octets : connection->excess;
    connection->excess -= given;
    connection->window += octets;
    connection->unannounced += octets - given;
    if (connection->unannounced == 0)
        return;
    http2_control_window_update(connection, 0, connection->unannounced);
    connection->receive_window += connection->unannounced;
    connection->unannounced = 0;
}

void http2_connection_widen(struct http2_connection *connection, struct http2_stream *stream, uint32_t octets)
{
    assert(octets <= HTTP2_WINDOW_MAX - (stream != NULL ? stream->window : connection->window));
    if (connection->state == HTTP2_FAILED_STATE || octets == 0)
        return;
    if (stream == NULL) {
        widen_connection(connection, octets);
        return;
    }
    if (stream->state == HTTP2_STREAM_CLOSED || stream->state == HTTP2_STREAM_HALF_CLOSED_REMOTE)
        return;
    stream->window += octets;
    stream->unannounced += octets;
    http2_control_window_update(connection, stream->id, stream->unannounced);
    stream->receive_window += stream->unannounced;
    stream->unannounced = 0;
}

/* What was consumed and not said yet never will be. */
void http2_connection_narrow(struct http2_connection *connection, uint32_t octets)
{
    assert(octets <= connection->window);
    const uint32_t kept = octets < connection->unannounced ? octets : connection->unannounced;
    connection->window -= octets;
    connection->unannounced -= kept;
    connection->excess += octets - kept;
}

/* Sending -----------------------------------------------------------------------------------------------------------
 */

uint32_t http2_connection_sendable(const struct http2_connection *connection, const struct http2_stream *stream)
{
    int64_t window = connection->peer_initial_window + stream->send_offset;
    if (window > connection->send_window)
        window = connection->send_window;
    bool ended = stream->state == HTTP2_STREAM_CLOSED || stream->state == HTTP2_STREAM_HALF_CLOSED_LOCAL;
    return window > 0 && !ended ? (uint32_t)window : 0;
}

static void end_our_side(struct http2_stream *stream)
{
    stream->state = stream->state == HTTP2_STREAM_OPEN ? HTTP2_STREAM_HALF_CLOSED_LOCAL : (uint8_t)HTTP2_STREAM_CLOSED;
}

void http2_connection_data(struct http2_connection *connection, struct http2_stream *stream, uint32_t length,
                           bool end_stream, uint8_t out[HTTP2_FRAME_HEAD_BYTES])
{
    assert(length <= connection->peer_max_frame);
    assert(length == 0 || length <= http2_connection_sendable(connection, stream));
    connection->send_window -= length;
    stream->send_offset -= length;
    http2_flood_allow(&connection->counts, HTTP2_FLOOD_WINDOW_UPDATE, HTTP2_UPDATES_PER_DATA);
    /* Clients of gRPC measure the path by a PING for each round trip in which they were sent DATA. */
    http2_flood_allow(&connection->counts, HTTP2_FLOOD_PING, 1);
    const struct http2_frame_head head = {
        .length = length,
        .stream_id = stream->id,
        .type = HTTP2_FRAME_DATA,
        .flags = end_stream ? HTTP2_FLAG_END_STREAM : 0,
    };
    http2_frame_write_head(&head, out);
    if (end_stream)
        end_our_side(stream);
}

static size_t frames_of(const struct http2_connection *connection, size_t block_bytes)
{
    size_t most = connection->peer_max_frame;
    return block_bytes <= most ? 1 : (block_bytes + most - 1) / most;
}

size_t http2_connection_head_max(const struct http2_connection *connection, size_t block_bytes)
{
    return frames_of(connection, block_bytes) * HTTP2_FRAME_HEAD_BYTES + block_bytes;
}

size_t http2_connection_head(struct http2_connection *connection, struct http2_stream *stream, size_t block_bytes,
                             bool end_stream, uint8_t *out)
{
    const size_t most = connection->peer_max_frame, count = frames_of(connection, block_bytes);
    /* From the last to the first, so that no part is moved over one that has yet to move. */
    for (size_t i = count; i-- > 0;) {
        size_t length = i + 1 < count ? most : block_bytes - i * most;
        uint8_t *at = out + i * (most + HTTP2_FRAME_HEAD_BYTES);
        if (i > 0)
            memmove(at + HTTP2_FRAME_HEAD_BYTES, out + HTTP2_FRAME_HEAD_BYTES + i * most, length);
        const struct http2_frame_head head = {
            .length = (uint32_t)length,
            .stream_id = stream->id,
            .type = i == 0 ? HTTP2_FRAME_HEADERS : HTTP2_FRAME_CONTINUATION,
            .flags = (uint8_t)((i == 0 && end_stream ? HTTP2_FLAG_END_STREAM : 0) |
                               (i + 1 == count ? HTTP2_FLAG_END_HEADERS : 0)),
        };
        http2_frame_write_head(&head, at);
    }
    if (end_stream)
        end_our_side(stream);
    return http2_connection_head_max(connection, block_bytes);
}

/* The connection as a whole -----------------------------------------------------------------------------------------
 */

void http2_connection_drain(struct http2_connection *connection)
{
    if (connection->state >= HTTP2_DRAINING)
        return;
    connection->state = HTTP2_DRAINING;
    http2_control_goaway(connection, HTTP2_STREAM_ID_MAX, HTTP2_NO_ERROR, BYTES_LITERAL(""));
}

void http2_connection_drain_finally(struct http2_connection *connection)
{
    if (connection->state == HTTP2_FAILED_STATE || connection->goaway_stream_id == connection->accepted_stream_id)
        return;
    connection->state = HTTP2_DRAINING;
    http2_control_goaway(connection, connection->accepted_stream_id, HTTP2_NO_ERROR, BYTES_LITERAL(""));
}

void http2_connection_fail(struct http2_connection *connection, enum http2_error error, const char *text)
{
    if (connection->state == HTTP2_FAILED_STATE)
        return;
    connection->state = HTTP2_FAILED_STATE;
    connection->failure = error;
    connection->failure_text = text;
    http2_control_goaway(connection, connection->accepted_stream_id, error, bytes_of_string(text));
}

bool http2_connection_glitch(struct http2_connection *connection, uint32_t weight, uint64_t now_ms)
{
    struct http2_glitches *glitches = &connection->glitches;
    if (connection->state == HTTP2_FAILED_STATE)
        return false;
    if (weight == 0)
        return true;
    if (!http2_flood_take(glitches, weight, now_ms)) {
        http2_connection_fail(connection, HTTP2_ENHANCE_YOUR_CALM, "too much that is odd");
        return false;
    }
    if (glitches->tokens <= HTTP2_GLITCH_WARNING && !glitches->warned) {
        glitches->warned = true;
        http2_connection_drain(connection);
    }
    return true;
}

void http2_connection_ping(struct http2_connection *connection, uint64_t now_ms)
{
    if (connection->state == HTTP2_FAILED_STATE || connection->ping_sent_ms > 0)
        return;
    memcpy(http2_control_frame(connection, HTTP2_FRAME_PING, 0, 0, HTTP2_PING_BYTES), http2_ping, HTTP2_PING_BYTES);
    connection->ping_sent_ms = running_since(now_ms);
}

/* Time --------------------------------------------------------------------------------------------------------------
 */

/* What is waited for, H2-26. */
struct due {
    uint64_t since_ms; /* 0: nothing is */
    uint32_t allowed_ms;
    enum http2_error error;
    const char *text;
};

enum { DUES = 4 };

static void list_dues(const struct http2_connection *connection, struct due dues[DUES])
{
    dues[0] = (struct due){connection->began_ms, 5'000, HTTP2_SETTINGS_TIMEOUT, "no preface and SETTINGS in time"};
    dues[1] = (struct due){connection->settings_sent_ms, 10'000, HTTP2_SETTINGS_TIMEOUT, "SETTINGS not acknowledged"};
    dues[2] = (struct due){connection->block_since_ms, 10'000, HTTP2_ENHANCE_YOUR_CALM, "field block too slow"};
    dues[3] = (struct due){connection->ping_sent_ms, 10'000, HTTP2_NO_ERROR, "PING not answered"};
}

uint64_t http2_connection_deadline(const struct http2_connection *connection)
{
    struct due dues[DUES];
    uint64_t deadline = 0;
    list_dues(connection, dues);
    for (int i = 0; i < DUES && connection->state != HTTP2_FAILED_STATE; i++) {
        uint64_t at = dues[i].since_ms + dues[i].allowed_ms;
        if (dues[i].since_ms > 0 && (deadline == 0 || at < deadline))
            deadline = at;
    }
    return deadline;
}

void http2_connection_on_time(struct http2_connection *connection, uint64_t now_ms)
{
    struct due dues[DUES];
    list_dues(connection, dues);
    for (int i = 0; i < DUES; i++)
        if (dues[i].since_ms > 0 && now_ms >= dues[i].since_ms + dues[i].allowed_ms)
            http2_connection_fail(connection, dues[i].error, dues[i].text);
}
