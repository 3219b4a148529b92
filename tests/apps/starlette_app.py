"""A Starlette application: routes, middleware of both kinds, files, streaming uploads."""

import hashlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "on"
        return response


async def index(request):
    return PlainTextResponse("Hello from Starlette")


async def digest(request):
    """Streams the request body through a hash."""
    total, size = hashlib.sha256(), 0
    async for part in request.stream():
        total.update(part)
        size += len(part)
    return JSONResponse({"sha256": total.hexdigest(), "size": size})


async def stream(request):
    async def parts():
        for number in range(100):
            yield f"line {number}\n" * 20

    return StreamingResponse(parts(), media_type="text/plain")


async def file(request):
    return FileResponse(Path(__file__), media_type="text/x-python")


async def error(request):
    raise RuntimeError("Starlette endpoint failed")


async def mounted(request):
    return JSONResponse({"root_path": request.scope["root_path"], "path": request.scope["path"]})


app = Starlette(
    routes=[
        Route("/", index),
        Route("/digest", digest, methods=["POST"]),
        Route("/stream", stream),
        Route("/file", file),
        Route("/error", error),
        Mount("/sub", routes=[Route("/here", mounted)]),
    ],
    middleware=[Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=1000)],
)
