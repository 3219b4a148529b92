"""Sizes and times: each limit answers as the documentation says, and costs only the client that passed it."""

import json
import os
import resource
import select
import socket
import time
from pathlib import Path

import pytest

from harness.client import Client, build_request
from harness.server import LATENESS, PATIENCE
from harness.waiting import eventually, wait_for_event

HELLO = build_request("/hello")


def status_and_close(server, data: bytes) -> int:
    with server.connect() as client:
        client.send(data)
        response = client.read_response()
        client.expect_close()
        return response.status


def assert_closed_by_deadline(client: Client, started: float, limit: float, statuses: tuple[bytes, ...]) -> None:
    """Closed at the deadline (give or take a turn of the timing wheel), in silence or with one of the statuses. `started`
    is before whatever the server counts from: what a busy machine adds behind it comes on top."""
    data = client.read_until_close()
    seconds = time.monotonic() - started
    assert limit * 0.9 <= seconds <= limit + LATENESS, f"closed after {seconds:.2f} s"
    assert data == b"" or data[9:12] in statuses, data[:100]


# --- sizes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(serve_shared):
    return serve_shared("wsgi_cases:app", "--limit-request-body", "1M")


def test_a_request_line_of_8000_octets_works_and_a_longer_one_is_414(server):
    assert server.get("/hello?" + "q" * 7970).status == 200
    assert status_and_close(server, build_request("/hello?" + "q" * 8200)) == 414


def test_a_limit_is_answered_at_the_limit_not_at_the_end(server):
    assert status_and_close(server, b"GET /" + b"q" * 9000) == 414
    assert status_and_close(server, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 9000) == 431


def test_100_fields_work_and_101_are_431(server):
    fields = [(f"X-{number}", "v") for number in range(99)]
    assert server.get("/hello", headers=fields).status == 200
    assert status_and_close(server, build_request("/hello", headers=[*fields, ("X-Last", "v")])) == 431


def test_a_field_over_its_limit_is_431(server):
    assert server.get("/hello", headers=[("X", "v" * 8100)]).status == 200
    assert status_and_close(server, build_request("/hello", headers=[("X", "v" * 8200)])) == 431


def test_a_head_over_64_kib_is_431(server):
    fields = [(f"X-{number}", "v" * 8000) for number in range(10)]
    assert status_and_close(server, build_request("/hello", headers=fields)) == 431


def test_the_limits_are_settings(serve):
    server = serve(
        "wsgi_cases:app",
        "--limit-request-line",
        "100",
        "--limit-request-fields",
        "5",
        "--limit-request-field_size",
        "50",
    )
    assert server.get("/hello").status == 200
    assert status_and_close(server, build_request("/hello?" + "q" * 100)) == 414
    assert status_and_close(server, build_request("/hello", headers=[(f"X-{n}", "v") for n in range(5)])) == 431
    assert status_and_close(server, build_request("/hello", headers=[("X", "v" * 60)])) == 431


def test_a_body_over_its_limit_is_413_before_it_is_read(server):
    head = b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"
    assert status_and_close(server, head) == 413
    assert json.loads(server.get("/read_all", method="POST", body=b"x" * (1 << 20)).body)[0] == 1 << 20


def test_a_chunked_body_over_its_limit_is_413(server):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with server.connect() as client:
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(17):
                client.send_more(chunk)
            client.send_more(b"0\r\n\r\n")
        except ConnectionError:
            pass
        assert client.read_response().status == 413
        client.read_until_close()


# --- times -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(serve_shared):
    times = ("--head-timeout", "1", "--body-timeout", "1", "--write-timeout", "1", "--keep-alive", "5")
    return serve_shared("wsgi_cases:app", "--threads", "4", *times)


def test_a_connection_that_says_nothing_is_closed(hasty):
    started = time.monotonic()
    with hasty.connect() as client:
        assert_closed_by_deadline(client, started, 1, (b"408",))


def test_half_a_head_is_closed(hasty):
    started = time.monotonic()
    with hasty.connect() as client:
        client.send(HELLO[:20])
        assert_closed_by_deadline(client, started, 1, (b"408",))


def test_a_head_in_drips_does_not_move_its_deadline(hasty):
    started = time.monotonic()
    with hasty.connect() as client:
        client.sock.settimeout(0.05)
        for octet in HELLO[:-4] * 20:
            try:
                client.send_more(bytes([octet]))
                if client.sock.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.9 <= time.monotonic() - started <= 1 + LATENESS


def test_the_next_head_has_its_deadline_too(hasty):
    with hasty.connect() as client:
        assert client.request("/hello").status == 200
        started = time.monotonic()
        client.send_more(HELLO[:20])
        assert_closed_by_deadline(client, started, 1, (b"408",))


def test_a_body_that_stops_is_closed(hasty):
    with hasty.connect() as client:
        started = time.monotonic()
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert_closed_by_deadline(client, started, 1, (b"408", b"500"))
    assert hasty.get("/hello").status == 200


def test_a_client_that_does_not_read_is_closed_and_its_thread_is_free(serve):
    server = serve("wsgi_cases:app", "--threads", "1", "--write-timeout", "1")
    with server.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(build_request("/closing_endless"))
        wait_for_event(server, "close closing_endless", timeout=15)


def test_requests_beside_slow_readers_are_served_at_the_usual_rate(serve):
    """100 clients that take a response of 512 KiB in drips, against 4 threads: response_buffering frees the threads."""
    server = serve("wsgi_cases:app", "--threads", "4")
    slow = []
    for _ in range(100):
        client = Client(server.address)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(build_request("/large?524288"))
        slow.append(client)
    with server.connect() as quick:
        for _ in range(50):  # each while all the others wait, which they do until the test goes on
            assert quick.request("/hello").status == 200
    for client in slow:
        client.close()


def test_requests_beside_slow_senders_are_served_at_the_usual_rate(serve):
    """100 clients that send a body in drips, against 4 threads: request_buffering keeps the threads free."""
    server = serve("wsgi_cases:app", "--threads", "4")
    slow = []
    for _ in range(100):
        client = Client(server.address)
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\ndrip")
        slow.append(client)
    with server.connect() as quick:
        for _ in range(50):  # each while all the others wait, which they do until the test goes on
            assert quick.request("/hello").status == 200
    for client in slow:
        client.send_more(b"x" * 996)
        assert json.loads(client.read_response().body)[0] == 1000
        client.close()


def test_request_timeout_answers_504_and_keeps_the_process(serve):
    server = serve("asgi_cases:app", "--request-timeout", "1")
    pid = server.get("/pid").body
    started = time.monotonic()
    assert server.get("/sleep?20").status == 504
    assert 0.9 <= time.monotonic() - started <= 1 + LATENESS
    assert server.get("/pid").body == pid


def test_a_request_that_waits_too_long_for_a_place_is_503(serve, gates):
    server, gate = serve("wsgi_cases:app", "--threads", "1", "--queue-timeout", "1"), gates.make()
    with server.connect(30) as first:
        first.send(build_request(f"/fifo?{gate}"))
        server.wait_for_log("at the gate$")
        started = time.monotonic()
        response = server.get("/hello")
        assert response.status == 503 and response.header("retry-after")
        assert 0.9 <= time.monotonic() - started <= 1 + LATENESS
        gates.open(gate)
        assert first.read_response().body == b"passed\n"


def test_a_full_queue_is_503_at_once(serve, gates):
    server, gate = serve("wsgi_cases:app", "--threads", "1", "--queue-size", "8"), gates.make()
    # 64 may stand in the application's own queue, 8 in that of the I/O process.
    refused = 200 - 64 - 8 - 2
    with server.connect(30) as first:
        first.send(build_request(f"/fifo?{gate}"))
        server.wait_for_log("at the gate$")
        waiting = [server.connect(30) for _ in range(200)]
        for client in waiting:
            client.send(HELLO)
        eventually(lambda: sum(map(has_answer, waiting)) >= refused, what="refusals while nobody is served")
        gates.open(gate)
        assert first.read_response().body == b"passed\n"
    statuses = [client.read_response().status for client in waiting]
    assert set(statuses) == {200, 503}
    assert statuses.count(503) >= refused
    for client in waiting:
        client.close()


def test_the_oldest_idle_connection_makes_room(serve):
    server = serve("hello_wsgi:app", "--max-connections", "3", "--rings", "1")
    old = [server.connect() for _ in range(3)]
    for client in old:
        assert client.request("/").status == 200
    with server.connect() as newcomer:
        assert newcomer.request("/").status == 200
    old[0].expect_close()
    assert old[2].request("/").status == 200
    for client in old:
        client.close()


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def test_running_out_of_descriptors_pauses_accepting_and_nothing_else(serve):
    server = serve("hello_wsgi:app", "--rings", "1", preexec=few_descriptors)
    with server.connect() as first:
        # Half a request: an idle connection may be closed to make room, this one may not.
        first.send(HELLO[:-2])
        crowd = [Client(server.address) for _ in range(150)]
        first.send_more(HELLO[-2:])
        assert first.read_response().status == 200
        for client in crowd:
            client.close()
    assert eventually(lambda: server.get("/").status == 200)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_answer(client: Client) -> bool:
    """An answer, or the end: of a client that has asked nothing, the end."""
    return bool(select.select([client.sock], [], [], 0)[0])


def test_a_crowd_beyond_the_descriptors_is_turned_away_without_spinning(serve):
    """RES-10: 64 descriptors, 200 clients that say nothing."""
    server = serve("hello_wsgi:app", "--rings", "1", preexec=few_descriptors)
    (worker,) = server.io_processes()
    before, began = cpu_seconds(worker), time.monotonic()
    crowd = [Client(server.address) for _ in range(200)]
    eventually(lambda: sum(map(has_answer, crowd)) >= 200 - 64, what="turning away")
    late = server.connect()
    assert late.read_until_close() == b""
    time.sleep(2)  # the time over which CPU is measured: nothing is waited for
    assert cpu_seconds(worker) - before < 0.2 * PATIENCE
    complaints = [line for line in server.lines if "no file descriptor is left" in line]
    assert 1 <= len(complaints) <= 1 + (time.monotonic() - began) / 10
    assert not all(map(has_answer, crowd))
    for client in crowd:
        client.close()
    eventually(lambda: answers(server), what="service")


def answers(server) -> bool:
    try:
        return server.get("/").status == 200
    except (AssertionError, OSError):
        return False
