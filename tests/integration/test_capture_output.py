"""What the application prints: into the error log, or left as it is with --no-capture-output."""

import re

import pytest

from harness.waiting import eventually

PRINTS = """
import logging, sys

def application(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("on purpose")
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr)
    print("to wsgi.errors", file=environ["wsgi.errors"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture(params=["executed", "embedded"])
def start(request, serve, tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS)
    host = ("--python", "embedded") if request.param == "embedded" else ()

    log = tmp_path / "error.log"
    server = None

    def start(*options):
        nonlocal server
        server = serve("prints:application", "--errorlog", str(log), *host, *options, cwd=tmp_path, ready=False)
        eventually(lambda: log.exists() and "ready: listening at" in log.read_text(), what="the daemon is ready")
        server.addresses = [("127.0.0.1", int(re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()).group(1)))]
        return server, log

    yield start
    # What is alive at the end is told to the error log.
    server.expect_clean_stop = False
    assert server.stop() == 0
    server.lines += log.read_text().splitlines()
    server.assert_nothing_alive()


def lines_with(words, lines):
    return [line for line in lines if words in line]


def test_what_is_not_captured_goes_where_the_daemon_writes(start):
    server, log = start("--no-capture-output")
    assert server.get("/").body == b"ok"
    server.wait_for_stdout("^to stdout$")
    server.wait_for_log("^to stderr$")
    eventually(lambda: "to wsgi.errors" in log.read_text(), what="wsgi.errors is in the log")
    assert not lines_with("to stdout", log.read_text().splitlines())
    assert not lines_with("to stderr", log.read_text().splitlines())


def test_exceptions_go_to_the_error_log_all_the_same(start):
    server, log = start("--no-capture-output")
    assert server.get("/fail").status == 500
    eventually(lambda: "LookupError: on purpose" in log.read_text(), what="the traceback is in the log")
    assert "Traceback (most recent call last):" in log.read_text()
    assert not lines_with("LookupError", server.lines)


def test_what_is_captured_is_in_the_log_alone(start):
    server, log = start()
    assert server.get("/").body == b"ok"
    for words in ("to stdout", "to stderr", "to wsgi.errors"):
        eventually(lambda words=words: words in log.read_text(), what=f"{words} is in the log")
    assert server.stdout_lines == [] and not lines_with("to std", server.lines)
