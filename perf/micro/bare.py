"""A framework alone: calls the application COUNT times the way no server can beat. bare.py wsgi|asgi MODULE COUNT"""

import asyncio
import importlib
import io
import sys

import uvloop

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.5"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8000")],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
}


def run_wsgi(app, count: int) -> None:
    def start_response(status, headers, exc_info=None):
        return None

    for _ in range(count):
        answer = app(ENVIRON.copy(), start_response)
        for _ in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()


async def run_asgi(app, count: int) -> None:
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        return None

    for _ in range(count):
        await app(SCOPE.copy(), receive, send)


def main() -> None:
    kind, module, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path.insert(0, ".")
    app = importlib.import_module(module).app
    if kind == "wsgi":
        run_wsgi(app, count)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_asgi(app, count))


main()
