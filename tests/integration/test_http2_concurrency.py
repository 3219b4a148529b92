"""One HTTP/2 connection over several application processes: nobody waits for a neighbour, and nothing is lost."""

import json
import os
import signal
import time

import h2.errors
import pytest

from harness.http2 import Http2Client, StreamReset, connect_http2
from harness.load import Load
from harness.server import LATENESS, Server
from harness.waiting import eventually

CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
KINDS = {
    "wsgi": ("wsgi_cases:app", "--threads", "4"),
    "wsgi-sync-threads-1": ("wsgi_cases:app", "--threads", "1", "-w", "2"),
    "asgi": ("asgi_cases:app",),
}


@pytest.fixture(params=["clear", "tls"])
def way(request, tls):
    """(options of the daemon, how a client connects)"""
    if request.param == "clear":
        return CLEARTEXT, connect_http2
    return tls.ecdsa.options, lambda server, **options: connect_http2(server, tls, **options)


@pytest.fixture(params=KINDS)
def server(request, way, serve):
    return serve(*KINDS[request.param], *way[0])


def pids_of(server: Server, processes: int) -> list[int]:
    eventually(lambda: len(server.app_processes()) == processes, what=f"{processes} application processes")
    return server.app_processes()


# --- beside each other -----------------------------------------------------------------------------------------------


def test_a_slow_stream_delays_no_other(server, way):
    with way[1](server) as client:
        client.request("/hello")
        slow = client.start("/sleep?4")
        for count in range(40):  # had one of them to wait for the slow one, that one would end before
            assert client.request("/hello").status == 200
            assert slow not in client.ends, f"{count} were answered beside it"
        assert client.finish(slow).text == "slept\n"


def test_a_stalled_reader_of_one_stream_delays_no_other(server, way):
    """The window of one stream is used up; the connection's is not."""
    from h2.settings import SettingCodes

    with way[1](server, settings={SettingCodes.INITIAL_WINDOW_SIZE: 16384}) as client:
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        client.acknowledges = False
        stuck = client.start("/large?1000000")
        client.read_until(lambda: len(client.body_so_far(stuck)) >= 16384, "the first window")
        for _ in range(20):  # the stuck one waits for us: nothing behind it would ever come
            assert client.request("/hello").status == 200
        assert len(client.body_so_far(stuck)) == 16384
        client.acknowledges = True
        client.h2.increment_flow_control_window(1 << 20, stuck)
        client.flush()
        assert len(client.finish(stuck).body) == 1_000_000


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_streams_of_one_connection_go_to_all_processes(serve, way, kind):
    server = serve(*KINDS[kind], "-w", "2", *way[0])
    pids = pids_of(server, 2)
    seen: set[int] = set()

    def burst(client) -> bool:
        """Sleeping streams make a process the busier one, while the client is quicker than they are."""
        streams = [client.start("/sleep?0.2") for _ in range(8)] + [client.start("/pid") for _ in range(92)]
        seen.update(int(client.finish(stream).text.split()[0]) for stream in streams[8:])
        for stream in streams[:8]:
            client.finish(stream)
        return seen == set(pids)

    with way[1](server) as client:
        eventually(lambda: burst(client), what=f"an answer of each of {pids}")


def test_streams_that_wait_for_each_other(serve, way):
    """What one stream waits for another one brings: with one after the other this would hang."""
    server = serve("wsgi_cases:app", "--threads", "2", *way[0])
    with way[1](server) as client:
        waiting = client.start("/wait?a")
        assert client.request("/open?a").text == "open\n"
        assert client.finish(waiting).text.startswith("True ")


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_killed_process_costs_what_it_had_begun(serve, way, kind):
    server = serve(*KINDS[kind], "-w", "2", *way[0])
    pids = pids_of(server, 2)
    path = {"wsgi": "/closing_endless", "asgi": "/endless"}[kind]
    with way[1](server, acknowledges=False) as client:
        client.h2.increment_flow_control_window(1 << 20)  # for the others, when the endless ones have filled theirs
        client.flush()
        sleepers = [client.start("/sleep?3") for _ in range(4)]  # without a head
        begun = [client.start(path) for _ in range(2)]  # with one
        client.read_until(lambda: all(client.body_so_far(stream) for stream in begun), "the begin of the bodies")
        os.kill(pids[0], signal.SIGKILL)
        outcomes = [outcome_of(client, stream) for stream in sleepers]
        # What the other process has is served, what the killed one had is told, and nothing else happens.
        assert set(outcomes) == {"slept\n", 502}, outcomes
        lost = [client.reset_code(stream) for stream in begun]
        assert set(lost) == {None, h2.errors.ErrorCodes.INTERNAL_ERROR}, lost
        for stream, code in zip(begun, lost, strict=True):
            if code is None:
                client.reset(stream)
        assert client.request("/hello").status == 200  # the same connection lives
        assert not client.goaways
    server.wait_for_log(rf"app \d+ \(pid {pids[0]}\)")


def outcome_of(client: Http2Client, stream: int) -> object:
    try:
        response = client.finish(stream)
    except StreamReset as reset:
        return f"reset {reset.code}"
    return response.text if response.status == 200 else response.status


# --- reload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_reload_under_load_loses_nothing(serve, way, kind):
    server = serve(*KINDS[kind], "-w", "2", *way[0])
    old = pids_of(server, 2)

    def ask(load: Load, name: int) -> None:
        with way[1](server) as client:
            while not load.ending.is_set():
                streams = [client.start(path) for path in ("/hello", "/sleep?0.02", "/large?100000", "/pid") * 3]
                responses = [client.finish(stream) for stream in streams]
                assert {response.status for response in responses} == {200}
                load.answered[name] += len(responses)
            assert not client.goaways

    with Load(dict.fromkeys(range(3), ask)) as load:
        for _ in range(2):
            before = server.log_position
            server.send_signal(signal.SIGHUP)
            eventually(lambda old=old: not set(server.app_processes()) & set(old), what="other processes")
            eventually(lambda: len(server.app_processes()) == 2, what="two of them")
            old = server.app_processes()
            assert len(server.lines) > before
            load.go_on(answers=1)
    load.assert_unharmed()


# --- stop ------------------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_told_to_go_and_the_stop_is_prompt(server, way):
    with way[1](server) as client:
        assert client.request("/hello").status == 200
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        client.read_until(lambda: client.is_closed, "the end")
        assert server.wait() == 0
        assert time.monotonic() - begin < LATENESS
    check_goaways(client, last=1)
    server.assert_nothing_alive()


def test_a_busy_connection_is_served_to_its_end(server, way):
    with way[1](server) as client:
        stream = client.start("/sleep?1.5")
        server.wait_for_log("sleeping")
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert client.finish(stream).text == "slept\n"
        client.read_until(lambda: client.is_closed, "the end")
        assert server.wait() == 0
        assert time.monotonic() - begin < 1.5 + LATENESS
    check_goaways(client, last=stream)
    server.assert_nothing_alive()


def check_goaways(client: Http2Client, last: int) -> None:
    """RFC 9113 6.8: first a warning that names every stream there may be, then the last one that was served."""
    said = [(goaway.error_code, goaway.last_stream_id) for goaway in client.goaways]
    assert said == [(0, 2**31 - 1), (0, last)], said


def test_what_crosses_the_first_goaway_is_served(server, way):
    """A client that asks while it is told to go still gets its answer."""
    with way[1](server) as client:
        slow = client.start("/sleep?1")
        server.wait_for_log("sleeping")
        server.send_signal(signal.SIGTERM)
        late = client.start("/hello")  # may be on its way before the client can know
        assert client.finish(slow).text == "slept\n"
        assert outcome_of(client, late) in ("hello\n", "reset 7")  # served, or safe to be tried again
        client.read_until(lambda: client.is_closed, "the end")
    assert server.wait() == 0


def test_the_counts_of_many_connections_are_zero_at_the_end(serve, way):
    server = serve("wsgi_cases:app", "--threads", "4", *way[0])
    clients = [way[1](server) for _ in range(30)]
    for client in clients:
        streams = [client.start("/hello") for _ in range(5)]
        assert {client.finish(stream).status for stream in streams} == {200}
    assert json.loads(clients[0].request("/environ").body)["SERVER_PROTOCOL"] == "HTTP/2.0"
    for client in clients[::2]:
        client.close()  # without a word
    server.send_signal(signal.SIGTERM)
    for client in clients[1::2]:
        client.read_until(lambda client=client: client.is_closed, "the end")
        client.close()
    assert server.wait() == 0
    server.assert_nothing_alive()
