#include "daemon/io/tls_describe.h"

#include "daemon/exchange/tls_record.h"
#include "daemon/io/tls_library.h"
#include "daemon/io/tls_pair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { COMMON_NAME_BYTES_MAX = 256 };

static const char early_data[] = "early-data"
                                 "1";

void tls_descriptions_init(struct tls_descriptions *descriptions, struct buffer_pool *buffers)
{
    *descriptions = (struct tls_descriptions){.buffers = buffers};
}

void tls_descriptions_deinit(struct tls_descriptions *descriptions)
{
    for (uint32_t i = 0; descriptions->buffers != NULL && i < TLS_DESCRIPTIONS_KEPT; i++)
        buffer_pool_drop(descriptions->buffers, &descriptions->kept[i].loan);
    *descriptions = (struct tls_descriptions){};
}

/* ---- what a client's certificate says --------------------------------------------------------------------------- */

/* Texts one behind the other in a BIO; where each lies is known when all are there. */
struct composition {
    BIO *texts;
    size_t ends[TLS_RECORD_TEXTS];
    enum tls_record_text at;
};

static size_t composed(const struct composition *composition)
{
    const uint8_t *data;
    size_t length;
    return BIO_mem_contents(composition->texts, &data, &length) ? length : 0;
}

/* Texts between the last one and this one are empty. */
static void end_text(struct composition *composition, enum tls_record_text text)
{
    for (; composition->at <= text; composition->at++)
        composition->ends[composition->at] = composed(composition);
}

static void put_common_name(BIO *output, X509_NAME *name)
{
    char text[COMMON_NAME_BYTES_MAX];
    int length = X509_NAME_get_text_by_NID(name, NID_commonName, text, sizeof text);
    if (length > 0)
        BIO_write(output, text, length);
}

static void put_serial(BIO *output, const X509 *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *digits = number != NULL ? BN_bn2hex(number) : NULL;
    for (char *at = digits; at != NULL && *at != '\0'; at++)
        if (*at >= 'a' && *at <= 'f')
            *at = (char)(*at - 'a' + 'A');
    if (digits != NULL)
        BIO_puts(output, digits);
    OPENSSL_free(digits);
    BN_free(number);
}

static void compose_client(struct composition *composition, STACK_OF(X509) * chain)
{
    BIO *output = composition->texts;
    X509 *own = sk_X509_value(chain, 0);
    for (size_t i = 0; i < sk_X509_num(chain); i++)
        PEM_write_bio_X509(output, sk_X509_value(chain, i));
    end_text(composition, TLS_RECORD_CLIENT_CHAIN);
    X509_NAME_print_ex(output, X509_get_subject_name(own), 0, XN_FLAG_RFC2253);
    end_text(composition, TLS_RECORD_CLIENT_SUBJECT);
    put_common_name(output, X509_get_subject_name(own));
    end_text(composition, TLS_RECORD_CLIENT_COMMON_NAME);
    X509_NAME_print_ex(output, X509_get_issuer_name(own), 0, XN_FLAG_RFC2253);
    end_text(composition, TLS_RECORD_CLIENT_ISSUER);
    put_serial(output, own);
    end_text(composition, TLS_RECORD_CLIENT_SERIAL);
    ASN1_TIME_print(output, X509_get0_notBefore(own));
    end_text(composition, TLS_RECORD_CLIENT_NOT_BEFORE);
    ASN1_TIME_print(output, X509_get0_notAfter(own));
    end_text(composition, TLS_RECORD_CLIENT_NOT_AFTER);
}

static void compose(struct composition *composition, const struct tls_channel *channel, const struct tls_facts *facts)
{
    BIO *output = composition->texts;
    STACK_OF(X509) *chain = SSL_get_peer_full_cert_chain(tls_channel_ssl(channel));
    BIO_puts(output, facts->cipher_text);
    end_text(composition, TLS_RECORD_CIPHER_NAME);
    if (facts->sni != NULL)
        BIO_puts(output, facts->sni);
    end_text(composition, TLS_RECORD_SERVER_NAME);
    PEM_write_bio_X509(output, tls_channel_pair(channel)->chain[0]);
    end_text(composition, TLS_RECORD_SERVER_CERTIFICATE);
    if (chain != NULL && sk_X509_num(chain) > 0)
        compose_client(composition, chain);
    end_text(composition, TLS_RECORD_TEXTS - 1);
}

/* The texts of the record point into the composition. */
static void fill_record(const struct composition *composition, const struct tls_channel *channel,
                        const struct tls_facts *facts, struct tls_record *ret_record)
{
    const uint8_t *data = NULL;
    size_t length = 0, from = 0;
    (void)BIO_mem_contents(composition->texts, &data, &length);
    *ret_record = (struct tls_record){
        .protocol = facts->version,
        .cipher = facts->cipher,
        .cipher_bits = (uint16_t)SSL_CIPHER_get_bits(SSL_get_current_cipher(tls_channel_ssl(channel)), NULL),
        .is_resumed = facts->is_resumed,
    };
    for (int i = 0; i < TLS_RECORD_TEXTS; i++) {
        ret_record->texts[i] = bytes_of(data + from, composition->ends[i] - from);
        from = composition->ends[i];
    }
    if (ret_record->texts[TLS_RECORD_CLIENT_CHAIN].length > 0)
        ret_record->client = TLS_RECORD_CLIENT_VERIFIED; /* or the handshake would have failed */
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static int write_block(struct tls_descriptions *descriptions, const struct tls_record *record,
                       struct tls_description *ret_description)
{
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    const size_t bytes = tls_record_bytes(record);
    const size_t needed = bytes + sizeof early_data - 1;
    if (needed > TLS_RECORD_BLOCK_BYTES_MAX)
        return -ENOBUFS;
    int r = buffer_pool_stage(descriptions->buffers, (uint32_t)needed, &loan, &memory, &capacity);
    if (r < 0)
        return r;
    r = tls_record_write(record, memory, capacity);
    if (r < 0) {
        buffer_pool_drop(descriptions->buffers, &loan);
        return r;
    }
    memcpy(memory + bytes, early_data, sizeof early_data - 1);
    const uint32_t offset = buffer_pool_offset(descriptions->buffers, memory);
    ret_description->loan = loan;
    ret_description->span = (struct arena_span){.offset = offset, .length = (uint32_t)bytes};
    ret_description->early_data_offset = offset + (uint32_t)bytes;
    return 0;
}

static int describe(struct tls_descriptions *descriptions, const struct tls_channel *channel,
                    struct tls_description *ret_description)
{
    struct composition composition = {.texts = BIO_new(BIO_s_mem())};
    struct tls_facts facts;
    struct tls_record record;
    if (composition.texts == NULL)
        return -ENOMEM;
    tls_channel_facts(channel, &facts);
    compose(&composition, channel, &facts);
    fill_record(&composition, channel, &facts, &record);
    int r = write_block(descriptions, &record, ret_description);
    BIO_free(composition.texts);
    ERR_clear_error();
    return r;
}

int tls_descriptions_find(struct tls_descriptions *descriptions, struct tls_channel *channel,
                          const struct tls_description **ret_description)
{
    const uint8_t *digest = tls_channel_digest(channel);
    struct tls_description *kept = &descriptions->kept[digest[0] % TLS_DESCRIPTIONS_KEPT];
    *ret_description = kept;
    if (kept->loan.kind != LOAN_NONE && memcmp(kept->digest, digest, sizeof kept->digest) == 0)
        return 0;
    struct tls_description fresh = {};
    memcpy(fresh.digest, digest, sizeof fresh.digest);
    int r = describe(descriptions, channel, &fresh);
    if (r < 0)
        return r;
    buffer_pool_drop(descriptions->buffers, &kept->loan);
    *kept = fresh;
    return 0;
}
