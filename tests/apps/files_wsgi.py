"""Sends files by wsgi.file_wrapper: `path`, from `offset`, with a Content-Length of `length`, opened as `kind`."""

import gzip
import io
import json
import os
import tempfile
import urllib.parse

noted = []


class Noted(io.FileIO):
    """Another read() than the file's own: it must be asked."""

    def read(self, size=-1):
        return super().read(size).swapcase()


def temporary(path):
    file = tempfile.TemporaryFile()
    with open(path, "rb") as source:
        file.write(source.read())
    file.seek(0)
    return file


def pipe(path):
    reader, writer = os.pipe()
    with open(path, "rb") as source, open(writer, "wb") as sink:
        sink.write(source.read(4096))
    return open(reader, "rb")


KINDS = {
    "buffered": lambda path: open(path, "rb"),
    "raw": lambda path: open(path, "rb", buffering=0),
    "temporary": temporary,
    "memory": lambda path: io.BytesIO(open(path, "rb").read()),
    "gzip": gzip.open,
    "gzip-buffered": lambda path: io.BufferedReader(gzip.open(path)),
    "subclass": Noted,
    "pipe": pipe,
}


class Closing:
    """A file that says when it is closed, and which it is: it may be told after the next request has begun."""

    def __new__(cls, path, wrapper):
        close = wrapper.close
        wrapper.close = lambda: (noted.append(f"closed {path}"), close())
        return wrapper


def app(environ, start_response):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/events":
        body = json.dumps(noted).encode()
        noted.clear()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    file = KINDS[query.get("kind", "buffered")](query["path"])
    if "offset" in query:
        file.seek(int(query["offset"]))
    headers = [("Content-Type", "application/octet-stream")]
    if "length" in query:
        headers.append(("Content-Length", query["length"]))
    write = start_response(query.get("status", "200 OK"), headers)
    if "before" in query:
        write(query["before"].encode())
    return Closing(query["path"], environ["wsgi.file_wrapper"](file, 8192))
