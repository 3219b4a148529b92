"""An HTTP/2 client for tests: the library `h2` on a socket, with the responses of harness.responses.

h2 itself judges what the server sends: a wrong frame is an exception here.
"""

import select
import socket
import time
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from harness.client import connect
from harness.responses import Response
from harness.server import Server, allowed

Fields = Iterable[tuple[str, str]]


class StreamReset(ConnectionError):
    """The server ended one stream; the connection lives."""

    def __init__(self, stream: int, code: int) -> None:
        super().__init__(f"stream {stream} was reset with {code}")
        self.stream, self.code = stream, code


class GoneAway(ConnectionError):
    """The server said GOAWAY with an error."""

    def __init__(self, code: int, last: int | None, text: bytes) -> None:
        super().__init__(f"GOAWAY with {code}, last stream {last}: {text!r}")
        self.code = code


class PatientConnection(h2.connection.H2Connection):
    """h2 takes nothing more behind a GOAWAY; RFC 9113 6.8 says that what was begun goes on."""

    def _receive_goaway_frame(self, frame):
        before = self.state_machine.state
        received = super()._receive_goaway_frame(frame)
        if frame.error_code == h2.errors.ErrorCodes.NO_ERROR:
            self.state_machine.state = before
        return received


class Http2Client:
    """One connection. start() begins a stream, finish() waits for its response; request() does both."""

    def __init__(
        self,
        sock: socket.socket,
        scheme: str = "http",
        settings: dict[int, int] | None = None,
        acknowledges: bool = True,
        timeout: float = 20,
    ) -> None:
        self.sock, self.scheme, self.timeout = sock, scheme, allowed(timeout)
        self.sock.settimeout(self.timeout)
        # The window grows with what was read: switched off, it stays where the settings put it.
        self.acknowledges = acknowledges
        self.h2 = PatientConnection(h2.config.H2Configuration(header_encoding="latin-1"))
        # Frames are answered by type, in their order: a test looks here for what has no place in a response.
        self.events: list[h2.events.Event] = []
        self.ends: dict[int, float] = {}  # when each stream was complete
        self._responses: dict[int, Response] = {}
        # Apart, since bytes that grow piece by piece are copied each time.
        self._bodies: dict[int, bytearray] = {}
        self._resets: dict[int, int] = {}
        self._interim: dict[int, list[Response]] = {}
        self.goaways: list[h2.events.ConnectionTerminated] = []
        self.is_closed = False
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # --- octets ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.sock.sendall(data)

    def pump(self, timeout: float | None = None) -> bool:
        """Reads once and answers what needs an answer. False at the end of the connection."""
        if timeout is not None and not self._is_readable(timeout):
            return True
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.is_closed = True
            return False
        for event in self.h2.receive_data(data):
            self._on_event(event)
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server said before it left is still to be read
        return True

    def _is_readable(self, timeout: float) -> bool:
        pending = getattr(self.sock, "pending", lambda: 0)
        return bool(pending() or select.select([self.sock], [], [], timeout)[0])

    def _on_event(self, event: h2.events.Event) -> None:
        self.events.append(event)
        if isinstance(event, h2.events.InformationalResponseReceived):
            self._interim.setdefault(event.stream_id, []).append(_head_of(event))
        elif isinstance(event, h2.events.ResponseReceived):
            response = self._responses[event.stream_id] = _head_of(event)
            response.interim = self._interim.pop(event.stream_id, [])
        elif isinstance(event, h2.events.DataReceived):
            self._bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
            if self.acknowledges and event.flow_controlled_length:
                self._acknowledge(event)
        elif isinstance(event, h2.events.TrailersReceived):
            self._responses[event.stream_id].trailers = _text(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.ends[event.stream_id] = time.monotonic()
        elif isinstance(event, h2.events.StreamReset):
            self._resets[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(event)

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        try:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
            pass  # the stream, or the connection, ended within the same batch

    # --- requests ----------------------------------------------------------------------------------------------

    def start(
        self,
        target: str = "/",
        method: str = "GET",
        headers: Fields = (),
        body: bytes | None = None,
        host: str = "test.example",
        end: bool = True,
    ) -> int:
        """Sends a request; with end=False its body follows by send_body()."""
        fields = [(":method", method), (":scheme", self.scheme), (":authority", host), (":path", target)]
        fields += [(name.lower(), value.encode("latin-1")) for name, value in headers]
        if body is not None and end:
            fields.append(("content-length", str(len(body))))
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end and not body)
        self.flush()
        if body:
            self.send_body(stream, body, end=end)
        return stream

    def send_body(
        self, stream: int, data: bytes, end: bool = True, frame_bytes: int = 1 << 20, padding: int | None = None
    ) -> None:
        """As fast as the windows let it; what arrives meanwhile is taken. Stops when the server ended the stream."""
        view, overhead = memoryview(data), 0 if padding is None else padding + 1
        while view and stream not in self._resets:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size) - overhead
            if room <= 0:
                assert self.pump(), "closed while an upload waited for its window"
                continue
            piece, view = view[: min(room, frame_bytes)], view[min(room, frame_bytes) :]
            self.h2.send_data(stream, piece.tobytes(), pad_length=padding)
            self.flush()
            while self._is_readable(0) and self.pump():
                pass
        if end and stream not in self._resets:
            self.h2.end_stream(stream)
            self.flush()

    def finish(self, stream: int) -> Response:
        """The whole response. A reset of the stream raises, unless the response was complete (RFC 9113 8.1)."""
        deadline = time.monotonic() + self.timeout
        while stream not in self.ends:
            if stream in self._resets:
                raise StreamReset(stream, self._resets[stream])
            self._fail_if_gone()
            if not self.pump(self.timeout):
                self._fail_if_gone()
                raise ConnectionError(f"closed inside stream {stream}")
            assert time.monotonic() < deadline, f"stream {stream} has no end within {self.timeout} s"
        response = self._responses.pop(stream)
        response.body = bytes(self._bodies.pop(stream, b""))
        return response

    def _fail_if_gone(self) -> None:
        for goaway in self.goaways:
            if goaway.error_code != h2.errors.ErrorCodes.NO_ERROR:
                raise GoneAway(goaway.error_code, goaway.last_stream_id, goaway.additional_data or b"")

    def request(self, target: str = "/", method: str = "GET", headers: Fields = (), body=None, **options) -> Response:
        return self.finish(self.start(target, method, headers, body, **options))

    def read_until(self, condition, what: str = "the condition") -> None:
        """Reads on until the condition holds."""
        deadline = time.monotonic() + self.timeout
        while not condition():
            assert self.pump(1) or condition(), f"closed before {what}"
            assert time.monotonic() < deadline, f"{what} did not come within {self.timeout} s"

    def body_so_far(self, stream: int) -> bytes | bytearray:
        return self._bodies.get(stream, b"")

    def reset_code(self, stream: int) -> int | None:
        return self._resets.get(stream)

    def reset(self, stream: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()


def _text(fields) -> list[tuple[str, str]]:
    return [(name if isinstance(name, str) else name.decode("latin-1"),
             value if isinstance(value, str) else value.decode("latin-1")) for name, value in fields]


def _head_of(event) -> Response:
    fields = _text(event.headers)
    assert fields[0][0] == ":status" and not any(name.startswith(":") for name, _ in fields[1:]), fields
    return Response("HTTP/2.0", int(fields[0][1]), "", fields[1:])


def connect_http2(server: Server, tls=None, **options) -> Http2Client:
    """A connection by prior knowledge, or with `tls` (the fixture) by ALPN."""
    if tls is None:
        return Http2Client(connect(server.address), "http", **options)
    sock = tls.connect(server, alpn=("h2", "http/1.1")).sock
    assert sock.selected_alpn_protocol() == "h2", "the server does not speak HTTP/2"
    return Http2Client(sock, "https", **options)
