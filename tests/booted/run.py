#!/usr/bin/env python3
"""Installs the Debian package in a booted Debian 12 and lives through what a machine's owner does with it.

systemd is process 1; the kernel is Debian's user-mode-linux, an ordinary program. What the guest writes goes to a layer
over the image and is gone afterwards; it sees one folder of this machine, with the packages and guest/.

usage: run.py [--full] [PACKAGE]

PACKAGE is that of `./dev package deb` by default. Each test is a line "PASS name" or "FAIL name". The exit status is 0
when all pass, 1 when one fails, the guest panics or does not end in time, 77 when there is nothing to boot here. The
journal of the guest stays in build/booted/.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from system import ROOT, NoSystemError, find_image
from uml import NoKernelError, boot, find_kernel

BUILD = ROOT / "build" / "booted"
GUEST = Path(__file__).parent / "guest"
SKIPPED = 77
SECONDS, FULL_SECONDS = 1500, 3000
# A setting's default text that the newer package has changed, so that dpkg must decide whose file stays.
CONFIG = "etc/uroboros/uroboros.toml"
NEWER_LINE = "# This line came with the newer package.\n"


def find_package(arguments: list[str]) -> Path:
    if arguments:
        return Path(arguments[0]).resolve()
    packages = [path for path in (ROOT / "build/package").glob("uroboros_*.deb")]
    if not packages:
        raise NoSystemError("there is no package: ./dev package deb")
    return max(packages, key=lambda path: path.stat().st_mtime)


def make_newer(package: Path, target: Path, folder: Path) -> None:
    """The same with a later version and another default settings file."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+newer", control.read_text(), flags=re.MULTILINE))
    config = tree / CONFIG
    config.write_text(NEWER_LINE + config.read_text())
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, target], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def fill(shared: Path, package: Path, is_full: bool) -> None:
    shutil.copytree(GUEST, shared / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(package, shared / "uroboros.deb")
    make_newer(package, shared / "uroboros-newer.deb", shared)
    if is_full:
        (shared / "full").touch()


def judge(console: str, ended: bool, seconds: int) -> int:
    results = re.findall(r"^(PASS|FAIL) ", console, re.MULTILINE)
    if not ended:
        print(f"FAIL booted: the guest did not end within {seconds} s")
    elif not re.search(r"^booted tests: done$", console, re.MULTILINE):
        print("FAIL booted: the guest ended before its tests did (a panic?)")
    elif "FAIL" not in results and results:
        print(f"{len(results)} passed in a booted Debian 12")
        return 0
    return 1


def run_guest(kernel: Path, image: Path, package: Path, is_full: bool) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    seconds = FULL_SECONDS if is_full else SECONDS
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder, shared = Path(name), Path(name) / "shared"
        shared.mkdir()
        fill(shared, package, is_full)
        console, ended = boot(
            [kernel, "mem=1024M", f"uml_dir={folder}", f"ubd0={folder}/layer,{image}", "root=/dev/ubda", "rw",
             f"hostfs={shared}", "con=null", "con0=fd:0,fd:1", "console=tty0", "quiet", "loglevel=1",
             "systemd.show_status=no", "panic=-1"],
            seconds,
        )  # fmt: skip
        for text in shared.glob("*.txt"):
            shutil.copy(text, BUILD)
    return judge(console, ended, seconds)


def main() -> int:
    arguments = [word for word in sys.argv[1:] if word != "--full"]
    try:
        package = find_package(arguments)
        kernel = find_kernel()
        image = find_image(kernel, package)
    except (NoKernelError, NoSystemError) as reason:
        print(f"NOT RUN: no Debian was booted: {reason}")
        return SKIPPED
    return run_guest(kernel, image, package, "--full" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
