"""Waiting for a condition that no descriptor announces."""

import json
import time
from collections.abc import Callable
from typing import TypeVar

from harness.client import Client
from harness.server import Server, allowed

T = TypeVar("T")


def eventually(probe: Callable[[], T], timeout: float = 10, what: str = "the condition") -> T:
    """Asks again and again until the answer is true. The pause only saves CPU; nothing depends on its length."""
    deadline = time.monotonic() + allowed(timeout)
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true within {allowed(timeout)} s"
        time.sleep(0.01)


def events(server: Server) -> list[str]:
    """What the application noted (tests/apps/*_cases.py), and a clean slate for the next test."""
    return json.loads(server.get("/events?clear").body)


def wait_for_event(server: Server, event: str, timeout: float = 10) -> None:
    eventually(lambda: event in json.loads(server.get("/events").body), timeout, f"event {event!r}")


def read_until(client: Client, needle: bytes) -> bytes:
    """Raw bytes up to and including the needle; they stay out of the response reader."""
    data = b""
    while needle not in data:
        more = client.sock.recv(65536)
        assert more, f"closed before {needle!r} came: {data[-300:]!r}"
        data += more
    return data
