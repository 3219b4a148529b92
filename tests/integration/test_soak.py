"""A long day of a server: honest clients of every kind, hostile ones beside them, and an operator who touches everything.

What each does next is drawn by lot; a failure says the seed. `./dev soak SECONDS` makes the day as long as one likes, and
each another one.
"""

import hashlib
import os
import random
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.exceptions
import pytest

from harness.client import Client, build_request, connect
from harness.http2 import Http2Client, StreamReset, connect_http2
from harness.load import Load
from harness.responses import Response
from harness.server import APPS, PATIENCE, Server
from harness.tls import TlsFiles
from harness.waiting import eventually

sys.path.append(str(APPS))
from soak_wsgi import OCTETS  # noqa: E402 (found by the line above)

SECONDS = float(os.environ.get("UROBOROS_SOAK_SECONDS", 3))
SEED = int(os.environ.get("UROBOROS_SOAK_SEED", 1))
FILE_BYTES = 700_000
# Of everything a size: nothing, one segment, a buffer, an arena's block, more than what is held in memory.
SIZES = [0, 1, 100, 1_400, 16_384, 16_385, 65_536, 70_000, 262_144, 600_000]
READY, RELOADED = r"\bready: listening at ", r"\breloaded: \d+ new"
OPERATION_SECONDS = 30

pytestmark = pytest.mark.timeout(int(SECONDS * 2 + 240 * PATIENCE))


# --- what honest clients ask -----------------------------------------------------------------------------------------


class Request:
    """One that knows its answer. Safe ones may be asked again (RFC 9110 9.2.2)."""

    def __init__(self, lot: random.Random, file: Path) -> None:
        size = lot.choice(SIZES)
        kind = lot.choice(["octets", "stream", "file", "sleep", "digest", "digest", "unread"])
        kind = kind if lot.random() < 0.98 else "fault"
        self.method, self.body, self.status = "GET", None, 200
        self.target, self.answer = f"/{kind}/{size}", OCTETS[:size]
        if kind == "file":
            self.target, self.answer = f"/file/{FILE_BYTES}?{file}", OCTETS[:FILE_BYTES]
        elif kind == "sleep":
            self.target, self.answer = f"/sleep/{lot.randrange(30)}", b""
        elif kind == "fault":
            self.target, self.answer, self.status = "/fault", None, 500
        elif kind in ("digest", "unread"):
            start = lot.randrange(1_000)
            self.method, self.body = "POST", OCTETS[start : start + size]
            self.answer = hashlib.sha256(self.body).hexdigest().encode() if kind == "digest" else b""

    def check(self, response: Response) -> None:
        assert response.status == self.status, f"{self.target}: {response.status} {response.body[:200]!r}"
        assert self.answer is None or response.body == self.answer, f"{self.target}: {len(response.body)} wrong octets"


class Site:
    """Where a day happens: the server, how it is reached, and what may go wrong for an honest client."""

    def __init__(self, server: Server, tls: TlsFiles | None, file: Path) -> None:
        self.server, self.tls, self.file = server, tls, file
        self.has_deaths = False

    def connect(self) -> Client:
        return self.tls.connect(self.server) if self.tls else self.server.connect(OPERATION_SECONDS)

    def connect_http2(self) -> Http2Client:
        return connect_http2(self.server, self.tls)

    def raw(self) -> socket.socket:
        return connect(self.server.address, OPERATION_SECONDS)

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """A process that was killed takes its connections, or its requests, with it."""
        try:
            yield
        except (OSError, EOFError, AssertionError) as error:
            is_wrong = isinstance(error, AssertionError) and not re.search(r": 50[023] |^closed", str(error))
            if is_wrong or isinstance(error, TimeoutError) or not self.has_deaths:
                raise


def chunked(request: Request, lot: random.Random) -> bytes:
    head = f"POST {request.target} HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    parts, at = [head], 0
    while at < len(request.body):
        piece = request.body[at : at + lot.randrange(1, 40_000)]
        parts.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at += len(piece)
    return b"".join([*parts, b"0\r\n\r\n"])


def over_http1(site: Site) -> Callable[[Load, str], None]:
    def one_connection(load: Load, name: str, lot: random.Random) -> None:
        with site.connect() as client:
            for turn in range(lot.randrange(1, 40)):
                batch = [Request(lot, site.file) for _ in range(lot.choice([1, 1, 1, 5]))]
                batch = batch if all(request.body is None for request in batch) else batch[:1]
                for request in batch:
                    is_chunked = request.body is not None and lot.random() < 0.5
                    plain = build_request(request.target, request.method, body=request.body)
                    client.send(chunked(request, lot) if is_chunked else plain, request.method)
                for request in batch:
                    try:
                        response = client.read_response()
                    except OSError as error:
                        error.add_note(f"turn {turn}, {request.method} {request.target} of {len(batch)}")
                        raise
                    request.check(response)
                    load.answered[name] += 1
                    if response.closes:
                        return
                if load.ending.is_set():
                    return

    def ask(load: Load, name: str) -> None:
        lot = random.Random(f"{SEED} {name}")
        while not load.ending.is_set():
            with site.forgiving():
                one_connection(load, name, lot)

    return ask


def over_http2(site: Site) -> Callable[[Load, str], None]:
    def is_unbegun(client: Http2Client, stream: int) -> bool:
        return any(goaway.last_stream_id < stream for goaway in client.goaways)

    def finish(client: Http2Client, stream: int, request: Request) -> bool:
        try:
            request.check(client.finish(stream))
        except ConnectionError as error:
            # A body that nobody read is refused so once the answer is complete (RFC 9113 8.1).
            if isinstance(error, StreamReset) and error.code == 0 and "unread" in request.target:
                return True
            # Who is slow to hear of a GOAWAY begins streams that are refused or get no answer: nothing was done.
            if not is_unbegun(client, stream):
                raise
            return False
        return True

    def one_connection(load: Load, name: str, lot: random.Random) -> None:
        with site.connect_http2() as client:
            for _ in range(lot.randrange(1, 10)):
                requests = [Request(lot, site.file) for _ in range(lot.randrange(1, 9))]
                begun = [(client.start(each.target, each.method, body=each.body), each) for each in requests]
                for stream, request in begun:
                    load.answered[name] += finish(client, stream, request)
                if client.goaways or load.ending.is_set():
                    return

    def ask(load: Load, name: str) -> None:
        lot = random.Random(f"{SEED} {name}")
        while not load.ending.is_set():
            with site.forgiving():
                one_connection(load, name, lot)

    return ask


# --- what hostile clients do -----------------------------------------------------------------------------------------


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def leaves_in_a_head(site: Site, lot: random.Random) -> None:
    with site.connect() as client:
        whole = build_request("/octets/100", headers=[("X-Long", "x" * 3_000)])
        client.send_more(whole[: lot.randrange(len(whole))])
        lot.choice([reset, socket.socket.close])(client.sock)


def leaves_in_an_upload(site: Site, lot: random.Random) -> None:
    with site.connect() as client:
        whole = build_request("/digest", "POST", body=OCTETS[:600_000])
        client.send_more(whole[: lot.randrange(len(whole))])
        lot.choice([reset, socket.socket.close])(client.sock)


def leaves_in_a_download(site: Site, lot: random.Random) -> None:
    with site.connect() as client:
        target = lot.choice(["/octets/600000", "/stream/600000", f"/file/{FILE_BYTES}?{site.file}"])
        client.send_more(build_request(target) * lot.choice([1, 20]))
        for _ in range(lot.randrange(9)):  # less than one response: nobody waits for more
            client.sock.recv(lot.choice([1, 1_000, 65_536]))
        lot.choice([reset, socket.socket.close])(client.sock)


def talks_nonsense(site: Site, lot: random.Random) -> None:
    with site.connect() as client:
        client.send_more(lot.choice([
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            lot.randbytes(lot.randrange(1, 3_000)),
            b"\r\n" * lot.randrange(2_000),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + lot.randbytes(100),
        ]))  # fmt: skip
        client.sock.shutdown(socket.SHUT_WR)
        client.read_until_close()


def breaks_off_a_handshake(site: Site, lot: random.Random) -> None:
    with site.raw() as sock:
        sock.sendall(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[: lot.randrange(1, 12)] + lot.randbytes(lot.randrange(99))
        )
        lot.choice([reset, socket.socket.close])(sock)


def takes_streams_back(site: Site, lot: random.Random) -> None:
    with site.connect_http2() as client:
        targets = ["/octets/600000", "/stream/70000", "/sleep/20", f"/file/{FILE_BYTES}?{site.file}"]
        streams = [client.start(lot.choice(targets)) for _ in range(lot.randrange(1, 20))]
        streams += [client.start("/digest/0", "POST", body=OCTETS[:1_000], end=False) for _ in range(3)]
        for stream in lot.sample(streams, lot.randrange(len(streams))):
            client.reset(stream)
        for _ in range(lot.randrange(5)):
            client.pump(1)
        lot.choice([reset, socket.socket.close])(client.sock)


HOSTILE = [
    leaves_in_a_head,
    leaves_in_an_upload,
    leaves_in_a_download,
    talks_nonsense,
    breaks_off_a_handshake,
    takes_streams_back,
]


def with_malice(site: Site) -> Callable[[Load, str], None]:
    """Whatever becomes of them, they never wait for long."""

    def ask(load: Load, name: str) -> None:
        lot = random.Random(f"{SEED} {name}")
        while not load.ending.is_set():
            with suppress(OSError, h2.exceptions.H2Error):
                lot.choice(HOSTILE)(site, lot)
            load.answered[name] += 1

    return ask


# --- what the operator does ------------------------------------------------------------------------------------------


def reload(server: Server) -> None:
    since = server.log_position
    server.send_signal(signal.SIGHUP)
    server.wait_for_log(RELOADED, 30, since=since)


def upgrade(server: Server) -> None:
    since = server.log_position
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log(READY, 60, since=since)


def another_worker(server: Server) -> None:
    server.send_signal(signal.SIGTTIN)


def a_worker_less(server: Server) -> None:
    server.send_signal(signal.SIGTTOU)


def reopen_logs(server: Server) -> None:
    server.send_signal(signal.SIGUSR1)


def kill_one(server: Server, processes: Callable[[], list[int]]) -> None:
    """The next death comes when this one is made good: how long that takes grows with their number. A process that was
    to go anyway is not replaced."""
    before = eventually(processes, what="a process to kill")
    with suppress(ProcessLookupError):  # it has gone by itself meanwhile
        os.kill(before[0], signal.SIGKILL)
    server.wait_for_exit_of(before[0])
    eventually(lambda: len(processes()) >= min(len(before), 2), 60, "as many processes as before")


def kill_application(server: Server) -> None:
    kill_one(server, server.app_processes)


def kill_io(server: Server) -> None:
    kill_one(server, server.io_processes)


PEACEFUL = [reload, upgrade, another_worker, a_worker_less, reopen_logs]
DEADLY = [reload, another_worker, kill_application, kill_io]


@pytest.fixture
def site(request, serve, tls, tmp_path) -> Callable[..., Site]:
    file = tmp_path / "file"
    file.write_bytes(OCTETS[:FILE_BYTES])

    def start(application: str, is_tls: bool, *others: str) -> Site:
        options = ("-w", "2", "--threads", "4", "--rings", "2", "--access-logfile", str(tmp_path / "access.log"))
        # Uploads that nobody finishes are waited for at the end.
        options += ("--graceful-timeout", "20")
        options += tls.ecdsa.options if is_tls else ("--http2-cleartext", "prior-knowledge")
        return Site(serve(f"{application}:app", *options, *others), tls if is_tls else None, file)

    return start


def spend_the_day(site: Site, events: list[Callable[[Server], None]], capsys) -> None:
    clients = {f"HTTP/1.1 {i}": over_http1(site) for i in range(3)}
    clients |= {f"HTTP/2 {i}": over_http2(site) for i in range(2)}
    clients |= {f"hostile {i}": with_malice(site) for i in range(2)}
    lot, happened, end = random.Random(f"{SEED} {site.server.arguments[1]}"), [], time.monotonic() + SECONDS
    waited: list[float] = []
    try:
        with Load(clients) as load:
            load.go_on(1, OPERATION_SECONDS)
            while not happened or time.monotonic() < end:
                event = lot.choice(events)
                started = time.monotonic()
                event(site.server)
                happened.append((time.monotonic() - started, event.__name__))
                load.go_on(1, OPERATION_SECONDS)
                waited.append(time.monotonic() - started - happened[-1][0])
        load.assert_unharmed()
    except BaseException:
        print(f"UROBOROS_SOAK_SEED={SEED}, {load.answered}, events: {happened}, {waited}")
        raise
    with capsys.disabled():
        slowest, name = max(happened)
        print(
            f"\n{load.served} requests beside {len(happened)} events, of which {name} took {slowest:.1f} s; "
            f"somebody had no answer for {max(waited):.1f} s; seed {SEED}"
        )


@pytest.mark.parametrize("is_tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("application", ["soak_wsgi", "soak_asgi"])
def test_a_day_without_deaths_fails_no_request(site, application, is_tls, capsys):
    spend_the_day(site(application, is_tls), PEACEFUL, capsys)


@pytest.mark.parametrize("application", ["soak_wsgi", "soak_asgi"])
def test_a_day_of_processes_that_retire_fails_no_request(site, application, capsys):
    options = ("--max-requests", "150", "--max-requests-jitter", "50", "--preload")
    spend_the_day(site(application, True, *options), PEACEFUL, capsys)


@pytest.mark.parametrize("is_tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("application", ["soak_wsgi", "soak_asgi"])
def test_a_day_with_deaths_costs_what_the_dead_had_in_hand(site, application, is_tls, capsys):
    place = site(application, is_tls)
    place.has_deaths = True
    spend_the_day(place, DEADLY, capsys)
    place.has_deaths = False
    eventually(lambda: len(place.server.io_processes()) == 2 and place.server.app_processes(), 20, "all processes")
    with Load({"after it": over_http1(place)}) as load:
        load.go_on(20, OPERATION_SECONDS)
    load.assert_unharmed()
