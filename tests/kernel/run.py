#!/usr/bin/env python3
"""Runs integration tests on kernel 6.1, the oldest that is supported.

The kernel is Debian's user-mode-linux: an ordinary program, no privilege and no hardware support needed. It sees the
files of this machine, so the daemon and the tests are the ones that were built here; what
they write stays in the guest.

usage: run.py [--full] [PYTEST OPTION...] [TEST...]

Without a test a smoke set runs, with --full every integration test that takes no --full of its own. A test that is
named gets --full itself. The exit status is that of pytest; 1 when the guest panics or does not end in time; 77 when
there is no such kernel here.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from uml import RELEASE, NoKernelError, boot, find_kernel, find_modules

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "kernel"
DAEMON = Path(os.environ.get("UROBOROS", ROOT / "build" / "release" / "uroboros")).resolve()
SKIPPED = 77
# The guest has one CPU, and this machine may be busy.
SMOKE_SECONDS, FULL_SECONDS = 600, 3600
# What differs between kernels: accepting, receiving into provided buffers, sending, polling, cancelling, limits.
SMOKE = [
    "test_wsgi.py::test_the_environ_names_the_request",
    "test_wsgi.py::test_a_large_response_arrives_whole",
    "test_wsgi.py::test_a_generator_is_streamed_and_the_connection_stays",
    "test_asgi.py::test_a_body_of_any_size_arrives",
    "test_asgi.py::test_a_disconnect_reaches_receive_and_then_send_raises_oserror",
    "test_keepalive.py::test_pipelined_requests_are_answered_in_order",
    "test_keepalive.py::test_an_idle_connection_is_closed_after_keepalive",
    "test_keepalive.py::test_a_half_closed_connection_gets_its_answers",
    "test_http1_corpus.py::test_whole",
    "test_addresses.py::test_unix",
    "test_failures.py::test_an_application_that_dies_costs_its_request_and_no_connection",
    "test_signals.py::test_term_ends_an_idle_server_with_status_0",
    "test_signals.py::test_hup_replaces_the_processes_and_closes_no_connection",
    "test_bodies.py::test_a_body_in_drips_is_put_together",
    "test_buffering.py::test_a_body_from_the_file_is_followed_by_the_next_request",
    "test_ktls.py",
    "test_files_ktls.py",
]
# The kernel maps the pages of a process one by one, and the machine outside allows 65530 mappings: the client of these
# tests holds more than those 256 MiB.
TOO_LARGE = [
    "test_buffering.py::test_100_uploads_that_do_not_end_keep_no_thread",
    "test_buffering.py::test_100_uploads_at_64_kib_per_second_do_not_disturb_others",
]


# --- guest -------------------------------------------------------------------------------------------------------


def cpio_entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file of an archive of the kind that the kernel unpacks (newc)."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    entry = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def make_initial_file_system(folder: Path) -> Path:
    program, archive = folder / "init", folder / "initramfs"
    source = Path(__file__).parent / "init.c"
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", program, source], check=True)
    archive.write_bytes(
        cpio_entry("dev", 0o040755)
        + cpio_entry("dev/console", 0o020600, device=(5, 1))
        + cpio_entry("host", 0o040755)
        + cpio_entry("init", 0o100755, program.read_bytes())
        + cpio_entry("TRAILER!!!", 0)
    )
    return archive


def uncover(folder: Path) -> str:
    """The guest has a /tmp and a /run of its own: what we need from the machine's is shown again on top of them."""
    if not folder.is_relative_to("/tmp") and not folder.is_relative_to("/run"):
        return ""
    name = shlex.quote(str(folder))
    return f"mkdir -p {name} && mount -t hostfs -o ro,{name} none {name} || exit 1\n"


def write_script(folder: Path, arguments: list[str]) -> Path:
    script = folder / "script"
    python = ROOT / ".venv" / "bin" / "python"
    pytest = [str(python), "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *arguments]
    script.write_text(
        uncover(ROOT)
        + ("" if DAEMON.is_relative_to(ROOT) else uncover(DAEMON.parent))
        + "uname -sr\n"
        + f"export HOME=/run PYTHONDONTWRITEBYTECODE=1 UROBOROS_SLOW_MACHINE=1 UROBOROS_TEST_KTLS=1 UROBOROS={shlex.quote(str(DAEMON))}\n"
        + f"cd {shlex.quote(str(ROOT / 'tests' / 'integration'))} || exit 1\n"
        + f"{shlex.join(pytest)}\n"
        + 'status=$?\n[ "$status" -eq 0 ] || dmesg | tail -n 30\nexit "$status"\n'
    )
    return script


def name_modules(kernel: Path) -> list[str]:
    """The kernel hands it to its first process."""
    folders = sorted(find_modules(kernel).glob(f"{RELEASE}.*/kernel"))
    return [f"modules={folders[-1]}"] if folders else []


def run_guest(kernel: Path, arguments: list[str], seconds: int) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        archive, script = make_initial_file_system(folder), write_script(folder, arguments)
        console, ended = boot(
            [kernel, "mem=1024M", f"uml_dir={folder}", f"initrd={archive}", f"script={script}", *name_modules(kernel),
             "con=null", "con0=fd:0,fd:1", "loglevel=1", "panic=-1"],
            seconds,
        )  # fmt: skip
    statuses = re.findall(r"^kernel test: exit status (\d+)$", console, re.MULTILINE)
    if not ended:
        print(f"FAIL kernel {RELEASE}: the guest did not end within {seconds} s")
    elif not statuses:
        print(f"FAIL kernel {RELEASE}: the guest ended without an exit status (a panic?)")
    elif not re.search(rf"^Linux {re.escape(RELEASE)}\.", console, re.MULTILINE):
        print(f"FAIL kernel {RELEASE}: the guest ran another one")
    else:
        return int(statuses[-1])
    return 1


def main() -> int:
    is_full, arguments = "--full" in sys.argv, [word for word in sys.argv[1:] if word != "--full"]
    is_named = not all(word.startswith("-") for word in arguments)
    if not is_full and not is_named:
        arguments += SMOKE
    if is_full and is_named:
        arguments.append("--full")
    try:
        kernel = find_kernel()
    except NoKernelError as reason:
        print(f"NOT RUN: nothing was tested on kernel {RELEASE}: {reason}")
        return SKIPPED
    if is_full:
        for test in TOO_LARGE:
            print(f"SKIPPED {test}: too large for a process of this kernel")
            arguments.append(f"--deselect={test}")
    return run_guest(kernel, arguments, FULL_SECONDS if is_full else SMOKE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
