#include "daemon/io/tls_keys.h"

#include "daemon/io/tls_library.h"

#include <openssl/hkdf.h>

#include <errno.h>
#include <string.h>

enum { KEY_BYTES_MAX = 32, IV_BYTES = 12, SALT_BYTES = 4, SEQUENCE_BYTES = 8, BLOCK_BYTES_MAX = 88 };

/* A key as TLS has it: in 1.2 with AES-GCM only the salt of `iv` is agreed upon. */
struct material {
    uint8_t key[KEY_BYTES_MAX];
    uint8_t iv[IV_BYTES];
    uint8_t sequence[SEQUENCE_BYTES];
};

/* bssl::Span<const uint8_t>. */
struct span {
    const uint8_t *data;
    size_t length;
};

/* BoringSSL says its secrets in C++ only. Those that a key log has are not the current ones after a KeyUpdate. */
extern bool
traffic_secrets(const SSL *ssl, struct span *ret_read,
                struct span *ret_write) __asm__("_ZN4bssl23SSL_get_traffic_secretsEPK6ssl_stPNS_4SpanIKhEES6_");

static size_t key_bytes(enum ktls_cipher cipher)
{
    return cipher == KTLS_AES_128_GCM ? 16 : 32;
}

static bool kernel_cipher(const SSL_CIPHER *cipher, enum ktls_cipher *ret_cipher)
{
    switch (SSL_CIPHER_get_cipher_nid(cipher)) {
    case NID_aes_128_gcm:
        *ret_cipher = KTLS_AES_128_GCM;
        return true;
    case NID_aes_256_gcm:
        *ret_cipher = KTLS_AES_256_GCM;
        return true;
    case NID_chacha20_poly1305:
        *ret_cipher = KTLS_CHACHA20_POLY1305;
        return true;
    default:
        return false;
    }
}

/* ---- TLS 1.3 ---------------------------------------------------------------------------------------------------- */

/* HKDF-Expand-Label(secret, label, "", length): RFC 8446 7.1. */
static bool expand(const EVP_MD *digest, struct span secret, const char *label, uint8_t *output, size_t length)
{
    uint8_t info[32] = {(uint8_t)(length >> 8), (uint8_t)length};
    static const char prefix[] = "tls13 ";
    const size_t label_bytes = strlen(label);
    uint8_t *at = info + 2;
    *at++ = (uint8_t)(sizeof prefix - 1 + label_bytes);
    memcpy(at, prefix, sizeof prefix - 1);
    at += sizeof prefix - 1;
    memcpy(at, label, label_bytes);
    at += label_bytes;
    *at++ = 0; /* no context */
    return HKDF_expand(output, length, digest, secret.data, secret.length, info, (size_t)(at - info));
}

static const EVP_MD *hash_of(const SSL_CIPHER *cipher)
{
    return EVP_get_digestbynid(SSL_CIPHER_get_prf_nid(cipher));
}

/* Of a secret as long as the cipher's hash. */
static bool derive(const SSL_CIPHER *cipher, const uint8_t *secret, enum ktls_cipher kernel,
                   struct material *ret_material)
{
    const EVP_MD *hash = hash_of(cipher);
    const struct span from = {secret, EVP_MD_size(hash)};
    return expand(hash, from, "key", ret_material->key, key_bytes(kernel)) &&
           expand(hash, from, "iv", ret_material->iv, IV_BYTES);
}

/* BoringSSL's current ones. */
static bool copy_secrets(const SSL *ssl, struct tls_secrets *ret_secrets)
{
    struct span receiving, sending;
    if (!traffic_secrets(ssl, &receiving, &sending) || sending.length > TLS_SECRET_BYTES_MAX ||
        receiving.length > TLS_SECRET_BYTES_MAX)
        return false;
    memcpy(ret_secrets->sending, sending.data, sending.length);
    memcpy(ret_secrets->receiving, receiving.data, receiving.length);
    return true;
}

static const uint8_t *secret_of(const struct tls_secrets *secrets, enum ktls_direction direction)
{
    return direction == KTLS_SEND ? secrets->sending : secrets->receiving;
}

/* ---- TLS 1.2 ---------------------------------------------------------------------------------------------------- */

/* client's key, server's key, client's iv, server's iv: RFC 5246 6.3, and no MAC keys with an AEAD. */
static bool cut_block(SSL *ssl, enum ktls_direction direction, enum ktls_cipher cipher, struct material *ret_material)
{
    uint8_t block[BLOCK_BYTES_MAX];
    const size_t key = key_bytes(cipher), iv = cipher == KTLS_CHACHA20_POLY1305 ? IV_BYTES : SALT_BYTES;
    const size_t bytes = 2 * (key + iv), of_server = direction == KTLS_SEND;
    if (SSL_get_key_block_len(ssl) != bytes || !SSL_generate_key_block(ssl, block, bytes))
        return false;
    memcpy(ret_material->key, block + of_server * key, key);
    memcpy(ret_material->iv, block + 2 * key + of_server * iv, iv);
    OPENSSL_cleanse(block, sizeof block);
    return true;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

static void put_sequence(uint64_t number, uint8_t output[SEQUENCE_BYTES])
{
    for (int i = SEQUENCE_BYTES - 1; i >= 0; i--, number >>= 8)
        output[i] = (uint8_t)number;
}

/* An AES-GCM nonce is the salt and eight octets: in 1.3 the rest of the iv, in 1.2 the number of the record. */
#define FILL_GCM(target, type, material, is_old)                                                             \
    do {                                                                                                     \
        (target)->info.cipher_type = (type);                                                                 \
        memcpy((target)->key, (material)->key, sizeof(target)->key);                                         \
        memcpy((target)->salt, (material)->iv, SALT_BYTES);                                                  \
        memcpy((target)->iv, (is_old) ? (material)->sequence : (material)->iv + SALT_BYTES, SEQUENCE_BYTES); \
        memcpy((target)->rec_seq, (material)->sequence, SEQUENCE_BYTES);                                     \
    } while (0)

static void fill(struct ktls_keys *keys, bool is_old, const struct material *material)
{
    keys->info.head.version = is_old ? TLS_1_2_VERSION : TLS_1_3_VERSION;
    switch (keys->cipher) {
    case KTLS_AES_128_GCM:
        keys->bytes = sizeof keys->info.aes_128_gcm;
        FILL_GCM(&keys->info.aes_128_gcm, TLS_CIPHER_AES_GCM_128, material, is_old);
        break;
    case KTLS_AES_256_GCM:
        keys->bytes = sizeof keys->info.aes_256_gcm;
        FILL_GCM(&keys->info.aes_256_gcm, TLS_CIPHER_AES_GCM_256, material, is_old);
        break;
    default:
        keys->bytes = sizeof keys->info.chacha20_poly1305;
        keys->info.head.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
        memcpy(keys->info.chacha20_poly1305.key, material->key, KEY_BYTES_MAX);
        memcpy(keys->info.chacha20_poly1305.iv, material->iv, IV_BYTES);
        memcpy(keys->info.chacha20_poly1305.rec_seq, material->sequence, SEQUENCE_BYTES);
        break;
    }
}

static bool derive_of(const SSL *ssl, enum ktls_direction direction, enum ktls_cipher kernel,
                      struct material *ret_material)
{
    struct tls_secrets secrets;
    const bool derived = copy_secrets(ssl, &secrets) &&
                         derive(SSL_get_current_cipher(ssl), secret_of(&secrets, direction), kernel, ret_material);
    tls_secrets_wipe(&secrets);
    return derived;
}

int tls_keys_of(const struct tls_channel *channel, enum ktls_direction direction, struct ktls_keys *ret_keys)
{
    SSL *ssl = tls_channel_ssl(channel);
    const bool is_old = SSL_version(ssl) != TLS1_3_VERSION;
    struct material material = {};
    struct ktls_keys keys = {};
    if (!kernel_cipher(SSL_get_current_cipher(ssl), &keys.cipher))
        return -ENOTSUP;
    put_sequence(direction == KTLS_SEND ? SSL_get_write_sequence(ssl) : SSL_get_read_sequence(ssl), material.sequence);
    const bool has =
        is_old ? cut_block(ssl, direction, keys.cipher, &material) : derive_of(ssl, direction, keys.cipher, &material);
    if (has) {
        fill(&keys, is_old, &material);
        *ret_keys = keys;
    }
    OPENSSL_cleanse(&material, sizeof material);
    tls_keys_wipe(&keys);
    return has ? 0 : -EPROTO;
}

void tls_keys_wipe(struct ktls_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
}

/* ---- without BoringSSL ------------------------------------------------------------------------------------------ */

int tls_secrets_of(const struct tls_channel *channel, struct tls_secrets *ret_secrets)
{
    const SSL *ssl = tls_channel_ssl(channel);
    if (SSL_version(ssl) != TLS1_3_VERSION)
        return -ENOTSUP;
    return copy_secrets(ssl, ret_secrets) ? 0 : -EPROTO;
}

/* RFC 8446 7.2. */
int tls_secrets_advance(struct tls_secrets *secrets, uint16_t cipher, enum ktls_direction direction)
{
    uint8_t next[TLS_SECRET_BYTES_MAX], *secret = direction == KTLS_SEND ? secrets->sending : secrets->receiving;
    const EVP_MD *hash = hash_of(SSL_get_cipher_by_value(cipher));
    const size_t length = EVP_MD_size(hash);
    const bool advanced = expand(hash, (struct span){secret, length}, "traffic upd", next, length);
    if (advanced)
        memcpy(secret, next, length);
    OPENSSL_cleanse(next, sizeof next);
    return advanced ? 0 : -EPROTO;
}

int tls_secrets_keys(const struct tls_secrets *secrets, uint16_t cipher, enum ktls_direction direction,
                     struct ktls_keys *ret_keys)
{
    const SSL_CIPHER *agreed = SSL_get_cipher_by_value(cipher);
    struct material material = {};
    struct ktls_keys keys = {};
    const bool derived =
        kernel_cipher(agreed, &keys.cipher) && derive(agreed, secret_of(secrets, direction), keys.cipher, &material);
    if (derived) {
        fill(&keys, false, &material);
        *ret_keys = keys;
    }
    OPENSSL_cleanse(&material, sizeof material);
    tls_keys_wipe(&keys);
    return derived ? 0 : -EPROTO;
}

void tls_secrets_wipe(struct tls_secrets *secrets)
{
    OPENSSL_cleanse(secrets, sizeof *secrets);
}
