"""A kernel that is newer than the machine's distribution: Debian's of another suite, in an emulated machine.

Downloads it by a private state of apt (nothing is installed, the machine's own lists stay as they are), and says how it
is booted.
"""

import lzma
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from uml import CACHE, NoKernelError

SUITE = "sid"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
EMULATOR = "qemu-system-x86_64"
TREE = CACHE.parent / "kernel-newer"
DOWNLOAD_SECONDS = 600
# The files of the machine outside, a disk, then what kernel TLS is made of; each after those it needs. What a kernel has built
# in, or no longer has, is not there.
MODULES = [
    "netfs", "9pnet", "9pnet_virtio", "9p", "loop", "crc16", "mbcache", "jbd2", "ext4",
    "gf128mul", "ghash-generic", "ctr", "geniv", "seqiv", "gcm", "cryptd", "aesni-intel",
    "libchacha", "libpoly1305", "chacha", "libchacha20poly1305", "chacha20poly1305", "tls",
]  # fmt: skip


def run(command: list[str | Path], **options) -> str:
    """Its output; NoKernelError with the last line of its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False, **options)
    except subprocess.TimeoutExpired:
        raise NoKernelError(f"{command[0]} did not end within {DOWNLOAD_SECONDS} s") from None
    if done.returncode != 0:
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoKernelError(f"{command[0]}: {complaint[-1]}")
    return done.stdout


def private_apt(folder: Path) -> list[str]:
    """The options of an apt whose only source is the suite."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n")
    settings = {
        "Dir::State": folder, "Dir::State::status": folder / "status", "Dir::Cache": folder,
        "Dir::Etc::SourceList": folder / "sources.list", "Dir::Etc::SourceParts": "/nonexistent",
        "Debug::NoLocking": 1, "Acquire::Languages": "none", "APT::Sandbox::User": "root",
    }  # fmt: skip
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def packages_of(options: list[str]) -> list[str]:
    """Newer packages have the kernel and its modules beside each other, older ones in one."""
    depends = run(["apt-cache", *options, "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
                   "--no-breaks", "--no-replaces", "--no-enhances", "linux-image-amd64"])  # fmt: skip
    names = set(re.findall(r"^(linux-(?:image|binary|modules)-\d\S*-amd64)$", depends, re.MULTILINE))
    if not names:
        raise NoKernelError(f"{SUITE} has no kernel")
    return sorted(names)


def download() -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoKernelError(f"there is no {tool} to get a kernel with")
    if not KEYRING.exists():
        raise NoKernelError(f"{KEYRING} is missing")
    TREE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TREE.parent) as name:
        folder, tree = Path(name) / "apt", Path(name) / "tree"
        options = private_apt(folder)
        run(["apt-get", "-qq", *options, "update"])
        run(["apt-get", "-qq", *options, "download", *packages_of(options)], cwd=folder)
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "--extract", package, tree])
        shutil.rmtree(TREE, ignore_errors=True)
        tree.rename(TREE)


def find_newer_kernel() -> Path:
    if not shutil.which(EMULATOR):
        raise NoKernelError(f"there is no {EMULATOR}: apt-get install qemu-system-x86")
    if not any(TREE.glob("**/vmlinuz*")):
        download()
    return next(TREE.glob("**/vmlinuz*"))


def read_modules() -> list[bytes]:
    modules = []
    for name in MODULES:
        for path in TREE.glob(f"**/{name}.ko*"):
            data = path.read_bytes()
            modules.append(lzma.decompress(data) if path.suffix == ".xz" else data)
    return modules


def newer_command(kernel: Path, archive: Path, parameters: list[str], counts: bool = False) -> list[str | Path]:
    """Without cmpxchg16b, which QEMU 7.2 emulates wrongly; of two CPUs one dies where the other patches the code.

    With `counts` each instruction takes the guest a nanosecond. A string instruction is counted for each octet, so that
    what copies by one is told that it is slow here.
    """
    cpu, clock = ("max,-cx16,-erms,-fsrm", ["-icount", "shift=0"]) if counts else ("max,-cx16", [])
    words = ["console=ttyS0", "quiet", "loglevel=1", "panic=-1", "hostfiles=9p", *parameters]
    return [
        EMULATOR, "-accel", "tcg", *clock, "-cpu", cpu, "-smp", "1", "-m", "1536", "-nodefaults",
        "-no-reboot", "-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-kernel", kernel, "-initrd", archive, "-append", " ".join(words),
    ]  # fmt: skip
