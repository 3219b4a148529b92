#!/usr/bin/env python3
"""Runs a smoke set of the integration tests on kernel 6.1, the oldest that is supported.

The kernel is Debian's user-mode-linux: an ordinary program, no privilege and no hardware support needed. It sees the
files of this machine, so the daemon and the tests are the ones that were built here.

usage: run.py [PYTEST ARGUMENT...]
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "kernel"
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
    "test_addresses.py::test_unix",
    "test_failures.py::test_an_application_that_dies_costs_its_request_and_no_connection",
    "test_signals.py::test_hup_replaces_the_processes_and_closes_no_connection",
    "test_bodies.py::test_a_body_in_drips_is_put_together",
]


def cpio_entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file of an archive of the kind that the kernel unpacks (newc)."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    entry = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def make_initial_file_system() -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    program, archive = BUILD / "init", BUILD / "initramfs"
    source = Path(__file__).parent / "init.c"
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-D_GNU_SOURCE", "-o", program, source], check=True)
    archive.write_bytes(
        cpio_entry("dev", 0o040755)
        + cpio_entry("dev/console", 0o020600, device=(5, 1))
        + cpio_entry("host", 0o040755)
        + cpio_entry("init", 0o100755, program.read_bytes())
        + cpio_entry("TRAILER!!!", 0)
    )
    return archive


def write_script(folder: str, arguments: list[str]) -> Path:
    script = Path(folder) / "script"
    daemon = os.environ.get("UROBOROS", ROOT / "build" / "release" / "uroboros")
    script.write_text(
        f"uname -sr\nmkdir -p /run/tmp\n"
        f"export TMPDIR=/run/tmp HOME=/run PYTHONDONTWRITEBYTECODE=1 UROBOROS={daemon} UROBOROS_SLOW_MACHINE=1\n"
        f"cd {ROOT}/tests/integration\n"
        f"exec {ROOT}/.venv/bin/python -m pytest --color=no -p no:cacheprovider {' '.join(arguments)}\n"
    )
    return script


def main() -> int:
    archive = make_initial_file_system()
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(folder, sys.argv[1:] or SMOKE)
        kernel = ["linux.uml", "mem=1024M", f"initrd={archive}", f"script={script}", "con=null", "con0=fd:0,fd:1",
                  "quiet", "panic=-1"]  # fmt: skip
        booted = subprocess.run(
            kernel, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False
        )
    output = booted.stdout.decode(errors="replace").replace("\r\n", "\n")
    print(output)
    status = re.search(r"^kernel test: exit status (\d+)$", output, re.MULTILINE)
    return int(status.group(1)) if status else 1


if __name__ == "__main__":
    sys.exit(main())
