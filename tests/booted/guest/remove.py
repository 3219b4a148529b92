"""Removal stops the service and keeps the owner's files; after a purge nothing is left but the user."""

import shutil
import socket
from pathlib import Path

from machine import CERTIFICATE, CONFIG, HTTP, KEY, UNIT, main_pid, run, show

# Where a trace is no leftover: what dpkg and the journal remember, what the kernel shows, and our own.
ELSEWHERE = ("/proc", "/sys", "/dev", "/booted", "/var/lib/dpkg/info", "/var/log/journal", "/run/log", "/srv/site",
             "/var/lib/systemd/deb-systemd-helper-enabled")  # fmt: skip


def traces() -> list[str]:
    pruned = [word for path in ELSEWHERE for word in ("-path", path, "-prune", "-o")]
    return run("find", "/", *pruned, "-name", "*uroboros*", "-print").splitlines()


def test_removal_stops_the_service():
    pid = main_pid()
    run("apt-get", "remove", "-y", "uroboros")
    assert not Path(f"/proc/{pid}").exists()
    assert show("ActiveState") != "active"
    with socket.socket() as client:
        assert client.connect_ex(HTTP) != 0, "somebody still listens"


def test_removal_keeps_the_owners_settings():
    assert 'wsgi_app = "site_app:application"' in CONFIG.read_text()
    assert not Path("/usr/bin/uroboros").exists()
    assert not Path(f"/lib/systemd/system/{UNIT}").exists()


def test_a_purge_leaves_nothing():
    CERTIFICATE.unlink()
    KEY.unlink()
    shutil.rmtree(f"/etc/systemd/system/{UNIT}.d")
    run("apt-get", "purge", "-y", "uroboros")
    assert not traces(), traces()


def test_the_user_stays_because_its_number_may_own_files():
    run("getent", "passwd", "uroboros")


def test_systemd_is_content():
    failed = run("systemctl", "--failed", "--plain", "--no-legend")
    assert "uroboros" not in failed, failed
