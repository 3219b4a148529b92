"""All raw HTTP/1 cases, against the echo applications: whole, one byte a write, and cut at every byte."""

import asyncio

import pytest

from harness import corpus
from harness.server import PATIENCE

CASES = corpus.load()
APPS = ("echo_wsgi:app", "echo_asgi:app")
# A server that waits for more bytes would only be told apart from one that hangs by its head timeout.
ANSWER_SECONDS = 15 * PATIENCE
LARGE_CASE_BYTES = 4096
TLS_CASES = [case for case in CASES if not case.get("eof")]
TINY_RECORDS = 1500  # of one connection in ten seconds: more would end it, as they should
LARGE_CASES = [case for case in CASES if len(corpus.raw_bytes(case)) > LARGE_CASE_BYTES]
# The first test of a way waits for all its cases.
pytestmark = pytest.mark.timeout(300 * PATIENCE)


def whole(case):
    return [(case["name"], case, corpus.own_pieces(case))]


def one_byte_a_write(case):
    raw = corpus.raw_bytes(case)
    # Beyond the limits of a head the bytes of a large body add time, not cuts of another kind.
    if len(raw) > 20000:
        return []
    return [(case["name"], case, corpus.one_byte_pieces(raw))]


def one_byte_a_record(case):
    return one_byte_a_write(case) if len(corpus.raw_bytes(case)) < TINY_RECORDS else []


def cuts(case, offsets):
    raw = corpus.raw_bytes(case)
    # One after another: all pieces of all cuts of a large case would be gigabytes.
    return ((f"{case['name']} cut at {at}", case, corpus.cut_pieces(raw, at)) for at in offsets)


def every_cut(case):
    """Of cases with large heads or bodies a sample of the middle, where one byte is like the next."""
    length = len(corpus.raw_bytes(case))
    if length <= LARGE_CASE_BYTES:
        return cuts(case, range(1, length))
    return cuts(case, [*range(1, 256), *range(256, length - 64, 97), *range(length - 64, length)])


def every_cut_of_large_cases(case):
    length = len(corpus.raw_bytes(case))
    return cuts(case, range(1, length)) if length > LARGE_CASE_BYTES else []


@pytest.fixture(scope="module")
def verdicts():
    """What went wrong by (application, way of sending): all cases of a way run at once, then each is one test."""
    return {}


def verdict(verdicts, serve_shared, app, way) -> dict[str, str]:
    key = (app, way.__name__)
    if key not in verdicts:
        server = serve_shared(app, "--threads", "4")
        runs = (run for case in CASES for run in way(case))
        verdicts[key] = asyncio.run(corpus.run_all(runs, server.address, ANSWER_SECONDS))
    return verdicts[key]


def check(wrong: dict[str, str], name: str) -> None:
    found = {label: text for label, text in wrong.items() if label == name or label.startswith(f"{name} cut at ")}
    assert not found, "\n".join(f"{label}: {text}" for label, text in list(found.items())[:5])


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_whole(case, app, verdicts, serve_shared):
    check(verdict(verdicts, serve_shared, app, whole), case["name"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_one_byte_a_write(case, verdicts, serve_shared):
    check(verdict(verdicts, serve_shared, APPS[1], one_byte_a_write), case["name"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_cut(case, verdicts, serve_shared):
    check(verdict(verdicts, serve_shared, APPS[1], every_cut), case["name"])


def over_tls(verdicts, serve_shared, tls, way) -> dict[str, str]:
    """Half-closing is not in the client's power there, so cases that end so are not sent."""
    key = ("tls", way.__name__)
    if key not in verdicts:
        server = serve_shared(APPS[1], "--threads", "4", *tls.ecdsa.options)
        context = tls.client_context()
        context.check_hostname = False
        runs = (run for case in TLS_CASES for run in way(case))
        verdicts[key] = asyncio.run(corpus.run_all(runs, server.address, ANSWER_SECONDS, tls=context))
    return verdicts[key]


@pytest.mark.parametrize("case", TLS_CASES, ids=lambda case: case["name"])
def test_whole_over_tls(case, verdicts, serve_shared, tls):
    check(over_tls(verdicts, serve_shared, tls, whole), case["name"])


@pytest.mark.parametrize("case", TLS_CASES, ids=lambda case: case["name"])
def test_one_byte_a_record(case, verdicts, serve_shared, tls):
    check(over_tls(verdicts, serve_shared, tls, one_byte_a_record), case["name"])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", LARGE_CASES, ids=lambda case: case["name"])
def test_every_cut_of_large_cases(case, verdicts, serve_shared):
    check(verdict(verdicts, serve_shared, APPS[1], every_cut_of_large_cases), case["name"])
