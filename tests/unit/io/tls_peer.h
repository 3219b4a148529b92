/*
 * TLS peer: the client's end of a TLS connection, in memory, and certificates to meet it with.
 */
#ifndef TESTS_UNIT_IO_TLS_PEER_H
#define TESTS_UNIT_IO_TLS_PEER_H

#include "daemon/io/tls_context.h"
#include "daemon/io/tls_library.h"

/* A self-signed pair of files, as the supervisor would send them. */
struct tls_files {
    uint8_t *chain, *key;
    size_t chain_bytes, key_bytes;
    struct tls_pair_source source; /* points into them */
};

/* `names`: a subjectAltName as openssl.cnf has it, "DNS:a.example,DNS:*.b.example". */
void tls_files_make(struct tls_files *files, bool is_rsa, const char *names);
void tls_files_free(struct tls_files *files);

struct tls_peer {
    SSL_CTX *context;
    SSL *ssl;
    SSL_SESSION *session; /* the last ticket */
};

/* To be adjusted before the first call of tls_peer_handshake(). `session` may be NULL. */
void tls_peer_open(struct tls_peer *peer, const char *sni, SSL_SESSION *session);
void tls_peer_close(struct tls_peer *peer);

/* What the peer has to say; read once, with malloc()ed memory that the caller frees. */
struct bytes tls_peer_says(struct tls_peer *peer);
void tls_peer_hears(struct tls_peer *peer, struct bytes data);

/* One step; true when it is complete. */
bool tls_peer_handshake(struct tls_peer *peer);
void tls_peer_writes(struct tls_peer *peer, struct bytes plain);
/* All plaintext there is, at most `capacity`; `*ret_closed`: close_notify has come. */
size_t tls_peer_reads(struct tls_peer *peer, uint8_t *memory, size_t capacity, bool *ret_closed);

#endif
