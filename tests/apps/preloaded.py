"""An application that knows where it was imported, and what of that process it still has."""

import os
import random
import socket
import struct
import threading

IMPORTED_BY = os.getpid()
DRAWN = random.random()

if os.environ.get("PRELOADED_BREAKS"):
    raise RuntimeError("this module breaks while it is imported")
if os.environ.get("PRELOADED_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def lie(pid: int) -> None:
    """What a template may say to the supervisor, said by an application: that the copy is somebody else."""
    with socket.socket(fileno=os.dup(3)) as control:
        control.send(struct.pack("=Ii", int(os.environ["PRELOADED_FORKED"]), pid))


if os.environ.get("PRELOADED_LIES"):
    os.register_at_fork(before=lambda: lie(int(os.environ["PRELOADED_LIES"])))


def report() -> str:
    return f"{IMPORTED_BY} {os.getpid()} {os.getppid()} {random.random()} {DRAWN}"


def app(environ, start_response):
    if environ["PATH_INFO"] == "/orphan":
        leave_a_child_behind()
    print(f"asked in {os.getpid()}", flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [report().encode()]


def leave_a_child_behind() -> None:
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(between, 0)


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": report().encode()})
