/*
 * HTTP octets: what each of the 256 octets may be, as tables, and the scan for control octets.
 *
 * Private to proto/. What has several implementations must agree octet for octet; a test and a fuzzer compare them.
 */
#ifndef PROTO_HTTP_OCTETS_H
#define PROTO_HTTP_OCTETS_H

#include "proto/bytes.h"

#if defined(__x86_64__)
#define HTTP_OCTETS_X86 1
#else
#define HTTP_OCTETS_X86 0
#endif

enum {
    OCTET_DIGIT = 1 << 0,
    OCTET_HEX = 1 << 1,
    OCTET_BLANK = 1 << 2,           /* SP and HTAB: OWS of RFC 9110 5.6.3 */
    OCTET_REGISTERED_NAME = 1 << 3, /* RFC 3986 3.2.2 without '%' */
    OCTET_TARGET = 1 << 4,          /* may stand in a request target: visible ASCII but '#' */
    OCTET_QUOTED = 1 << 5,          /* qdtext of RFC 9110 5.6.4 */
    OCTET_QUOTED_PAIR = 1 << 6,     /* may follow a backslash there */
    OCTET_VALUE = 1 << 7,           /* may stand in a field value: all but the controls, HTAB excepted */
};

extern const uint8_t http_octet_classes[256];

/* The lower case of an octet that may stand in a token (RFC 9110 5.6.2), 0 for any other octet. */
extern const uint8_t http_lower_tchar[256];

static inline bool http_octet_is(uint8_t octet, unsigned classes)
{
    return (http_octet_classes[octet] & classes) != 0;
}

/*
 * The index of the first control octet (0x00 to 0x1F but HTAB, and DEL) of data[from] to data[length - 1], or `length`.
 * data[0] on must be readable: the last vector is loaded so that it ends at data[length - 1].
 */
size_t http_control_find(const uint8_t *data, size_t from, size_t length);

/* H1-42: neither CR, LF nor NUL, any of which in a response would be a field, or a response, of somebody else's choice.
 * Inline, as this runs for every field of every response. */
static inline bool http_octets_safe(struct bytes value)
{
    for (size_t at = 0;; at++) {
        at = http_control_find(value.data, at, value.length);
        if (at == value.length)
            return true;
        if (value.data[at] == '\r' || value.data[at] == '\n' || value.data[at] == '\0')
            return false;
    }
}

/*
 * Puts the octets that may stand in a token, from data[0] on, in lower case where they stand, and returns how many they
 * are, at most `length`. `readable` octets, `length` or more, may be read and written back as they are.
 */
size_t http_name_lower(uint8_t *data, size_t length, size_t readable);

size_t http_control_find_plain(const uint8_t *data, size_t from, size_t length);
size_t http_name_lower_plain(uint8_t *data, size_t length);
#if HTTP_OCTETS_X86
size_t http_control_find_sse2(const uint8_t *data, size_t from, size_t length);
size_t http_control_find_avx2(const uint8_t *data, size_t from, size_t length);
bool http_control_has_avx2(void);
size_t http_name_lower_sse2(uint8_t *data, size_t length, size_t readable);
#endif

#endif
