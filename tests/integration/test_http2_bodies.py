"""Bodies over HTTP/2, up and down: whole, however they are cut, padded and windowed, and in bounded memory."""

import hashlib
import random

import h2.errors
import h2.settings
import pytest

from harness.http2 import StreamReset, connect_http2
from harness.server import PATIENCE, Server
from harness.waiting import eventually

CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
# The same paths: /digest says the hash of a body, /large?N answers with N octets.
KINDS = {
    "wsgi": ("clients_wsgi:app", "--threads", "8"),
    "asgi": ("clients_asgi:app",),
}
OCTETS = random.Random(3).randbytes(5 << 20)
WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


@pytest.fixture(params=["clear", "tls"])
def way(request, tls):
    """(options of the daemon, how a client connects)"""
    if request.param == "clear":
        return CLEARTEXT, connect_http2
    return tls.ecdsa.options, lambda server, **options: connect_http2(server, tls, **options)


@pytest.fixture(params=KINDS)
def server(request, way, serve_shared):
    return serve_shared(*KINDS[request.param], *way[0])


@pytest.fixture
def client(server, way):
    with way[1](server) as opened:
        yield opened


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def upload(client, octets: bytes, **cut) -> str:
    stream = client.start("/digest", "POST", end=False)
    client.send_body(stream, octets, **cut)
    return client.finish(stream).text


# --- up --------------------------------------------------------------------------------------------------------------

SIZES = (0, 1, 255, 16_383, 16_384, 16_385, 65_534, 65_535, 65_536, 100_000, 262_144, 1 << 20, 5 << 20)


@pytest.mark.parametrize("size", SIZES)
def test_a_body_arrives_whole(client, size):
    assert upload(client, OCTETS[:size]) == digest(OCTETS[:size])
    assert client.request("/digest", "POST", body=OCTETS[:size]).text == digest(OCTETS[:size])


@pytest.mark.parametrize("frame_bytes", [1, 7, 100, 1_000, 9_999])
def test_a_body_in_odd_frames(client, frame_bytes):
    """Frames of one octet are few: a client that sends many is cut off, as test_http2_attacks shows."""
    octets = OCTETS[: min(frame_bytes * 100, 300_000)]
    assert upload(client, octets, frame_bytes=frame_bytes) == digest(octets)


def test_a_body_in_frames_of_all_sizes(client):
    sizes, stream, at = random.Random(4), client.start("/digest", "POST", end=False), 0
    for _ in range(60):
        size = sizes.choice((1, 10, 1_000, 16_384, sizes.randrange(1, 16_384)))
        client.send_body(stream, OCTETS[at : at + size], end=False)
        at += size
    client.send_body(stream, b"")
    assert client.finish(stream).text == digest(OCTETS[:at])


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_no_body_and_costs_no_window(client, padding):
    """Far more padding than any window: what was not given back for it would stop the upload."""
    octets = OCTETS[:400_000]
    assert upload(client, octets, frame_bytes=300, padding=padding) == digest(octets)
    assert upload(client, octets, padding=padding) == digest(octets)


def test_empty_frames_are_nothing(client):
    stream = client.start("/digest", "POST", end=False)
    for part in (OCTETS[:10], OCTETS[10:20]):
        client.h2.send_data(stream, b"")
        client.send_body(stream, part, end=False)
    client.h2.send_data(stream, b"", pad_length=255)
    client.send_body(stream, b"")
    assert client.finish(stream).text == digest(OCTETS[:20])


def test_uploads_at_once(client):
    """Eight, a frame of each in turn, through the window they share."""
    streams = [client.start("/digest", "POST", end=False) for _ in range(8)]
    for at in range(0, 1 << 20, 16_384):
        for number, stream in enumerate(streams):
            client.send_body(stream, OCTETS[at + number : at + number + 16_384], end=False)
    expected = []
    for number, stream in enumerate(streams):
        client.send_body(stream, b"")
        expected.append(digest(b"".join(OCTETS[at + number : at + number + 16_384] for at in range(0, 1 << 20, 16_384))))
    assert [client.finish(stream).text for stream in streams] == expected


def test_the_connection_window_is_given_back(client):
    """Hundreds of small bodies, none of which opens a window of its own."""
    for size in (1, 5_000, 30_000):
        for _ in range(20):
            streams = [client.start("/digest", "POST", body=OCTETS[:size]) for _ in range(5)]
            assert {client.finish(stream).text for stream in streams} == {digest(OCTETS[:size])}


def test_cancelled_uploads_give_their_window_back(client):
    for _ in range(20):
        stream = client.start("/digest", "POST", end=False)
        client.send_body(stream, OCTETS[:60_000], end=False)
        client.reset(stream)
    assert upload(client, OCTETS[:1_000_000]) == digest(OCTETS[:1_000_000])


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_early_answer_to_an_unread_upload(serve, way, kind):
    """The answer comes, the client is told to stop or taken to the end, and the connection's window is not used up."""
    server = serve(f"{kind}_cases:app", *way[0], *(("--request-buffering", "off") if kind == "wsgi" else ()))
    with way[1](server) as client:
        for _ in range(6):
            stream = client.start("/read_none", "POST", end=False)
            client.send_body(stream, OCTETS[:60_000], end=False)
            response = client.finish(stream)
            assert (response.status, response.text) == (200, "did not read\n")
            if client.reset_code(stream) is None:
                client.reset(stream)
        answer = client.request("/read_all", "POST", body=OCTETS[:500_000])
        assert answer.text.startswith("[500000, ")


def test_a_length_that_is_not_kept_is_refused(client):
    """RFC 9113 8.1.1. What is too short by its end and what is too long alike."""
    for stated, sent in ((10, 5), (5, 10)):
        stream = client.start("/digest", "POST", [("content-length", str(stated))], end=False)
        client.send_body(stream, OCTETS[:sent])
        with pytest.raises(StreamReset) as reset:
            client.finish(stream)
        assert reset.value.code == h2.errors.ErrorCodes.PROTOCOL_ERROR
        assert client.request("/hello").status == 200


# --- down ------------------------------------------------------------------------------------------------------------


def pattern(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_a_response_arrives_whole(client, size):
    assert client.request(f"/large?{size}").body == pattern(size)


@pytest.mark.parametrize(
    ("window", "size"), [(1, 10), (100, 1_000), (1_024, 100_000), (16_384, 300_000), (65_535, 2 << 20),
                         (2**31 - 1, 5 << 20)]
)
def test_every_window_is_kept(server, way, window, size):
    """Nothing goes out beyond a window (h2 would raise), and all of it in the end."""
    with way[1](server, settings={WINDOW: window}) as client:
        assert client.request(f"/large?{size}").body == pattern(size)


def test_a_window_that_is_closed_and_opened_while_a_response_waits(server, way):
    with way[1](server, settings={WINDOW: 0}) as client:
        stream = client.start("/large?100000")
        assert client.request("/hello", "HEAD").status == 200
        assert client.body_so_far(stream) == b""
        client.h2.update_settings({WINDOW: 1_000})
        client.flush()
        client.acknowledges = False
        client.read_until(lambda: len(client.body_so_far(stream)) == 1_000, "1000 octets")
        client.h2.update_settings({WINDOW: 0})  # which makes the stream's window negative
        client.flush()
        assert client.request("/hello", "HEAD").status == 200
        assert len(client.body_so_far(stream)) == 1_000
        client.h2.increment_flow_control_window(200_000, stream)
        client.h2.increment_flow_control_window(200_000)
        client.flush()
        assert client.finish(stream).body == pattern(100_000)


def test_responses_at_once(client):
    streams = [client.start(f"/large?{size}") for size in (1 << 20, 3, 300_000, 1 << 20, 65_536, 0, 1 << 19, 70_000)]
    assert [len(client.finish(stream).body) for stream in streams] == [
        1 << 20, 3, 300_000, 1 << 20, 65_536, 0, 1 << 19, 70_000
    ]


# --- memory ----------------------------------------------------------------------------------------------------------


def kilobytes(server: Server) -> int:
    return server.kilobytes_of(*server.io_processes(), *server.app_processes())


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded_while_nobody_reads(serve, way, kind):
    """16 responses of 5 MB each to a client that takes none of them, and then takes all."""
    server = serve(*KINDS[kind], "--write-timeout", "300", "--timeout", "300", *way[0])
    with way[1](server, settings={WINDOW: 2**31 - 1}) as client:
        client.request("/large?100000")
        client.acknowledges = False
        before = kilobytes(server)
        streams = [client.start("/large?5000000") for _ in range(16)]
        client.h2.increment_flow_control_window(2**31 - 1 - client.h2.inbound_flow_control_window)
        client.flush()
        # All that the daemon is going to take of them, it has when it takes no more.
        sizes: list[int] = []

        def has_settled() -> bool:
            sizes.append(kilobytes(server))
            return len(sizes) > 50 and max(sizes[-40:]) - min(sizes[-40:]) < 200

        eventually(has_settled, 40, "the end of growing")
        grown = max(sizes) - before
        assert grown < 40_000 * PATIENCE, f"{grown} KiB for 80 MB that nobody takes"
        assert {len(client.finish(stream).body) for stream in streams} == {5_000_000}


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded_while_much_is_uploaded(serve, way, kind):
    """40 MB, eight at once: held in memory as far as request_buffer_max says, the rest in the file."""
    server = serve(*KINDS[kind], *way[0])
    with way[1](server) as client:
        assert upload(client, OCTETS[:100_000]) == digest(OCTETS[:100_000])
        before, most = kilobytes(server), 0
        streams = [client.start("/digest", "POST", end=False) for _ in range(8)]
        for at in range(0, 5 << 20, 1 << 18):
            for stream in streams:
                client.send_body(stream, OCTETS[at : at + (1 << 18)], end=False)
            most = max(most, kilobytes(server))
        for stream in streams:
            client.send_body(stream, b"")
        assert {client.finish(stream).text for stream in streams} == {digest(OCTETS)}
        assert most - before < 30_000 * PATIENCE, f"{most - before} KiB for 40 MB of uploads"
