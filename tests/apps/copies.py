"""Applications that fork while they serve: in every way in which the copy comes back from them."""

import multiprocessing
import os
import sys
import time


def leave():
    sys.exit(7)


def fail():
    raise ValueError("of the copy")


WAYS = {"/leave": leave, "/fail": fail, "/return": lambda: None}


def fork(way):
    """What became of the copy; in the copy, whatever `way` does."""
    copy = os.fork()
    if copy == 0:
        return way()
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def terminated():
    """As `multiprocessing.Pool` ends."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def answer(path, query):
    if path in WAYS:
        return str(fork(WAYS[path]))
    return str(terminated()) if path == "/terminate" else query


def pieces():
    yield b"first "
    yield str(fork(leave)).encode()


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"first ")
        return [str(fork(lambda: write(b"of the copy"))).encode()]
    if path == "/pieces":
        start_response("200 OK", [])
        return pieces()
    body = answer(path, environ["QUERY_STRING"]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    body = answer(scope["path"], scope["query_string"].decode()).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
