#include "daemon/io/tls_channel.h"

#include "daemon/io/tls_context.h"
#include "daemon/io/tls_library.h"

#include <errno.h>
#include <stdlib.h>

enum {
    RECORD_BODY_MAX = TLS_RECORD_BYTES_MAX + 256, /* TLS 1.3; 1.2 has a few octets more than it needs */
    RECORD_OVERHEAD_MAX = 32,                     /* header, nonce, type and tag */
    LONG_RECORD_BYTES = 4'096,
    OUTPUT_FIRST_BYTES = 2'048,
    OUTPUT_MAX = 262'144,
};

/* Octets on their way, in memory of their own while there are any. */
struct octets {
    uint8_t *data;
    uint32_t at;
    uint32_t used;
    uint32_t capacity;
};

struct tls_channel {
    SSL *ssl;
    struct tls_hello hello;
    struct bytes offered; /* the caller's */
    struct bytes record;  /* rest of the one that BoringSSL is reading: in `offered` or in `kept` */
    struct octets kept;
    struct octets output;  /* grows with what BoringSSL says */
    struct octets sending; /* stays as it is */
    uint64_t hello_bytes;
    uint64_t read_bytes;
    uint32_t records_sent; /* by the kernel */
    uint64_t sealed_ms;    /* when last */
    uint64_t tiny_since_ms;
    uint32_t tiny_below;       /* octets of a record with its header */
    uint32_t tiny_records;     /* since then */
    uint32_t key_updates_seen; /* of hello.key_updates, told to the caller */
    uint32_t tiny_told, tiny_seen;
    uint32_t output_plain;  /* octets of plaintext sealed in `output` ... */
    uint32_t sending_plain; /* ... and in `sending`, less those told */
    uint32_t fresh_bytes;   /* sealed since it was idle */
    enum tls_failure failure;
    bool open; /* the handshake is complete, or far enough for early data */
    bool proved;
    bool said_close;
    bool muted;
    bool has_digest;
    bool after_long;    /* the record before was a long one */
    bool client_closed; /* found behind octets; told by the next read */
    char reason[64];
    uint8_t digest[TLS_CHANNEL_DIGEST_BYTES];
};

/* ---- octets ----------------------------------------------------------------------------------------------------- */

static uint32_t octets_left(const struct octets *octets)
{
    return octets->used - octets->at;
}

static void octets_free(struct octets *octets)
{
    free(octets->data);
    *octets = (struct octets){};
}

static bool octets_reserve(struct octets *octets, uint32_t more)
{
    uint32_t capacity = octets->capacity > 0 ? octets->capacity : more < OUTPUT_FIRST_BYTES ? OUTPUT_FIRST_BYTES : more;
    if (octets->at > 0) {
        memmove(octets->data, octets->data + octets->at, octets_left(octets));
        octets->used -= octets->at;
        octets->at = 0;
    }
    while (capacity - octets->used < more)
        capacity *= 2;
    if (capacity == octets->capacity)
        return true;
    uint8_t *data = realloc(octets->data, capacity);
    if (data == NULL)
        return false;
    octets->data = data;
    octets->capacity = capacity;
    return true;
}

static bool octets_append(struct octets *octets, struct bytes data)
{
    if (data.length == 0)
        return true;
    if (data.length > UINT32_MAX / 4 || !octets_reserve(octets, (uint32_t)data.length))
        return false;
    memcpy(octets->data + octets->used, data.data, data.length);
    octets->used += (uint32_t)data.length;
    return true;
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

/* How long the record is that begins here; 0: its header is not whole. What no TLS peer sends is as long as what is
 * here: BoringSSL sees it at once and says what is wrong with it. */
static size_t record_bytes(struct bytes data)
{
    if (data.length > 0 && (data.data[0] < SSL3_RT_CHANGE_CIPHER_SPEC || data.data[0] > SSL3_RT_APPLICATION_DATA))
        return data.length;
    if (data.length < TLS_RECORD_HEADER_BYTES)
        return 0;
    size_t body = (size_t)(data.data[3] << 8 | data.data[4]);
    if (data.data[1] != SSL3_VERSION_MAJOR || body > RECORD_BODY_MAX)
        return data.length;
    return TLS_RECORD_HEADER_BYTES + body;
}

static struct bytes kept_bytes(const struct tls_channel *channel)
{
    return bytes_of(channel->kept.data + channel->kept.at, octets_left(&channel->kept));
}

static bool move_to_kept(struct tls_channel *channel, size_t wanted)
{
    size_t have = octets_left(&channel->kept);
    size_t more = wanted > have ? wanted - have : 0;
    if (more > channel->offered.length)
        more = channel->offered.length;
    if (!octets_append(&channel->kept, bytes_of(channel->offered.data, more)))
        return false;
    channel->offered = bytes_skip(channel->offered, more);
    return true;
}

/* What is kept is made a whole record with as much of the offered as that takes. */
static void complete_kept(struct tls_channel *channel)
{
    if (!move_to_kept(channel, TLS_RECORD_HEADER_BYTES) || !move_to_kept(channel, record_bytes(kept_bytes(channel))))
        channel->failure = TLS_FAILURE_INTERNAL;
}

/* The next record if it is whole; without taking it. */
static bool next_record(struct tls_channel *channel, struct bytes *ret_record)
{
    bool from_kept = octets_left(&channel->kept) > 0;
    if (from_kept)
        complete_kept(channel);
    struct bytes input = from_kept ? kept_bytes(channel) : channel->offered;
    size_t length = record_bytes(input);
    if (length == 0 || length > input.length)
        return false;
    *ret_record = bytes_of(input.data, length);
    return true;
}

static void note_record(struct tls_channel *channel, struct bytes record)
{
    if (!channel->open) {
        channel->hello_bytes += record.length;
        return;
    }
    bool is_tiny =
        !channel->after_long && record.data[0] == SSL3_RT_APPLICATION_DATA && record.length < channel->tiny_below;
    /* A frame of HTTP/2 with 16 KiB of data is 9 octets longer than a record: those travel alone, behind a long one. */
    channel->after_long = record.length >= LONG_RECORD_BYTES;
    channel->tiny_seen += is_tiny;
    channel->tiny_records += is_tiny;
}

static bool take_record(struct tls_channel *channel)
{
    struct bytes record;
    if (!next_record(channel, &record))
        return false;
    if (octets_left(&channel->kept) > 0)
        channel->kept.at += (uint32_t)record.length;
    else
        channel->offered = bytes_skip(channel->offered, record.length);
    channel->record = record;
    note_record(channel, record);
    return true;
}

/* ---- what BoringSSL reads and writes through -------------------------------------------------------------------- */

static int on_read(BIO *bio, char *output, int capacity)
{
    struct tls_channel *channel = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (channel->record.length == 0 && !take_record(channel)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t length = channel->record.length < (size_t)capacity ? channel->record.length : (size_t)capacity;
    memcpy(output, channel->record.data, length);
    channel->record = bytes_skip(channel->record, length);
    return (int)length;
}

static int on_write(BIO *bio, const char *input, int length)
{
    struct tls_channel *channel = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (channel->muted)
        return length;
    if (octets_left(&channel->output) > OUTPUT_MAX || !octets_append(&channel->output, bytes_of(input, (size_t)length)))
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

int tls_channel_create(struct tls_context *context, uint64_t owner, struct tls_channel **ret_channel)
{
    struct tls_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return -ENOMEM;
    tls_context_hold(context);
    channel->hello.context = context;
    channel->hello.owner = owner;
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
    octets_free(&channel->kept);
    octets_free(&channel->output);
    octets_free(&channel->sending);
    free(channel);
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

void tls_channel_offer(struct tls_channel *channel, struct bytes ciphertext)
{
    assert(channel->offered.length == 0);
    channel->offered = ciphertext;
}

int tls_channel_settle_input(struct tls_channel *channel)
{
    /* A record that BoringSSL has begun stands before all else; one out of `kept` stands there still. */
    bool kept = true;
    if (channel->record.length > 0 && channel->kept.at >= channel->record.length &&
        channel->record.data == channel->kept.data + channel->kept.at - channel->record.length)
        channel->kept.at -= (uint32_t)channel->record.length;
    else
        kept = octets_append(&channel->kept, channel->record);
    kept = kept && octets_append(&channel->kept, channel->offered);
    channel->record = (struct bytes){};
    channel->offered = (struct bytes){};
    if (octets_left(&channel->kept) == 0)
        octets_free(&channel->kept);
    return kept ? 0 : -ENOMEM;
}

/* ---- what went wrong -------------------------------------------------------------------------------------------- */

static enum tls_failure failure_of(uint32_t error)
{
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return ERR_GET_LIB(error) == ERR_LIB_X509 ? TLS_FAILURE_CLIENT_CERTIFICATE : TLS_FAILURE_PROTOCOL;
    int reason = ERR_GET_REASON(error);
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_INAPPROPRIATE_FALLBACK:
        return TLS_FAILURE_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUP:
    case SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS:
    case SSL_R_WRONG_CURVE:
        return TLS_FAILURE_CIPHER;
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return TLS_FAILURE_ALPN;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_NO_CERTIFICATES_RETURNED:
        return TLS_FAILURE_CLIENT_CERTIFICATE;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return TLS_FAILURE_PLAIN_HTTP;
    case SSL_R_TOO_MANY_KEY_UPDATES:
    case SSL_R_TOO_MANY_EMPTY_FRAGMENTS:
    case SSL_R_TOO_MANY_WARNING_ALERTS:
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
        return TLS_FAILURE_FLOOD;
    case SSL_R_PRIVATE_KEY_OPERATION_FAILED:
        return TLS_FAILURE_INTERNAL;
    default:
        return reason >= SSL_AD_REASON_OFFSET ? TLS_FAILURE_CLIENT_ALERT : TLS_FAILURE_PROTOCOL;
    }
}

static enum tls_progress fail(struct tls_channel *channel, enum tls_failure failure, const char *reason)
{
    if (channel->failure == TLS_FAILURE_NONE)
        channel->failure = failure;
    strncpy(channel->reason, reason, sizeof channel->reason - 1);
    channel->said_close = true; /* the alert stands in its place */
    ERR_clear_error();
    return TLS_FAILED;
}

/* The last of BoringSSL's errors is what the operation ended with; the alert that it sent is in the output. */
static enum tls_progress fail_as_told(struct tls_channel *channel)
{
    uint32_t error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    if (channel->hello.name_refused)
        return fail(channel, TLS_FAILURE_SNI, "no certificate has the name");
    return fail(channel, failure_of(error), reason != NULL ? reason : "");
}

static enum tls_progress refuse(struct tls_channel *channel, enum tls_failure failure, uint8_t alert,
                                const char *reason)
{
    SSL_send_fatal_alert(channel->ssl, alert);
    return fail(channel, failure, reason);
}

static bool is_failed(const struct tls_channel *channel)
{
    return channel->failure != TLS_FAILURE_NONE;
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
    channel->tiny_since_ms = now_ms;
    channel->tiny_below = record_overhead(channel->ssl) + TLS_TINY_RECORD_BYTES;
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
    if (is_failed(channel))
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
        return is_failed(channel) ? TLS_FAILED : TLS_HUNGRY;
    case SSL_ERROR_WANT_PRIVATE_KEY_OPERATION:
        return TLS_SIGNING;
    default:
        return fail_as_told(channel);
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

uint32_t tls_channel_pending(struct tls_channel *channel)
{
    struct bytes record = channel->record;
    if (channel->client_closed)
        return 1;
    if (record.length == 0 && !next_record(channel, &record))
        return 0;
    return record.length < TLS_RECORD_BYTES_MAX ? (uint32_t)record.length : TLS_RECORD_BYTES_MAX;
}

uint32_t tls_channel_missing(const struct tls_channel *channel)
{
    const struct bytes kept = kept_bytes(channel);
    const size_t whole = kept.length > 0 ? record_bytes(kept) : kept.length;
    if (whole == 0 && kept.length > 0)
        return TLS_RECORD_HEADER_BYTES - (uint32_t)kept.length;
    return whole > kept.length ? (uint32_t)(whole - kept.length) : 0;
}

static bool too_many_key_updates(const struct tls_channel *channel)
{
    return channel->hello.key_updates > TLS_KEY_UPDATES_FREE + (channel->read_bytes >> 20);
}

static bool too_many_tiny_records(struct tls_channel *channel, uint64_t now_ms)
{
    if (now_ms - channel->tiny_since_ms >= TLS_TINY_WINDOW_MS) {
        channel->tiny_since_ms = now_ms;
        channel->tiny_records = 0;
    }
    return channel->tiny_records > TLS_TINY_RECORDS_MAX + TLS_TINY_RECORDS_BEYOND;
}

static enum tls_progress judge_read(struct tls_channel *channel, uint64_t now_ms)
{
    if (too_many_key_updates(channel))
        return refuse(channel, TLS_FAILURE_FLOOD, SSL_AD_UNEXPECTED_MESSAGE, "too many key updates");
    if (too_many_tiny_records(channel, now_ms))
        return refuse(channel, TLS_FAILURE_FLOOD, SSL_AD_UNEXPECTED_MESSAGE, "too many tiny records");
    return note_proof(channel) == TLS_FAILED ? TLS_FAILED : TLS_DATA;
}

static enum tls_progress end_of_read(struct tls_channel *channel, int result)
{
    switch (SSL_get_error(channel->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return is_failed(channel) ? TLS_FAILED : TLS_HUNGRY;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return fail_as_told(channel);
    }
}

enum tls_progress tls_channel_read(struct tls_channel *channel, uint64_t now_ms, uint8_t *memory, uint32_t capacity,
                                   uint32_t *ret_length)
{
    uint32_t length = 0;
    enum tls_progress ended = TLS_HUNGRY;
    if (is_failed(channel))
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

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* Short records for the first octets after a pause, long ones for a stream: TLS-13. */
static uint32_t record_size(struct tls_channel *channel, uint64_t now_ms)
{
    if (channel->sealed_ms + TLS_IDLE_MS < now_ms)
        channel->fresh_bytes = 0;
    channel->sealed_ms = now_ms;
    return channel->fresh_bytes < TLS_FIRST_BYTES ? TLS_FIRST_RECORD_BYTES : TLS_RECORD_BYTES_MAX;
}

static int seal_record(struct tls_channel *channel, const uint8_t *data, uint32_t length)
{
    int r = SSL_write(channel->ssl, data, (int)length);
    if (r != (int)length) {
        fail_as_told(channel);
        return -EPROTO;
    }
    channel->fresh_bytes += channel->fresh_bytes < TLS_FIRST_BYTES ? length : 0;
    return 0;
}

/* A position in parts. */
struct reader {
    const struct iovec *parts;
    uint32_t count;
    uint32_t at;
    size_t offset;
};

static size_t reader_here(const struct reader *reader)
{
    return reader->at < reader->count ? reader->parts[reader->at].iov_len - reader->offset : 0;
}

static void reader_skip(struct reader *reader, size_t length)
{
    reader->offset += length;
    while (reader->at < reader->count && reader->offset == reader->parts[reader->at].iov_len) {
        reader->at++;
        reader->offset = 0;
    }
}

/* The next `wanted` octets in one run: where they lie, or together in `scratch`. */
static const uint8_t *reader_run(struct reader *reader, uint8_t *scratch, uint32_t wanted, uint32_t *ret_length)
{
    uint32_t length = 0;
    if (reader_here(reader) >= wanted || reader->at + 1 == reader->count) {
        const uint8_t *run = (const uint8_t *)reader->parts[reader->at].iov_base + reader->offset;
        *ret_length = reader_here(reader) < wanted ? (uint32_t)reader_here(reader) : wanted;
        reader_skip(reader, *ret_length);
        return run;
    }
    while (length < wanted && reader_here(reader) > 0) {
        size_t take = reader_here(reader) < wanted - length ? reader_here(reader) : wanted - length;
        memcpy(scratch + length, (const uint8_t *)reader->parts[reader->at].iov_base + reader->offset, take);
        reader_skip(reader, take);
        length += (uint32_t)take;
    }
    *ret_length = length;
    return scratch;
}

/* At once, for what is about to be sealed: growing step by step would copy it several times. */
static bool reserve_for(struct tls_channel *channel, const struct iovec *parts, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count && bytes < TLS_SEAL_MAX; i++)
        bytes += parts[i].iov_len;
    bytes = bytes < TLS_SEAL_MAX ? bytes : TLS_SEAL_MAX + TLS_RECORD_BYTES_MAX;
    bytes += (bytes / TLS_FIRST_RECORD_BYTES + 1) * RECORD_OVERHEAD_MAX;
    return octets_reserve(&channel->output, (uint32_t)bytes);
}

int tls_channel_seal(struct tls_channel *channel, const struct iovec *parts, uint32_t count, uint64_t now_ms,
                     size_t *ret_plain)
{
    uint8_t scratch[TLS_RECORD_BYTES_MAX];
    struct reader reader = {.parts = parts, .count = count};
    size_t plain = 0;
    assert(!channel->muted);
    if (is_failed(channel) || channel->said_close)
        return -EPROTO;
    if (!reserve_for(channel, parts, count))
        return -ENOMEM;
    reader_skip(&reader, 0);
    while (plain < TLS_SEAL_MAX && reader_here(&reader) > 0) {
        uint32_t length = 0;
        const uint8_t *run = reader_run(&reader, scratch, record_size(channel, now_ms), &length);
        int r = seal_record(channel, run, length);
        if (r < 0)
            return r;
        plain += length;
        channel->output_plain += length;
    }
    *ret_plain = plain;
    return 0;
}

/* BoringSSL holds them back until something is written, be it nothing. */
void tls_channel_send_tickets(struct tls_channel *channel)
{
    if (!is_failed(channel) && channel->proved)
        (void)SSL_write(channel->ssl, "", 0);
    ERR_clear_error();
}

bool tls_channel_close_notify(struct tls_channel *channel)
{
    if (channel->said_close || !channel->open)
        return false;
    channel->said_close = true;
    if (channel->muted)
        return true;
    SSL_shutdown(channel->ssl);
    ERR_clear_error();
    return octets_left(&channel->output) > 0;
}

bool tls_channel_can_be_muted(const struct tls_channel *channel)
{
    return channel->open && channel->proved && !channel->said_close && !is_failed(channel) &&
           !tls_channel_has_output(channel);
}

void tls_channel_mute(struct tls_channel *channel)
{
    assert(tls_channel_can_be_muted(channel));
    channel->muted = true;
    channel->hello.key_update_asked = false; /* BoringSSL has answered what was asked before */
}

uint32_t *tls_channel_records_sent(struct tls_channel *channel)
{
    return &channel->records_sent;
}

uint64_t tls_channel_received(const struct tls_channel *channel)
{
    return channel->read_bytes;
}

uint8_t tls_channel_alert(const struct tls_channel *channel)
{
    return channel->hello.alert;
}

/* The answer that BoringSSL has ready is written into the void, or it would not make another. */
bool tls_channel_take_key_request(struct tls_channel *channel)
{
    if (!channel->hello.key_update_asked)
        return false;
    channel->hello.key_update_asked = false;
    (void)SSL_write(channel->ssl, "", 0);
    ERR_clear_error();
    return true;
}

bool tls_channel_change_keys(struct tls_channel *channel)
{
    const bool changed =
        SSL_version(channel->ssl) == TLS1_3_VERSION && SSL_key_update(channel->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1;
    if (changed)
        (void)SSL_write(channel->ssl, "", 0);
    ERR_clear_error();
    return changed;
}

bool tls_channel_has_ended(const struct tls_channel *channel)
{
    return channel->said_close;
}

bool tls_channel_has_output(const struct tls_channel *channel)
{
    return octets_left(&channel->output) > 0 || octets_left(&channel->sending) > 0;
}

struct bytes tls_channel_output(struct tls_channel *channel)
{
    if (octets_left(&channel->sending) == 0) {
        octets_free(&channel->sending);
        channel->sending = channel->output;
        channel->sending_plain = channel->output_plain;
        channel->output = (struct octets){};
        channel->output_plain = 0;
    }
    return bytes_of(channel->sending.data + channel->sending.at, octets_left(&channel->sending));
}

uint32_t tls_channel_output_sent(struct tls_channel *channel, size_t octets)
{
    assert(octets <= octets_left(&channel->sending));
    channel->sending.at += (uint32_t)octets;
    uint32_t plain = channel->sending_plain;
    if (octets_left(&channel->sending) == 0)
        octets_free(&channel->sending);
    else if (octets < plain)
        plain = (uint32_t)octets; /* a little more than it was: sealed octets are longer */
    else if (plain > 0)
        plain--; /* the last one goes with the last of these */
    channel->sending_plain -= plain;
    return plain;
}

bool tls_channel_is_sending(const struct tls_channel *channel)
{
    return octets_left(&channel->sending) > 0;
}

/* ---- what it knows ---------------------------------------------------------------------------------------------- */

struct tls_counts tls_channel_take_counts(struct tls_channel *channel)
{
    struct tls_counts counts = {
        .key_updates = channel->hello.key_updates - channel->key_updates_seen,
        .tiny_records = channel->tiny_seen - channel->tiny_told,
    };
    channel->key_updates_seen = channel->hello.key_updates;
    channel->tiny_told = channel->tiny_seen;
    return counts;
}

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

enum tls_failure tls_channel_failure(const struct tls_channel *channel)
{
    return channel->failure;
}

const char *tls_channel_reason(const struct tls_channel *channel)
{
    return channel->reason;
}

const char *tls_failure_word(enum tls_failure failure)
{
    static const char *const WORDS[] = {
#define TLS_FAILURE_WORD(symbol, word) [TLS_FAILURE_##symbol] = word,
        TLS_FAILURES(TLS_FAILURE_WORD)
#undef TLS_FAILURE_WORD
    };
    return WORDS[failure];
}
