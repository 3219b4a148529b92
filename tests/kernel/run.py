#!/usr/bin/env python3
"""Runs integration tests on kernel 6.1, the oldest that is supported, or on one that is newer than this machine's.

The first is Debian's user-mode-linux, an ordinary program; the second runs in an emulated machine and takes new keys of
TLS (6.14 and later). Neither needs privilege or hardware support. Both see the files of this machine, so the daemon and
the tests are the ones that were built here; what they write stays in the guest.

usage: run.py [--newer] [--instructions] [--ktls MODE] [--full] [--seconds N] [PYTEST OPTION...] [TEST...]

--instructions is a newer one whose clock is the number of instructions executed, for measurements: the figures are the
same whatever else this machine does. --ktls is the setting of every daemon that a test does not give one of its own;
--seconds bounds the guest's life.

Without a test a smoke set runs, with --full every integration test that takes no --full of its own. A test that is
named gets --full itself. The exit status is that of pytest; 1 when the guest panics or does not end in time; 77 when
there is no such kernel here.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from newer import find_newer_kernel, newer_command, read_modules
from uml import RELEASE, NoKernelError, boot, find_kernel, find_modules

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "kernel"
DAEMON = Path(os.environ.get("UROBOROS", ROOT / "build" / "release" / "uroboros")).resolve()
SKIPPED = 77
# The guest has one CPU, and this machine may be busy.
SMOKE_SECONDS, NEWER_SECONDS, FULL_SECONDS = 600, 1800, 3600
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
# What a newer one does that 6.1 does not: new keys, and so both directions by default.
NEWER = [
    "test_ktls.py::test_a_client_that_takes_new_keys_is_served_on_where_that_is_possible",
    "test_ktls.py::test_by_default_the_kernel_decrypts_where_it_can_take_new_keys",
    "test_ktls.py::test_what_the_kernel_does_is_told",
    "test_ktls.py::test_the_kernel_serves",
    "test_ktls.py::test_the_end_is_said_in_tls",
    "test_ktls.py::test_a_forged_record_ends_the_connection_with_an_alert_or_a_reset",
    "test_ktls.py::test_many_streams_of_one_connection",
    "test_ktls.py::test_records_with_padding_arrive_though_the_kernel_expects_none",
    "test_files_ktls.py",
]
# Below the folder of its modules; each after those it needs.
MODULES = [
    "crypto/gf128mul.ko",
    "crypto/ghash-generic.ko",
    "crypto/ctr.ko",
    "crypto/seqiv.ko",
    "crypto/gcm.ko",
    "lib/crypto/libchacha.ko",
    "crypto/chacha_generic.ko",
    "lib/crypto/libpoly1305.ko",
    "crypto/poly1305_generic.ko",
    "crypto/chacha20poly1305.ko",
    "net/tls/tls.ko",
    "drivers/block/loop.ko",
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


@dataclass
class Engine:
    """How a kernel comes to run."""

    release: str
    modules: list[bytes]
    command: Callable[[Path, list[str]], list[str | Path]]  # of the initial file system and the kernel's parameters


def uml_engine() -> Engine:
    kernel = find_kernel()
    folders = sorted(find_modules(kernel).glob(f"{RELEASE}.*/kernel"))
    modules = [folders[-1] / name for name in MODULES] if folders else []

    def command(archive: Path, parameters: list[str]) -> list[str | Path]:
        return [kernel, "mem=1024M", f"uml_dir={archive.parent}", f"initrd={archive}", *parameters,
                "con=null", "con0=fd:0,fd:1", "loglevel=1", "panic=-1"]  # fmt: skip

    return Engine(RELEASE, [path.read_bytes() for path in modules if path.exists()], command)


def newer_engine(counts: bool) -> Engine:
    kernel = find_newer_kernel()

    def command(archive: Path, parameters: list[str]) -> list[str | Path]:
        return newer_command(kernel, archive, parameters, counts)

    return Engine("newer", read_modules(), command)


def make_initial_file_system(folder: Path, modules: list[bytes]) -> Path:
    program, archive = folder / "init", folder / "initramfs"
    source = Path(__file__).parent / "init.c"
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", program, source], check=True)
    archive.write_bytes(
        cpio_entry("dev", 0o040755)
        + cpio_entry("dev/console", 0o020600, device=(5, 1))
        + cpio_entry("host", 0o040755)
        + cpio_entry("modules", 0o040755)
        + b"".join(cpio_entry(f"modules/{i:02}.ko", 0o100644, module) for i, module in enumerate(modules))
        + cpio_entry("init", 0o100755, program.read_bytes())
        + cpio_entry("TRAILER!!!", 0)
    )
    return archive


def uncover(folder: Path) -> str:
    """The guest has a /tmp and a /run of its own: what we need from the machine's is shown again on top of them."""
    if not folder.is_relative_to("/tmp") and not folder.is_relative_to("/run"):
        return ""
    name = shlex.quote(str(folder))
    return f"mkdir -p {name} && mount --bind /mnt{name} {name} || exit 1\n"


def write_script(folder: Path, settings: dict[str, str], arguments: list[str]) -> Path:
    script = folder / "script"
    python = ROOT / ".venv" / "bin" / "python"
    pytest = [str(python), "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *arguments]
    wanted = "".join(f" {name}={value}" for name, value in settings.items())
    script.write_text(
        uncover(ROOT)
        + ("" if DAEMON.is_relative_to(ROOT) else uncover(DAEMON.parent))
        + "uname -sr\n"
        + f"export HOME=/run PYTHONDONTWRITEBYTECODE=1 UROBOROS_SLOW_MACHINE=1 UROBOROS_TEST_KTLS=1{wanted}\n"
        + f"export UROBOROS={shlex.quote(str(DAEMON))}\n"
        + f"cd {shlex.quote(str(ROOT / 'tests' / 'integration'))} || exit 1\n"
        + f"{shlex.join(pytest)}\n"
        + 'status=$?\n[ "$status" -eq 0 ] || dmesg | tail -n 30\nexit "$status"\n'
    )
    return script


def is_expected(release: str, console: str) -> bool:
    said = re.search(r"^Linux (\d+)\.(\d+)", console, re.MULTILINE)
    if not said:
        return False
    number = int(said[1]), int(said[2])
    return number >= (6, 14) if release == "newer" else f"{number[0]}.{number[1]}" == release


def run_guest(engine: Engine, settings: dict[str, str], arguments: list[str], seconds: int) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        archive = make_initial_file_system(folder, engine.modules)
        script = write_script(folder, settings, arguments)
        console, ended = boot(engine.command(archive, [f"script={script}"]), seconds)
    statuses = re.findall(r"^kernel test: exit status (\d+)$", console, re.MULTILINE)
    if not ended:
        print(f"FAIL kernel {engine.release}: the guest did not end within {seconds} s")
    elif not statuses:
        print(f"FAIL kernel {engine.release}: the guest ended without an exit status (a panic?)")
    elif not is_expected(engine.release, console):
        print(f"FAIL kernel {engine.release}: the guest ran another one")
    else:
        return int(statuses[-1])
    return 1


def parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False, allow_abbrev=False)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--newer", action="store_true")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--ktls", choices=["auto", "tx", "both", "off"])
    parser.add_argument("--seconds", type=int)
    options, arguments = parser.parse_known_args(words)
    options.newer = options.newer or options.instructions
    options.full = options.full or options.instructions
    return options, arguments


def settings_of(options: argparse.Namespace) -> dict[str, str]:
    """What tests are told by their environment."""
    settings = {"UROBOROS_TEST_KTLS_MODE": options.ktls} if options.ktls else {}
    return settings | ({"UROBOROS_TEST_INSTRUCTIONS": "1"} if options.instructions else {})


def main() -> int:
    options, arguments = parse(sys.argv[1:])
    is_named = any(".py" in word for word in arguments)  # an option's value is no test
    if not is_named and (options.newer or not options.full):
        arguments += NEWER if options.newer else SMOKE
    if options.full and is_named:
        arguments.append("--full")
    try:
        engine = newer_engine(options.instructions) if options.newer else uml_engine()
    except NoKernelError as reason:
        print(f"NOT RUN: nothing was tested on kernel {'6.14 or newer' if options.newer else RELEASE}: {reason}")
        return SKIPPED
    if options.full and not options.newer:
        for test in TOO_LARGE:
            print(f"SKIPPED {test}: too large for a process of this kernel")
            arguments.append(f"--deselect={test}")
    seconds = FULL_SECONDS if options.full else NEWER_SECONDS if options.newer else SMOKE_SECONDS
    return run_guest(engine, settings_of(options), arguments, options.seconds or seconds)


if __name__ == "__main__":
    sys.exit(main())
