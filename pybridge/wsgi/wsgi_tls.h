/*
 * WSGI TLS: the TLS under a request as keys of the environ, under the names of Apache's mod_ssl, which uWSGI, mod_wsgi
 * and the applications written for them use.
 *
 *   SSL_PROTOCOL SSL_CIPHER SSL_CIPHER_USEKEYSIZE SSL_SESSION_RESUMED SSL_TLS_SNI SSL_CLIENT_VERIFY
 *   with a client certificate: SSL_CLIENT_S_DN SSL_CLIENT_S_DN_CN SSL_CLIENT_I_DN SSL_CLIENT_M_SERIAL
 * SSL_CLIENT_V_START SSL_CLIENT_V_END SSL_CLIENT_CERT SSL_CLIENT_CERT_CHAIN_0 ...
 */
#ifndef PYBRIDGE_WSGI_WSGI_TLS_H
#define PYBRIDGE_WSGI_WSGI_TLS_H

#include "pybridge/tls_memory.h"

/* A new dict, or NULL with a Python error. */
PyObject *wsgi_tls_facts(const struct tls_record *record);

#endif
