"""uploads_wsgi as an ASGI application."""

import asyncio
import hashlib
import sys

GATES: dict[bytes, asyncio.Event] = {}


async def digest(receive):
    total, more = hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        total.update(message["body"])
        more = message["more_body"]
    return total.hexdigest()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path, name, body = scope["path"], scope["query_string"], "here"
    if path == "/open":
        GATES.setdefault(name, asyncio.Event()).set()
    elif path == "/later":
        print(f"waiting for {name.decode()}", file=sys.stderr, flush=True)
        await GATES.setdefault(name, asyncio.Event()).wait()
        body = await digest(receive)
    elif path == "/digest":
        body = await digest(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body.encode()})
