"""An application with a descendant that says one thing to the supervisor without an end: the query names it."""

import os
import socket
import struct

CONTROL = 3  # CONTROL_FD, and the kinds, of daemon/exchange/control.h
READY, FAILED, TLS_TAKEN, FORKED = 12, 15, 20, 23
WORDS = {
    "short": b"x",
    "unknown": struct.pack("=I", 99) + bytes(64),
    "of-io": struct.pack("=II", TLS_TAKEN, 0),
    "ready": struct.pack("=III", READY, 1, 0),
    "forked": struct.pack("=Ii", FORKED, 1),
    "failed": struct.pack("=I", FAILED) + b"all is lost",
    "descriptors": struct.pack("=I", FAILED) + b"take these",
}


def flood(word: str) -> None:
    with socket.socket(fileno=CONTROL) as channel, open("/dev/null", "rb") as null:
        while True:
            if word == "descriptors":
                socket.send_fds(channel, [WORDS[word]], [null.fileno()] * 8)
            else:
                channel.send(WORDS[word])


def app(environ, start_response):
    word = environ["QUERY_STRING"]
    body = str(os.getpid()).encode()
    if word and os.fork() == 0:
        try:
            flood(word)
        except OSError:
            os._exit(0)  # nobody listens any more
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
