#include "daemon/io/tls_tiny_records.h"

#include "daemon/io/tls_library.h"

enum { LONG_RECORD_BYTES = 4'096 };

void tls_tiny_records_begin(struct tls_tiny_records *tiny, uint64_t now_ms, uint32_t overhead_bytes)
{
    tiny->since_ms = now_ms;
    tiny->below = overhead_bytes + TLS_TINY_RECORD_BYTES;
}

void tls_tiny_records_note(struct tls_tiny_records *tiny, struct bytes record)
{
    const bool is_tiny = !tiny->after_long && record.data[0] == SSL3_RT_APPLICATION_DATA && record.length < tiny->below;
    /* A frame of HTTP/2 with 16 KiB of data is 9 octets longer than a record: those travel alone, behind a long one. */
    tiny->after_long = record.length >= LONG_RECORD_BYTES;
    tiny->seen += is_tiny;
    tiny->count += is_tiny;
}

bool tls_tiny_records_are_too_many(struct tls_tiny_records *tiny, uint64_t now_ms)
{
    if (now_ms - tiny->since_ms >= TLS_TINY_WINDOW_MS) {
        tiny->since_ms = now_ms;
        tiny->count = 0;
    }
    return tiny->count > TLS_TINY_RECORDS_MAX + TLS_TINY_RECORDS_BEYOND;
}

uint32_t tls_tiny_records_take(struct tls_tiny_records *tiny)
{
    const uint32_t count = tiny->seen - tiny->told;
    tiny->told = tiny->seen;
    return count;
}
