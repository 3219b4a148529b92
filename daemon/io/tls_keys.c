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

static bool cipher_of(const SSL *ssl, enum ktls_cipher *ret_cipher)
{
    switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
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

/* What comes after a KeyUpdate: RFC 8446 7.2. */
static bool advance(const EVP_MD *digest, struct span *secret, uint8_t memory[EVP_MAX_MD_SIZE], uint32_t updates)
{
    uint8_t next[EVP_MAX_MD_SIZE];
    bool advanced = secret->length <= sizeof next;
    for (uint32_t i = 0; i < updates && advanced; i++) {
        advanced = expand(digest, *secret, "traffic upd", next, secret->length);
        memcpy(memory, next, secret->length);
        secret->data = memory;
    }
    OPENSSL_cleanse(next, sizeof next);
    return advanced;
}

static bool derive(const SSL *ssl, enum ktls_direction direction, uint32_t updates, enum ktls_cipher cipher,
                   struct material *ret_material)
{
    struct span reading, writing;
    uint8_t memory[EVP_MAX_MD_SIZE];
    const EVP_MD *digest = EVP_get_digestbynid(SSL_CIPHER_get_prf_nid(SSL_get_current_cipher(ssl)));
    if (digest == NULL || !traffic_secrets(ssl, &reading, &writing))
        return false;
    struct span secret = direction == KTLS_SEND ? writing : reading;
    const bool derived = advance(digest, &secret, memory, updates) &&
                         expand(digest, secret, "key", ret_material->key, key_bytes(cipher)) &&
                         expand(digest, secret, "iv", ret_material->iv, IV_BYTES);
    OPENSSL_cleanse(memory, sizeof memory);
    return derived;
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

/* Numbers begin anew with new keys. */
static uint64_t next_record(const SSL *ssl, enum ktls_direction direction, uint32_t updates)
{
    if (updates > 0)
        return 0;
    return direction == KTLS_SEND ? SSL_get_write_sequence(ssl) : SSL_get_read_sequence(ssl);
}

int tls_keys_of(const struct tls_channel *channel, enum ktls_direction direction, uint32_t updates,
                struct ktls_keys *ret_keys)
{
    SSL *ssl = tls_channel_ssl(channel);
    const bool is_old = SSL_version(ssl) != TLS1_3_VERSION;
    struct material material = {};
    struct ktls_keys keys = {};
    if (!cipher_of(ssl, &keys.cipher) || (is_old && updates > 0))
        return -ENOTSUP;
    put_sequence(next_record(ssl, direction, updates), material.sequence);
    const bool has = is_old ? cut_block(ssl, direction, keys.cipher, &material)
                            : derive(ssl, direction, updates, keys.cipher, &material);
    if (has) {
        fill(&keys, is_old, &material);
        *ret_keys = keys;
    }
    OPENSSL_cleanse(&material, sizeof material);
    OPENSSL_cleanse(&keys, sizeof keys);
    return has ? 0 : -EPROTO;
}

void tls_keys_wipe(struct ktls_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
}
