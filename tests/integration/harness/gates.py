"""FIFOs at which an application waits until the test lets it go on, however slow either of them is."""

import os
from pathlib import Path

import pytest


class Gates:
    """The application reads one octet. Open for both ways here, so that no side comes too early."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.closed: dict[str, int] = {}

    def make(self, name: str = "gate") -> str:
        path = str(self.directory / name)
        os.mkfifo(path)
        self.closed[path] = os.open(path, os.O_RDWR)
        return path

    def open(self, path: str) -> None:
        os.write(self.closed[path], b"x")


@pytest.fixture
def gates(tmp_path):
    made = Gates(tmp_path)
    yield made
    for path, descriptor in made.closed.items():
        made.open(path)  # a test that failed leaves nobody waiting
        os.close(descriptor)
