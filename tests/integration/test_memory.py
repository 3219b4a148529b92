"""client_memory_max: what clients make the server hold has a cap, and steps before it is reached (RES-09)."""

import re
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from harness.client import Client
from harness.http2 import StreamReset, connect_http2
from harness.server import IS_SANITIZED, Server
from harness.waiting import eventually

CAP = 4 << 20
CROWD_MAX = 1000  # of a head of 24 KiB each, twice what fits
SCARCE = r"HTTP/2 streams are refused"
EXHAUSTED = r"requests are answered 503"
NORMAL = r"clients are served as ever"


def has_said(server: Server, pattern: str) -> bool:
    return re.search(pattern, server.log()) is not None


def rss(server: Server) -> int:
    """Of the only I/O process, without what it shares: its arena is not part of the cap."""
    (pid,) = [pid for pid, title in server.processes().items() if title.startswith("uroboros: io")]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


def crowd(server: Server, clients: list[Client], pattern: str) -> None:
    """Clients begin heads and do not end them, until the log says what they brought about."""
    while not has_said(server, pattern):
        assert len(clients) < CROWD_MAX, f"{len(clients)} heads were taken in:\n{server.log()}"
        client = server.connect()
        clients.append(client)
        client.send_more("GET / HTTP/1.1\r\nHost: a\r\n")
        for _ in range(3):
            client.send_more("X-Long: " + "x" * 8000 + "\r\n")
        assert server.get("/health").status == 200


def test_memory_that_clients_fill_is_refused_in_steps_and_comes_back(serve):
    options = ("--rings", "1", "--client-memory-max", str(CAP), "--health-path", "/health", "--head-timeout", "300")
    server = serve("hello_wsgi:app", *options, "--http2-cleartext", "prior-knowledge")
    clients: list[Client] = []
    idle = server.connect()
    assert idle.request("/").status == 200
    before = rss(server)

    crowd(server, clients, SCARCE)
    idle.expect_close()
    with server.connect() as one:
        response = one.request("/")
        assert (response.status, response.header("connection")) == (200, "close")
        one.expect_close()
    with connect_http2(server) as client, pytest.raises(StreamReset) as refused:
        client.request("/")
    assert refused.value.code == ErrorCodes.REFUSED_STREAM
    with connect_http2(server) as client:
        assert client.request("/health").status == 200

    crowd(server, clients, EXHAUSTED)
    with server.connect() as one:
        response = one.request("/")
        assert (response.status, response.header("connection")) == (503, "close")
        one.expect_close()
    assert server.get("/health").status == 200
    if not IS_SANITIZED:
        # Slabs and the allocator hold chunks that are in part free.
        assert rss(server) - before < CAP * 3 // 2

    for client in clients:
        client.close()
    server.wait_for_log(NORMAL)
    eventually(lambda: server.get("/").header("connection") != "close")
    with connect_http2(server) as client:
        assert client.request("/").status == 200


def test_a_cut_head_grows_no_more_when_memory_is_exhausted(serve):
    options = ("--rings", "1", "--client-memory-max", str(CAP), "--health-path", "/health", "--head-timeout", "300")
    server = serve("hello_wsgi:app", *options)
    clients: list[Client] = []
    crowd(server, clients, EXHAUSTED)
    first = clients[0]
    first.send_more("X-More: " + "x" * 8000 + "\r\n" + "X-More: " + "x" * 8000 + "\r\n")
    response = first.read_response()
    assert (response.status, response.header("connection")) == (503, "close")
    for client in clients:
        client.close()
    server.wait_for_log(NORMAL)
