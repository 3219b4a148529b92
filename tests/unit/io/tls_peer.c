#include "tests/unit/io/tls_peer.h"

#include <assert.h>
#include <stdlib.h>

/* ---- certificates ----------------------------------------------------------------------------------------------- */

static EVP_PKEY *make_key(bool is_rsa)
{
    EVP_PKEY *key = EVP_PKEY_new();
    if (!is_rsa) {
        EC_KEY *curve = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
        bool made = EC_KEY_generate_key(curve) && EVP_PKEY_assign_EC_KEY(key, curve);
        assert(made);
        return key;
    }
    BIGNUM *exponent = BN_new();
    RSA *rsa = RSA_new();
    bool made = BN_set_word(exponent, RSA_F4) && RSA_generate_key_ex(rsa, 2'048, exponent, NULL) &&
                EVP_PKEY_assign_RSA(key, rsa);
    assert(made);
    BN_free(exponent);
    return key;
}

static X509 *make_certificate(EVP_PKEY *key, const char *names)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 0x1f);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86'400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const uint8_t *)"common.example", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    if (names != NULL) {
        X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, (char *)(uintptr_t)names);
        assert(extension != NULL);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    X509_sign(certificate, key, EVP_sha256());
    return certificate;
}

static uint8_t *take_contents(BIO *bio, size_t *ret_bytes)
{
    const uint8_t *data;
    bool there = BIO_mem_contents(bio, &data, ret_bytes);
    assert(there);
    uint8_t *copy = malloc(*ret_bytes);
    memcpy(copy, data, *ret_bytes);
    BIO_free(bio);
    return copy;
}

void tls_files_make(struct tls_files *files, bool is_rsa, const char *names)
{
    EVP_PKEY *key = make_key(is_rsa);
    X509 *certificate = make_certificate(key, names);
    BIO *chain = BIO_new(BIO_s_mem());
    BIO *secret = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(chain, certificate);
    PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL);
    files->chain = take_contents(chain, &files->chain_bytes);
    files->key = take_contents(secret, &files->key_bytes);
    files->source = (struct tls_pair_source){
        .name = "cert.pem",
        .chain = bytes_of(files->chain, files->chain_bytes),
        .key = bytes_of(files->key, files->key_bytes),
    };
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void tls_files_free(struct tls_files *files)
{
    free(files->chain);
    free(files->key);
    *files = (struct tls_files){};
}

/* ---- the client ------------------------------------------------------------------------------------------------- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_peer *peer = SSL_get_app_data(ssl);
    SSL_SESSION_free(peer->session);
    peer->session = session;
    return 1;
}

static enum ssl_verify_result_t believe(SSL *ssl, uint8_t *alert)
{
    (void)ssl;
    (void)alert;
    return ssl_verify_ok;
}

void tls_peer_open(struct tls_peer *peer, const char *sni, SSL_SESSION *session)
{
    *peer = (struct tls_peer){.context = SSL_CTX_new(TLS_method())};
    SSL_CTX_set_session_cache_mode(peer->context, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(peer->context, keep_session);
    SSL_CTX_set_custom_verify(peer->context, SSL_VERIFY_PEER, believe);
    peer->ssl = SSL_new(peer->context);
    SSL_set_app_data(peer->ssl, peer);
    SSL_set_connect_state(peer->ssl);
    SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(peer->ssl), -1);
    if (sni != NULL)
        SSL_set_tlsext_host_name(peer->ssl, sni);
    if (session != NULL)
        SSL_set_session(peer->ssl, session);
}

void tls_peer_close(struct tls_peer *peer)
{
    SSL_SESSION_free(peer->session);
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->context);
    ERR_clear_error();
    *peer = (struct tls_peer){};
}

struct bytes tls_peer_says(struct tls_peer *peer)
{
    BIO *output = SSL_get_wbio(peer->ssl);
    size_t length = BIO_pending(output);
    uint8_t *memory = malloc(length + 1);
    int got = length > 0 ? BIO_read(output, memory, (int)length) : 0;
    assert(got == (int)length);
    return bytes_of(memory, length);
}

void tls_peer_hears(struct tls_peer *peer, struct bytes data)
{
    int written = data.length > 0 ? BIO_write(SSL_get_rbio(peer->ssl), data.data, (int)data.length) : 0;
    assert(written == (int)data.length);
}

bool tls_peer_handshake(struct tls_peer *peer)
{
    bool done = SSL_do_handshake(peer->ssl) == 1;
    ERR_clear_error();
    return done;
}

void tls_peer_writes(struct tls_peer *peer, struct bytes plain)
{
    int written = SSL_write(peer->ssl, plain.data, (int)plain.length);
    assert(written == (int)plain.length);
}

size_t tls_peer_reads(struct tls_peer *peer, uint8_t *memory, size_t capacity, bool *ret_closed)
{
    size_t length = 0;
    int r = 1;
    while (length < capacity && (r = SSL_read(peer->ssl, memory + length, (int)(capacity - length))) > 0)
        length += (size_t)r;
    *ret_closed = r <= 0 && SSL_get_error(peer->ssl, r) == SSL_ERROR_ZERO_RETURN;
    ERR_clear_error();
    return length;
}
