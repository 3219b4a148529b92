#include "daemon/io/tls_agreed.h"

#include "daemon/io/tls_context.h"
#include "daemon/io/tls_library.h"

#include <errno.h>
#include <stdlib.h>

enum { COMMON_NAME_BYTES_MAX = 256 };

/* ---- what a client's certificate says --------------------------------------------------------------------------- */

/* Texts one behind the other in a BIO; where each ends. */
struct composition {
    BIO *texts;
    uint32_t ends[TLS_RECORD_TEXTS];
    enum tls_record_text at;
};

static struct bytes composed(const struct composition *composition)
{
    const uint8_t *data;
    size_t length;
    return BIO_mem_contents(composition->texts, &data, &length) ? bytes_of(data, length) : (struct bytes){};
}

/* Texts between the last one and this one are empty. */
static void end_text(struct composition *composition, enum tls_record_text text)
{
    for (; composition->at <= text; composition->at++)
        composition->ends[composition->at] = (uint32_t)composed(composition).length;
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

static void compose(struct composition *composition, const SSL *ssl, const struct tls_facts *facts)
{
    STACK_OF(X509) *chain = SSL_get_peer_full_cert_chain(ssl);
    end_text(composition, TLS_RECORD_CIPHER_NAME);
    if (facts->sni != NULL)
        BIO_puts(composition->texts, facts->sni);
    end_text(composition, TLS_RECORD_SERVER_NAME);
    if (chain != NULL && sk_X509_num(chain) > 0) {
        end_text(composition, TLS_RECORD_SERVER_CERTIFICATE);
        compose_client(composition, chain);
    }
    end_text(composition, TLS_RECORD_TEXTS - 1);
}

/* ---- birth and death -------------------------------------------------------------------------------------------- */

static struct tls_agreed *make(struct tls_channel *channel, const struct tls_facts *facts,
                               const struct composition *composition)
{
    const struct bytes texts = composed(composition);
    struct tls_agreed *agreed = malloc(sizeof *agreed + texts.length);
    if (agreed == NULL)
        return NULL;
    *agreed = (struct tls_agreed){
        .context = tls_channel_context(channel),
        .pair = tls_channel_pair(channel),
        .references = 1,
        .version = facts->version,
        .cipher = facts->cipher,
        .is_resumed = facts->is_resumed,
    };
    tls_context_hold(agreed->context);
    memcpy(agreed->ends, composition->ends, sizeof agreed->ends);
    memcpy(agreed->digest, tls_channel_digest(channel), sizeof agreed->digest);
    if (texts.length > 0)
        memcpy(agreed->texts, texts.data, texts.length);
    return agreed;
}

int tls_agreed_create(struct tls_channel *channel, struct tls_agreed **ret_agreed)
{
    struct composition composition = {.texts = BIO_new(BIO_s_mem())};
    struct tls_facts facts;
    if (composition.texts == NULL)
        return -ENOMEM;
    tls_channel_facts(channel, &facts);
    compose(&composition, tls_channel_ssl(channel), &facts);
    struct tls_agreed *agreed = make(channel, &facts, &composition);
    BIO_free(composition.texts);
    ERR_clear_error();
    if (agreed == NULL)
        return -ENOMEM;
    *ret_agreed = agreed;
    return 0;
}

void tls_agreed_drop(struct tls_agreed *agreed)
{
    if (agreed == NULL || --agreed->references > 0)
        return;
    if (agreed->link != NULL)
        *agreed->link = agreed->next;
    if (agreed->next != NULL)
        agreed->next->link = agreed->link;
    tls_context_drop(agreed->context);
    free(agreed);
}

/* ---- those that are shared -------------------------------------------------------------------------------------- */

static void share(struct tls_agreed **list, struct tls_agreed *agreed)
{
    agreed->next = *list;
    agreed->link = list;
    if (*list != NULL)
        (*list)->link = &agreed->next;
    *list = agreed;
}

/* Of one context: another may have other names, and answer for other hosts. */
static bool agrees(const struct tls_agreed *agreed, const struct tls_channel *channel, const uint8_t *digest)
{
    return agreed->context == tls_channel_context(channel) && agreed->pair == tls_channel_pair(channel) &&
           memcmp(agreed->digest, digest, sizeof agreed->digest) == 0;
}

int tls_agreements_find(struct tls_agreements *agreements, struct tls_channel *channel, struct tls_agreed **ret_agreed)
{
    const uint8_t *digest = tls_channel_digest(channel);
    struct tls_agreed **list = &agreements->lists[digest[0] % TLS_AGREEMENTS_LISTS];
    for (struct tls_agreed *agreed = *list; agreed != NULL; agreed = agreed->next)
        if (agrees(agreed, channel, digest)) {
            agreed->references++;
            *ret_agreed = agreed;
            return 0;
        }
    int r = tls_agreed_create(channel, ret_agreed);
    if (r == 0)
        share(list, *ret_agreed);
    return r;
}

/* ---- what is asked of it ---------------------------------------------------------------------------------------- */

static struct bytes text_of(const struct tls_agreed *agreed, enum tls_record_text text)
{
    const uint32_t from = text > 0 ? agreed->ends[text - 1] : 0;
    return bytes_of(agreed->texts + from, agreed->ends[text] - from);
}

void tls_agreed_record(const struct tls_agreed *agreed, struct tls_record *ret_record)
{
    const SSL_CIPHER *cipher = SSL_get_cipher_by_value(agreed->cipher);
    *ret_record = (struct tls_record){
        .protocol = agreed->version,
        .cipher = agreed->cipher,
        .cipher_bits = (uint16_t)SSL_CIPHER_get_bits(cipher, NULL),
        .is_resumed = agreed->is_resumed,
    };
    for (int i = 0; i < TLS_RECORD_TEXTS; i++)
        ret_record->texts[i] = text_of(agreed, (enum tls_record_text)i);
    ret_record->texts[TLS_RECORD_CIPHER_NAME] = bytes_of_string(SSL_CIPHER_standard_name(cipher));
    if (ret_record->texts[TLS_RECORD_CLIENT_CHAIN].length > 0)
        ret_record->client = TLS_RECORD_CLIENT_VERIFIED; /* or the handshake would have failed */
}

bool tls_agreed_covers(const struct tls_agreed *agreed, struct bytes host)
{
    return tls_context_covers(agreed->context, agreed->pair, text_of(agreed, TLS_RECORD_SERVER_NAME), host);
}
