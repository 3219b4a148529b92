"""Every HTTP/2 attack of the table in the design's security study, H2-01 to H2-28, with honest traffic beside it.

Each script plays its attack on connections of its own. While and after it, an honest connection that was there before
is answered, the memory of the I/O process has not grown by more than the bound, and the attacker got what is promised.
"""

import socket
import struct
import time
from pathlib import Path

import pytest
from test_metrics import read, total

from harness.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FrameClient,
    frame,
    get,
    literal,
    number,
    post,
    request,
    reset,
    settings,
    window_update,
)
from harness.load import Load
from harness.server import LATENESS, PATIENCE, allowed
from harness.waiting import eventually

CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
MEMORY_GROWTH = 8 << 20
HONEST_DEADLINE = 1.0
# A client that goes on is read from for 1 MiB, so that it may see why it is cut off; the rest is what others send.
FLOOD_BYTES, FLOOD_TAKEN_BYTES = 64 << 20, 2 << 20


def private_memory(pid: int) -> int:
    """Without the arenas, which have their size from the start, and of which ever more pages are touched."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Honest:
    """A client that asks now and then, on a connection that was there before the attack."""

    def __init__(self, server) -> None:
        self.client = FrameClient(server)
        self.stream = -1
        self.times: list[float] = []
        self.ask()
        self.load = Load({"honest": self._go_on})

    def ask(self) -> None:
        self.stream += 2
        started = time.monotonic()
        self.client.send(get(self.stream, "/hello"))
        answer = self.client.answer(self.stream, timeout=HONEST_DEADLINE * 10)
        assert answer.status == 200, answer
        self.times.append(time.monotonic() - started)

    def _go_on(self, load: Load, name: str) -> None:
        while not load.ending.wait(0.005):
            self.ask()
            load.answered[name] += 1

    def __enter__(self) -> "Honest":
        self.load.__enter__()
        return self

    def __exit__(self, *_) -> None:
        try:
            self.load.__exit__()
            self.load.assert_unharmed()
            self.ask()
        finally:
            self.client.sock.close()
        times = sorted(self.times)
        p99 = times[int(len(times) * 0.99)]
        print(f"honest requests: {len(times)}, p99 {p99 * 1000:.1f} ms")
        assert p99 < HONEST_DEADLINE * PATIENCE


@pytest.fixture
def scene(serve):
    """scene(*OPTIONS): a daemon, an honest client while the test runs, and a look at memory at its end."""
    open_honest = []

    def start(*options):
        server = serve("wsgi_cases:app", *CLEARTEXT, "--threads", "4", *options)
        honest = Honest(server).__enter__()
        open_honest.append((server, honest, private_memory(server.io_processes()[0])))
        return server

    yield start
    for server, honest, before in open_honest:
        honest.__exit__()
        growth = private_memory(server.io_processes()[0]) - before
        print(f"growth of the I/O process: {growth / 1048576:.1f} MiB")
        assert growth < MEMORY_GROWTH * PATIENCE


def ids(count: int, first: int = 1):
    return range(first, first + 2 * count, 2)


def assert_calmed(client: FrameClient, timeout: float = 10) -> None:
    assert client.wait_for_close(timeout) == ENHANCE_YOUR_CALM, [one.payload for one in client.goaways]


def streams_taken(client: FrameClient) -> int:
    """Of those that were sent, how many the server has looked at: what the sockets hold beyond them depends on the day."""
    last = int.from_bytes(client.goaways[-1].payload[:4], "big") & 0x7FFFFFFF
    return (last + 1) // 2


def send_until_closed(client: FrameClient, pieces) -> int:
    """Sends one after the other and listens in between, until the server has had enough. How many went out."""
    sent = 0
    for piece in pieces:
        client.send(piece)
        sent += 1
        if sent % 64 == 0:
            client.listen(0.0005)
        if client.is_over:
            break
    return sent


# --- streams that are given up -----------------------------------------------------------------------------------


def test_h2_01_rapid_reset_is_calmed_before_it_costs_the_application(scene):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (get(i, "/sleep?0") + reset(i) for i in ids(20_000)))
        assert_calmed(client)
        assert 0 < streams_taken(client) < 2_000
        assert sum("sleeping" in line for line in server.lines) <= 300
        accepted = struct.unpack_from("!I", client.goaways[-1].payload)[0]
        assert accepted < 4_000  # ids are odd: fewer than 2,000 streams


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda i: window_update(i, 0), id="window_update_of_zero"),
        pytest.param(lambda i: window_update(i, 0x7FFFFFFF), id="window_over_the_maximum"),
        pytest.param(lambda i: get(i, "/hello"), id="headers_behind_the_end"),
        pytest.param(lambda i: frame(DATA, 0, i, b"x"), id="data_behind_the_end"),
        pytest.param(lambda i: frame(PRIORITY, 0, i, b"x"), id="priority_of_wrong_length"),
        pytest.param(lambda i: frame(PRIORITY, 0, i, struct.pack("!IB", i, 0)), id="priority_on_itself"),
    ],
)
def test_h2_02_a_server_made_to_reset_its_streams_ends_the_connection(scene, fault):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (get(i, "/sleep?1") + fault(i) for i in ids(5_000)))
        error = client.wait_for_close(20)
        assert error in (ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, STREAM_CLOSED, PROTOCOL_ERROR, FLOW_CONTROL_ERROR)
        assert 0 < streams_taken(client) < 500


def test_a_client_that_ends_its_half_inside_a_hundred_bodies_costs_nobody_else_anything(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(*(post(i, "/hello") + frame(DATA, 0, i, b"x") for i in ids(100)))
        client.settle()
        client.sock.shutdown(socket.SHUT_WR)
        for i in ids(100):
            assert client.answer(i).reset == CANCEL
        assert client.wait_for_close() is None


def test_h2_19_streams_beyond_the_limit_are_refused_and_the_others_answered(scene):
    server = scene("--http2-max-concurrent-streams", "10")
    with FrameClient(server) as client:
        client.send(*(get(i, "/sleep?0.3") for i in ids(12)))
        for i in ids(10):
            assert client.answer(i).status == 200
        for i in ids(2, 21):
            assert client.answer(i).reset == REFUSED_STREAM
        client.send(get(25, "/hello"))
        assert client.answer(25).status == 200


def test_h2_24_a_stream_that_was_reset_counts_until_its_application_is_done(scene):
    server = scene("--http2-max-concurrent-streams", "2")
    with FrameClient(server) as client:
        client.send(get(1, "/sleep?3"), get(3, "/sleep?3"))
        server.wait_for_log("sleeping", count=2)
        client.send(reset(1), reset(3), get(5, "/hello"))
        assert client.answer(5).reset == REFUSED_STREAM
        deadline = time.monotonic() + allowed(10)
        stream = 7
        while True:
            client.send(get(stream, "/hello"))
            if client.answer(stream).status == 200:
                break
            assert time.monotonic() < deadline
            stream += 2
            time.sleep(0.2)


# --- field blocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"\x00\x01a\x01b"], ids=["empty", "with_fields"])
def test_h2_03_a_ninth_continuation_frame_is_calmed(scene, payload):
    server = scene()
    with FrameClient(server) as client:
        client.send(request(1, GET, END_STREAM))
        client.send(*(frame(CONTINUATION, 0, 1, payload) for _ in range(9)))
        assert_calmed(client)


@pytest.mark.parametrize("payload", [b"", b"\x00\x01a\x01b"], ids=["empty", "with_fields"])
def test_h2_03_a_flood_of_continuation_frames_is_cut_off(scene, payload):
    """By a client that does not listen, and so by the server's counters: it may never read the GOAWAY."""
    server = scene("--metrics-path", "/metrics")
    before = read(server)
    piece = frame(CONTINUATION, 0, 1, payload) * 4_096
    sent = 0
    with FrameClient(server) as client:
        client.send(request(1, GET, END_STREAM))
        while not client.closed and sent < FLOOD_BYTES:
            client.send(piece)
            sent += len(piece)
    assert sent < FLOOD_BYTES
    key = ("connections_closed_total", 0, 'reason="http2_error"')
    after = eventually(lambda: (now := read(server))[key] == 1 and now, what="the end of the connection")
    assert before[key] == 0
    taken = total(after, "received_bytes_total") - total(before, "received_bytes_total")
    assert taken < FLOOD_TAKEN_BYTES * PATIENCE  # more comes in one slow turn of the loop


def test_h2_03_eight_continuation_frames_are_served(scene):
    server = scene()
    block = literal((*GET[:2], (":path", "/hello"), GET[3]))
    cuts = [block[i * 6 : (i + 1) * 6] for i in range(8)] + [block[48:]]
    with FrameClient(server) as client:
        client.send(frame(HEADERS, END_STREAM, 1, cuts[0]))
        client.send(*(frame(CONTINUATION, 0, 1, cut) for cut in cuts[1:8]))
        client.send(frame(CONTINUATION, END_HEADERS, 1, cuts[8]))
        assert client.answer(1).status == 200


def test_h2_04_a_large_entry_that_is_named_again_and_again_is_answered_431(scene):
    server = scene()
    head = literal(GET)
    with FrameClient(server) as client:
        entry = b"\x40" + number(1, 7, 0) + b"x" + number(3_000, 7, 0) + b"v" * 3_000
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, head + entry))
        assert client.answer(1).status == 200 or client.answer(1).status == 404
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, head + b"\xbe" * 60))
        assert client.answer(3).status == 431
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 5, head + b"\xbe" * 4_000))
        assert_calmed(client)


def test_h2_05_thousands_of_tiny_references_with_a_closed_window_serve_nobody_and_cost_nothing(scene):
    server = scene()
    head = literal(GET)
    with FrameClient(server, PREFACE + settings([(4, 0)])) as client:
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, head + b"\x40\x01a\x00"))
        sent = 0
        for i in ids(60, 3):
            block = head + b"\xbe" * 32_000
            pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
            client.send(frame(HEADERS, END_STREAM, i, pieces[0]))
            client.send(*(frame(CONTINUATION, 0, i, piece) for piece in pieces[1:-1]))
            client.send(frame(CONTINUATION, END_HEADERS, i, pieces[-1]))
            sent += 1
            if client.closed:
                break
        assert_calmed(client)
        assert not any(answer.status == 200 for stream, answer in client.answers.items() if stream > 1)


def test_h2_05_each_crumb_of_a_cookie_counts(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(request(1, (*GET, *(("cookie", "a=b") for _ in range(101)))))
        assert client.answer(1).status == 431
        client.send(get(3, "/hello", *(("cookie", "a=b") for _ in range(50))))
        assert client.answer(3).status == 200


def test_h2_15_a_section_beyond_the_limit_is_answered_431_and_the_connection_lives(scene):
    server = scene("--http2-max-header-list-size", "8192")
    with FrameClient(server) as client:
        client.send(request(1, (*GET, ("x", "v" * 9_000))))
        assert client.answer(1).status == 431
        client.send(get(3, "/hello"))
        assert client.answer(3).status == 200


def test_h2_16_empty_names_are_malformed_and_calmed_when_they_are_many(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(request(1, (*GET, ("", "x"))))
        assert client.answer(1).reset == PROTOCOL_ERROR
        client.send(get(3, "/hello"))
        assert client.answer(3).status == 200
        send_until_closed(client, (request(i, (*GET, ("", "x"))) for i in ids(500, 5)))
        assert_calmed(client)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\x80\x80\x80\x80\x80\x01",  # an integer of too many octets
        b"\xbe",  # behind the end of the tables
        b"\x3f\xe2\x1f",  # a table of 4,097 octets
        literal(GET) + b"\x20",  # a size update behind a field
        b"\x00\x81\xff\x00",  # Huffman coding: the end-of-string symbol's beginning as a name of 8 bits of padding
    ],
    ids=["index_0", "long_integer", "index_outside", "table_too_large", "late_update", "padding"],
)
def test_h2_27_a_block_that_cannot_be_decoded_ends_the_connection(scene, block):
    server = scene()
    with FrameClient(server) as client:
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
        assert client.wait_for_close() == COMPRESSION_ERROR


# --- floods of control frames ------------------------------------------------------------------------------------


def test_h2_06_a_flood_of_settings_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        assert send_until_closed(client, (settings([(3, i)]) for i in range(50_000))) < 5_000
        assert_calmed(client)


def test_h2_06_more_than_32_entries_in_a_settings_frame_are_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(settings([(3, 100)] * 33))
        assert_calmed(client)


def test_h2_07_a_flood_of_pings_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (frame(PING, payload=struct.pack("!Q", i)) for i in range(200_000)))
        assert_calmed(client)


def test_h2_07_pings_that_nobody_reads_the_answers_of_stop_the_reading(scene):
    server = scene()
    with FrameClient(server) as client:
        client.sock.settimeout(2 * PATIENCE)
        try:
            for _ in range(2_000):
                client.sock.sendall(frame(PING, payload=bytes(8)) * 64)
        except OSError:
            pass  # its socket is full, or it was closed: both are fine


def test_h2_08_a_flood_of_requests_that_we_must_reset_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        sent = send_until_closed(client, (request(i, GET[:2]) for i in ids(20_000)))
        assert_calmed(client)
        assert sent < 20_000
        assert streams_taken(client) == 0


def test_h2_09_empty_data_frames_are_a_stream_error_and_then_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(post(1, "/hello"), *(frame(DATA, 0, 1) for _ in range(12)))
        assert client.answer(1).reset is not None
        client.send(get(3, "/hello"))
        assert client.answer(3).status == 200
        send_until_closed(client, (post(i, "/hello") + frame(DATA, 0, i) * 12 for i in ids(500, 5)))
        assert_calmed(client)


def test_h2_10_a_flood_of_priorities_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (frame(PRIORITY, 0, i, struct.pack("!IB", 0, 1)) for i in ids(50_000)))
        assert_calmed(client)


def test_h2_10_a_flood_of_priority_updates_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        piece = frame(PRIORITY_UPDATE, 0, 0, struct.pack("!I", 1) + b"u=1")
        send_until_closed(client, (piece for _ in range(50_000)))
        assert_calmed(client)


def test_h2_11_a_flood_of_window_updates_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (window_update(0, 1) for _ in range(100_000)))
        assert_calmed(client)


def test_h2_20_payload_that_is_mostly_padding_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(post(1, "/sleep?30"))
        padded = frame(DATA, PADDED, 1, b"\xff" + b"x" + bytes(255))
        send_until_closed(client, (padded for _ in range(50_000)))
        assert client.wait_for_close() in (ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR)


def test_h2_25_a_flood_of_unknown_frames_is_calmed(scene):
    server = scene()
    with FrameClient(server) as client:
        send_until_closed(client, (frame(0xA0, 0, 0, b"what") for _ in range(100_000)))
        assert_calmed(client)


# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [0, 1], ids=["connection", "stream"])
def test_h2_14_a_window_over_the_maximum_is_an_error_and_all_comes_back(scene, stream):
    server = scene()
    with FrameClient(server, PREFACE + settings([(4, 0)])) as client:
        client.send(get(1, "/large?1000000"))
        client.wait_for(lambda: client.answers.get(1) and client.answers[1].status == 200)
        client.send(window_update(stream, 0x7FFFFFFF), window_update(stream, 0x7FFFFFFF))
        if stream == 0:
            assert client.wait_for_close() == FLOW_CONTROL_ERROR
        else:
            assert client.answer(1).reset == FLOW_CONTROL_ERROR
            client.send(settings([(4, 65_535)]), get(3, "/hello"))
            assert client.answer(3).status == 200


def test_h2_14_windows_may_become_negative_and_open_again(scene):
    server = scene()
    with FrameClient(server, PREFACE + settings([(4, 1_000)])) as client:
        client.send(get(1, "/large?5000"))
        client.wait_for(lambda: client.answers.get(1) and len(client.answers[1].body) == 1_000)
        client.send(settings([(4, 0)]), window_update(1, 500))
        client.settle()
        assert len(client.answers[1].body) == 1_000
        client.send(window_update(1, 1_000))
        client.wait_for(lambda: len(client.answers[1].body) == 1_500)
        client.send(settings([(4, 65_535)]))
        assert len(client.answer(1).body) == 5_000


def test_h2_13_a_reader_with_a_closed_window_is_given_up_and_holds_no_thread(scene):
    server = scene("--write-timeout", "2", "--threads", "1")
    with FrameClient(server, PREFACE + settings([(4, 0)])) as client:
        client.send(get(1, "/large?200000"))
        started = time.monotonic()
        assert client.answer(1, timeout=15).reset == CANCEL
        assert time.monotonic() - started < LATENESS


def test_h2_13_a_window_that_opens_octet_by_octet_is_as_good_as_closed(scene):
    server = scene("--write-timeout", "2")
    with FrameClient(server, PREFACE + settings([(4, 0)])) as client:
        client.send(get(1, "/large?200000"))
        deadline = time.monotonic() + allowed(10)
        while not (client.answers.get(1) and client.answers[1].over):
            assert time.monotonic() < deadline, "the drip goes on"
            client.send(window_update(1, 1))
            time.sleep(0.02)  # the pace of the drip
            client.listen(0.001)
        assert client.answers[1].reset == CANCEL


def test_h2_12_windows_that_open_octet_by_octet_are_calmed(scene):
    server = scene()
    with FrameClient(server, PREFACE + settings([(4, 0)])) as client:
        client.send(get(1, "/large?200000"))
        client.wait_for(lambda: client.answers.get(1) and client.answers[1].status == 200)
        send_until_closed(client, (window_update(1, 1) for _ in range(20_000)))
        assert_calmed(client)


def test_h2_14_more_data_than_the_window_is_a_flow_control_error_of_the_stream(scene):
    server = scene("--request-buffering", "off")
    with FrameClient(server) as client:
        client.send(post(1, "/sleep?1"), *(frame(DATA, 0, 1, bytes(16_384)) for _ in range(5)))
        assert client.answer(1).reset == FLOW_CONTROL_ERROR
        client.send(get(3, "/hello"))
        assert client.answer(3).status == 200


def test_h2_14_more_data_than_the_windows_of_all_streams_ends_the_connection(scene):
    server = scene("--request-buffering", "off", "--http2-initial-window-size", "262144")
    with FrameClient(server) as client:
        client.send(post(1, "/sleep?1"), post(3, "/sleep?1"))
        for _ in range(9):
            client.send(*(frame(DATA, 0, i, bytes(16_384)) for i in (1, 3)))
        assert client.wait_for_close() == FLOW_CONTROL_ERROR


# --- ids, states, trailers ---------------------------------------------------------------------------------------


def test_h2_17_data_on_an_idle_stream_ends_the_connection(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(frame(DATA, END_STREAM, 5, b"x"))
        assert client.wait_for_close() == PROTOCOL_ERROR


def test_h2_17_data_that_crossed_our_reset_is_read_past(scene):
    server = scene("--http2-max-concurrent-streams", "1")
    with FrameClient(server) as client:
        client.send(get(1, "/sleep?0.5"), post(3, "/hello"), frame(DATA, END_STREAM, 3, b"late"))
        assert client.answer(3).reset == REFUSED_STREAM
        assert client.answer(1).status == 200


@pytest.mark.parametrize("stream", [2, 0], ids=["even", "zero"])
def test_h2_18_ids_that_a_client_may_not_use_end_the_connection(scene, stream):
    server = scene()
    with FrameClient(server) as client:
        client.send(get(stream, "/hello"))
        assert client.wait_for_close() == PROTOCOL_ERROR


def test_h2_18_an_id_that_goes_back_ends_the_connection(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(get(9, "/hello"))
        client.answer(9)
        client.send(get(7, "/hello"))
        assert client.wait_for_close() in (PROTOCOL_ERROR, STREAM_CLOSED)


def test_h2_18_ids_that_run_out_end_in_a_graceful_goaway(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(get(0x40000001, "/hello"))
        client.wait_for(lambda: client.goaways, what="GOAWAY")
        assert client.goaways[0].error == NO_ERROR


@pytest.mark.parametrize("stated", ["5", "20"], ids=["too_long", "too_short"])
def test_h2_21_a_body_that_belies_its_length_is_a_stream_error(scene, stated):
    server = scene()
    with FrameClient(server) as client:
        client.send(post(1, "/read-all", ("content-length", stated)), frame(DATA, END_STREAM, 1, b"ten octets"))
        assert client.answer(1).reset == PROTOCOL_ERROR
        client.send(post(3, "/hello", ("content-length", "4")), frame(DATA, END_STREAM, 3, b"four"))
        assert client.answer(3).status == 200


def test_h2_21_trailers_with_pseudo_fields_or_without_end_are_stream_errors(scene):
    server = scene()
    with FrameClient(server) as client:
        client.send(post(1, "/read-all"), request(1, ((":path", "/"),)))
        assert client.answer(1).reset == PROTOCOL_ERROR
        client.send(post(3, "/read-all"), frame(DATA, 0, 3, b"x"), request(3, (("a", "b"),), END_HEADERS))
        assert client.answer(3).reset == PROTOCOL_ERROR
        client.send(post(5, "/hello"), frame(DATA, 0, 5, b"x"), request(5, (("a", "b"),)))
        assert client.answer(5).status == 200


def test_h2_22_an_upgrade_to_h2c_is_ignored(scene):
    server = scene()
    fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    response = server.get("/hello", headers=fields)
    assert response.status == 200


def test_h2_22_without_the_setting_a_preface_is_no_request(serve):
    server = serve("hello_wsgi:app")
    with server.connect() as client:
        client.send(PREFACE + settings())
        assert client.read_response().status in (400, 505)
        client.expect_close()


def test_h2_23_extended_connect_without_the_setting_is_malformed(scene):
    server = scene()
    fields = (
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
    )
    with FrameClient(server) as client:
        client.send(request(1, fields, END_HEADERS))
        assert client.answer(1).reset == PROTOCOL_ERROR
        client.send(request(3, ((":method", "CONNECT"), (":authority", "localhost:80")), END_HEADERS))
        assert client.answer(3).status == 405


# --- time --------------------------------------------------------------------------------------------------------


def test_h2_26_a_preface_that_does_not_come_is_not_waited_for(serve):
    server = serve("hello_wsgi:app", *CLEARTEXT)
    started = time.monotonic()
    with FrameClient(server, PREFACE, acknowledges=False) as client:
        client.wait_for_close(20)
        assert 4 < time.monotonic() - started < 5 + LATENESS


def test_h2_26_a_field_block_that_does_not_end_is_not_waited_for(serve):
    server = serve("hello_wsgi:app", *CLEARTEXT)
    started = time.monotonic()
    with FrameClient(server, acknowledges=False) as client:
        client.send(frame(SETTINGS, ACK), request(1, GET, END_STREAM))
        client.wait_for_close(25)
        assert 8 < time.monotonic() - started < 10 + LATENESS


def test_h2_26_settings_that_are_not_acknowledged_are_an_error(serve):
    server = serve("hello_wsgi:app", *CLEARTEXT)
    started = time.monotonic()
    with FrameClient(server, acknowledges=False) as client:
        assert client.wait_for_close(25) == SETTINGS_TIMEOUT
        assert 8 < time.monotonic() - started < 10 + LATENESS


def test_h2_28_a_burst_of_new_streams_does_not_keep_others_waiting(scene):
    server = scene("--http2-max-concurrent-streams", "1000")
    with FrameClient(server) as client:
        client.send(*(get(i, "/hello") for i in ids(900)))
        for i in ids(900):
            assert client.answer(i).status == 200


def test_h2_12_a_window_of_single_octets_is_served_slowly_and_honest_clients_are_not(scene):
    server = scene()
    with FrameClient(server, PREFACE + settings([(4, 1)])) as client:
        begun = time.monotonic()
        client.send(get(1, "/large?3000"))
        client.wait_for(lambda: client.answers.get(1) and client.answers[1].status == 200)
        for _ in range(20):
            client.send(window_update(1, 1))
            client.listen(0.01)
        assert client.answers[1].body == b"" or time.monotonic() - begun > 0.9
        client.wait_for(lambda: client.answers[1].body)
        assert len([one for one in client.frames if one.type == DATA]) <= 1 + (time.monotonic() - begun)
        with FrameClient(server) as honest:
            honest.send(get(1, "/large?3000"))
            assert len(honest.answer(1).body) == 3_000
        client.send(settings([(4, 65_535)]))
        assert len(client.answer(1).body) == 3_000
        assert RST_STREAM not in [one.type for one in client.frames]
