"""A newer package under load: the service executes the new program in its old process."""

import os
from pathlib import Path

from load import load
from machine import CONFIG, SHARED, main_pid, run, set_in_config, wait_until

KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
# The newer package puts it at the head of its default settings.
NEWER_LINE = "# This line came with the newer package."
IS_FULL = (SHARED / "full").exists()
REQUESTS = 20_000 if IS_FULL else 2_000


def program(pid: int) -> tuple[int, int]:
    status = os.stat(f"/proc/{pid}/exe")
    return status.st_dev, status.st_ino


def test_an_upgrade_under_load_fails_no_request():
    before, old = main_pid(), program(main_pid())
    with load() as clients:
        wait_until(lambda: clients.answered > REQUESTS // 4, "requests before the upgrade", 120)
        text = run("apt-get", "install", "-y", *KEEP, SHARED / "uroboros-newer.deb")
        wait_until(lambda: clients.answered > REQUESTS, "requests after the upgrade", 240)
    assert main_pid() == before, f"the service has another process\n{text}"
    installed = Path("/usr/bin/uroboros").stat()
    assert program(before) == (installed.st_dev, installed.st_ino) != old, text
    return clients.verdict()


def test_an_upgrade_keeps_the_owners_settings():
    assert run("dpkg-query", "-W", "-f", "${Version}", "uroboros").endswith("+newer")
    text = CONFIG.read_text()
    assert 'wsgi_app = "site_app:application"' in text and NEWER_LINE not in text
    assert NEWER_LINE in Path(f"{CONFIG}.dpkg-dist").read_text()


def test_the_upgraded_service_reloads():
    set_in_config("workers", "3")
    run("systemctl", "reload", "uroboros.service")
    run("systemctl", "is-active", "uroboros.service")
