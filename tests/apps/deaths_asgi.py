"""deaths_wsgi as an ASGI application. At the gate of a death the whole event loop stands: what comes there meanwhile is
not begun. /hold leaves its loop turning."""

import asyncio
import os
import signal
import sys

PIECE = b"piece of body. "


def gate(word, scope):
    print(f"{word} in {os.getpid()}", file=sys.stderr, flush=True)
    with open(scope["query_string"], "rb") as fifo:
        fifo.read(1)


async def dying(step, scope, receive, send):
    async def body(more):
        await send({"type": "http.response.body", "body": PIECE, "more_body": more})

    def reached(here):
        if step == here:
            gate("at the gate", scope)
            os.kill(os.getpid(), signal.SIGKILL)

    reached("begin")
    await receive()
    reached("body")
    length = str(2 * len(PIECE)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    reached("head")
    await body(more=True)
    reached("piece")
    await body(more=True)
    reached("last")
    await send({"type": "http.response.body"})
    reached("close")


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"].startswith("/die/"):
        await dying(scope["path"].removeprefix("/die/"), scope, receive, send)
        return
    if scope["path"] == "/hold":
        await asyncio.to_thread(gate, "holding", scope)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
