#include "daemon/io/tls_channel_state.h"

#include <errno.h>
#include <string.h>

enum { RECORD_OVERHEAD_MAX = 32 }; /* header, nonce, type and tag */

/* ---- plaintext becomes records ---------------------------------------------------------------------------------- */

/* What has been sealed is a copy, and the client may never take it. */
static uint32_t seal_max(const struct tls_channel *channel)
{
    static const uint32_t MAX[] = {
        [MEMORY_NORMAL] = TLS_SEAL_MAX,
        [MEMORY_SCARCE] = TLS_RECORD_BYTES_MAX,
        [MEMORY_EXHAUSTED] = TLS_FIRST_RECORD_BYTES,
    };
    const struct memory_account *account = channel->output.account;
    return MAX[account != NULL ? account->step : MEMORY_NORMAL];
}

/* Short records for the first octets after a pause, long ones for a stream: TLS-13. */
static uint32_t record_size(struct tls_channel *channel, uint32_t max, uint64_t now_ms)
{
    if (channel->sealed_ms + TLS_IDLE_MS < now_ms)
        channel->fresh_bytes = 0;
    channel->sealed_ms = now_ms;
    const uint32_t size = channel->fresh_bytes < TLS_FIRST_BYTES ? TLS_FIRST_RECORD_BYTES : TLS_RECORD_BYTES_MAX;
    return size < max ? size : max;
}

static int seal_record(struct tls_channel *channel, const uint8_t *data, uint32_t length)
{
    int r = SSL_write(channel->ssl, data, (int)length);
    if (r != (int)length) {
        tls_channel_fail_as_told(channel);
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
static bool reserve_for(struct tls_channel *channel, const struct iovec *parts, uint32_t count, uint32_t max)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count && bytes < max; i++)
        bytes += parts[i].iov_len;
    bytes = bytes < max ? bytes : max + (max < TLS_RECORD_BYTES_MAX ? max : TLS_RECORD_BYTES_MAX);
    bytes += (bytes / TLS_FIRST_RECORD_BYTES + 1) * RECORD_OVERHEAD_MAX;
    return tls_octets_reserve(&channel->output, (uint32_t)bytes);
}

int tls_channel_seal(struct tls_channel *channel, const struct iovec *parts, uint32_t count, uint64_t now_ms,
                     size_t *ret_plain)
{
    /* Written before it is read: clearing 16 KiB first would cost more than sealing a short answer. */
    __attribute__((uninitialized)) uint8_t scratch[TLS_RECORD_BYTES_MAX];
    struct reader reader = {.parts = parts, .count = count};
    const uint32_t max = seal_max(channel);
    size_t plain = 0;
    assert(!channel->muted);
    if (tls_channel_is_failed(channel) || channel->said_close)
        return -EPROTO;
    if (!reserve_for(channel, parts, count, max))
        return -ENOMEM;
    reader_skip(&reader, 0);
    while (plain < max && reader_here(&reader) > 0) {
        uint32_t length = 0;
        const uint8_t *run = reader_run(&reader, scratch, record_size(channel, max, now_ms), &length);
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
    if (!tls_channel_is_failed(channel) && channel->proved)
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
    return tls_octets_left(&channel->output) > 0;
}

/* ---- what has to be sent ---------------------------------------------------------------------------------------- */

bool tls_channel_has_ended(const struct tls_channel *channel)
{
    return channel->said_close;
}

bool tls_channel_has_output(const struct tls_channel *channel)
{
    return tls_octets_left(&channel->output) > 0 || tls_octets_left(&channel->sending) > 0;
}

struct bytes tls_channel_output(struct tls_channel *channel)
{
    if (tls_octets_left(&channel->sending) == 0) {
        tls_octets_free(&channel->sending);
        channel->sending = channel->output;
        channel->sending_plain = channel->output_plain;
        channel->output = (struct tls_octets){.account = channel->sending.account};
        channel->output_plain = 0;
    }
    return bytes_of(channel->sending.data + channel->sending.at, tls_octets_left(&channel->sending));
}

uint32_t tls_channel_output_sent(struct tls_channel *channel, size_t octets)
{
    assert(octets <= tls_octets_left(&channel->sending));
    channel->sending.at += (uint32_t)octets;
    uint32_t plain = channel->sending_plain;
    if (tls_octets_left(&channel->sending) == 0)
        tls_octets_free(&channel->sending);
    else if (octets < plain)
        plain = (uint32_t)octets; /* a little more than it was: sealed octets are longer */
    else if (plain > 0)
        plain--; /* the last one goes with the last of these */
    channel->sending_plain -= plain;
    return plain;
}

bool tls_channel_is_sending(const struct tls_channel *channel)
{
    return tls_octets_left(&channel->sending) > 0;
}
