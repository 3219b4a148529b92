"""What each built program may need: the linker proves the walls between the rooms, this reads the proof."""

import re
import subprocess
from pathlib import Path

from sources import ROOT

BUILD = ROOT / "build" / "release"

# proto/ calls the string functions of libc; the rest is put there by the compiler.
PURE_SYMBOLS = {
    "memchr", "memcmp", "memcpy", "memmove", "memset", "strlen",
    "__memcpy_chk", "__memmove_chk", "__memset_chk",
    "__assert_fail", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_", "__cpu_model", "__cpu_indicator_init",
}  # fmt: skip
PYTHON, RING, TLS = r"_?Py[A-Z_]", r"io_uring_", r"(SSL|EVP|BIO|X509|CRYPTO)_"


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(path: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "-d", str(path)))


def undefined(path: Path) -> set[str]:
    """Symbols that nobody inside the file (an archive's other members included) defines."""
    wanted, defined = set(), set()
    for line in run("nm", "--format=posix", str(path)).splitlines():
        parts = line.split()
        if len(parts) >= 2 and len(parts[1]) == 1:
            (wanted if parts[1] in "Uw" else defined).add(parts[0].split("@")[0])
    return wanted - defined


def symbols_like(path: Path, *patterns: str) -> list[str]:
    return sorted(name for name in undefined(path) if any(re.match(pattern, name) for pattern in patterns))


def libraries_like(path: Path, *names: str) -> list[str]:
    return [library for library in needed(path) if library.startswith(names)]


def check_proto_is_pure() -> list[str]:
    """libproto.a calls nothing but string functions."""
    return [f"libproto.a calls {name}" for name in sorted(undefined(BUILD / "libproto.a") - PURE_SYMBOLS)]


def check_shared_rooms() -> list[str]:
    """libexchange.a and libconfig.a know neither Python nor TLS nor the ring."""
    return [
        f"{archive} calls {name}"
        for archive in ("libexchange.a", "libconfig.a")
        for name in symbols_like(BUILD / archive, PYTHON, RING, TLS)
    ]


def check_daemon_has_no_python() -> list[str]:
    """uroboros needs no libpython."""
    daemon = BUILD / "uroboros"
    return [f"uroboros needs {name}" for name in libraries_like(daemon, "libpython") + symbols_like(daemon, PYTHON)]


def check_bridge_has_no_ring_and_no_keys() -> list[str]:
    """The extension module and uroboros-app need neither liburing nor a TLS library; the module no libpython."""
    wrong = []
    modules = sorted((BUILD / "pybridge").glob("_uroboros*.so"))
    if not modules:
        wrong.append("no extension module was built")
    for module in modules:
        wrong += [f"{module.name} needs {name}" for name in libraries_like(module, "libpython")]
    for program in [*modules, BUILD / "uroboros-app"]:
        libraries = libraries_like(program, "liburing", "libssl", "libcrypto")
        wrong += [f"{program.name} needs {name}" for name in libraries + symbols_like(program, RING, TLS)]
    return wrong


def check_hardening() -> list[str]:
    """uroboros is position independent, bound at start, with read-only relocations and no executable stack."""
    dynamic, segments = run("readelf", "-d", str(BUILD / "uroboros")), run("readelf", "-lhW", str(BUILD / "uroboros"))
    facts = {
        "not position independent": "Type:" in segments and "DYN" in segments,
        "not bound at start": "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*NOW", dynamic),
        "no read-only relocations": "GNU_RELRO" in segments,
        "an executable stack": re.search(r"GNU_STACK.*RW ", segments),
    }
    return [f"uroboros: {word}" for word, good in facts.items() if not good]
