"""Everything that -b can name."""

import os
import re
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from harness.client import Client
from harness.programs import free_port
from harness.server import APPS, BINARY, Server, allowed, clean_environment, run_to_end


def answers(address) -> bool:
    with Client(address) as client:
        return client.request("/").body == b"hello\n"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "tcp://127.0.0.1:0", "localhost:0"])
def test_tcp(serve, bind):
    assert answers(serve("hello_wsgi:app", binds=(bind,)).address)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_ipv6(serve):
    server = serve("wsgi_cases:app", binds=("[::1]:0",))
    assert server.address[0] == "::1"
    assert b'"REMOTE_ADDR": "::1"' in server.get("/environ").body


def test_unix(serve, tmp_path):
    path = str(tmp_path / "socket")
    server = serve("wsgi_cases:app", binds=(f"unix:{path}",))
    assert server.get("/hello").body == b"hello\n"
    environ = server.get("/environ").text
    assert '"SERVER_NAME": ""' not in environ and '"SERVER_PORT": ""' not in environ
    assert server.stop() == 0
    assert not os.path.exists(path)


@pytest.mark.parametrize(("umask", "mode"), [("0", 0o777), ("007", 0o770), ("077", 0o700)])
def test_the_mode_of_a_unix_socket_follows_umask(serve, tmp_path, umask, mode):
    path = tmp_path / "socket"
    serve("hello_wsgi:app", "--umask", umask, binds=(f"unix:{path}",))
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_stale_unix_socket_is_replaced(serve, tmp_path):
    path = tmp_path / "socket"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert answers(serve("hello_wsgi:app", binds=(f"unix:{path}",)).address)


def test_a_file_that_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("keep me")
    done = run_to_end("hello_wsgi:app", "-b", f"unix:{path}")
    assert done.returncode == 1 and str(path) in done.stderr
    assert path.read_text() == "keep me"


def test_abstract_unix(serve):
    name = f"@uroboros-test-{os.getpid()}"
    assert answers(serve("hello_wsgi:app", binds=(f"unix:{name}",)).address)


def test_an_inherited_descriptor(serve):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        address = sock.getsockname()
        server = serve("hello_wsgi:app", binds=(f"fd://{sock.fileno()}",), pass_fds=(sock.fileno(),), ready=False)
        server.wait_for_log("ready: listening at")
        assert answers(address)


@contextmanager
def activated(sockets: list[socket.socket], names: str, *arguments: str):
    """As a service manager starts it: the sockets from descriptor 3 on, LISTEN_PID names the daemon itself."""
    numbers = [sock.fileno() for sock in sockets]
    # First out of the way, then to their places: one of them may have the place of another.
    moves = "; ".join(f"exec {90 + i}<&{number} {number}<&-" for i, number in enumerate(numbers))
    moves += "; " + "; ".join(f"exec {3 + i}<&{90 + i} {90 + i}<&-" for i in range(len(numbers)))
    script = f"{moves}; LISTEN_PID=$$ LISTEN_FDS={len(numbers)} LISTEN_FDNAMES={names} exec {BINARY} {' '.join(arguments)}"
    process = subprocess.Popen(
        ["/bin/bash", "-c", script], cwd=APPS, env=clean_environment(), pass_fds=numbers, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=allowed(10))


@pytest.fixture
def three_sockets():
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]


def test_inherited_sockets_have_names_and_settings_of_their_own(three_sockets, tmp_path):
    """Two sockets of one unit have the same name; an upgrade keeps all of them."""
    config = tmp_path / "uroboros.toml"
    config.write_text('[[listen]]\naddress = "fd://web"\n[[listen]]\naddress = "fd://admin"\nproxy_protocol = "v1"\n')
    web, admin, other = [sock.getsockname() for sock in three_sockets]
    with activated(three_sockets, "web:admin:web", "-c", str(config), "-w", "1", "hello_wsgi:app") as process:
        for is_upgraded in (False, True):
            line = next(line for line in process.stderr if "ready: listening at " in line)
            assert re.findall(r"127\.0\.0\.1:(\d+)", line) == [str(port) for _, port in (web, other, admin)]
            assert answers(web) and answers(other)
            with Client(admin) as client:
                client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.read_response().body == b"hello\n"
            if not is_upgraded:
                process.send_signal(signal.SIGUSR2)
    assert process.returncode == 0


def test_a_name_that_no_socket_has_is_refused_with_those_that_there_are(three_sockets):
    with activated(three_sockets, "web:admin:web", "-b", "fd://wbe", "hello_wsgi:app") as process:
        said = process.stderr.read()
        assert process.wait(allowed(10)) == 1
    assert "cannot listen at fd://wbe: no inherited socket has that name; there are: web, admin\n" in said


def test_several_at_once(serve, tmp_path):
    server = serve("hello_wsgi:app", binds=("127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path / 'socket'}"))
    assert len(server.addresses) == 3
    assert all(answers(address) for address in server.addresses)


def test_port_in_the_environment(serve):
    port = free_port()
    server = serve("hello_wsgi:app", binds=(), env={"PORT": str(port)})
    assert answers(("127.0.0.1", port))
    assert server.address[1] == port


def test_an_address_in_use_is_refused_even_by_another_daemon(serve):
    server = serve("hello_wsgi:app")
    host, port = server.address
    done = run_to_end("hello_wsgi:app", "-b", f"{host}:{port}")
    assert done.returncode == 1, done.stderr
    assert re.search("address.*in use", done.stderr, re.IGNORECASE)
    assert server.get("/").status == 200


@pytest.mark.parametrize("bind", ["256.1.1.1:80", "127.0.0.1:99999", "unix:", "fd://x", "[::1:80", "fd://999"])
def test_an_address_that_makes_no_sense_is_refused(bind):
    done = run_to_end("hello_wsgi:app", "-b", bind)
    assert done.returncode in (1, 2), done.stderr
    assert bind in done.stderr or bind.removeprefix("fd://") in done.stderr


def test_a_restart_on_the_same_port_works_at_once(serve):
    first = serve("hello_wsgi:app")
    host, port = first.address
    assert first.get("/").status == 200
    assert first.stop() == 0
    second: Server = serve("hello_wsgi:app", binds=(f"{host}:{port}",))
    assert second.get("/").status == 200
