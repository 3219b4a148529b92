"""The files of the tree, as git knows them."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
C_ROOMS = ("config", "daemon", "proto", "pybridge")


@cache
def tracked() -> tuple[str, ...]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(name for name in listing.stdout.splitlines() if (ROOT / name).is_file())


def text_of(name: str) -> str:
    return (ROOT / name).read_text(errors="replace")


def c_files() -> list[str]:
    return [name for name in tracked() if name.endswith((".c", ".h")) and name.split("/")[0] in C_ROOMS]
