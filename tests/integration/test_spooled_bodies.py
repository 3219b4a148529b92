"""Held bodies that are in the file: the application reads them from there, in all ways, and whatever dies meanwhile."""

import hashlib
import io
import json
import os
import random
import sys
from urllib.parse import urlencode

import pytest
from test_metrics import read, total

from harness.client import Parallel, build_request
from harness.http2 import connect_http2
from harness.server import APPS
from harness.waiting import eventually

sys.path.insert(0, str(APPS))
from spooled_wsgi import perform, summary  # noqa: E402

MIB = 1 << 20
RANDOM = random.Random(11)
HELD = ("-w", "1", "--threads", "2", "--rings", "1", "--request-buffering", "on")
CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
# Lines of a few octets, and some that span blocks, windows and runs.
BODY = b"\n".join(RANDOM.randbytes(RANDOM.choice((5, 80, 3_000, 70_000))).replace(b"\n", b"x") for _ in range(300))

WAYS: dict[str, list[tuple[str, int]]] = {
    "whole": [("read", -1), ("read", -1)],
    "stated": [("read", len(BODY)), ("read", 1)],
    "more than there is": [("read", len(BODY) + 1)],
    "small": [("read", size) for size in range(900, 1_400)] + [("read", -1)],
    "64 KiB": [("read", 65_536)] * (len(BODY) // 65_536 + 2),
    "1 MiB": [("read", MIB)] * (len(BODY) // MIB + 2),
    "lines": [("lines", -1)],
    "iteration": [("next", 100_000)],
    "some lines": [("lines", 1_500_000), ("readline", -1), ("readline", 7), ("read", 10), ("lines", -1)],
    "mixed": [
        (verb, {"read": RANDOM.randrange(200_000), "readline": RANDOM.choice((-1, 1_000))}.get(verb, 3))
        for verb in RANDOM.choices(("read", "readline", "next"), k=60)
    ]
    + [("read", -1)],
}


def expected(steps: list[tuple[str, int]], body: bytes = BODY) -> list[list[object]]:
    return json.loads(json.dumps(summary(perform(io.BytesIO(body), [(verb, str(size)) for verb, size in steps]))))


def target_of(steps: list[tuple[str, int]]) -> str:
    return "/read?" + urlencode(steps)


def post(server, target: str, body: bytes = BODY):
    with server.connect(timeout=30) as client:
        client.send(build_request(target, "POST", body=body), "POST")
        return client.read_response()


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_application_reads_it_as_it_likes(serve_shared, way):
    server = serve_shared("spooled_wsgi:app", *HELD, "--limit-request-line", "16384")
    assert json.loads(post(server, target_of(WAYS[way])).body) == expected(WAYS[way])


@pytest.mark.parametrize("way", ["whole", "mixed"])
def test_a_chunked_one_too(serve_shared, way):
    server = serve_shared("spooled_wsgi:app", *HELD)
    with server.connect(timeout=30) as client:
        client.send(f"POST {target_of(WAYS[way])} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(BODY), 99_991):
            piece = BODY[at : at + 99_991]
            client.send_more(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send_more(b"0\r\nX-Trailer: late\r\n\r\n")
        assert json.loads(client.read_response().body) == expected(WAYS[way])


@pytest.mark.parametrize("over_tls", [False, True], ids=["clear", "tls"])
def test_over_http2_several_streams_at_once(serve, tls, over_tls):
    server = serve("spooled_wsgi:app", *HELD, *(tls.ecdsa.options if over_tls else CLEARTEXT))
    with connect_http2(server, tls if over_tls else None) as client:
        streams = {way: client.start(target_of(WAYS[way]), "POST", end=False) for way in ("whole", "mixed", "lines")}
        for stream in streams.values():
            client.send_body(stream, BODY)
        for way, stream in streams.items():
            assert json.loads(client.finish(stream).text) == expected(WAYS[way])


def test_an_asgi_application_that_is_held_for_gets_it_whole(serve):
    server = serve("echo_asgi:app", "--rings", "1", "--request-buffering", "on")
    answer = json.loads(post(server, "/").body)
    assert (answer["body_len"], answer["body_sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())


@pytest.mark.parametrize("options", [("--preload",), ("--worker-class", "sync"), ("--rings", "2", "-w", "3")], ids=str)
def test_however_the_processes_came_about(serve, options):
    server = serve("spooled_wsgi:app", *HELD, *options)
    with Parallel() as parallel:
        for way in ("whole", "1 MiB", "lines", "small", "mixed") * 3:
            parallel.start(lambda way=way: check(server, way))


def check(server, way: str) -> None:
    assert json.loads(post(server, target_of(WAYS[way])).body) == expected(WAYS[way])


# --- what dies -------------------------------------------------------------------------------------------------------


def test_one_that_is_not_begun_survives_its_application(serve, tmp_path):
    """It waits behind a request that holds the only thread, and is read by the process that comes next."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    server = serve("spooled_wsgi:app", *HELD, "--threads", "1", "--metrics-path", "/metrics")
    with server.connect(30) as blocking, server.connect(30) as waiting:
        blocking.send(build_request(f"/gate?{fifo}"))
        pid = int(server.wait_for_log(r"at the gate in (\d+)").group(1))
        waiting.send(build_request(target_of(WAYS["whole"]), "POST", body=BODY), "POST")
        eventually(lambda: total(read(server), "request_body_bytes_total") >= len(BODY), 10, "the body to be held")
        os.kill(pid, 9)
        assert blocking.read_response().status == 502
        assert json.loads(waiting.read_response().body) == expected(WAYS["whole"])


def test_one_that_is_begun_is_lost_with_its_application_and_its_blocks_come_back(serve):
    server = serve("spooled_wsgi:app", *HELD, "--request-spool-max", "16M")
    for _ in range(4):
        assert post(server, "/die").status == 502
    assert json.loads(post(server, target_of(WAYS["whole"])).body) == expected(WAYS["whole"])


def test_an_io_process_that_dies_takes_its_file_along(serve):
    server = serve("spooled_wsgi:app", *HELD)
    check(server, "whole")
    assert len(json.loads(server.get("/files").body)) == 1
    for pid in server.io_processes():
        os.kill(pid, 9)
        server.wait_for_exit_of(pid)
    server.wait_for_log(r"io 0 started", count=2)
    check(server, "whole")
    assert len(json.loads(server.get("/files").body)) == 1


# --- what the application has ----------------------------------------------------------------------------------------


def test_it_has_one_descriptor_and_cannot_write(serve):
    server = serve("spooled_wsgi:app", *HELD)
    check(server, "whole")
    before = json.loads(server.get("/descriptors").body)
    for way in ("1 MiB", "lines", "small"):
        check(server, way)
    assert json.loads(server.get("/descriptors").body) == before
    assert [may_only_read for _, may_only_read in json.loads(server.get("/files").body)] == [True]
