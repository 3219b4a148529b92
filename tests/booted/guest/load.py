"""Clients that never rest, and count every request that did not get its whole answer.

Over HTTP/1.1 a response with `Connection: close` ends a connection in the protocol's own way, and so does closing one
that waits for a request: when the request was already on its way it is asked again on another connection, once (RFC
9112 9.3.1), as every client does. Over HTTP/2 GOAWAY ends one: streams above its last one were not begun and are asked
for again. Everything else that ends a connection is a failure.
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import hpack
from machine import CERTIFICATE, HTTP, HTTPS

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENTS, STREAMS = 2, 4
# The machine has one CPU, and what is tested needs some of it too.
PAUSE_SECONDS = 0.01
ANSWER_SECONDS = 30


class Load:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.answered = 0
        self.reconnected = 0
        self.retried = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self.bodies: set[bytes] = set()

    def count(self, body: bytes, started: float) -> None:
        with self.lock:
            self.answered += 1
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.bodies.add(body.split()[0])

    def fail(self, what: str) -> None:
        with self.lock:
            self.failures.append(what)

    def retry(self) -> None:
        with self.lock:
            self.retried += 1

    def verdict(self) -> str:
        assert not self.failures, f"{len(self.failures)} of {self.answered} requests failed: {self.failures[:5]}"
        assert self.answered > 0
        return (
            f"{self.answered} requests, none failed, slowest {self.slowest:.2f} s, {self.reconnected} connections "
            f"ended, {self.retried} requests crossed the end of an idle one"
        )


# --- HTTP/1.1 ----------------------------------------------------------------------------------------------------


class ClosedIdleError(ConnectionError):
    """The connection ended without an octet of an answer."""


def read_response(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = client.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more and not data:
            raise ClosedIdleError("closed without an answer")
        if not more:
            raise ConnectionError(f"closed after {len(data)} octets of a head")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    while len(body) < length:
        more = client.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {len(body)} of {length} octets of a body")
        body += more
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
    return head, body


class Http1Client:
    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.served = 0

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.served = None, 0

    def exchange(self) -> bytes:
        """The body of the answer."""
        if self.socket is None:
            self.socket = socket.create_connection(HTTP, ANSWER_SECONDS)
        try:
            self.socket.sendall(REQUEST)
        except (BrokenPipeError, ConnectionResetError):
            raise ClosedIdleError("closed before the request") from None
        head, body = read_response(self.socket)
        self.served += 1
        if b"connection: close" in head.lower():
            self.close()
        return body


def ask_http1(load: Load) -> None:
    client = Http1Client()
    while not load.stopped.is_set():
        started = time.monotonic()
        try:
            load.count(client.exchange(), started)
        except ClosedIdleError as error:
            if client.served > 0:
                load.retry()
            else:
                load.fail(f"HTTP/1.1: {error!r}")
            client.close()
        except OSError as error:
            load.fail(f"HTTP/1.1: {error!r}")
            client.close()
        load.reconnected += client.socket is None
        load.stopped.wait(PAUSE_SECONDS)
    client.close()


# --- HTTP/2 ------------------------------------------------------------------------------------------------------

# The usual library stops receiving at GOAWAY, just where this test begins.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Http2Client:
    def __init__(self, load: Load) -> None:
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        context.set_alpn_protocols(["h2"])
        self.load = load
        self.socket = context.wrap_socket(socket.create_connection(HTTPS, ANSWER_SECONDS), server_hostname="localhost")
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.received, self.outgoing = b"", PREFACE + frame(SETTINGS, 0, 0)
        self.next_stream, self.last_stream = 1, None
        self.open: dict[int, tuple[float, bytes]] = {}

    def request(self) -> None:
        self.outgoing += frame(HEADERS, END_STREAM | END_HEADERS, self.next_stream, self.encoder.encode(FIELDS))
        self.open[self.next_stream] = (time.monotonic(), b"")
        self.next_stream += 2

    def on_data(self, stream: int, payload: bytes) -> None:
        started, body = self.open[stream]
        self.open[stream] = (started, body + payload)
        if payload:
            self.outgoing += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))

    def on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            status = dict(self.decoder.decode(payload))[":status"]
            if status != "200":
                self.load.fail(f"HTTP/2: {status}")
        elif kind == DATA:
            self.on_data(stream, payload)
        elif kind == RST_STREAM:
            self.open.pop(stream)
            if self.last_stream is None or stream <= self.last_stream:
                self.load.fail(f"HTTP/2: reset with {int.from_bytes(payload, 'big')}")
        elif kind == GOAWAY:
            self.last_stream, error = struct.unpack(">II", payload[:8])
            if error:
                self.load.fail(f"HTTP/2: GOAWAY with {error} {payload[8:]!r}")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.outgoing += frame(kind, ACK, 0, payload if kind == PING else b"")
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            started, body = self.open.pop(stream)
            self.load.count(body, started)

    def receive(self) -> bool:
        """False at the end of the connection."""
        data = self.socket.recv(65536)
        self.received += data
        while len(self.received) >= 9:
            length = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + length:
                break
            kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
            payload, self.received = self.received[9 : 9 + length], self.received[9 + length :]
            self.on_frame(kind, flags, stream, payload)
        return bool(data)

    def is_done(self) -> bool:
        """What stands above the last stream of GOAWAY was not begun."""
        if self.last_stream is None:
            return self.load.stopped.is_set() and not self.open
        return not any(stream <= self.last_stream for stream in self.open)

    def run(self) -> None:
        while not self.is_done():
            while self.last_stream is None and len(self.open) < STREAMS and not self.load.stopped.is_set():
                self.request()
            self.load.stopped.wait(PAUSE_SECONDS)
            outgoing, self.outgoing = self.outgoing, b""
            self.socket.sendall(outgoing)
            if not self.receive():
                if not self.is_done():
                    raise ConnectionError(f"closed with {len(self.open)} streams open, GOAWAY {self.last_stream}")
                return


def ask_http2(load: Load) -> None:
    while not load.stopped.is_set():
        client = None
        try:
            client = Http2Client(load)
            client.run()
        except OSError as error:
            load.fail(f"HTTP/2: {error!r}")
        finally:
            if client is not None:
                client.socket.close()
        load.reconnected += not load.stopped.is_set()


@contextmanager
def load(asking: tuple = (ask_http1, ask_http2)) -> Iterator[Load]:
    """The clients ask as long as the block runs."""
    it = Load()
    threads = [threading.Thread(target=ask, args=(it,)) for ask in asking for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield it
    finally:
        it.stopped.set()
        for thread in threads:
            thread.join()
