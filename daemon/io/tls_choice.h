/*
 * TLS choice: which of a context's certificates suits a ClientHello, by the name it asks for and by what its client can
 * verify.
 *
 * Owns:    nothing.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_CHOICE_H
#define DAEMON_IO_TLS_CHOICE_H

#include "daemon/io/tls_context_state.h"

/* NULL: no pair covers the host. */
const struct tls_pair *tls_choice_for(const struct tls_context *context, const SSL_CLIENT_HELLO *hello,
                                      struct bytes host);

/* The first pair, or one beside it for the same names that suits the client better. */
const struct tls_pair *tls_choice_default(const struct tls_context *context, const SSL_CLIENT_HELLO *hello);

#endif
