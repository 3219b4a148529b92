/*
 * TLS context: what a listener shows and asks of its clients: certificates, protocols, authorities. Immutable.
 *
 * A new set of certificates makes a new context beside the old one; handshakes that begin from then on use the new,
 * and the old one goes with the last connection that was made of it.
 *
 * Owns:    its pairs and BoringSSL's objects of them.
 * Threads: the loop.
 * Life:    counted: one reference for whoever has it on offer, one for each channel.
 */
#ifndef DAEMON_IO_TLS_CONTEXT_H
#define DAEMON_IO_TLS_CONTEXT_H

#include "daemon/io/tls_pair.h"
#include "daemon/io/tls_signers.h"
#include "daemon/io/tls_tickets.h"

enum { TLS_PAIRS_MAX = 64 };

struct ssl_st;
struct tls_context;

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

/* Texts are read while the context is made, and not afterwards. */
struct tls_options {
    uint16_t version_min;     /* TLS's numbers */
    const char *ciphers;      /* of TLS 1.2, as OpenSSL writes them; NULL: ours */
    const char *groups;       /* "X25519:P-256"; NULL: BoringSSL's */
    const char *protocols[2]; /* ALPN's words, the preferred one first; at least one */
    enum tls_verify verify;
    bool strict_sni;
    bool tickets;
    bool early_data;
};

struct tls_sources {
    const struct tls_pair_source *pairs; /* the first is shown to whoever names nobody */
    uint32_t pair_count;
    struct bytes trust; /* authorities of client certificates, PEM; empty: none */
};

/* A handshake under way, as the context's callbacks see it; part of a channel. */
struct tls_hello {
    struct tls_context *context;
    const struct tls_pair *pair; /* chosen; NULL: the ClientHello has not come */
    uint64_t owner;
    uint64_t now_ms;
    struct tls_signature *signature; /* being made */
    bool name_unknown;               /* no pair has the name that the client asks for */
    bool name_refused;               /* and that is why the handshake fails */
    uint32_t key_updates;
    bool key_update_asked; /* the client wants new keys of ours as well */
    uint8_t alert;         /* the last that BoringSSL said */
};

/* `why` gets a sentence when it cannot be made: -EINVAL, -ENOMEM. `tickets` and `*signers`, which
 * may be started later, outlive it. */
[[nodiscard]] int tls_context_create(const struct tls_options *options, const struct tls_sources *sources,
                                     struct tls_tickets *tickets, struct tls_signers *const *signers, char *why,
                                     size_t why_bytes, struct tls_context **ret_context);
void tls_context_hold(struct tls_context *context);
/* NULL is harmless. */
void tls_context_drop(struct tls_context *context);

/* A server's end whose callbacks work on `hello`; NULL without memory. */
struct ssl_st *tls_context_open(struct tls_context *context, struct tls_hello *hello);

uint32_t tls_context_pair_count(const struct tls_context *context);
const struct tls_pair *tls_context_pair(const struct tls_context *context, uint32_t index);

/* Whether a request for `host` belongs on a connection that was made for `sni` (empty: for nobody) and shown `pair`. */
bool tls_context_covers(const struct tls_context *context, const struct tls_pair *pair, struct bytes sni,
                        struct bytes host);

/* Whether what a resumed client proved about itself earlier still holds. */
bool tls_context_client_still_trusted(const struct tls_context *context, const struct ssl_st *ssl);

#endif
