"""A process dies at each step of a request's way: what it had begun is told, the rest is served, nothing leaks."""

import os
import random
import re
import signal

import h2.errors
import pytest

from harness.client import build_request
from harness.http2 import Http2Client, StreamReset, connect_http2
from harness.load import Load
from harness.responses import Response
from harness.server import Server
from harness.waiting import eventually

CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
# A request waits here until another process has started, which a slow disk may hold up.
PATIENT = ("--timeout", "300")
KINDS = {
    # A body that is held until it is complete would never be read in part.
    "wsgi": ("deaths_wsgi:app", "--threads", "1", "--request-buffering", "off", *PATIENT),
    "asgi": ("deaths_asgi:app", *PATIENT),
}
STEPS = ("begin", "body", "head", "piece", "last", "close")
BODY = b"piece of body. " * 2
QUEUED = 20
SAMPLE = re.compile(r'uroboros_(\w+)\{ring="\d+".*\} (\d+)')
# What requests hold, and give back with their end or with that of a process. Staging blocks are not among them: what
# TLS agreed on is kept in some until the end, where a clean stop counts them.
AT_REST = ("exchanges_live", "slots_live", "recv_buffers_lent", "request_spool_blocks", "files_live", "dispatch_queued")


class OverHttp1:
    """Each request has a connection of its own, for one that waits would delay those behind it."""

    options = ()

    def __init__(self, server: Server, _tls) -> None:
        self.server, self.opened = server, []

    def start(self, target: str, body: bytes | None = None):
        client = self.server.connect(20)
        self.opened.append(client)
        client.send(build_request(target, "POST" if body else "GET", body=body), "POST" if body else "GET")
        return client

    def outcome(self, client) -> Response | str:
        try:
            return client.read_response()
        except ConnectionError:
            return "cut off"

    def wait_for_head(self, client) -> None:
        while b"\r\n\r\n" not in client.reader.buffer:
            piece = client.sock.recv(65536)
            assert piece, "closed before the head"
            client.reader.feed(piece)

    def assert_alive(self) -> None:
        assert self.outcome(self.start("/")).status == 200

    def close(self) -> None:
        for client in self.opened:
            client.close()


class OverHttp2:
    options = CLEARTEXT

    def __init__(self, server: Server, tls) -> None:
        self.client: Http2Client = connect_http2(server, tls)

    def start(self, target: str, body: bytes | None = None) -> int:
        return self.client.start(target, "POST" if body else "GET", body=body)

    def outcome(self, stream: int) -> Response | str:
        try:
            return self.client.finish(stream)
        except StreamReset as reset:
            assert reset.code == h2.errors.ErrorCodes.INTERNAL_ERROR
            return "cut off"

    def wait_for_head(self, stream: int) -> None:
        self.client.read_until(lambda: self.client.body_so_far(stream), "the first piece")

    def assert_alive(self) -> None:
        """The very connection on which a stream was lost."""
        assert self.client.request("/").status == 200
        assert not self.client.goaways

    def close(self) -> None:
        self.client.close()


@pytest.fixture(params=["h1", "h2", "h2-tls"])
def way(request, tls):
    """(options of the daemon, what makes a client)"""
    if request.param == "h1":
        return (), lambda server: OverHttp1(server, None)
    if request.param == "h2":
        return CLEARTEXT, lambda server: OverHttp2(server, None)
    return tls.ecdsa.options, lambda server: OverHttp2(server, tls)


def processes_of(server: Server, count: int) -> list[int]:
    eventually(lambda: len(server.app_processes()) == count, what=f"{count} application processes")
    return server.app_processes()


def in_use(client) -> dict[str, int]:
    """By the server's own metrics. The request for the page is one of those it tells of."""
    totals = dict.fromkeys(AT_REST, 0)
    for line in client.outcome(client.start("/metrics")).text.splitlines():
        found = SAMPLE.fullmatch(line)
        if found and found[1] in totals:
            totals[found[1]] += int(found[2])
    return totals


def assert_at_rest(client, before: dict[str, int]) -> None:
    """As it was before the first request."""
    seen: list[dict[str, int]] = []

    def is_as_before() -> bool:
        seen[:] = [in_use(client)]
        return seen == [before]

    try:
        eventually(is_as_before)
    except AssertionError:
        raise AssertionError(f"in use: {seen[0]}, before: {before}") from None


# --- application processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_death_at_each_step_costs_the_request_and_nobody_elses(serve, way, gates, kind, step):
    """Both processes have begun one request, 20 more wait, for either or for the one that is going to die."""
    server = serve(*KINDS[kind], "-w", "2", "--metrics-path", "/metrics", *way[0])
    pids = processes_of(server, 2)
    client = way[1](server)
    before = in_use(client)
    death, held = gates.make("death"), gates.make("held")
    lost = client.start(f"/die/{step}?{death}", b"body" if step == "body" else None)
    victim = int(server.wait_for_log(r"at the gate in (\d+)")[1])
    kept = client.start(f"/hold?{held}")
    survivor = int(server.wait_for_log(r"holding in (\d+)")[1])
    assert {victim, survivor} == set(pids)
    waiting = [client.start("/") for _ in range(QUEUED)]
    if step == "piece":
        client.wait_for_head(lost)

    gates.open(death)
    server.wait_for_exit_of(victim)
    check_what_was_begun(step, client.outcome(lost))
    served = [client.outcome(one) for one in waiting]
    assert [one.status for one in served] == [200] * QUEUED
    assert victim not in {int(one.text) for one in served}
    gates.open(held)
    assert client.outcome(kept).text == str(survivor)
    client.assert_alive()
    assert_at_rest(client, before)
    client.close()


def check_what_was_begun(step: str, outcome: Response | str) -> None:
    """Never a part that looks like a whole."""
    if isinstance(outcome, Response) and outcome.status == 200:
        assert outcome.body == BODY and step in ("last", "close")
    elif step == "piece":
        assert outcome == "cut off"
    elif step in ("begin", "body"):
        assert outcome.status == 502
    else:
        assert outcome == "cut off" or outcome.status == 502


@pytest.mark.parametrize("kind", KINDS)
def test_a_death_with_nobody_left_is_waited_out(serve, way, gates, kind):
    """One process, which dies: what it had not begun goes to the next one."""
    server = serve(*KINDS[kind], "-w", "1", *way[0])
    client = way[1](server)
    death = gates.make("death")
    lost = client.start(f"/die/begin?{death}")
    victim = int(server.wait_for_log(r"at the gate in (\d+)")[1])
    waiting = [client.start("/") for _ in range(QUEUED)]
    gates.open(death)
    assert client.outcome(lost).status == 502
    answers = [client.outcome(one) for one in waiting]
    assert [one.status for one in answers] == [200] * QUEUED
    assert {int(one.text) for one in answers} == {processes_of(server, 1)[0]} != {victim}
    client.assert_alive()
    client.close()


# --- I/O processes -----------------------------------------------------------------------------------------------------

CASES = {"wsgi": ("wsgi_cases:app", "--threads", "8"), "asgi": ("asgi_cases:app",)}
OF_EACH_KIND = {"wsgi": "/closing_endless", "asgi": "/endless"}


def borrow_much(server: Server, path: str) -> Http2Client:
    """Responses that are taken by nobody, so that their pieces stay lent to the I/O process."""
    client = connect_http2(server, acknowledges=False)
    client.h2.increment_flow_control_window(1 << 20)
    client.flush()
    streams = [client.start(path) for _ in range(6)]
    client.read_until(lambda: all(client.body_so_far(stream) for stream in streams), "a begin of each")
    return client


@pytest.mark.parametrize("kind", CASES)
def test_what_was_lent_to_io_processes_that_died_comes_back(serve, kind):
    """More in sum than an application process has. Would it stay lent, the downloads at the end would not be served."""
    server = serve(*CASES[kind], "-w", "1", "--rings", "1", *CLEARTEXT)
    server.expect_clean_stop = False  # those that were killed counted nothing
    apps = processes_of(server, 1)
    for _ in range(5):
        client = borrow_much(server, OF_EACH_KIND[kind])
        kill_and_wait_for_another(server, server.io_processes()[0], 1)
        client.close()
    with connect_http2(server) as client:
        streams = [client.start("/large?2000000") for _ in range(8)]
        assert {len(client.finish(stream).body) for stream in streams} == {2_000_000}
    assert server.app_processes() == apps, "application processes have nothing to do with it"
    assert server.stop() == 0
    server.assert_nothing_alive()


def kill_and_wait_for_another(server: Server, victim: int, count: int) -> None:
    os.kill(victim, signal.SIGKILL)
    server.wait_for_exit_of(victim)
    eventually(lambda: len(set(server.io_processes()) - {victim}) == count, 30, "another I/O process")


class Restless:
    """A client that asks for all kinds of things, and begins anew when its connection is lost."""

    PATHS = ("/hello", "/large?300000", "/sleep?0.01", "/pid")

    def __init__(self, server: Server) -> None:
        self.server, self.lost = server, 0

    def __call__(self, load: Load, number: int) -> None:
        choices = random.Random(number)
        while not load.ending.is_set():
            try:
                self._ask(load, number, choices)
            except (ConnectionError, AssertionError) as error:
                if isinstance(error, AssertionError) and "closed" not in str(error):
                    raise
                self.lost += 1

    def _ask(self, load: Load, number: int, choices: random.Random) -> None:
        http2 = number % 2 == 0
        with connect_http2(self.server) if http2 else self.server.connect(20) as client:
            while not load.ending.is_set():
                if http2:
                    streams = [client.start(choices.choice(self.PATHS)) for _ in range(8)]
                    client.reset(streams.pop())
                    answers = [client.finish(stream) for stream in streams]
                else:
                    answers = [client.request(choices.choice(self.PATHS))]
                assert {answer.status for answer in answers} == {200}
                load.answered[number] += len(answers)


@pytest.mark.parametrize("kind", CASES)
def test_io_processes_die_at_any_moment_and_application_processes_do_not_care(serve, kind):
    server = serve(*CASES[kind], "-w", "2", "--rings", "2", "--metrics-path", "/metrics", *CLEARTEXT)
    server.expect_clean_stop = False
    apps, moments = processes_of(server, 2), random.Random(5)
    client = OverHttp1(server, None)
    before = in_use(client)
    client.close()
    clients = {number: Restless(server) for number in range(4)}
    with Load(clients) as load:
        for round_ in range(8):
            wanted = load.served + moments.randrange(20, 200)  # a moment that the load itself sets
            eventually(lambda wanted=wanted: load.served >= wanted or load.failures, 30, "more answers")
            kill_and_wait_for_another(server, server.io_processes()[round_ % 2], 2)
        wanted = load.served + 200
        eventually(lambda: load.served >= wanted or load.failures, 30, "answers after the last death")
    load.assert_unharmed()
    assert any(client.lost for client in clients.values()), "no death met a request"
    assert server.app_processes() == apps
    assert_at_rest(client, before)
    client.close()
    assert server.stop() == 0
    server.assert_nothing_alive()
