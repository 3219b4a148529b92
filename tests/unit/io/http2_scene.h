/*
 * HTTP/2 scene: an I/O scene whose clients speak HTTP/2. Frames are sent one by one, good or bad, and what came back is
 * asked for by type and stream.
 */
#ifndef TESTS_UNIT_IO_HTTP2_SCENE_H
#define TESTS_UNIT_IO_HTTP2_SCENE_H

#include "daemon/io/http2_session.h"
#include "tests/unit/io/io_scene.h"

struct http2_scene {
    struct scene io;
    struct http2_sessions sessions;
};

/* A frame that a client got; `payload` points into what its socket took. */
struct http2_heard {
    struct http2_frame_head head;
    struct bytes payload;
};

/* Settings of HTTP/2 that `adjust` leaves at 0 are as the schema says. */
void http2_scene_open(struct http2_scene *scene, void (*adjust)(struct scene *scene));
/* Asserts that nothing is alive any more. */
void http2_scene_close(struct http2_scene *scene);

void http2_scene_turns(struct http2_scene *scene, uint32_t count);
void http2_scene_wait(struct http2_scene *scene, uint64_t ms);

/* A client that has said nothing yet. */
int http2_scene_connect_silently(struct http2_scene *scene);
/* One that has sent its preface and SETTINGS with this window for each stream, and acknowledged ours. */
int http2_scene_connect(struct http2_scene *scene, uint32_t window);
struct http2_session *http2_scene_session(struct http2_scene *scene, int fd);

/* The client sends this; it is read in the turns that follow. */
void http2_scene_frame(struct http2_scene *scene, int fd, enum http2_frame_type type, uint8_t flags, uint32_t stream,
                       struct bytes payload);
/* A frame whose payload is one number of four octets. */
void http2_scene_number(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream,
                        uint32_t number);
/* GET / with nothing behind it, POST / that goes on. */
void http2_scene_get(struct http2_scene *scene, int fd, uint32_t stream);
void http2_scene_post(struct http2_scene *scene, int fd, uint32_t stream);

/* The index-th frame of this type on this stream; false: there are fewer. */
bool http2_scene_heard(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream, uint32_t index,
                       struct http2_heard *ret_heard);
uint32_t http2_scene_count(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream);
/* Octets of all such frames. */
uint64_t http2_scene_octets(struct http2_scene *scene, int fd, enum http2_frame_type type, uint32_t stream);
/* Of the last RST_STREAM, or GOAWAY where `stream` is 0; -1: there was none. */
int64_t http2_scene_error(struct http2_scene *scene, int fd, uint32_t stream);
/* What the last head on the stream said; 0: none came. */
uint32_t http2_scene_status(struct http2_scene *scene, int fd, uint32_t stream);
/* Whether a frame on the stream had END_STREAM. */
bool http2_scene_ended(struct http2_scene *scene, int fd, uint32_t stream);

#endif
