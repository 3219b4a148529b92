/*
 * TLS failure: why handshakes and connections fail, in kinds that an operator acts upon.
 *
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef DAEMON_IO_TLS_FAILURE_H
#define DAEMON_IO_TLS_FAILURE_H

#include <stdint.h>

/* X(symbol, "word"). */
#define TLS_FAILURES(X)                         \
    X(NONE, "none")                             \
    X(PROTOCOL, "protocol")                     \
    X(VERSION, "version")                       \
    X(CIPHER, "cipher")                         \
    X(ALPN, "alpn")                             \
    X(SNI, "sni")                               \
    X(CLIENT_CERTIFICATE, "client_certificate") \
    X(CLIENT_ALERT, "client_alert")             \
    X(TIMEOUT, "timeout")                       \
    X(PLAIN_HTTP, "plain_http")                 \
    X(CLIENT_GONE, "client_gone")               \
    X(FLOOD, "flood")                           \
    X(INTERNAL, "internal")

enum tls_failure {
#define TLS_FAILURE_ENUM(symbol, word) TLS_FAILURE_##symbol,
    TLS_FAILURES(TLS_FAILURE_ENUM)
#undef TLS_FAILURE_ENUM
        TLS_FAILURE_COUNT
};

const char *tls_failure_word(enum tls_failure failure);

/* What one of BoringSSL's errors comes to. */
enum tls_failure tls_failure_of(uint32_t error);

#endif
