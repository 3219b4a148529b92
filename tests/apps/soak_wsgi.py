"""What a site does in a day: octets of memory, of a generator and of a file, uploads that are read or not, faults.

GET /octets/N, /stream/N, /file/N?PATH answer with N octets; POST /digest with the sha256 of the body, POST /unread without
reading it; GET /sleep/MS waits; GET /fault raises.
"""

import hashlib
import time

OCTETS = bytes(range(251)) * 8400  # a length that no buffer's is a multiple of
PIECE_BYTES = 20_000


def digest(body):
    total = hashlib.sha256()
    while piece := body.read(50_000):
        total.update(piece)
    return total.hexdigest().encode()


def pieces(length):
    for start in range(0, length, PIECE_BYTES):
        yield OCTETS[start : min(start + PIECE_BYTES, length)]


def app(environ, start_response):
    _, kind, number = f"{environ['PATH_INFO']}/".split("/", 3)[:3]
    if kind == "fault":
        raise ValueError("a fault of the application")
    if kind == "stream":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return pieces(int(number))
    if kind == "file":
        start_response("200 OK", [("Content-Length", number)])
        return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))
    if kind == "sleep":
        time.sleep(int(number) / 1000)
    body = {"octets": lambda: OCTETS[: int(number)], "digest": lambda: digest(environ["wsgi.input"])}.get(kind, bytes)()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
