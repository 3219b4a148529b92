"""The ways in which an ASGI application takes part in the lifespan protocol, or declines it."""

import asyncio
import sys

from hello_asgi import app as http


async def failed(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is away"})
        return
    await http(scope, receive, send)


async def raises(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("this application knows no lifespan")
    await http(scope, receive, send)


async def raises_after_receive(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        raise RuntimeError("start-up broke")
    await http(scope, receive, send)


async def returns(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await http(scope, receive, send)


async def shutdown_raises(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan: shutdown begins", file=sys.stderr, flush=True)
        raise RuntimeError("shutdown broke")
    await http(scope, receive, send)


async def waits_with_a_limit(scope, receive, send):
    """Does something now and then until it hears of the end."""
    if scope["type"] != "lifespan":
        await http(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    message = None
    while message is None:
        try:
            message = await asyncio.wait_for(receive(), 0.01)
        except TimeoutError:
            print("lifespan: waits once more", file=sys.stderr, flush=True)
            # Sometimes it does not wait at the moment when the end comes.
            await asyncio.sleep(0.01)
    print("lifespan: heard", message["type"], file=sys.stderr, flush=True)
    await send({"type": "lifespan.shutdown.complete"})
