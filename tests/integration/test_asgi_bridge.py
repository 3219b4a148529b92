"""send() and receive() as things of their own: awaited by tasks, cancelled, kept, called at the same time."""

import os
import re
import signal
import socket

import pytest

from harness.client import build_request
from harness.waiting import eventually

PIECE = bytes(range(256)) * 4096


SERVERS = {
    "asyncio": ("--asgi-loop", "asyncio"),
    "uvloop": ("--asgi-loop", "uvloop"),
    "task": ("--asgi-tasks", "task"),
    "embedded": ("--python", "embedded"),
}


@pytest.fixture(params=SERVERS)
def server(request, serve_shared):
    return serve_shared("asgi_bridge:app", "--asgi-disconnect-grace-period", "1", *SERVERS[request.param])


def note(server) -> list[str]:
    return server.get("/events").text.splitlines()


def wait_for_note(server, wanted: str) -> None:
    """Waits for it among what the application notes; what came before it is forgotten."""
    eventually(lambda: wanted in note(server), what=f"note {wanted!r}")


class Noted:
    """All that was noted so far; the application forgets what it was asked for."""

    def __init__(self, server) -> None:
        self.server = server
        self.notes: list[str] = []

    def count(self, wanted: str) -> int:
        self.notes += note(self.server)
        return self.notes.count(wanted)


def get_or_none(server, path: str):
    try:
        return server.get(path)
    except OSError:
        return None


def leave(client) -> None:
    """Gone for good: a mere close() could be a client that has said all it wants to say and still listens."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


# --- what send() and receive() return ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["create_task", "wait_for_receive", "receive_in_wait", "await_twice", "wrapped_callables",
     "callable_object_application", "context_of_a_child"],
)  # fmt: skip
def test_an_awaitable_serves_as_coroutine_and_as_future(server, path):
    for _ in range(3):
        response = server.get(f"/{path}")
        assert (response.status, response.text) == (200, "ok"), note(server)


@pytest.mark.parametrize(
    "path, noted",
    [
        ("waiting_receive_as_task", "task heard of the end"),
        ("receive_in_gather", "gathered"),
        ("several_receivers", "two heard of the end"),
        ("send_after_the_end", "refused"),
    ],
)
def test_whoever_waits_hears_of_the_end(server, path, noted):
    for _ in range(3):
        assert server.get(f"/{path}").text == "ok"
        wait_for_note(server, noted)


def test_a_cancelled_receive_loses_no_piece_of_body(server):
    with server.connect() as client:
        client.send(b"POST /cancelled_receive_loses_nothing?piece HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        wait_for_note(server, "cancelled")
        client.send_more(b"piece")
        assert server.get("/open_gate?piece").text == "ok"
        assert client.read_response().text == "piece"


@pytest.mark.parametrize("path", ["callables_after_the_request", "receive_kept_alone"])
def test_callables_that_were_kept_say_that_it_is_over(server, path):
    for _ in range(4):
        assert server.get(f"/{path}").text == "ok", note(server)


def test_an_application_may_return_any_awaitable(serve):
    server = serve("asgi_bridge:awaitable_app", "--worker-class", "asgi")
    for _ in range(3):
        assert server.get("/create_task").text == "ok"


# --- messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, text",
    [("kinds_of_bytes", "bytearray memoryview bytes"), ("body_is_read_at_once", "before"),
     ("same_length_twice", "ok"), ("mistake_is_caught", "ok"), ("bad_hint", "ok")],
)  # fmt: skip
def test_messages_are_taken_as_the_specification_says(server, path, text):
    assert server.get(f"/{path}").text == text, note(server)


def test_framing_is_not_the_applications(server):
    with server.connect() as client:
        response = client.request("/transfer_encoding_is_ignored")
        assert (response.chunked, response.header("content-length"), response.text) == (False, "2", "ok")
        assert client.request("/create_task").text == "ok"


def test_a_304_states_no_length(server):
    with server.connect() as client:
        response = client.request("/no_length_with_304")
        assert (response.status, response.header("etag")) == (304, '"x"')
        assert response.header("content-length") is None and response.header("transfer-encoding") is None
        assert client.request("/create_task").text == "ok"


@pytest.mark.parametrize("path", ["two_lengths", "length_is_no_number", "enormous_head"])
def test_a_head_that_cannot_be_sent_is_a_500(server, path):
    assert server.get(f"/{path}").status == 500


def test_a_head_of_many_fields_arrives(server):
    response = server.get("/large_head")
    assert [response.header(f"x-{number}") for number in range(40)] == ["v" * 200] * 40


def test_hints_come_before_the_head_and_not_after(server):
    response = server.get("/informational")
    assert [(hint.status, hint.all("link")) for hint in response.interim] == [(103, ["</a>"]), (103, ["</b>"])]
    assert response.text == "ok"


def test_hints_whose_links_are_not_a_list_may_wait_for_room(server):
    count = 3000
    with server.connect() as client:
        client.send(build_request(f"/hints_out_of_generators?{count}"))
        server.wait_for_log("a hint waits")
        response = client.read_response()
    assert [len(hint.all("link")) for hint in response.interim] == [50] * count


def test_http_1_0_gets_no_hints(server):
    with server.connect() as client:
        client.send(b"GET /informational HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert (response.interim, response.text) == ([], "ok")


# --- backpressure ------------------------------------------------------------------------------------------------


def test_send_waits_for_a_client_that_does_not_read(server):
    with server.connect() as client:
        client.send(build_request("/send_waits"))
        wait_for_note(server, "waits")
        assert client.read_response().body == PIECE * 16 + b"end"


@pytest.mark.parametrize("path", ["sends_at_the_same_time", "sends_without_await"])
def test_sends_go_out_in_the_order_of_their_calls(server, path):
    body = server.get(f"/{path}").body
    assert body == b"".join(bytes([65 + number]) * 500_000 for number in range(8))


def test_what_a_cancelled_send_has_said_still_arrives_whole(server):
    with server.connect() as client:
        client.send(build_request("/a_cancelled_send_is_still_sent"))
        wait_for_note(server, "gave up")
        assert client.read_response().body == PIECE * 16 + b"end"


# --- clients that leave ------------------------------------------------------------------------------------------


def tracebacks(server, since: int) -> list[str]:
    return [line for line in server.lines[since:] if "Traceback" in line]


def test_a_waiting_send_raises_when_the_client_leaves(server):
    since = server.log_position
    with server.connect() as client:
        client.send(build_request("/client_leaves_while_send_waits"))
        wait_for_note(server, "begins")
        assert client.sock.recv(1000)
    wait_for_note(server, "ClientDisconnected")
    assert server.get("/create_task").text == "ok"
    assert not tracebacks(server, since)


def test_an_error_that_a_framework_made_of_the_disconnect_is_not_logged(server):
    since = server.log_position
    with server.connect() as client:
        client.send(build_request("/sends_to_nobody"))
        wait_for_note(server, "begins")
        leave(client)
    wait_for_note(server, "RuntimeError: as frameworks wrap it")
    assert server.get("/create_task").text == "ok"
    assert not tracebacks(server, since)


def test_an_error_of_the_applications_own_is_logged_although_nobody_listens(server):
    with server.connect() as client:
        client.send(build_request("/raises_its_own_after_disconnect"))
        wait_for_note(server, "begins")
        leave(client)
    server.wait_for_log("LookupError: no fault of the client")


def test_the_period_of_grace_ends_who_ignores_the_client(server):
    since = server.log_position
    with server.connect() as client:
        client.send(build_request("/ignores_the_client"))
        wait_for_note(server, "begins")
        leave(client)
    wait_for_note(server, "cancelled")
    assert server.get("/create_task").text == "ok"
    assert not tracebacks(server, since)


def test_no_grace_is_cancellation_at_once(serve):
    """Gunicorn's meaning of 0; who listens hears of the disconnect before."""
    server = serve("asgi_bridge:app", "--asgi-disconnect-grace-period", "0")
    for path, noted in [("ignores_the_client", "cancelled"), ("sends_to_nobody", "OSError")]:
        with server.connect() as client:
            client.send(build_request(f"/{path}"))
            wait_for_note(server, "begins")
            leave(client)
        wait_for_note(server, noted)


def test_within_the_period_of_grace_nobody_is_cancelled(serve):
    server = serve("asgi_bridge:app", "--asgi-disconnect-grace-period", "60")
    noted = Noted(server)
    for path in ("ignores_the_client?stays", "sends_to_nobody"):
        with server.connect() as client:
            client.send(build_request(f"/{path}"))
            eventually(lambda: noted.count("begins") > 0)
            noted.notes.clear()
            leave(client)
    # The second has heard of it, so the first could have.
    eventually(lambda: noted.count("RuntimeError: as frameworks wrap it") == 1)
    assert server.get("/open_gate?stays").text == "ok"
    assert noted.count("cancelled") == 0


def test_an_application_survives_its_io_process(serve):
    """Held heads, waiting sends and waiting receives of the dead process end; nobody else's responses suffer."""
    server = serve("asgi_bridge:app", "--graceful-timeout", "5")
    apps = server.app_processes()
    (io,) = server.io_processes()
    clients = [server.connect() for _ in range(9)]
    for client, path in zip(clients, ["/head_is_held?dies", "/client_leaves_while_send_waits", "/sends_to_nobody"] * 3):
        client.send(build_request(path))
    noted = Noted(server)
    eventually(lambda: noted.count("holds a head") == 3 and noted.count("begins") == 6)
    os.kill(io, signal.SIGKILL)
    server.wait_for_exit_of(io)
    eventually(lambda: server.io_processes() not in ([], [io]))
    assert eventually(lambda: get_or_none(server, "/open_gate?dies")).text == "ok"
    eventually(lambda: noted.count("nobody there") == 3 and noted.count("ClientDisconnected") == 3)
    assert server.app_processes() == apps
    for _ in range(50):
        assert server.get("/large_head").status == 200
    for client in clients:
        client.close()


HOOKS = """
def pre_request(worker, req):
    worker.log.info("hook before %s %s", req.method, req.uri)

def post_request(worker, req, environ, resp):
    worker.log.info("hook after %s %s", environ["HTTP_HOST"], resp.status)
"""


def test_hooks_of_a_settings_file_run_around_each_request(serve, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(HOOKS)
    server = serve("asgi_bridge:app", "-c", str(path))
    assert server.get("/create_task?a=b").text == "ok"
    server.wait_for_log(r"hook before GET /create_task\?a=b")
    server.wait_for_log("hook after test.example 200")
    assert server.get("/two_lengths").status == 500
    server.wait_for_log("hook after", count=2)


# --- the end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stop_lets_open_requests_finish(serve, loop):
    server = serve("asgi_bridge:app", "--asgi-loop", loop)
    with server.connect() as client:
        client.send(b"POST /cancelled_receive_loses_nothing?end HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        wait_for_note(server, "cancelled")
        assert server.get("/open_gate?end").text == "ok"
        server.send_signal(signal.SIGTERM)
        server.wait_for_log(r"(?i)stopping|shutting|SIGTERM|graceful")
        client.send_more(b"piece")
        assert client.read_response().text == "piece"
    assert server.wait() == 0
    assert not [line for line in server.lines if re.search("Traceback|Task was destroyed", line)]


def test_a_cancelled_receive_may_be_gathered(server):
    assert server.get("/gather_a_cancelled_receive").body == b"CancelledError"
