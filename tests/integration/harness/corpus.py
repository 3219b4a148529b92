"""The raw HTTP/1 cases of tests/vectors/http1/cases.jsonl: how to send one, and whether the answers are right."""

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import Iterable
from pathlib import Path

from harness.client import Address
from harness.responses import BadResponse, Response, ResponseReader

CASES = Path(__file__).resolve().parents[2] / "vectors" / "http1" / "cases.jsonl"
FOLLOW_UP = "/follow-up"
FOLLOW_UP_REQUEST = f"GET {FOLLOW_UP} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
CUT_PAUSE = 0.004


class Wrong(AssertionError):
    """The server answered a case in a way the case does not allow."""


def load() -> list[dict]:
    return [json.loads(line) for line in CASES.read_text().splitlines()]


def raw_bytes(case: dict) -> bytes:
    if "raw_parts" in case:
        return "".join(text * count for text, count in case["raw_parts"]).encode("latin-1")
    return case["raw"].encode("latin-1")


def own_pieces(case: dict) -> list[tuple[bytes, float]]:
    """The pieces to write and the pause after each, as the case itself asks."""
    raw, send = raw_bytes(case), case.get("send")
    if send == "bytes":
        return one_byte_pieces(raw)
    if send is None:
        return [(raw, 0)]
    pieces, start = [], 0
    for offset, pause_ms in send:
        pieces.append((raw[start:offset], pause_ms / 1000))
        start = offset
    return [*pieces, (raw[start:], 0)]


def one_byte_pieces(raw: bytes) -> list[tuple[bytes, float]]:
    return [(raw[i : i + 1], 0) for i in range(len(raw))]


def cut_pieces(raw: bytes, offset: int) -> list[tuple[bytes, float]]:
    return [(raw[:offset], CUT_PAUSE), (raw[offset:], 0)]


class Exchange:
    """One connection: sends the pieces while it reads what comes back."""

    def __init__(self, address: Address, patience: float, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.patience = patience
        self.tls = tls
        self.reader = ResponseReader()
        self.closed = False
        self.sent_last = 0.0

    async def open(self) -> None:
        # The cases name all kinds of hosts: over TLS the client names none, as an old one would.
        name = "" if self.tls else None
        self.stream, self.writer = await asyncio.open_connection(*self.address, ssl=self.tls, server_hostname=name)

    def close(self) -> None:
        self.writer.close()

    async def send(self, pieces: Iterable[tuple[bytes, float]]) -> None:
        """Stops quietly when the server has gone: what it said before is judged."""
        try:
            for piece, pause in pieces:
                if self.closed:
                    return
                self.writer.write(piece)
                self.sent_last = time.monotonic()
                await self.writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            return

    def send_eof(self) -> None:
        try:
            self.writer.write_eof()
        except OSError:
            pass

    async def response(self) -> Response | None:
        """The next response, or None when the connection ended instead."""
        while True:
            response = self.reader.next(self.closed)
            if response is not None:
                return response
            if self.closed:
                return None
            await self._receive()

    async def _receive(self) -> None:
        reading, begun = asyncio.ensure_future(self.stream.read(65536)), time.monotonic()
        try:
            # Who still sends cannot expect an answer: many cases in small pieces take a busy machine long.
            while (left := max(begun, self.sent_last) + self.patience - time.monotonic()) > 0 and not reading.done():
                await asyncio.wait({reading}, timeout=left)
            if not reading.done():
                raise Wrong(f"no answer within {self.patience} s; unread: {self.reader.buffer[:200]!r}")
            data = reading.result()
        except ConnectionError:
            data = b""
        finally:
            reading.cancel()
        self.reader.feed(data)
        self.closed = not data

    async def expect_end(self) -> None:
        while not self.closed:
            await self._receive()
        if self.reader.buffer:
            raise Wrong(f"bytes after the last response: {self.reader.buffer[:200]!r}")


def _one_of(found: object, allowed: object) -> bool:
    return found in allowed if isinstance(allowed, list) else found == allowed


def _check_echo(expected: dict, echo: dict) -> None:
    for key in ("method", "path", "query"):
        if key in expected and not _one_of(echo[key], expected[key]):
            raise Wrong(f"{key} is {echo[key]!r}, not {expected[key]!r}")
    body = "".join(text * count for text, count in expected.get("body_parts", [])) or expected.get("body")
    if body is not None:
        raw = body.encode("latin-1")
        if echo["body_len"] != len(raw) or echo["body_sha256"] != hashlib.sha256(raw).hexdigest():
            raise Wrong(f"the body of {echo['body_len']} bytes is not the one sent ({len(raw)})")
    _check_headers(expected, echo["headers"])


def _check_headers(expected: dict, headers: list) -> None:
    for name, allowed in expected.get("headers", []):
        # An ASGI application sees repeated fields as they came; what counts is their combined value.
        joined = [value for key, value in headers if key == name]
        separator = "; " if name == "cookie" else ", "
        if not _one_of(separator.join(joined), allowed):
            raise Wrong(f"{name} is {joined!r}, not {allowed!r}")
    for name in expected.get("absent", []):
        if any(key == name for key, _ in headers):
            raise Wrong(f"{name} reached the application")
    for name, value in expected.get("unlike", []):
        if [name, value] in headers:
            raise Wrong(f"{name}: {value} reached the application")


def check_response(expected: dict, response: Response) -> None:
    if response.status not in expected.get("status", [200]):
        raise Wrong(f"status {response.status}, allowed {expected.get('status', [200])}: {response.body[:200]!r}")
    if expected.get("no_interim") and response.interim:
        raise Wrong(f"an interim {response.interim[0].status} came first")
    if expected.get("any_echo"):
        return
    if expected.get("no_body"):
        if response.body:
            raise Wrong("a response to HEAD has a body")
        return
    _check_echo(expected, json.loads(response.body))


def _expect_methods(reader: ResponseReader, expected: list[dict]) -> None:
    for one in expected:
        reader.expect(one.get("method", "GET"))


async def _accept(case: dict, exchange: Exchange) -> None:
    for number, expected in enumerate(case["responses"]):
        response = await exchange.response()
        if response is None:
            raise Wrong(f"closed instead of response {number + 1}")
        if response.status in case.get("or_reject", []):
            return
        check_response(expected, response)
    await _after(case, exchange)


async def _after(case: dict, exchange: Exchange) -> None:
    then = case.get("then", "any")
    if then == "close":
        await exchange.expect_end()
        return
    # An early answer may overtake the rest of the request, which has to be out before the next one.
    await exchange.sending
    await asyncio.wait({exchange.sending})  # an answer may come before all of the case has been sent
    await exchange.send([(FOLLOW_UP_REQUEST, 0)])
    response = await exchange.response()
    if response is None and then == "any":
        return
    if response is None or response.status != 200 or json.loads(response.body)["path"] != FOLLOW_UP:
        raise Wrong(f"the follow-up request got {response}")


async def _reject(case: dict, exchange: Exchange) -> None:
    for expected in case.get("before", []):
        response = await exchange.response()
        if response is None:
            raise Wrong("closed before the good part was answered")
        check_response(expected, response)
    response = await exchange.response()
    if response is None:
        if not case.get("silent"):
            raise Wrong(f"closed without an answer, expected {case['status']}")
        return
    if response.status not in case["status"]:
        raise Wrong(f"status {response.status}, allowed {case['status']}: {response.body[:200]!r}")
    await _after(case, exchange)


async def _close(case: dict, exchange: Exchange) -> None:
    for expected in case.get("before", []):
        response = await exchange.response()
        if response is None:
            raise Wrong("closed before the good part was answered")
        check_response(expected, response)
    while (response := await exchange.response()) is not None:
        if response.status < 400:
            raise Wrong(f"status {response.status} for a request that must not be served: {response.body[:200]!r}")


JUDGES = {"accept": _accept, "reject": _reject, "close": _close}


async def run_case(
    case: dict, pieces: list[tuple[bytes, float]], address: Address, patience: float, tls: ssl.SSLContext | None = None
) -> None:
    exchange = Exchange(address, patience, tls)
    await exchange.open()
    _expect_methods(exchange.reader, [*case.get("before", []), *case.get("responses", [])])
    exchange.sending = asyncio.ensure_future(_send_all(case, pieces, exchange))
    try:
        await JUDGES[case["class"]](case, exchange)
    except BadResponse as error:
        raise Wrong(str(error)) from None
    finally:
        exchange.sending.cancel()
        exchange.close()


async def _send_all(case: dict, pieces: list[tuple[bytes, float]], exchange: Exchange) -> None:
    await exchange.send(pieces)
    if case.get("eof"):
        exchange.send_eof()


async def run_all(
    runs: Iterable[tuple[str, dict, list[tuple[bytes, float]]]],
    address: Address,
    patience: float,
    at_once: int = 128,
    tls: ssl.SSLContext | None = None,
) -> dict[str, str]:
    """Runs all (label, case, pieces) and returns what went wrong, by label."""
    wrong: dict[str, str] = {}
    free = asyncio.Semaphore(at_once)

    async def one(label: str, case: dict, pieces: list[tuple[bytes, float]]) -> None:
        try:
            await run_case(case, pieces, address, patience, tls)
        except (Wrong, OSError) as error:
            wrong[label] = f"{type(error).__name__}: {error}"
        finally:
            free.release()

    tasks = set()
    for run in runs:
        await free.acquire()
        task = asyncio.ensure_future(one(*run))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.gather(*tasks)
    return wrong
