"""HTTP/1 responses, read exactly: bytes in, responses out. Stricter than a client has to be."""

from collections.abc import Iterator
from dataclasses import dataclass, field


class BadResponse(AssertionError):
    """The server sent something that is no HTTP/1.1 response."""


@dataclass
class Response:
    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list["Response"] = field(default_factory=list)
    chunked: bool = False

    def header(self, name: str) -> str | None:
        """The value of a field that may occur once at most."""
        values = self.all(name)
        if len(values) > 1:
            raise BadResponse(f"{name} occurs {len(values)} times")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def closes(self) -> bool:
        return (self.header("connection") or "").lower() == "close"


def _parse_head(head: bytes) -> Response:
    lines = head.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    status, _, reason = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(status) != 3 or not status.isdigit():
        raise BadResponse(f"status line {lines[0]!r}")
    return Response(version, int(status), reason, [_parse_field(line) for line in lines[1:]])


def _parse_field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip() or any(c in line for c in "\r\n\0"):
        raise BadResponse(f"field line {line!r}")
    return name, value.strip(" \t")


PART_BYTES = 256 << 10


class ResponseReader:
    """Feed it what arrived; it yields each response when its last byte is there."""

    def __init__(self) -> None:
        self.buffer = b""
        self._methods: list[str] = []
        self._steps: Iterator[Response | None] = self._run()

    def expect(self, method: str) -> None:
        """HEAD changes the framing of its answer; every other method is the default."""
        self._methods.append(method)

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def next(self, eof: bool = False) -> Response | None:
        """The next complete response, or None when more bytes are needed."""
        self._eof = eof
        return next(self._steps)

    def _run(self) -> Iterator[Response | None]:
        interim: list[Response] = []
        while True:
            while b"\r\n\r\n" not in self.buffer:
                yield None
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            response = _parse_head(head)
            if 100 <= response.status < 200 and response.status != 101:
                interim.append(response)
                continue
            method = self._methods.pop(0) if self._methods else "GET"
            yield from self._body(response, method)
            response.interim, interim = interim, []
            yield response

    def _body(self, response: Response, method: str) -> Iterator[None]:
        coding, length = response.header("transfer-encoding"), response.header("content-length")
        if coding is not None and length is not None:
            raise BadResponse("Content-Length beside Transfer-Encoding")
        if method == "HEAD" or response.status in (101, 204, 304):
            return
        if coding is not None:
            if coding != "chunked":
                raise BadResponse(f"Transfer-Encoding: {coding}")
            yield from self._chunks(response)
        elif length is not None:
            parts, missing = [], int(length)
            while len(self.buffer) < missing:
                # To append to a long body copies all of it each time.
                if len(self.buffer) >= PART_BYTES:
                    parts.append(self.buffer)
                    missing, self.buffer = missing - len(self.buffer), b""
                yield None
            response.body, self.buffer = b"".join([*parts, self.buffer[:missing]]), self.buffer[missing:]
        else:
            while not self._eof:
                yield None
            response.body, self.buffer = self.buffer, b""

    def _line(self) -> Iterator[None]:
        while b"\r\n" not in self.buffer:
            yield None
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _chunks(self, response: Response) -> Iterator[None]:
        response.chunked = True
        parts = []
        while True:
            line = yield from self._line()
            if not line or line.strip(b"0123456789abcdefABCDEF"):
                raise BadResponse(f"chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            while len(self.buffer) < size + 2:
                yield None
            if self.buffer[size : size + 2] != b"\r\n":
                raise BadResponse("chunk data is not followed by CRLF")
            parts.append(self.buffer[:size])
            self.buffer = self.buffer[size + 2 :]
        while line := (yield from self._line()):
            response.trailers.append(_parse_field(line.decode("latin-1")))
        response.body = b"".join(parts)
