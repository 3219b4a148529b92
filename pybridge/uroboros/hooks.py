"""Worker hooks of a Python settings file: the file is executed again in the app process, its functions are called."""

import inspect
import logging
import os
import runpy
import sys
import types

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
        handler = logging.StreamHandler(sys.stderr)
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

    def around_requests(self, application):
        """The WSGI application with pre_request and post_request, as far as the file has them, around each request."""
        before = self.functions.get("pre_request", lambda worker, request: None)
        after = self.functions.get("post_request", lambda worker, request: None)
        # Gunicorn takes post_request with two, three or four arguments.
        count = len(inspect.signature(after).parameters)

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
