"""What an ASGI application sees of a request, at any path; /case/... and /protocol/... are those of the other files."""

import hashlib
import json

import asgi_cases
import protocol_asgi


def shown(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else f"<{type(value).__name__}>"


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await asgi_cases.app(scope, receive, send)
    for prefix, other in (("/case", asgi_cases.app), ("/protocol", protocol_asgi.application)):
        if scope["path"].startswith(prefix + "/"):
            scope["path"] = scope["path"].removeprefix(prefix)
            return await other(scope, receive, send)
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message["body"])
        length, more = length + len(message["body"]), message["more_body"]
    answer = {"request": shown(dict(scope)), "body_bytes": length, "body": digest.hexdigest()}
    await asgi_cases.plain(send, json.dumps(answer))
