"""The ASGI application of perf/files.py: a file by its path, by pathsend."""

import os

from plain_asgi import lifespan

ROOT = os.environ["PERF_FILES"]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = ROOT + (scope["path"] if scope["path"] != "/" else "/index")
    headers = [(b"content-length", str(os.stat(path).st_size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.pathsend", "path": path})
