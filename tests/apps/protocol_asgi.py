"""What HTTP has beside a head and a body, one case per path: hints, trailers, priorities, TLS. See protocol_wsgi."""

import asyncio
import json

FORBIDDEN = [(b"content-length", b"1"), (b"Transfer-Encoding", b"chunked"), (b"host", b"a"), (b"connection", b"close")]
MALFORMED = [(b"a b", b"c"), (b":status", b"200"), (b"x", b"a\r\nb: c"), (b"", b"x")]


def start(*headers, trailers=False):
    fields = [(b"content-type", b"text/plain"), *headers]
    return {"type": "http.response.start", "status": 200, "headers": fields, "trailers": trailers}


def body(octets=b"", more=False):
    return {"type": "http.response.body", "body": octets, "more_body": more}


def last_fields(*headers, more=False):
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": more}


def hint(*headers):
    return {"type": "http.response.informational", "status": 103, "headers": headers}


async def whole(send, text):
    await send(start((b"content-length", str(len(text)).encode())))
    await send(body(text.encode()))


async def refused(send, messages):
    """Which of the messages were not refused."""
    taken = []
    for message in messages:
        try:
            await send(message)
        except RuntimeError:
            continue
        taken.append(message)
    return taken


# --- hints -------------------------------------------------------------------------------------------------------


async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
    await send(hint((b"link", b"</c.png>; rel=preload"), (b"x-more", b"1")))
    await whole(send, "after hints")


async def hints_after_start(scope, receive, send):
    await send(start())
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send(body(b"after hints"))


async def many_hints(scope, receive, send):
    for number in range(int(scope["query_string"])):
        await send(hint((b"link", f"</{number}>".encode()), (b"x-filler", b"f" * 200)))
    await whole(send, "after hints")


async def late_hints(scope, receive, send):
    await send(start())
    await send(body(b"begun ", True))
    messages = [hint((b"link", b"</late>")), {"type": "http.response.early_hint", "links": [b"</late>"]}]
    await send(body(b"taken" if await refused(send, messages) else b"refused"))


async def bad_hints(scope, receive, send):
    await whole(send, str(await refused(send, [hint(field) for field in MALFORMED])))


# --- trailers ----------------------------------------------------------------------------------------------------


async def trailers(scope, receive, send):
    """A response in one piece."""
    await send(start(trailers=True))
    await send(body(b"body"))
    await send(last_fields((b"x-digest", b"abc"), (b"X-Count", b"1")))


async def streamed_trailers(scope, receive, send):
    """In two messages."""
    await send(start(trailers=True))
    for piece in (b"one ", b"two ", b"three"):
        await send(body(piece, True))
    await send(body())
    await send(last_fields(more=True))
    await send(last_fields((b"x-count", b"3")))


async def trailers_behind_nothing(scope, receive, send):
    await send(start(trailers=True))
    await send(body())
    await send(last_fields((b"x-digest", b"none")))


async def trailers_behind_much(scope, receive, send):
    """More than one window of response."""
    await send(start(trailers=True))
    await send(body(b"x" * (16 * 65536)))
    await send(last_fields((b"x-digest", b"much")))


async def trailers_with_length(scope, receive, send):
    await send(start((b"content-length", b"6"), trailers=True))
    await send(body(b"stated"))
    await send(last_fields((b"x-digest", b"abc")))


async def trailers_of_no_content(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "trailers": True})
    await send(body())
    await send(last_fields((b"x-digest", b"abc")))


async def many_trailers(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))
    for number in range(200):
        await send(last_fields((f"x-{number}".encode(), b"v" * 100), more=number < 199))


async def empty_trailers(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))
    await send(last_fields())


async def forbidden_trailers(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"[", True))
    await send(body(b"]"))
    taken = await refused(send, [last_fields(field) for field in FORBIDDEN + MALFORMED])
    await send(last_fields(*((b"x-taken", str(message).encode()) for message in taken)))


async def late_trailers(scope, receive, send):
    """Not announced."""
    await send(start((b"content-length", b"5")))
    await send(body(b"whole"))
    if not await refused(send, [last_fields((b"x-late", b"1"))]):
        print("late trailers were refused", flush=True)


async def trailers_and_failure(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"begun", True))
    raise LookupError("on purpose")


async def trailers_that_never_come(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))


async def body_behind_the_end(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))
    taken = await refused(send, [body(b"more")])
    await send(last_fields((b"x-taken", str(len(taken)).encode())))


async def offers(scope, receive, send):
    await whole(send, json.dumps(sorted(scope["extensions"])))


# --- the request -------------------------------------------------------------------------------------------------


async def request(scope, receive, send):
    chosen = {key: scope[key] for key in ("http_version", "scheme", "extensions")}
    await whole(send, json.dumps(chosen))


async def slow(scope, receive, send):
    await asyncio.sleep(float(scope["query_string"]))
    await whole(send, "slept")


ROUTES = {f"/{name}": value for name, value in list(globals().items()) if asyncio.iscoroutinefunction(value)}


async def application(scope, receive, send):
    if scope["type"] == "http":
        await ROUTES[scope["path"]](scope, receive, send)
