"""Nobody calls upwards: the files of a room have an order, in which each calls only those below it."""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

from link_walls import BUILD

ARCHIVES = (
    "libconfig.a", "libproto.a", "libexchange.a", "libsupervisor.a", "libio.a", "pybridge/libpybridge_plain.a",
)  # fmt: skip


def calls_of(archive: Path) -> dict[str, set[str]]:
    """For each file of the archive the others that define what it calls."""
    listing = subprocess.run(["nm", "--format=posix", archive], capture_output=True, text=True, check=True).stdout
    home, wanted, name = {}, defaultdict(set), ""
    for line in listing.splitlines():
        if member := re.search(r"\[(.+)\.c\.o\]:$", line):
            name = member[1]
        elif len(parts := line.split()) >= 2:
            symbol, kind = parts[:2]
            if kind in "Uw":
                wanted[name].add(symbol)
            elif kind.isupper():
                home[symbol] = name
    return {name: {home[symbol] for symbol in symbols if symbol in home} for name, symbols in wanted.items()}


def below(name: str, calls: dict[str, set[str]]) -> set[str]:
    """All that a file calls, by itself or by others."""
    found, ahead = set(), [name]
    while ahead:
        fresh = calls.get(ahead.pop(), set()) - found
        found |= fresh
        ahead += fresh
    return found


def circles_of(calls: dict[str, set[str]]) -> set[frozenset[str]]:
    reach = {name: below(name, calls) for name in calls}
    circles = (frozenset(other for other in reach[name] if name in reach.get(other, set())) for name in calls)
    return {circle for circle in circles if circle}


def check_calls_have_an_order() -> list[str]:
    """The files of a room call each other in no circle."""
    found = {circle: archive for archive in ARCHIVES for circle in circles_of(calls_of(BUILD / archive))}
    return [f"{archive}: {', '.join(sorted(circle))}" for circle, archive in found.items()]
