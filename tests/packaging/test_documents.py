"""Every block of commands in the README and docs/ is run, and every TOML block is read by the daemon.

A block that cannot be run says so above itself, in a comment that the reader of the page does not see:

    <!-- not run: REASON -->            skipped, and the reason stands in the summary
    <!-- serves: URL -->                each line is a server: it is started, asked, and stopped

All others run as one shell script, in a directory that looks like the top of the tree.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, only
from serving import environment, serve_once

DOCUMENTS = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- (not run|serves): (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = ("sh", "bash", "console")
# What is no command and no setting: code and drawings to be read, and other programs' files.
TO_BE_READ = ("", "python", "nginx", "ini", "text")
DAEMON = Path(os.environ.get("UROBOROS", ROOT / "build" / "release" / "uroboros")).resolve()


@dataclass
class Block:
    name: str
    marker: str | None
    note: str | None
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start(3)) + 1
            found.append(Block(f"{path.relative_to(ROOT)}:{line}", *match.groups()))
    return found


def of(*languages: str):
    return pytest.mark.parametrize("block", [b for b in blocks() if b.language in languages], ids=lambda b: b.name)


@pytest.fixture(scope="session")
def top(tmp_path_factory) -> Path:
    """The top of a tree as the documents take it for granted: built, with an application, a certificate, ticket keys."""
    directory = tmp_path_factory.mktemp("top")
    for name in ("build", "examples", "docs", "dev"):
        (directory / name).symlink_to(ROOT / name)
    (directory / "venv").symlink_to(ROOT / ".venv")
    (directory / "SOURCES").symlink_to(ROOT)
    shutil.copy(ROOT / "examples" / "hello.py", directory / "myapp.py")
    (directory / "keys").write_bytes(bytes(160))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-out", "fullchain.pem", "-keyout", "privkey.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    return directory


def test_every_block_says_what_it_is():
    unknown = [block.name for block in blocks() if block.language not in (*COMMANDS, *TO_BE_READ, "toml")]
    assert unknown == []


@of(*COMMANDS)
def test_commands(block, top):
    if block.marker == "not run":
        pytest.skip(f"{block.name}: {block.note}")
    directory = top / "examples" if block.name.startswith("examples/") else top
    if block.marker == "serves":
        for line in block.text.splitlines():
            assert serve_once(["bash", "-c", f"exec {line}"], block.note, directory)
        return
    only("uroboros_*.deb")
    result = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", block.text], cwd=directory, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@of("toml")
def test_settings(block, tmp_path):
    path = tmp_path / "settings.toml"
    # The documents' application has a directory and an environment here too.
    path.write_text(block.text.replace("/srv/shop/venv", str(ROOT / ".venv")).replace("/srv/shop", str(tmp_path)))
    result = subprocess.run(
        [DAEMON, "-c", path, "--print-config"],
        cwd=tmp_path, env=environment() | {"CREDENTIALS_DIRECTORY": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert str(path) in result.stdout
