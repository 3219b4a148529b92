"""Long bodies of fast clients: they begin before they are complete, and nobody else pays for it."""

import json
import time
from contextlib import contextmanager

import pytest
from test_buffering import ALL_HELD, FOUR_THREADS, MIB, assert_others_are_served, body_of, digest_of, post_head
from test_metrics import read, total

from harness.client import build_request
from harness.waiting import eventually, wait_for_event

METRICS = ("--metrics-path", "/metrics")
LENGTH = 32 * MIB
ATTEMPTS = 20
CHUNKED = b"POST /read_all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def early_starts(server) -> int:
    """Of now: the page of metrics is made anew ten times a second."""
    time.sleep(0.11)
    return total(read(server), "request_early_starts_total")


@contextmanager
def begun_early(server, target: str, first: int = 2 * MIB):
    """A client of which the body's first part came so fast that its request has begun. Fast is what this machine, with
    whatever else it does now, lets it be: it may take more than one attempt."""
    for _ in range(ATTEMPTS):
        before = early_starts(server)
        with server.connect(timeout=30) as client:
            client.send(post_head(LENGTH, target) + b"x" * first)
            server.get("/hello")
            if early_starts(server) > before:
                yield client
                return
    pytest.fail(f"none of {ATTEMPTS} bodies was found to be fast")


def answer_of_read_all(length: int) -> list[int]:
    return [length, length * ord("x") & 0xFFFF]


def test_a_fast_body_begins_before_it_is_complete_and_arrives_whole(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS)
    with begun_early(server, "/read_all") as client:
        assert total(read(server), "request_spool_blocks") == 0
        client.send_more(b"x" * (LENGTH - 2 * MIB) + build_request("/hello"))
        assert json.loads(client.read_response().body) == answer_of_read_all(LENGTH)
        assert client.read_response().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_what_arrives_is_what_was_sent(serve_shared, framing):
    """Whether or not it began early: both ways run here."""
    server = serve_shared("echo_wsgi:app", *FOUR_THREADS)
    for number in range(4):
        body = body_of(number, 24 * MIB + number)
        with server.connect(timeout=30) as client:
            if framing == "length":
                client.send(post_head(len(body)) + body)
            else:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 99_991):
                    piece = body[at : at + 99_991]
                    client.send_more(b"%x\r\n%s\r\n" % (len(piece), piece))
                client.send_more(b"0\r\n\r\n")
            assert json.loads(client.read_response().body)["body_sha256"] == digest_of(body)


def test_a_quarter_of_the_threads_begins_early_and_the_rest_is_free(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS)
    with begun_early(server, "/read_all"):
        begun = early_starts(server)
        others = [server.connect(timeout=30) for _ in range(8)]
        for other in others:
            other.send(post_head(LENGTH, "/read_all") + b"x" * (2 * MIB))
        assert_others_are_served(server, "/hello")
        assert early_starts(server) == begun
        for other in others:
            other.close()


@pytest.mark.parametrize("options", [ALL_HELD, ("-w", "1", "--threads", "3", "--rings", "1")], ids=["on", "3 threads"])
def test_where_none_may_begin_early_none_does(serve, options):
    server = serve("wsgi_cases:app", *options, *METRICS)
    for _ in range(5):
        with server.connect(timeout=30) as client:
            client.send(post_head(LENGTH, "/read_all") + b"x" * LENGTH)
            assert json.loads(client.read_response().body) == answer_of_read_all(LENGTH)
    assert early_starts(server) == 0


def test_a_client_that_goes_midway_frees_its_thread(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS)
    for _ in range(3):
        with begun_early(server, "/read_all"):
            pass
        eventually(lambda: total(read(server), "slots_live") <= 1, what="the end of the request")
    assert_others_are_served(server, "/hello")


def test_an_application_that_does_not_read_answers_all_the_same(serve):
    """The rest is read past, and the connection serves the next request."""
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS)
    with begun_early(server, "/read_none") as client:
        client.send_more(b"x" * (LENGTH - 2 * MIB) + build_request("/hello"))
        assert client.read_response().body == b"did not read\n"
        assert client.read_response().status == 200


def test_the_limit_of_a_chunked_body_holds(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, "--limit-request-body", "16M")
    for _ in range(3):
        with server.connect(timeout=30) as client:
            client.send(CHUNKED)
            for _ in range(16):
                client.send_more(b"%x\r\n%s\r\n" % (MIB, b"x" * MIB))
            client.send_more(b"1\r\nx\r\n")
            assert client.read_response().status == 413
    assert_others_are_served(server, "/hello", 20)


@pytest.mark.full
@pytest.mark.timeout(120)
def test_a_client_that_was_fast_and_stops_gives_its_thread_back(serve):
    """After ten seconds; the application hears of it, its process is not replaced, and long bodies are held again."""
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS, "--timeout", "5")
    with begun_early(server, "/read_fails") as client:
        wait_for_event(server, "reading")
        assert client.read_response().status == 408
        client.expect_close()
    eventually(lambda: "error OSError" in json.loads(server.get("/events").body))
    begun = early_starts(server)
    with server.connect(timeout=30) as client:
        client.send(post_head(LENGTH, "/read_all") + b"x" * LENGTH)
        assert json.loads(client.read_response().body) == answer_of_read_all(LENGTH)
    assert early_starts(server) == begun
    assert total(read(server), "app_deaths_total") == 0
