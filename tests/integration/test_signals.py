"""Stopping, reloading, and what becomes of requests and connections meanwhile."""

import os
import select
import signal
import subprocess
import time
from functools import partial

import pytest

from harness.client import Parallel, build_request, connect
from harness.server import APPS, BINARY, LATENESS
from harness.waiting import eventually, read_until


def test_term_ends_an_idle_server_with_status_0(serve):
    server = serve("hello_wsgi:app", "-w", "2")
    assert server.get("/").status == 200
    assert server.stop(signal.SIGTERM) == 0
    server.assert_nothing_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_end_quickly(serve, number):
    server = serve("wsgi_cases:app", "--graceful-timeout", "60")
    with server.connect() as client:
        client.send(build_request("/sleep?60"))
        server.wait_for_log(r"\bsleeping$")
        started = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - started < LATENESS
    assert not server.processes()


@pytest.mark.parametrize("options", [(), ("-w", "3"), ("--preload",)], ids=["one", "three", "template"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_start_whose_application_takes_long_is_ended_at_once(serve, tmp_path, options, number):
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(99)\n")
    server = serve("slow:app", *options, cwd=tmp_path, ready=False)
    server.wait_for_log("importing")
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < LATENESS  # graceful_timeout is longer: nobody is served yet
    assert not server.processes()
    assert not any("ready: listening" in line for line in server.lines)


def test_a_reload_that_is_asked_for_during_the_start_comes_after_it(serve, tmp_path, gates):
    """What a deployment has changed since may not have been seen by it."""
    gate, module = gates.make(), tmp_path / "slow.py"
    text = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{}']\n"
    module.write_text(f"print('importing', flush=True)\nopen({gate!r}).read(1)\n" + text.format("old"))
    server = serve("slow:app", "--env", "PYTHONDONTWRITEBYTECODE=1", cwd=tmp_path, ready=False)
    server.wait_for_log("importing")
    module.write_text(text.format("new"))
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("the reload waits until the server has started")
    gates.open(gate)
    server.wait_until_ready()
    server.wait_for_log(r"\breloaded: \d+ new")
    assert server.get("/").body == b"new"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=["TERM", "INT", "KILL"])
def test_a_start_that_still_reads_its_file_leaves_nobody_behind(tmp_path, number):
    file = tmp_path / "gunicorn.conf.py"
    file.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(99)\n")
    # Who runs the tests in the background of a shell ignores SIGINT, and that is inherited.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [BINARY, "hello_wsgi:app", "-c", file]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    reader = os.pidfd_open(int(server.stderr.readline()))
    server.send_signal(number)
    ended, _, _ = select.select([reader], [], [], LATENESS)
    os.close(reader)
    server.stderr.close()
    assert server.wait(LATENESS) == -number
    assert ended


def test_term_lets_requests_finish(serve):
    server = serve("wsgi_cases:app", "--threads", "2")
    with Parallel() as clients:
        clients.start(server.get, "/sleep?1")
        server.wait_for_log(r"\bsleeping$")
        assert server.stop() == 0
    assert clients.results[0].body == b"slept\n"
    server.assert_nothing_alive()


def test_term_lets_a_streamed_response_finish(serve):
    server = serve("asgi_cases:app")
    with server.connect() as client:
        client.send(build_request("/stream_slow"))
        read_until(client, b"first")
        server.send_signal(signal.SIGTERM)
        read_until(client, b"second")
        client.read_until_close()
    assert server.wait() == 0
    server.assert_nothing_alive()


def can_connect(address) -> bool:
    try:
        connect(address, 2).close()
        return True
    except OSError:
        return False


def test_term_closes_the_listeners_and_idle_connections(serve):
    server = serve("wsgi_cases:app", "--threads", "2")
    with server.connect() as idle, Parallel() as clients:
        assert idle.request("/hello").status == 200
        clients.start(server.get, "/sleep?2")
        server.wait_for_log(r"\bsleeping$")
        server.send_signal(signal.SIGTERM)
        idle.expect_close()
        eventually(lambda: not can_connect(server.address), what="closed listeners")
        assert server.wait() == 0
    assert clients.results[0].body == b"slept\n"


def test_a_response_during_the_stop_says_close(serve, gates):
    server, gate = serve("wsgi_cases:app"), gates.make()
    with server.connect() as client:
        client.send(build_request(f"/fifo?{gate}"))
        server.wait_for_log("at the gate$")
        server.send_signal(signal.SIGTERM)
        eventually(lambda: not can_connect(server.address), what="closed listeners")
        gates.open(gate)
        assert client.read_response().closes
        client.expect_close()
    assert server.wait() == 0


def test_graceful_timeout_bounds_the_stop(serve):
    server = serve("wsgi_cases:app", "--graceful-timeout", "1")
    with server.connect() as client:
        client.send(build_request("/hang"))
        server.wait_for_log(r"\bhanging$")
        started = time.monotonic()
        assert server.stop() == 0
        assert 0.9 <= time.monotonic() - started < 1 + LATENESS
    assert not server.processes()


def test_a_second_signal_hurries_the_first(serve):
    server = serve("wsgi_cases:app", "--graceful-timeout", "60")
    with server.connect() as client:
        client.send(build_request("/hang"))
        server.wait_for_log(r"\bhanging$")
        server.send_signal(signal.SIGTERM)
        eventually(lambda: not can_connect(server.address), what="closed listeners")
        assert server.stop(signal.SIGINT) == 0
    assert not server.processes()


def test_signals_to_the_whole_terminal_group_stop_it_too(serve):
    server = serve("hello_wsgi:app")
    assert server.get("/").status == 200
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert not any("Traceback" in line for line in server.lines)


def wait_for_new_processes(server, old: list[int]) -> None:
    eventually(lambda: server.app_processes() and not set(server.app_processes()) & set(old), what="new processes")


def test_hup_replaces_the_processes_and_closes_no_connection(serve):
    server = serve("wsgi_cases:app", "-w", "2")
    old = server.app_processes()
    assert len(old) == 2
    with server.connect() as client:
        before = client.request("/pid").text.split()[0]
        server.send_signal(signal.SIGHUP)
        wait_for_new_processes(server, old)
        after = client.request("/pid").text.split()[0]
        assert int(before) in old and int(after) not in old


def test_hup_lets_requests_finish_and_fails_none(serve):
    server = serve("wsgi_cases:app", "-w", "2", "--threads", "2")
    old = server.app_processes()

    def requests() -> None:
        with server.connect() as client:
            while set(server.app_processes()) & set(old):
                assert client.request("/hello").body == b"hello\n"

    with Parallel() as clients:
        clients.start(server.get, "/sleep?1")
        server.wait_for_log(r"\bsleeping$")
        for _ in range(4):
            clients.start(requests)
        server.send_signal(signal.SIGHUP)
    assert any(getattr(result, "body", None) == b"slept\n" for result in clients.results)


def test_hup_with_a_broken_application_keeps_the_old_processes(serve, tmp_path):
    module = tmp_path / "changing.py"
    module.write_text((APPS / "hello_wsgi.py").read_text())
    server = serve("changing:app", cwd=tmp_path)
    old = server.app_processes()
    module.write_text("raise RuntimeError('the new version is broken')\n" + " " * 100)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("the new version is broken")
    server.wait_for_log("reload failed, the old application processes stay")
    assert server.get("/").body == b"hello\n"
    assert server.app_processes() == old


def test_hup_reads_the_settings_again(serve, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("workers = 1\n")
    server = serve("hello_wsgi:app", "-c", str(settings))
    old = server.app_processes()
    settings.write_text("workers = 3\n")
    server.send_signal(signal.SIGHUP)
    wait_for_new_processes(server, old)
    eventually(lambda: len(server.app_processes()) == 3)


def test_hup_with_bad_settings_changes_nothing_and_says_why(serve, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("workers = 1\n")
    server = serve("hello_wsgi:app", "-c", str(settings))
    old = server.app_processes()
    settings.write_text("workers = 'many'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("settings.toml.*workers")
    assert server.get("/").status == 200 and server.app_processes() == old


def test_the_processes_end_when_the_supervisor_is_killed(serve):
    server = serve("hello_wsgi:app", "-w", "2")
    server.expect_clean_stop = False
    children = list(server.processes())
    assert len(children) >= 3
    os.kill(server.pid, signal.SIGKILL)
    for pid in children:
        server.wait_for_exit_of(pid)
