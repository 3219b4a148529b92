"""Sends files by the extensions of ASGI: `path`, `offset` and `count`; `way` is how."""

import asyncio
import urllib.parse

errors = []


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    extensions = scope["extensions"]
    if scope["path"] == "/events":
        body = "\n".join([*errors, *sorted(name for name in extensions if "send" in name)])
        errors.clear()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})
        return
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    await send({"type": "http.response.start", "status": int(query.get("status", 200)), "headers": headers})
    try:
        await WAYS[query.get("way", "path")](send, query)
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
        raise


async def by_path(send, query):
    await send({"type": "http.response.pathsend", "path": query["path"]})


def zero_copy(file, query, **others):
    numbers = {name: int(query[name]) for name in ("offset", "count") if name in query}
    return {"type": "http.response.zerocopysend", "file": file, **numbers, **others}


async def by_descriptor(send, query):
    with open(query["path"], "rb", buffering=0) as file:
        await send(zero_copy(file, query))


async def in_parts(send, query):
    """A body, a part, a body, the next part where the first ended, and a last body."""
    with open(query["path"], "rb", buffering=0) as file:
        await send({"type": "http.response.body", "body": b"<", "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "count": 200_000, "more_body": True})
        await send({"type": "http.response.body", "body": b"|" * 100_000, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "count": 100, "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file, "count": 300_000, "more_body": True})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b">"})


async def at_once(send, query):
    """Many parts, of which none waits for the one before."""
    with open(query["path"], "rb", buffering=0) as file:
        parts = [zero_copy(file, query, offset=at, count=50_000, more_body=True) for at in range(0, 2_500_000, 50_000)]
        await asyncio.gather(*(send(part) for part in parts))
    await send({"type": "http.response.body"})


WAYS = {"path": by_path, "descriptor": by_descriptor, "parts": in_parts, "at_once": at_once}
