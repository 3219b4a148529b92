"""Large bodies both ways: whole, in bounded memory, and at the pace of the slower side."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from harness.client import Client, Parallel, build_request

MIB = 1 << 20
BLOCK = os.urandom(MIB)


def resident_kib(pids: list[int]) -> int:
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("RssAnon:")
    )


def upload(server, target: str, blocks: int, chunked: bool) -> dict:
    with server.connect(timeout=30) as client:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {blocks * MIB}"
        client.send(f"POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
        for _ in range(blocks):
            client.send_more(b"%x\r\n%s\r\n" % (MIB, BLOCK) if chunked else BLOCK)
        if chunked:
            client.send_more(b"0\r\n\r\n")
        return json.loads(client.read_response().body)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("app", ["echo_wsgi:app", "echo_asgi:app"])
def test_an_upload_of_64_mib_arrives_in_bounded_memory(serve, app, chunked):
    server = serve(app)
    server.get("/")
    before = resident_kib(server.io_processes())
    answer = upload(server, "/upload", 64, chunked)
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(BLOCK)
    assert (answer["body_len"], answer["body_sha256"]) == (64 * MIB, digest.hexdigest())
    assert resident_kib(server.io_processes()) - before < 16 * 1024


@pytest.mark.parametrize("app", ["wsgi_cases:app", "asgi_cases:app"])
def test_a_download_of_256_mib_is_read_in_bounded_memory(serve, app):
    server = serve(app)
    server.get("/hello")
    before = resident_kib(server.io_processes())
    size, received = 256 * MIB, 0
    with server.connect(timeout=30) as client:
        client.send(build_request(f"/large?{size}", headers=[("Connection", "close")]))
        while data := client.sock.recv(1 << 20):
            received += len(data)
    assert size < received < size + 1000
    assert resident_kib(server.io_processes()) - before < 16 * 1024


def test_many_uploads_at_once_all_arrive(serve):
    server = serve("echo_wsgi:app", "--threads", "4")
    body = BLOCK[:300_000]
    digest = hashlib.sha256(body).hexdigest()

    def one() -> None:
        with server.connect(timeout=30) as client:
            for _ in range(3):
                answer = json.loads(client.request("/up", method="POST", body=body).body)
                assert answer["body_sha256"] == digest

    with Parallel() as clients:
        for _ in range(60):
            clients.start(one)


def test_uploads_go_on_when_the_receive_buffers_are_few(serve):
    """Running out of buffers pauses reading; it loses no byte and no connection."""
    server = serve("echo_wsgi:app", "--threads", "2", "--recv-buffers", "8", "--upload-buffers", "8", "--rings", "1")
    body = BLOCK[:200_000]
    digest = hashlib.sha256(body).hexdigest()

    def one() -> None:
        with server.connect(timeout=30) as client:
            assert json.loads(client.request("/up", method="POST", body=body).body)["body_sha256"] == digest

    with Parallel() as clients:
        for _ in range(50):
            clients.start(one)


@pytest.mark.parametrize("size", ["4K", "256K"])
def test_upload_buffers_may_be_smaller_or_larger_than_a_block(serve, size):
    server = serve("echo_asgi:app", "--upload-buffers", "8", "--upload-buffer-size", size, "--rings", "1")
    digest = hashlib.sha256(BLOCK * 32).hexdigest()
    answers = []
    with Parallel() as clients:
        for _ in range(4):
            clients.start(lambda: answers.append(upload(server, "/upload", 32, chunked=False)["body_sha256"]))
    assert answers == [digest] * 4


def test_a_body_in_drips_is_put_together(serve):
    server = serve("echo_asgi:app")
    body = b"".join(b"%d," % number for number in range(3000))
    with server.connect() as client:
        client.send(f"POST /drips HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n")
        for at in range(0, len(body), 7):
            client.send_more(body[at : at + 7])
        assert json.loads(client.read_response().body)["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_a_client_that_does_not_read_holds_its_own_response_back_only(serve):
    server = serve("asgi_cases:app")
    stuck = [Client(server.address) for _ in range(20)]
    for client in stuck:
        client.send(build_request(f"/large?{64 * MIB}"))
    with server.connect() as client:
        for _ in range(100):
            assert client.request("/hello").status == 200
    for client in stuck:
        client.close()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_an_upload_of_1_gib_arrives_in_bounded_memory(serve):
    server = serve("echo_asgi:app")
    server.get("/")
    before = resident_kib(server.io_processes())
    assert upload(server, "/upload", 1024, False)["body_len"] == 1024 * MIB
    assert resident_kib(server.io_processes()) - before < 16 * 1024
