#include "daemon/io/tls_questions.h"

#include "daemon/io/tls_choice.h"

/* ---- what tickets are bound to ---------------------------------------------------------------------------------- */

static const uint8_t *find_protocol(const struct tls_context *context, const uint8_t *offered, size_t offered_bytes)
{
    for (const uint8_t *ours = context->alpn; ours < context->alpn + context->alpn_bytes; ours += 1 + ours[0])
        for (size_t i = 0; i < offered_bytes && i + 1 + offered[i] <= offered_bytes; i += 1 + (size_t)offered[i])
            if (offered[i] == ours[0] && memcmp(offered + i, ours, 1 + (size_t)ours[0]) == 0)
                return ours;
    return NULL;
}

/* What will be agreed upon: it depends on nothing but the two lists. */
static const uint8_t *foresee_protocol(const struct tls_context *context, const SSL_CLIENT_HELLO *hello)
{
    const uint8_t *data;
    size_t bytes;
    if (!SSL_early_callback_ctx_extension_get(hello, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                              &bytes) ||
        bytes < 2)
        return NULL;
    return find_protocol(context, data + 2, bytes - 2);
}

/* TLS-05: a ticket resumes only what has the same name, protocol and rules of verification; another is as if it were
 * not there. BoringSSL compares these octets before anything else of a session. */
static bool bind_session(const struct tls_context *context, const SSL_CLIENT_HELLO *hello, const char *sni)
{
    uint8_t bound[SHA256_DIGEST_LENGTH];
    const uint8_t *protocol = foresee_protocol(context, hello);
    SHA256_CTX hash;
    SHA256_Init(&hash);
    SHA256_Update(&hash, context->identity, sizeof context->identity);
    if (protocol != NULL)
        SHA256_Update(&hash, protocol, 1 + (size_t)protocol[0]);
    SHA256_Update(&hash, "", 1);
    for (const char *at = sni; at != NULL && *at != '\0'; at++) {
        uint8_t lower = bytes_lower((uint8_t)*at);
        SHA256_Update(&hash, &lower, 1);
    }
    SHA256_Final(bound, &hash);
    return SSL_set_session_id_context(hello->ssl, bound, sizeof bound);
}

/* ---- BoringSSL's questions -------------------------------------------------------------------------------------- */

static enum ssl_select_cert_result_t on_client_hello(const SSL_CLIENT_HELLO *client_hello)
{
    SSL *ssl = client_hello->ssl;
    struct tls_hello *hello = tls_hello_of(ssl);
    const struct tls_context *context = hello->context;
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    hello->pair = sni != NULL ? tls_choice_for(context, client_hello, bytes_of_string(sni)) : NULL;
    hello->name_unknown = sni != NULL && hello->pair == NULL;
    if (hello->pair == NULL)
        hello->pair = tls_choice_default(context, client_hello);
    if (SSL_set_SSL_CTX(ssl, hello->pair->ssl) == NULL || !bind_session(context, client_hello, sni))
        return ssl_select_cert_error;
    return ssl_select_cert_success;
}

static int on_server_name(SSL *ssl, int *alert, void *argument)
{
    struct tls_hello *hello = tls_hello_of(ssl);
    (void)argument;
    if (!hello->name_unknown || !hello->context->strict_sni)
        return SSL_TLSEXT_ERR_OK;
    hello->name_refused = true;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int on_protocols(SSL *ssl, const uint8_t **ret_protocol, uint8_t *ret_length, const uint8_t *offered,
                        unsigned offered_length, void *argument)
{
    const uint8_t *protocol = find_protocol(tls_hello_of(ssl)->context, offered, offered_length);
    (void)argument;
    if (protocol == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol: TLS-07 */
    *ret_protocol = protocol + 1;
    *ret_length = protocol[0];
    return SSL_TLSEXT_ERR_OK;
}

static int seal_ticket(const struct tls_tickets *tickets, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher,
                       HMAC_CTX *hmac)
{
    const struct tls_ticket_key *key = &tickets->keys[0];
    if (!tls_tickets_make_iv(tickets, iv))
        return -1;
    memcpy(name, key->name, sizeof key->name);
    if (!HMAC_Init_ex(hmac, key->hmac, sizeof key->hmac, EVP_sha256(), NULL) ||
        !EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv))
        return -1;
    return 1;
}

static int on_ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, HMAC_CTX *hmac, int sealing)
{
    enum { UNKNOWN = 0, OPENED = 1, OPENED_RENEW = 2 };
    const struct tls_hello *hello = tls_hello_of(ssl);
    struct tls_tickets *tickets = hello->context->tickets;
    bool is_current;
    if (sealing)
        return seal_ticket(tickets, name, iv, cipher, hmac);
    const struct tls_ticket_key *key = tls_tickets_find(tickets, name, &is_current);
    if (key == NULL)
        return UNKNOWN;
    if (!HMAC_Init_ex(hmac, key->hmac, sizeof key->hmac, EVP_sha256(), NULL) ||
        !EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv))
        return -1;
    if (hello->context->early_data && !tls_tickets_use_once(tickets, iv, hello->now_ms))
        SSL_set_early_data_enabled(ssl, 0);
    return is_current ? OPENED : OPENED_RENEW;
}

static void note_key_update(struct tls_hello *hello, struct bytes message)
{
    enum { REQUEST_AT = 4, UPDATE_REQUESTED = 1 };
    hello->key_updates++;
    if (message.length > REQUEST_AT && message.data[REQUEST_AT] == UPDATE_REQUESTED)
        hello->key_update_asked = true;
}

static void on_message(int is_write, int version, int type, const void *data, size_t length, SSL *ssl, void *argument)
{
    const struct bytes message = bytes_of(data, length);
    (void)version;
    (void)argument;
    if (!is_write && type == SSL3_RT_HANDSHAKE && length > 0 && message.data[0] == SSL3_MT_KEY_UPDATE)
        note_key_update(tls_hello_of(ssl), message);
    if (is_write && type == SSL3_RT_ALERT && length == 2)
        tls_hello_of(ssl)->alert = message.data[1];
}

/* ---- signatures of RSA keys ------------------------------------------------------------------------------------- */

/* The digest is made here: a signer sees no more than that. */
static enum ssl_private_key_result_t sign_elsewhere(SSL *ssl, uint8_t *output, size_t *ret_length, size_t capacity,
                                                    uint16_t algorithm, const uint8_t *input, size_t length)
{
    struct tls_hello *hello = tls_hello_of(ssl);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_length = 0;
    (void)output;
    (void)ret_length;
    (void)capacity;
    if (!EVP_Digest(input, length, digest, &digest_length, SSL_get_signature_algorithm_digest(algorithm), NULL))
        return ssl_private_key_failure;
    int r = tls_signers_ask(*hello->context->signers, hello->pair->key, algorithm, bytes_of(digest, digest_length),
                            hello->owner, &hello->signature);
    return r < 0 ? ssl_private_key_failure : ssl_private_key_retry;
}

static enum ssl_private_key_result_t take_signature(SSL *ssl, uint8_t *output, size_t *ret_length, size_t capacity)
{
    struct tls_hello *hello = tls_hello_of(ssl);
    struct bytes octets;
    if (!tls_signature_ready(hello->signature, &octets))
        return ssl_private_key_retry;
    bool good = octets.length > 0 && octets.length <= capacity;
    if (good) {
        memcpy(output, octets.data, octets.length);
        *ret_length = octets.length;
    }
    tls_signature_let_go(hello->signature);
    hello->signature = NULL;
    return good ? ssl_private_key_success : ssl_private_key_failure;
}

/* Suites that would have us decrypt with the key are not offered. */
static enum ssl_private_key_result_t never_decrypt(SSL *ssl, uint8_t *output, size_t *ret_length, size_t capacity,
                                                   const uint8_t *input, size_t length)
{
    (void)ssl;
    (void)output;
    (void)ret_length;
    (void)capacity;
    (void)input;
    (void)length;
    return ssl_private_key_failure;
}

const SSL_PRIVATE_KEY_METHOD tls_questions_signers = {
    .sign = sign_elsewhere,
    .decrypt = never_decrypt,
    .complete = take_signature,
};

/* ---- all of them ------------------------------------------------------------------------------------------------ */

void tls_questions_answer(SSL_CTX *ssl)
{
    SSL_CTX_set_select_certificate_cb(ssl, on_client_hello);
    SSL_CTX_set_tlsext_servername_callback(ssl, on_server_name);
    SSL_CTX_set_alpn_select_cb(ssl, on_protocols, NULL);
    SSL_CTX_set_tlsext_ticket_key_cb(ssl, on_ticket);
    SSL_CTX_set_msg_callback(ssl, on_message);
}
