"""A newer package under load: the service executes the new program in its old process."""

import os
from pathlib import Path
from unittest import SkipTest

from load import load
from machine import CONFIG, SHARED, is_served, main_pid, run, set_in_config, show, wait_until

KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
# The newer package puts it at the head of its default settings.
NEWER_LINE = "# This line came with the newer package."
IS_FULL = (SHARED / "full").exists()
REQUESTS = 20_000 if IS_FULL else 2_000
# What a program says that cannot do it yet.
UNABLE = b"exchanging the program while it runs is not available"


def install_newer(seconds: float) -> str:
    return run("apt-get", "install", "-y", *KEEP, SHARED / "uroboros-newer.deb", seconds=seconds)


def installed_version() -> str:
    return run("dpkg-query", "-W", "-f", "${Version}", "uroboros")


def program(pid: int) -> tuple[int, int]:
    status = os.stat(f"/proc/{pid}/exe")
    return status.st_dev, status.st_ino


def test_an_upgrade_under_load_fails_no_request():
    if UNABLE in Path("/usr/bin/uroboros").read_bytes():
        raise SkipTest("this build restarts where it should execute the new program")
    before, old = main_pid(), program(main_pid())
    with load() as clients:
        wait_until(lambda: clients.answered > REQUESTS // 4, "requests before the upgrade", 120)
        text = install_newer(150)
        wait_until(lambda: clients.answered > REQUESTS, "requests after the upgrade", 240)
    assert main_pid() == before, f"the service has another process\n{text}"
    installed = Path("/usr/bin/uroboros").stat()
    assert program(before) == (installed.st_dev, installed.st_ino) != old, text
    return clients.verdict()


def test_an_upgrade_keeps_the_owners_settings():
    if not installed_version().endswith("+newer"):
        install_newer(150)
    assert installed_version().endswith("+newer")
    text = CONFIG.read_text()
    assert 'wsgi_app = "site_app:application"' in text and NEWER_LINE not in text
    assert NEWER_LINE in Path(f"{CONFIG}.dpkg-dist").read_text()


def test_the_upgraded_service_reloads():
    set_in_config("workers", "3")
    run("systemctl", "reload", "uroboros.service")
    wait_until(lambda: show("ActiveState") == "active" and is_served(), "service after the upgrade")
