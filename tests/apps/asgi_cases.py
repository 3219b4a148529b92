"""ASGI corner cases, one per path."""

import asyncio
import ctypes
import json
import os
import sys
import time

EVENTS = []
GATES = {}


def gate(name):
    return GATES.setdefault(name, asyncio.Event())


async def start(send, status=200, headers=()):
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain"), *headers]}
    )


async def plain(send, text, status=200):
    body = text if isinstance(text, bytes) else text.encode()
    await start(send, status, [(b"content-length", str(len(body)).encode())])
    await send({"type": "http.response.body", "body": body})


def query(scope):
    return scope["query_string"].decode("latin-1")


async def hello(scope, receive, send):
    await plain(send, "hello\n")


async def pid(scope, receive, send):
    await plain(send, str(os.getpid()))


async def scope_dump(scope, receive, send):
    def shown(value):
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, (list, tuple)):
            return [shown(item) for item in value]
        if isinstance(value, dict):
            return {key: shown(item) for key, item in value.items()}
        return value if isinstance(value, (str, int, float, bool, type(None))) else f"<{type(value).__name__}>"

    types = {key: type(value).__name__ for key, value in scope.items()}
    await plain(send, json.dumps({"scope": shown(dict(scope)), "types": types}))


async def events(scope, receive, send):
    answer = json.dumps(EVENTS)
    if query(scope) == "clear":
        EVENTS.clear()
    await plain(send, answer)


async def open_gate(scope, receive, send):
    gate(query(scope)).set()
    await plain(send, "open\n")


async def wait_gate(scope, receive, send):
    EVENTS.append(f"waiting {query(scope)}")
    await asyncio.wait_for(gate(query(scope)).wait(), 30)
    await plain(send, "opened\n")


async def stream(scope, receive, send):
    await start(send)
    for part in (b"a", b"", b"b", b"c" * 70000):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def stream_gated(scope, receive, send):
    """The first part must reach the client before the gate opens the second."""
    await start(send)
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.wait_for(gate("stream").wait(), 30)
    await send({"type": "http.response.body", "body": b" second", "more_body": False})


async def stream_slow(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b"second"})


async def read_all(scope, receive, send):
    length = total = pieces = 0
    more = True
    while more:
        message = await receive()
        data = message.get("body", b"")
        length, total, pieces = length + len(data), (total + sum(data)) & 0xFFFF, pieces + 1
        more = message.get("more_body", False)
    await plain(send, json.dumps([length, total, pieces]))


async def read_none(scope, receive, send):
    await plain(send, "did not read\n")


async def read_gated(scope, receive, send):
    """Says when each piece arrives, so that a test can send the next one only then."""
    await start(send)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b"") + b"|", "more_body": True})
    await send({"type": "http.response.body"})


async def receive_after_end(scope, receive, send):
    """After the whole body receive() waits for the disconnect; the response makes it come."""
    await receive()
    await plain(send, "done\n")
    message = await receive()
    EVENTS.append(f"then {message['type']}")


async def disconnect(scope, receive, send):
    """Waits for the client to leave."""
    EVENTS.append("waiting")
    await start(send)
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            EVENTS.append("http.disconnect")
            break
    try:
        await send({"type": "http.response.body", "body": b"y", "more_body": True})
        EVENTS.append("send went through")
    except OSError as error:
        EVENTS.append(f"OSError {isinstance(error, OSError)}")


async def endless(scope, receive, send):
    await start(send)
    EVENTS.append("endless started")
    try:
        while True:
            await send({"type": "http.response.body", "body": b"z" * 65536, "more_body": True})
    except OSError:
        EVENTS.append("endless ended by OSError")
        raise
    except asyncio.CancelledError:
        EVENTS.append("endless ended by cancel")
        raise


async def hears_the_end(scope, receive, send):
    await receive()
    EVENTS.append("listening")
    event = await receive()
    await start(send)
    await send({"type": "http.response.body", "body": event["type"].encode()})


async def raises(scope, receive, send):
    raise RuntimeError("raised before the start")


async def raises_after_start(scope, receive, send):
    await start(send)
    raise RuntimeError("raised after the start, before any body")


async def raises_midway(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"x" * 100000, "more_body": True})
    raise RuntimeError("raised in the middle of the body")


async def raises_after_end(scope, receive, send):
    await plain(send, "complete\n")
    raise RuntimeError("raised after the response was complete")


async def returns_early(scope, receive, send):
    return


async def returns_midway(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"part", "more_body": True})


async def no_content(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def length_short(scope, receive, send):
    await start(send, headers=[(b"content-length", b"10")])
    await send({"type": "http.response.body", "body": b"12345"})


async def length_long(scope, receive, send):
    await start(send, headers=[(b"content-length", b"5")])
    await send({"type": "http.response.body", "body": b"1234567890"})


MESSAGE_CASES = {
    "body_first": [{"type": "http.response.body", "body": b"x"}],
    "two_starts": [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
    "unknown": [{"type": "http.response.nonsense"}],
    "no_type": [{"status": 200}],
    "not_dict": [5],
    "status_str": [{"type": "http.response.start", "status": "200"}],
    "status_low": [{"type": "http.response.start", "status": 42}],
    "header_str": [{"type": "http.response.start", "status": 200, "headers": [("x-a", "b")]}],
    "header_crlf": [{"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"a\r\nInjected: yes")]}],
    "header_name": [{"type": "http.response.start", "status": 200, "headers": [(b"x a", b"b")]}],
    "header_triple": [{"type": "http.response.start", "status": 200, "headers": [(b"x", b"a", b"b")]}],
    "headers_int": [{"type": "http.response.start", "status": 200, "headers": 5}],
    "body_str": [{"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": "text"}],
}


async def message(scope, receive, send):
    for one in MESSAGE_CASES[query(scope)]:
        await send(one)
    await send({"type": "http.response.body", "body": b"went through"})


async def headers_iterator(scope, receive, send):
    """The specification says iterable, not list."""
    pairs = iter([[b"X-One", b"1"], (b"x-two", b"2")])
    await send({"type": "http.response.start", "status": 200, "headers": pairs})
    await send({"type": "http.response.body", "body": b"iterated"})


async def state(scope, receive, send):
    """state is copied per request: what a request puts there is gone for the next."""
    seen = sorted(scope.get("state", {}))
    scope["state"]["mark"] = 1
    scope["state"]["shared"].append(1)
    await plain(send, json.dumps({"seen": seen, "shared": len(scope["state"]["shared"])}))


async def early_hint(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    await plain(send, "after hints\n")


async def large(scope, receive, send):
    size = int(query(scope))
    await start(send, headers=[(b"content-length", str(size).encode())])
    block = bytes(range(256)) * 256
    while size > 0:
        await send(
            {"type": "http.response.body", "body": block[: min(size, len(block))], "more_body": size > len(block)}
        )
        size -= len(block)


async def sleep(scope, receive, send):
    print("sleeping", file=sys.stderr, flush=True)
    await asyncio.sleep(float(query(scope)))
    await plain(send, "slept\n")


async def block(scope, receive, send):
    """The event loop stops turning."""
    print("blocking", file=sys.stderr, flush=True)
    time.sleep(float(query(scope)))
    await plain(send, "unblocked\n")


async def background(scope, receive, send):
    """A task that outlives its request."""

    async def later():
        await asyncio.sleep(0)
        EVENTS.append("background done")

    app.task = asyncio.create_task(later())
    await plain(send, "started\n")


async def loop_name(scope, receive, send):
    await plain(send, type(asyncio.get_running_loop()).__module__)


async def current_task(scope, receive, send):
    await plain(send, type(asyncio.current_task()).__name__)


async def timeout(scope, receive, send):
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)
    except TimeoutError:
        await plain(send, "timed out\n")


async def task_group(scope, receive, send):
    async def fails():
        raise ValueError("child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(30))
    except* ValueError:
        await plain(send, "group failed\n")


async def cancels_itself(scope, receive, send):
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await plain(send, "cancelled\n")


async def printed(scope, receive, send):
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    await plain(send, "written\n")


async def exit_now(scope, receive, send):
    os._exit(9)


async def exit_midway(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"half ", "more_body": True})
    await asyncio.wait_for(gate("exit_midway").wait(), 30)
    os._exit(9)


async def segfault(scope, receive, send):
    ctypes.string_at(0)


ROUTES = {"/scope": scope_dump, "/open": open_gate, "/wait": wait_gate, "/exit": exit_now}


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            if "state" in scope:
                scope["state"]["shared"] = []
                scope["state"]["base"] = "set at start"
            print("lifespan: started", file=sys.stderr, flush=True)
            await send({"type": "lifespan.startup.complete"})
        else:
            print("lifespan: stopped", file=sys.stderr, flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    handler = ROUTES.get(scope["path"]) or globals().get(scope["path"].strip("/") or "hello")
    if not callable(handler):
        await plain(send, "no such case\n", 404)
        return
    await handler(scope, receive, send)
