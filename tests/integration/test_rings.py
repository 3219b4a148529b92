"""More I/O processes than CPUs: every kind of address reaches them, their counts add up, and nothing is lost."""

import hashlib
import os
import random
import re
import signal
import socket

import pytest

from harness.client import Client, connect
from harness.http2 import Http2Client, connect_http2
from harness.load import Load
from harness.server import allowed
from harness.waiting import eventually

RINGS = ("--rings", "4", "-w", "3")
CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
METRICS = ("--metrics-path", "/metrics")
SAMPLE = re.compile(r'uroboros_(\w+)\{ring="(\d+)".*\} (\d+)')
CONNECTIONS = 64
OCTETS = random.Random(8).randbytes(1 << 20)


@pytest.fixture(params=["tcp", "unix", "abstract", "fd"])
def bound(request, tmp_path):
    """(what -b says, descriptors to pass on, where a client connects or None for what the ready line says)"""
    if request.param == "tcp":
        yield "127.0.0.1:0", (), None
    elif request.param == "unix":
        yield f"unix:{tmp_path}/socket", (), f"{tmp_path}/socket"
    elif request.param == "abstract":
        name = f"@uroboros-rings-{os.getpid()}"
        yield f"unix:{name}", (), name
    else:
        with socket.socket() as inherited:
            inherited.bind(("127.0.0.1", 0))
            inherited.listen(256)
            yield f"fd://{inherited.fileno()}", (inherited.fileno(),), inherited.getsockname()


def serve_bound(serve, bound, *options: str):
    """The daemon and its address."""
    bind, descriptors, address = bound
    server = serve("clients_wsgi:app", *RINGS, *options, binds=(bind,), pass_fds=descriptors, ready=False)
    server.wait_for_log("ready: listening at")
    if address is None:
        address = server.wait_until_ready().address
    assert len(server.io_processes()) == 4
    return server, address


def per_ring(address, name: str) -> dict[int, int]:
    """One metric, by I/O process. The page is asked for on a connection of its own."""
    with Client(address, allowed(10)) as client:
        text = client.request("/metrics").text
    found: dict[int, int] = {}
    for sample in map(SAMPLE.fullmatch, text.splitlines()):
        if sample and sample[1] == name:
            found[int(sample[2])] = found.get(int(sample[2]), 0) + int(sample[3])
    return found


def test_connections_spread_and_counts_add_up(serve, bound):
    _, address = serve_bound(serve, bound, *METRICS)
    clients = []
    for _ in range(CONNECTIONS):  # one by one: of several that come at once whoever is awake takes more
        clients.append(Client(address, allowed(20)))
        assert clients[-1].request("/hello").status == 200
    for _ in range(2):
        assert {client.request("/hello").status for client in clients} == {200}
    active = per_ring(address, "connections_active")
    assert sorted(active) == [0, 1, 2, 3]
    assert sum(active.values()) == CONNECTIONS + 1  # the one that asks
    assert min(active.values()) > 0, f"by a hash of its port, or in turn where all share a listener: {active}"
    # The pages themselves are requests too: one was asked for before this one, and this one counts or not.
    assert sum(per_ring(address, "requests_total").values()) - 3 * CONNECTIONS in (1, 2)
    for client in clients:
        client.close()
    eventually(lambda: sum(per_ring(address, "connections_active").values()) == 1, what="the end of all others")


def test_http2_over_every_kind_of_address(serve, bound):
    """Streams of each connection, down and up, on every I/O process."""
    _, address = serve_bound(serve, bound, *CLEARTEXT)
    clients = [Http2Client(connect(address, allowed(20))) for _ in range(16)]
    digest = hashlib.sha256(OCTETS[:200_000]).hexdigest()
    for client in clients:
        streams = [client.start("/large?100000") for _ in range(4)]
        assert {len(client.finish(stream).body) for stream in streams} == {100_000}
        assert client.request("/digest", "POST", body=OCTETS[:200_000]).text == digest
        assert not client.goaways
        client.close()


def test_http2_by_tls_on_four_rings(serve, tls):
    server = serve("clients_asgi:app", *RINGS, *tls.ecdsa.options)
    digest = hashlib.sha256(OCTETS).hexdigest()
    for _ in range(8):
        with connect_http2(server, tls) as client:
            streams = [client.start("/large?100000") for _ in range(8)]
            assert client.request("/digest", "POST", body=OCTETS).text == digest
            assert {len(client.finish(stream).body) for stream in streams} == {100_000}


def either_version(address):
    """Clients of both versions; nothing may fail them."""

    def ask(load: Load, number: int) -> None:
        with Client(address, allowed(20)) if number % 2 else Http2Client(connect(address, allowed(20))) as client:
            while not load.ending.is_set():
                answer = client.request(("/hello", "/large?100000")[load.answered[number] % 2])
                assert answer.status == 200
                load.answered[number] += 1

    return ask


def test_reloads_under_load_lose_nothing(serve, bound):
    server, address = serve_bound(serve, bound, *CLEARTEXT)
    rings, apps = server.io_processes(), set(server.app_processes())
    with Load(dict.fromkeys(range(8), either_version(address))) as load:
        for _ in range(2):
            load.go_on(5, timeout=60)
            server.send_signal(signal.SIGHUP)
            eventually(
                lambda old=apps: len(server.app_processes()) == 3 and not set(server.app_processes()) & old,
                30,
                "three other application processes",
            )
            apps = set(server.app_processes())
        load.go_on(5, timeout=60)
    load.assert_unharmed()
    assert server.io_processes() == rings, "a reload is none of their business"


def test_a_stop_ends_every_ring_in_order(serve, bound):
    """Who waits for an answer gets it, who is idle is told; each I/O process counts nothing alive."""
    server, address = serve_bound(serve, bound, *CLEARTEXT)
    idle = [Http2Client(connect(address, allowed(20))) for _ in range(12)]
    for client in idle:
        assert client.request("/hello").status == 200
    busy = [Http2Client(connect(address, allowed(20)), acknowledges=False) for _ in range(12)]
    streams = [client.start("/large?1000000") for client in busy]
    for client, stream in zip(busy, streams, strict=True):
        client.read_until(lambda c=client, s=stream: len(c.body_so_far(s)) >= 65_535, "the first window")
    server.send_signal(signal.SIGTERM)
    for client, stream in zip(busy, streams, strict=True):
        client.acknowledges = True
        client.h2.increment_flow_control_window(1 << 20)
        client.h2.increment_flow_control_window(1 << 20, stream)
        client.flush()
        assert len(client.finish(stream).body) == 1_000_000
    for client in (*idle, *busy):
        client.read_until(lambda client=client: client.is_closed, "the end")
        assert client.goaways and {goaway.error_code for goaway in client.goaways} == {0}
        client.close()
    assert server.wait() == 0
    server.assert_nothing_alive()
    assert len([line for line in server.lines if " live: " in line]) == 4


def test_a_dead_ring_is_replaced_and_costs_the_others_nothing(serve, bound):
    server, address = serve_bound(serve, bound)
    server.expect_clean_stop = False  # who was killed counted nothing
    clients = [Client(address, allowed(20)) for _ in range(CONNECTIONS)]
    assert {client.request("/hello").status for client in clients} == {200}
    victim = server.io_processes()[1]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_exit_of(victim)
    alive = sum(is_served(client) for client in clients)
    # Of a socket that all share, one of them may have taken every connection, or none.
    if ":0" in bound[0]:
        assert 0 < alive < CONNECTIONS, "64 by a hash, and one of four had all or none"
    eventually(lambda: len(set(server.io_processes()) - {victim}) == 4, 30, "another I/O process")
    for _ in range(CONNECTIONS):
        with Client(address, allowed(20)) as client:
            assert client.request("/hello").status == 200
    assert server.stop() == 0
    assert not server.processes()


def is_served(client: Client) -> bool:
    try:
        return client.request("/hello").status == 200
    except ConnectionError:
        return False
    finally:
        client.close()
