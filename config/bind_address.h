/*
 * Bind address: the text of one `bind` item, taken apart. No look-up, no socket.
 *
 * Owns nothing: pure. `host` and `path` are copies inside the struct.
 */
#ifndef CONFIG_BIND_ADDRESS_H
#define CONFIG_BIND_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

enum bind_address_kind {
    BIND_ADDRESS_TCP,      /* host and port; an IPv6 host without its brackets */
    BIND_ADDRESS_UNIX,     /* path */
    BIND_ADDRESS_ABSTRACT, /* path without the '@' */
    BIND_ADDRESS_FD,       /* fd, a listening socket that was inherited */
    BIND_ADDRESS_NAMED     /* host, the name of inherited sockets (sd_listen_fds_with_names(3)); fd is to be found */
};

enum { BIND_ADDRESS_HOST_BYTES = 256, BIND_ADDRESS_PATH_BYTES = 108, BIND_ADDRESS_TEXT_BYTES = 300 };

struct bind_address {
    enum bind_address_kind kind;
    char host[BIND_ADDRESS_HOST_BYTES]; /* never empty for TCP: "0.0.0.0" stands for no host */
    uint16_t port;                      /* 8000 where none was given */
    char path[BIND_ADDRESS_PATH_BYTES];
    int fd;
};

/* NULL when `text` is an address, else what was expected, to stand after "expected ". */
[[nodiscard]] const char *bind_address_parse(const char *text, struct bind_address *ret_address);

/* One canonical spelling, for logs and for telling two addresses apart. */
void bind_address_format(const struct bind_address *address, char text[BIND_ADDRESS_TEXT_BYTES]);

#endif
