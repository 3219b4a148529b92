"""What send() and receive() are to those who do more with them than to await them, one way per path."""

import asyncio
import contextvars
import functools
import traceback

EVENTS: list[str] = []
GATES: dict[str, asyncio.Event] = {}
KEPT: list = []
KEPT_RECEIVE: list = []
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def ok(send):
    await send(start())
    await send(body(b"ok"))


def gate(scope) -> asyncio.Event:
    return GATES.setdefault(scope["query_string"].decode(), asyncio.Event())


async def open_gate(scope, receive, send):
    gate(scope).set()
    await ok(send)


async def events(scope, receive, send):
    answer = "\n".join(EVENTS)
    EVENTS.clear()
    await send(start())
    await send(body(answer.encode()))


# --- as coroutines, as futures -----------------------------------------------------------------------------------


async def create_task(scope, receive, send):
    assert (await asyncio.create_task(receive()))["type"] == "http.request"
    await asyncio.create_task(send(start()))
    await asyncio.create_task(send(body(b"ok")))


async def waiting_receive_as_task(scope, receive, send):
    """receive() waits for a disconnect that the end of the response brings."""
    await receive()
    task = asyncio.create_task(receive())
    await asyncio.sleep(0)
    assert not task.done()
    await ok(send)
    assert (await task)["type"] == "http.disconnect"
    EVENTS.append("task heard of the end")


async def wait_for_receive(scope, receive, send):
    await receive()
    for _ in range(3):
        try:
            await asyncio.wait_for(receive(), 0.01)
        except TimeoutError:
            continue
        raise AssertionError("there was nothing to receive")
    await ok(send)


async def receive_in_gather(scope, receive, send):
    await receive()
    disconnect = asyncio.ensure_future(receive())
    other = asyncio.gather(disconnect, asyncio.sleep(0.001, "slept"))
    await asyncio.sleep(0.01)
    await ok(send)
    event, slept = await other
    assert (event["type"], slept) == ("http.disconnect", "slept")
    EVENTS.append("gathered")


async def receive_in_wait(scope, receive, send):
    await receive()
    disconnect = asyncio.create_task(receive())
    done, pending = await asyncio.wait({disconnect}, timeout=0.01)
    assert not done and pending == {disconnect}
    disconnect.cancel()
    try:
        await disconnect
    except asyncio.CancelledError:
        await ok(send)


async def several_receivers(scope, receive, send):
    """Everybody hears of the end; one that is cancelled takes nobody with it."""
    await receive()
    tasks = [asyncio.create_task(receive()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    assert tasks[0].cancelled() and not tasks[1].done() and not tasks[2].done()
    await ok(send)
    assert [(await task)["type"] for task in tasks[1:]] == ["http.disconnect"] * 2
    EVENTS.append("two heard of the end")


async def cancelled_receive_loses_nothing(scope, receive, send):
    """A piece of body that comes after a cancelled receive() is the next one's."""
    task = asyncio.create_task(receive())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    EVENTS.append("cancelled")
    await asyncio.wait_for(gate(scope).wait(), 30)
    message = await receive()
    await send(start())
    await send(body(message["body"]))


async def await_twice(scope, receive, send):
    awaitable = receive()
    await awaitable
    try:
        await awaitable
    except RuntimeError:
        await ok(send)


async def wrapped_callables(scope, receive, send):
    """Middleware wraps send and receive in all manners of callables."""
    partial = functools.partial(send)
    await (lambda: receive())()
    await partial(start())
    await partial(body(b"ok"))


async def callable_object_application(scope, receive, send):
    class Awaitable:
        def __await__(self):
            return ok(send).__await__()

    await Awaitable()


async def context_of_a_child(scope, receive, send):
    VARIABLE.set("parent's")

    async def child():
        message = await receive()
        assert message["type"] == "http.request"
        return VARIABLE.get()

    assert await asyncio.create_task(child()) == "parent's"
    await ok(send)


# --- messages ----------------------------------------------------------------------------------------------------


async def kinds_of_bytes(scope, receive, send):
    await send(start(200, (b"x-a", b"1")))
    await send(body(bytearray(b"bytearray "), True))
    await send(body(memoryview(b"memoryview "), True))
    await send({"type": "http.response.body", "body": b"bytes"})


async def body_is_read_at_once(scope, receive, send):
    """What is changed after send() was awaited has gone out as it was."""
    data = bytearray(b"before")
    await send(start())
    await send(body(data, True))
    data[:] = b"behind"
    await send(body())


async def transfer_encoding_is_ignored(scope, receive, send):
    await send(start(200, (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"content-length", b"2")))
    await send(body(b"ok"))


async def two_lengths(scope, receive, send):
    await send(start(200, (b"content-length", b"2"), (b"content-length", b"3")))
    await send(body(b"ok"))


async def same_length_twice(scope, receive, send):
    await send(start(200, (b"content-length", b"2"), (b"Content-Length", b"2")))
    await send(body(b"ok"))


async def length_is_no_number(scope, receive, send):
    await send(start(200, (b"content-length", b"-2")))
    await send(body(b"ok"))


async def no_length_with_304(scope, receive, send):
    await send(start(304, (b"etag", b'"x"')))
    await send(body())


async def large_head(scope, receive, send):
    """More than a small block holds."""
    await send(start(200, *[(b"x-%d" % number, b"v" * 200) for number in range(40)]))
    await send(body(b"ok"))


async def enormous_head(scope, receive, send):
    await send(start(200, *[(b"x-%d" % number, b"v" * 1000) for number in range(100)]))
    await send(body(b"ok"))


async def mistake_is_caught(scope, receive, send):
    """A message that was refused leaves everything as it was."""
    for wrong in (body(b"early"), start("200"), start(200, (b"x", "y")), {"type": "http.response.trailers"}):
        try:
            await send(wrong)
        except (RuntimeError, TypeError, ValueError):
            continue
        raise AssertionError(f"{wrong} was taken")
    await ok(send)


async def send_after_the_end(scope, receive, send):
    await ok(send)
    try:
        await send(body(b"more"))
    except RuntimeError:
        EVENTS.append("refused")


async def callables_after_the_request(scope, receive, send):
    """Both go on to say that it is over, also when their request is long gone."""
    for kept_receive, kept_send in KEPT:
        assert (await kept_receive())["type"] == "http.disconnect"
        try:
            await kept_send(body(b"more"))
        except (OSError, RuntimeError):
            continue
        raise AssertionError("a request that is over took a body")
    KEPT[:] = [(receive, send)]
    await ok(send)


async def receive_kept_alone(scope, receive, send):
    for kept in KEPT_RECEIVE:
        assert (await kept())["type"] == "http.disconnect"
    KEPT_RECEIVE[:] = [receive]
    await ok(send)


async def informational(scope, receive, send):
    await send({"type": "http.response.informational", "status": 103, "headers": [(b"link", b"</a>")]})
    await send(start())
    await send({"type": "http.response.early_hint", "links": [b"</b>"]})
    await send(body(b"ok", True))
    for late in (
        {"type": "http.response.early_hint", "links": [b"</too-late>"]},
        {"type": "http.response.informational", "status": 103, "headers": []},
    ):
        try:
            await send(late)
        except RuntimeError:
            continue
        raise AssertionError(f"{late} was taken")
    await send(body())


async def hints_out_of_generators(scope, receive, send):
    """So many and so large that some must wait for room, perhaps not before their links were looked at."""
    asyncio.get_running_loop().call_soon(print, "a hint waits")
    for number in range(int(scope["query_string"])):
        links = (b"</%d/%d>; %s" % (number, part, b"rel=preload; " * 8) for part in range(50))
        await send({"type": "http.response.early_hint", "links": links})
    await ok(send)


async def bad_hint(scope, receive, send):
    for wrong in (
        {"type": "http.response.early_hint", "links": ["text"]},
        {"type": "http.response.early_hint", "links": [b"</a>\r\nx: y"]},
        {"type": "http.response.informational", "status": 200, "headers": []},
        {"type": "http.response.informational", "status": 101, "headers": []},
    ):
        try:
            await send(wrong)
        except (RuntimeError, TypeError, ValueError):
            continue
        raise AssertionError(f"{wrong} was taken")
    await ok(send)


# --- waiting for the client --------------------------------------------------------------------------------------

PIECE = bytes(range(256)) * 4096  # 1 MiB


async def send_waits(scope, receive, send):
    """A client that does not read makes send() wait; the gate tells the client to begin."""
    await send(start())
    sender = asyncio.create_task(send(body(PIECE * 16, True)))
    done, _ = await asyncio.wait({sender}, timeout=0.2)
    EVENTS.append("sent" if done else "waits")
    await sender
    await send(body(b"end"))


async def sends_at_the_same_time(scope, receive, send):
    """Several at once go out in the order in which they were called."""
    await send(start())
    await asyncio.gather(*(asyncio.create_task(send(body(bytes([65 + n]) * 500_000, True))) for n in range(8)))
    await send(body())


async def sends_without_await(scope, receive, send):
    """Legal it is not, but what was said is said: the last of it goes out when the application has returned."""
    send(start())
    for number in range(8):
        send(body(bytes([65 + number]) * 500_000, number < 7))


async def a_cancelled_send_is_still_sent(scope, receive, send):
    await send(start())
    try:
        await asyncio.wait_for(send(body(PIECE * 16, True)), 0.05)
    except TimeoutError:
        EVENTS.append("gave up")
    await send(body(b"end"))


async def client_leaves_while_send_waits(scope, receive, send):
    await send(start())
    EVENTS.append("begins")
    try:
        while True:
            await send(body(PIECE, True))
    except OSError as error:
        EVENTS.append(type(error).__name__)
        raise


async def head_is_held(scope, receive, send):
    await send(start())
    EVENTS.append("holds a head")
    await asyncio.wait_for(gate(scope).wait(), 30)
    try:
        await send(body(b"too late"))
    except OSError:
        EVENTS.append("nobody there")


async def ignores_the_client(scope, receive, send):
    """Notices nothing of the client's leaving, until it is cancelled or its gate opens."""
    EVENTS.append("begins")
    try:
        await asyncio.wait_for(gate(scope).wait(), 60)
    except asyncio.CancelledError:
        EVENTS.append("cancelled")
        raise


async def raises_its_own_after_disconnect(scope, receive, send):
    EVENTS.append("begins")
    while (await receive())["type"] != "http.disconnect":
        pass
    raise LookupError("no fault of the client")


async def sends_to_nobody(scope, receive, send):
    EVENTS.append("begins")
    while (await receive())["type"] != "http.disconnect":
        pass
    try:
        await send(start())
    except OSError as error:
        EVENTS.append("OSError")
        raise RuntimeError("as frameworks wrap it") from error


# --- the application ---------------------------------------------------------------------------------------------

async def gather_a_cancelled_receive(scope, receive, send):
    await receive()
    waiting = receive()
    asyncio.get_running_loop().call_soon(waiting.cancel)
    (result,) = await asyncio.gather(waiting, return_exceptions=True)
    await send(start())
    await send(body(type(result).__name__.encode()))


ROUTES = {f"/{name}": value for name, value in list(globals().items()) if asyncio.iscoroutinefunction(value)}


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    try:
        await ROUTES[scope["path"]](scope, receive, send)
    except Exception:
        EVENTS.append(traceback.format_exc().splitlines()[-1])
        raise


class Application:
    """Neither a coroutine function nor one that returns a coroutine."""

    class Run:
        def __init__(self, *arguments) -> None:
            self.arguments = arguments

        def __await__(self):
            return application(*self.arguments).__await__()

    def __call__(self, scope, receive, send):
        return self.Run(scope, receive, send)


app = application
awaitable_app = Application()
