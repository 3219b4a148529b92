#include "daemon/io/tls_channel_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_MAX = 262'144 };

/* ---- what BoringSSL reads and writes through -------------------------------------------------------------------- */

static void note_record(struct tls_channel *channel, struct bytes record)
{
    if (channel->open)
        tls_tiny_records_note(&channel->tiny, record);
    else
        channel->hello_bytes += record.length;
}

/* Whether a record is whole that can be read. */
static bool take_record(struct tls_channel *channel)
{
    struct bytes record;
    int r = tls_records_take(&channel->records, &record);
    if (r < 0)
        channel->failure = TLS_FAILURE_INTERNAL;
    if (r <= 0)
        return false;
    note_record(channel, record);
    return true;
}

static int on_read(BIO *bio, char *output, int capacity)
{
    struct tls_channel *channel = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (channel->records.taken.length == 0 && !take_record(channel)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)tls_records_read(&channel->records, output, (size_t)capacity);
}

static int on_write(BIO *bio, const char *input, int length)
{
    struct tls_channel *channel = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (channel->muted)
        return length;
    if (tls_octets_left(&channel->output) > OUTPUT_MAX ||
        !tls_octets_append(&channel->output, bytes_of(input, (size_t)length)))
        return -1;
    return length;
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* One for the process, which BoringSSL gives a number of its own; never freed. */
static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;
    if (method != NULL)
        return method;
    BIO_METHOD *fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "channel");
    if (fresh == NULL || !BIO_meth_set_read(fresh, on_read) || !BIO_meth_set_write(fresh, on_write) ||
        !BIO_meth_set_ctrl(fresh, on_control)) {
        BIO_meth_free(fresh);
        return NULL;
    }
    return method = fresh;
}

static bool connect_bio(struct tls_channel *channel)
{
    const BIO_METHOD *method = bio_method();
    BIO *bio = method != NULL ? BIO_new(method) : NULL;
    if (bio == NULL)
        return false;
    BIO_set_data(bio, channel);
    BIO_set_init(bio, 1);
    SSL_set_bio(channel->ssl, bio, bio);
    return true;
}

/* ---- birth and death -------------------------------------------------------------------------------------------- */

int tls_channel_create(struct tls_context *context, struct memory_account *account, uint64_t owner,
                       struct tls_channel **ret_channel)
{
    struct tls_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return -ENOMEM;
    tls_context_hold(context);
    channel->hello.context = context;
    channel->hello.owner = owner;
    channel->records.kept.account = channel->output.account = channel->sending.account = account;
    channel->ssl = tls_context_open(context, &channel->hello);
    if (channel->ssl == NULL || !connect_bio(channel)) {
        tls_channel_destroy(channel);
        ERR_clear_error();
        return -ENOMEM;
    }
    *ret_channel = channel;
    return 0;
}

void tls_channel_destroy(struct tls_channel *channel)
{
    if (channel == NULL)
        return;
    SSL_free(channel->ssl);
    tls_signature_let_go(channel->hello.signature);
    tls_context_drop(channel->hello.context);
    tls_records_deinit(&channel->records);
    tls_octets_free(&channel->output);
    tls_octets_free(&channel->sending);
    free(channel);
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

void tls_channel_offer(struct tls_channel *channel, struct bytes ciphertext)
{
    tls_records_offer(&channel->records, ciphertext);
}

int tls_channel_settle_input(struct tls_channel *channel)
{
    return tls_records_settle(&channel->records);
}

/* ---- what went wrong -------------------------------------------------------------------------------------------- */

static enum tls_progress fail(struct tls_channel *channel, enum tls_failure failure, const char *reason)
{
    if (channel->failure == TLS_FAILURE_NONE)
        channel->failure = failure;
    strncpy(channel->reason, reason, sizeof channel->reason - 1);
    channel->said_close = true; /* the alert stands in its place */
    ERR_clear_error();
    return TLS_FAILED;
}

/* The alert that BoringSSL sent is in the output. */
enum tls_progress tls_channel_fail_as_told(struct tls_channel *channel)
{
    uint32_t error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    if (channel->hello.name_refused)
        return fail(channel, TLS_FAILURE_SNI, "no certificate has the name");
    return fail(channel, tls_failure_of(error), reason != NULL ? reason : "");
}

static enum tls_progress refuse(struct tls_channel *channel, enum tls_failure failure, uint8_t alert,
                                const char *reason)
{
    SSL_send_fatal_alert(channel->ssl, alert);
    return fail(channel, failure, reason);
}

/* ---- the handshake ---------------------------------------------------------------------------------------------- */

bool tls_channel_has_hello(const struct tls_channel *channel)
{
    return channel->hello.pair != NULL;
}

/* TLS-10. What a record that is not whole yet claims to be is bounded by the record itself. */
static bool hello_too_long(const struct tls_channel *channel)
{
    return !tls_channel_has_hello(channel) && channel->hello_bytes > TLS_HELLO_BYTES_MAX;
}

/* What a record has beside its data: header and tag, in TLS 1.3 a type, in 1.2 with AES-GCM a nonce. */
static uint32_t record_overhead(const SSL *ssl)
{
    enum { TAG = 16, TYPE = 1, NONCE = 8 };
    uint32_t overhead = TLS_RECORD_HEADER_BYTES + TAG;
    if (SSL_version(ssl) == TLS1_3_VERSION)
        return overhead + TYPE;
    bool has_nonce = SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl)) != NID_chacha20_poly1305;
    return overhead + (has_nonce ? NONCE : 0);
}

static void open_channel(struct tls_channel *channel, uint64_t now_ms)
{
    if (channel->open)
        return;
    channel->open = true;
    tls_tiny_records_begin(&channel->tiny, now_ms, record_overhead(channel->ssl));
}

/* The handshake has brought the client's proof that it is there now. */
static enum tls_progress note_proof(struct tls_channel *channel)
{
    if (channel->proved || SSL_in_early_data(channel->ssl))
        return TLS_READY;
    channel->proved = true;
    if (SSL_session_reused(channel->ssl) && !tls_context_client_still_trusted(channel->hello.context, channel->ssl))
        return refuse(channel, TLS_FAILURE_CLIENT_CERTIFICATE, SSL_AD_CERTIFICATE_EXPIRED,
                      "the certificate of the resumed session is no longer trusted");
    return TLS_READY;
}

enum tls_progress tls_channel_handshake(struct tls_channel *channel, uint64_t now_ms)
{
    if (tls_channel_is_failed(channel))
        return TLS_FAILED;
    channel->hello.now_ms = now_ms;
    int r = SSL_do_handshake(channel->ssl);
    if (r == 1) {
        open_channel(channel, now_ms);
        return note_proof(channel);
    }
    switch (SSL_get_error(channel->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        if (hello_too_long(channel))
            return refuse(channel, TLS_FAILURE_FLOOD, SSL_AD_ILLEGAL_PARAMETER, "the ClientHello is too long");
        return tls_channel_is_failed(channel) ? TLS_FAILED : TLS_HUNGRY;
    case SSL_ERROR_WANT_PRIVATE_KEY_OPERATION:
        return TLS_SIGNING;
    default:
        return tls_channel_fail_as_told(channel);
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

uint32_t tls_channel_pending(struct tls_channel *channel)
{
    struct bytes record = channel->records.taken;
    if (channel->client_closed)
        return 1;
    int r = record.length == 0 ? tls_records_peek(&channel->records, &record) : 1;
    if (r < 0)
        channel->failure = TLS_FAILURE_INTERNAL;
    if (r <= 0)
        return 0;
    return record.length < TLS_RECORD_BYTES_MAX ? (uint32_t)record.length : TLS_RECORD_BYTES_MAX;
}

uint32_t tls_channel_missing(const struct tls_channel *channel)
{
    return tls_records_missing(&channel->records);
}

static bool too_many_key_updates(const struct tls_channel *channel)
{
    return channel->hello.key_updates > TLS_KEY_UPDATES_FREE + (channel->read_bytes >> 20);
}

static enum tls_progress judge_read(struct tls_channel *channel, uint64_t now_ms)
{
    if (too_many_key_updates(channel))
        return refuse(channel, TLS_FAILURE_FLOOD, SSL_AD_UNEXPECTED_MESSAGE, "too many key updates");
    if (tls_tiny_records_are_too_many(&channel->tiny, now_ms))
        return refuse(channel, TLS_FAILURE_FLOOD, SSL_AD_UNEXPECTED_MESSAGE, "too many tiny records");
    return note_proof(channel) == TLS_FAILED ? TLS_FAILED : TLS_DATA;
}

static enum tls_progress end_of_read(struct tls_channel *channel, int result)
{
    switch (SSL_get_error(channel->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return tls_channel_is_failed(channel) ? TLS_FAILED : TLS_HUNGRY;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return tls_channel_fail_as_told(channel);
    }
}

enum tls_progress tls_channel_read(struct tls_channel *channel, uint64_t now_ms, uint8_t *memory, uint32_t capacity,
                                   uint32_t *ret_length)
{
    uint32_t length = 0;
    enum tls_progress ended = TLS_HUNGRY;
    if (tls_channel_is_failed(channel))
        return TLS_FAILED;
    if (channel->client_closed)
        return TLS_CLOSED;
    channel->hello.now_ms = now_ms;
    for (uint32_t needed = 1; needed > 0 && needed <= capacity - length; needed = tls_channel_pending(channel)) {
        int r = SSL_read(channel->ssl, memory + length, (int)(capacity - length));
        if (r <= 0) {
            ended = end_of_read(channel, r);
            break;
        }
        length += (uint32_t)r;
    }
    channel->read_bytes += length;
    if (ended == TLS_FAILED || judge_read(channel, now_ms) == TLS_FAILED)
        return TLS_FAILED;
    if (length == 0)
        return ended;
    channel->client_closed = ended == TLS_CLOSED;
    *ret_length = length;
    return TLS_DATA;
}

bool tls_channel_is_early(const struct tls_channel *channel)
{
    return channel->open && !channel->proved;
}

/* ---- what it knows ---------------------------------------------------------------------------------------------- */

struct tls_counts tls_channel_take_counts(struct tls_channel *channel)
{
    struct tls_counts counts = {
        .key_updates = channel->hello.key_updates - channel->key_updates_seen,
        .tiny_records = tls_tiny_records_take(&channel->tiny),
    };
    channel->key_updates_seen = channel->hello.key_updates;
    return counts;
}

enum tls_failure tls_channel_failure(const struct tls_channel *channel)
{
    return channel->failure;
}

const char *tls_channel_reason(const struct tls_channel *channel)
{
    return channel->reason;
}
