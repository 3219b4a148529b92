#!/usr/bin/env python3
"""Writes hpack_tables.h: the static table and the Huffman code of RFC 7541, and what the encoder knows of names.

Run it after a change here or to HTTP_FIELDS. The Huffman code is canonical, so the lengths of its codes are all of it.
"""

import random
import re
from pathlib import Path

HERE = Path(__file__).parent

# Appendix A, in order; index 1 comes first.
STATIC_TABLE = """
:authority=
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset=
accept-encoding=gzip, deflate
accept-language=
accept-ranges=
accept=
access-control-allow-origin=
age=
allow=
authorization=
cache-control=
content-disposition=
content-encoding=
content-language=
content-length=
content-location=
content-range=
content-type=
cookie=
date=
etag=
expect=
expires=
from=
host=
if-match=
if-modified-since=
if-none-match=
if-range=
if-unmodified-since=
last-modified=
link=
location=
max-forwards=
proxy-authenticate=
proxy-authorization=
range=
referer=
refresh=
retry-after=
server=
set-cookie=
strict-transport-security=
transfer-encoding=
user-agent=
vary=
via=
www-authenticate=
""".split("\n")[1:-1]

# Appendix B: the length in bits of the code of each octet, and of EOS at the end.
CODE_LENGTHS = [
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
    30,
]  # fmt: skip
EOS = 256

# What responses repeat is worth a place in the dynamic table at once.
INDEXED = """
:status accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods
access-control-allow-origin access-control-expose-headers access-control-max-age allow cache-control content-encoding
content-language content-type date proxy-authenticate server strict-transport-security vary via www-authenticate
""".split()
# These differ from resource to resource: a place would push out what is of use.
PLAIN = """
:path age content-disposition content-length content-location content-range etag expires if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location range refresh retry-after
""".split()
SECRET = "authorization cookie proxy-authorization set-cookie".split()

NAME_SLOTS = 256
SHORT_BITS = 8


def rows(items: list[str], per_row: int) -> str:
    return "\n".join("    " + " ".join(items[at : at + per_row]) for at in range(0, len(items), per_row))


def field_symbols() -> dict[str, str]:
    header = HERE.joinpath("http_fields.h").read_text()
    return {name: symbol for symbol, name in re.findall(r'X\(([A-Z0-9_]+), "([^"]+)"\)', header)}


def static_table() -> str:
    symbols = field_symbols()
    lines = ["    {},"]
    for entry in STATIC_TABLE:
        name, value = entry.split("=")
        field = f"HTTP_FIELD_{symbols.get(name, 'OTHER')}"
        lines.append(f'    {{"{name + value}", {len(name)}, {len(value)}, {field}}},')
    return "\n".join(lines)


def canonical_codes() -> list[int]:
    codes, code, previous = [0] * len(CODE_LENGTHS), -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(CODE_LENGTHS)):
        code = (code + 1) << (length - previous)
        codes[symbol], previous = code, length
    assert codes[EOS] == (1 << 30) - 1
    return codes


def short_codes(codes: list[int]) -> list[str]:
    """What the next octet of input, inverted, begins with; 0 where the code is longer than that."""
    table = ["0,"] * (1 << SHORT_BITS)
    for symbol, length in enumerate(CODE_LENGTHS):
        free = SHORT_BITS - length
        for rest in range(1 << free if free >= 0 else 0):
            table[(codes[symbol] << free) + rest] = f"0x{symbol << 8 | length:04x},"
    return table[::-1]


def long_codes(codes: list[int]) -> tuple[list[str], list[int]]:
    """For each length: its last code, left-aligned in 32 bits, its first, and the place of that one's symbol."""
    ranges, symbols = [], []
    for length in sorted(set(CODE_LENGTHS)):
        if length <= SHORT_BITS:
            continue
        of_length = sorted((codes[symbol], symbol) for symbol, bits in enumerate(CODE_LENGTHS) if bits == length)
        last = ((of_length[-1][0] + 1) << (32 - length)) - 1
        ranges.append(f"{{0x{last:08x}, 0x{of_length[0][0]:08x}, {len(symbols)}, {length}}},")
        symbols += [symbol for _, symbol in of_length]
    return ranges, symbols


def perfect_hash(names: list[str]) -> tuple[tuple[int, ...], dict[int, str]]:
    chance = random.Random(1)
    keys = [(len(name), ord(name[0]), ord(name[len(name) * 3 // 4]), ord(name[-1])) for name in names]
    while True:
        weights = tuple(chance.randrange(1, NAME_SLOTS) for _ in range(4))
        slots = [sum(map(int.__mul__, weights, key)) % NAME_SLOTS for key in keys]
        if len(set(slots)) == len(names):
            return weights, dict(zip(slots, names, strict=True))


def policy_of(name: str) -> str:
    for policy, members in (("INDEXED", INDEXED), ("PLAIN", PLAIN), ("SECRET", SECRET)):
        if name in members:
            return f"HPACK_POLICY_{policy}"
    return "HPACK_POLICY_SECOND_TIME"


def known_names(names: list[str]) -> str:
    first_index: dict[str, int] = {}
    for index, entry in enumerate(STATIC_TABLE, 1):
        first_index.setdefault(entry.split("=")[0], index)
    lines = [f'    {{"{name}", {len(name)}, {first_index.get(name, 0)}, {policy_of(name)}}},' for name in names]
    return "\n".join(["    {},", *lines])


def main() -> None:
    codes = canonical_codes()
    ranges, long_symbols = long_codes(codes)
    names = list(dict.fromkeys([entry.split("=")[0] for entry in STATIC_TABLE] + INDEXED + PLAIN + SECRET))
    weights, slots = perfect_hash(names)
    slot_items = [f"{names.index(slots[slot]) + 1 if slot in slots else 0}," for slot in range(NAME_SLOTS)]
    HERE.joinpath("hpack_tables.h").write_text(f"""\
/*
 * The tables of HPACK, written by hpack_tables.py: RFC 7541 Appendices A and B, and the names that the encoder knows.
 */
#ifndef PROTO_HPACK_TABLES_H
#define PROTO_HPACK_TABLES_H

#include "proto/http_fields.h"

/* clang-format off */

enum {{ HPACK_STATIC_COUNT = {len(STATIC_TABLE)}, HPACK_HUFFMAN_EOS = {EOS}, HPACK_LONG_RANGES = {len(ranges)} }};

/* By index, so the first is none. Name and value stand one behind the other. */
static const struct hpack_static_entry {{
    char text[29];
    uint8_t name_length;
    uint8_t value_length;
    uint8_t id; /* enum http_field_id */
}} hpack_static_entries[HPACK_STATIC_COUNT + 1] = {{
{static_table()}
}};

/* Of each octet: its Huffman code, and the length of that in bits. */
static const uint32_t hpack_codes[256] = {{
{rows([f"0x{code:x}," for code in codes[:EOS]], 8)}
}};
static const uint8_t hpack_code_lengths[256] = {{
{rows([f"{length}," for length in CODE_LENGTHS[:EOS]], 16)}
}};

/* By the next {SHORT_BITS} bits, inverted: the symbol they begin with, and below it in the lower octet the length of its
 * code; 0 where that is longer. */
static const uint16_t hpack_short_codes[{1 << SHORT_BITS}] = {{
{rows(short_codes(codes), 12)}
}};

/* The longer codes, by length. The code is canonical: those of one length are consecutive, and follow the shorter. */
static const struct hpack_long_range {{
    uint32_t last;  /* code of this length, with ones behind it up to 32 bits */
    uint32_t first; /* code of this length */
    uint8_t place;  /* of the symbol of the first */
    uint8_t length;
}} hpack_long_ranges[HPACK_LONG_RANGES] = {{
{rows(ranges, 2)}
}};
static const uint16_t hpack_long_symbols[{len(long_symbols)}] = {{
{rows([f"{symbol}," for symbol in long_symbols], 16)}
}};

/* What the encoder does with a field. */
enum hpack_policy {{
    HPACK_POLICY_SECOND_TIME, /* a place in the dynamic table when the same field comes again */
    HPACK_POLICY_INDEXED,     /* a place at once */
    HPACK_POLICY_PLAIN,       /* none */
    HPACK_POLICY_SECRET,      /* none, and when it is short nobody on the way may give it one, RFC 7541 7.1.3 */
}};

/* The first stands for every name that is not here. */
static const struct hpack_known_name {{
    char text[33];
    uint8_t length;
    uint8_t static_index;
    uint8_t policy; /* enum hpack_policy */
}} hpack_known_names[{len(names) + 1}] = {{
{known_names(names)}
}};

/* A perfect hash of the length and three octets. */
enum {{
    HPACK_NAME_SLOTS = {NAME_SLOTS},
    HPACK_WEIGHT_LENGTH = {weights[0]},
    HPACK_WEIGHT_FIRST = {weights[1]},
    HPACK_WEIGHT_THIRD_QUARTER = {weights[2]},
    HPACK_WEIGHT_LAST = {weights[3]},
}};
static const uint8_t hpack_name_of_slot[HPACK_NAME_SLOTS] = {{
{rows(slot_items, 16)}
}};

/* clang-format on */

#endif
""")


main()
