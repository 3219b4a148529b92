"""The window of an upload, end to end: who is not read is stopped where the settings say, and nobody else is."""

import hashlib
import random
import re

import h2.exceptions
import pytest

from harness.http2 import Http2Client, connect_http2
from harness.server import PATIENCE

CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
KINDS = {
    # A body that is held until it is complete opens its window by itself.
    "wsgi": ("uploads_wsgi:app", "--threads", "16", "--request-buffering", "off"),
    "asgi": ("uploads_asgi:app",),
}
ONE = ("-w", "1", "--rings", "1", "--metrics-path", "/metrics")  # so that a gate and its keeper meet
CONNECTION_WINDOW = 256 << 10
OCTETS = random.Random(11).randbytes(4 << 20)


@pytest.fixture(params=["clear", "tls"])
def way(request, tls):
    """(options of the daemon, how a client connects)"""
    if request.param == "clear":
        return CLEARTEXT, connect_http2
    return tls.ecdsa.options, lambda server, **options: connect_http2(server, tls, **options)


def send_what_is_allowed(client: Http2Client, stream: int) -> int:
    """As much as the windows let go now, and no waiting for more."""
    sent = 0
    while room := min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size):
        client.h2.send_data(stream, OCTETS[sent : sent + room])
        client.flush()
        sent += room
        assert sent < len(OCTETS), "it takes and takes"
        # The answer comes behind whatever the octets before it made the server say.
        client.request("/")
    return sent


def widened(client: Http2Client) -> int:
    return int(re.search(r"uroboros_http2_widened_bytes\{.*\} (\d+)", client.request("/metrics").text)[1])


@pytest.mark.parametrize("window", [65_535, 16_384, 200_000])
@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_that_is_not_read_stops_at_the_stated_window(serve, way, kind, window):
    """Not an octet more, however long it goes on beside it; read at last, it arrives whole."""
    server = serve(*KINDS[kind], *ONE, "--http2-initial-window-size", str(window), *way[0])
    with way[1](server) as client:
        client.request("/")
        stream = client.start("/later?a", "POST", end=False)
        server.wait_for_log("waiting for a$")
        assert send_what_is_allowed(client, stream) == window
        for _ in range(50):
            assert client.request("/").text == "here"
        assert client.h2.local_flow_control_window(stream) == 0
        assert widened(client) == 0
        client.request("/open?a")
        client.send_body(stream, OCTETS[window:])
        assert client.finish(stream).text == hashlib.sha256(OCTETS).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_unread_uploads_together_stop_at_the_window_of_the_connection(serve, way, kind):
    """Ten of them. Requests without a body go on beside them, and other connections have windows of their own."""
    server = serve(*KINDS[kind], *ONE, *way[0])
    with way[1](server) as client, way[1](server) as other:
        assert other.request("/digest", "POST", body=OCTETS[:100_000]).status == 200
        client.request("/")
        before = server.kilobytes_of(*server.io_processes())
        streams = [client.start("/later?all", "POST", end=False) for _ in range(10)]
        server.wait_for_log("waiting for all$", count=10)
        sent = [send_what_is_allowed(client, stream) for stream in streams]
        assert sum(sent) == CONNECTION_WINDOW, sent
        assert other.request("/digest", "POST", body=OCTETS).text == hashlib.sha256(OCTETS).hexdigest()
        assert client.h2.outbound_flow_control_window == 0
        grown = server.kilobytes_of(*server.io_processes()) - before
        assert grown < 16_384 * PATIENCE, f"{grown} KiB for {CONNECTION_WINDOW >> 10} KiB of bodies"
        client.request("/open?all")
        for stream, taken in zip(streams, sent, strict=True):
            client.send_body(stream, OCTETS[taken:300_000])
        expected = {hashlib.sha256(OCTETS[:300_000]).hexdigest()}
        assert {client.finish(stream).text for stream in streams} == expected


class Watching(Http2Client):
    """Keeps the widest window that any stream was ever given."""

    widest = 0

    def pump(self, timeout: float | None = None) -> bool:
        alive = super().pump(timeout)
        for stream in self.watched:
            try:
                self.widest = max(self.widest, self.h2.local_flow_control_window(stream))
            except h2.exceptions.StreamClosedError:
                pass
        return alive

    watched: tuple[int, ...] = ()


@pytest.mark.parametrize("most", [65_535, 131_072, 300_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_window_that_grows_ends_at_http2_window_max(serve, way, kind, most):
    """An application that reads all the time: the window gets as wide as the setting says, and no wider."""
    server = serve(*KINDS[kind], *ONE, "--http2-window-max", str(most), *way[0])
    with way[1](server) as client:
        client.__class__ = Watching
        stream = client.start("/digest", "POST", end=False)
        client.watched = (stream,)
        total = hashlib.sha256()
        for _ in range(16):
            client.send_body(stream, OCTETS, end=False)
            total.update(OCTETS)
            if client.widest == most:
                break
        client.send_body(stream, b"")
        assert client.finish(stream).text == total.hexdigest()
        assert client.widest <= most
        # What the server gives back comes in pieces: all of it is never seen at once.
        assert client.widest > most // 2
