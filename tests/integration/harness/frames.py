"""An HTTP/2 client that sends whatever it is told to: frames as octets, nothing checked, nothing hidden."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import hpack

from harness.server import Server, allowed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)

GET = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost"))


@dataclass
class Frame:
    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return struct.unpack_from("!I", self.payload, 0 if self.type == RST_STREAM else 4)[0]


@dataclass
class Answer:
    """What came on one stream."""

    fields: dict[str, str] = field(default_factory=dict)
    interim: list[dict[str, str]] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> int:
        return int(self.fields.get(":status", 0))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(pairs: Iterable[tuple[int, int]] = ()) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack("!HI", *pair) for pair in pairs))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


def reset(stream: int, error: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", error))


def literal(fields: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """A field block without any table and without Huffman: the octets that are in it are the octets that are meant."""

    def text(value: str | bytes) -> bytes:
        octets = value.encode("latin-1") if isinstance(value, str) else value
        return number(len(octets), 7, 0) + octets

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def number(value: int, bits: int, first: int) -> bytes:
    """RFC 7541 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def request(stream: int, fields=GET, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, literal(fields))


def get(stream: int, path: str = "/", *more: tuple[str, str], flags: int = END_STREAM | END_HEADERS) -> bytes:
    fields = ((":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost"), *more)
    return request(stream, fields, flags)


def post(stream: int, path: str, *more: tuple[str, str]) -> bytes:
    fields = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), *more)
    return request(stream, fields, END_HEADERS)


class FrameClient:
    """One connection. What the server says is taken in by wait_for(); nothing is answered but its SETTINGS."""

    def __init__(
        self,
        server: Server,
        preface: bytes = PREFACE + settings(),
        tls: ssl.SSLContext | None = None,
        acknowledges: bool = True,
    ):
        self.sock: socket.socket = socket.create_connection(server.address, timeout=allowed(10))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)
        self.frames: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.goaways: list[Frame] = []
        self.closed = False
        self._acknowledges = acknowledges
        self._octets = b""
        if preface:
            self.send(preface)

    def __enter__(self) -> "FrameClient":
        return self

    def __exit__(self, *_) -> None:
        self.sock.close()

    def send(self, *octets: bytes) -> None:
        """A server that has closed already is no failure here: the test looks at what it said."""
        self.sock.settimeout(allowed(10))  # listen() has set another
        try:
            self.sock.sendall(b"".join(octets))
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    @property
    def is_over(self) -> bool:
        """The server has had enough: a graceful GOAWAY is a warning before that."""
        return self.closed or any(one.error != NO_ERROR for one in self.goaways)

    def _take(self, one: Frame) -> None:
        self.frames.append(one)
        answer = self.answers.setdefault(one.stream, Answer()) if one.stream else Answer()
        if one.type == HEADERS:
            assert one.flags & END_HEADERS, "the tests' answers are small"
            fields = dict(self.decoder.decode(one.payload))
            if fields.get(":status", "200").startswith("1"):
                answer.interim.append(fields)
            elif answer.fields:
                answer.trailers = fields
            else:
                answer.fields = fields
        elif one.type == DATA:
            answer.body += one.payload
        elif one.type == RST_STREAM:
            answer.reset = one.error
        elif one.type == GOAWAY:
            self.goaways.append(one)
        elif one.type == SETTINGS and not one.flags & ACK and self._acknowledges:
            self.send(frame(SETTINGS, ACK))
        if one.type in (HEADERS, DATA) and one.flags & END_STREAM:
            answer.ended = True

    def listen(self, timeout: float) -> bool:
        """Takes in what is here, or comes first; whether there was anything."""
        self.sock.settimeout(timeout)
        try:
            more = self.sock.recv(1 << 20)
        except TimeoutError:
            return False
        except (ConnectionResetError, ssl.SSLError):
            more = b""
        if not more:
            self.closed = True
            return False
        self._octets += more
        at = 0
        while len(self._octets) - at >= 9:
            length = int.from_bytes(self._octets[at : at + 3], "big")
            if len(self._octets) - at - 9 < length:
                break
            kind, flags, stream = struct.unpack_from("!BBI", self._octets, at + 3)
            self._take(Frame(kind, flags, stream & 0x7FFFFFFF, self._octets[at + 9 : at + 9 + length]))
            at += 9 + length
        self._octets = self._octets[at:]
        return True

    def wait_for(self, condition: Callable[[], object], timeout: float = 10, what: str = "what is waited for"):
        deadline = time.monotonic() + allowed(timeout)
        while not (value := condition()):
            left = deadline - time.monotonic()
            heard = [(one.type, one.stream, one.payload[:40]) for one in self.frames[-8:]]
            assert left > 0 and not self.closed, f"{what} did not come (closed: {self.closed}); last heard: {heard}"
            self.listen(left)
        return value

    def answer(self, stream: int, timeout: float = 10) -> Answer:
        """The whole answer on a stream: its end, or its reset."""
        self.wait_for(
            lambda: stream in self.answers and self.answers[stream].over, timeout, f"the end of stream {stream}"
        )
        return self.answers[stream]

    def wait_for_close(self, timeout: float = 10) -> int | None:
        """The connection ends: the error of the last GOAWAY, None without one."""
        deadline = time.monotonic() + allowed(timeout)
        while not self.closed:
            left = deadline - time.monotonic()
            assert left > 0, "the connection stays open"
            self.listen(left)
        # What was on its way when a send failed.
        while self.listen(0.2):
            pass
        return self.goaways[-1].error if self.goaways else None

    def settle(self) -> None:
        """All that was sent before has been handled: a PING came back, or the connection is over."""
        token = struct.pack("!Q", len(self.frames) + 1)
        self.send(frame(PING, payload=token))
        self.wait_for(lambda: self.closed or self._has_pong(token), what="the answer to PING")

    def _has_pong(self, token: bytes) -> bool:
        return any(one.type == PING and one.flags & ACK and one.payload == token for one in self.frames)
