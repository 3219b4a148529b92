"""A gRPC service as an ASGI application: unary and server-streaming calls, by grpc_messages."""

from grpc_messages import (
    CONTENT_TYPE,
    FAILED_PRECONDITION,
    GREETINGS,
    INVALID_ARGUMENT,
    OK,
    UNIMPLEMENTED,
    frame,
    status,
    unframe,
)


async def greet(name, write):
    await write(frame(f"hello {name}"))
    return status(OK)


async def greet_often(name, write):
    for number in range(GREETINGS):
        await write(frame(f"hello {name} {number}"))
    return status(OK)


async def fail(name, write):
    return status(FAILED_PRECONDITION, f"100% no, {name}")


METHODS = {"/test.Greeter/Greet": greet, "/test.Greeter/GreetOften": greet_often, "/test.Greeter/Fail": fail}


def octets(fields):
    return [(name.encode(), value.encode()) for name, value in fields]


async def read_all(receive):
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def refuse(send, code, reason):
    """gRPC's "Trailers-Only": a head and no more."""
    fields = octets([("content-type", CONTENT_TYPE), *status(code, reason)])
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body"})


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    method = METHODS.get(scope["path"])
    if method is None:
        return await refuse(send, UNIMPLEMENTED, "no such method")
    try:
        name = unframe(await read_all(receive))
    except ValueError as error:
        return await refuse(send, INVALID_ARGUMENT, str(error))
    fields = [(b"content-type", CONTENT_TYPE.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})

    async def write(data):
        await send({"type": "http.response.body", "body": data, "more_body": True})

    end = await method(name, write)
    await send({"type": "http.response.body"})
    await send({"type": "http.response.trailers", "headers": octets(end)})
