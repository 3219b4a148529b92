/*
 * TLS scene: an I/O process that speaks TLS over the scripted engine, and clients of it that are BoringSSL in memory.
 */
#ifndef TESTS_UNIT_IO_TLS_SCENE_H
#define TESTS_UNIT_IO_TLS_SCENE_H

#include "daemon/io/tls_describe.h"
#include "tests/unit/io/io_scene.h"
#include "tests/unit/io/tls_peer.h"

enum { HEARD_MAX = 1 << 18 };

struct stage {
    struct scene scene;
    struct tls_store store;
    struct tls_intake intake;
    struct tls_descriptions descriptions;
    struct tls_place place;
    struct tls_files files;
    bool crowded;
};

/* A client: its TLS and its socket. */
struct client {
    struct stage *stage;
    struct tls_peer peer;
    int fd;
    size_t taken; /* of what the server has sent */
    char heard[HEARD_MAX];
    size_t heard_bytes;
    bool closed; /* close_notify has come */
};

extern const char tls_scene_get[];

struct stage *stage_open(void (*adjust)(struct scene *scene));
void stage_close(struct stage *stage);
void stage_respond(struct stage *stage, const char *body);
uint64_t stage_metric(const struct stage *stage, enum metric which);

struct client *client_open(struct stage *stage);
/* One whose handshake is complete. */
struct client *client_in(struct stage *stage);
void client_close(struct client *client);
struct scripted_socket *client_socket(const struct client *client);
/* What it has to say is on its way; false for nothing. */
bool client_speaks(struct client *client);
/* Some turns of the loop, and of the conversation. */
void client_talk(struct client *client);
void client_says(struct client *client, const char *text);

size_t tls_scene_count(const char *text, const char *word);

#endif
