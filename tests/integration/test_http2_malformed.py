"""Malformed requests over HTTP/2: the cases of tests/vectors/http2_request over real connections, and frames beside.

Each file is one connection, and each case has an honest request behind it that must be answered: where only the stream
ends, the connection lives. They go over TLS, for the cases say https; the frames go in cleartext.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Answer,
    FrameClient,
    frame,
    get,
    literal,
    request,
    reset,
    settings,
    window_update,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "http2_request"
HONEST = ((":method", "GET"), (":scheme", "https"), (":path", "/honest"), (":authority", "localhost"))
CLEARTEXT = ("--http2-cleartext", "prior-knowledge")


@dataclass
class Case:
    name: str
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    has_body: bool = False
    are_trailers: bool = False
    outcome: str = ""
    status: int = 0


def unescaped(text: str) -> bytes:
    plain = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}

    def replace(match: re.Match) -> str:
        return chr(int(match[1], 16)) if match[1] else plain[match[2]]

    return re.sub(r"\\(?:x([0-9a-fA-F]{2})|(.))", replace, text).encode("latin-1")


def read_line(case: Case, line: str) -> None:
    word, _, rest = line.partition(" ")
    if line.startswith(">"):
        count, name, value = re.fullmatch(r">(?:\*(\d+))? (.*?) \| ?(.*)", line).groups()
        case.fields += [(unescaped(name), unescaped(value))] * int(count or 1)
    elif word == "base":
        pseudo = ((":method", rest), (":scheme", "https"), (":path", "/"), (":authority", "a.example"))
        case.fields += [(name.encode(), value.encode()) for name, value in pseudo]
    elif word == "long":
        name, length = rest.split()
        case.fields.append((unescaped(name), b"v" * int(length)))
    elif word == "limits":
        case.limits = {name: int(value) for name, value in (pair.split("=") for pair in rest.split())}
    elif word == "body":
        case.has_body = True
    elif word == "trailers":
        case.are_trailers = True
    elif word == "=":
        case.outcome, _, status = rest.partition(" ")
        case.status = int(status or 0)


def load(path: Path) -> Iterator[Case]:
    case = None
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith("case "):
            if case:
                yield case
            case = Case(line[5:])
        elif case and line and not line.startswith("#"):
            read_line(case, line)
    if case:
        yield case


def goes_over_the_wire(case: Case) -> bool:
    """Cases for other limits, and one whose body nobody can send, are for the unit test alone."""
    return not case.limits and case.name != "content_length_at_63_bits"


def send(client: FrameClient, case: Case, stream: int) -> None:
    if case.are_trailers:
        head = request(stream, ((":method", "POST"), *HONEST[1:]), END_HEADERS)
        client.send(head, frame(DATA, 0, stream, b"body"), request(stream, case.fields))
        return
    client.send(request(stream, case.fields, END_HEADERS if case.has_body else END_HEADERS | END_STREAM))
    if case.has_body and case.outcome == "good":
        stated = dict(case.fields).get(b"content-length", b"0")
        client.send(frame(DATA, END_STREAM, stream, bytes(int(stated))))


def expect(answer: Answer, case: Case) -> None:
    if case.outcome == "good":
        assert answer.status == 200, answer
    elif case.outcome == "malformed":
        assert answer.reset == PROTOCOL_ERROR and not answer.fields, answer
    else:
        assert answer.status == case.status, answer


@pytest.fixture(scope="module")
def pair(tls):
    """For all hosts of the cases that are good: others are misdirected."""
    return tls.make_pair("cases", "DNS:localhost,DNS:a.example,DNS:b.example,IP:2001:db8::1")


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.txt")), ids=lambda path: path.stem)
def test_each_case_is_answered_as_it_says_and_the_connection_lives(serve_shared, tls, pair, path):
    cases = [case for case in load(path) if goes_over_the_wire(case)]
    assert cases
    # Nobody here is a proxy whose word about the scheme counts.
    server = serve_shared("hello_wsgi:app", *pair.options, "--forwarded-allow-ips", "192.0.2.1")
    with FrameClient(server, tls=tls.client_context(("h2",))) as client:
        for stream, case in enumerate(cases):
            send(client, case, 4 * stream + 1)
            client.send(request(4 * stream + 3, HONEST))
            try:
                expect(client.answer(4 * stream + 1), case)
                assert client.answer(4 * stream + 3).status == 200
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from error
        assert not client.goaways


# --- frames ------------------------------------------------------------------------------------------------------

LATER = 101  # an id that no test has used before
OPEN = request(LATER, GET, END_HEADERS)
UNFINISHED = frame(HEADERS, END_STREAM, LATER, literal(GET))

CONNECTION_ERRORS = {
    "settings_on_a_stream": (PROTOCOL_ERROR, frame(SETTINGS, 0, 1)),
    "settings_of_five_octets": (FRAME_SIZE_ERROR, frame(SETTINGS, 0, 0, bytes(5))),
    "settings_acknowledged_with_content": (FRAME_SIZE_ERROR, frame(SETTINGS, ACK, 0, bytes(6))),
    "push_set_to_two": (PROTOCOL_ERROR, settings([(2, 2)])),
    "initial_window_too_large": (FLOW_CONTROL_ERROR, settings([(4, 1 << 31)])),
    "max_frame_size_too_small": (PROTOCOL_ERROR, settings([(5, 16_383)])),
    "max_frame_size_too_large": (PROTOCOL_ERROR, settings([(5, 1 << 24)])),
    "ping_of_seven_octets": (FRAME_SIZE_ERROR, frame(PING, 0, 0, bytes(7))),
    "ping_of_nine_octets": (FRAME_SIZE_ERROR, frame(PING, 0, 0, bytes(9))),
    "ping_on_a_stream": (PROTOCOL_ERROR, frame(PING, 0, 1, bytes(8))),
    "goaway_on_a_stream": (PROTOCOL_ERROR, frame(GOAWAY, 0, 1, bytes(8))),
    "goaway_of_seven_octets": (FRAME_SIZE_ERROR, frame(GOAWAY, 0, 0, bytes(7))),
    "window_update_of_three_octets": (FRAME_SIZE_ERROR, frame(WINDOW_UPDATE, 0, 0, bytes(3))),
    "window_update_of_nothing": (PROTOCOL_ERROR, window_update(0, 0)),
    "window_update_of_an_idle_stream": (PROTOCOL_ERROR, window_update(LATER, 1)),
    "reset_of_the_connection": (PROTOCOL_ERROR, reset(0)),
    "reset_of_an_idle_stream": (PROTOCOL_ERROR, reset(LATER)),
    "reset_of_three_octets": (FRAME_SIZE_ERROR, OPEN + frame(RST_STREAM, 0, LATER, bytes(3))),
    "priority_of_the_connection": (PROTOCOL_ERROR, frame(PRIORITY, 0, 0, bytes(5))),
    "priority_of_four_octets": (FRAME_SIZE_ERROR, frame(PRIORITY, 0, LATER, bytes(4))),
    "push_promise": (PROTOCOL_ERROR, frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4))),
    "data_on_the_connection": (PROTOCOL_ERROR, frame(DATA, 0, 0, b"x")),
    "data_on_an_idle_stream": (PROTOCOL_ERROR, frame(DATA, 0, LATER, b"x")),
    "data_on_a_closed_stream": (STREAM_CLOSED, frame(DATA, 0, 1, b"x")),
    "data_with_more_padding_than_frame": (PROTOCOL_ERROR, OPEN + frame(DATA, PADDED, LATER, b"\x02x")),
    "padded_data_without_content": (FRAME_SIZE_ERROR, OPEN + frame(DATA, PADDED, LATER)),
    "headers_on_the_connection": (PROTOCOL_ERROR, frame(HEADERS, END_STREAM | END_HEADERS, 0, literal(GET))),
    "headers_on_a_closed_stream": (STREAM_CLOSED, get(1)),
    "headers_with_more_padding_than_frame": (PROTOCOL_ERROR, frame(HEADERS, END_HEADERS | PADDED, LATER, b"\xff\x82")),
    "headers_cut_in_a_field": (COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, LATER, literal(GET)[:-1])),
    "continuation_of_nothing": (PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1)),
    "continuation_behind_the_end": (PROTOCOL_ERROR, get(LATER) + frame(CONTINUATION, END_HEADERS, LATER)),
    "continuation_of_another_stream": (PROTOCOL_ERROR, UNFINISHED + frame(CONTINUATION, END_HEADERS, LATER + 2)),
    "data_inside_a_block": (PROTOCOL_ERROR, UNFINISHED + frame(DATA, 0, LATER, b"x")),
    "ping_inside_a_block": (PROTOCOL_ERROR, UNFINISHED + frame(PING, 0, 0, bytes(8))),
    "headers_inside_a_block": (PROTOCOL_ERROR, UNFINISHED + get(LATER + 2)),
    "unknown_frame_inside_a_block": (PROTOCOL_ERROR, UNFINISHED + frame(0xA0, 0, 0)),
    "a_frame_too_long": (FRAME_SIZE_ERROR, OPEN + frame(DATA, 0, LATER, bytes(16_385))),
    "headers_too_long": (FRAME_SIZE_ERROR, frame(HEADERS, END_HEADERS, LATER, bytes(16_385))),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_a_frame_that_breaks_a_rule_of_the_connection_ends_it(serve_shared, name):
    error, octets = CONNECTION_ERRORS[name]
    with FrameClient(serve_shared("hello_wsgi:app", *CLEARTEXT)) as client:
        client.send(get(1))
        assert client.answer(1).status == 200
        client.send(octets)
        assert client.wait_for_close() == error


FIRST = {"ping": frame(PING, 0, 0, bytes(8)), "request": get(1), "acknowledgement": frame(SETTINGS, ACK)}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_frame_is_settings(serve_shared, name):
    server = serve_shared("hello_wsgi:app", *CLEARTEXT)
    with FrameClient(server, PREFACE + FIRST[name], acknowledges=False) as client:
        assert client.wait_for_close() == PROTOCOL_ERROR


STREAM_ERRORS = {
    "window_update_of_nothing": (PROTOCOL_ERROR, window_update(LATER, 0)),
    "window_too_large": (FLOW_CONTROL_ERROR, window_update(LATER, 0x7FFFFFFF)),
    "priority_on_itself": (PROTOCOL_ERROR, frame(PRIORITY, 0, LATER, struct.pack("!IB", LATER, 0))),
    "a_second_head": (PROTOCOL_ERROR, request(LATER, GET, END_HEADERS)),
    "a_second_head_that_ends": (PROTOCOL_ERROR, request(LATER, GET)),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_frame_that_breaks_a_rule_of_its_stream_ends_that(serve_shared, name):
    error, octets = STREAM_ERRORS[name]
    with FrameClient(serve_shared("hello_wsgi:app", *CLEARTEXT)) as client:
        client.send(OPEN, octets, get(LATER + 2))
        assert client.answer(LATER).reset == error
        assert client.answer(LATER + 2).status == 200


HARMLESS = {
    "unknown_frame": frame(0xA0, 0xFF, 7, b"what"),
    "unknown_setting": settings([(0xFF, 7)]),
    "unknown_flags_of_ping": frame(PING, 0xFE, 0, bytes(8)),
    "reserved_bit_of_the_stream": frame(PING, 0, 1 << 31, bytes(8)),
    "ping_answered_unasked": frame(PING, ACK, 0, bytes(8)),
    "priority_of_an_idle_stream": frame(PRIORITY, 0, LATER, struct.pack("!IB", 0, 1)),
    "priority_of_a_closed_stream": frame(PRIORITY, 0, 1, struct.pack("!IB", 0, 1)),
    "window_update_of_a_closed_stream": window_update(1, 1),
    "reset_of_a_closed_stream": reset(1),
    "goaway": frame(GOAWAY, 0, 0, struct.pack("!II", 0, 0) + b"bye"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_merely_odd_is_read_past(serve_shared, name):
    with FrameClient(serve_shared("hello_wsgi:app", *CLEARTEXT)) as client:
        client.send(get(1))
        assert client.answer(1).status == 200
        client.send(HARMLESS[name], get(LATER + 2))
        assert client.answer(LATER + 2).status == 200
