"""Uploads that are read when the test says: POST /later?NAME waits for GET /open?NAME before it reads anything."""

import hashlib
import sys
import threading

GATES: dict[str, threading.Event] = {}
LOCK = threading.Lock()


def gate(name):
    with LOCK:
        return GATES.setdefault(name, threading.Event())


def digest(environ):
    total = hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        total.update(piece)
    return total.hexdigest()


def app(environ, start_response):
    path, name, body = environ["PATH_INFO"], environ["QUERY_STRING"], "here"
    if path == "/open":
        gate(name).set()
    elif path == "/later":
        print(f"waiting for {name}", file=sys.stderr, flush=True)
        gate(name).wait(60)
        body = digest(environ)
    elif path == "/digest":
        body = digest(environ)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]
