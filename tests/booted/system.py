"""A Debian 12 on a disk image, made without a mount or a loop device, and kept in .cache/booted.

Its name is a hash of what goes in, so that a changed list makes another and two runs never share a half-made one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "kernel"))

from uml import find_modules  # noqa: E402

CACHE = ROOT / ".cache" / "booted"
CODENAME = "bookworm"
# What the guest's half of the tests calls. What the package depends on comes beside these.
TOOLS = [
    "systemd", "systemd-sysv", "dbus", "kmod", "procps", "iproute2", "python3", "python3-hpack", "curl", "openssl",
]  # fmt: skip
IMAGE_BYTES = 1500 << 20
DEBOOTSTRAP_SECONDS = 600

# The folder of the machine outside that is root= of hostfs holds the package, the tests and takes the results.
RUNNER = """\
[Unit]
Description=Tests in a booted system

[Service]
ExecStartPre=/bin/mkdir -p /booted
ExecStartPre=/bin/mount -t hostfs none /booted
ExecStart=/usr/bin/python3 -B /booted/guest/main.py
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console

[Install]
WantedBy=multi-user.target
"""


class NoSystemError(Exception):
    """There is no Debian to be made here; the text says why."""


def run(command: list[str | Path], seconds: int = 300) -> str:
    """Its output; NoSystemError with the last line of its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NoSystemError(f"{command[0]} did not end within {seconds} s") from None
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoSystemError(f"{command[0]}: {complaint[-1]}")
    return done.stdout


def require_tools() -> None:
    for tool in ("debootstrap", "mkfs.ext4", "apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoSystemError(f"there is no {tool}")


def find_source() -> str:
    """Where this machine's apt has the release from."""
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
                   "Created-By: Packages"])  # fmt: skip
    for line in targets.splitlines():
        words = line.split()
        if words[1:] == [CODENAME, "main"]:
            return words[0]
    raise NoSystemError(f"this machine's apt has no source of {CODENAME}")


def dependencies(package: Path) -> list[str]:
    """The first alternative of each: where there is a choice, the one its maintainer prefers."""
    depends = run(["dpkg-deb", "--field", package, "Depends"]).strip()
    names = [re.match(r"[a-z0-9.+-]+", part.strip()) for part in depends.split(",") if part.strip()]
    return [name.group() for name in names if name]


def make_root(folder: Path, packages: list[str]) -> None:
    if os.geteuid() != 0:
        raise NoSystemError("debootstrap needs root")
    command = ["debootstrap", "--variant=minbase", "--force-check-gpg", f"--include={','.join(packages)}"]
    run([*command, CODENAME, folder, find_source()], DEBOOTSTRAP_SECONDS)
    # No source: what a test would fetch behind our back must be missing instead.
    for path in (folder / "etc/apt/sources.list", *folder.glob("var/cache/apt/archives/*.deb")):
        path.unlink(missing_ok=True)


def equip(folder: Path, kernel: Path) -> None:
    shutil.copytree(find_modules(kernel), folder / "lib/modules", dirs_exist_ok=True)
    units = folder / "etc/systemd/system"
    (units / "booted-tests.service").write_text(RUNNER)
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "booted-tests.service").symlink_to("../booted-tests.service")
    (folder / "etc/hostname").write_text("booted\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost booted\n::1 localhost\n")
    release = re.search(r"\S+", run([kernel, "--version"])).group()
    run(["depmod", "--basedir", folder, release] if shutil.which("depmod")
        else ["chroot", folder, "depmod", release])  # fmt: skip


def make_image(image: Path, kernel: Path, packages: list[str]) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder, unfinished = Path(name) / "root", Path(name) / "image"
        make_root(folder, packages)
        equip(folder, kernel)
        with unfinished.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        run(["mkfs.ext4", "-q", "-d", folder, unfinished])
        unfinished.rename(image)


def find_image(kernel: Path, package: Path) -> Path:
    """The image with what `package` depends on, made where there is none yet."""
    require_tools()
    packages = sorted({*TOOLS, *dependencies(package)})
    recipe = "\n".join([CODENAME, RUNNER, run([kernel, "--version"]), *packages, Path(__file__).read_text()])
    image = CACHE / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.ext4"
    if not image.exists():
        make_image(image, kernel, packages)
        for other in CACHE.glob("*.ext4"):
            if other != image:
                other.unlink()
    return image
