"""clients_wsgi as an ASGI application, without the page for browsers."""

import hashlib

LARGE = b"0123456789abcdef" * 4096


async def send_all(send, kind, body, *headers):
    fields = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await send_all(send, b"text/plain", f"HTTP/{scope['http_version']}".encode())


async def hints(scope, receive, send):
    link = (b"link", b"</style.css>; rel=preload; as=style")
    await send({"type": "http.response.informational", "status": 103, "headers": [link]})
    await send_all(send, b"text/plain", b"after hints")


async def digest(scope, receive, send):
    total, more = hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        total.update(message["body"])
        more = message["more_body"]
    await send_all(send, b"text/plain", total.hexdigest().encode())


async def large(scope, receive, send):
    left = int(scope["query_string"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % left)]})
    while left > 0:
        await send({"type": "http.response.body", "body": LARGE[:left], "more_body": True})
        left -= len(LARGE)
    await send({"type": "http.response.body"})


async def trailers(scope, receive, send):
    fields = [(b"content-type", b"text/plain"), (b"trailer", b"X-Digest")]
    await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-digest", b"abc")]})


ROUTES = {"/hello": hello, "/hints": hints, "/digest": digest, "/large": large, "/trailers": trailers}


async def app(scope, receive, send):
    if scope["type"] == "http":
        await ROUTES[scope["path"]](scope, receive, send)
