"""tests/proofs.md names a test for each promise: they exist, and no row is without one or a reason."""

import functools
import json
import re

import pytest

from harness.server import ROOT

TESTS = ROOT / "tests"
PAGE = (TESTS / "proofs.md").read_text()
# How many rows the study of attacks and failures has of each kind.
ROWS = {"H2": 28, "H1": 42, "TLS": 20, "RES": 24}
EVENTS = 11


@functools.cache
def names_of_tests() -> set[str]:
    found: set[str] = set()
    for path in TESTS.glob("integration/test_*.py"):
        found.update(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    for path in TESTS.glob("unit/*/*_test.c"):
        text = path.read_text()
        defined = set(re.findall(r"^static void (\w+)\(void \*\*", text, re.MULTILINE))
        found.update(name for name in defined if re.search(rf"\b(?:cmocka_unit_test|[A-Z_]+)\w*\(\s*{name}\b", text))
    for path in TESTS.glob("vectors/*/*.txt"):
        found.update(re.findall(r"^case (\S+)", path.read_text(), re.MULTILINE))
    for line in (TESTS / "vectors/http1/cases.jsonl").read_text().splitlines():
        found.add(json.loads(line)["name"])
    return found


def rows() -> list[tuple[str, str]]:
    found = [re.fullmatch(r"\| (.+?) \| (.+) \|", line) for line in PAGE.splitlines()]
    return [(row[1], row[2]) for row in found if row and row[2] != "shown by"]


@pytest.mark.parametrize(("row", "shown_by"), [pytest.param(*row, id=row[0]) for row in rows()])
def test_what_is_named_exists(row, shown_by):
    named = re.findall(r"`([\w.-]+)`", shown_by)
    if not named:
        assert shown_by.startswith("None: "), f"{row}: neither a test nor a reason"
    missing = {name for name in named if not name.endswith(".c")} - names_of_tests()
    assert not missing, f"{row}: {missing}"


def test_no_row_is_missing():
    named = [row for row, _ in rows()]
    wanted = [f"{kind}-{number:02}" for kind, count in ROWS.items() for number in range(1, count + 1)]
    assert named[EVENTS:] == wanted
