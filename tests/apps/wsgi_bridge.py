"""What the bridge does between the exchange and a WSGI application; see tests/integration/test_wsgi_bridge.py."""

import atexit
import json
import os
import signal
import sys
import threading
import warnings

import wsgi_cases
from wsgi_cases import EVENTS, gate, plain

KEPT = []
BLOCK = b"b" * 65536


def keep_start_response(environ, start_response):
    """Keeps what belongs to this request beyond its end."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    KEPT.append((environ, start_response, write))
    return [b"kept"]


def use_kept(environ, start_response):
    """Everything of a request that has ended raises, and harms nobody."""
    old_environ, old_start, old_write = KEPT.pop()
    attempts = {
        "start": lambda: old_start("200 OK", []),
        "write": lambda: old_write(b"late"),
        "hints": lambda: old_environ["wsgi.early_hints"]([]),
        "read": lambda: old_environ["wsgi.input"].read(),
    }
    seen = {}
    for name, attempt in attempts.items():
        try:
            seen[name] = repr(attempt())
        except Exception as error:
            seen[name] = type(error).__name__
    return plain(start_response, json.dumps(seen))


def write_endless(environ, start_response):
    """write() to a client that goes away raises OSError."""
    write = start_response("200 OK", [])
    try:
        while True:
            write(BLOCK)
    except OSError as error:
        EVENTS.append(f"write raised {type(error).__name__}")
        raise


def start_by_name(environ, start_response):
    start_response("200 OK", [("X-Named", "yes")], exc_info=None)
    return [b"named"]


def start_wrongly(environ, start_response):
    start_response()
    return []


def many_pieces(environ, start_response):
    start_response("200 OK", [])
    return [b"piece "] * 5


def many_large_pieces(environ, start_response):
    start_response("200 OK", [])
    return [BLOCK] * 5


def many_headers(environ, start_response):
    count = int(environ["QUERY_STRING"])
    start_response("200 OK", [(f"X-Header-{i}", "v" * 100) for i in range(count)])
    return [b"headers"]


def leave_behind(action):
    """A thread of the application's own that still waits for the client in there when the request ends."""

    def run():
        try:
            action()
        except OSError:
            print("it has raised", file=sys.stderr, flush=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(1)


def write_beyond_the_end(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    leave_behind(lambda: write(bytes(64 << 20)))
    return []


def trail_beyond_the_end(environ, start_response):
    """Both wait: each block of memory that the request may have is with the client."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    leave_behind(lambda: [write(bytes(4096)) for _ in range(16384)])
    leave_behind(lambda: environ["uroboros.send_trailers"]([("X-Trailer", "late")]))
    raise ValueError("and so the request ends")


def write_by_two(environ, start_response):
    """Both have begun, with less than the Content-Length each, and wait for the client; together they write more."""
    write = start_response("200 OK", [("Content-Length", str(24 << 20))])

    def run(octet):
        try:
            write(octet * (16 << 20))
        except OSError as error:
            EVENTS.append(f"write raised {type(error).__name__}")

    threads = [threading.Thread(target=run, args=(octet,)) for octet in (b"a", b"b")]
    for thread in threads:
        thread.start()
        thread.join(0.5)
    print("both write", file=sys.stderr, flush=True)
    for thread in threads:
        thread.join()
    return []


def read_in_thread(environ, start_response):
    """The body may be read by a thread of the application's own."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(environ["wsgi.input"].read()))
    thread.start()
    thread.join()
    return plain(start_response, str(len(answer[0])))


def read_odd_sizes(environ, start_response):
    source, parts = environ["wsgi.input"], []
    for size in (1, 0, 70000, 3, None):
        parts.append(len(source.read(size)))
    return plain(start_response, json.dumps(parts))


def read_wrongly(environ, start_response):
    seen = []
    for arguments in (("1",), (1, 2), (1.5,)):
        try:
            environ["wsgi.input"].read(*arguments)
        except TypeError:
            seen.append("TypeError")
    return plain(start_response, json.dumps(seen))


def lines_of_body(environ, start_response):
    lines = list(environ["wsgi.input"])
    return plain(start_response, json.dumps([len(lines), sum(map(len, lines))]))


def first_then_wait(environ, start_response):
    """A piece must reach the client before the next one is made."""
    start_response("200 OK", [])
    yield b"first"
    gate("first_then_wait").wait(30)
    yield b"second"


def slow_close(environ, start_response):
    """A whole answer must not wait for close()."""

    class Slow:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            gate("slow_close").wait(30)

    start_response("200 OK", [("Content-Length", "5")])
    return Slow()


def after_the_last_piece(environ, start_response):
    """Code behind the last yield runs although the length is reached."""
    start_response("200 OK", [("Content-Length", "5")])
    yield b"whole"
    EVENTS.append("ran to the end")


def close_raises(environ, start_response):
    class Raising(list):
        def close(self):
            raise RuntimeError("raised by close()")

    start_response("200 OK", [])
    return Raising([b"closed"])


def hints_refused(environ, start_response):
    try:
        environ["wsgi.early_hints"]([("Link", "a\r\nb")])
    except ValueError:
        return plain(start_response, "refused")
    return plain(start_response, "taken")


def partial_line(environ, start_response):
    sys.stdout.write("no line end")
    os.write(1, b"")
    return plain(start_response, "partial")


def name_of_thread(environ, start_response):
    return plain(start_response, f"{threading.current_thread().name} {sys.getswitchinterval()}")


def title(environ, start_response):
    with open("/proc/self/cmdline", "rb") as file:
        return plain(start_response, file.read().split(b"\0")[0])


def validated(environ, start_response):
    from wsgiref.validate import validator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return validator(lambda e, s: s("200 OK", [("Content-Type", "text/plain")]) and [b"valid"])(
            environ, start_response
        )


def start_a_thread(environ, start_response):
    """The end of the process waits for threads that are no daemons."""

    def last_words():
        gate("last_words").wait(30)

    threading.Thread(target=last_words).start()
    return plain(start_response, "started")


def descriptors_of_a_child(environ, start_response):
    """What a program gets that is started without closing anything."""
    if os.spawnvp(os.P_WAIT, "sh", ["sh", "-c", "test ! -e /proc/self/fd/3"]) == 0:
        return plain(start_response, "closed")
    return plain(start_response, "open")


def print_in_a_fork(environ, start_response):
    child = os.fork()
    if child == 0:
        print("printed by the child", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    return plain(start_response, "forked")


def handle_signal(environ, start_response):
    """Handlers run while the worker waits, and may print."""
    signal.signal(signal.SIGUSR1, lambda *_: print("handled by the application", flush=True))
    return plain(start_response, str(os.getpid()))


@atexit.register
def at_exit():
    print("atexit has run", flush=True)


def app(environ, start_response):
    handler = globals().get(environ["PATH_INFO"].strip("/"))
    if not callable(handler):
        return wsgi_cases.app(environ, start_response)
    return handler(environ, start_response)
