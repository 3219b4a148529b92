"""Says what arrived, as JSON. Text is latin-1, header names are lower case with dashes.

The path /read-none leaves the body unread."""

import hashlib
import json


class Disconnected(Exception):
    pass


async def read_body(scope, receive):
    digest, length, more = hashlib.sha256(), 0, scope["path"] != "/read-none"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    return digest.hexdigest(), length


async def app(scope, receive, send):
    assert scope["type"] == "http"
    try:
        digest, length = await read_body(scope, receive)
    except Disconnected:
        return
    answer = {
        "method": scope["method"],
        "path": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body_len": length,
        "body_sha256": digest,
    }
    text = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
