"""Fixtures of the packaging tests: the packages that `./dev package` has made, and the DEB unpacked."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "package"


def only(pattern: str) -> Path:
    found = sorted(PACKAGES.glob(pattern))
    assert len(found) == 1, f"{PACKAGES} has {found or 'no'} {pattern}: ./dev package makes one"
    return found[0]


@pytest.fixture(scope="session")
def deb() -> Path:
    return only("uroboros_*.deb")


@pytest.fixture(scope="session")
def changes() -> Path:
    return only("uroboros_*.changes")


@pytest.fixture(scope="session")
def rpm() -> Path:
    return only("uroboros-[0-9]*.rpm")


@pytest.fixture(scope="session")
def unpacked(deb, tmp_path_factory) -> Path:
    """The files of the DEB, in a directory of their own."""
    directory = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--extract", deb, directory], check=True)
    return directory
