/*
 * Bytes: a borrowed run of octets, and the few operations that every parser needs.
 *
 * Owns nothing. A `struct bytes` is valid exactly as long as the memory it was cut from.
 */
#ifndef PROTO_BYTES_H
#define PROTO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t length;
};

#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)("" text), sizeof(text) - 1})

static inline struct bytes bytes_of(const void *data, size_t length)
{
    return (struct bytes){data, length};
}

static inline struct bytes bytes_of_string(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* The tail of `input` that begins `count` octets in; `count` must not exceed the length. */
static inline struct bytes bytes_skip(struct bytes input, size_t count)
{
    return bytes_of(input.data + count, input.length - count);
}

static inline uint8_t bytes_lower(uint8_t octet)
{
    return (octet >= 'A' && octet <= 'Z') ? (uint8_t)(octet | 0x20) : octet;
}

/* ASCII case-insensitive comparison; `lower` must be in lower case already. */
static inline bool bytes_equal_lower(struct bytes a, struct bytes lower)
{
    if (a.length != lower.length)
        return false;
    for (size_t i = 0; i < a.length; i++)
        if (bytes_lower(a.data[i]) != lower.data[i])
            return false;
    return true;
}

#endif
