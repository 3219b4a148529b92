/*
 * TLS store: the contexts of an I/O process by number, and how they come about from what the supervisor sends.
 *
 * Files of a context are gathered until TLS_READY; then a new context is built of them aside. Only one that is whole
 * takes the place of the one before it; of one that is not, the supervisor hears why.
 *
 * Owns:    the contexts on offer, ticket keys, signers, and what has been gathered (keys are wiped).
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_STORE_H
#define DAEMON_IO_TLS_STORE_H

#include "config/schema.h"
#include "daemon/exchange/control.h"
#include "daemon/io/tls_context.h"

enum { TLS_CONTEXTS_MAX = 64, TLS_FILE_BYTES_MAX = 4 << 20 };

/* A context, and the files for its successor. */
struct tls_place {
    struct tls_context *context;
    struct tls_pair_source pairs[TLS_PAIRS_MAX];
    uint32_t pair_count;
    struct bytes trust;
    int error; /* of the first file that could not be read */
};

struct tls_store {
    const struct settings *settings;
    struct tls_tickets tickets;
    struct tls_signers *signers;
    struct tls_place *places[TLS_CONTEXTS_MAX]; /* NULL: that number has not been named */
};

/* `settings` are looked at whenever a context is built. */
[[nodiscard]] int tls_store_init(struct tls_store *store, const struct settings *settings);
void tls_store_deinit(struct tls_store *store);

/* Starts the signers: after the privileges are dropped, before the sandbox closes. Contexts may exist before. */
[[nodiscard]] int tls_store_start(struct tls_store *store);

/* A TLS_* message of the supervisor's; answers TLS_READY on `control_fd`. Negative: the channel is broken. */
[[nodiscard]] int tls_store_on_control(struct tls_store *store, const struct control_message *message, int control_fd);

/* What connections of a listener with this number are made of now; NULL: nothing yet. */
struct tls_context *tls_store_find(const struct tls_store *store, int32_t number);

#endif
