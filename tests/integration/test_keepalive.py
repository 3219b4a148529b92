"""Connections: kept, closed, pipelined, half-closed."""

import socket
import time

import pytest

from harness.client import Client, Parallel, build_request
from harness.server import LATENESS
from harness.waiting import eventually

HELLO = build_request("/hello")


@pytest.fixture
def server(serve_shared):
    return serve_shared("wsgi_cases:app", "--threads", "4")


def test_many_requests_share_a_connection(server):
    with server.connect() as client:
        for _ in range(200):
            assert client.request("/hello").body == b"hello\n"


def test_http_1_0_closes_after_the_response(server):
    with server.connect() as client:
        client.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert client.read_response().body == b"hello\n"
        client.expect_close()


def test_http_1_0_keeps_alive_when_asked(server):
    with server.connect() as client:
        for _ in range(2):
            client.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = client.read_response()
            assert response.header("connection").lower() == "keep-alive" and response.body == b"hello\n"


def test_connection_close_is_said_and_done(server):
    with server.connect() as client:
        response = client.request("/hello", headers=[("Connection", "close")])
        assert response.closes
        client.expect_close()


def test_nothing_after_a_closing_request_is_answered(server):
    with server.connect() as client:
        client.send(build_request("/hello", headers=[("Connection", "close")]) + HELLO)
        assert client.read_response().closes
        client.expect_close()


@pytest.mark.parametrize("count", [2, 16, 17, 200])
def test_pipelined_requests_are_answered_in_order(server, count):
    with server.connect() as client:
        client.send(b"".join(build_request(f"/environ?{number}") for number in range(count)))
        for number in range(count):
            assert f'"QUERY_STRING": "{number}"' in client.read_response().text


def test_a_slow_pipelined_request_keeps_the_order(server):
    with server.connect() as client:
        client.send(build_request("/sleep?0.3") + HELLO)
        assert client.read_response().body == b"slept\n"
        assert client.read_response().body == b"hello\n"


def test_bodies_and_heads_may_share_a_packet(server):
    with server.connect() as client:
        requests = [
            build_request("/read_all", "POST", body=b"abc"),
            HELLO,
            build_request("/read_none", "POST", body=b"xyz"),
            HELLO,
        ]
        client.send(b"".join(requests))
        assert [client.read_response().body for _ in requests] == [
            b"[3, 294]",
            b"hello\n",
            b"did not read\n",
            b"hello\n",
        ]


def test_pipelined_head_requests_have_no_bodies(server):
    with server.connect() as client:
        client.reader.expect("HEAD")
        client.send(build_request("/hello", "HEAD") + HELLO)
        assert client.read_response().body == b""
        assert client.read_response().body == b"hello\n"


def test_a_half_closed_connection_gets_its_answers(server):
    with server.connect() as client:
        client.send(HELLO + HELLO)
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.read_response().body for _ in range(2)] == [b"hello\n"] * 2
        client.expect_close()


def test_the_end_of_the_client_loses_no_request_before_it(server):
    with server.connect() as client:
        client.send(build_request("/sleep?0.3") + HELLO + HELLO)
        client.sock.shutdown(socket.SHUT_WR)
        answers = [client.read_response() for _ in range(3)]
        assert [answer.body for answer in answers] == [b"slept\n", b"hello\n", b"hello\n"]
        assert [answer.header("connection") for answer in answers] == [None, None, "close"]
        client.expect_close()


def test_empty_lines_before_a_request_are_skipped(server):
    with server.connect() as client:
        client.send(b"\r\n\r\n" + HELLO)
        assert client.read_response().status == 200


def test_an_idle_connection_is_closed_after_keepalive(serve):
    server = serve("hello_wsgi:app", "--keep-alive", "1")
    with server.connect() as client:
        started = time.monotonic()
        assert client.request("/").status == 200
        client.expect_close()
        assert 0.9 <= time.monotonic() - started <= 1 + LATENESS


def test_a_request_starts_the_idle_time_again(serve):
    server = serve("hello_wsgi:app", "--keep-alive", "2")
    with server.connect() as client:
        started = time.monotonic()
        while time.monotonic() - started < 3:
            assert client.request("/").status == 200
        client.expect_close()


def test_keepalive_0_closes_after_each_response(serve):
    server = serve("hello_wsgi:app", "--keep-alive", "0")
    with server.connect() as client:
        assert client.request("/").closes
        client.expect_close()


def test_a_thousand_idle_connections_cost_the_others_nothing(serve):
    server = serve("hello_wsgi:app")
    clients = [Client(server.address) for _ in range(1000)]
    for client in clients:
        assert client.request("/").status == 200
    assert server.get("/").status == 200
    for client in reversed(clients):
        assert client.request("/").status == 200
        client.close()


def test_clients_that_reset_their_connections_cost_the_others_nothing(serve):
    server = serve("wsgi_cases:app", "--threads", "2")
    for _ in range(200):
        client = server.connect()
        client.send(HELLO[: len(HELLO) // 2])
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    for _ in range(50):
        client = server.connect()
        client.send(build_request("/large?1000000"))
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    assert eventually(lambda: server.get("/hello").status == 200)


def test_many_clients_at_once_all_get_their_own_answers(server):
    def one(number: int) -> None:
        with server.connect() as client:
            for turn in range(20):
                assert f'"QUERY_STRING": "{number}.{turn}"' in client.request(f"/environ?{number}.{turn}").text

    with Parallel() as clients:
        for number in range(30):
            clients.start(one, number)


def test_a_connection_that_ends_never_takes_the_next_one_along(serve):
    """The kernel gives the descriptor of a closed connection to the next client at once."""
    server = serve("hello_wsgi:app")
    for _ in range(300):
        assert server.get("/", host="bad host").status == 400
        assert server.get("/").status == 200
