/*
 * TLS questions: what BoringSSL asks in the course of a handshake: certificate, protocol, ticket, signature.
 *
 * Owns:    nothing; answers come from the context, and what is noted goes into the hello (`tls_context.h`).
 * Threads: the loop.
 */
#ifndef DAEMON_IO_TLS_QUESTIONS_H
#define DAEMON_IO_TLS_QUESTIONS_H

#include "daemon/io/tls_library.h"

/* From now on they are answered here. */
void tls_questions_answer(SSL_CTX *ssl);

/* Signatures of RSA keys, which the signers' threads make. */
extern const SSL_PRIVATE_KEY_METHOD tls_questions_signers;

#endif
