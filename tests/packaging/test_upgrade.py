"""What the packages run after an upgrade, with a systemctl that only says what it was asked for.

That a real service loses no request by it is for tests/booted.
"""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

GUEST = Path(__file__).with_name("upgrade_root.sh")
UPGRADE_SERVICES = ROOT / "packaging" / "upgrade-services"


def test_a_service_that_does_not_execute_the_new_program_serves_on_and_is_named(tmp_path):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("only root, where mount namespaces are allowed, can put a program into /usr/bin for a while")
    result = subprocess.run(
        ["unshare", "--mount", GUEST, tmp_path, UPGRADE_SERVICES], capture_output=True, text=True, timeout=600
    )
    assert result.stdout.splitlines() == ["daemon-reload", "uroboros"], result.stderr
    complaint = "uroboros@shop.service serves on as before the upgrade: serving; the last upgrade failed: this and that"
    assert complaint in result.stderr
    assert "uroboros.service" not in result.stderr
