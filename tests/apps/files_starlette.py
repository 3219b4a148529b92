"""Starlette's FileResponse: by pathsend where that is offered, also from behind a middleware."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "on"
        return response


async def file(request):
    return FileResponse(request.query_params["path"], media_type="application/octet-stream")


stamped = Starlette(routes=[Route("/", file)], middleware=[Middleware(Stamp)])
app = Starlette(routes=[Route("/", file), Mount("/stamped", app=stamped)])
