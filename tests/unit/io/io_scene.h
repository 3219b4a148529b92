/*
 * I/O scene: a whole I/O process over the scripted engine, with a clock of the test's own, and two app processes that
 * are real arenas and queues with the test at their other end.
 */
#ifndef TESTS_UNIT_IO_IO_SCENE_H
#define TESTS_UNIT_IO_IO_SCENE_H

#include "daemon/io/acceptor.h"
#include "daemon/io/dispatch.h"
#include "daemon/io/gone_watch.h"
#include "daemon/io/http1_session.h"
#include "daemon/io/tls_intake.h"
#include "tests/unit/io/scripted_engine.h"

enum { SCENE_APPS = 2, SCENE_RING_INDEX = 0 };

/* The other end of the pair (this I/O process, one app). */
struct scene_app {
    bool up;
    uint32_t index;
    uint32_t generation;
    struct arena outbound;
    struct outbound_layout layout;
    struct arena pair_memory;
    struct pair_page *pair;
    struct spsc_reader requests;
    struct spsc_writer replies;
    int files; /* its end of the channel for files */
    uint32_t blocks_returned;
    uint32_t last_block; /* returned last */
};

struct scene {
    struct io_core core;
    struct dispatch dispatch;
    struct connections connections;
    struct gone_watch gone;
    struct http1_sessions http1;
    struct metrics *metrics;
    struct arena board;
    struct connection_listener listener;
    struct tls_intake *tls; /* of a test that has one; else NULL */
    struct scene_app apps[SCENE_APPS];
    int control; /* the supervisor's end of CONTROL_FD */
};

/* Settings as the defaults say, as far as the I/O process reads them; `adjust` may change them and the shape before
 * memory is laid out. No app is up. */
void scene_open(struct scene *scene, void (*adjust)(struct scene *scene));
/* Asserts that nothing is alive any more, then frees. */
void scene_close(struct scene *scene);
/* Frees, whatever is alive: as a process that is told to stop at once. */
void scene_abandon(struct scene *scene);

/* One turn of the loop, then the clock stands `ms` later. */
void scene_turn(struct scene *scene);
void scene_turns(struct scene *scene, uint32_t count);
void scene_wait(struct scene *scene, uint64_t ms);

/* A client that connects; its socket. */
int scene_connect(struct scene *scene);
void scene_say(struct scene *scene, int fd, const char *text);
/* All that it got so far, as text; "" for nothing. */
const char *scene_heard(struct scene *scene, int fd);
bool scene_is_closed(struct scene *scene, int fd);

void scene_app_up(struct scene *scene, uint32_t index, uint32_t places, uint32_t flags);
void scene_app_gone(struct scene *scene, uint32_t index, uint16_t status);

/* What a session would have been told of an exchange. */
struct scene_owner {
    uint32_t replies;
    uint32_t failures;
    uint32_t credit;
    uint16_t status;
};

/* A complete request without a body, of no connection; not yet submitted. */
struct http_exchange *scene_exchange(struct scene *scene, struct scene_owner *owner);
struct http_exchange *scene_submit(struct scene *scene, struct scene_owner *owner);
void scene_let_go(struct scene *scene, struct http_exchange *exchange);
/* Whether the next word to the supervisor is that an app is stuck. */
bool scene_told_stuck(struct scene *scene);

/* The next message to this app other than BLOCKS; false when there is none. */
bool scene_take(struct scene *scene, uint32_t app, struct message *ret_message);
/* Takes the next message, which must be a request, and begins it. */
struct message scene_begin(struct scene *scene, uint32_t app);
bool scene_claim(struct scene *scene, uint32_t app, const struct message *request);
void scene_reply(struct scene *scene, uint32_t app, const struct message *reply);
/* A whole response in one message, its body in a small block of the slot; `flags` beside END. */
void scene_respond(struct scene *scene, uint32_t app, const struct message *request, uint16_t status, const char *body,
                   uint8_t flags);
/* A piece of body at block `block` of the app's arena. */
struct message scene_piece(struct scene *scene, uint32_t app, const struct message *request, enum message_kind kind,
                           uint32_t block, struct bytes body);
void scene_done(struct scene *scene, uint32_t app, const struct message *request);
/* Octets of the request's body that the message brings. */
struct bytes scene_body(const struct scene *scene, const struct message *message);

#endif
