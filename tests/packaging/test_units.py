"""The systemd units: what they allow, in the figures of systemd-analyze, and that they are well formed."""

import re
import shutil
import subprocess

import pytest
from conftest import ROOT

UNITS = ROOT / "packaging" / "systemd"


def exposure(unit) -> float:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=True
    )
    return float(re.search(r"exposure level for \S+: ([0-9.]+)", result.stdout).group(1))


@pytest.mark.parametrize("unit", ["uroboros.service", "uroboros@.service"])
def test_a_service_is_exposed_by_at_most_1_4(unit):
    assert exposure(UNITS / unit) <= 1.4


def test_with_socket_activation_the_exposure_is_at_most_1_1(tmp_path):
    """A drop-in counts as if it stood at the end of the unit."""
    unit = tmp_path / "uroboros.service"
    unit.write_text((UNITS / unit.name).read_text() + (UNITS / "socket-activation.conf").read_text())
    assert exposure(unit) <= 1.1


def test_the_instance_differs_from_the_service_in_nothing_but_its_name():
    def settings(name: str) -> list[str]:
        text = (UNITS / name).read_text().replace("/%i.toml", "/uroboros.toml").replace("uroboros/%i", "uroboros")
        return [line for line in text.splitlines() if not line.startswith(("#", "Description="))]

    assert settings("uroboros@.service") == settings("uroboros.service")


def test_the_units_are_well_formed(unpacked, tmp_path):
    """In a root that has the program and the manual, as systemd-analyze looks for both."""
    root = tmp_path / "root"
    shutil.copytree(unpacked, root, symlinks=True)
    (root / "bin").mkdir()
    shutil.copy("/bin/kill", root / "bin" / "kill")
    units = root / "usr/lib/systemd/system"
    shutil.copytree("/usr/lib/systemd/system", units, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(root / "lib/systemd/system", units, dirs_exist_ok=True)
    names = ["uroboros.service", "uroboros@shop.service", "uroboros.socket"]
    result = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", *names], capture_output=True, text=True
    )
    assert [line for line in result.stderr.splitlines() if "uroboros" in line] == []
