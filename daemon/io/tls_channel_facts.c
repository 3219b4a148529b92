#include "daemon/io/tls_channel_state.h"

#include <string.h>

static bool has_h2(const SSL *ssl)
{
    const uint8_t *protocol;
    unsigned length;
    SSL_get0_alpn_selected(ssl, &protocol, &length);
    return bytes_equal(bytes_of(protocol, length), BYTES_LITERAL("h2"));
}

void tls_channel_facts(const struct tls_channel *channel, struct tls_facts *ret_facts)
{
    const SSL *ssl = channel->ssl;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    *ret_facts = (struct tls_facts){
        .version = (uint16_t)SSL_version(ssl),
        .cipher = cipher != NULL ? SSL_CIPHER_get_protocol_id(cipher) : 0,
        .is_h2 = has_h2(ssl),
        .is_resumed = SSL_session_reused(ssl),
        .version_text = SSL_get_version(ssl),
        .cipher_text = cipher != NULL ? SSL_CIPHER_standard_name(cipher) : "",
        .sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name),
    };
}

SSL *tls_channel_ssl(const struct tls_channel *channel)
{
    return channel->ssl;
}

struct tls_context *tls_channel_context(const struct tls_channel *channel)
{
    return channel->hello.context;
}

const struct tls_pair *tls_channel_pair(const struct tls_channel *channel)
{
    return channel->hello.pair;
}

static void hash_certificates(SHA256_CTX *hash, const struct tls_channel *channel)
{
    const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(channel->ssl);
    SHA256_Update(hash, channel->hello.pair->digest, sizeof channel->hello.pair->digest);
    for (size_t i = 0; chain != NULL && i < sk_CRYPTO_BUFFER_num(chain); i++) {
        const CRYPTO_BUFFER *certificate = sk_CRYPTO_BUFFER_value(chain, i);
        SHA256_Update(hash, CRYPTO_BUFFER_data(certificate), CRYPTO_BUFFER_len(certificate));
    }
}

const uint8_t *tls_channel_digest(struct tls_channel *channel)
{
    SHA256_CTX hash;
    struct tls_facts facts;
    static_assert(TLS_CHANNEL_DIGEST_BYTES == SHA256_DIGEST_LENGTH, "SHA-256");
    if (channel->has_digest)
        return channel->digest;
    tls_channel_facts(channel, &facts);
    const uint16_t numbers[] = {facts.version, facts.cipher, facts.is_resumed};
    SHA256_Init(&hash);
    SHA256_Update(&hash, numbers, sizeof numbers);
    if (facts.sni != NULL)
        SHA256_Update(&hash, facts.sni, strlen(facts.sni));
    SHA256_Update(&hash, "", 1);
    hash_certificates(&hash, channel);
    SHA256_Final(channel->digest, &hash);
    channel->has_digest = channel->proved; /* an early client's certificate comes later */
    return channel->digest;
}

bool tls_channel_covers(const struct tls_channel *channel, struct bytes host)
{
    const char *sni = SSL_get_servername(channel->ssl, TLSEXT_NAMETYPE_host_name);
    return tls_context_covers(channel->hello.context, channel->hello.pair,
                              sni != NULL ? bytes_of_string(sni) : (struct bytes){}, host);
}
