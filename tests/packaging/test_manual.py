"""The manual pages: formatted without a word of complaint, and complete."""

import gzip
import re
import subprocess

import pytest

PAGES = ["man1/uroboros.1.gz", "man5/uroboros.toml.5.gz"]


@pytest.fixture(params=PAGES)
def page(request, unpacked, tmp_path):
    path = tmp_path / request.param.split("/")[1].removesuffix(".gz")
    path.write_bytes(gzip.decompress((unpacked / "usr/share/man" / request.param).read_bytes()))
    return path


def test_groff_has_nothing_to_say(page):
    result = subprocess.run(["man", "--warnings=w", "--local-file", page], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert len(result.stdout) > 10_000


def test_mandoc_has_nothing_to_say(page):
    result = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_setting_of_the_default_file_has_an_entry(unpacked):
    text = gzip.decompress((unpacked / "usr/share/man/man5/uroboros.toml.5.gz").read_bytes()).decode()
    settings = re.findall(r"^#([a-z0-9_]+) = ", (unpacked / "etc/uroboros/uroboros.toml").read_text(), re.MULTILINE)
    assert len(settings) > 100
    assert re.findall(r"^\.TP\n\.B ([a-z0-9_]+)$", text, re.MULTILINE) == settings
