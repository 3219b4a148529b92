#include "daemon/io/tls_choice.h"

enum { EXTENSION_VERSIONS = 43 };

/* Whether a list of 16-bit numbers, as extensions have them, has `wanted`. */
static bool lists_number(const uint8_t *list, size_t bytes, uint16_t wanted)
{
    for (size_t i = 0; i + 1 < bytes; i += 2)
        if ((uint16_t)(list[i] << 8 | list[i + 1]) == wanted)
            return true;
    return false;
}

static bool offers_tls13(const SSL_CLIENT_HELLO *hello)
{
    const uint8_t *data;
    size_t bytes;
    return SSL_early_callback_ctx_extension_get(hello, EXTENSION_VERSIONS, &data, &bytes) && bytes > 1 &&
           lists_number(data + 1, bytes - 1, TLS1_3_VERSION);
}

/* TLS 1.3's suites say nothing about signatures; those of 1.2 do. */
static bool offers_ecdsa_suite(const SSL_CLIENT_HELLO *hello)
{
    static const uint16_t SUITES[] = {0xc02b, 0xc02c, 0xcca9}; /* ECDHE_ECDSA with AES-GCM, ChaCha20 */
    if (offers_tls13(hello))
        return true;
    for (size_t i = 0; i < sizeof SUITES / sizeof SUITES[0]; i++)
        if (lists_number(hello->cipher_suites, hello->cipher_suites_len, SUITES[i]))
            return true;
    return false;
}

/* Whether the client can verify what this pair's key signs. RSA keys sign in several ways, one of which every client
 * knows. */
static bool can_verify(const SSL_CLIENT_HELLO *hello, const struct tls_pair *pair)
{
    const uint8_t *data;
    size_t bytes;
    if (pair->kind == TLS_KEY_RSA)
        return true;
    return SSL_early_callback_ctx_extension_get(hello, TLSEXT_TYPE_signature_algorithms, &data, &bytes) && bytes > 2 &&
           lists_number(data + 2, bytes - 2, pair->algorithm) && offers_ecdsa_suite(hello);
}

/* What counts, most first: that the client can verify it, that the name is meant and not only caught by a wildcard, and
 * that the key is not an RSA one, which costs ten times as much. */
static int rank_of(const struct tls_pair *pair, const SSL_CLIENT_HELLO *hello, struct bytes host)
{
    enum { VERIFIABLE = 8, PER_COVER = 2, CHEAP = 1 };
    int cover = (int)tls_pair_covers(pair, host);
    if (cover == TLS_COVER_NONE)
        return 0;
    return cover * PER_COVER + (can_verify(hello, pair) ? VERIFIABLE : 0) + (pair->kind != TLS_KEY_RSA ? CHEAP : 0);
}

const struct tls_pair *tls_choice_for(const struct tls_context *context, const SSL_CLIENT_HELLO *hello,
                                      struct bytes host)
{
    const struct tls_pair *best = NULL;
    int best_rank = 0;
    for (uint32_t i = 0; i < context->pair_count; i++) {
        int rank = rank_of(&context->pairs[i], hello, host);
        if (rank > best_rank) {
            best = &context->pairs[i];
            best_rank = rank;
        }
    }
    return best;
}

const struct tls_pair *tls_choice_default(const struct tls_context *context, const SSL_CLIENT_HELLO *hello)
{
    const struct tls_pair *first = &context->pairs[0];
    const struct tls_pair *better =
        first->name_count > 0 ? tls_choice_for(context, hello, bytes_of_string(first->names[0])) : NULL;
    return better != NULL ? better : first;
}
