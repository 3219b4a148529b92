"""The package is installed by apt; what it starts, and what it leaves to its owner."""

import os
import re
import stat
from pathlib import Path

from machine import (
    CERTIFICATE,
    CONFIG,
    CREDENTIAL,
    CREDENTIALS,
    KEY,
    SHARED,
    UNIT,
    WORKERS,
    drop_in,
    run,
    set_in_config,
    show,
    write_application,
)

LISTENER = f"""
[[listen]]
address = "127.0.0.1:8443"
certfile = "{CERTIFICATE}"
keyfile = "{CREDENTIAL}"
"""
OWN_FILES_BYTES_MAX = 2 << 20


def test_apt_installs_the_package():
    run("apt-get", "install", "-y", SHARED / "uroboros.deb")
    return run("uroboros", "--version").strip()


def test_our_own_files_stay_under_2_mib():
    files = [Path(line) for line in run("dpkg", "-L", "uroboros").splitlines()]
    size = sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink())
    assert size < OWN_FILES_BYTES_MAX, size
    return f"{size / 1024:.0f} KiB"


def test_nothing_runs_before_its_owner_says_so():
    assert show("ActiveState") == "inactive"
    assert run("systemctl", "is-enabled", UNIT, check=False).strip() == "disabled"


def test_the_service_has_a_user_of_its_own():
    assert re.match(r"uroboros:[^:]*:\d+:\d+:.*:/usr/sbin/nologin$", run("getent", "passwd", "uroboros").strip())


def test_the_settings_file_is_the_owners_and_says_every_default():
    mode = CONFIG.stat()
    assert (mode.st_uid, stat.S_IMODE(mode.st_mode) & 0o022) == (0, 0)
    assert not [line for line in CONFIG.read_text().splitlines() if line and not line.startswith("#")]


def test_the_owner_edits_the_settings():
    write_application("first")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", KEY, "-out", CERTIFICATE)  # fmt: skip
    os.chmod(KEY, 0o600)
    drop_in("credentials", CREDENTIALS)
    set_in_config("wsgi_app", '"site_app:application"')
    set_in_config("chdir", '"/srv/site"')
    set_in_config("bind", '["127.0.0.1:8000"]')
    set_in_config("workers", str(WORKERS))
    set_in_config("graceful_timeout", "10")
    with CONFIG.open("a") as file:
        file.write(LISTENER)
