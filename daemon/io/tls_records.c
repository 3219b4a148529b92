#include "daemon/io/tls_records.h"

#include "daemon/io/tls_channel.h"
#include "daemon/io/tls_library.h"

#include <errno.h>
#include <string.h>

/* TLS 1.3; 1.2 has a few octets more than it needs. */
enum { BODY_MAX = TLS_RECORD_BYTES_MAX + 256 };

void tls_records_deinit(struct tls_records *records)
{
    tls_octets_free(&records->kept);
}

/* How long the record is that begins here; 0: its header is not whole. What no TLS peer sends is as long as what is
 * here: BoringSSL sees it at once and says what is wrong with it. */
static size_t record_bytes(struct bytes data)
{
    if (data.length > 0 && (data.data[0] < SSL3_RT_CHANGE_CIPHER_SPEC || data.data[0] > SSL3_RT_APPLICATION_DATA))
        return data.length;
    if (data.length < TLS_RECORD_HEADER_BYTES)
        return 0;
    size_t body = (size_t)(data.data[3] << 8 | data.data[4]);
    if (data.data[1] != SSL3_VERSION_MAJOR || body > BODY_MAX)
        return data.length;
    return TLS_RECORD_HEADER_BYTES + body;
}

void tls_records_offer(struct tls_records *records, struct bytes ciphertext)
{
    assert(records->offered.length == 0);
    records->offered = ciphertext;
}

int tls_records_settle(struct tls_records *records)
{
    /* A record that has been taken stands before all else; one out of `kept` stands there still. */
    struct tls_octets *kept = &records->kept;
    const struct bytes taken = records->taken;
    bool is_kept = true;
    if (taken.length > 0 && kept->at >= taken.length && taken.data == kept->data + kept->at - taken.length)
        kept->at -= (uint32_t)taken.length;
    else
        is_kept = tls_octets_append(kept, taken);
    is_kept = is_kept && tls_octets_append(kept, records->offered);
    records->taken = (struct bytes){};
    records->offered = (struct bytes){};
    if (tls_octets_left(kept) == 0)
        tls_octets_free(kept);
    return is_kept ? 0 : -ENOMEM;
}

/* What is kept becomes as long as wanted, as far as what is offered goes. */
static bool move_to_kept(struct tls_records *records, size_t wanted)
{
    size_t have = tls_octets_left(&records->kept);
    size_t more = wanted > have ? wanted - have : 0;
    if (more > records->offered.length)
        more = records->offered.length;
    if (!tls_octets_append(&records->kept, bytes_of(records->offered.data, more)))
        return false;
    records->offered = bytes_skip(records->offered, more);
    return true;
}

/* What is kept is made a whole record with as much of the offered as that takes. */
static bool complete_kept(struct tls_records *records)
{
    return move_to_kept(records, TLS_RECORD_HEADER_BYTES) &&
           move_to_kept(records, record_bytes(tls_octets_bytes(&records->kept)));
}

int tls_records_peek(struct tls_records *records, struct bytes *ret_record)
{
    const bool from_kept = tls_octets_left(&records->kept) > 0;
    if (from_kept && !complete_kept(records))
        return -ENOMEM;
    const struct bytes input = from_kept ? tls_octets_bytes(&records->kept) : records->offered;
    const size_t length = record_bytes(input);
    if (length == 0 || length > input.length)
        return 0;
    *ret_record = bytes_of(input.data, length);
    return 1;
}

int tls_records_take(struct tls_records *records, struct bytes *ret_record)
{
    struct bytes record;
    int r = tls_records_peek(records, &record);
    if (r <= 0)
        return r;
    if (tls_octets_left(&records->kept) > 0)
        records->kept.at += (uint32_t)record.length;
    else
        records->offered = bytes_skip(records->offered, record.length);
    *ret_record = records->taken = record;
    return 1;
}

size_t tls_records_read(struct tls_records *records, void *memory, size_t capacity)
{
    const size_t length = records->taken.length < capacity ? records->taken.length : capacity;
    memcpy(memory, records->taken.data, length);
    records->taken = bytes_skip(records->taken, length);
    return length;
}

uint32_t tls_records_missing(const struct tls_records *records)
{
    const struct bytes kept = tls_octets_bytes(&records->kept);
    const size_t whole = kept.length > 0 ? record_bytes(kept) : 0;
    if (whole == 0 && kept.length > 0)
        return TLS_RECORD_HEADER_BYTES - (uint32_t)kept.length;
    return whole > kept.length ? (uint32_t)(whole - kept.length) : 0;
}
