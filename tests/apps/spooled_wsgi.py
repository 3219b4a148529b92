"""Reads long bodies in the ways that the query asks for, dies with them, and says what it can do to the file they are in."""

import fcntl
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl


def perform(source: Any, steps: list[tuple[str, str]]) -> list[bytes]:
    """What came of each step; the test does the same with a BytesIO."""
    results: list[bytes] = []
    for verb, value in steps:
        size = int(value)
        if verb == "lines":
            results += source.readlines(size)
        elif verb == "next":
            results += [line for _, line in zip(range(size), source)]
        else:
            results.append(getattr(source, verb)(size))
    return results


def summary(results: list[bytes]) -> list[list[object]]:
    return [[len(result), hashlib.sha256(result).hexdigest()] for result in results]


def read(environ) -> list[list[object]]:
    return summary(perform(environ["wsgi.input"], parse_qsl(environ["QUERY_STRING"])))


def gate(environ) -> str:
    """Returns when the test has opened the other end of the FIFO."""
    print(f"at the gate in {os.getpid()}", file=sys.stderr, flush=True)
    with open(environ["QUERY_STRING"], "rb") as fifo:
        fifo.read(1)
    return "opened"


def die(environ) -> None:
    environ["wsgi.input"].read(2 << 20)
    os.kill(os.getpid(), signal.SIGKILL)


def files(_environ) -> list[list[object]]:
    """The nameless files that this process has open, and whether it could write to them."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
            mode = fcntl.fcntl(int(number), fcntl.F_GETFL) & os.O_ACCMODE
        except OSError:
            continue  # the descriptor of the directory itself
        if "(deleted)" in name and "memfd" not in name:
            found.append([name, mode == os.O_RDONLY])
    return found


def descriptors(_environ) -> int:
    return len(os.listdir("/proc/self/fd"))


PATHS: dict[str, Callable[[Any], object]] = {
    "/read": read,
    "/gate": gate,
    "/die": die,
    "/files": files,
    "/descriptors": descriptors,
}


def app(environ, start_response):
    text = json.dumps(PATHS[environ["PATH_INFO"]](environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
