"""Worker hooks of a Python settings file: the file is executed again in the app process, its functions are called."""

import inspect
import logging
import os
import runpy
import signal
import threading
import types

import _uroboros

PYTHON_MODULE = "python:"


def execute(config):
    """The names of the settings file, `config` as the setting of that name has it."""
    if config.startswith(PYTHON_MODULE):
        return runpy.run_module(config.removeprefix(PYTHON_MODULE))
    return runpy.run_path(config)


def load(config, age, settings):
    return Hooks(execute(config), age, settings)


def address(bind):
    """As Gunicorn has it: a path, or host and port."""
    if bind.startswith(("unix:", "fd://")):
        return bind.removeprefix("unix:").removeprefix("//")
    host, _, port = bind.removeprefix("tcp://").rpartition(":")
    return (host.strip("[]") or "0.0.0.0", int(port)) if port.isdecimal() else (bind, 8000)


def configuration(settings):
    return types.SimpleNamespace(settings=settings, address=[address(bind) for bind in settings["bind"]], **settings)


class DaemonLog(logging.Handler):
    """Records become lines of the error log, with its levels, its time, and its way with a log that is full."""

    def emit(self, record):
        try:
            _uroboros.log(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


def error_log():
    log = logging.getLogger("uroboros.error")
    if not log.handlers:
        log.addHandler(DaemonLog())
        log.setLevel(logging.DEBUG)  # `loglevel` decides
        log.propagate = False
    return log


class Hooks:
    """As much of Gunicorn's worker and arbiter as there is here, and the functions that want them."""

    def __init__(self, functions, age, settings):
        log, cfg = error_log(), configuration(settings)
        self.functions = functions
        self.worker = types.SimpleNamespace(pid=os.getpid(), ppid=os.getppid(), age=age, log=log, cfg=cfg)
        self.server = types.SimpleNamespace(pid=os.getppid(), log=log, cfg=cfg)

    def run(self, name, application):
        self.worker.app = types.SimpleNamespace(callable=application, wsgi=lambda: application)
        self.worker.wsgi = application
        if name in ("post_fork", "worker_exit"):
            self.functions[name](self.server, self.worker)
        else:
            self.functions[name](self.worker)

    def await_abort(self):
        """A thread calls worker_abort: the others may be stuck, which is why it is called."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])

        def wait():
            signal.sigwait([signal.SIGABRT])
            try:
                self.functions["worker_abort"](self.worker)
            except BaseException:  # SystemExit too: the supervisor ends this process
                self.worker.log.exception("the hook worker_abort failed")

        threading.Thread(target=wait, name="worker_abort", daemon=True).start()

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
