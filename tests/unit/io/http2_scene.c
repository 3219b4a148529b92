#include "tests/unit/io/http2_scene.h"

#include <assert.h>
#include <stdlib.h>

enum { FIELDS = 32, SECTION_BYTES = 4'096 };

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const uint8_t GET[] = {0x82, 0x86, 0x84, 0x41, 1, 'a'}; /* GET http / a: indexed, but for the authority */
static const uint8_t POST[] = {0x83, 0x86, 0x84, 0x41, 1, 'a'};

static void default_to(int64_t *setting, int64_t value)
{
    if (*setting == 0)
        *setting = value;
}

void http2_scene_open(struct http2_scene *scene, void (*adjust)(struct scene *scene))
{
    struct settings *settings = &scene->io.core.settings;
    scene_open(&scene->io, adjust);
    default_to(&settings->http2_max_concurrent_streams, 100);
    default_to(&settings->http2_initial_window_size, 65'535);
    default_to(&settings->http2_max_frame_size, 16'384);
    default_to(&settings->http2_max_header_list_size, 65'536);
    int r = http2_sessions_init(&scene->sessions, &scene->io.core, &scene->io.connections, &scene->io.dispatch);
    assert(r == 0);
}

void http2_scene_close(struct http2_scene *scene)
{
    scene_close(&scene->io);
    assert(scene->sessions.sessions.live == 0);
    assert(scene->sessions.members.live == 0);
    assert(scene->sessions.tables.live == 0);
    assert(scene->sessions.waiting_first == NULL);
    http2_sessions_deinit(&scene->sessions);
}

void http2_scene_turns(struct http2_scene *scene, uint32_t count)
{
    while (count-- > 0) {
        scene->io.core.now_us++; /* by which a session knows that the turn is another */
        (void)http2_sessions_turn(&scene->sessions);
        scene_turn(&scene->io);
    }
}

void http2_scene_wait(struct http2_scene *scene, uint64_t ms)
{
    scene_wait(&scene->io, ms);
    http2_scene_turns(scene, 4);
}

/* ---- what a client says ----------------------------------------------------------------------------------------- */

int http2_scene_connect_silently(struct http2_scene *scene)
{
    int fd = scripted_socket(scene->io.core.ring);
    struct connection *connection = connection_create(&scene->io.connections, fd, &scene->io.listener);
    assert(connection != NULL);
    http2_session_accepted(&scene->sessions, connection);
    return fd;
}

int http2_scene_connect(struct http2_scene *scene, uint32_t window)
{
    int fd = http2_scene_connect_silently(scene);
    uint8_t initial_window[6] = {0, 4};
    http2_put_uint32(initial_window + 2, window);
    scripted_client_sends(scene->io.core.ring, fd, bytes_of_string(PREFACE));
    http2_scene_frame(scene, fd, HTTP2_FRAME_SETTINGS, 0, 0, bytes_of(initial_window, sizeof initial_window));
    http2_scene_frame(scene, fd, HTTP2_FRAME_SETTINGS, HTTP2_FLAG_ACK, 0, bytes_of("", 0));
    http2_scene_turns(scene, 4);
    return fd;
}

struct http2_session *http2_scene_session(struct http2_scene *scene, int fd)
{
    struct connections *connections = &scene->io.connections;
    for (uint32_t i = 0; i < connections->allocated; i++)
        if (connections->by_index[i] != NULL && connections->by_index[i]->fd == fd)
            return connections->by_index[i]->session;
    return NULL;
}

void http2_scene_frame(struct http2_scene *scene, int fd, enum http2_frame_type type, uint8_t flags, uint32_t stream,
                       struct bytes payload)
{
    uint8_t head[HTTP2_FRAME_HEAD_BYTES];
    http2_frame_write_head(
        &(struct http2_frame_head){
            .length = (uint32_t)payload.length, .stream_id = stream, .type = (uint8_t)type, .flags = flags},
        head);
    scripted_client_sends(scene->io.core.ring, fd, bytes_of(head, sizeof head));
    scripted_client_sends(scene->io.core.ring, fd, payload);
}

void http2_scene_number(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream, uint32_t number)
{
    uint8_t payload[4];
    http2_put_uint32(payload, number);
    http2_scene_frame(scene, fd, type, 0, stream, bytes_of(payload, sizeof payload));
}

void http2_scene_get(struct http2_scene *scene, int fd, uint32_t stream)
{
    http2_scene_frame(scene, fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS | HTTP2_FLAG_END_STREAM, stream,
                      bytes_of(GET, sizeof GET));
}

void http2_scene_post(struct http2_scene *scene, int fd, uint32_t stream)
{
    http2_scene_frame(scene, fd, HTTP2_FRAME_HEADERS, HTTP2_FLAG_END_HEADERS, stream, bytes_of(POST, sizeof POST));
}

/* ---- what it heard ---------------------------------------------------------------------------------------------- */

/* The frame that begins at *at, which then stands behind it. */
static bool next_frame(const struct scripted_socket *socket, size_t *at, struct http2_heard *ret_heard)
{
    struct http2_frame_head head;
    if (socket->output_bytes - *at < HTTP2_FRAME_HEAD_BYTES)
        return false;
    http2_frame_read_head(socket->output + *at, &head);
    if (socket->output_bytes - *at - HTTP2_FRAME_HEAD_BYTES < head.length)
        return false;
    *ret_heard = (struct http2_heard){head, bytes_of(socket->output + *at + HTTP2_FRAME_HEAD_BYTES, head.length)};
    *at += HTTP2_FRAME_HEAD_BYTES + head.length;
    return true;
}

bool http2_scene_heard(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream, uint32_t index,
                       struct http2_heard *ret_heard)
{
    const struct scripted_socket *socket = scripted_at(scene->io.core.ring, fd);
    struct http2_heard heard;
    for (size_t at = 0; next_frame(socket, &at, &heard);)
        if (heard.head.type == type && heard.head.stream_id == stream && index-- == 0) {
            *ret_heard = heard;
            return true;
        }
    return false;
}

uint32_t http2_scene_count(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream)
{
    struct http2_heard heard;
    uint32_t count = 0;
    while (http2_scene_heard(scene, fd, type, stream, count, &heard))
        count++;
    return count;
}

uint64_t http2_scene_octets(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream)
{
    struct http2_heard heard;
    uint64_t octets = 0;
    for (uint32_t i = 0; http2_scene_heard(scene, fd, type, stream, i, &heard); i++)
        octets += heard.payload.length;
    return octets;
}

int64_t http2_scene_error(struct http2_scene *scene, int fd, uint32_t stream)
{
    const enum http2_frame_type type = stream == 0 ? HTTP2_FRAME_GOAWAY : HTTP2_FRAME_RST_STREAM;
    const uint32_t count = http2_scene_count(scene, fd, type, stream);
    struct http2_heard heard;
    if (count == 0 || !http2_scene_heard(scene, fd, type, stream, count - 1, &heard))
        return -1;
    return http2_get_uint32(heard.payload.data + (stream == 0 ? 4 : 0));
}

static uint32_t status_of(struct hpack_decoder *decoder, struct bytes block)
{
    uint8_t memory[SECTION_BYTES];
    struct hpack_field fields[FIELDS];
    struct hpack_section section = {
        .memory = memory, .memory_bytes = sizeof memory, .fields = fields, .fields_max = FIELDS};
    size_t consumed;
    hpack_decode_begin(decoder);
    bool good = hpack_decode(decoder, block, &section, &consumed);
    assert(good && consumed == block.length && section.field_count > 0 && fields[0].value_length == 3);
    const uint8_t *digits = memory + fields[0].value_offset;
    return (digits[0] - '0') * 100U + (digits[1] - '0') * 10U + (digits[2] - '0');
}

uint32_t http2_scene_status(struct http2_scene *scene, int fd, uint32_t stream)
{
    const struct scripted_socket *socket = scripted_at(scene->io.core.ring, fd);
    void *memory = malloc(HPACK_TABLE_MEMORY(HPACK_DECODER_BYTES));
    struct hpack_decoder decoder;
    struct http2_heard heard;
    uint32_t status = 0;
    assert(memory != NULL);
    hpack_decoder_init(&decoder, memory);
    for (size_t at = 0; next_frame(socket, &at, &heard);) {
        if (heard.head.type != HTTP2_FRAME_HEADERS)
            continue;
        uint32_t said = status_of(&decoder, heard.payload);
        if (heard.head.stream_id == stream)
            status = said;
    }
    free(memory);
    return status;
}

bool http2_scene_ended(struct http2_scene *scene, int fd, uint32_t stream)
{
    const struct scripted_socket *socket = scripted_at(scene->io.core.ring, fd);
    struct http2_heard heard;
    for (size_t at = 0; next_frame(socket, &at, &heard);)
        if (heard.head.stream_id == stream && heard.head.type <= HTTP2_FRAME_HEADERS &&
            (heard.head.flags & HTTP2_FLAG_END_STREAM) != 0)
            return true;
    return false;
}
