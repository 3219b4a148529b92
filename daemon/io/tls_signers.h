/*
 * TLS signers: two threads that make RSA signatures, so that none of them (about a millisecond each) stalls the loop.
 *
 * A signer sees a private key and a digest, and nothing else: no connection, no octet of a client, no other memory of
 * the loop's. ECDSA is not their affair: to wake another core costs as much as the signature.
 *
 * Owns:    the threads, the queue to them, the eventfd that wakes the loop.
 * Threads: created, asked and drained by the loop; queue and results are under one mutex.
 * Life:    made before the sandbox closes, for afterwards no thread can be; each has locked itself in by the time
 *          tls_signers_create() returns. A signature belongs to both sides until it came back through
 *          tls_signers_drain(), whoever still waits for it.
 */
#ifndef DAEMON_IO_TLS_SIGNERS_H
#define DAEMON_IO_TLS_SIGNERS_H

#include "proto/bytes.h"

enum { TLS_SIGNERS = 2, TLS_SIGNATURES_MAX = 256, TLS_SIGNATURE_BYTES_MAX = 1'024, TLS_DIGEST_BYTES_MAX = 64 };

struct evp_pkey_st;
struct tls_signers;
struct tls_signature;

[[nodiscard]] int tls_signers_create(struct tls_signers **ret_signers);
/* Waits for the signatures that are being made. */
void tls_signers_destroy(struct tls_signers *signers);

/* Readable when signatures are ready. */
int tls_signers_fd(const struct tls_signers *signers);

/* `algorithm` is TLS's number (SignatureScheme) of an RSA one; `owner` says who asked. -ENOBUFS when
 * TLS_SIGNATURES_MAX are waiting. */
[[nodiscard]] int tls_signers_ask(struct tls_signers *signers, struct evp_pkey_st *key, uint16_t algorithm,
                                  struct bytes digest, uint64_t owner, struct tls_signature **ret_signature);

/* Signatures asked for that have not come back. */
uint32_t tls_signers_waiting(const struct tls_signers *signers);

/* Says of every signature that has come back whose it is, unless that one has let go of it. */
void tls_signers_drain(struct tls_signers *signers, void (*on_signed)(uint64_t owner, void *context), void *context);

/* Whether it has come back. Then `*ret_octets` is the signature, empty when signing failed. */
bool tls_signature_ready(const struct tls_signature *signature, struct bytes *ret_octets);
/* Nobody waits for it any more. NULL is harmless. */
void tls_signature_let_go(struct tls_signature *signature);

#endif
