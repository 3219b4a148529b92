#include "daemon/io/tls_failure.h"

#include "daemon/io/tls_library.h"

const char *tls_failure_word(enum tls_failure failure)
{
    static const char *const WORDS[] = {
#define TLS_FAILURE_WORD(symbol, word) [TLS_FAILURE_##symbol] = word,
        TLS_FAILURES(TLS_FAILURE_WORD)
#undef TLS_FAILURE_WORD
    };
    return WORDS[failure];
}

/* Reasons of BoringSSL's; any other is a fault of the protocol, or an alert of the client. */
static const struct {
    int reason;
    enum tls_failure failure;
} REASONS[] = {
    {SSL_R_UNSUPPORTED_PROTOCOL, TLS_FAILURE_VERSION},
    {SSL_R_WRONG_VERSION_NUMBER, TLS_FAILURE_VERSION},
    {SSL_R_WRONG_SSL_VERSION, TLS_FAILURE_VERSION},
    {SSL_R_INAPPROPRIATE_FALLBACK, TLS_FAILURE_VERSION},
    {SSL_R_NO_SHARED_CIPHER, TLS_FAILURE_CIPHER},
    {SSL_R_NO_SHARED_GROUP, TLS_FAILURE_CIPHER},
    {SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS, TLS_FAILURE_CIPHER},
    {SSL_R_WRONG_CURVE, TLS_FAILURE_CIPHER},
    {SSL_R_NO_APPLICATION_PROTOCOL, TLS_FAILURE_ALPN},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TLS_FAILURE_CLIENT_CERTIFICATE},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, TLS_FAILURE_CLIENT_CERTIFICATE},
    {SSL_R_NO_CERTIFICATES_RETURNED, TLS_FAILURE_CLIENT_CERTIFICATE},
    {SSL_R_HTTP_REQUEST, TLS_FAILURE_PLAIN_HTTP},
    {SSL_R_HTTPS_PROXY_REQUEST, TLS_FAILURE_PLAIN_HTTP},
    {SSL_R_TOO_MANY_KEY_UPDATES, TLS_FAILURE_FLOOD},
    {SSL_R_TOO_MANY_EMPTY_FRAGMENTS, TLS_FAILURE_FLOOD},
    {SSL_R_TOO_MANY_WARNING_ALERTS, TLS_FAILURE_FLOOD},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, TLS_FAILURE_FLOOD},
    {SSL_R_PRIVATE_KEY_OPERATION_FAILED, TLS_FAILURE_INTERNAL},
};

enum tls_failure tls_failure_of(uint32_t error)
{
    const int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return ERR_GET_LIB(error) == ERR_LIB_X509 ? TLS_FAILURE_CLIENT_CERTIFICATE : TLS_FAILURE_PROTOCOL;
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++)
        if (REASONS[i].reason == reason)
            return REASONS[i].failure;
    return reason >= SSL_AD_REASON_OFFSET ? TLS_FAILURE_CLIENT_ALERT : TLS_FAILURE_PROTOCOL;
}
