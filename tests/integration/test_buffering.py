"""Slow clients and threads: a WSGI thread waits for no client, however many there are and however large the bodies."""

import hashlib
import json
import os
import select
import socket
import time
from collections.abc import Iterable

import pytest

from harness.client import Client, build_request
from harness.responses import ResponseReader
from harness.server import LATENESS, allowed
from harness.waiting import wait_for_event

MIB = 1 << 20
BLOCK = os.urandom(MIB)
FOUR_THREADS = ("-w", "1", "--threads", "4", "--rings", "1")
# A long body of a fast client is not held with `auto` (test_early_start.py).
ALL_HELD = (*FOUR_THREADS, "--request-buffering", "on")


def body_of(number: int, size: int) -> bytes:
    """Different for each number, so that no two bodies can be mistaken for one another."""
    return (number.to_bytes(8, "big") + BLOCK * (size // MIB + 1))[:size]


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def post_head(size: int, target: str = "/") -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()


def send_until_answered(server, client: Client, pieces: Iterable[bytes]) -> None:
    """In step with the server, which reads past only so much of what it has refused. Its loop is one thread: by the
    time another request is answered, what came before it was looked at."""
    for piece in pieces:
        client.send_more(piece)
        server.get("/")
        if select.select([client.sock], [], [], 0)[0]:
            return


def assert_others_are_served(server, target: str, count: int = 200) -> None:
    """Each within moments, on one connection and on fresh ones."""
    slowest = 0.0
    with server.connect() as client:
        for number in range(count):
            started = time.monotonic()
            response = server.get(target) if number % 20 == 0 else client.request(target)
            assert response.status == 200
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < LATENESS, f"one of {count} requests took {slowest:.2f} s"


class Upload:
    """A body that comes as the test says; the last octet only with finish()."""

    def __init__(self, server, number: int, size: int) -> None:
        self.body = body_of(number, size)
        self.client = server.connect(timeout=30)
        self.client.send(post_head(size))
        self.sent = 0

    def send(self, size: int) -> None:
        end = min(self.sent + size, len(self.body) - 1)
        self.client.send_more(self.body[self.sent : end])
        self.sent = end

    def finish(self) -> None:
        self.client.send_more(self.body[self.sent :])
        answer = json.loads(self.client.read_response().body)
        assert (answer["body_len"], answer["body_sha256"]) == (len(self.body), digest_of(self.body))
        self.client.close()


# --- requests ----------------------------------------------------------------------------------------------------


def test_100_uploads_that_do_not_end_keep_no_thread(serve):
    server = serve("echo_wsgi:app", *FOUR_THREADS)
    uploads = [Upload(server, number, 4 * MIB) for number in range(100)]
    for step in (700_000, 900_000, 4 * MIB):
        for upload in uploads:
            upload.send(step)
        assert_others_are_served(server, "/")
    for upload in uploads:
        upload.finish()


@pytest.mark.full
@pytest.mark.timeout(200)
def test_100_uploads_at_64_kib_per_second_do_not_disturb_others(serve):
    server = serve("echo_wsgi:app", *FOUR_THREADS)
    uploads = [Upload(server, number, 4 * MIB) for number in range(100)]
    started = time.monotonic()
    while any(upload.sent < len(upload.body) - 1 for upload in uploads):
        due = int((time.monotonic() - started) * 65_536)
        for upload in uploads:
            if due > upload.sent:
                upload.send(due - upload.sent)
        assert_others_are_served(server, "/", 20)
    for upload in uploads:
        upload.finish()


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, MIB + 65_536, MIB + 65_537, 5 * MIB + 3])
def test_bodies_around_the_border_of_memory_arrive_whole(serve_shared, size):
    server = serve_shared("echo_wsgi:app", *ALL_HELD)
    upload = Upload(server, size, size)
    upload.send(1000)
    upload.send(70_000)
    upload.finish()


def test_a_chunked_body_is_held_too(serve):
    server = serve("echo_wsgi:app", *ALL_HELD)
    body = body_of(7, 3 * MIB)
    clients = [server.connect(timeout=30) for _ in range(8)]
    for client in clients:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 10_007):
            piece = body[at : at + 10_007]
            client.send_more(b"%x\r\n%s\r\n" % (len(piece), piece))
    assert_others_are_served(server, "/", 20)
    for client in clients:
        client.send_more(b"0\r\n\r\n")
        assert json.loads(client.read_response().body)["body_sha256"] == digest_of(body)
        client.close()


def test_a_body_from_the_file_is_followed_by_the_next_request(serve):
    server = serve("echo_wsgi:app", *ALL_HELD)
    body = body_of(1, 2 * MIB)
    with server.connect(timeout=30) as client:
        for _ in range(5):
            client.send(post_head(len(body)) + body + build_request("/next"))
            assert json.loads(client.read_response().body)["body_sha256"] == digest_of(body)
            client.reader.expect("GET")
            assert json.loads(client.read_response().body)["path"] == "/next"


def test_an_application_that_does_not_read_costs_the_file_nothing(serve):
    server = serve("echo_wsgi:app", *ALL_HELD, "--request-spool-max", "8M")
    body = body_of(1, 6 * MIB)
    for _ in range(5):
        with server.connect(timeout=30) as client:
            client.send(post_head(len(body), "/read-none") + body)
            assert client.read_response().status == 200


def test_100_continue_comes_when_holding_begins(serve):
    server = serve("echo_wsgi:app", *FOUR_THREADS)
    body = body_of(1, 2 * MIB)
    with server.connect(timeout=30) as client:
        client.send(post_head(len(body))[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert client.sock.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send_more(body)
        assert json.loads(client.read_response().body)["body_sha256"] == digest_of(body)


def test_a_client_that_goes_leaves_no_block_behind(serve):
    """That nothing is left is proved when the daemon stops: its count of blocks is zero."""
    server = serve("echo_wsgi:app", *ALL_HELD, "--request-spool-max", "16M")
    for number in range(20):
        upload = Upload(server, number, 8 * MIB)
        upload.send(3 * MIB)
        upload.client.close()
    assert_others_are_served(server, "/", 20)
    whole = Upload(server, 21, 12 * MIB)
    whole.send(12 * MIB)
    whole.finish()


# --- its bounds --------------------------------------------------------------------------------------------------


def test_a_body_that_could_never_be_held_is_413_at_once(serve_shared):
    server = serve_shared("echo_wsgi:app", *ALL_HELD, "--request-spool-max", "4M")
    with server.connect() as client:
        client.send(post_head(6 * MIB))
        assert client.read_response().status == 413
        client.expect_close()


def test_a_chunked_body_that_grows_beyond_it_is_413(serve_shared):
    server = serve_shared("echo_wsgi:app", *ALL_HELD, "--request-spool-max", "4M")
    with server.connect() as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%s\r\n" % (MIB // 4, BLOCK[: MIB // 4])
        send_until_answered(server, client, [piece] * 24)
        assert client.read_response().status == 413


def test_a_full_file_is_503_until_there_is_room_again(serve_shared):
    server = serve_shared("echo_wsgi:app", *ALL_HELD, "--request-spool-max", "4M")
    first = Upload(server, 1, 4 * MIB)
    first.send(4 * MIB)
    assert_others_are_served(server, "/", 20)  # by now all of it was taken in
    with server.connect() as client:
        client.send(post_head(4 * MIB))
        send_until_answered(server, client, [BLOCK[: MIB // 4]] * 16)
        response = client.read_response()
        assert (response.status, response.header("retry-after")) == (503, "1")
    first.finish()
    third = Upload(server, 3, 4 * MIB)
    third.send(4 * MIB)
    third.finish()


def test_few_buffers_send_bodies_to_the_file_sooner(serve):
    """With eight buffers of each kind a hundred held bodies fit nowhere but in the file."""
    server = serve("echo_wsgi:app", *FOUR_THREADS, "--recv-buffers", "8", "--upload-buffers", "8")
    uploads = [Upload(server, number, 200_000) for number in range(100)]
    for upload in uploads:
        upload.send(150_000)
    assert_others_are_served(server, "/", 50)
    for upload in uploads:
        upload.finish()


def test_without_a_directory_to_write_to_it_serves_all_the_same(serve, tmp_path):
    server = serve("echo_wsgi:app", *FOUR_THREADS, "--tmp-upload-dir", str(tmp_path / "missing"))
    server.wait_for_log("tmp_upload_dir .* long request bodies are not held but streamed")
    upload = Upload(server, 1, 4 * MIB)
    upload.send(2 * MIB)
    upload.finish()


def test_switched_off_a_request_begins_before_its_body_has_come(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, "--request-buffering", "off")
    with server.connect() as client:
        client.send(post_head(100_000, "/wait?off") + b"x" * 10)
        wait_for_event(server, "waiting off")
        server.get("/open?off")
        assert client.read_response().status == 200


def test_asgi_streams(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(post_head(100_000, "/wait?asgi") + b"x" * 10)
        wait_for_event(server, "waiting asgi")
        server.get("/open?asgi")
        assert client.read_response().status == 200


# --- responses ---------------------------------------------------------------------------------------------------


def slow_reader(server) -> Client:
    """Takes a few KiB and no more: the smallest window there is."""
    client = Client.__new__(Client)
    client.sock = socket.socket()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sock.settimeout(allowed(30))
    client.sock.connect(server.address)
    client.reader = ResponseReader()
    return client


def test_large_responses_behind_a_slow_one_keep_no_thread(serve):
    """Those of one connection leave in the order of its requests."""
    server = serve("wsgi_cases:app", *FOUR_THREADS)
    with server.connect(30) as client:
        client.send(build_request("/wait?first") + 3 * build_request(f"/large?{MIB}"))
        wait_for_event(server, "waiting first")
        assert_others_are_served(server, "/hello")
        assert server.get("/open?first").status == 200
        assert client.read_response().text.startswith("True")
        assert [len(client.read_response().body) for _ in range(3)] == [MIB] * 3


def test_100_slow_readers_of_1_mib_keep_no_thread(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, "--response-buffer-total", "128M")
    readers = [slow_reader(server) for _ in range(100)]
    for reader in readers:
        reader.send(build_request(f"/large?{MIB}"))
    assert_others_are_served(server, "/hello")
    for reader in readers:
        assert len(reader.read_response().body) == MIB
        reader.close()
