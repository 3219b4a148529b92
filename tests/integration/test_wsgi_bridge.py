"""The bridge between the exchange and a WSGI application, in an interpreter that is executed and in an embedded one."""

import json
import os
import signal
import time

import pytest

from harness.client import Parallel, build_request
from harness.waiting import eventually, read_until, wait_for_event

HOSTS = {"executed": (), "embedded": ("--python", "embedded")}
# The application sees the body come, and nobody minds how long that takes on a busy machine.
SLOW_CLIENT = ("--request-buffering", "off", "--body-rate-min", "0")


@pytest.fixture(params=HOSTS)
def server(request, serve_shared):
    return serve_shared("wsgi_bridge:app", "--threads", "4", *HOSTS[request.param])


def environ_of(server, target="/environ", **options) -> dict:
    return json.loads(server.get(target, **options).body)


# --- objects of a request ----------------------------------------------------------------------------------------


def test_what_an_application_keeps_of_a_request_raises_after_its_end(server):
    assert server.get("/keep_start_response").body == b"kept"
    seen = json.loads(server.get("/use_kept").body)
    assert seen == {"start": "RuntimeError", "write": "RuntimeError", "hints": "RuntimeError", "read": "b''"}
    assert server.get("/hello").body == b"hello\n"


@pytest.mark.parametrize("path, waiting", [("/write_beyond_the_end", 1), ("/trail_beyond_the_end", 2)])
def test_a_thread_that_waits_for_the_client_when_its_request_ends_hears_of_it(serve, path, waiting):
    server = serve("wsgi_bridge:app", "--threads", "2")
    processes = server.app_processes()
    with server.connect() as client:
        client.send(build_request(path, headers=[("TE", "trailers")]))
        server.wait_for_log("it has raised", count=waiting)
    assert server.get("/hello").body == b"hello\n"
    assert server.app_processes() == processes


def test_threads_that_write_at_once_stay_within_the_content_length(serve):
    server = serve("wsgi_bridge:app", "--threads", "2")
    processes = server.app_processes()
    with server.connect() as client:
        client.send(build_request("/write_by_two"))
        server.wait_for_log("both write")
        body = client.read_response().body
        client.send(build_request("/hello"))
        assert client.read_response().body == b"hello\n"
    assert (len(body), set(body)) == (24 << 20, set(b"ab"))
    assert not [line for line in server.lines if "the body ends after" in line]
    assert server.app_processes() == processes


def test_a_kept_body_raises_after_the_end(server):
    server.get("/keep_start_response", method="POST", body=b"unread")
    assert json.loads(server.get("/use_kept").body)["read"] == "ValueError"


def test_the_reference_validator_has_nothing_to_say(server):
    assert server.get("/validated").body == b"valid"


def test_exc_info_may_be_named(server):
    response = server.get("/start_by_name")
    assert (response.header("x-named"), response.body) == ("yes", b"named")


def test_start_response_without_arguments_is_a_500(server):
    assert server.get("/start_wrongly").status == 500


# --- the body ----------------------------------------------------------------------------------------------------


def test_a_list_of_small_pieces_has_a_length(server):
    response = server.get("/many_pieces")
    assert (response.header("content-length"), response.body) == ("30", b"piece " * 5)


def test_a_list_of_large_pieces_has_a_length(server):
    response = server.get("/many_large_pieces")
    assert (response.header("content-length"), response.body) == (str(5 * 65536), b"b" * 5 * 65536)


def test_a_piece_reaches_the_client_before_the_next_is_made(server):
    with server.connect() as client:
        client.send(build_request("/first_then_wait"))
        read_until(client, b"first")
        server.get("/open?first_then_wait")
        read_until(client, b"second")


def test_a_whole_answer_does_not_wait_for_close(server):
    with server.connect() as client:
        assert client.request("/slow_close").body == b"whole"
        server.get("/open?slow_close")


def test_code_behind_the_last_piece_runs(server):
    assert server.get("/after_the_last_piece").body == b"whole"
    wait_for_event(server, "ran to the end")


def test_an_error_in_close_changes_no_answer(server):
    position = server.log_position
    assert server.get("/close_raises").body == b"closed"
    server.wait_for_log("raised by close()", since=position)


def test_write_raises_when_the_client_is_gone_and_nobody_is_told(serve):
    server = serve("wsgi_bridge:app", "--threads", "2")
    with server.connect() as client:
        client.send(build_request("/write_endless"))
        assert client.sock.recv(1000)
    wait_for_event(server, "write raised OSError")
    assert server.get("/hello").status == 200
    assert "Traceback" not in server.log()


def test_head_and_body_larger_than_a_small_block_arrive(server):
    response = server.get("/many_headers?300")
    assert response.header("x-header-299") == "v" * 100 and response.body == b"headers"


def test_headers_beyond_64_kib_are_a_500(server):
    assert server.get("/many_headers?1000").status == 500
    assert server.get("/hello").body == b"hello\n"


def test_bad_hints_are_refused(server):
    assert server.get("/hints_refused").body == b"refused"


def test_hints_are_silent_on_http_1_0(server):
    with server.connect() as client:
        client.send(b"GET /early_hints HTTP/1.0\r\n\r\n")
        assert client.read_until_close().startswith(b"HTTP/1.1 200 ")


# --- wsgi.input --------------------------------------------------------------------------------------------------


def test_a_body_is_read_in_any_sizes(server):
    response = server.get("/read_odd_sizes", method="POST", body=b"x" * 100000)
    assert json.loads(response.body) == [1, 0, 70000, 3, 29996]


def test_sizes_that_are_none_are_type_errors(server):
    response = server.get("/read_wrongly", method="POST", body=b"x")
    assert json.loads(response.body) == ["TypeError"] * 3


def test_a_thread_of_the_application_may_read_the_body(server):
    assert server.get("/read_in_thread", method="POST", body=b"x" * 200000).body == b"200000"


def test_lines_may_span_pieces_of_the_body(server):
    body = (b"l" * 99999 + b"\n") * 20
    assert json.loads(server.get("/lines_of_body", method="POST", body=body).body) == [20, len(body)]


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_waiting_for_a_body_costs_no_cpu_while_requests_are_queued(serve, worker):
    server = serve("wsgi_bridge:app", "-k", worker, *SLOW_CLIENT)
    (pid,) = server.app_processes()
    with server.connect() as slow, Parallel() as clients:
        slow.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        for _ in range(3):
            clients.start(server.get, "/hello")
        before = cpu_seconds(pid)
        # An observation needs a span of time; a spinning thread uses nearly all of it.
        time.sleep(1)
        used = cpu_seconds(pid) - before
        slow.send_more(b"cd")
        assert json.loads(slow.read_response().body)[0] == 4
    assert used < 0.5
    assert [response.status for response in clients.results] == [200] * 3


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_requests_are_served_while_the_leading_thread_waits_for_a_body(serve):
    server = serve("wsgi_bridge:app", "--threads", "2", *SLOW_CLIENT)
    with server.connect() as slow:
        slow.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        for _ in range(50):
            assert server.get("/hello").status == 200
        slow.send_more(b"cd")
        assert json.loads(slow.read_response().body)[0] == 4


# --- the environ -------------------------------------------------------------------------------------------------


def test_a_path_is_decoded_to_latin_1(server):
    environ = environ_of(server, "/environ?x=%41")
    assert environ["QUERY_STRING"] == "x=%41"
    with server.connect() as client:
        client.send(b"GET /%65nviron HTTP/1.1\r\nHost: a\r\n\r\n")
        environ = json.loads(client.read_response().body)
    assert (environ["PATH_INFO"], environ["RAW_URI"]) == ("/environ", "/%65nviron")


def test_a_root_path_is_cut_from_the_path(serve):
    server = serve("wsgi_bridge:app", "--root-path", "/app/")
    environ = environ_of(server, "/app/environ")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/environ")
    assert server.get("/application/environ").status == 500
    assert server.get("/environ").status == 500
    server.wait_for_log("does not start with SCRIPT_NAME")


def test_script_name_of_the_environment_counts(serve):
    server = serve("wsgi_bridge:app", "--env", "SCRIPT_NAME=/env")
    assert environ_of(server, "/env/environ")["SCRIPT_NAME"] == "/env"


def test_a_trusted_peer_may_name_the_script(serve):
    server = serve("wsgi_bridge:app")
    environ = environ_of(server, "/pre/environ", headers=[("SCRIPT_NAME", "/pre")])
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/pre", "/environ")


def test_another_peer_may_not_name_the_script(serve):
    server = serve("wsgi_bridge:app", "--forwarded-allow-ips", "192.0.2.1")
    environ = environ_of(server, "/environ", headers=[("SCRIPT_NAME", "/environ")])
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [("a.example:81", "a.example", "81"), ("a.example", "a.example", "80"), ("[::1]:5", "[::1]", "5")],
)
def test_a_unix_socket_is_named_by_the_host(serve_shared, host, name, port):
    server = serve_shared("wsgi_bridge:app", binds=(f"unix:/tmp/uroboros-wsgi-bridge-{os.getpid()}.sock",))
    with server.connect() as client:
        client.send(f"GET /environ HTTP/1.1\r\nHost: {host}\r\n\r\n")
        environ = json.loads(client.read_response().body)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")


def test_field_names_that_no_table_knows_become_keys(server):
    long_name = "X-" + "n" * 300
    environ = environ_of(server, headers=[(long_name, "1"), ("x-Mixed-CASE", "2"), ("X-Mixed-Case", "3")])
    assert environ["HTTP_" + long_name.upper().replace("-", "_")] == "1"
    assert environ["HTTP_X_MIXED_CASE"] == "2,3"


# --- the process -------------------------------------------------------------------------------------------------


def test_threads_have_names_and_the_process_a_title(server):
    name, interval = server.get("/name_of_thread").text.split()
    assert name.startswith("app-thread-") and float(interval) == 0.001
    assert server.get("/title").body.startswith(b"uroboros: app")


def test_a_sync_worker_runs_on_the_main_thread(serve):
    assert serve("wsgi_bridge:app", "-k", "sync").get("/name_of_thread").body.startswith(b"MainThread")


def test_the_end_waits_for_threads_and_runs_what_was_registered(serve):
    server = serve("wsgi_bridge:app")
    assert server.get("/start_a_thread").body == b"started"
    assert server.get("/partial_line").body == b"partial"
    assert server.get("/open?last_words").status == 200
    assert server.stop() == 0
    server.wait_for_log("atexit has run")
    server.wait_for_log("no line end")


def test_a_process_that_is_told_to_terminate_is_replaced_and_ends_what_it_has_begun(serve):
    server = serve("wsgi_bridge:app", "--threads", "2")
    (old,) = server.app_processes()
    with Parallel() as clients:
        clients.start(server.get, "/sleep?1")
        server.wait_for_log(r"\bsleeping$")
        os.kill(old, signal.SIGTERM)
        server.wait_for_exit_of(old)
    assert clients.results[0].body == b"slept\n"
    assert server.get("/hello").status == 200
    assert old not in server.app_processes()


def test_programs_of_the_application_do_not_get_the_control_socket(server):
    assert server.get("/descriptors_of_a_child").body == b"closed"


def test_a_forked_child_may_print(server):
    position = server.log_position
    assert server.get("/print_in_a_fork").body == b"forked"
    server.wait_for_log("printed by the child", since=position)


def test_a_signal_of_the_application_is_handled_while_a_sync_worker_waits(serve):
    server = serve("wsgi_bridge:app", "-k", "sync")
    os.kill(int(server.get("/handle_signal").body), signal.SIGUSR1)
    server.wait_for_log("handled by the application")


def test_an_asgi_application_is_refused_by_a_wsgi_worker(serve):
    server = serve("hello_asgi:app", "-k", "sync", ready=False)
    server.expect_clean_stop = False
    server.wait_for_log("this is an ASGI application")
    assert server.wait() == 3


HOOKS = """
def post_fork(server, worker):
    worker.log.info("hook post_fork")

def post_worker_init(worker):
    worker.log.info("hook post_worker_init %s", worker.wsgi.__name__)

def pre_request(worker, req):
    worker.log.info("hook pre_request %s %s", req.method, req.path)

def post_request(worker, req, environ, resp):
    worker.log.info("hook post_request %s", resp.status)

def worker_exit(server, worker):
    worker.log.info("hook worker_exit")
"""


def test_hooks_of_a_settings_file_run_in_the_app_process(serve, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(HOOKS)
    server = serve("wsgi_bridge:app", "-c", str(path))
    server.wait_for_log("hook post_fork")
    server.wait_for_log("hook post_worker_init app")
    assert server.get("/hello").status == 200
    server.wait_for_log("hook pre_request GET /hello")
    server.wait_for_log("hook post_request 200 OK")
    assert "no effect yet" not in server.log()
    assert server.stop() == 0
    server.wait_for_log("hook worker_exit")


def test_what_hooks_log_has_the_form_and_the_levels_of_the_error_log(serve, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(
        "def post_fork(server, worker):\n"
        "    worker.log.debug('not wanted')\n"
        "    try:\n"
        "        1 / 0\n"
        "    except ZeroDivisionError:\n"
        "        worker.log.exception('it was %s', '\\x1b[2J\\udcff')\n"
    )
    server = serve("wsgi_bridge:app", "-c", str(path))
    server.wait_for_log(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+\] \[\d+\] \[ERROR\] it was \\x1b\[2J\\udcff$")
    server.wait_for_log("^ZeroDivisionError: division by zero$")
    assert "not wanted" not in server.log()


def test_output_beyond_what_the_log_takes_is_counted(serve):
    server = serve("wsgi_bridge:app")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert server.get("/noisy").body == b"quiet again\n"
    finally:
        os.kill(server.pid, signal.SIGCONT)
    eventually(lambda: server.get("/errors").status == 200 and "lines dropped" in server.log(), what="the count")
