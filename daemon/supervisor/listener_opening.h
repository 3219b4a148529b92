/*
 * Listener opening: what all ways to a listening socket share: the address that is asked for, the sentence of a
 * failure, and how a socket is described once it is there.
 *
 * Owns:    nothing; fills a struct listener.
 * Threads: the supervisor's only one.
 */
#ifndef DAEMON_SUPERVISOR_LISTENER_OPENING_H
#define DAEMON_SUPERVISOR_LISTENER_OPENING_H

#include "daemon/supervisor/listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct listener_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t length;
};

/* Everything that one address needs while it is opened. */
struct listener_opening {
    const struct listeners_request *request;
    const struct bind_address *address;
    char text[BIND_ADDRESS_TEXT_BYTES]; /* of the address, for complaints */
    char *why;
};

/* Both return `error`, with a sentence left in `why`. */
__attribute__((format(printf, 3, 4))) int listener_opening_complain(const struct listener_opening *opening, int error,
                                                                    const char *format, ...);
int listener_opening_complain_of_bind(const struct listener_opening *opening, int error);

/* Where a socket is bound. */
[[nodiscard]] int listener_opening_read_address(int fd, struct listener_address *ret_address);
uint16_t listener_opening_port(const struct listener_address *address);

/* All rings accept from this one. Takes it. */
void listener_opening_share(struct listener *listener, int fd, uint32_t flags);

/* What clients and operators call it; a unix socket is flagged as one. */
void listener_opening_describe(struct listener *listener, const struct listener_address *address);

#endif
