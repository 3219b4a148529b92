/*
 * HPACK on the wire: the first octets of representations and strings (RFC 7541 5, 6), and how indices are counted.
 */
#ifndef PROTO_HPACK_WIRE_H
#define PROTO_HPACK_WIRE_H

#include "proto/hpack_tables.h"

/* What it is, and a mask of the bits that begin its number. */
enum {
    HPACK_INDEXED = 0x80,
    HPACK_INDEXED_MASK = 0x7f,
    HPACK_LITERAL_INDEXED = 0x40,
    HPACK_LITERAL_INDEXED_MASK = 0x3f,
    HPACK_SIZE_UPDATE = 0x20,
    HPACK_SIZE_UPDATE_MASK = 0x1f,
    HPACK_LITERAL_NEVER_INDEXED = 0x10,
    HPACK_LITERAL_PLAIN = 0x00,
    HPACK_LITERAL_MASK = 0x0f,
    HPACK_STRING_HUFFMAN = 0x80,
    HPACK_STRING_MASK = 0x7f,
};

enum { HPACK_DYNAMIC_FIRST = HPACK_STATIC_COUNT + 1 }; /* index of the newest entry */

#endif
