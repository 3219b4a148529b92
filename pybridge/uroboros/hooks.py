"""Worker hooks of a Python settings file: the file is executed again in the app process, its functions are called."""

import inspect
import logging
import os
import runpy
import types

from uroboros import stdio

PYTHON_MODULE = "python:"


def load(config, number, settings):
    """Executes the settings file, `config` as the setting of that name has it."""
    if config.startswith(PYTHON_MODULE):
        functions = runpy.run_module(config.removeprefix(PYTHON_MODULE))
    else:
        functions = runpy.run_path(config)
    return Hooks(functions, number, settings)


def error_log():
    log = logging.getLogger("uroboros.error")
    if not log.handlers:
        handler = logging.StreamHandler(stdio.error_log())
        handler.setFormatter(logging.Formatter("[%(process)d] [%(levelname)s] %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


class Hooks:
    """As much of Gunicorn's worker and arbiter as there is here, and the functions that want them."""

    def __init__(self, functions, number, settings):
        log, cfg = error_log(), types.SimpleNamespace(settings=settings, **settings)
        self.functions = functions
        self.worker = types.SimpleNamespace(pid=os.getpid(), ppid=os.getppid(), age=number, log=log, cfg=cfg)
        self.server = types.SimpleNamespace(pid=os.getppid(), log=log, cfg=cfg)

    def run(self, name, application):
        self.worker.app = types.SimpleNamespace(callable=application, wsgi=lambda: application)
        self.worker.wsgi = application
        if name in ("post_fork", "worker_exit"):
            self.functions[name](self.server, self.worker)
        else:
            self.functions[name](self.worker)

    def request_hooks(self):
        """pre_request and post_request, as far as the file has them, and how many arguments the second one takes."""
        before = self.functions.get("pre_request", lambda worker, request: None)
        after = self.functions.get("post_request", lambda worker, request: None)
        # Gunicorn takes post_request with two, three or four arguments.
        return before, after, len(inspect.signature(after).parameters)

    def around_requests(self, application):
        """The WSGI application with the hooks around each request."""
        before, after, count = self.request_hooks()

        def with_hooks(environ, start_response):
            request, response = Request(environ), types.SimpleNamespace(status=None, headers=None)

            def finish():
                after(*(self.worker, request, environ, response)[:count])

            def start(status, headers, exc_info=None):
                response.status, response.headers = status, headers
                return start_response(status, headers, exc_info)

            before(self.worker, request)
            try:
                return Response(application(environ, start), finish)
            except BaseException:
                finish()
                raise

        return with_hooks

    def around_asgi_requests(self, application):
        """The ASGI application with the hooks around each request."""
        before, after, count = self.request_hooks()

        async def with_hooks(scope, receive, send):
            if scope["type"] != "http":
                await application(scope, receive, send)
                return
            request, response = AsgiRequest(scope), types.SimpleNamespace(status=None, headers=None)

            async def noting_send(message):
                if message["type"] == "http.response.start":
                    response.status, response.headers = message["status"], message.get("headers", [])
                await send(message)

            before(self.worker, request)
            try:
                await application(scope, receive, noting_send)
            finally:
                after(*(self.worker, request, request.environ(scope), response)[:count])

        return with_hooks


class AsgiRequest:
    def __init__(self, scope):
        self.method = scope["method"]
        self.path = scope["path"]
        self.query = scope["query_string"].decode("latin-1")
        self.uri = scope["raw_path"].decode("latin-1") + (f"?{self.query}" if self.query else "")
        self.headers = [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in scope["headers"]]

    def environ(self, scope):
        """As much of a WSGI environ as a log wants."""
        return {
            "REQUEST_METHOD": self.method,
            "RAW_URI": self.uri,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
            **{f"HTTP_{name.replace('-', '_')}": value for name, value in self.headers},
        }


class Request:
    def __init__(self, environ):
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ["RAW_URI"]
        self.path = environ["PATH_INFO"]
        self.query = environ["QUERY_STRING"]
        self.headers = [
            (name.removeprefix("HTTP_").replace("_", "-"), value)
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]


class Response:
    """The iterable of an application, with something to do at its end."""

    def __init__(self, iterable, finish):
        self.iterable = iterable
        self.finish = finish

    def __iter__(self):
        return iter(self.iterable)

    def close(self):
        try:
            if hasattr(self.iterable, "close"):
                self.iterable.close()
        finally:
            self.finish()
