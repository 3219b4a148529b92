"""Kills its own process at a chosen step of a response: /die/STEP?FIFO, when the test opens the FIFO.

/hold?FIFO takes a thread for as long as the test likes. Both say in the log that they are at their gate.
"""

import os
import signal
import sys

PIECE = b"piece of body. "


def gate(word, environ):
    """Returns when the test has opened the other end; nothing is polled."""
    print(f"{word} in {os.getpid()}", file=sys.stderr, flush=True)
    with open(environ["QUERY_STRING"], "rb") as fifo:
        fifo.read(1)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """Two pieces; what the length says of them is true, so that after the second nothing is missing but the end."""

    def __init__(self, step, environ):
        self.step, self.environ, self.count = step, environ, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == {"head": 0, "piece": 1, "last": 2}.get(self.step):
            gate("at the gate", self.environ)
            die()
        if self.count == 2:
            raise StopIteration
        self.count += 1
        return PIECE

    def close(self):
        if self.step == "close":
            gate("at the gate", self.environ)
            die()


def dying(step, environ, start_response):
    if step == "body":
        environ["wsgi.input"].read(1)
    if step in ("begin", "body"):
        gate("at the gate", environ)
        die()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(2 * len(PIECE)))])
    return Dying(step, environ)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/die/"):
        return dying(path.removeprefix("/die/"), environ, start_response)
    if path == "/hold":
        gate("holding", environ)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
