"""Who may include whom. The direction of a dependency is visible in the line that makes it; here is the table."""

import re

from sources import c_files, text_of

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)

# room: what its files may include in quotes, as prefixes. The longest matching room counts.
DIRECTIONS = {
    "proto/": ("proto/",),
    "config/": ("config/", "daemon/base/"),
    "daemon/base/": ("daemon/base/",),
    "daemon/exchange/": ("daemon/exchange/", "daemon/base/", "proto/bytes.h", "proto/http_fields.h"),
    "daemon/supervisor/": ("daemon/supervisor/", "daemon/exchange/", "daemon/base/", "config/"),
    "daemon/io/": (
        "daemon/io/", "daemon/exchange/", "daemon/base/", "proto/",
        "config/schema.h", "config/address_set.h", "config/settings_transfer.h",
    ),
    "daemon/main.c": ("daemon/supervisor/", "daemon/io/io_process.h", "daemon/base/", "config/"),
    "pybridge/": (
        "pybridge/", "daemon/exchange/", "daemon/base/", "proto/bytes.h", "proto/http_fields.h",
        "config/schema.h", "config/settings_transfer.h",
    ),
}  # fmt: skip

# header: the only places that may include it.
RESERVED = {
    "openssl/": ("daemon/io/tls_",),
    "liburing.h": ("daemon/io/ring", "daemon/io/buffer_pool"),
    "Python.h": ("pybridge/",),
    "structmember.h": ("pybridge/",),
}

# room: system headers it must not include.
FORBIDDEN = {"pybridge/": ("sys/socket.h", "netinet/in.h", "arpa/inet.h")}

# proto/ is pure: what C itself gives, and the vector instructions.
PURE = {
    "assert.h", "errno.h", "immintrin.h", "inttypes.h", "limits.h", "stdbool.h", "stddef.h", "stdint.h", "string.h",
}  # fmt: skip


def room_of(name: str) -> str:
    return max((room for room in DIRECTIONS if name.startswith(room)), key=len)


def violation(name: str, kind: str, header: str) -> str | None:
    room = room_of(name)
    if kind == '"' and not header.startswith(DIRECTIONS[room]):
        return f"{room} may not include {header}"
    for reserved, places in RESERVED.items():
        if header.startswith(reserved) and not name.startswith(places):
            return f"{reserved} belongs to {', '.join(places)}"
    if kind == "<" and header in FORBIDDEN.get(room, ()):
        return f"{room} may not include <{header}>"
    if kind == "<" and room == "proto/" and header not in PURE:
        return f"proto/ is pure and may not include <{header}>"
    return None


def check() -> list[str]:
    """Every include of the C rooms follows the table."""
    wrong = []
    for name in c_files():
        text = text_of(name)
        for match in INCLUDE.finditer(text):
            reason = violation(name, match.group(1), match.group(2))
            if reason:
                wrong.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {reason}")
    return wrong
