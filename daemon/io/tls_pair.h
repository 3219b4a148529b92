/*
 * TLS pair: one certificate chain with its private key, and what it may be shown for.
 *
 * Owns:    the parsed certificates and key, the names, the OCSP response.
 * Threads: the loop; the key also the signers, who only read it.
 * Life:    as the context that it is part of.
 */
#ifndef DAEMON_IO_TLS_PAIR_H
#define DAEMON_IO_TLS_PAIR_H

#include "proto/bytes.h"

enum { TLS_PAIR_NAMES_MAX = 1'024, TLS_CHAIN_MAX = 16, TLS_HOST_BYTES_MAX = 255 };

struct evp_pkey_st;
struct x509_st;
struct ssl_ctx_st;

/* Files as they were read. `name` is the certificate's path, for messages. */
struct tls_pair_source {
    const char *name;
    struct bytes chain;
    struct bytes key;
    struct bytes password; /* empty: none */
    struct bytes ocsp;     /* empty: none */
};

enum tls_key_kind { TLS_KEY_ECDSA, TLS_KEY_RSA, TLS_KEY_ED25519 };

struct tls_pair {
    enum tls_key_kind kind;
    uint16_t algorithm; /* TLS's number of the signature that an ECDSA or Ed25519 key makes; RSA makes several */
    uint32_t name_count;
    char **names; /* of DNS, in lower case, "*." first in a wildcard; addresses as text */
    struct x509_st *chain[TLS_CHAIN_MAX];
    uint32_t chain_count;
    uint8_t digest[32]; /* of the server's own certificate */
    struct evp_pkey_st *key;
    struct ssl_ctx_st *ssl; /* the context's: what a connection with this pair is made of */
    uint64_t expires_s;     /* since 1970; 0: cannot be told */
};

/* A sentence in `why` when it cannot be used: -EINVAL, -ENOMEM. The pair can be deinitialised either way. */
[[nodiscard]] int tls_pair_init(struct tls_pair *pair, const struct tls_pair_source *source, char *why,
                                size_t why_bytes);
/* Harmless for a zeroed one. */
void tls_pair_deinit(struct tls_pair *pair);

enum tls_cover { TLS_COVER_NONE, TLS_COVER_WILDCARD, TLS_COVER_EXACT };

/* `host`: a name or an address as text, in any case, without port; a dot at the end does not count. RFC 6125 6.4. */
enum tls_cover tls_pair_covers(const struct tls_pair *pair, struct bytes host);

#endif
