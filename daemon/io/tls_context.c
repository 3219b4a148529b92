#include "daemon/io/tls_context.h"

#include "daemon/io/tls_context_state.h"
#include "daemon/io/tls_questions.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CIPHERS_TEXT_MAX = 2'048, ALPN_MAX = 255, TICKETS_SENT = 2 };

/* ECDHE and an AEAD, TLS-02: what the kernel can do too. Suites in brackets are equals, and the client's order decides
 * among them: it knows whether AES is cheap for it. */
static const char default_ciphers[] =
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-ECDSA-CHACHA20-POLY1305]:"
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305]";

/* ---- making one ------------------------------------------------------------------------------------------------- */

[[gnu::format(printf, 3, 4)]] static int complain(char *why, size_t why_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return -EINVAL;
}

static bool is_allowed(const SSL_CIPHER *cipher)
{
    int authentication = SSL_CIPHER_get_auth_nid(cipher);
    return SSL_CIPHER_is_aead(cipher) && SSL_CIPHER_get_kx_nid(cipher) == NID_kx_ecdhe &&
           (authentication == NID_auth_rsa || authentication == NID_auth_ecdsa);
}

/* What of an operator's list is allowed, in its order. Names that BoringSSL does not know, such as those of other
 * libraries, count for nothing. */
static int set_ciphers(SSL_CTX *ssl, const char *asked, char *why, size_t why_bytes)
{
    char text[CIPHERS_TEXT_MAX];
    size_t used = 0;
    if (asked == NULL)
        return SSL_CTX_set_strict_cipher_list(ssl, default_ciphers) ? 0 : -ENOMEM;
    bool parsed = SSL_CTX_set_cipher_list(ssl, asked);
    const STACK_OF(SSL_CIPHER) *ciphers = parsed ? SSL_CTX_get_ciphers(ssl) : NULL;
    for (size_t i = 0; parsed && i < sk_SSL_CIPHER_num(ciphers); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);
        if (!is_allowed(cipher) || used >= sizeof text)
            continue;
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? ":" : "", SSL_CIPHER_get_name(cipher));
    }
    if (used == 0 || used >= sizeof text)
        return complain(why, why_bytes,
                        "ciphers: \"%s\" leaves no suite of TLS 1.2 that is allowed (ECDHE with AES-GCM or ChaCha20); "
                        "leave it out, or name some, as ECDHE+AESGCM",
                        asked);
    return SSL_CTX_set_strict_cipher_list(ssl, text) ? 0 : -ENOMEM;
}

static int set_groups(SSL_CTX *ssl, const char *groups, char *why, size_t why_bytes)
{
    if (groups == NULL || SSL_CTX_set1_curves_list(ssl, groups))
        return 0;
    return complain(why, why_bytes,
                    "tls_groups: \"%s\" has a group that this BoringSSL does not know; X25519, P-256, P-384 and P-521 "
                    "are known",
                    groups);
}

static void set_sessions(SSL_CTX *ssl, const struct tls_options *options)
{
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ssl, TLS_TICKET_LIFETIME_S);
    SSL_CTX_set_session_psk_dhe_timeout(ssl, TLS_TICKET_LIFETIME_S);
    SSL_CTX_set_num_tickets(ssl, options->tickets ? TICKETS_SENT : 0);
    if (!options->tickets)
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_early_data_enabled(ssl, options->early_data && options->tickets);
}

static int set_verify(SSL_CTX *ssl, const struct tls_context *context)
{
    int mode = SSL_VERIFY_NONE;
    if (context->verify != TLS_VERIFY_NONE)
        mode = SSL_VERIFY_PEER | (context->verify == TLS_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(ssl, mode, NULL);
    if (context->trust == NULL)
        return 0;
    X509_STORE_up_ref(context->trust);
    SSL_CTX_set_cert_store(ssl, context->trust);
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(context->trust_names);
    if (names == NULL)
        return -ENOMEM;
    SSL_CTX_set_client_CA_list(ssl, names);
    return 0;
}

static int set_certificate(SSL_CTX *ssl, const struct tls_pair *pair, struct bytes ocsp)
{
    bool set = SSL_CTX_use_certificate(ssl, pair->chain[0]);
    for (uint32_t i = 1; set && i < pair->chain_count; i++)
        set = SSL_CTX_add1_chain_cert(ssl, pair->chain[i]);
    if (set && pair->kind != TLS_KEY_RSA)
        set = SSL_CTX_use_PrivateKey(ssl, pair->key);
    else
        SSL_CTX_set_private_key_method(ssl, &tls_questions_signers);
    if (set && ocsp.length > 0)
        set = SSL_CTX_set_ocsp_response(ssl, ocsp.data, ocsp.length);
    return set ? 0 : -ENOMEM;
}

/* Each pair has an SSL_CTX of its own, alike but for the certificate: BoringSSL exchanges one for the other cheaply. */
static int open_pair(struct tls_context *context, struct tls_pair *pair, const struct tls_options *options,
                     struct bytes ocsp, char *why, size_t why_bytes)
{
    SSL_CTX *ssl = pair->ssl = SSL_CTX_new(TLS_method());
    if (ssl == NULL || !SSL_CTX_set_min_proto_version(ssl, options->version_min) ||
        !SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION))
        return -ENOMEM;
    SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    tls_questions_answer(ssl);
    set_sessions(ssl, options);
    int r = set_ciphers(ssl, options->ciphers, why, why_bytes);
    if (r == 0)
        r = set_groups(ssl, options->groups, why, why_bytes);
    if (r == 0)
        r = set_verify(ssl, context);
    return r < 0 ? r : set_certificate(ssl, pair, ocsp);
}

static int open_pairs(struct tls_context *context, const struct tls_options *options, const struct tls_sources *sources,
                      char *why, size_t why_bytes)
{
    if (sources->pair_count == 0 || sources->pair_count > TLS_PAIRS_MAX)
        return complain(why, why_bytes, "certfile: %s",
                        sources->pair_count == 0 ? "there is no certificate" : "there are more than 64 certificates");
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < sources->pair_count; i++) {
        struct tls_pair *pair = &context->pairs[context->pair_count++];
        r = tls_pair_init(pair, &sources->pairs[i], why, why_bytes);
        if (r == 0)
            r = open_pair(context, pair, options, sources->pairs[i].ocsp, why, why_bytes);
    }
    return r;
}

static int trust_certificate(struct tls_context *context, X509 *certificate)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(certificate));
    if (name == NULL || !sk_X509_NAME_push(context->trust_names, name)) {
        X509_NAME_free(name);
        return -ENOMEM;
    }
    return X509_STORE_add_cert(context->trust, certificate) ? 0 : -ENOMEM;
}

static int read_trust(struct tls_context *context, struct bytes pem, char *why, size_t why_bytes)
{
    int r = 0;
    size_t count = 0;
    X509 *certificate;
    context->trust = X509_STORE_new();
    context->trust_names = sk_X509_NAME_new_null();
    BIO *input = BIO_new_mem_buf(pem.data, (int)pem.length);
    if (context->trust == NULL || context->trust_names == NULL || input == NULL)
        r = -ENOMEM;
    while (r == 0 && (certificate = PEM_read_bio_X509(input, NULL, NULL, NULL)) != NULL) {
        r = trust_certificate(context, certificate);
        X509_free(certificate);
        count++;
    }
    BIO_free(input);
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (r == 0 && (!ended || count == 0))
        return complain(why, why_bytes, "ca_certs: %s",
                        count == 0 ? "there is no certificate in the file; it has to be PEM"
                                   : "the file has something in it that is no certificate in PEM");
    ERR_clear_error();
    return r;
}

static int set_protocols(struct tls_context *context, const char *const protocols[2])
{
    for (size_t i = 0; i < 2 && protocols[i] != NULL; i++) {
        size_t length = strlen(protocols[i]);
        if (context->alpn_bytes + length + 1 > sizeof context->alpn)
            return -EINVAL;
        context->alpn[context->alpn_bytes++] = (uint8_t)length;
        memcpy(context->alpn + context->alpn_bytes, protocols[i], length);
        context->alpn_bytes += (uint8_t)length;
    }
    return 0;
}

/* What tickets are bound to on our side. Not the certificate: a renewed one keeps the sessions. */
static void identify(struct tls_context *context, const struct tls_options *options, struct bytes trust)
{
    SHA256_CTX hash;
    SHA256_Init(&hash);
    SHA256_Update(&hash, &options->verify, sizeof options->verify);
    SHA256_Update(&hash, &options->version_min, sizeof options->version_min);
    if (trust.length > 0)
        SHA256_Update(&hash, trust.data, trust.length);
    SHA256_Final(context->identity, &hash);
}

int tls_context_create(const struct tls_options *options, const struct tls_sources *sources,
                       struct tls_tickets *tickets, struct tls_signers *const *signers, char *why, size_t why_bytes,
                       struct tls_context **ret_context)
{
    struct tls_context *context = calloc(1, sizeof *context);
    snprintf(why, why_bytes, "there is no memory for the certificates");
    if (context == NULL)
        return -ENOMEM;
    context->references = 1;
    context->tickets = tickets;
    context->signers = signers;
    context->verify = options->verify;
    context->strict_sni = options->strict_sni;
    context->early_data = options->early_data && options->tickets;
    identify(context, options, sources->trust);
    int r = set_protocols(context, options->protocols);
    if (r == 0 && options->verify != TLS_VERIFY_NONE)
        r = read_trust(context, sources->trust, why, why_bytes);
    if (r == 0)
        r = open_pairs(context, options, sources, why, why_bytes);
    ERR_clear_error();
    if (r < 0) {
        tls_context_drop(context);
        return r;
    }
    *ret_context = context;
    return 0;
}

void tls_context_hold(struct tls_context *context)
{
    context->references++;
}

void tls_context_drop(struct tls_context *context)
{
    if (context == NULL || --context->references > 0)
        return;
    for (uint32_t i = 0; i < context->pair_count; i++)
        tls_pair_deinit(&context->pairs[i]);
    X509_STORE_free(context->trust);
    sk_X509_NAME_pop_free(context->trust_names, X509_NAME_free);
    free(context);
}

/* ---- using it --------------------------------------------------------------------------------------------------- */

SSL *tls_context_open(struct tls_context *context, struct tls_hello *hello)
{
    SSL *ssl = SSL_new(context->pairs[0].ssl);
    if (ssl == NULL || !SSL_set_app_data(ssl, hello)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    SSL_set_shed_handshake_config(ssl, 1);
    hello->context = context;
    return ssl;
}

uint32_t tls_context_pair_count(const struct tls_context *context)
{
    return context->pair_count;
}

const struct tls_pair *tls_context_pair(const struct tls_context *context, uint32_t index)
{
    return &context->pairs[index];
}

static bool other_covers(const struct tls_context *context, const struct tls_pair *pair, struct bytes host)
{
    for (uint32_t i = 0; i < context->pair_count; i++)
        if (&context->pairs[i] != pair && tls_pair_covers(&context->pairs[i], host) != TLS_COVER_NONE)
            return true;
    return false;
}

/* A client that named nobody (a health check, an address) is answered unless its request belongs to another
 * certificate. One that named a host may ask for that host and for what else its certificate covers. */
bool tls_context_covers(const struct tls_context *context, const struct tls_pair *pair, struct bytes sni,
                        struct bytes host)
{
    if (tls_pair_covers(pair, host) != TLS_COVER_NONE)
        return true;
    if (sni.length == 0)
        return !other_covers(context, pair, host);
    if (sni.length != host.length)
        return false;
    for (size_t i = 0; i < host.length; i++)
        if (bytes_lower(sni.data[i]) != bytes_lower(host.data[i]))
            return false;
    return true;
}

bool tls_context_client_still_trusted(const struct tls_context *context, const SSL *ssl)
{
    STACK_OF(X509) *chain = SSL_get_peer_full_cert_chain(ssl);
    if (chain == NULL || sk_X509_num(chain) == 0 || context->trust == NULL)
        return context->verify != TLS_VERIFY_REQUIRED;
    X509_STORE_CTX *verification = X509_STORE_CTX_new();
    bool trusted = verification != NULL &&
                   X509_STORE_CTX_init(verification, context->trust, sk_X509_value(chain, 0), chain) &&
                   X509_STORE_CTX_set_default(verification, "ssl_client") && X509_verify_cert(verification) > 0;
    X509_STORE_CTX_free(verification);
    ERR_clear_error();
    return trusted;
}
