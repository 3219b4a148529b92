"""A client that sends exactly the bytes it is told to."""

import socket
import threading
from collections.abc import Callable, Iterable

from harness.responses import Response, ResponseReader

# An address as socket.connect takes it, with its family: ("inet", host, port) or a path for a unix socket.
Address = tuple[str, int] | str


def connect(address: Address, timeout: float = 10) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        path = "\0" + address[1:] if address.startswith("@") else address
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        path = address
    sock.settimeout(timeout)
    sock.connect(path)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Client:
    def __init__(self, address: Address, timeout: float = 10) -> None:
        self.sock = connect(address, timeout)
        self.reader = ResponseReader()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes | str, method: str = "GET") -> None:
        self.reader.expect(method)
        self.send_more(data)

    def send_more(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def read_response(self) -> Response:
        """One response. Fails when the connection ends before it does."""
        eof = False
        while True:
            response = self.reader.next(eof)
            if response is not None:
                return response
            if eof:
                raise ConnectionError(f"closed inside a response: {self.reader.buffer[:300]!r}")
            data = self.sock.recv(65536)
            self.reader.feed(data)
            eof = not data

    def read_until_close(self) -> bytes:
        """All bytes up to the end of the connection; a reset counts as the end."""
        data, self.reader.buffer = self.reader.buffer, b""
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    def expect_close(self) -> None:
        rest = self.read_until_close()
        assert rest == b"", f"bytes after the last response: {rest[:300]!r}"

    def request(
        self,
        target: str = "/",
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        host: str = "test.example",
    ) -> Response:
        self.send(build_request(target, method, headers, body, host), method)
        return self.read_response()


def build_request(
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    host: str = "test.example",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


HANG_SECONDS = 120  # longer than any client of a test waits for anything


class Parallel:
    """Runs functions in threads; leaving the block joins them and raises what the first of them raised."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self.results: list[object] = []

    def start(self, function: Callable[..., object], *args: object) -> None:
        def run() -> None:
            try:
                self.results.append(function(*args))
            except BaseException as error:  # handed to the test's own thread
                self._errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def __enter__(self) -> "Parallel":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for thread in self._threads:
            thread.join(timeout=HANG_SECONDS)
            if thread.is_alive() and kind is None:
                raise AssertionError("a parallel client hangs")
        if self._errors and kind is None:
            raise self._errors[0]
