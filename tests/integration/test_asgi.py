"""ASGI over the wire: scope, streaming both ways, disconnects, lifespan, and what an application's mistakes cost."""

import json
import random
import re
import socket

import pytest

from harness.client import Parallel, build_request
from harness.server import run_to_end
from harness.waiting import events, eventually, read_until, wait_for_event


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request, serve_shared):
    return serve_shared("asgi_cases:app", "--asgi-loop", request.param)


def still_serves(server) -> None:
    assert server.get("/hello").body == b"hello\n"


# --- scope -------------------------------------------------------------------------------------------------------


def test_the_scope_names_the_request(server):
    with server.connect() as client:
        answer = json.loads(client.request("/scope?a=1&b=%20", headers=[("X-One", "1"), ("Cookie", "c=d")]).body)
        own = list(client.sock.getsockname())
    scope, types = answer["scope"], answer["types"]
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0" and tuple(map(int, scope["asgi"]["spec_version"].split("."))) >= (2, 4)
    assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "GET", "http")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope", "/scope", "a=1&b=%20")
    assert scope["root_path"] == ""
    assert scope["headers"] == [["host", "test.example"], ["x-one", "1"], ["cookie", "c=d"]]
    assert scope["client"] == own and scope["server"] == list(server.address)
    assert (types["raw_path"], types["query_string"], types["path"]) == ("bytes", "bytes", "str")


def test_the_loop_is_the_one_that_was_asked_for(request, server):
    wanted = request.node.callspec.params["server"]
    assert server.get("/loop_name").text.split(".")[0] == wanted


def test_repeated_fields_stay_apart_and_in_order(server):
    with server.connect() as client:
        answer = json.loads(client.request("/scope", headers=[("X-A", "1"), ("Y", "-"), ("x-a", "2")]).body)
    assert [pair for pair in answer["scope"]["headers"] if pair[0] == "x-a"] == [["x-a", "1"], ["x-a", "2"]]


def test_state_is_copied_for_each_request(serve):
    server = serve("asgi_cases:app")
    answers = [json.loads(server.get("/state").body) for _ in range(3)]
    assert [answer["seen"] for answer in answers] == [["base", "shared"]] * 3
    assert [answer["shared"] for answer in answers] == [1, 2, 3]


def test_root_path_is_a_setting(serve):
    answer = json.loads(serve("asgi_cases:app", "--root-path", "/base").get("/scope").body)
    assert answer["scope"]["root_path"] == "/base"


# --- responses ---------------------------------------------------------------------------------------------------


def test_a_streamed_response_arrives_whole_and_the_connection_stays(server):
    with server.connect() as client:
        assert client.request("/stream").body == b"ab" + b"c" * 70000
        assert client.request("/hello").body == b"hello\n"


def test_a_streamed_response_to_http_1_0_ends_with_the_connection(server):
    with server.connect() as client:
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert not response.chunked and response.body == b"ab" + b"c" * 70000


def test_a_part_reaches_the_client_before_the_next_is_made(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(build_request("/stream_gated"))
        read_until(client, b"first")
        assert server.get("/open?stream").status == 200
        read_until(client, b" second")


def test_header_names_may_be_of_any_iterable_and_case(server):
    response = server.get("/headers_iterator")
    assert response.header("x-one") == "1" and response.header("x-two") == "2"


def test_head_and_204_have_no_body(server):
    with server.connect() as client:
        response = client.request("/hello", method="HEAD")
        assert response.header("content-length") == "6" and response.body == b""
        assert client.request("/stream", method="HEAD").body == b""
        assert client.request("/no_content").status == 204
        assert client.request("/hello").body == b"hello\n"


def test_early_hints_come_before_the_response(server):
    response = server.get("/early_hint")
    assert [hint.status for hint in response.interim] == [103]
    assert "</style.css>; rel=preload; as=style" in response.interim[0].header("link")


def test_a_large_response_arrives_whole(server):
    size = (8 << 20) + 12345
    assert server.get(f"/large?{size}").body == (bytes(range(256)) * (size // 256 + 1))[:size]


# --- request bodies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4096, 70000, 5 << 20])
def test_a_body_of_any_size_arrives(server, size):
    body = random.Random(size).randbytes(size)
    assert json.loads(server.get("/read_all", method="POST", body=body).body)[:2] == [size, sum(body) & 0xFFFF]


def test_each_piece_of_a_body_is_seen_when_it_comes(server):
    with server.connect() as client:
        client.send(b"POST /read_gated HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        read_until(client, b"one|")
        client.send_more(b"3\r\ntwo\r\n")
        read_until(client, b"two|")
        client.send_more(b"0\r\n\r\n")
        read_until(client, b"0\r\n\r\n")


def test_a_body_that_is_not_read_costs_the_next_request_nothing(server):
    with server.connect() as client:
        assert client.request("/read_none", method="POST", body=b"GET /exit HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        assert client.request("/hello").body == b"hello\n"


def test_100_continue_is_sent_when_the_application_reads(server):
    head = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with server.connect() as client:
        client.send(head.format("/read_all"))
        assert client.sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send_more(b"body")
        assert json.loads(client.read_response().body)[0] == 4
        assert client.request("/hello").status == 200


def test_no_100_continue_for_an_application_that_does_not_read(server):
    with server.connect() as client:
        client.send(b"POST /read_none HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        response = client.read_response()
        assert response.status == 200 and not response.interim


# --- disconnects -------------------------------------------------------------------------------------------------


def test_a_disconnect_reaches_receive_and_then_send_raises_oserror(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(build_request("/disconnect"))
        wait_for_event(server, "waiting")
    wait_for_event(server, "OSError True")
    assert "http.disconnect" in events(server)


def test_a_client_that_only_closes_its_half_is_heard_and_still_answered(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(build_request("/hears_the_end"))
        wait_for_event(server, "listening")
        client.sock.shutdown(socket.SHUT_WR)
        response = client.read_response()
        assert (response.status, response.body) == (200, b"http.disconnect")
        client.expect_close()


def test_an_endless_response_ends_when_its_client_goes(serve):
    server = serve("asgi_cases:app", "--asgi-disconnect-grace-period", "1")
    with server.connect() as client:
        client.send(build_request("/endless"))
        assert client.sock.recv(65536)
    eventually(lambda: any(e.startswith("endless ended by") for e in json.loads(server.get("/events").body)))


def test_receive_says_disconnect_once_the_response_is_complete(serve):
    server = serve("asgi_cases:app")
    assert server.get("/receive_after_end").body == b"done\n"
    wait_for_event(server, "then http.disconnect")


def test_half_a_body_is_a_disconnect(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    still_serves(server)


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/raises", "/returns_early", "/message?body_first", "/message?two_starts", "/message?unknown", "/message?no_type",
     "/message?not_dict", "/message?status_str", "/message?status_low", "/message?header_str", "/message?header_crlf",
     "/message?header_name", "/message?header_triple", "/message?headers_int", "/message?body_str"],
)  # fmt: skip
def test_a_mistake_before_anything_was_sent_is_a_clean_500(server, path):
    with server.connect() as client:
        client.send(build_request(path, headers=[("Connection", "close")]))
        raw = client.read_until_close()
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"went through" not in raw and b"Injected" not in raw
    still_serves(server)


def test_an_exception_between_start_and_body_never_looks_complete(server):
    with server.connect() as client:
        try:
            assert client.request("/raises_after_start").status == 500
        except ConnectionError:
            pass


@pytest.mark.parametrize("path", ["/raises_midway", "/returns_midway"])
def test_a_body_that_stops_never_looks_complete(server, path):
    with server.connect() as client, pytest.raises(ConnectionError):
        client.request(path)
    still_serves(server)


def test_an_exception_after_the_end_is_logged_and_the_answer_stays_good(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        assert client.request("/raises_after_end").body == b"complete\n"
        server.wait_for_log("raised after the response was complete")
        assert client.request("/hello").body == b"hello\n"


def test_a_traceback_reaches_the_error_log(serve):
    server = serve("asgi_cases:app")
    assert server.get("/raises").status == 500
    server.wait_for_log("Traceback")
    server.wait_for_log("RuntimeError: raised before the start")


def test_a_body_shorter_than_its_length_never_looks_complete(server):
    with server.connect() as client:
        try:
            assert client.request("/length_short").status == 500
        except ConnectionError:
            pass
    still_serves(server)


def test_a_body_longer_than_its_length_does_not_spill(server):
    with server.connect() as client:
        try:
            response = client.request("/length_long")
            assert response.status == 500 or response.body == b"12345"
            assert client.request("/hello").body == b"hello\n"
        except ConnectionError:
            pass
    still_serves(server)


# --- tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", ["pooled", "task"])
def test_application_code_runs_in_a_real_task(serve, tasks):
    server = serve("asgi_cases:app", "--asgi-tasks", tasks)
    assert server.get("/current_task").text == "Task"
    assert server.get("/timeout").text == "timed out\n"
    assert server.get("/task_group").text == "group failed\n"
    assert server.get("/cancels_itself").text == "cancelled\n"
    assert server.get("/background").text == "started\n"
    wait_for_event(server, "background done")
    still_serves(server)


def test_requests_are_served_at_the_same_time(serve):
    server = serve("asgi_cases:app")
    with Parallel() as clients:
        for _ in range(20):
            clients.start(server.get, "/wait?many")
        eventually(lambda: json.loads(server.get("/events").body).count("waiting many") == 20)
        assert server.get("/open?many").status == 200
    assert [response.body for response in clients.results] == [b"opened\n"] * 20


# --- lifespan ----------------------------------------------------------------------------------------------------


def test_lifespan_starts_before_the_first_request_and_stops_at_the_end(serve):
    server = serve("asgi_cases:app")
    assert any(re.search(r"lifespan: started$", line) for line in server.lines)
    still_serves(server)
    assert server.stop() == 0
    assert sum("lifespan: stopped" in line for line in server.lines) == 1


def test_lifespan_off_does_not_ask_the_application(serve):
    server = serve("asgi_cases:app", "--asgi-lifespan", "off")
    still_serves(server)
    assert server.stop() == 0
    assert not any("lifespan: st" in line for line in server.lines)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_failed_startup_stops_the_server(mode):
    done = run_to_end("asgi_lifespans:failed", "-b", "127.0.0.1:0", "--asgi-lifespan", mode)
    assert done.returncode == 3, done.stderr
    assert "the database is away" in done.stderr
    assert done.stderr.count("the database is away") == 1, "respawned again and again"


def test_an_application_without_lifespan_is_served_when_that_is_left_open(serve):
    still_serves(serve("asgi_lifespans:raises"))
    still_serves(serve("asgi_lifespans:returns"))


def test_an_application_without_lifespan_is_refused_when_it_is_on():
    done = run_to_end("asgi_lifespans:raises", "-b", "127.0.0.1:0", "--asgi-lifespan", "on")
    assert done.returncode == 3, done.stderr
    assert "this application knows no lifespan" in done.stderr


def test_an_application_may_wait_for_the_shutdown_with_a_time_limit(serve):
    server = serve("asgi_lifespans:waits_with_a_limit")
    still_serves(server)
    server.wait_for_log("lifespan: waits once more", count=3)
    assert server.stop() == 0
    server.wait_for_log("lifespan: heard lifespan.shutdown")


def test_a_shutdown_that_fails_is_logged_and_the_server_ends(serve):
    server = serve("asgi_lifespans:shutdown_raises")
    still_serves(server)
    assert server.stop() == 0
    assert any("shutdown broke" in line for line in server.lines)
