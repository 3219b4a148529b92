"""The WSGI application of the measurements: hello, 10 KB out, echo, 1 GiB either way, 20 ms of work."""

import hashlib
import time

HELLO = b"Hello, World!"
TEN_KB = b"x" * 10_000
PIECE = bytes(range(256)) * 256
WORK_SECONDS = 0.02


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def ten_kb(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10000")])
    return [TEN_KB]


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def download(environ, start_response):
    pieces = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(pieces * len(PIECE)))])
    return (PIECE for _ in range(pieces))


def upload(environ, start_response):
    digest = hashlib.sha256() if environ["QUERY_STRING"] == "sha256" else None
    count = 0
    read = environ["wsgi.input"].read
    while piece := read(65536):
        count += len(piece)
        if digest:
            digest.update(piece)
    answer = f"{count} {digest.hexdigest() if digest else '-'}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def work(environ, start_response):
    """Uses a CPU, however long others keep it waiting for one."""
    until = time.thread_time() + WORK_SECONDS
    while time.thread_time() < until:
        pass
    return hello(environ, start_response)


ROUTES = {"/": hello, "/10k": ten_kb, "/echo": echo, "/download": download, "/upload": upload, "/work": work}


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
