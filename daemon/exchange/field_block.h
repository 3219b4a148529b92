/*
 * Field block: the fields of a response as they cross from an app process, in a run of octets.
 *
 *   u32 name length, u32 value length, name, value; again for each field (host byte order, no padding)
 *
 * Written by the app, copied by the I/O process, then read from the copy with every length checked.
 */
#ifndef DAEMON_EXCHANGE_FIELD_BLOCK_H
#define DAEMON_EXCHANGE_FIELD_BLOCK_H

#include "proto/http_fields.h"

/* The name of a first field that is none: its value is the reason phrase, when it is not the standard one. HTTP/1 only
 * has a place for it. */
#define FIELD_BLOCK_REASON BYTES_LITERAL(":reason")

enum { FIELD_BLOCK_OVERHEAD = 8 };

/* Appends one field at *used and advances it. false, with nothing written, when it does not fit in `capacity`. */
[[nodiscard]] static inline bool field_block_append(uint8_t *block, size_t capacity, size_t *used, struct bytes name,
                                                    struct bytes value)
{
    size_t room = capacity - *used;
    if (name.length > room || value.length > room || FIELD_BLOCK_OVERHEAD + name.length + value.length > room)
        return false;
    const uint32_t lengths[2] = {(uint32_t)name.length, (uint32_t)value.length};
    uint8_t *at = block + *used;
    memcpy(at, lengths, sizeof lengths);
    memcpy(at + FIELD_BLOCK_OVERHEAD, name.data, name.length);
    if (value.length > 0) /* an empty value may be bytes without memory, which memcpy must not be given */
        memcpy(at + FIELD_BLOCK_OVERHEAD + name.length, value.data, value.length);
    *used += FIELD_BLOCK_OVERHEAD + name.length + value.length;
    return true;
}

/* Cuts `block` into at most `capacity` fields. The number of fields, or -EBADMSG when a length points outside. */
[[nodiscard]] int field_block_read(struct bytes block, struct http_field *fields, uint32_t capacity);

#endif
