"""SIGUSR2: the program is exchanged under a server that serves on, and keeps its process id."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness.server
from harness.client import Client, connect
from harness.http2 import Http2Client, connect_http2
from harness.server import APPS, BINARY, PATIENCE, Server, clean_environment
from harness.waiting import eventually

READY = r"\bready: listening at "
# From the signal to new processes that serve: a check, and a start.
UPGRADE_SECONDS = 30


class Load:
    """Clients that never rest. A connection may end as the protocol says; all else is a failure."""

    def __init__(self) -> None:
        self.answered: dict[str, int] = {}
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self.threads: list[threading.Thread] = []

    def run(self, name: str, ask: Callable[["Load", str], None]) -> None:
        self.answered[name] = 0

        def work() -> None:
            try:
                ask(self, name)
            except Exception as error:
                self.failures.append(f"{name}: {error!r}")

        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def count(self, name: str, response) -> None:
        assert response.status == 200 and response.body == b"hello\n", f"{response.status}: {response.body[:200]!r}"
        self.answered[name] += 1

    def wait_for_more(self, requests: int = 50) -> None:
        goals = {name: answered + requests for name, answered in self.answered.items()}
        eventually(
            lambda: self.failures or all(self.answered[name] >= goal for name, goal in goals.items()),
            20,
            f"{requests} more answers to each client",
        )
        assert not self.failures, self.failures


def fresh_connections(server: Server, open_client: Callable[[Server], Client]):
    def ask(load: Load, name: str) -> None:
        while not load.stopped.is_set():
            with open_client(server) as client:
                load.count(name, client.request("/"))

    return ask


def kept_connection(server: Server, open_client: Callable[[Server], Client]):
    def ask(load: Load, name: str) -> None:
        client = open_client(server)
        while not load.stopped.is_set():
            response = client.request("/")
            load.count(name, response)
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
        while not load.stopped.is_set():
            streams = [client.start("/") for _ in range(4)]
            for stream in streams:
                try:
                    load.count(name, client.finish(stream))
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
    load = Load()
    for name, ask in clients.items():
        load.run(name, ask)
    try:
        load.wait_for_more()
        yield load
        load.wait_for_more()
    finally:
        load.stopped.set()
        for thread in load.threads:
            thread.join(30 * PATIENCE)
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
            load.wait_for_more()
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
            load.wait_for_more()


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


def test_sockets_of_socket_activation_are_kept():
    """LISTEN_PID has to name the daemon itself, so it is executed by a process that knows its own id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, address = listener.fileno(), listener.getsockname()
        script = f"exec 3<&{number} {number}<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} hello_wsgi:app -w 1"
        process = subprocess.Popen(
            ["/bin/bash", "-c", script], cwd=APPS, env=clean_environment(), pass_fds=(number,), stderr=subprocess.PIPE
        )
    try:
        for upgrades in range(3):
            next(line for line in process.stderr if b"ready: listening at " in line)
            with Client(address) as client:
                assert client.request("/", headers=[("Connection", "close")]).status == 200
            if upgrades < 2:
                if upgrades > 0:
                    next(line for line in process.stderr if b"old app 0" in line)
                process.send_signal(signal.SIGUSR2)
    finally:
        process.terminate()
        process.communicate(timeout=10 * PATIENCE)
    assert process.returncode == 0


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
    server.wait_for_log("upgrade failed, nothing has changed", UPGRADE_SECONDS)
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


def test_a_stop_while_old_processes_finish_ends_all(serve):
    server = serve("hello_wsgi:app", "-w", "1", "--graceful-timeout", "30")
    with connect(server.address):
        since = server.log_position
        server.send_signal(signal.SIGUSR2)
        server.wait_for_log(READY, UPGRADE_SECONDS, since=since)
        assert server.stop() == 0
    server.assert_nothing_alive()
