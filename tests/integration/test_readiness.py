"""How long a service takes from its start to READY=1, beyond what the application needs to be imported.

In the booted system (tests/booted) everything shares one slow CPU; the figure is printed there and judged here.
"""

import os
import resource
import socket
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from harness.server import APPS, BINARY, LATENESS, PATIENCE, clean_environment

IMPORT_SECONDS = 0.3
# What a quiet machine is asked for; a busy one may take ten times as long by the clock.
GOAL_SECONDS = 0.5

APPLICATION = f"""
import time
from hello_wsgi import app
time.sleep({IMPORT_SECONDS})
"""


def cpu_seconds() -> float:
    """Of all processes that have ended: on a busy machine this says more than the clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Service:
    """One start, as systemd makes it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = str(directory / f"notify.{time.monotonic_ns()}")
        self.socket.bind(name)
        self.socket.settimeout(10 * GOAL_SECONDS + IMPORT_SECONDS + LATENESS)
        path = os.pathsep.join([str(directory), str(APPS)])
        environment = clean_environment({"NOTIFY_SOCKET": name, "PYTHONPATH": path})
        self.command = [str(BINARY), "slow_to_import:app", "-b", "127.0.0.1:0", *options]
        self.run = {"env": environment, "cwd": directory, "stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}

    def check(self) -> float:
        begin = time.monotonic()
        subprocess.run([*self.command, "--check-config"], check=True, **self.run)
        return time.monotonic() - begin

    def start(self) -> float:
        begin = time.monotonic()
        process = subprocess.Popen(self.command, **self.run)
        try:
            while not self.socket.recv(4096).startswith(b"READY=1\n"):
                pass
            return time.monotonic() - begin
        finally:
            process.terminate()
            process.communicate(timeout=LATENESS)
            self.socket.close()


@pytest.mark.parametrize("options", [("-w", "1"), ("-w", "4"), ("-w", "4", "--preload")], ids=" ".join)
def test_ready_comes_soon_after_the_application_is_imported(tmp_path, capsys, options):
    (tmp_path / "slow_to_import.py").write_text(APPLICATION)
    # The first of an application's processes is started alone, the others when it has proved itself; of a template all
    # are copies.
    imports = 2 if options == ("-w", "4") else 1
    started, checked, busy = [], [], []
    for _ in range(5):
        service = Service(tmp_path, *options)
        checked.append(service.check() - IMPORT_SECONDS)
        before = cpu_seconds()
        started.append(service.start() - imports * IMPORT_SECONDS)
        busy.append(cpu_seconds() - before)
    with capsys.disabled():
        print(
            f"\n{' '.join(options)}: READY {statistics.median(started):.3f} s beyond the imports"
            f" ({max(started):.3f} at most), --check-config {statistics.median(checked):.3f} s beyond its own;"
            f" CPU of all processes from start to end {statistics.median(busy):.3f} s"
        )
    # Nothing waits for anything but a CPU: where there is one, the goal is met when this is.
    assert statistics.median(busy) < GOAL_SECONDS * PATIENCE
    assert statistics.median(started) < 10 * GOAL_SECONDS * PATIENCE
