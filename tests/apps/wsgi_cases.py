"""WSGI corner cases, one per path: what PEP 3333 allows, what it forbids, and what goes wrong in real life."""

import ctypes
import json
import os
import signal
import sys
import threading
import time

# What the test asks for later: how often close() was called, what an error looked like to the application.
EVENTS = []
GATES = {}
GATES_LOCK = threading.Lock()
TOGETHER = threading.Barrier(4)


def gate(name):
    with GATES_LOCK:
        return GATES.setdefault(name, threading.Event())


def plain(start_response, text, status="200 OK", headers=()):
    body = text if isinstance(text, bytes) else text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]


class Closing:
    """An iterable that counts its close() calls."""

    def __init__(self, name, chunks):
        self.name, self.chunks = name, iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        EVENTS.append(f"close {self.name}")


def hello(environ, start_response):
    return plain(start_response, "hello\n")


def pid(environ, start_response):
    return plain(start_response, f"{os.getpid()} {threading.get_ident()}")


def environ_dump(environ, start_response):
    """Strings as they are; of everything else its type."""
    shown = {k: v if isinstance(v, (str, bool, int, tuple)) else f"<{type(v).__name__}>" for k, v in environ.items()}
    return plain(start_response, json.dumps(shown))


def events(environ, start_response):
    answer = json.dumps(EVENTS)
    if environ["QUERY_STRING"] == "clear":
        EVENTS.clear()
    return plain(start_response, answer)


def open_gate(environ, start_response):
    gate(environ["QUERY_STRING"]).set()
    return plain(start_response, "open\n")


def wait_gate(environ, start_response):
    """Waits until another request opens the gate; the body says by which thread."""
    EVENTS.append(f"waiting {environ['QUERY_STRING']}")
    opened = gate(environ["QUERY_STRING"]).wait(30)
    return plain(start_response, f"{opened} {os.getpid()}")


def write_callable(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    write(b"two ")
    return [b"three"]


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield from (b"a", b"", b"b", b"c" * 70000)


def exc_info_before(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("before anything was sent")
    except ValueError:
        start_response("500 Replaced", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced"]


def exc_info_after(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"sent")
    try:
        raise ValueError("after the head was sent")
    except ValueError:
        start_response("500 Too Late", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"never"]


def start_twice(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"never"]


def no_start(environ, start_response):
    return [b"no head"]


def raises(environ, start_response):
    raise RuntimeError("raised before start_response")


def raises_together(environ, start_response):
    TOGETHER.wait(30)
    raise RuntimeError("raised together")


def raises_system_exit(environ, start_response):
    raise SystemExit(7)


def raises_midway(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"x" * 100000
    raise RuntimeError("raised in the middle of the body")


def raises_midway_length(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "200000")])
    yield b"x" * 100000
    raise RuntimeError("raised in the middle of a body with a length")


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing("closing", [b"one", b"two"])


def closing_list_raises(environ, start_response):
    def chunks():
        yield b"one"
        raise RuntimeError("raised while iterated")

    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing("closing_list_raises", chunks())


def closing_endless(environ, start_response):
    def chunks():
        while True:
            yield b"z" * 65536

    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing("closing_endless", chunks())


def length_short(environ, start_response):
    """Fewer bytes than Content-Length says."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"12345"]


def length_long(environ, start_response):
    """More bytes than Content-Length says."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"12345", b"67890"]


def length_unknown_list(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"exactly one item"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def no_content_with_body(environ, start_response):
    start_response("204 No Content", [])
    return [b"must not be sent"]


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


HEADER_CASES = {
    "crlf": ("X-Bad", "a\r\nInjected: yes"),
    "lf": ("X-Bad", "a\nInjected: yes"),
    "nul": ("X-Bad", "a\0b"),
    "name": ("X Bad", "value"),
    "name_crlf": ("X-Bad\r\nInjected", "yes"),
    "empty_name": ("", "value"),
    "wide": ("X-Bad", "snow \u2603"),
    "int_value": ("X-Bad", 5),
    "bytes_value": ("X-Bad", b"bytes"),
    "connection": ("Connection", "keep-alive, X-Bad"),
    "close": ("Connection", "close"),
}


def header(environ, start_response):
    pair = HEADER_CASES[environ["QUERY_STRING"]]
    start_response("200 OK", [("Content-Type", "text/plain"), pair])
    return [b"body"]


STATUS_CASES = {
    "no_reason": "200",
    "words": "OK",
    "two_digits": "20 Short",
    "crlf": "200 OK\r\nInjected: yes",
    "int": 200,
    "teapot": "418 I'm a teapot",
    "latin": "200 Tr\xe8s bien",
}


def status(environ, start_response):
    start_response(STATUS_CASES[environ["QUERY_STRING"]], [("Content-Type", "text/plain")])
    return [b"body"]


BODY_CASES = {
    "str_item": ["text, not bytes"],
    "int_item": [5],
    "none": None,
    "str": "text",
    "empty": [],
    "bytes": b"iterated",
    "tuple": (b"a", b"b"),
    "bytearray": [bytearray(b"array")],
}


def body(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return BODY_CASES[environ["QUERY_STRING"]]


def headers_not_list(environ, start_response):
    start_response("200 OK", "text")
    return [b"never"]


def read_none(environ, start_response):
    """Never looks at the request body."""
    return plain(start_response, "did not read\n")


def read_some(environ, start_response):
    return plain(start_response, environ["wsgi.input"].read(3))


def read_all(environ, start_response):
    data = environ["wsgi.input"].read()
    return plain(start_response, json.dumps([len(data), sum(data) & 0xFFFF]))


def read_fails(environ, start_response):
    """What the application sees when its client vanishes in the middle of a body."""
    EVENTS.append("reading")
    try:
        data = environ["wsgi.input"].read()
        EVENTS.append(f"short read {len(data)}")
    except OSError as error:
        EVENTS.append(f"error {type(error).__name__}")
    return plain(start_response, "read\n")


def input_methods(environ, start_response):
    """The body is: first\\nsecond\\nthird line\\nlast; each method takes its part."""
    source = environ["wsgi.input"]
    answer = [
        source.read(0).decode(),
        source.readline().decode(),
        source.readline(3).decode(),
        source.readline(100).decode(),
        [line.decode() for line in source.readlines(1)],
        [line.decode() for line in source],
        source.read().decode(),
        source.read(5).decode(),
        source.readline().decode(),
        source.readlines(),
    ]
    return plain(start_response, json.dumps(answer))


def errors(environ, start_response):
    environ["wsgi.errors"].write("to wsgi.errors\n")
    environ["wsgi.errors"].writelines(["two ", "parts\n"])
    environ["wsgi.errors"].flush()
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    return plain(start_response, "written\n")


def noisy(environ, start_response):
    """More output than any pipe holds, in one go."""
    line = "noise " * 20 + "\n"
    for _ in range(40000):
        sys.stderr.write(line)
    sys.stderr.flush()
    return plain(start_response, "quiet again\n")


def file_wrapper(environ, start_response):
    path = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](open(path, "rb"), 8192)


def file_wrapper_length(environ, start_response):
    path = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Length", str(os.path.getsize(path)))])
    return environ["wsgi.file_wrapper"](open(path, "rb"))


def large(environ, start_response):
    """As many bytes as the query says, in 64 KiB pieces."""
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    block = bytes(range(256)) * 256
    while size > 0:
        yield block[: min(size, len(block))]
        size -= len(block)


def early_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])
    return plain(start_response, "after hints\n")


def sleep(environ, start_response):
    print("sleeping", file=sys.stderr, flush=True)
    time.sleep(float(environ["QUERY_STRING"]))
    return plain(start_response, "slept\n")


def fifo(environ, start_response):
    """Waits until the test writes an octet into the FIFO that it has named."""
    print("at the gate", file=sys.stderr, flush=True)
    with open(environ["QUERY_STRING"], "rb") as file:
        file.read(1)
    return plain(start_response, "passed\n")


def spin(environ, start_response):
    """Holds the interpreter lock and never returns."""
    print("spinning", file=sys.stderr, flush=True)
    while True:
        pass


def hang(environ, start_response):
    print("hanging", file=sys.stderr, flush=True)
    threading.Event().wait()


def exit_now(environ, start_response):
    os._exit(9)


def kill_self(environ, start_response):
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(environ, start_response):
    ctypes.string_at(0)


def abort(environ, start_response):
    os.abort()


def exit_midway(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"half ")
    gate("exit_midway").wait(30)
    os._exit(9)


def getenv(environ, start_response):
    return plain(start_response, os.environ.get(environ["QUERY_STRING"], "<unset>"))


def where(environ, start_response):
    answer = {
        "cwd": os.getcwd(),
        "path": sys.path,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "threads": threading.active_count(),
        "argv": sys.argv,
    }
    return plain(start_response, json.dumps(answer))


ROUTES = {
    "/environ": environ_dump,
    "/open": open_gate,
    "/wait": wait_gate,
    "/write": write_callable,
    "/exit": exit_now,
    "/kill": kill_self,
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    handler = ROUTES.get(path) or globals().get(path.strip("/") or "hello")
    if not callable(handler):
        return plain(start_response, "no such case\n", "404 Not Found")
    return handler(environ, start_response)
