"""PEP 3333 over the wire: what an application may do, and what its mistakes cost (only itself)."""

import json
import random
import re

import pytest

from harness.client import Parallel, build_request
from harness.waiting import events, eventually, wait_for_event


@pytest.fixture
def server(serve_shared):
    return serve_shared("wsgi_cases:app", "--threads", "4")


def still_serves(server) -> None:
    assert server.get("/hello").body == b"hello\n"


def environ_of(server, *, target="/environ", raw: bytes | None = None, **options) -> dict:
    with server.connect() as client:
        if raw is None:
            response = client.request(target, **options)
        else:
            client.send(raw)
            response = client.read_response()
        assert response.status == 200, response
        return json.loads(response.body)


# --- environ -----------------------------------------------------------------------------------------------------


def test_the_environ_names_the_request(server):
    environ = environ_of(server, target="/environ?a=1&b=%20", headers=[("X-One", "1"), ("User-Agent", "test")])
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "a=1&b=%20"
    assert environ["RAW_URI"] == "/environ?a=1&b=%20"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == "test.example"
    assert environ["HTTP_X_ONE"] == "1"
    assert environ["HTTP_USER_AGENT"] == "test"


def test_the_environ_names_both_ends(server):
    with server.connect() as client:
        environ = json.loads(client.request("/environ").body)
        host, port = client.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert environ["SERVER_NAME"] and environ["SERVER_PORT"] == str(server.address[1])
    assert environ["SERVER_SOFTWARE"].lower().startswith("uroboros")


def test_the_wsgi_keys_have_the_types_of_the_pep(server):
    environ = environ_of(server)
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    assert {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"} <= environ.keys()


def test_several_processes_are_multiprocess_and_sync_is_not_multithread(serve):
    environ = environ_of(serve("wsgi_cases:app", "-w", "2", "-k", "sync"))
    assert (environ["wsgi.multiprocess"], environ["wsgi.multithread"]) == (True, False)


def test_server_name_and_port_are_never_empty_without_a_host(server):
    environ = environ_of(server, raw=b"GET /environ HTTP/1.0\r\n\r\n")
    assert environ["SERVER_NAME"] and environ["SERVER_PORT"].isdigit()
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ


def test_repeated_fields_are_joined(server):
    environ = environ_of(server, headers=[("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")])
    assert environ["HTTP_X_A"] in ("1,2", "1, 2")
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_content_fields_have_names_of_their_own(server):
    environ = environ_of(server, method="POST", body=b"12345", headers=[("Content-Type", "text/x")])
    assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("5", "text/x")
    assert "HTTP_CONTENT_LENGTH" not in environ and "HTTP_CONTENT_TYPE" not in environ


def test_field_values_are_latin_1(server):
    assert environ_of(server, headers=[("X-Text", "caf\xe9\xff")])["HTTP_X_TEXT"] == "caf\xe9\xff"


def test_a_proxy_field_does_not_become_http_proxy(server):
    assert "HTTP_PROXY" not in environ_of(server, headers=[("Proxy", "http://evil.example")])


def test_a_name_with_an_underscore_does_not_pose_as_one_with_a_dash(server):
    environ = environ_of(server, headers=[("X_User", "evil"), ("X-User", "good")])
    assert environ["HTTP_X_USER"] == "good"


def test_an_environ_is_the_request_s_own(server):
    with server.connect() as client:
        first = json.loads(client.request("/environ?one", headers=[("X-First", "1")]).body)
        second = json.loads(client.request("/environ").body)
    assert first["HTTP_X_FIRST"] == "1"
    assert "HTTP_X_FIRST" not in second and second["QUERY_STRING"] == ""


# --- start_response, write, iterables ----------------------------------------------------------------------------


def test_write_and_the_iterable_follow_each_other(server):
    assert server.get("/write").body == b"one two three"


def test_a_generator_is_streamed_and_the_connection_stays(server):
    with server.connect() as client:
        response = client.request("/generator")
        assert response.chunked and response.body == b"ab" + b"c" * 70000
        assert client.request("/hello").status == 200


def test_a_generator_to_an_http_1_0_client_ends_with_the_connection(server):
    with server.connect() as client:
        client.send(b"GET /generator HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert not response.chunked and response.body == b"ab" + b"c" * 70000


def test_one_item_of_unknown_length_is_sent_whole(server):
    assert server.get("/length_unknown_list").body == b"exactly one item"


def test_exc_info_replaces_a_head_that_was_not_sent(server):
    response = server.get("/exc_info_before")
    assert (response.status, response.reason, response.body) == (500, "Replaced", b"replaced")


def test_exc_info_after_the_head_ends_the_connection(server):
    with server.connect() as client, pytest.raises(ConnectionError):
        client.request("/exc_info_after")
    server.wait_for_log("after the head was sent")


@pytest.mark.parametrize("path", ["/start_twice", "/no_start", "/raises", "/headers_not_list"])
def test_a_mistake_before_the_head_is_a_clean_500(server, path):
    with server.connect() as client:
        assert client.request(path).status == 500
    still_serves(server)


def test_a_traceback_reaches_the_error_log(serve):
    server = serve("wsgi_cases:app")
    assert server.get("/raises").status == 500
    server.wait_for_log("Traceback")
    server.wait_for_log("RuntimeError: raised before start_response")


def test_tracebacks_of_several_threads_are_one_behind_the_other(serve):
    server = serve("wsgi_cases:app", "--threads", "4")
    with Parallel() as parallel:
        for _ in range(4):
            parallel.start(server.get, "/raises_together")
    server.wait_for_log("RuntimeError: raised together", count=4)
    shown = [line for line in server.lines if not re.search(r"\[(INFO|WARNING)\]", line)]
    blocks = [shown[i : i + len(shown) // 4] for i in range(0, len(shown), len(shown) // 4)]
    assert len(shown) % 4 == 0, shown
    for block in blocks:
        assert block[0].endswith("the application failed: GET /raises_together"), shown
        assert block[1] == "Traceback (most recent call last):", shown
        assert block[-1] == "RuntimeError: raised together", shown


def test_a_system_exit_in_a_view_does_not_take_the_server_along(serve):
    server = serve("wsgi_cases:app")
    assert server.get("/raises_system_exit").status in (500, 502)
    still_serves(server)


@pytest.mark.parametrize("path", ["/raises_midway", "/raises_midway_length"])
def test_an_exception_inside_the_body_never_looks_complete(server, path):
    with server.connect() as client, pytest.raises(ConnectionError):
        client.request(path)
    still_serves(server)


def test_close_is_called_once_after_a_whole_response(serve):
    server = serve("wsgi_cases:app")
    assert server.get("/closing").body == b"onetwo"
    wait_for_event(server, "close closing")
    assert events(server).count("close closing") == 1


def test_close_is_called_once_after_an_exception(serve):
    server = serve("wsgi_cases:app")
    with server.connect() as client:
        try:
            # Nothing may have been sent yet, then the answer is a clean 500.
            assert client.request("/closing_list_raises").status == 500
        except ConnectionError:
            pass
    wait_for_event(server, "close closing_list_raises")
    assert events(server).count("close closing_list_raises") == 1


def test_close_is_called_once_after_a_disconnect(serve):
    server = serve("wsgi_cases:app", "--threads", "2")
    with server.connect() as client:
        client.send(build_request("/closing_endless"))
        assert client.sock.recv(65536)
    wait_for_event(server, "close closing_endless")
    assert events(server).count("close closing_endless") == 1


# --- framing of what the application gave ------------------------------------------------------------------------


def test_a_body_shorter_than_its_length_never_looks_complete(server):
    with server.connect() as client:
        try:
            assert client.request("/length_short").status == 500
        except ConnectionError:
            pass
    still_serves(server)


def test_a_body_longer_than_its_length_does_not_spill(server):
    with server.connect() as client:
        response = client.request("/length_long")
        assert response.status == 500 or response.body == b"12345"
        try:
            assert client.request("/hello").body == b"hello\n"
        except ConnectionError:
            pass


def test_head_has_the_length_and_no_body(server):
    with server.connect() as client:
        response = client.request("/hello", method="HEAD")
        assert (response.status, response.header("content-length"), response.body) == (200, "6", b"")
        assert client.request("/generator", method="HEAD").body == b""
        assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("path", ["/no_content", "/no_content_with_body"])
def test_a_204_has_neither_body_nor_framing(server, path):
    with server.connect() as client:
        response = client.request(path)
        assert response.status == 204
        assert response.header("content-length") is None and response.header("transfer-encoding") is None
        assert client.request("/hello").body == b"hello\n"


def test_a_304_has_no_body_and_keeps_its_fields(server):
    with server.connect() as client:
        response = client.request("/not_modified")
        assert (response.status, response.header("etag")) == (304, '"x"')
        assert client.request("/hello").body == b"hello\n"


def test_every_response_has_date_and_server(server):
    response = server.get("/hello")
    assert response.header("date").endswith(" GMT") and len(response.header("date")) == 29
    assert response.header("server")


@pytest.mark.parametrize(
    "case", ["crlf", "lf", "nul", "name", "name_crlf", "empty_name", "wide", "int_value", "bytes_value"]
)
def test_a_bad_field_is_a_500_and_nothing_of_it_is_sent(server, case):
    with server.connect() as client:
        client.send(build_request(f"/header?{case}", headers=[("Connection", "close")]))
        raw = client.read_until_close()
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in raw and b"X-Bad" not in raw and b"X Bad" not in raw


def test_hop_by_hop_fields_of_the_application_do_not_reach_the_wire(server):
    with server.connect() as client:
        assert client.request("/header?connection").header("connection") is None
        assert client.request("/hello").body == b"hello\n"


def test_an_application_may_end_the_connection(server):
    with server.connect() as client:
        client.send(build_request("/header?close") + build_request("/hello"))
        response = client.read_response()
        assert response.closes and response.body == b"body"
        client.expect_close()


@pytest.mark.parametrize("case", ["words", "two_digits", "crlf", "int"])
def test_a_bad_status_is_a_500(server, case):
    with server.connect() as client:
        client.send(build_request(f"/status?{case}", headers=[("Connection", "close")]))
        raw = client.read_until_close()
    assert raw.startswith(b"HTTP/1.1 500 ") and b"Injected" not in raw


def test_any_status_with_any_reason_is_passed_on(server):
    response = server.get("/status?teapot")
    assert (response.status, response.reason) == (418, "I'm a teapot")
    assert server.get("/status?latin").reason == "Tr\xe8s bien"


@pytest.mark.parametrize("case", ["str_item", "int_item", "none", "str"])
def test_a_body_of_the_wrong_type_is_a_500(server, case):
    assert server.get(f"/body?{case}").status == 500
    still_serves(server)


def test_bodies_of_every_iterable_kind_are_sent(server):
    assert server.get("/body?tuple").body == b"ab"
    assert server.get("/body?empty").body == b""


# --- wsgi.input --------------------------------------------------------------------------------------------------


def test_the_methods_of_wsgi_input(server):
    response = server.get("/input_methods", method="POST", body=b"first\nsecond\nthird line\nlast")
    *lines, rest_by_hint, rest, end, end_sized, end_line, end_lines = json.loads(response.body)
    assert lines == ["", "first\n", "sec", "ond\n"]
    # PEP 3333 leaves it to the server whether readlines() follows its hint.
    assert rest_by_hint + rest == ["third line\n", "last"]
    assert [end, end_sized, end_line, end_lines] == ["", "", "", []]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 70000, 1 << 20, 5 << 20])
def test_a_body_of_any_size_arrives(server, size):
    body = random.Random(size).randbytes(size)
    response = server.get("/read_all", method="POST", body=body)
    assert json.loads(response.body) == [size, sum(body) & 0xFFFF]


def test_a_chunked_body_arrives_and_ends(server):
    with server.connect() as client:
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send_more(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert json.loads(client.read_response().body)[0] == 5
        assert client.request("/hello").status == 200


def test_a_body_that_is_not_read_costs_the_next_request_nothing(server):
    with server.connect() as client:
        assert client.request("/read_none", method="POST", body=b"GET /kill HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        assert client.request("/hello").body == b"hello\n"
        assert client.request("/read_some", method="POST", body=b"abcdef").body == b"abc"
        assert client.request("/hello").body == b"hello\n"


def test_a_large_body_that_is_not_read_is_drained_or_the_connection_closed(server):
    with server.connect() as client:
        client.send(build_request("/read_none", "POST", body=b"x" * (3 << 20)))
        assert client.read_response().status == 200
        try:
            assert client.request("/hello").body == b"hello\n"
        except ConnectionError:
            pass


def test_100_continue_comes_before_the_body_is_read(server):
    with server.connect() as client:
        client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.send_more(b"body")
        assert json.loads(client.read_response().body)[0] == 4


def test_half_a_body_is_an_error_never_a_short_success(serve):
    server = serve("wsgi_cases:app", "--threads", "2", "--request-buffering", "off")
    with server.connect() as client:
        client.send(b"POST /read_fails HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        wait_for_event(server, "reading")
    eventually(lambda: any(event.startswith("error ") for event in json.loads(server.get("/events").body)))
    assert not any(event.startswith("short read") for event in events(server))


def test_a_buffered_request_that_is_cut_never_reaches_the_application(serve):
    server = serve("wsgi_cases:app")
    with server.connect() as client:
        client.send(b"POST /read_fails HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    still_serves(server)
    assert events(server) == []


# --- output, files, hints ----------------------------------------------------------------------------------------


def test_output_of_the_application_reaches_the_error_log_line_by_line(serve):
    server = serve("wsgi_cases:app")
    assert server.get("/errors").status == 200
    for line in ("to wsgi.errors", "two parts", "to stdout", "to stderr"):
        server.wait_for_log(rf"\b{line}$")


def test_a_flood_of_output_does_not_stall_the_application(serve):
    server = serve("wsgi_cases:app")
    assert server.get("/noisy").body == b"quiet again\n"
    # Lines are dropped while the pipe is full; the next test of the log needs it drained.
    eventually(lambda: server.get("/errors") and any("to wsgi.errors" in line for line in server.lines))


@pytest.mark.parametrize("path", ["/file_wrapper", "/file_wrapper_length"])
def test_a_wrapped_file_is_sent_whole(server, tmp_path, path):
    content = random.Random(1).randbytes(300_000)
    (tmp_path / "file").write_bytes(content)
    with server.connect() as client:
        assert client.request(f"{path}?{tmp_path / 'file'}").body == content
        assert client.request("/hello").status == 200


def test_a_large_response_arrives_whole(server):
    size = (8 << 20) + 12345
    body = server.get(f"/large?{size}").body
    assert len(body) == size
    assert body == (bytes(range(256)) * (size // 256 + 1))[:size]


def test_early_hints_come_before_the_response(server):
    response = server.get("/early_hints")
    assert [hint.status for hint in response.interim] == [103]
    assert response.interim[0].header("link") == "</style.css>; rel=preload; as=style"
    assert response.body == b"after hints\n"


# --- threads and processes ---------------------------------------------------------------------------------------


def test_threads_serve_at_the_same_time(server):
    with Parallel() as clients:
        clients.start(server.get, "/wait?threads")
        wait_for_event(server, "waiting threads")
        assert server.get("/open?threads").status == 200
    assert clients.results[0].body.startswith(b"True")


def test_nothing_waits_behind_a_slow_request_while_a_process_is_idle(serve, gates):
    server, gate = serve("wsgi_cases:app", "-w", "2", "--threads", "1"), gates.make()
    assert len(server.app_processes()) == 2
    with server.connect(30) as slow:
        slow.send(build_request(f"/fifo?{gate}"))
        server.wait_for_log("at the gate$")
        for _ in range(40):
            assert server.get("/hello").status == 200
        gates.open(gate)
        assert slow.read_response().body == b"passed\n"


def test_sync_serves_one_request_at_a_time(serve):
    server = serve("wsgi_cases:app", "-k", "sync")
    with Parallel() as clients:
        for _ in range(8):
            clients.start(server.get, "/pid")
    assert len({response.body for response in clients.results}) == 1
