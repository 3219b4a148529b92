"""Long bodies of fast clients over HTTP/2: they begin before they are complete, and nobody else pays for it."""

import hashlib
import json
import random
from contextlib import contextmanager

import pytest
from test_buffering import FOUR_THREADS, MIB, assert_others_are_served
from test_early_start import ATTEMPTS, METRICS, answer_of_read_all, early_starts
from test_metrics import read, total

from harness.frames import CANCEL, DATA, END_STREAM, PREFACE, WINDOW_UPDATE, FrameClient, frame, get, post, reset
from harness.frames import settings as settings_frame
from harness.waiting import eventually

# Windows so wide that the first part of a body is not kept waiting by them.
WIDE = ("--http2-cleartext", "prior-knowledge", "--http2-initial-window-size", str(16 * MIB))
FIRST, LENGTH = 2 * MIB, 12 * MIB
FRAME = 16_384
NOISE = random.Random(12).randbytes(MIB)


def body_of(number: int) -> bytes:
    """Different for each number, so that no two bodies can be mistaken for one another."""
    return (number.to_bytes(8, "big") + NOISE * (LENGTH // MIB + 1))[:LENGTH]


def data(stream: int, body: bytes, ends: bool = False) -> bytes:
    pieces = [body[at : at + FRAME] for at in range(0, len(body), FRAME)]
    return b"".join(
        frame(DATA, END_STREAM if ends and piece is pieces[-1] else 0, stream, piece) for piece in pieces
    )


class Uploader(FrameClient):
    """Sends bodies as fast as it can, and never more than the windows take."""

    def __init__(self, server) -> None:
        super().__init__(server, PREFACE + settings_frame())
        self.sent = {0: 0}
        self.settle()

    def room(self, stream: int) -> int:
        """Of the stream, or of the connection where `stream` is 0."""
        updates = (one for one in self.frames if one.type == WINDOW_UPDATE and one.stream == stream)
        given = sum(int.from_bytes(one.payload, "big") for one in updates)
        return (16 * MIB if stream else 65_535) + given - self.sent.get(stream, 0)

    def begin(self, stream: int, target: str, body: bytes) -> None:
        head = post(stream, target, ("content-length", str(LENGTH)))
        self._note(stream, len(body))
        self.send(head + data(stream, body))

    def go_on(self, stream: int, piece: bytes, ends: bool) -> None:
        self.wait_for(lambda: min(self.room(0), self.room(stream)) >= len(piece), what="a window")
        self._note(stream, len(piece))
        self.send(data(stream, piece, ends))

    def _note(self, stream: int, octets: int) -> None:
        for which in (0, stream):
            self.sent[which] = self.sent.get(which, 0) + octets


def finish_all(client: Uploader, bodies: dict[int, bytes]) -> None:
    """The rest of the bodies, a MiB of each at a time."""
    for at in range(FIRST, LENGTH, MIB):
        for stream, body in bodies.items():
            client.go_on(stream, body[at : at + MIB], ends=at + MIB == LENGTH)


@contextmanager
def begun_early(server, target: str, body: bytes = b"x" * FIRST):
    """A client of which the first part of a body, on stream 1, came so fast that its request has begun. Fast is what this
    machine, with whatever else it does now, lets it be: it may take more than one attempt."""
    for _ in range(ATTEMPTS):
        before = early_starts(server)
        with Uploader(server) as client:
            client.begin(1, target, body[:FIRST])
            client.settle()
            if early_starts(server) > before:
                yield client
                return
    pytest.fail(f"none of {ATTEMPTS} bodies was found to be fast")


def test_a_fast_body_begins_before_it_is_complete_and_arrives_whole(serve):
    server = serve("uploads_wsgi:app", *FOUR_THREADS, *METRICS, *WIDE)
    body = body_of(1)
    with begun_early(server, "/digest", body) as client:
        assert total(read(server), "request_spool_blocks") == 0
        client.send(get(3, "/"))
        assert client.answer(3).body == b"here"
        finish_all(client, {1: body})
        assert client.answer(1).body.decode() == hashlib.sha256(body).hexdigest()


def test_bodies_of_several_streams_arrive_whole_whichever_begins_early(serve):
    server = serve("uploads_wsgi:app", *FOUR_THREADS, *METRICS, *WIDE)
    bodies = {stream: body_of(stream) for stream in range(1, 13, 2)}
    with Uploader(server) as client:
        for stream, body in bodies.items():
            client.wait_for(lambda: client.room(0) >= FIRST, what="a window")
            client.begin(stream, "/digest", body[:FIRST])
        finish_all(client, bodies)
        for stream, body in bodies.items():
            assert client.answer(stream, timeout=30).body.decode() == hashlib.sha256(body).hexdigest()
    assert total(read(server), "request_spool_blocks") == 0


def test_a_client_that_turns_slow_midway_keeps_a_quarter_of_the_threads_at_most(serve):
    """Eight streams of it and eight connections stop in the middle; one of four threads waits for them."""
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS, *WIDE)
    with begun_early(server, "/read_all") as client:
        begun = early_starts(server)
        for stream in range(3, 19, 2):
            client.wait_for(lambda: client.room(0) >= FIRST, what="a window")
            client.begin(stream, "/read_all", b"x" * FIRST)
        others = [Uploader(server) for _ in range(8)]
        for other in others:
            other.begin(1, "/read_all", b"x" * FIRST)
            other.settle()
        assert_others_are_served(server, "/hello")
        client.send(get(101, "/hello"))
        assert client.answer(101).status == 200
        assert early_starts(server) == begun
        finish_all(client, {1: b"x" * LENGTH})
        assert json.loads(client.answer(1).body) == answer_of_read_all(LENGTH)
        for other in others:
            other.sock.close()


def test_a_stream_that_is_reset_midway_frees_its_thread_and_no_other(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS, *WIDE)
    for _ in range(3):
        with begun_early(server, "/read_all") as client:
            client.send(reset(1, CANCEL), get(3, "/hello"))
            assert client.answer(3).status == 200
            eventually(lambda: total(read(server), "slots_live") <= 1, what="the end of the request")
    assert_others_are_served(server, "/hello")


@pytest.mark.full
@pytest.mark.timeout(120)
def test_a_client_that_was_fast_and_stops_gets_408_and_keeps_its_connection(serve):
    server = serve("wsgi_cases:app", *FOUR_THREADS, *METRICS, *WIDE, "--timeout", "5")
    with begun_early(server, "/read_fails") as client:
        assert client.answer(1, timeout=20).status == 408
        client.send(get(3, "/hello"))
        assert client.answer(3).status == 200
    assert total(read(server), "app_deaths_total") == 0
