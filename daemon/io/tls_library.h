/*
 * TLS library: BoringSSL's headers, included in this one place, so that a mix-up with OpenSSL's of the same names
 * cannot pass. Only tls_*.c include it; to everybody else a context and a channel are opaque.
 */
#ifndef DAEMON_IO_TLS_LIBRARY_H
#define DAEMON_IO_TLS_LIBRARY_H

#include <openssl/ssl.h>

#ifndef OPENSSL_IS_BORINGSSL
#error "these are OpenSSL's headers: BoringSSL's directory must come first (UROBOROS_BORINGSSL_ROOT in CMakeLists.txt)"
#endif

#include <openssl/bio.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#endif
