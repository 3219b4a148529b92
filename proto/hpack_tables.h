/*
 * The tables of HPACK, written by hpack_tables.py: RFC 7541 Appendices A and B, and the names that the encoder knows.
 */
#ifndef PROTO_HPACK_TABLES_H
#define PROTO_HPACK_TABLES_H

#include "proto/http_fields.h"

/* clang-format off */

enum { HPACK_STATIC_COUNT = 61, HPACK_HUFFMAN_EOS = 256, HPACK_LONG_RANGES = 17 };

/* By index, so the first is none. Name and value stand one behind the other. */
static const struct hpack_static_entry {
    char text[29];
    uint8_t name_length;
    uint8_t value_length;
    uint8_t id; /* enum http_field_id */
} hpack_static_entries[HPACK_STATIC_COUNT + 1] = {
    {},
    {":authority", 10, 0, HTTP_FIELD_OTHER},
    {":methodGET", 7, 3, HTTP_FIELD_OTHER},
    {":methodPOST", 7, 4, HTTP_FIELD_OTHER},
    {":path/", 5, 1, HTTP_FIELD_OTHER},
    {":path/index.html", 5, 11, HTTP_FIELD_OTHER},
    {":schemehttp", 7, 4, HTTP_FIELD_OTHER},
    {":schemehttps", 7, 5, HTTP_FIELD_OTHER},
    {":status200", 7, 3, HTTP_FIELD_OTHER},
    {":status204", 7, 3, HTTP_FIELD_OTHER},
    {":status206", 7, 3, HTTP_FIELD_OTHER},
    {":status304", 7, 3, HTTP_FIELD_OTHER},
    {":status400", 7, 3, HTTP_FIELD_OTHER},
    {":status404", 7, 3, HTTP_FIELD_OTHER},
    {":status500", 7, 3, HTTP_FIELD_OTHER},
    {"accept-charset", 14, 0, HTTP_FIELD_OTHER},
    {"accept-encodinggzip, deflate", 15, 13, HTTP_FIELD_ACCEPT_ENCODING},
    {"accept-language", 15, 0, HTTP_FIELD_ACCEPT_LANGUAGE},
    {"accept-ranges", 13, 0, HTTP_FIELD_OTHER},
    {"accept", 6, 0, HTTP_FIELD_ACCEPT},
    {"access-control-allow-origin", 27, 0, HTTP_FIELD_OTHER},
    {"age", 3, 0, HTTP_FIELD_OTHER},
    {"allow", 5, 0, HTTP_FIELD_OTHER},
    {"authorization", 13, 0, HTTP_FIELD_AUTHORIZATION},
    {"cache-control", 13, 0, HTTP_FIELD_CACHE_CONTROL},
    {"content-disposition", 19, 0, HTTP_FIELD_OTHER},
    {"content-encoding", 16, 0, HTTP_FIELD_CONTENT_ENCODING},
    {"content-language", 16, 0, HTTP_FIELD_OTHER},
    {"content-length", 14, 0, HTTP_FIELD_CONTENT_LENGTH},
    {"content-location", 16, 0, HTTP_FIELD_OTHER},
    {"content-range", 13, 0, HTTP_FIELD_OTHER},
    {"content-type", 12, 0, HTTP_FIELD_CONTENT_TYPE},
    {"cookie", 6, 0, HTTP_FIELD_COOKIE},
    {"date", 4, 0, HTTP_FIELD_DATE},
    {"etag", 4, 0, HTTP_FIELD_OTHER},
    {"expect", 6, 0, HTTP_FIELD_EXPECT},
    {"expires", 7, 0, HTTP_FIELD_OTHER},
    {"from", 4, 0, HTTP_FIELD_OTHER},
    {"host", 4, 0, HTTP_FIELD_HOST},
    {"if-match", 8, 0, HTTP_FIELD_IF_MATCH},
    {"if-modified-since", 17, 0, HTTP_FIELD_IF_MODIFIED_SINCE},
    {"if-none-match", 13, 0, HTTP_FIELD_IF_NONE_MATCH},
    {"if-range", 8, 0, HTTP_FIELD_IF_RANGE},
    {"if-unmodified-since", 19, 0, HTTP_FIELD_IF_UNMODIFIED_SINCE},
    {"last-modified", 13, 0, HTTP_FIELD_OTHER},
    {"link", 4, 0, HTTP_FIELD_OTHER},
    {"location", 8, 0, HTTP_FIELD_OTHER},
    {"max-forwards", 12, 0, HTTP_FIELD_OTHER},
    {"proxy-authenticate", 18, 0, HTTP_FIELD_OTHER},
    {"proxy-authorization", 19, 0, HTTP_FIELD_OTHER},
    {"range", 5, 0, HTTP_FIELD_RANGE},
    {"referer", 7, 0, HTTP_FIELD_REFERER},
    {"refresh", 7, 0, HTTP_FIELD_OTHER},
    {"retry-after", 11, 0, HTTP_FIELD_OTHER},
    {"server", 6, 0, HTTP_FIELD_SERVER},
    {"set-cookie", 10, 0, HTTP_FIELD_OTHER},
    {"strict-transport-security", 25, 0, HTTP_FIELD_OTHER},
    {"transfer-encoding", 17, 0, HTTP_FIELD_TRANSFER_ENCODING},
    {"user-agent", 10, 0, HTTP_FIELD_USER_AGENT},
    {"vary", 4, 0, HTTP_FIELD_OTHER},
    {"via", 3, 0, HTTP_FIELD_VIA},
    {"www-authenticate", 16, 0, HTTP_FIELD_OTHER},
};

/* Of each octet: its Huffman code, and the length of that in bits. */
static const uint32_t hpack_codes[256] = {
    0x1ff8, 0x7fffd8, 0xfffffe2, 0xfffffe3, 0xfffffe4, 0xfffffe5, 0xfffffe6, 0xfffffe7,
    0xfffffe8, 0xffffea, 0x3ffffffc, 0xfffffe9, 0xfffffea, 0x3ffffffd, 0xfffffeb, 0xfffffec,
    0xfffffed, 0xfffffee, 0xfffffef, 0xffffff0, 0xffffff1, 0xffffff2, 0x3ffffffe, 0xffffff3,
    0xffffff4, 0xffffff5, 0xffffff6, 0xffffff7, 0xffffff8, 0xffffff9, 0xffffffa, 0xffffffb,
    0x14, 0x3f8, 0x3f9, 0xffa, 0x1ff9, 0x15, 0xf8, 0x7fa,
    0x3fa, 0x3fb, 0xf9, 0x7fb, 0xfa, 0x16, 0x17, 0x18,
    0x0, 0x1, 0x2, 0x19, 0x1a, 0x1b, 0x1c, 0x1d,
    0x1e, 0x1f, 0x5c, 0xfb, 0x7ffc, 0x20, 0xffb, 0x3fc,
    0x1ffa, 0x21, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62,
    0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a,
    0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72,
    0xfc, 0x73, 0xfd, 0x1ffb, 0x7fff0, 0x1ffc, 0x3ffc, 0x22,
    0x7ffd, 0x3, 0x23, 0x4, 0x24, 0x5, 0x25, 0x26,
    0x27, 0x6, 0x74, 0x75, 0x28, 0x29, 0x2a, 0x7,
    0x2b, 0x76, 0x2c, 0x8, 0x9, 0x2d, 0x77, 0x78,
    0x79, 0x7a, 0x7b, 0x7ffe, 0x7fc, 0x3ffd, 0x1ffd, 0xffffffc,
    0xfffe6, 0x3fffd2, 0xfffe7, 0xfffe8, 0x3fffd3, 0x3fffd4, 0x3fffd5, 0x7fffd9,
    0x3fffd6, 0x7fffda, 0x7fffdb, 0x7fffdc, 0x7fffdd, 0x7fffde, 0xffffeb, 0x7fffdf,
    0xffffec, 0xffffed, 0x3fffd7, 0x7fffe0, 0xffffee, 0x7fffe1, 0x7fffe2, 0x7fffe3,
    0x7fffe4, 0x1fffdc, 0x3fffd8, 0x7fffe5, 0x3fffd9, 0x7fffe6, 0x7fffe7, 0xffffef,
    0x3fffda, 0x1fffdd, 0xfffe9, 0x3fffdb, 0x3fffdc, 0x7fffe8, 0x7fffe9, 0x1fffde,
    0x7fffea, 0x3fffdd, 0x3fffde, 0xfffff0, 0x1fffdf, 0x3fffdf, 0x7fffeb, 0x7fffec,
    0x1fffe0, 0x1fffe1, 0x3fffe0, 0x1fffe2, 0x7fffed, 0x3fffe1, 0x7fffee, 0x7fffef,
    0xfffea, 0x3fffe2, 0x3fffe3, 0x3fffe4, 0x7ffff0, 0x3fffe5, 0x3fffe6, 0x7ffff1,
    0x3ffffe0, 0x3ffffe1, 0xfffeb, 0x7fff1, 0x3fffe7, 0x7ffff2, 0x3fffe8, 0x1ffffec,
    0x3ffffe2, 0x3ffffe3, 0x3ffffe4, 0x7ffffde, 0x7ffffdf, 0x3ffffe5, 0xfffff1, 0x1ffffed,
    0x7fff2, 0x1fffe3, 0x3ffffe6, 0x7ffffe0, 0x7ffffe1, 0x3ffffe7, 0x7ffffe2, 0xfffff2,
    0x1fffe4, 0x1fffe5, 0x3ffffe8, 0x3ffffe9, 0xffffffd, 0x7ffffe3, 0x7ffffe4, 0x7ffffe5,
    0xfffec, 0xfffff3, 0xfffed, 0x1fffe6, 0x3fffe9, 0x1fffe7, 0x1fffe8, 0x7ffff3,
    0x3fffea, 0x3fffeb, 0x1ffffee, 0x1ffffef, 0xfffff4, 0xfffff5, 0x3ffffea, 0x7ffff4,
    0x3ffffeb, 0x7ffffe6, 0x3ffffec, 0x3ffffed, 0x7ffffe7, 0x7ffffe8, 0x7ffffe9, 0x7ffffea,
    0x7ffffeb, 0xffffffe, 0x7ffffec, 0x7ffffed, 0x7ffffee, 0x7ffffef, 0x7fffff0, 0x3ffffee,
};
static const uint8_t hpack_code_lengths[256] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
};

/* By the next 8 bits, inverted: the symbol they begin with, and below it in the lower octet the length of its
 * code; 0 where that is longer. */
static const uint16_t hpack_short_codes[256] = {
    0, 0, 0x5a08, 0x5808, 0x3b08, 0x2c08, 0x2a08, 0x2608, 0x7a07, 0x7a07, 0x7907, 0x7907,
    0x7807, 0x7807, 0x7707, 0x7707, 0x7607, 0x7607, 0x7107, 0x7107, 0x6b07, 0x6b07, 0x6a07, 0x6a07,
    0x5907, 0x5907, 0x5707, 0x5707, 0x5607, 0x5607, 0x5507, 0x5507, 0x5407, 0x5407, 0x5307, 0x5307,
    0x5207, 0x5207, 0x5107, 0x5107, 0x5007, 0x5007, 0x4f07, 0x4f07, 0x4e07, 0x4e07, 0x4d07, 0x4d07,
    0x4c07, 0x4c07, 0x4b07, 0x4b07, 0x4a07, 0x4a07, 0x4907, 0x4907, 0x4807, 0x4807, 0x4707, 0x4707,
    0x4607, 0x4607, 0x4507, 0x4507, 0x4407, 0x4407, 0x4307, 0x4307, 0x4207, 0x4207, 0x3a07, 0x3a07,
    0x7506, 0x7506, 0x7506, 0x7506, 0x7206, 0x7206, 0x7206, 0x7206, 0x7006, 0x7006, 0x7006, 0x7006,
    0x6e06, 0x6e06, 0x6e06, 0x6e06, 0x6d06, 0x6d06, 0x6d06, 0x6d06, 0x6c06, 0x6c06, 0x6c06, 0x6c06,
    0x6806, 0x6806, 0x6806, 0x6806, 0x6706, 0x6706, 0x6706, 0x6706, 0x6606, 0x6606, 0x6606, 0x6606,
    0x6406, 0x6406, 0x6406, 0x6406, 0x6206, 0x6206, 0x6206, 0x6206, 0x5f06, 0x5f06, 0x5f06, 0x5f06,
    0x4106, 0x4106, 0x4106, 0x4106, 0x3d06, 0x3d06, 0x3d06, 0x3d06, 0x3906, 0x3906, 0x3906, 0x3906,
    0x3806, 0x3806, 0x3806, 0x3806, 0x3706, 0x3706, 0x3706, 0x3706, 0x3606, 0x3606, 0x3606, 0x3606,
    0x3506, 0x3506, 0x3506, 0x3506, 0x3406, 0x3406, 0x3406, 0x3406, 0x3306, 0x3306, 0x3306, 0x3306,
    0x2f06, 0x2f06, 0x2f06, 0x2f06, 0x2e06, 0x2e06, 0x2e06, 0x2e06, 0x2d06, 0x2d06, 0x2d06, 0x2d06,
    0x2506, 0x2506, 0x2506, 0x2506, 0x2006, 0x2006, 0x2006, 0x2006, 0x7405, 0x7405, 0x7405, 0x7405,
    0x7405, 0x7405, 0x7405, 0x7405, 0x7305, 0x7305, 0x7305, 0x7305, 0x7305, 0x7305, 0x7305, 0x7305,
    0x6f05, 0x6f05, 0x6f05, 0x6f05, 0x6f05, 0x6f05, 0x6f05, 0x6f05, 0x6905, 0x6905, 0x6905, 0x6905,
    0x6905, 0x6905, 0x6905, 0x6905, 0x6505, 0x6505, 0x6505, 0x6505, 0x6505, 0x6505, 0x6505, 0x6505,
    0x6305, 0x6305, 0x6305, 0x6305, 0x6305, 0x6305, 0x6305, 0x6305, 0x6105, 0x6105, 0x6105, 0x6105,
    0x6105, 0x6105, 0x6105, 0x6105, 0x3205, 0x3205, 0x3205, 0x3205, 0x3205, 0x3205, 0x3205, 0x3205,
    0x3105, 0x3105, 0x3105, 0x3105, 0x3105, 0x3105, 0x3105, 0x3105, 0x3005, 0x3005, 0x3005, 0x3005,
    0x3005, 0x3005, 0x3005, 0x3005,
};

/* The longer codes, by length. The code is canonical: those of one length are consecutive, and follow the shorter. */
static const struct hpack_long_range {
    uint32_t last;  /* code of this length, with ones behind it up to 32 bits */
    uint32_t first; /* code of this length */
    uint8_t place;  /* of the symbol of the first */
    uint8_t length;
} hpack_long_ranges[HPACK_LONG_RANGES] = {
    {0xff3fffff, 0x000003f8, 0, 10}, {0xff9fffff, 0x000007fa, 5, 11},
    {0xffbfffff, 0x00000ffa, 8, 12}, {0xffefffff, 0x00001ff8, 10, 13},
    {0xfff7ffff, 0x00003ffc, 16, 14}, {0xfffdffff, 0x00007ffc, 18, 15},
    {0xfffe5fff, 0x0007fff0, 21, 19}, {0xfffedfff, 0x000fffe6, 24, 20},
    {0xffff47ff, 0x001fffdc, 32, 21}, {0xffffafff, 0x003fffd2, 45, 22},
    {0xffffe9ff, 0x007fffd8, 71, 23}, {0xfffff5ff, 0x00ffffea, 100, 24},
    {0xfffff7ff, 0x01ffffec, 112, 25}, {0xfffffbbf, 0x03ffffe0, 116, 26},
    {0xfffffe1f, 0x07ffffde, 131, 27}, {0xffffffef, 0x0fffffe2, 150, 28},
    {0xffffffff, 0x3ffffffc, 179, 30},
};
static const uint16_t hpack_long_symbols[183] = {
    33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126,
    94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226,
    153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133,
    134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187,
    189, 190, 196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147,
    149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188,
    191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237,
    199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240,
    242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247,
    248, 250, 251, 252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14,
    15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    127, 220, 249, 10, 13, 22, 256,
};

/* What the encoder does with a field. */
enum hpack_policy {
    HPACK_POLICY_SECOND_TIME, /* a place in the dynamic table when the same field comes again */
    HPACK_POLICY_INDEXED,     /* a place at once */
    HPACK_POLICY_PLAIN,       /* none */
    HPACK_POLICY_SECRET,      /* none, and when it is short nobody on the way may give it one, RFC 7541 7.1.3 */
};

/* The first stands for every name that is not here. */
static const struct hpack_known_name {
    char text[33];
    uint8_t length;
    uint8_t static_index;
    uint8_t policy; /* enum hpack_policy */
} hpack_known_names[58] = {
    {},
    {":authority", 10, 1, HPACK_POLICY_SECOND_TIME},
    {":method", 7, 2, HPACK_POLICY_SECOND_TIME},
    {":path", 5, 4, HPACK_POLICY_PLAIN},
    {":scheme", 7, 6, HPACK_POLICY_SECOND_TIME},
    {":status", 7, 8, HPACK_POLICY_INDEXED},
    {"accept-charset", 14, 15, HPACK_POLICY_SECOND_TIME},
    {"accept-encoding", 15, 16, HPACK_POLICY_SECOND_TIME},
    {"accept-language", 15, 17, HPACK_POLICY_SECOND_TIME},
    {"accept-ranges", 13, 18, HPACK_POLICY_INDEXED},
    {"accept", 6, 19, HPACK_POLICY_SECOND_TIME},
    {"access-control-allow-origin", 27, 20, HPACK_POLICY_INDEXED},
    {"age", 3, 21, HPACK_POLICY_PLAIN},
    {"allow", 5, 22, HPACK_POLICY_INDEXED},
    {"authorization", 13, 23, HPACK_POLICY_SECRET},
    {"cache-control", 13, 24, HPACK_POLICY_INDEXED},
    {"content-disposition", 19, 25, HPACK_POLICY_PLAIN},
    {"content-encoding", 16, 26, HPACK_POLICY_INDEXED},
    {"content-language", 16, 27, HPACK_POLICY_INDEXED},
    {"content-length", 14, 28, HPACK_POLICY_PLAIN},
    {"content-location", 16, 29, HPACK_POLICY_PLAIN},
    {"content-range", 13, 30, HPACK_POLICY_PLAIN},
    {"content-type", 12, 31, HPACK_POLICY_INDEXED},
    {"cookie", 6, 32, HPACK_POLICY_SECRET},
    {"date", 4, 33, HPACK_POLICY_INDEXED},
    {"etag", 4, 34, HPACK_POLICY_PLAIN},
    {"expect", 6, 35, HPACK_POLICY_SECOND_TIME},
    {"expires", 7, 36, HPACK_POLICY_PLAIN},
    {"from", 4, 37, HPACK_POLICY_SECOND_TIME},
    {"host", 4, 38, HPACK_POLICY_SECOND_TIME},
    {"if-match", 8, 39, HPACK_POLICY_PLAIN},
    {"if-modified-since", 17, 40, HPACK_POLICY_PLAIN},
    {"if-none-match", 13, 41, HPACK_POLICY_PLAIN},
    {"if-range", 8, 42, HPACK_POLICY_PLAIN},
    {"if-unmodified-since", 19, 43, HPACK_POLICY_PLAIN},
    {"last-modified", 13, 44, HPACK_POLICY_PLAIN},
    {"link", 4, 45, HPACK_POLICY_SECOND_TIME},
    {"location", 8, 46, HPACK_POLICY_PLAIN},
    {"max-forwards", 12, 47, HPACK_POLICY_SECOND_TIME},
    {"proxy-authenticate", 18, 48, HPACK_POLICY_INDEXED},
    {"proxy-authorization", 19, 49, HPACK_POLICY_SECRET},
    {"range", 5, 50, HPACK_POLICY_PLAIN},
    {"referer", 7, 51, HPACK_POLICY_SECOND_TIME},
    {"refresh", 7, 52, HPACK_POLICY_PLAIN},
    {"retry-after", 11, 53, HPACK_POLICY_PLAIN},
    {"server", 6, 54, HPACK_POLICY_INDEXED},
    {"set-cookie", 10, 55, HPACK_POLICY_SECRET},
    {"strict-transport-security", 25, 56, HPACK_POLICY_INDEXED},
    {"transfer-encoding", 17, 57, HPACK_POLICY_SECOND_TIME},
    {"user-agent", 10, 58, HPACK_POLICY_SECOND_TIME},
    {"vary", 4, 59, HPACK_POLICY_INDEXED},
    {"via", 3, 60, HPACK_POLICY_INDEXED},
    {"www-authenticate", 16, 61, HPACK_POLICY_INDEXED},
    {"access-control-allow-credentials", 32, 0, HPACK_POLICY_INDEXED},
    {"access-control-allow-headers", 28, 0, HPACK_POLICY_INDEXED},
    {"access-control-allow-methods", 28, 0, HPACK_POLICY_INDEXED},
    {"access-control-expose-headers", 29, 0, HPACK_POLICY_INDEXED},
    {"access-control-max-age", 22, 0, HPACK_POLICY_INDEXED},
};

/* A perfect hash of the length and three octets. */
enum {
    HPACK_NAME_SLOTS = 256,
    HPACK_WEIGHT_LENGTH = 237,
    HPACK_WEIGHT_FIRST = 175,
    HPACK_WEIGHT_THIRD_QUARTER = 171,
    HPACK_WEIGHT_LAST = 128,
};
static const uint8_t hpack_name_of_slot[HPACK_NAME_SLOTS] = {
    0, 21, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 25, 12, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 22, 19, 0, 0,
    0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 15, 54, 0, 0, 0, 0, 0, 0, 43, 53, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 38, 2, 0, 29, 0, 0, 0, 0, 0, 0, 0,
    30, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0,
    0, 37, 0, 0, 0, 0, 0, 16, 0, 0, 0, 6, 0, 0, 0, 0,
    4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 33, 27, 7, 0,
    0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 55, 1, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 13, 0, 0, 0, 44, 0, 32, 0, 0, 0, 0,
    0, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 48, 34,
    0, 50, 0, 0, 49, 0, 0, 56, 0, 47, 26, 0, 51, 28, 0, 0,
    0, 0, 0, 3, 0, 0, 0, 0, 5, 17, 52, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 14, 31, 0, 0, 46, 8, 0, 0, 41, 39, 23, 0,
    42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 40, 0, 0, 0, 0, 0, 57, 20, 0, 0, 0, 0, 0, 35,
};

/* clang-format on */

#endif
