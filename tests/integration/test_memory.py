"""client_memory_max: what clients make the server hold has a cap, and steps before it is reached (RES-09)."""

import re
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from harness.client import Client
from harness.http2 import StreamReset, connect_http2
from harness.responses import ResponseReader
from harness.server import IS_SANITIZED, Server, allowed
from harness.waiting import eventually

CAP = 4 << 20
CROWD_MAX = 1000  # of a head of 24 KiB each, twice what fits
SCARCE = r"HTTP/2 streams are refused"
EXHAUSTED = r"requests are answered 503"
NORMAL = r"clients are served as ever"


def rss(server: Server) -> int:
    """Of the only I/O process, without what it shares: its arena is not part of the cap."""
    (pid,) = [pid for pid, title in server.processes().items() if title.startswith("uroboros: io")]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


def sip(server: Server) -> socket.socket:
    """Of a client for whom the kernels keep as little as they can: what is sent stays with the server."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    sock.settimeout(allowed(10))
    sock.connect(server.address)
    return sock


def step(server: Server) -> str:
    """By what a request of now gets: the log is read a little later."""
    with server.connect() as one:
        response = one.request("/")
        return EXHAUSTED if response.status == 503 else SCARCE if response.closes else NORMAL


def crowd(server: Server, clients: list[Client], wanted: str) -> None:
    """Clients begin heads and do not end them, until memory is so scarce."""
    while step(server) != wanted:
        assert len(clients) < CROWD_MAX, f"{len(clients)} heads were taken in:\n{server.log()}"
        client = server.connect()
        clients.append(client)
        client.send_more("GET / HTTP/1.1\r\nHost: a\r\n")
        for _ in range(3):
            client.send_more("X-Long: " + "x" * 8000 + "\r\n")
        assert server.get("/health").status == 200
    server.wait_for_log(wanted)


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


def test_streams_that_nobody_reads_count(serve):
    """Their windows are closed: nothing of a response leaves, and what was asked goes on to be asked."""
    options = ("--rings", "1", "--client-memory-max", str(CAP), "--write-timeout", "300")
    server = serve("soak_asgi:app", *options, "--http2-cleartext", "prior-knowledge")
    assert step(server) == NORMAL
    before, clients = rss(server), []
    while step(server) == NORMAL:  # scarce, or exhausted at once: as many as are answered before the first is refused
        assert len(clients) < CROWD_MAX // 10, f"{100 * len(clients)} streams were taken in:\n{server.log()}"
        with suppress(ConnectionError):  # it may be exhausted by now
            clients.append(connect_http2(server, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}))
            for _ in range(100):
                clients[-1].start("/octets/1000")
    if not IS_SANITIZED:
        assert rss(server) - before < CAP * 3 // 2
    for client in clients:
        client.close()
    server.wait_for_log(NORMAL)


def test_responses_over_tls_that_nobody_reads_count(serve, tls):
    """What is sealed is a copy: 128 KiB and more for each, a record where memory is scarce."""
    options = (
        "--rings",
        "1",
        "--client-memory-max",
        str(CAP),
        "--write-timeout",
        "300",
        "--ktls",
        "off",
        *tls.ecdsa.options,
    )
    server = serve("soak_asgi:app", *options)
    with tls.connect(server) as client:
        assert client.request("/octets/1").status == 200
    before = rss(server)
    clients: list[ssl.SSLSocket] = []
    with pytest.raises((ssl.SSLError, ConnectionError)):  # of a handshake
        for _ in range(CROWD_MAX):
            clients.append(tls.client_context().wrap_socket(sip(server), server_hostname="test.example"))
            clients[-1].sendall(b"GET /octets/200000 HTTP/1.1\r\nHost: test.example\r\n\r\n")
            assert clients[-1].recv(1) == b"H"
    server.wait_for_log(EXHAUSTED)
    if not IS_SANITIZED:
        assert rss(server) - before < CAP * 3 // 2
    # Those that were begun go on, in whatever pieces there is memory for.
    reader = ResponseReader()
    reader.expect("GET")
    reader.feed(b"H")
    while not (response := reader.next()):
        reader.feed(clients[0].recv(65536))
    assert len(response.body) == 200_000
    for client in clients:
        client.close()
    server.wait_for_log(NORMAL)


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
