"""One exchange over each version of HTTP, for tests that must not tell the versions apart.

Each way is a function (server, target, method, headers, body) -> Response, and says of itself what the version has.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.http2 import connect_http2
from harness.responses import Response
from harness.server import Server

Fields = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Protocol:
    name: str  # as SERVER_PROTOCOL says it
    ask: Callable[..., Response]
    options: tuple[str, ...] = ()  # what the daemon needs to speak it
    has_hints: bool = True
    has_trailers: bool = True
    trailers_need_chunks: bool = True  # a stated length leaves no place for them


def _ask_http1(server: Server, target: str, method: str = "GET", headers: Fields = (), body: bytes | None = None):
    with server.connect() as client:
        return client.request(target, method, headers, body)


def _ask_for_trailers(server: Server, target: str, method: str = "GET", headers: Fields = (), body=None):
    return _ask_http1(server, target, method, [("TE", "trailers"), ("Connection", "TE"), *headers], body)


def _ask_http1_0(server: Server, target: str, method: str = "GET", headers: Fields = (), body: bytes | None = None):
    lines = [f"{method} {target} HTTP/1.0", "TE: trailers", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with server.connect() as client:
        client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""), method)
        return client.read_response()


def _ask_http2(server: Server, target: str, method: str = "GET", headers: Fields = (), body: bytes | None = None):
    with connect_http2(server) as client:
        return client.request(target, method, headers, body)


HTTP1 = Protocol("HTTP/1.1", _ask_for_trailers)
HTTP1_WITHOUT_TRAILERS = Protocol("HTTP/1.1", _ask_http1, has_trailers=False)
HTTP1_0 = Protocol("HTTP/1.0", _ask_http1_0, has_hints=False, has_trailers=False)
HTTP2 = Protocol("HTTP/2.0", _ask_http2, ("--http2-cleartext", "prior-knowledge"), trailers_need_chunks=False)
