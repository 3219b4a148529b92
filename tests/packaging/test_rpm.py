"""The RPM: what rpmlint says, and its life in a root of its own, with its scripts run. No RPM distribution is booted.

The root is this machine's own as an overlay, without what the package brings itself: BoringSSL and liburing.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

GUEST = Path(__file__).with_name("rpm_root.sh")


def test_rpmlint_has_nothing_to_say(rpm):
    command = ["rpmlint", "--config", ROOT / "packaging/rpm/rpmlint.toml", rpm]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "0 errors, 0 warnings" in result.stdout, result.stdout


def test_the_carried_libraries_are_nobody_elses(rpm):
    def ask(what: str) -> str:
        return subprocess.run(["rpm", "-qp", what, rpm], capture_output=True, text=True, check=True).stdout

    libraries = r"^lib(ssl|crypto|uring)\.so"
    assert not re.search(libraries, ask("--provides"), re.MULTILINE)
    assert not re.search(libraries, ask("--requires"), re.MULTILINE)
    assert "bundled(boringssl)" in ask("--provides")


def test_it_is_installed_serves_and_is_removed_in_a_root_of_its_own(rpm, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make a root of its own")
    if subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("this container allows no mount namespace")
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-eu", GUEST, tmp_path, rpm], capture_output=True, text=True, timeout=600
    )
    said = result.stdout.splitlines()
    assert result.returncode == 0, result.stdout + result.stderr
    assert said[0].startswith("uroboros 0.")
    assert said[1:] == [
        "user uroboros",
        "/run/uroboros of uroboros",
        "/usr/lib/uroboros/libcrypto.so.0",
        "/usr/lib/uroboros/libssl.so.0",
        "/usr/lib/uroboros/liburing.so.2",
        "settings good",
        "Hello over HTTP/1.1",
        "edited settings kept",
        "nothing left",
    ]
