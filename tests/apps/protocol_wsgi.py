"""What HTTP has beside a head and a body, one case per path: hints, trailers, priorities, TLS. See protocol_asgi."""

import json
import time

FORBIDDEN = [("Content-Length", "1"), ("transfer-encoding", "chunked"), ("Host", "a"), ("Connection", "close")]
MALFORMED = [("a b", "c"), (":status", "200"), ("x", "a\r\nb: c"), ("", "x")]
OF_INTEREST = ("SERVER_PROTOCOL", "HTTPS", "wsgi.url_scheme", "wsgi.input_terminated", "CONTENT_LENGTH")


def start(start_response, *headers):
    start_response("200 OK", [("Content-Type", "text/plain"), *headers])


def whole(start_response, text):
    start(start_response, ("Content-Length", str(len(text))))
    return [text.encode()]


def send_trailers(environ):
    return environ.get("uroboros.send_trailers", lambda trailers: None)


def refusals(call, cases):
    """Which of the cases were not refused."""
    taken = []
    for case in cases:
        try:
            call([case])
        except ValueError:
            continue
        taken.append(case)
    return taken


# --- hints -------------------------------------------------------------------------------------------------------


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")])
    environ["wsgi.early_hints"]([("link", "</c.png>; rel=preload"), ("x-more", "1")])
    return whole(start_response, "after hints")


def hints_after_start(environ, start_response):
    start(start_response)
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    yield b"after hints"


def many_hints(environ, start_response):
    for number in range(int(environ["QUERY_STRING"])):
        environ["wsgi.early_hints"]([("Link", f"</{number}>"), ("x-filler", "f" * 200)])
    return whole(start_response, "after hints")


def late_hints(environ, start_response):
    start(start_response)
    yield b"begun "
    try:
        environ["wsgi.early_hints"]([("Link", "</late>")])
        yield b"taken"
    except RuntimeError:
        yield b"refused"


def bad_hints(environ, start_response):
    return whole(start_response, str(refusals(environ["wsgi.early_hints"], MALFORMED)))


# --- trailers ----------------------------------------------------------------------------------------------------


def trailers(environ, start_response):
    """A response in one piece."""
    send_trailers(environ)([("x-digest", "abc"), ("X-Count", "1")])
    start(start_response)
    return [b"body"]


def streamed_trailers(environ, start_response):
    """What they say is known when the body ends."""
    start(start_response)
    count = 0
    for piece in (b"one ", b"two ", b"three"):
        count += 1
        yield piece
    send_trailers(environ)([("x-count", str(count))])


def trailers_behind_nothing(environ, start_response):
    send_trailers(environ)([("x-digest", "none")])
    start(start_response)
    return []


def trailers_behind_much(environ, start_response):
    """More than one window of response."""
    send_trailers(environ)([("x-digest", "much")])
    start(start_response)
    for _ in range(16):
        yield b"x" * 65536


def trailers_with_length(environ, start_response):
    send_trailers(environ)([("x-digest", "abc")])
    return whole(start_response, "stated")


def trailers_of_no_content(environ, start_response):
    send_trailers(environ)([("x-digest", "abc")])
    start_response("204 No Content", [])
    return []


def many_trailers(environ, start_response):
    send_trailers(environ)([(f"x-{number}", "v" * 100) for number in range(200)])
    start(start_response)
    return [b"body"]


def empty_trailers(environ, start_response):
    send_trailers(environ)([])
    start(start_response)
    return [b"body"]


def forbidden_trailers(environ, start_response):
    call = environ.get("uroboros.send_trailers")
    taken = refusals(call, FORBIDDEN + MALFORMED) if call else []
    return whole(start_response, str(taken))


def late_trailers(environ, start_response):
    """Behind the last octet that was stated."""
    start(start_response, ("Content-Length", "5"))
    yield b"whole"
    try:
        send_trailers(environ)([("x-late", "1")])
    except RuntimeError:
        print("late trailers were refused", file=environ["wsgi.errors"], flush=True)


def trailers_and_failure(environ, start_response):
    send_trailers(environ)([("x-digest", "abc")])
    start(start_response)
    yield b"begun"
    raise LookupError("on purpose")


def offers(environ, start_response):
    keys = ("uroboros.send_trailers", "gunicorn.http2.send_trailers", "wsgi.early_hints")
    return whole(start_response, json.dumps({key: callable(environ.get(key)) for key in keys}))


# --- the request -------------------------------------------------------------------------------------------------


def request(environ, start_response):
    chosen = {key: value for key, value in environ.items() if key in OF_INTEREST or key.startswith("SSL_")}
    chosen |= {key: value for key, value in environ.items() if ".http2." in key and not callable(value)}
    return whole(start_response, json.dumps(chosen))


def slow(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    return whole(start_response, "slept")


ROUTES = {f"/{name}": value for name, value in list(globals().items()) if callable(value)}


def application(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
