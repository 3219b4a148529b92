#include "daemon/exchange/tls_record.h"

#include "daemon/exchange/arena.h"

#include <assert.h>
#include <errno.h>

enum { LAYOUT_VERSION = 1 };

struct header {
    uint16_t version; /* LAYOUT_VERSION */
    uint16_t protocol;
    uint16_t cipher;
    uint16_t cipher_bits;
    uint8_t client;
    uint8_t is_resumed;
    uint16_t reserved;
    struct arena_span texts[TLS_RECORD_TEXTS]; /* offsets from the start of the header */
};
static_assert(sizeof(struct header) == 12 + 8 * TLS_RECORD_TEXTS, "pinned: it crosses between processes");

size_t tls_record_bytes(const struct tls_record *record)
{
    size_t bytes = sizeof(struct header);
    for (int i = 0; i < TLS_RECORD_TEXTS; i++)
        bytes += record->texts[i].length;
    return bytes;
}

int tls_record_write(const struct tls_record *record, uint8_t *memory, size_t capacity)
{
    const size_t bytes = tls_record_bytes(record);
    if (bytes > capacity || bytes > TLS_RECORD_BLOCK_BYTES_MAX)
        return -EMSGSIZE;
    struct header header = {
        .version = LAYOUT_VERSION,
        .protocol = record->protocol,
        .cipher = record->cipher,
        .cipher_bits = record->cipher_bits,
        .client = record->client,
        .is_resumed = record->is_resumed,
    };
    uint32_t at = sizeof header;
    for (int i = 0; i < TLS_RECORD_TEXTS; i++) {
        const struct bytes text = record->texts[i];
        header.texts[i] = (struct arena_span){.offset = at, .length = (uint32_t)text.length};
        if (text.length > 0)
            memcpy(memory + at, text.data, text.length);
        at += (uint32_t)text.length;
    }
    memcpy(memory, &header, sizeof header);
    return 0;
}

int tls_record_read(struct bytes block, struct tls_record *ret_record)
{
    struct header header;
    if (block.length < sizeof header)
        return -EBADMSG;
    memcpy(&header, block.data, sizeof header);
    if (header.version != LAYOUT_VERSION || header.client >= TLS_RECORD_CLIENTS)
        return -EBADMSG;
    struct tls_record record = {
        .protocol = header.protocol,
        .cipher = header.cipher,
        .cipher_bits = header.cipher_bits,
        .client = header.client,
        .is_resumed = header.is_resumed != 0,
    };
    for (int i = 0; i < TLS_RECORD_TEXTS; i++) {
        const struct arena_span text = header.texts[i];
        if ((uint64_t)text.offset + text.length > block.length)
            return -EBADMSG;
        record.texts[i] = bytes_of(block.data + text.offset, text.length);
    }
    *ret_record = record;
    return 0;
}
