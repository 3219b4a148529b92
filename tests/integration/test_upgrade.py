"""SIGUSR2: the program is exchanged under a server that serves on, and keeps its process id."""

import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import harness.server
from harness.client import Client, Parallel, connect
from harness.http2 import Http2Client, connect_http2
from harness.load import Load
from harness.programs import free_port
from harness.server import APPS, BINARY, Server, allowed, clean_environment, run_to_end
from harness.waiting import eventually

READY = r"\bready: listening at "
# From the signal to new processes that serve: a check, and a start.
UPGRADE_SECONDS = 30
NOTHING_CHANGED = "upgrade failed, nothing has changed"


def count(load: Load, name: str, response) -> None:
    assert response.status == 200 and response.body == b"hello\n", f"{response.status}: {response.body[:200]!r}"
    load.answered[name] += 1


def fresh_connections(server: Server, open_client: Callable[[Server], Client]):
    def ask(load: Load, name: str) -> None:
        while not load.ending.is_set():
            with open_client(server) as client:
                count(load, name, client.request("/"))

    return ask


def kept_connection(server: Server, open_client: Callable[[Server], Client]):
    def ask(load: Load, name: str) -> None:
        client = open_client(server)
        while not load.ending.is_set():
            response = client.request("/")
            count(load, name, response)
            if response.header("connection") == "close":
                client.close()
                client = open_client(server)
        client.close()

    return ask


def http2_connection(server: Server, tls) -> Callable[[Load, str], None]:
    def unbegun(client: Http2Client, stream: int) -> bool:
        return any(goaway.last_stream_id < stream for goaway in client.goaways)

    def ask(load: Load, name: str) -> None:
        client = connect_http2(server, tls)
        while not load.ending.is_set():
            streams = [client.start("/") for _ in range(4)]
            for stream in streams:
                try:
                    count(load, name, client.finish(stream))
                except ConnectionError:
                    if not unbegun(client, stream):
                        raise
            if client.goaways:
                client.close()
                client = connect_http2(server, tls)
        client.close()

    return ask


@contextmanager
def load_on(server: Server, clients: dict[str, Callable[[Load, str], None]]) -> Iterator[Load]:
    """Clients that never rest. A connection may end as the protocol says; all else is a failure."""
    with Load(clients) as load:
        load.go_on(50)
        yield load
        load.go_on(50)
    assert not load.failures, f"{load.failures} after {load.answered}\n{server.log()}"


def upgrade(server: Server) -> None:
    before = set(server.processes())
    since = server.log_position
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
    eventually(lambda: before.isdisjoint(server.processes()), 30, "the end of the old processes")
    assert server.process.poll() is None


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A copy of the program that a test may replace, as a package does."""
    program = tmp_path / "program" / "uroboros"
    program.parent.mkdir()
    shutil.copy2(BINARY, program)
    for part in ("pybridge", "uroboros-app"):
        if (BINARY.parent / part).exists():
            (program.parent / part).symlink_to(BINARY.parent / part)
    monkeypatch.setattr(harness.server, "BINARY", program)
    return program


def install(program: Path, source: Path | str) -> None:
    fresh = program.with_name("fresh")
    if isinstance(source, Path):
        shutil.copy2(source, fresh)
    else:
        fresh.write_text(source)
        fresh.chmod(fresh.stat().st_mode | stat.S_IXUSR)
    fresh.replace(program)


# --- under load --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["each imports", "preloaded"])
def test_two_upgrades_under_load_fail_no_request(serve, installed, preload):
    server = serve("hello_wsgi:app", "-w", "2", "--rings", "2", *preload)
    clients = {
        "new connections": fresh_connections(server, Server.connect),
        "a kept connection": kept_connection(server, Server.connect),
    }
    with load_on(server, clients) as load:
        for _ in range(2):
            install(installed, BINARY)
            upgrade(server)
            load.go_on(50)
    program, now = os.stat(f"/proc/{server.pid}/exe"), installed.stat()
    assert (program.st_dev, program.st_ino) == (now.st_dev, now.st_ino)
    since = server.log_position
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: 2 new", since=since)
    assert server.get("/").status == 200


def test_an_upgrade_under_load_over_tls_fails_no_request(serve, tls):
    server = serve("hello_wsgi:app", "-w", "2", "--rings", "2", *tls.ecdsa.options)
    clients = {
        "new connections": fresh_connections(server, tls.connect),
        "a kept connection": kept_connection(server, tls.connect),
        "HTTP/2": http2_connection(server, tls),
    }
    with load_on(server, clients) as load:
        for _ in range(2):
            upgrade(server)
            load.go_on(50)


# --- sockets -----------------------------------------------------------------------------------------------------


def test_unix_and_inherited_sockets_are_kept(serve, tmp_path):
    path = str(tmp_path / "server.sock")
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        binds = ("127.0.0.1:0", f"unix:{path}", f"fd://{inherited.fileno()}")
        server = serve("hello_wsgi:app", "-w", "1", binds=binds, pass_fds=(inherited.fileno(),))
    addresses, inode = list(server.addresses), os.stat(path).st_ino
    for _ in range(2):
        upgrade(server)
        for address in addresses:
            with Client(address) as client:
                assert client.request("/").status == 200
    assert os.stat(path).st_ino == inode
    assert server.stop() == 0
    assert not os.path.exists(path)


class Activated:
    """A daemon with sockets of socket activation. LISTEN_PID has to name the daemon itself, so it is executed by a
    process that knows its own id."""

    def __init__(self, listeners: list[socket.socket], names: str, *options: str) -> None:
        numbers = [listener.fileno() for listener in listeners]
        moves = " ".join(f"{3 + i}<&{number}" for i, number in enumerate(numbers))
        environment = f"LISTEN_PID=$$ LISTEN_FDS={len(numbers)} LISTEN_FDNAMES={names}"
        command = shlex.join([str(BINARY), "hello_wsgi:app", "-w", "1", *options])
        # From numbers that none of the moves overwrites.
        assert min(numbers) >= 3 + len(numbers)
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {moves}; {environment} exec {command}"],
            cwd=APPS,
            env=clean_environment(),
            pass_fds=numbers,
            stderr=subprocess.PIPE,
        )
        self.lines: list[bytes] = []

    def wait_for(self, words: bytes) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError(f"{words} is not in {self.lines}")

    def upgrade(self) -> None:
        self.process.send_signal(signal.SIGUSR2)
        self.wait_for(b"ready: listening at ")
        self.wait_for(b"old app 0")

    def __enter__(self) -> "Activated":
        self.wait_for(b"ready: listening at ")
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.communicate(timeout=allowed(10))
        assert self.process.returncode == 0


@pytest.fixture
def activated_sockets() -> Iterator[list[socket.socket]]:
    first = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    # Far from 3, where they are to be.
    high = [socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 200)) for one in first]
    yield high
    for one in first + high:
        one.close()


def answers(listener: socket.socket) -> bool:
    with Client(listener.getsockname()) as client:
        return client.request("/", headers=[("Connection", "close")]).status == 200


def test_sockets_of_socket_activation_are_kept(activated_sockets):
    with Activated(activated_sockets, "web:admin") as server:
        for _ in range(2):
            assert all(answers(listener) for listener in activated_sockets)
            server.upgrade()
        assert all(answers(listener) for listener in activated_sockets)


def test_sockets_of_socket_activation_may_get_names_and_lose_them(activated_sockets, tmp_path):
    config, (web, admin) = tmp_path / "site.toml", activated_sockets
    bind_to(config, "fd://3")
    with Activated(activated_sockets, "web:admin", "-c", str(config)) as server:
        unanswered = f"has opened the socket 127.0.0.1:{admin.getsockname()[1]}, and no address of the settings stands"
        warnings = [line for line in server.lines if b" waits in vain. " in line]
        assert len(warnings) == 1 and unanswered.encode() in warnings[0] and b"(fd://admin)" in warnings[0]
        assert answers(web)
        bind_to(config, "fd://web", "fd://4")
        server.upgrade()
        assert answers(web) and answers(admin)
        bind_to(config, "fd://web", "fd://nobody")
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for(b"no inherited socket has that name; there are: web, admin")
        server.wait_for(NOTHING_CHANGED.encode())
        config.write_text("")
        server.upgrade()
        assert answers(web) and answers(admin)


def test_an_idle_connection_is_answered_once_more(serve):
    server = serve("hello_wsgi:app", "-w", "1", "--graceful-timeout", "20")
    with server.connect() as idle:
        assert idle.request("/").status == 200
        since = server.log_position
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
        # The old I/O process may answer before it reads that it is to leave.
        eventually(lambda: idle.request("/").header("connection") == "close", what="the last answer")
        idle.expect_close()
    server.wait_for_log("old app 0 .* exited with status 0", since=since)


def test_graceful_timeout_cuts_off_what_stays(serve):
    server = serve("hello_wsgi:app", "-w", "1", "--graceful-timeout", "1")
    with server.connect() as idle:
        assert idle.request("/").status == 200
        since = server.log_position
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log("graceful_timeout has passed, the old processes end", UPGRADE_SECONDS, since=since)
        idle.expect_close()
    server.wait_for_log("old app 0 .* exited with status 0", since=since)
    assert server.get("/").status == 200


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("#!/bin/sh\nexit 1\n", r"upgrade failed, nothing has changed: its --check-config exited with status 1"),
        ("#!/nowhere/sh\n", r"upgrade failed, nothing has changed: .* names an interpreter .* not there"),
    ],
)
def test_a_program_that_does_not_work_is_not_executed(serve, installed, program, complaint):
    server = serve("hello_wsgi:app", "-w", "1")
    before = set(server.processes())
    install(installed, program)
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(complaint, UPGRADE_SECONDS)
    assert server.get("/").status == 200
    assert set(server.processes()) == before
    install(installed, BINARY)
    upgrade(server)
    assert server.get("/").status == 200


def test_an_application_that_is_broken_meanwhile_leaves_the_old_one_serving(serve, tmp_path):
    app = tmp_path / "site_app.py"
    shutil.copy(APPS / "hello_wsgi.py", app)
    server = serve("site_app:app", "-w", "1", cwd=tmp_path)
    app.write_text("raise SystemError('broken')\n")
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS)
    assert server.get("/").body == b"hello\n"


# Good for the check, which loads it in an environment of its own, and bad for the program that was executed.
GOOD_ONCE = """
import pathlib
from hello_wsgi import app
marks = pathlib.Path({marks!r})
if marks.exists():
    count = int(marks.read_text()) - 1
    marks.write_text(str(count))
    assert count >= 0 or not pathlib.Path({bad!r}).exists(), "bad now"
"""


def test_the_old_processes_serve_until_the_new_ones_have_come_up(serve, tmp_path):
    marks, bad = tmp_path / "marks", tmp_path / "bad"
    (tmp_path / "turning.py").write_text(GOOD_ONCE.format(marks=str(marks), bad=str(bad)))
    server = serve("turning:app", "-w", "1", "--pythonpath", str(tmp_path))
    marks.write_text("1")
    bad.touch()
    since = server.log_position
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log("bad now", UPGRADE_SECONDS, since=since)
    for _ in range(5):
        assert server.get("/").body == b"hello\n"
    bad.unlink()
    server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
    server.wait_for_log("old app 0 .* exited with status 0", since=since)
    assert server.get("/").body == b"hello\n"


NOT_TAKEN_OVER = "the new program cannot serve: the processes of the one before it serve on"


def bind_to(config: Path, *addresses: str) -> None:
    config.write_text(f"bind = {list(addresses)}\n".replace("'", '"'))


def test_an_address_that_is_taken_is_found_before_anything_is_replaced(serve, tmp_path):
    config, path = tmp_path / "site.toml", tmp_path / "site.sock"
    first = f"127.0.0.1:{free_port()}"
    bind_to(config, first, f"unix:{path}")
    server = serve("hello_wsgi:app", "-w", "1", "-c", str(config), binds=())
    before = server.processes()
    with (
        load_on(server, {"new connections": fresh_connections(server, Server.connect)}) as load,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        second = f"127.0.0.1:{taken.getsockname()[1]}"
        bind_to(config, first, second)
        for attempt in (1, 2):
            server.send_signal(signal.SIGUSR2)
            server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS, count=attempt)
            server.wait_for_log(f"cannot listen at {second}: the address is in use", count=attempt)
        load.go_on(50)
        assert server.processes() == before
        assert "executing" not in server.log()
        # The settings do not name it any more, but they do not hold yet.
        with Client(str(path)) as client:
            assert client.request("/").status == 200
        taken.close()
        upgrade(server)
    with Client(("127.0.0.1", int(second.split(":")[1]))) as client:
        assert client.request("/").status == 200
    assert not path.exists()


def test_an_address_that_is_taken_at_the_last_moment_leaves_the_old_processes_serving(serve, installed, tmp_path):
    config, pid_file, path = tmp_path / "site.toml", tmp_path / "site.pid", tmp_path / "site.sock"
    first, wrong = f"127.0.0.1:{free_port()}", tmp_path / "wrong.toml"
    bind_to(config, first, f"unix:{path}")
    server = serve("hello_wsgi:app", "-w", "2", "-c", str(config), "-p", str(pid_file), binds=())
    before = server.processes()
    with (
        load_on(server, {"new connections": fresh_connections(server, Server.connect)}) as load,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        second = f"127.0.0.1:{taken.getsockname()[1]}"
        bind_to(wrong, first, second, f"unix:{path}")
        install(installed, spoils_settings(config, wrong.read_text()))
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(NOT_TAKEN_OVER, UPGRADE_SECONDS)
        server.wait_for_log(f"cannot listen at {second}: the address is in use")
        load.go_on(50)
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS)
        load.go_on(50)
        assert server.processes() == before
        assert pid_file.read_text() == f"{server.pid}\n"
        with Client(str(path)) as client:
            assert client.request("/").status == 200
        taken.close()
        since = server.log_position
        server.send_signal(signal.SIGHUP)
        server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
    for address in (("127.0.0.1", int(second.split(":")[1])), str(path)):
        with Client(address) as client:
            assert client.request("/").status == 200
    assert server.stop() == 0
    assert not path.exists() and not pid_file.exists()


def test_a_pid_file_that_has_moved_is_moved_with_the_program(serve, tmp_path):
    config, old, new = tmp_path / "site.toml", tmp_path / "old.pid", tmp_path / "new.pid"
    config.write_text('pidfile = "old.pid"\n')
    server = serve("hello_wsgi:app", "-w", "1", "-c", str(config), "--chdir", str(tmp_path), "--pythonpath", str(APPS))
    config.write_text(f'pidfile = "{tmp_path}/nowhere/new.pid"\n')
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS)
    server.wait_for_log("pidfile = .*nowhere/new.pid: No such file or directory")
    assert old.read_text() == f"{server.pid}\n"
    config.write_text(f'pidfile = "{new}"\n')
    upgrade(server)
    assert new.read_text() == f"{server.pid}\n" and not old.exists()
    assert server.stop() == 0
    assert not new.exists()


# Good for the check, and gone wrong when it counts.
SPOILS_SETTINGS = """#!/bin/sh
case $* in *--check-config*) exec {binary} "$@" ;; esac
cat >{config} <<'END'
{wrong}END
exec {binary} "$@"
"""


def spoils_settings(config: Path, wrong: str = 'workers = "many"\n') -> str:
    return SPOILS_SETTINGS.format(binary=BINARY, config=config, wrong=wrong)


def test_settings_that_break_at_the_last_moment_leave_the_old_processes_serving(serve, installed, tmp_path):
    config = tmp_path / "site.toml"
    config.write_text("workers = 1\n")
    server = serve("hello_wsgi:app", "-c", str(config))
    before = server.processes()
    with load_on(server, {"a kept connection": kept_connection(server, Server.connect)}) as load:
        install(installed, spoils_settings(config))
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(NOT_TAKEN_OVER, UPGRADE_SECONDS)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("SIGUSR1 is ignored")
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS)
        load.go_on(50)
        assert server.processes() == before
        config.write_text("workers = 2\n")
        upgrade(server)
    assert len(server.app_processes()) == 2


def test_a_program_that_cannot_start_stops_in_peace(serve, installed, tmp_path):
    config, path = tmp_path / "site.toml", tmp_path / "site.sock"
    config.write_text("workers = 1\n")
    server = serve("hello_wsgi:app", "-c", str(config), binds=(f"unix:{path}",))
    install(installed, spoils_settings(config))
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(NOT_TAKEN_OVER, UPGRADE_SECONDS)
    assert server.stop() == 0
    server.assert_nothing_alive()
    assert not path.exists()


def test_a_process_that_dies_while_no_program_can_start_makes_it_try_again(serve, installed, tmp_path):
    config = tmp_path / "site.toml"
    config.write_text("workers = 2\n")
    server = serve("hello_wsgi:app", "-c", str(config))
    install(installed, spoils_settings(config))
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(NOT_TAKEN_OVER, UPGRADE_SECONDS)
    config.write_text("workers = 2\n")
    since = server.log_position
    os.kill(server.app_processes()[0], signal.SIGKILL)
    server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
    assert server.get("/").status == 200


def test_what_is_left_of_the_old_processes_answers_and_time_tries_again(serve, installed, tmp_path):
    config = tmp_path / "site.toml"
    config.write_text("workers = 1\ntimeout = 4\n")
    server = serve("wsgi_cases:app", "-c", str(config))
    install(installed, spoils_settings(config))
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(NOT_TAKEN_OVER, UPGRADE_SECONDS)
    with Parallel() as clients:
        clients.start(server.get, "/hang")
        server.wait_for_log(r"\bhanging$")
        os.kill(server.app_processes()[0], signal.SIGKILL)
        server.wait_for_log(NOTHING_CHANGED, UPGRADE_SECONDS)
    assert clients.results[0].status == 502
    # Nobody could take it: it waited for queue_timeout, which is as long as timeout.
    waited = server.get("/hello")
    assert (waited.status, waited.header("retry-after")) == (503, "1")
    config.write_text("workers = 1\n")
    server.wait_for_log(READY, UPGRADE_SECONDS, count=2)
    # The old I/O process takes connections until it reads that it is to leave.
    eventually(lambda: server.get("/hello").status == 200, what="an answer of the new processes")


# Executes the new program only to try it; in the place of the running one it crashes.
CRASHES = """#!/bin/sh
case $* in *--check-config*) exec {binary} "$@" ;; esac
kill -SEGV $$
"""


def test_a_program_that_crashes_in_its_place_lets_what_was_begun_finish(serve, installed, tmp_path):
    path = tmp_path / "site.sock"
    options = ("wsgi_cases:app", "-w", "1", "--threads", "4")
    server = serve(*options, binds=("127.0.0.1:0", f"unix:{path}"))
    server.expect_clean_stop = False
    install(installed, CRASHES.format(binary=BINARY))
    with Parallel() as clients, server.connect() as idle:
        assert idle.request("/hello").status == 200
        clients.start(server.get, "/sleep?3")
        server.wait_for_log(r"\bsleeping$")
        server.send_signal(signal.SIGUSR2)
        assert server.process.wait(allowed(UPGRADE_SECONDS)) == -signal.SIGSEGV
        idle.expect_close()
    assert clients.results[0].body == b"slept\n"
    server.wait_for_log(r"\blive: ")
    eventually(lambda: not server.processes(), what="the end of all processes")
    server.assert_nothing_alive()
    # The service manager starts it anew: neither the port nor the file of the dead one is in its way.
    install(installed, BINARY)
    again = serve(*options, binds=("{}:{}".format(*server.address), f"unix:{path}"))
    assert again.get("/hello").status == 200


def test_a_program_that_would_not_understand_the_running_one_is_not_executed(serve, installed):
    server = serve("hello_wsgi:app", "-w", "1")
    before = server.processes()
    install(installed, f'#!/bin/sh\n_UROBOROS_HANDOVER_FORMAT=0.${{_UROBOROS_HANDOVER_FORMAT:?}} exec {BINARY} "$@"\n')
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log("cannot take over from the running program, .*: restart the server", UPGRADE_SECONDS)
    server.wait_for_log("upgrade failed, nothing has changed: its --check-config exited with status 1")
    assert server.processes() == before
    assert server.get("/").status == 200


def test_settings_are_read_again_while_the_new_application_does_not_come_up(serve, tmp_path):
    marks, bad, config = tmp_path / "marks", tmp_path / "bad", tmp_path / "site.toml"
    (tmp_path / "turning.py").write_text(GOOD_ONCE.format(marks=str(marks), bad=str(bad)))
    config.write_text('wsgi_app = "turning:app"\n')
    server = serve(None, "-w", "1", "--pythonpath", str(tmp_path), "-c", str(config))
    marks.write_text("1")
    bad.touch()
    since = server.log_position
    with load_on(server, {"new connections": fresh_connections(server, Server.connect)}) as load:
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log("bad now", UPGRADE_SECONDS, since=since)
        load.go_on(50)
        config.write_text('wsgi_app = "hello_wsgi:app"\n')
        server.send_signal(signal.SIGHUP)
        server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
    server.wait_for_log("old app 0 .* exited with status 0", since=since)


# --- during an upgrade -------------------------------------------------------------------------------------------


@contextmanager
def upgrade_that_waits(serve) -> Iterator[Server]:
    """A server that has been asked for a second upgrade, as long as a client keeps the first from its end."""
    server = serve("hello_wsgi:app", "-w", "1", "--graceful-timeout", "60")
    with server.connect() as idle:
        assert idle.request("/").status == 200
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(READY, UPGRADE_SECONDS, count=2)
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log("the upgrade waits until the processes of the program before this one have finished")
        yield server


def test_a_second_upgrade_waits_for_the_end_of_the_first(serve):
    with upgrade_that_waits(serve) as server:
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 1 new", UPGRADE_SECONDS)
        assert server.get("/").status == 200
    server.wait_for_log(READY, UPGRADE_SECONDS, count=3)
    assert server.get("/").status == 200


def test_a_stop_while_an_upgrade_waits_ends_all(serve):
    with upgrade_that_waits(serve) as server:
        assert server.stop() == 0
    server.assert_nothing_alive()


# Each import takes one of the marks; the one that finds none left never ends.
NEVER_ENDS = """
import pathlib, threading
from hello_wsgi import app
marks = pathlib.Path({marks!r})
count = int(marks.read_text())
marks.write_text(str(count - 1))
if count == 0:
    print("stuck here", flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("imports", [0, 1, 2], ids=["a start", "a check", "a start in another's place"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_an_application_is_loaded_ends_all(serve, tmp_path, imports, number):
    marks = tmp_path / "marks"
    marks.write_text(str(imports))
    (tmp_path / "turning.py").write_text(NEVER_ENDS.format(marks=str(marks)))
    server = serve("turning:app", "-w", "1", "--pythonpath", str(tmp_path), ready=imports > 0)
    if imports > 0:
        server.send_signal(signal.SIGUSR2)
    server.wait_for_log("stuck here", UPGRADE_SECONDS)
    assert server.stop(number) == 0
    server.assert_nothing_alive()


def test_a_daemon_in_the_background_is_upgraded_where_it_is(tmp_path):
    pid_file, log, path = tmp_path / "site.pid", tmp_path / "error.log", tmp_path / "site.sock"
    config, no_directory = tmp_path / "site.toml", tmp_path / "nowhere" / "site.sock"
    bind_to(config, f"unix:{path}")
    options = ("-c", str(config), "-D", "-p", str(pid_file), "--error-logfile", str(log))
    assert run_to_end("hello_wsgi:app", "-w", "1", *options).returncode == 0
    pid = int(pid_file.read_text())
    try:
        bind_to(config, f"unix:{path}", f"unix:{no_directory}")
        os.kill(pid, signal.SIGUSR2)
        eventually(lambda: NOTHING_CHANGED in log.read_text(), UPGRADE_SECONDS, "the failure")
        assert f"cannot listen at unix:{no_directory}" in log.read_text()
        bind_to(config, f"unix:{path}")
        os.kill(pid, signal.SIGUSR2)
        eventually(lambda: len(re.findall(READY, log.read_text())) == 2, UPGRADE_SECONDS, "the new program")
        assert int(pid_file.read_text()) == pid
        with Client(str(path)) as client:
            assert client.request("/").status == 200
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not pid_file.exists(), 20, "the end")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_old_processes_write_to_the_log_files_that_are_opened_again(serve, tmp_path):
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    server = serve("hello_wsgi:app", "-w", "1", "--access-logfile", str(log), "--graceful-timeout", "60")
    with server.connect() as old:
        assert old.request("/before").status == 200
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(READY, UPGRADE_SECONDS, count=2)
        eventually(lambda: log.exists() and "/before" in log.read_text(), what="the line of the first request")
        log.rename(moved)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("log files opened again")
        assert old.request("/after").status == 200
    eventually(lambda: "/after" in log.read_text(), what="a line in the new file")
    assert "/after" not in moved.read_text()


def test_addresses_come_and_go_with_an_upgrade(serve, tmp_path):
    config, gone, stays = tmp_path / "site.toml", tmp_path / "gone.sock", f"127.0.0.1:{free_port()}"
    comes = ("127.0.0.1", free_port())
    bind_to(config, stays, f"unix:{gone}")
    server = serve("hello_wsgi:app", "-w", "1", "-c", str(config), binds=())
    with load_on(server, {"new connections": fresh_connections(server, Server.connect)}):
        bind_to(config, stays, f"127.0.0.1:{comes[1]}")
        upgrade(server)
    with Client(comes) as client:
        assert client.request("/").status == 200
    assert not gone.exists()


def test_a_stop_while_old_processes_finish_ends_all(serve):
    server = serve("hello_wsgi:app", "-w", "1", "--graceful-timeout", "30")
    with connect(server.address):
        since = server.log_position
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
        assert server.stop() == 0
    server.assert_nothing_alive()
