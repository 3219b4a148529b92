"""DESIGN: what happens when. Processes die, hang and lie; only what they had begun is lost."""

import os
import signal
import time

import pytest

from harness.client import Parallel, build_request
from harness.server import LATENESS
from harness.waiting import eventually, read_until


def still_serves(server) -> None:
    with server.connect(timeout=15) as client:
        assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("path", ["/exit", "/kill", "/segfault", "/abort"])
def test_an_application_that_dies_costs_its_request_and_no_connection(serve, path):
    server = serve("wsgi_cases:app")
    with server.connect(timeout=15) as client:
        before = client.request("/pid").text.split()[0]
        response = client.request(path)
        assert response.status == 502
        assert client.request("/pid").text.split()[0] != before
    server.wait_for_log(before)


@pytest.mark.parametrize("path", ["/exit", "/segfault"])
def test_an_asgi_application_that_dies_costs_its_request_and_no_connection(serve, path):
    server = serve("asgi_cases:app")
    with server.connect(timeout=15) as client:
        assert client.request(path).status == 502
        assert client.request("/hello").body == b"hello\n"


def test_a_death_inside_a_response_never_looks_complete(serve):
    server = serve("wsgi_cases:app", "--threads", "2", "--response-buffering", "off")
    with server.connect() as client:
        client.send(build_request("/exit_midway"))
        read_until(client, b"half ")
        assert server.get("/open?exit_midway").status == 200
        rest = client.read_until_close()
        assert b"0\r\n\r\n" not in rest
    still_serves(server)


def test_begun_requests_of_a_dead_process_are_502_and_waiting_ones_are_served(serve):
    server = serve("wsgi_cases:app", "-w", "1", "--threads", "1")
    with Parallel() as clients:
        clients.start(server.get, "/sleep?30")
        server.wait_for_log(r"\bsleeping$")
        victim = server.app_processes()[0]
        waiting = [server.connect(timeout=15) for _ in range(20)]
        for client in waiting:
            client.send(build_request("/hello"))
        os.kill(victim, signal.SIGKILL)
        assert [client.read_response().status for client in waiting] == [200] * 20
        for client in waiting:
            client.close()
    assert clients.results[0].status == 502


def test_a_process_that_dies_idle_is_replaced_before_anyone_notices(serve):
    server = serve("wsgi_cases:app")
    for _ in range(3):
        victim = server.app_processes()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_exit_of(victim)
        still_serves(server)


def test_other_processes_go_on_while_one_dies(serve):
    server = serve("wsgi_cases:app", "-w", "3", "--threads", "2")
    failed = []

    def requests() -> None:
        with server.connect(timeout=15) as client:
            for _ in range(200):
                status = client.request("/hello").status
                if status != 200:
                    failed.append(status)

    with Parallel() as clients:
        for _ in range(4):
            clients.start(requests)
        for _ in range(3):
            victim = server.app_processes()[0]
            os.kill(victim, signal.SIGKILL)
            server.wait_for_exit_of(victim)
            eventually(lambda: len(server.app_processes()) == 3, timeout=15)
    # At most what a process can have begun: one request for each of its threads.
    assert len(failed) <= 6 and set(failed) <= {502}


def test_a_request_that_kills_every_process_it_meets_is_not_tried_for_ever(serve):
    server = serve("wsgi_cases:app", "-w", "2")
    for _ in range(4):
        assert server.get("/exit").status == 502
    still_serves(server)


def test_a_dead_io_process_is_replaced_on_the_same_address(serve):
    server = serve("hello_wsgi:app", "--rings", "1")
    server.expect_clean_stop = False
    with server.connect() as client:
        assert client.request("/").status == 200
        victim = server.io_processes()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_exit_of(victim)
        client.read_until_close()
    apps = server.app_processes()
    with server.connect(timeout=15) as client:
        assert client.request("/").status == 200
    assert server.app_processes() == apps, "application processes have nothing to do with it"
    assert server.stop() == 0
    assert not server.processes()


def test_a_dead_io_process_loses_its_own_connections_only(serve):
    server = serve("hello_wsgi:app", "--rings", "2")
    server.expect_clean_stop = False
    clients = [server.connect() for _ in range(24)]
    for client in clients:
        assert client.request("/").status == 200
    victim = server.io_processes()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_exit_of(victim)
    alive = 0
    for client in clients:
        try:
            alive += client.request("/").status == 200
        except ConnectionError:
            pass
        client.close()
    assert 0 < alive < 24
    assert server.get("/").status == 200
    assert server.stop() == 0


def test_an_io_process_dies_under_a_busy_application(serve):
    server = serve("wsgi_cases:app", "--rings", "1", "--threads", "2")
    server.expect_clean_stop = False
    with server.connect() as client:
        client.send(build_request("/sleep?1"))
        server.wait_for_log(r"\bsleeping$")
        victim = server.io_processes()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_exit_of(victim)
    with server.connect(timeout=15) as client:
        for _ in range(20):
            assert client.request("/hello").status == 200
    assert server.stop() == 0


def test_a_hung_thread_is_504_to_its_client_and_its_process_is_replaced(serve):
    options = ("--threads", "2", "--timeout", "1", "--graceful-timeout", "2", "--queue-timeout", "30")
    server = serve("wsgi_cases:app", *options)
    before = server.get("/pid").text.split()[0]
    started = time.monotonic()
    with server.connect(timeout=15) as client:
        assert client.request("/hang").status == 504
        assert 0.9 <= time.monotonic() - started <= 1 + LATENESS
        # The connection is as good as ever, and so are the other requests.
        assert client.request("/hello").body == b"hello\n"
    server.wait_for_log("wsgi_cases.py.*hang|in hang", timeout=10)
    eventually(lambda: server.get("/pid").text.split()[0] != before, timeout=15)


def test_a_thread_that_holds_the_interpreter_lock_is_504(serve):
    server = serve("wsgi_cases:app", "-k", "sync", "--timeout", "1", "--graceful-timeout", "1", "--queue-timeout", "30")
    with server.connect(timeout=15) as client:
        assert client.request("/spin").status == 504
        assert client.request("/hello").body == b"hello\n"


def test_an_event_loop_that_stops_is_504(serve):
    server = serve("asgi_cases:app", "--timeout", "1", "--graceful-timeout", "1", "--queue-timeout", "30")
    before = server.get("/pid").body
    with server.connect(timeout=15) as client:
        assert client.request("/block?30").status == 504
        eventually(lambda: client.request("/pid").body != before, timeout=15)


def test_a_slow_endpoint_of_a_turning_event_loop_is_left_alone(serve):
    server = serve("asgi_cases:app", "--timeout", "2")
    assert server.get("/sleep?5").body == b"slept\n"


def test_a_stopped_process_is_replaced(serve):
    server = serve("wsgi_cases:app", "--timeout", "1", "--graceful-timeout", "1")
    os.kill(server.app_processes()[0], signal.SIGSTOP)
    with server.connect(timeout=20) as client:
        # It stood in the queue of a process that never begins: another takes it, or its time there is over.
        assert client.request("/hello").status in (200, 503, 504)
    eventually(lambda: server.get("/hello").status == 200, timeout=15)


def test_a_client_that_leaves_frees_everything(serve):
    """The proof is at the end of the test: the live counters of the I/O process."""
    server = serve("wsgi_cases:app", "--threads", "4")
    for _ in range(50):
        with server.connect() as client:
            client.send(build_request("/hello"))
        with server.connect() as client:
            client.send(build_request("/large?3000000"))
        with server.connect() as client:
            client.send(b"POST /read_all HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf")
    still_serves(server)


def test_health_path_follows_the_application_processes(serve):
    server = serve("wsgi_cases:app", "--health-path", "/healthy")
    assert server.get("/healthy").status == 200
    os.kill(server.app_processes()[0], signal.SIGSTOP)
    assert server.get("/healthy").status in (200, 503)
    os.kill(server.app_processes()[0], signal.SIGCONT)
    assert server.get("/hello").status == 200
