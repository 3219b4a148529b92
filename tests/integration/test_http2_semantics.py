"""HTTP says the same whatever its version: one table of requests, asked over HTTP/1.1 and HTTP/2 of one daemon.

What the application sees and what the client gets are compared. Left out are only what the versions themselves differ
in: their own names, the framing of HTTP/1.1, what Gunicorn's interface tells of HTTP/2, and ports of clients.
"""

import hashlib
import json
import socket
import struct
from dataclasses import dataclass, field

import pytest

from harness.client import Client
from harness.http2 import Http2Client, StreamReset, connect_http2
from harness.responses import Response
from harness.waiting import eventually, read_until

PAIRS = list[tuple[str, str]]
LIMITS = ("--limit-request-body", "400000", "--limit-request-line", "2000", "--limit-request-field-size", "8000",
          "--limit-request-fields", "60")
APPLICATIONS = {
    "wsgi": ("semantics_wsgi:app", "--threads", "4", *LIMITS),
    "asgi": ("semantics_asgi:app", *LIMITS),
}
FRAMING = {"connection", "keep-alive", "transfer-encoding", "date"}
# What is told of a request by the version's own name, or to HTTP/2 alone.
OF_THE_VERSION = {"SERVER_PROTOCOL", "REMOTE_PORT", "HTTP_TRANSFER_ENCODING", "HTTP_CONNECTION", "http_version", "client"}


@dataclass
class Ask:
    """One request. `pieces`: a body of which the length is not said; `trailers` come behind it."""

    target: str = "/seen"
    method: str = "GET"
    headers: PAIRS = field(default_factory=list)
    body: bytes | None = None
    pieces: list[bytes] | None = None
    trailers: PAIRS = field(default_factory=list)
    crumbs: PAIRS = field(default_factory=list)  # in place of `headers` over HTTP/2
    host: str = "test.example"


Outcome = Response | str


def over_http1(client: Client, ask: Ask) -> Outcome:
    lines = [f"{ask.method} {ask.target} HTTP/1.1", f"Host: {ask.host}", "TE: trailers", "Connection: TE"]
    lines += [f"{name}: {value}" for name, value in ask.headers]
    body = ask.body or b""
    if ask.body is not None:
        lines.append(f"Content-Length: {len(ask.body)}")
    if ask.pieces is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in ask.pieces if piece) + b"0\r\n"
        body += "".join(f"{name}: {value}\r\n" for name, value in ask.trailers).encode() + b"\r\n"
    try:
        client.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, ask.method)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was answered before all of it was sent
    try:
        return client.read_response()
    except ConnectionError:
        return "broken off"


def over_http2(client: Http2Client, ask: Ask) -> Outcome:
    fields = [("te", "trailers"), *(ask.crumbs or ask.headers)]
    try:
        if ask.pieces is None:
            return client.request(ask.target, ask.method, fields, ask.body, host=ask.host)
        stream = client.start(ask.target, ask.method, fields, host=ask.host, end=False)
        for piece in ask.pieces:
            client.send_body(stream, piece, end=False)
        if ask.trailers:
            client.h2.send_headers(stream, ask.trailers, end_stream=True)
            client.flush()
        else:
            client.send_body(stream, b"")
        return client.finish(stream)
    except StreamReset as reset:
        return "refused" if reset.code == 1 else "broken off"


def told(outcome: Outcome) -> object:
    """An outcome without what the versions differ in."""
    if isinstance(outcome, str):
        return outcome
    if outcome.status == 400:
        return "refused"  # RFC 9113 8.1.1: a malformed request of HTTP/2 is a reset stream
    fields = [(name.lower(), value) for name, value in outcome.headers if name.lower() not in FRAMING]
    body: object = outcome.body
    if outcome.body.startswith(b'{"request"'):
        seen = json.loads(outcome.body)
        seen["request"] = {key: told_value(key, value) for key, value in seen["request"].items() if is_common(key)}
        body, fields = seen, [pair for pair in fields if pair[0] != "content-length"]
    # Whether 100 is due is a matter of what is here when the application reads: it has a test of its own.
    hints = (one for one in outcome.interim if one.status != 100)
    interim = [(one.status, sorted((name.lower(), value) for name, value in one.headers)) for one in hints]
    trailers = [(name.lower(), value) for name, value in outcome.trailers]
    return {"status": outcome.status, "fields": sorted(fields), "body": body, "interim": interim, "trailers": trailers}


def is_common(key: str) -> bool:
    return key not in OF_THE_VERSION and ".http2." not in key


def told_value(key: str, value: object) -> object:
    if key == "headers":
        return sorted(pair for pair in value if pair[0] not in FRAMING)
    if key == "extensions":
        return {name: more for name, more in value.items() if name != "http.response.priority"}
    return value


# --- the places ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["clear", "tls"])
def way(request):
    return request.param


class Place:
    def __init__(self, server, tls) -> None:
        self.server, self.tls = server, tls

    def http1(self) -> Client:
        return self.tls.connect(self.server) if self.tls else self.server.connect()

    def http2(self) -> Http2Client:
        return connect_http2(self.server, self.tls)

    def both(self, ask: Ask) -> tuple[Outcome, Outcome]:
        with self.http1() as client:
            first = over_http1(client, ask)
        with self.http2() as client:
            second = over_http2(client, ask)
            assert client.request("/seen").status == 200  # whatever it was, the connection lives
        return first, second


def place_for(interface: str, way: str, serve_shared, tls) -> Place:
    options = tls.ecdsa.options if way == "tls" else ("--http2-cleartext", "prior-knowledge")
    return Place(serve_shared(*APPLICATIONS[interface], *options), tls if way == "tls" else None)


@pytest.fixture(params=APPLICATIONS)
def place(request, way, serve_shared, tls):
    return place_for(request.param, way, serve_shared, tls)


@pytest.fixture
def wsgi(way, serve_shared, tls):
    return place_for("wsgi", way, serve_shared, tls)


@pytest.fixture
def asgi(way, serve_shared, tls):
    return place_for("asgi", way, serve_shared, tls)


def same(place: Place, ask: Ask) -> Outcome:
    """Asks over both, compares, and returns the answer over HTTP/2."""
    first, second = place.both(ask)
    assert told(first) == told(second)
    return second


# --- requests --------------------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 400
REQUESTS = {
    **{f"method {method}": Ask(method=method) for method in ("GET", "DELETE", "OPTIONS", "QUERY", "FROB")},
    **{f"method {method} with a body": Ask(method=method, body=b"x=1") for method in ("POST", "PUT", "PATCH", "GET")},
    "method HEAD": Ask("/case/hello", "HEAD"),  # the length of what else is seen differs by the version's name
    "options asterisk": Ask("*", "OPTIONS"),
    "query": Ask("/seen?a=b&c=%20%2F+d&&=;"),
    "empty query": Ask("/seen?"),
    "question mark in a query": Ask("/seen?a?b"),
    "escapes": Ask("/a%20b/%C3%A9/%2F/%25?%C3%A9"),
    "escapes that are no utf-8": Ask("/%ff%fe"),
    "slashes": Ask("//a///b/"),
    "dots": Ask("/a/../b/./c"),
    "every character a path may have": Ask("/-._~!$&'()*+,;=:@"),
    "root": Ask("/"),
    "long target": Ask("/" + "t" * 1900),
    "host with a port": Ask(host="test.example:8443"),
    "host of six": Ask(host="[::1]:80"),
    "cookies in crumbs": Ask(
        headers=[("Cookie", "a=1; b=2; c=3")], crumbs=[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
    ),
    "cookies in one": Ask(headers=[("Cookie", "a=1; b=2")]),
    "duplicates": Ask(headers=[("X-A", "1"), ("Accept", "a"), ("X-A", "2"), ("X-A", ""), ("Accept", "b")]),
    "empty value": Ask(headers=[("X-Empty", "")]),
    "inner blanks and commas": Ask(headers=[("X-A", 'a,  b,"c, d"')]),
    "latin-1": Ask(headers=[("X-A", "caf\xe9")]),
    "underscore": Ask(headers=[("X_A", "spoofed"), ("X-A", "true")]),
    "names that cgi treats apart": Ask("/seen", "POST", [("Content-Type", "text/x; charset=y"), ("Proxy", "evil")], b"x"),
    "large field": Ask(headers=[("X-A", "v" * 7000)]),
    "many fields": Ask(headers=[(f"X-{number}", str(number)) for number in range(50)]),
    "authorization, user agent, referer": Ask(
        headers=[("Authorization", "Basic eDp5"), ("User-Agent", "t/1"), ("Referer", "http://x/")]
    ),
    "forwarded by nobody who is trusted": Ask(headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")]),
    "empty body": Ask(method="POST", body=b""),
    "one octet": Ask(method="POST", body=b"x"),
    "body": Ask(method="POST", body=BODY),
    "body without a length": Ask(method="POST", pieces=[BODY, b"x", BODY[:1000]]),
    "empty body without a length": Ask(method="POST", pieces=[]),
    "trailers of a request": Ask(method="POST", pieces=[b"body"], trailers=[("x-end", "1")]),
    "expectation with all of its body": Ask(method="POST", headers=[("Expect", "100-continue")], body=b"x" * 10),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request(place, name):
    ask = REQUESTS[name]
    response = same(place, ask)
    assert response.status == 200
    if ask.method != "HEAD":
        sent = ask.body if ask.pieces is None else b"".join(ask.pieces)
        seen = json.loads(response.body)
        assert (seen["body_bytes"], seen["body"]) == (len(sent or b""), hashlib.sha256(sent or b"").hexdigest())


REFUSED = {
    "413": (413, Ask(method="POST", body=b"x" * 400_001)),
    "413 without a length": (413, Ask(method="POST", pieces=[b"x" * 200_000, b"x" * 200_001])),
    "414": (414, Ask("/" + "t" * 2100)),
    "431 for one field": (431, Ask(headers=[("X-A", "v" * 8100)])),
    "431 for their number": (431, Ask(headers=[(f"X-{number}", "v") for number in range(70)])),
    "417 for an expectation nobody knows": (417, Ask(method="POST", headers=[("Expect", "miracles")], body=b"x")),
    "400 for a target without a slash": (400, Ask("seen")),
    "400 for a host that is none": (400, Ask(host="test example")),
    "400 for an unfitting host": (400, Ask(host="a@b")),
    "400 for two lengths": (400, Ask(method="POST", headers=[("Content-Length", "5")], body=b"x")),
    "400 for a length that is none": (400, Ask(headers=[("Content-Length", "+1")])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(place, name):
    status, ask = REFUSED[name]
    first, second = map(told, place.both(ask))
    for one in (first, second):
        if one != "refused":  # the words may differ, the rest not
            one["fields"] = [pair for pair in one["fields"] if pair[0] != "content-length"]
            assert one.pop("body").endswith(b"\n")
    assert first == second
    assert first["status"] == status if status != 400 else first == "refused"


# --- responses -------------------------------------------------------------------------------------------------------

HEADER_CASES = ("crlf", "lf", "nul", "name", "name_crlf", "empty_name", "wide", "int_value", "bytes_value", "connection")
MESSAGE_CASES = ("body_first", "two_starts", "unknown", "no_type", "not_dict", "status_str", "status_low", "header_str",
                 "header_crlf", "header_name", "header_triple", "headers_int", "body_str")
PROTOCOL = ("hints", "hints_after_start", "many_hints?50", "late_hints", "bad_hints", "trailers", "streamed_trailers",
            "trailers_behind_nothing", "trailers_behind_much", "trailers_of_no_content", "many_trailers",
            "empty_trailers", "forbidden_trailers", "trailers_and_failure")
WSGI = (
    *("hello", "write", "generator", "closing", "closing_list_raises", "large?300000", "length_unknown_list"),
    *("no_content", "no_content_with_body", "not_modified", "early_hints", "read_none"),
    *("exc_info_before", "exc_info_after", "start_twice", "no_start", "headers_not_list"),
    *("raises", "raises_system_exit", "raises_midway", "raises_midway_length", "length_short", "length_long"),
    *(f"header?{case}" for case in HEADER_CASES),
    *(f"status?{case}" for case in ("no_reason", "words", "two_digits", "crlf", "int", "teapot", "latin")),
    *(f"body?{case}" for case in ("str_item", "int_item", "none", "str", "empty", "bytes", "tuple", "bytearray")),
)
ASGI = (
    *("hello", "stream", "large?300000", "read_none", "no_content", "early_hint", "headers_iterator", "returns_early"),
    *("raises", "raises_after_start", "raises_midway", "raises_after_end", "returns_midway", "length_short"),
    "length_long",
    *(f"message?{case}" for case in MESSAGE_CASES),
)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", WSGI)
def test_wsgi_response(wsgi, case, method):
    same(wsgi, Ask(f"/case/{case}", method))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", ASGI)
def test_asgi_response(asgi, case, method):
    same(asgi, Ask(f"/case/{case}", method))


@pytest.mark.parametrize("case", PROTOCOL)
def test_hints_and_trailers(place, case):
    same(place, Ask(f"/protocol/{case}"))


@pytest.mark.parametrize(("case", "outcome"), [("raises", 500), ("raises_midway", "broken off")])
def test_failures_are_failures(place, case, outcome):
    """So that two wrongs do not make a right."""
    first, second = place.both(Ask(f"/case/{case}"))
    assert [one if isinstance(one, str) else one.status for one in (first, second)] == [outcome, outcome]


def test_a_body_that_is_not_read(place):
    assert same(place, Ask("/case/read_none", "POST", body=b"x" * 300_000)).text == "did not read\n"


# --- in time ---------------------------------------------------------------------------------------------------------


def test_expectation_is_answered_when_the_application_reads(asgi):
    head = "POST /seen HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with asgi.http1() as client:
        client.send(head, "POST")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send_more(b"body")
        first = client.read_response()
    with asgi.http2() as client:
        fields = [("expect", "100-continue"), ("content-length", "4")]
        stream = client.start("/seen", "POST", fields, end=False)
        client.read_until(lambda: stream in client._interim, "100")
        client.send_body(stream, b"body")
        second = client.finish(stream)
    assert [one.status for one in second.interim] == [100]
    second.interim.clear()
    first_seen, second_seen = told(first), told(second)
    first_seen["body"]["request"].pop("extensions"), second_seen["body"]["request"].pop("extensions")  # no TE here
    assert first_seen == second_seen


def test_both_ways_at_once(asgi):
    """Each piece of a request is answered before the next one is sent."""
    head = b"POST /case/read_gated HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    with asgi.http1() as client:
        client.send_more(head)
        for piece in (b"one", b"two", b"three"):
            client.send_more(b"%x\r\n%b\r\n" % (len(piece), piece))
            read_until(client, piece + b"|")
    with asgi.http2() as client:
        stream = client.start("/case/read_gated", "POST", end=False)
        for piece in (b"one", b"two", b"three"):
            client.send_body(stream, piece, end=False)
            client.read_until(lambda piece=piece: client.body_so_far(stream).endswith(piece + b"|"), "the echo")
        client.send_body(stream, b"")
        assert client.finish(stream).body == b"one|two|three||"


def events_after(place: Place, path: str, marks: list[str]) -> list[list[str]]:
    """What the application noted when its client left, over HTTP/1.1 and over HTTP/2 by a reset."""
    noted = []
    for leave in (leave_http1, leave_http2):
        with place.http2() as client:
            client.request("/case/events?clear")
            leave(place, path)
            eventually(lambda client=client: marks[-1] in client.request("/case/events").text, what=marks[-1])
            noted.append(json.loads(client.request("/case/events").body))
    return noted


def leave_http1(place: Place, path: str) -> None:
    with place.http1() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n")
        read_until(client, b"\r\n\r\n")
        # By a reset: an end of what it sends could be half an end, after which it may go on to read.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def leave_http2(place: Place, path: str) -> None:
    client = place.http2()
    stream = client.start(path)
    client.read_until(lambda: client.body_so_far(stream), "the begin of the body")
    client.reset(stream)
    assert client.request("/seen").status == 200
    client.close()


@pytest.mark.parametrize("path", ["disconnect", "endless"])
def test_a_client_that_leaves_is_told_to_asgi(asgi, path):
    mark = {"disconnect": "OSError True", "endless": "endless ended by OSError"}[path]
    first, second = events_after(asgi, f"/case/{path}", [mark])
    assert first == second


def test_a_client_that_leaves_ends_a_wsgi_iterable(wsgi):
    first, second = events_after(wsgi, "/case/closing_endless", ["close closing_endless"])
    assert first == second == ["close closing_endless"]
