"""TLS against those who mean harm, or know no better, with honest traffic beside them. Rows TLS-06, -07, -09 to -13."""

import contextlib
import os
import random
import select
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness.client import Client, Parallel, build_request
from harness.programs import need
from harness.server import LATENESS, PATIENCE, Server, allowed
from harness.tls import TlsClient, TlsFiles

APP = "hello_wsgi:app"
HELLO_SECONDS, HANDSHAKE_SECONDS = 2, 5
UNFINISHED_MAX = 256


def client_hello(name: str = "test.example") -> bytes:
    """A real one, of Python's own client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def plain(server: Server, timeout: float = 30) -> Client:
    """A connection without a handshake."""
    return Client(server.address, allowed(timeout))


def honest(server: Server, tls: TlsFiles) -> float:
    """Seconds that a handshake and a request take."""
    began = time.monotonic()
    with tls.connect(server) as client:
        assert client.request("/").status == 200
    return time.monotonic() - began


@pytest.fixture
def server(serve, tls):
    return serve(APP, *tls.ecdsa.options, "--rings", "1", "--log-level", "debug")


# --- those who know no better ----------------------------------------------------------------------------------------


PLAIN_REQUESTS = (build_request("/"), build_request("/", method="POST", body=b"x" * 9000), b"G")


@pytest.mark.parametrize("request_bytes", PLAIN_REQUESTS, ids=["get", "post", "first octet"])
def test_plain_http_gets_a_readable_answer(request_bytes, server, tls):
    with plain(server) as client:
        client.send(request_bytes)
        response = client.read_response()
        assert response.status == 400
        assert b"https://" in response.body
        client.expect_close()
    server.wait_for_log("TLS handshake with .* failed: plain_http")
    honest(server, tls)


def test_a_probe_that_says_nothing_is_no_failure(server, tls):
    for _ in range(3):
        plain(server).close()
    honest(server, tls)
    assert "TLS handshake with" not in server.log()


def test_a_client_that_goes_in_the_middle_is_forgotten(server, tls):
    hello = client_hello()
    for length in range(1, len(hello), 40):
        with plain(server) as client:
            client.send_more(hello[:length])
    server.wait_for_log("TLS handshake with .* failed: client_gone")
    honest(server, tls)


# --- octets that are no TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + b"\x00" * 37,  # an SSL 2 hello
        b"\x16\x03\x01\xff\xff" + b"\x01" * 100,  # a record longer than records are
        b"\x16\x02\x00\x00\x05hello",
        b"\x17\x03\x03\x00\x05hello",  # data before any handshake
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x03\x01\x00\x00" * 50,  # empty records
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # an empty hello
        bytes(range(0x80, 0x100)) * 8,
        b"\x00" * 1000,
    ],
    ids=["ssl2", "too long", "version", "data", "alert", "empty records", "empty hello", "noise", "zeros"],
)
def test_what_is_no_tls_is_closed_at_once(octets, server, tls):
    with plain(server) as client:
        client.send_more(octets)
        client.read_until_close()
    assert "timeout" not in server.wait_for_log("TLS handshake with .* failed: .*")[0]
    honest(server, tls)


def test_damaged_hellos_are_refused_one_by_one(server, tls):
    """What is refused is refused with an alert or an end, and never takes the server along."""
    random.seed(11)
    hello = client_hello()
    for _ in range(2000):
        damaged = bytearray(hello)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(5, len(damaged))] = random.randrange(256)
        with plain(server) as client:
            client.send_more(bytes(damaged))
            client.sock.shutdown(socket.SHUT_WR)
            client.read_until_close()
    honest(server, tls)


def test_a_damaged_record_ends_the_connection_and_no_request_comes_of_it(serve, tls):
    server = serve(APP, *tls.ecdsa.options, "--access-logfile", "-")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client_context().wrap_bio(incoming, outgoing, server_hostname="test.example")
    with plain(server) as raw:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.send_more(outgoing.read())
                incoming.write(raw.sock.recv(65536))
        raw.send_more(outgoing.read())
        client.write(build_request("/damaged"))
        record = bytearray(outgoing.read())
        record[-1] ^= 1
        raw.send_more(bytes(record))
        incoming.write(raw.read_until_close())
        with pytest.raises(ssl.SSLError, match="bad record mac|BAD_RECORD_MAC"):
            client.read(1)
    honest(server, tls)
    assert not any("/damaged" in line for line in server.stdout_lines)


# --- those who take their time ---------------------------------------------------------------------------------------


def test_a_client_that_says_nothing_is_closed_in_time(server):
    began = time.monotonic()
    with plain(server) as client:
        client.read_until_close()
    took = time.monotonic() - began
    assert HELLO_SECONDS - 0.5 <= took < HELLO_SECONDS + LATENESS
    server.wait_for_log("failed: timeout, the ClientHello took too long")


def drip(client: Client, data: bytes, pause: float) -> None:
    """Sends an octet every `pause` seconds until the server ends it."""
    for octet in data:
        if select.select([client.sock], [], [], pause)[0]:
            break
        client.send_more(bytes([octet]))
    client.read_until_close()


def test_a_dripping_hello_is_closed_in_time(server, tls):
    began = time.monotonic()
    with plain(server) as client:
        drip(client, client_hello(), 0.1)
    took = time.monotonic() - began
    assert HELLO_SECONDS - 0.5 <= took < HELLO_SECONDS + LATENESS
    honest(server, tls)


def test_a_client_that_never_finishes_is_closed_in_time(server, tls):
    began = time.monotonic()
    with plain(server) as client:
        client.send_more(client_hello())
        assert len(client.sock.recv(65536)) > 100  # our part
        client.read_until_close()
    took = time.monotonic() - began
    assert HANDSHAKE_SECONDS - 0.5 <= took < HANDSHAKE_SECONDS + LATENESS
    server.wait_for_log("failed: timeout, the handshake took too long")


# --- those who are many ----------------------------------------------------------------------------------------------


def test_unfinished_handshakes_are_bounded_and_go(serve, tls, tmp_path):
    """TLS-09: more than 256 wait at the door; cleartext beside them does not notice; all is well again at once."""
    config = tmp_path / "a.toml"
    config.write_text(
        f'rings = 1\nloglevel = "debug"\ncertfile = "{tls.ecdsa.cert}"\nkeyfile = "{tls.ecdsa.key}"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\ntls = true\n[[listen]]\naddress = "127.0.0.1:0"\ntls = false\n'
    )
    server = serve(APP, "-c", str(config), binds=())
    secure, clear = server.addresses
    with tls.connect(server) as established:
        assert established.request("/").status == 200
        silent = [Client(secure, allowed(30)) for _ in range(UNFINISHED_MAX + 100)]
        for _ in range(20):  # those who are in are served, and so is cleartext
            began = time.monotonic()
            assert established.request("/").status == 200
            with Client(clear, allowed(10)) as client:
                assert client.request("/").status == 200
            assert time.monotonic() - began < LATENESS
        assert honest(server, tls) < 2 * HELLO_SECONDS + LATENESS  # in, when the silent ones have had their time
        for client in silent:
            client.read_until_close()
            client.close()
        assert honest(server, tls) < LATENESS


def test_a_flood_of_handshakes_does_not_keep_those_waiting_who_are_in(serve, tls):
    """Each flooder's hello costs the server a signature; a loop that made them all at once would stand still."""
    server = serve(APP, *tls.ecdsa.options, "--rings", "1")
    hello, ending = client_hello(), threading.Event()

    def flood() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError), plain(server) as client:
                client.send_more(hello)
                client.sock.recv(65536)

    with tls.connect(server) as client, Parallel() as parallel:
        try:
            for _ in range(4):
                parallel.start(flood)
            times = []
            for _ in range(300):
                began = time.monotonic()
                assert client.request("/").status == 200
                times.append(time.monotonic() - began)
        finally:
            ending.set()
    assert sorted(times)[int(len(times) * 0.99)] < 1.0 * PATIENCE
    honest(server, tls)


def test_rsa_signatures_for_many_at_once(serve, tls):
    server = serve(APP, *tls.rsa.options, "--rings", "1")

    def several() -> None:
        for _ in range(10):
            honest(server, tls)

    with Parallel() as parallel:
        for _ in range(8):
            parallel.start(several)


def test_clients_that_leave_while_their_signature_is_made(serve, tls):
    server = serve(APP, *tls.rsa.options, "--rings", "1")
    hello = client_hello()
    for _ in range(100):
        with plain(server) as client:
            client.send_more(hello)
    honest(server, tls)


# --- those who are in ------------------------------------------------------------------------------------------------


def test_tiny_records_end_the_connection_in_the_end(server, tls):
    with tls.connect(server) as client:
        client.sock.settimeout(allowed(10))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.send_more(b"POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(20_000):
                client.send_more(b"x")
            client.sock.recv(1)
    honest(server, tls)


def new_keys(server: Server, letter: bytes, most: int) -> int:
    """How often openssl's client has said KeyUpdate before the connection ended; `most`: it did not end."""
    command = [need("openssl"), "s_client", "-connect", "%s:%d" % server.address, "-tls1_3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    said, count = b"", 0
    with subprocess.Popen(command, bufsize=0, **pipes) as client:  # what is not written is not flushed at the end
        try:
            while count < most:
                client.stdin.write(letter + b"\n")
                client.stdin.flush()
                while said.count(b"KEYUPDATE") <= count:
                    piece = os.read(client.stdout.fileno(), 65536)
                    if not piece:
                        return count
                    said += piece
                count += 1
        except BrokenPipeError:
            return count
        finally:
            client.kill()
    return count


@pytest.mark.parametrize("letter", [b"k", b"K"], ids=["said", "asked_back"])
def test_tls_11_a_flood_of_new_keys_ends_the_connection(server, tls, letter):
    """Ten are free, and one more for each MiB. The client may say some more before it hears of it."""
    assert new_keys(server, letter, 10) == 10
    assert 10 <= new_keys(server, letter, 50_000) < 50_000
    honest(server, tls)


def test_a_client_that_does_not_read_is_closed_and_its_thread_is_free(serve, tls):
    """With one thread: the second request is served when the first client has been given up."""
    server = serve("wsgi_cases:app", "--threads", "1", "--write-timeout", "1", *tls.ecdsa.options)
    with tls.connect(server) as stuck:
        stuck.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.send(build_request("/closing_endless"))
        with TlsClient(server.address, tls.client_context(), timeout=20) as other:
            assert b"close closing_endless" in other.request("/events").body


# --- certificates that change under load -----------------------------------------------------------------------------


def test_certificates_change_under_load(serve, tls, tmp_path):
    """Every request of every client is answered while the files change; connections from before go on."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(pair) -> None:
        beside = tmp_path / "beside"
        for source, target in ((pair.key, key), (pair.cert, cert)):
            beside.write_bytes(source.read_bytes())
            beside.chmod(0o600)
            beside.rename(target)

    install(tls.ecdsa)
    server = serve(APP, "--certfile", str(cert), "--keyfile", str(key), "--rings", "1")
    ending = threading.Event()
    answered = []

    def keep_asking() -> None:
        while not ending.is_set():
            honest(server, tls)
            answered.append(1)

    with tls.connect(server) as old, Parallel() as parallel:
        assert old.request("/").status == 200
        try:
            for _ in range(3):
                parallel.start(keep_asking)
            for number, pair in enumerate((tls.rsa, tls.ecdsa2, tls.ecdsa), 1):
                install(pair)
                server.wait_for_log("new connections get the new certificates", count=number)
            assert old.request("/").status == 200
        finally:
            ending.set()
    assert len(answered) > 20
