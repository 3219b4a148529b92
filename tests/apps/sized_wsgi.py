"""Answers /N with N octets of memory, and the path of a file with the file."""

import os

OCTETS = bytes(range(256)) * 4096


def app(environ, start_response):
    name = environ["PATH_INFO"]
    is_file = not name[1:].isdigit()
    length = os.path.getsize(name) if is_file else int(name[1:])
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(length))])
    return environ["wsgi.file_wrapper"](open(name, "rb")) if is_file else [OCTETS[:length]]
