#include "daemon/io/tls_pair.h"

#include "daemon/io/tls_library.h"
#include "proto/ip_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RSA_BITS_MIN = 2'048, RSA_BITS_MAX = 8'192, PASSWORD_BYTES_MAX = 1'023 };

/* A problem in words, and what BoringSSL calls it. */
struct complaint {
    const char *name;
    char *why;
    size_t why_bytes;
};

[[gnu::format(printf, 2, 3)]] static int complain(const struct complaint *complaint, const char *format, ...)
{
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    uint32_t error = ERR_peek_last_error();
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
    snprintf(complaint->why, complaint->why_bytes, "%s: %s%s%s%s", complaint->name, text, reason != NULL ? " (" : "",
             reason != NULL ? reason : "", reason != NULL ? ")" : "");
    ERR_clear_error();
    return -EINVAL;
}

/* ---- certificates ----------------------------------------------------------------------------------------------- */

static int read_chain(struct tls_pair *pair, struct bytes pem, const struct complaint *complaint)
{
    BIO *input = BIO_new_mem_buf(pem.data, (int)pem.length);
    if (input == NULL)
        return -ENOMEM;
    X509 *certificate;
    while (pair->chain_count < TLS_CHAIN_MAX && (certificate = PEM_read_bio_X509(input, NULL, NULL, NULL)) != NULL)
        pair->chain[pair->chain_count++] = certificate;
    BIO_free(input);
    uint32_t error = ERR_peek_last_error();
    bool ended = error == 0 || (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE);
    if (ended)
        ERR_clear_error();
    if (!ended)
        return complain(complaint, "certificate %u in the file cannot be read; it has to be PEM",
                        pair->chain_count + 1);
    if (pair->chain_count == 0)
        return complain(complaint,
                        "there is no certificate in the file; it has to be PEM and begin with the server's own");
    return 0;
}

static void read_digest(struct tls_pair *pair)
{
    unsigned length = sizeof pair->digest;
    (void)X509_digest(pair->chain[0], EVP_sha256(), pair->digest, &length);
}

static void read_expiry(struct tls_pair *pair)
{
    int days, seconds;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    if (epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(pair->chain[0])) && days >= 0)
        pair->expires_s = (uint64_t)days * 86'400 + (uint64_t)seconds;
    ASN1_TIME_free(epoch);
}

/* ---- the key ---------------------------------------------------------------------------------------------------- */

/* The first line of the password file. */
static int give_password(char *buffer, int capacity, int for_writing, void *context)
{
    const struct bytes *password = context;
    size_t length = 0;
    (void)for_writing;
    while (length < password->length && password->data[length] != '\n' && password->data[length] != '\r')
        length++;
    if (length == 0 || length > PASSWORD_BYTES_MAX || length > (size_t)capacity)
        return -1;
    memcpy(buffer, password->data, length);
    return (int)length;
}

static int read_key(struct tls_pair *pair, const struct tls_pair_source *source, const struct complaint *complaint)
{
    BIO *input = BIO_new_mem_buf(source->key.data, (int)source->key.length);
    if (input == NULL)
        return -ENOMEM;
    struct bytes password = source->password;
    pair->key = PEM_read_bio_PrivateKey(input, NULL, give_password, &password);
    BIO_free(input);
    if (pair->key != NULL)
        return 0;
    uint32_t error = ERR_peek_last_error();
    if (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE)
        return complain(complaint, "there is no private key in its key file; it has to be PEM");
    if (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_BAD_PASSWORD_READ)
        return complain(complaint,
                        "its private key is encrypted; name the file of the password in keyfile_password_file");
    return complain(complaint, "its private key cannot be read%s",
                    password.length > 0 ? "; the password may be wrong" : "");
}

static int judge_ec_key(struct tls_pair *pair, const struct complaint *complaint)
{
    static const struct {
        int curve;
        uint16_t algorithm;
    } CURVES[] = {
        {NID_X9_62_prime256v1, SSL_SIGN_ECDSA_SECP256R1_SHA256},
        {NID_secp384r1, SSL_SIGN_ECDSA_SECP384R1_SHA384},
        {NID_secp521r1, SSL_SIGN_ECDSA_SECP521R1_SHA512},
    };
    int curve = EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(pair->key)));
    for (size_t i = 0; i < sizeof CURVES / sizeof CURVES[0]; i++)
        if (CURVES[i].curve == curve)
            pair->algorithm = CURVES[i].algorithm;
    pair->kind = TLS_KEY_ECDSA;
    return pair->algorithm != 0
               ? 0
               : complain(complaint, "its key lies on a curve that TLS does not use; P-256 is the usual");
}

static int judge_key(struct tls_pair *pair, const struct complaint *complaint)
{
    int bits = EVP_PKEY_bits(pair->key);
    switch (EVP_PKEY_id(pair->key)) {
    case EVP_PKEY_EC:
        return judge_ec_key(pair, complaint);
    case EVP_PKEY_ED25519:
        pair->kind = TLS_KEY_ED25519;
        pair->algorithm = SSL_SIGN_ED25519;
        return 0;
    case EVP_PKEY_RSA:
        pair->kind = TLS_KEY_RSA;
        if (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
            return 0;
        return complain(complaint, "its RSA key has %d bits; %d to %d are taken", bits, RSA_BITS_MIN, RSA_BITS_MAX);
    default:
        return complain(complaint, "its key is of a kind that is not taken; ECDSA, RSA and Ed25519 are");
    }
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static bool add_name(struct tls_pair *pair, struct bytes text)
{
    if (text.length == 0 || text.length > TLS_HOST_BYTES_MAX || memchr(text.data, 0, text.length) != NULL ||
        pair->name_count == TLS_PAIR_NAMES_MAX)
        return true;
    char *name = malloc(text.length + 1);
    if (name == NULL)
        return false;
    for (size_t i = 0; i < text.length; i++)
        name[i] = (char)bytes_lower(text.data[i]);
    name[text.length] = '\0';
    pair->names[pair->name_count++] = name;
    return true;
}

static bool add_general_name(struct tls_pair *pair, const GENERAL_NAME *name)
{
    char text[IP_TEXT_MAX] = "";
    if (name->type == GEN_DNS)
        return add_name(pair,
                        bytes_of(ASN1_STRING_get0_data(name->d.dNSName), (size_t)ASN1_STRING_length(name->d.dNSName)));
    if (name->type != GEN_IPADD)
        return true;
    if (ASN1_STRING_length(name->d.iPAddress) == 4)
        ip_text_format4(ASN1_STRING_get0_data(name->d.iPAddress), text);
    else if (ASN1_STRING_length(name->d.iPAddress) == 16)
        ip_text_format6(ASN1_STRING_get0_data(name->d.iPAddress), text);
    return add_name(pair, bytes_of_string(text));
}

/* RFC 6125 6.4.4: the common name counts only where there is no alternative name. */
static bool add_common_name(struct tls_pair *pair)
{
    char text[TLS_HOST_BYTES_MAX + 1];
    int length = X509_NAME_get_text_by_NID(X509_get_subject_name(pair->chain[0]), NID_commonName, text, sizeof text);
    return length <= 0 || add_name(pair, bytes_of(text, (size_t)length));
}

static int read_names(struct tls_pair *pair)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(pair->chain[0], NID_subject_alt_name, NULL, NULL);
    size_t count = alternatives != NULL ? sk_GENERAL_NAME_num(alternatives) : 0;
    pair->names = calloc(TLS_PAIR_NAMES_MAX, sizeof *pair->names);
    bool added = pair->names != NULL;
    for (size_t i = 0; added && i < count; i++)
        added = add_general_name(pair, sk_GENERAL_NAME_value(alternatives, i));
    if (added && pair->name_count == 0)
        added = add_common_name(pair);
    GENERAL_NAMES_free(alternatives);
    ERR_clear_error();
    return added ? 0 : -ENOMEM;
}

static bool equals(const char *name, struct bytes host)
{
    return bytes_equal_lower(host, bytes_of_string(name));
}

/* A wildcard stands for one whole label, the first, and never for an address. */
static bool wildcard_matches(const char *name, struct bytes host)
{
    if (name[0] != '*' || name[1] != '.')
        return false;
    const uint8_t *dot = memchr(host.data, '.', host.length);
    if (dot == NULL || dot == host.data)
        return false;
    size_t label = (size_t)(dot - host.data);
    return equals(name + 1, bytes_skip(host, label));
}

enum tls_cover tls_pair_covers(const struct tls_pair *pair, struct bytes host)
{
    enum tls_cover best = TLS_COVER_NONE;
    if (host.length > 0 && host.data[host.length - 1] == '.')
        host.length--;
    if (host.length == 0)
        return best;
    for (uint32_t i = 0; i < pair->name_count; i++) {
        if (equals(pair->names[i], host))
            return TLS_COVER_EXACT;
        if (wildcard_matches(pair->names[i], host))
            best = TLS_COVER_WILDCARD;
    }
    return best;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

int tls_pair_init(struct tls_pair *pair, const struct tls_pair_source *source, char *why, size_t why_bytes)
{
    const struct complaint complaint = {source->name, why, why_bytes};
    *pair = (struct tls_pair){};
    ERR_clear_error();
    int r = read_chain(pair, source->chain, &complaint);
    if (r == 0)
        r = read_key(pair, source, &complaint);
    if (r == 0)
        r = judge_key(pair, &complaint);
    if (r == 0 && !X509_check_private_key(pair->chain[0], pair->key))
        r = complain(&complaint, "its private key belongs to another certificate; the server's own certificate has to "
                                 "come first in the file");
    if (r == 0)
        r = read_names(pair);
    if (r == 0) {
        read_digest(pair);
        read_expiry(pair);
    }
    if (r == -ENOMEM)
        snprintf(why, why_bytes, "%s: there is no memory for it", source->name);
    return r;
}

void tls_pair_deinit(struct tls_pair *pair)
{
    for (uint32_t i = 0; i < pair->chain_count; i++)
        X509_free(pair->chain[i]);
    for (uint32_t i = 0; i < pair->name_count; i++)
        free(pair->names[i]);
    free(pair->names);
    EVP_PKEY_free(pair->key);
    SSL_CTX_free(pair->ssl);
    *pair = (struct tls_pair){};
}
