"""soak_wsgi as an ASGI application."""

import asyncio
import hashlib

from soak_wsgi import OCTETS, pieces


async def digest(receive):
    total, more = hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        total.update(message["body"])
        more = message["more_body"]
    return total.hexdigest().encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    _, kind, number = f"{scope['path']}/".split("/", 3)[:3]
    if kind == "fault":
        raise ValueError("a fault of the application")
    headers, body = [], b""
    if kind == "octets":
        body = OCTETS[: int(number)]
    elif kind == "digest":
        body = await digest(receive)
    elif kind == "sleep":
        await asyncio.sleep(int(number) / 1000)
    if kind == "file":
        headers = [(b"content-length", number.encode())]
    elif kind != "stream":
        headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if kind == "file":
        await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})
        return
    if kind == "stream":
        for piece in pieces(int(number)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": body})
