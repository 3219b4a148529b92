"""User-mode-linux: the kernel as an ordinary program, no privilege and no hardware support needed.

Finds it (installed, or unpacked from the package), its modules, and boots a guest with a time limit.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kernel"
RELEASE = "6.1"
PACKAGE = "user-mode-linux"


class NoKernelError(Exception):
    """There is no kernel of this release to be had here; the text says why."""


def is_wanted(kernel: str | Path) -> bool:
    asked = subprocess.run([kernel, "--version"], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.startswith(f"{RELEASE}.")


def download() -> Path:
    """The package from the sources that this machine's apt knows, unpacked and not installed."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoKernelError(f"{PACKAGE} is not installed and there is no {tool} to get it with")
    CACHE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        command = ["apt-get", "-qq", "download", PACKAGE]
        got = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        packages = list(Path(folder).glob("*.deb"))
        if got.returncode != 0 or not packages:
            complaint = got.stderr.strip().splitlines() or [f"exit status {got.returncode}"]
            raise NoKernelError(f"apt-get download {PACKAGE}: {complaint[-1]}")
        tree = Path(folder) / "tree"
        subprocess.run(["dpkg-deb", "--extract", packages[0], tree], check=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        tree.rename(CACHE)
    return CACHE / "usr" / "bin" / "linux.uml"


def find_kernel() -> Path:
    installed = shutil.which("linux.uml")
    for kernel in (installed, CACHE / "usr" / "bin" / "linux.uml"):
        if kernel and Path(kernel).exists() and is_wanted(kernel):
            return Path(kernel)
    kernel = download()
    if not is_wanted(kernel):
        raise NoKernelError(f"the {PACKAGE} of this machine's apt sources is not {RELEASE}, or does not run here")
    return kernel


def find_modules(kernel: Path) -> Path:
    """The folder whose modules belong to this kernel: what `lib/modules` is in a system of its own."""
    return kernel.resolve().parents[1] / "lib" / "uml" / "modules"


def stop(guest: subprocess.Popen) -> None:
    """Its processes are ours too, all in one group."""
    try:
        os.killpg(guest.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def boot(command: list[str | Path], seconds: int) -> tuple[str, bool]:
    """Shows the console while it is written; returns it, and whether the guest ended by itself."""
    lines, is_late = [], threading.Event()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as guest:
        watchdog = threading.Timer(seconds, lambda: (is_late.set(), stop(guest)))
        watchdog.start()
        try:
            for line in guest.stdout:
                lines.append(line.decode(errors="replace").rstrip("\r\n"))
                print(lines[-1], flush=True)
        finally:
            watchdog.cancel()
            stop(guest)
    return "\n".join(lines), not is_late.is_set()
