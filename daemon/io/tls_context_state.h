/*
 * TLS context state: what the files of a context share and nobody else may see.
 *
 *   tls_context      made of settings and certificates, shared by channels
 *   tls_questions    what BoringSSL asks in a handshake
 *   tls_choice       which certificate suits a ClientHello
 *
 * Owns:    nothing; see tls_context.h.
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_CONTEXT_STATE_H
#define DAEMON_IO_TLS_CONTEXT_STATE_H

#include "daemon/io/tls_context.h"
#include "daemon/io/tls_library.h"

enum { ALPN_BYTES_MAX = 32 };

struct tls_context {
    uint32_t references;
    struct tls_tickets *tickets;
    struct tls_signers *const *signers;
    enum tls_verify verify;
    bool strict_sni;
    bool early_data;
    X509_STORE *trust;
    STACK_OF(X509_NAME) * trust_names;
    uint8_t identity[SHA256_DIGEST_LENGTH]; /* of the rules that clients are verified by: part of what tickets are bound
                                               to */
    uint8_t alpn[ALPN_BYTES_MAX];           /* as on the wire, the preferred one first */
    uint8_t alpn_bytes;
    uint32_t pair_count;
    struct tls_pair pairs[TLS_PAIRS_MAX];
};

static inline struct tls_hello *tls_hello_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

#endif
