"""The ASGI application of the measurements: hello, 10 KB out, echo, 1 GiB either way."""

import hashlib

HELLO = b"Hello, World!"
TEN_KB = b"x" * 10_000
PIECE = bytes(range(256)) * 256


async def answer(send, content_type, body):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await answer(send, b"text/plain", HELLO)


async def ten_kb(scope, receive, send):
    await answer(send, b"text/plain", TEN_KB)


async def body_pieces(receive):
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def echo(scope, receive, send):
    pieces = [piece async for piece in body_pieces(receive)]
    await answer(send, b"application/octet-stream", pieces[0] if len(pieces) == 1 else b"".join(pieces))


async def download(scope, receive, send):
    pieces = int(scope["query_string"])
    headers = [(b"content-length", str(pieces * len(PIECE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for left in range(pieces - 1, -1, -1):
        await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})


async def upload(scope, receive, send):
    digest = hashlib.sha256() if scope["query_string"] == b"sha256" else None
    count = 0
    async for piece in body_pieces(receive):
        count += len(piece)
        if digest:
            digest.update(piece)
    await answer(send, b"text/plain", f"{count} {digest.hexdigest() if digest else '-'}".encode())


ROUTES = {"/": hello, "/10k": ten_kb, "/echo": echo, "/download": download, "/upload": upload}


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await ROUTES[scope["path"]](scope, receive, send)
