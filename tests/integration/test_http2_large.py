"""256 MiB over HTTP/2, up and down, by one stream and by eight at once: every octet, in bounded memory."""

import hashlib

import h2.events
import h2.settings
import pytest

from harness.http2 import Http2Client, connect_http2
from harness.server import PATIENCE, Server

pytestmark = [pytest.mark.full, pytest.mark.timeout(300 * PATIENCE)]
CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
KINDS = {"wsgi": ("clients_wsgi:app", "--threads", "8"), "asgi": ("clients_asgi:app",)}
TOTAL = 256 << 20
PIECE = b"0123456789abcdef" * 16_384  # 256 KiB, and what /large answers with, again and again
GROWTH_KILOBYTES = 16 << 10
WINDOWS = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}


@pytest.fixture(params=["clear", "tls"])
def way(request, tls):
    """(options of the daemon, how a client connects)"""
    if request.param == "clear":
        return CLEARTEXT, lambda server: Summing.of(connect_http2(server, settings=WINDOWS, timeout=120))
    return tls.ecdsa.options, lambda server: Summing.of(connect_http2(server, tls, settings=WINDOWS, timeout=120))


class Summing(Http2Client):
    """Keeps the digest and the length of each body, and not the body."""

    @classmethod
    def of(cls, client: Http2Client) -> "Summing":
        client.__class__ = cls
        client.digests, client.lengths, client.on_mebibyte, client.received = {}, {}, lambda: None, 0
        # One of the connection's own, beside those of its streams.
        client.h2.increment_flow_control_window(8 << 20)
        client.flush()
        return client

    def _on_event(self, event: h2.events.Event) -> None:
        if not isinstance(event, h2.events.DataReceived):
            super()._on_event(event)
            return
        self.digests.setdefault(event.stream_id, hashlib.sha256()).update(event.data)
        self.lengths[event.stream_id] = self.lengths.get(event.stream_id, 0) + len(event.data)
        before, self.received = self.received, self.received + len(event.data)
        if before >> 20 != self.received >> 20:
            self.on_mebibyte()
        if event.flow_controlled_length:
            self._acknowledge(event)

    def body_digest(self, stream: int) -> tuple[int, str]:
        assert self.finish(stream).status == 200
        return self.lengths[stream], self.digests[stream].hexdigest()


class Memory:
    """What the I/O process has beyond what it had."""

    def __init__(self, server: Server) -> None:
        self.server, (self.pid,) = server, server.io_processes()
        self.before, self.most = server.kilobytes_of(self.pid), 0

    def look(self) -> None:
        self.most = max(self.most, self.server.kilobytes_of(self.pid))

    def assert_bounded(self) -> None:
        grown = self.most - self.before
        assert self.most > 0 and grown < GROWTH_KILOBYTES * PATIENCE, f"{grown} KiB for {TOTAL >> 20} MiB"


def digest_of(octets: int) -> str:
    total = hashlib.sha256()
    for _ in range(octets // len(PIECE)):
        total.update(PIECE)
    return total.hexdigest()


@pytest.fixture(params=KINDS)
def server(request, way, serve) -> Server:
    return serve(*KINDS[request.param], "-w", "1", "--rings", "1", *way[0])


@pytest.mark.parametrize("streams", [1, 8])
def test_256_mib_up(server, way, streams):
    each = TOTAL // streams
    with way[1](server) as client:
        client.request("/digest", "POST", body=PIECE)
        memory = Memory(server)
        begun = [client.start("/digest", "POST", end=False) for _ in range(streams)]
        for _ in range(each // len(PIECE)):
            for stream in begun:
                client.send_body(stream, PIECE, end=False)
            memory.look()
        for stream in begun:
            client.send_body(stream, b"")
        for stream in begun:
            assert client.body_digest(stream)[1] == hashlib.sha256(digest_of(each).encode()).hexdigest()
        memory.assert_bounded()


@pytest.mark.parametrize("streams", [1, 8])
def test_256_mib_down(server, way, streams):
    each = TOTAL // streams
    with way[1](server) as client:
        client.request(f"/large?{len(PIECE)}")
        memory = Memory(server)
        client.on_mebibyte = memory.look
        begun = [client.start(f"/large?{each}") for _ in range(streams)]
        assert {client.body_digest(stream) for stream in begun} == {(each, digest_of(each))}
        memory.assert_bounded()
