"""h2spec, the conformance tests of HTTP/2 that other servers are held against: every case, strict ones too.

Both ways of getting to HTTP/2 are tried: cleartext with prior knowledge, and TLS.
"""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.programs import go_program, run
from harness.server import PATIENCE

VERSION = "v2.2.1+incompatible"
CASES = 146

# What a cleartext listener answers otherwise, and why.
CLEARTEXT_EXCEPTIONS = {
    # It speaks HTTP/1.1 as well, so octets that are no preface are a request line that is none: 400, not GOAWAY.
    # RFC 9113 3.4 lets GOAWAY be omitted in that case; over TLS, where ALPN has said h2, the case passes.
    ("http2/3.5", "Sends invalid connection preface"),
}


@pytest.fixture(scope="session")
def h2spec() -> Path:
    return go_program("h2spec", f"github.com/summerwind/h2spec/cmd/h2spec@{VERSION}")


def outcomes(h2spec: Path, report: Path, server, *options: str) -> tuple[int, set[tuple[str, str]]]:
    """How many cases there were, and those that did not pass."""
    where = ("--port", server.address[1], "--junit-report", report)
    done = run(h2spec, "--strict", "--timeout", 10 * PATIENCE, *where, *options, timeout=300)
    assert report.exists(), done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        (case.get("package"), case.get("classname"))
        for case in cases
        if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
    }
    if failed:
        print(done.stdout[-6000:])
    return len(cases), failed


@pytest.mark.timeout(330 * PATIENCE)
def test_every_case_passes_over_tls(serve, h2spec, tls, tmp_path):
    server = serve("hello_wsgi:app", *tls.ecdsa.options)
    assert outcomes(h2spec, tmp_path / "report.xml", server, "--tls", "--insecure") == (CASES, set())


@pytest.mark.timeout(330 * PATIENCE)
def test_every_case_but_one_passes_in_cleartext(serve, h2spec, tmp_path):
    server = serve("hello_wsgi:app", "--http2-cleartext", "prior-knowledge")
    assert outcomes(h2spec, tmp_path / "report.xml", server) == (CASES, CLEARTEXT_EXCEPTIONS)
