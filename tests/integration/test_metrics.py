"""metrics_path: the numbers of all I/O processes, from any of them, without an application."""

import re
import signal
import socket

from harness.client import Client, build_request
from harness.server import run_to_end
from harness.waiting import eventually

SAMPLE = re.compile(r'uroboros_(\w+)\{ring="(\d+)"(?:,(\w+="\w+"))?\} (\d+)')


def read(server) -> dict[tuple[str, int, str], int]:
    response = server.get("/metrics")
    assert response.status == 200
    assert response.header("content-type").startswith("application/openmetrics-text; version=1.0.0")
    lines = response.text.splitlines()
    assert lines[-1] == "# EOF"
    samples = [SAMPLE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(samples)
    return {(name, int(ring), label or ""): int(value) for name, ring, label, value in map(re.Match.groups, samples)}


def total(samples: dict, name: str) -> int:
    return sum(value for (found, _, _), value in samples.items() if found == name)


def test_they_are_those_of_all_io_processes(serve):
    server = serve("hello_wsgi:app", "--rings", "2", "--metrics-path", "/metrics")
    for _ in range(20):
        assert server.get("/").status == 200
    eventually(lambda: total(read(server), "requests_total") >= 20)
    samples = read(server)
    assert {ring for _, ring, _ in samples} == {0, 1}
    assert total(samples, "responses_total") >= 20
    eventually(lambda: total(read(server), "connections_active") == 1)


def test_they_need_no_application_process(serve, gates):
    server, gate = serve("wsgi_cases:app", "-w", "1", "--threads", "1", "--metrics-path", "/metrics"), gates.make()
    with server.connect() as busy:
        busy.send(build_request(f"/fifo?{gate}"))
        server.wait_for_log("at the gate$")
        assert total(read(server), "slots_live") >= 1
        gates.open(gate)
        assert busy.read_response().status == 200


def test_they_are_off_unless_asked_for_and_a_reload_turns_them_on(serve, tmp_path):
    config = tmp_path / "uroboros.toml"
    config.write_text("")
    server = serve("hello_wsgi:app", "-c", str(config))
    assert server.get("/metrics").body == b"hello\n"
    config.write_text('metrics_path = "/metrics"\n')
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get("/metrics").body.endswith(b"# EOF\n"))


def test_pages_that_nobody_reads_are_bounded(serve):
    """A client that asks and asks and never reads is lent the same text, and cut off in the end."""
    server = serve("hello_wsgi:app", "--rings", "1", "--metrics-path", "/metrics", "--write-timeout", "2")
    client = Client(server.address)
    client.sock.settimeout(0.5)
    try:
        for _ in range(200):
            client.sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    except OSError:
        pass  # its octets are not taken any more: that is what bounds it
    assert server.get("/").status == 200
    client.close()


def test_clients_that_reset_while_they_wait_are_gone_within_a_second_or_so(serve):
    """RES-21. The kernel does not tell of every such reset."""
    server = serve("wsgi_cases:app", "--rings", "1", "--threads", "2", "--metrics-path", "/metrics")
    crowd = [server.connect() for _ in range(1000)]
    for client in crowd:
        client.send(build_request("/sleep?3"))
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    eventually(lambda: total(read(server), "connections_active") == 1, timeout=10)


def test_a_path_is_expected():
    result = run_to_end("hello_wsgi:app", "--metrics-path", "metrics", "--check-config")
    assert result.returncode == 2 and "a path that begins with /" in result.stderr
