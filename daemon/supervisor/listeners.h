/*
 * Listeners: the sockets on which clients arrive, opened once and kept for the life of the server.
 *
 * Owns:    the listening sockets and the files of unix sockets, which it removes at the end.
 * Threads: the supervisor's only one.
 * Life:    from listeners_open() to listeners_deinit(); an I/O process that is replaced gets the same sockets again,
 *          so no connection that waits in a queue of the kernel is lost with it.
 *
 * A TCP address has one socket for each ring (SO_REUSEPORT): the kernel spreads the connections. Unix sockets and
 * inherited ones are shared by all rings.
 */
#ifndef DAEMON_SUPERVISOR_LISTENERS_H
#define DAEMON_SUPERVISOR_LISTENERS_H

#include "config/bind_address.h"
#include "config/schema.h"
#include "daemon/base/sandbox.h"
#include "daemon/exchange/control.h"

#include <sys/types.h>

enum {
    LISTENERS_INHERITED_MAX = 64,
    LISTENER_TEXT_BYTES = BIND_ADDRESS_TEXT_BYTES + 64,
    LISTENERS_MAX = 64,
    LISTENERS_WHY_BYTES = 512,
    LISTENER_PROTOCOLS_BYTES = 16
};

struct handover;

struct listener {
    struct control_listener hello;      /* what an I/O process is told of it */
    char key[BIND_ADDRESS_TEXT_BYTES];  /* the address as it was asked for */
    char text[LISTENER_TEXT_BYTES];     /* "https://127.0.0.1:8443 (h2, http/1.1)", "unix:/run/app.sock" */
    char path[BIND_ADDRESS_PATH_BYTES]; /* of a unix socket's file that is ours to remove; "" without one */
    dev_t device;
    ino_t inode;
    uint32_t fd_count; /* 1 when shared, else one for each ring */
    int fds[LAYOUT_RINGS_MAX];
};

struct listeners {
    size_t count;
    uint64_t inherited_used; /* a bit for each socket of socket activation that is one of them */
    struct listener items[LISTENERS_MAX];
};

struct listeners_request {
    const struct string_list *bind;
    const int32_t *tls_contexts;                       /* of each of them, -1: cleartext; NULL: no TLS anywhere */
    const enum listen_proxy *proxies;                  /* of each of them; NULL: as the setting says */
    int32_t tls_context_of_inherited;                  /* of those that replace `bind` */
    const char (*protocols)[LISTENER_PROTOCOLS_BYTES]; /* of each TLS context, for the text: "h2, http/1.1" */
    bool http2_cleartext;                              /* cleartext ones speak it too */
    int backlog;
    uint32_t rings;
    bool reuse_port;               /* others may share the port, so nobody asks whether it is free */
    const struct sandbox_ids *ids; /* to whom the file of a unix socket is given */
    int inherited_first;           /* descriptors of socket activation, which stay the caller's: copies are used. */
    int inherited_count;           /* They replace `bind` unless it names any; LISTENERS_INHERITED_MAX at most */
    const char *inherited_names;   /* of them, as in socket_names.h; NULL: they have none */
    struct handover *handed;       /* of a program before this one: its sockets are used, by copies; NULL: none */
    bool is_trial;                 /* what is handed or inherited is only known by name: it is taken to be there */
};

/* All or nothing; `why` has a sentence for the operator on failure. */
[[nodiscard]] int listeners_open(struct listeners *ret_listeners, const struct listeners_request *request,
                                 char why[LISTENERS_WHY_BYTES]);

/* The server is made: what `handed` held is theirs from now on, and what they do not use is closed. Until then a start
 * that fails leaves it as it was. */
void listeners_own_handed(struct listeners *listeners, struct handover *handed);

/* Closes all, and removes the files of unix sockets that are still the ones we made. */
void listeners_deinit(struct listeners *listeners);

/* The socket of `listener` for one ring. */
static inline int listener_fd(const struct listener *listener, uint32_t ring)
{
    return listener->fds[listener->fd_count == 1 ? 0 : ring];
}

/* "127.0.0.1:8000", "unix:/run/app.sock": what a client would call it. */
void listeners_describe_socket(int fd, char text[LISTENER_TEXT_BYTES]);

/* "http://127.0.0.1:8000, https://127.0.0.1:8443 (h2, http/1.1), unix:/run/app.sock" */
void listeners_describe(const struct listeners *listeners, char *text, size_t bytes);

#endif
