/*
 * App memory: the outbound arena of one life of one app process, as the I/O process sees it.
 *
 * Owns:    the mapping, and the list of blocks that have been sent and wait to be given back.
 * Threads: the loop.
 * Life:    counted: the dispatcher holds it while the app is up, each piece of a response holds it until it is sent.
 *          So an app may die with half its response on the way, and the bytes stay readable.
 */
#ifndef DAEMON_IO_APP_MEMORY_H
#define DAEMON_IO_APP_MEMORY_H

#include "daemon/exchange/layout.h"

struct app_memory {
    struct arena outbound;
    uint32_t holders;
    uint32_t blocks; /* how many there are */
    uint32_t returns_count;
    bool gone;        /* the process is dead: nobody wants its blocks back */
    uint32_t *shares; /* of each block: holders beyond the first; behind the returns */
    uint32_t returns[];
};

/* Takes `fd`. */
[[nodiscard]] int app_memory_create(const struct exchange_shape *shape, int fd, struct app_memory **ret_memory);

/* Of nobody else: what this process says itself. It has no blocks, and lives as long as something of it is sent. */
[[nodiscard]] int app_memory_create_private(size_t bytes, struct app_memory **ret_memory);

void app_memory_hold(struct app_memory *memory);
void app_memory_drop(struct app_memory *memory);

/* Octets of `block` are in two places from now on: it goes back when both have given it back. */
void app_memory_share(struct app_memory *memory, uint32_t block);

/* `block` came in a message and was used; MESSAGE_NO_BLOCK is nothing. */
void app_memory_give_back(struct app_memory *memory, uint32_t block);

#endif
