"""A gRPC service as a WSGI application: unary and server-streaming calls, by grpc_messages."""

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


def greet(name, end):
    yield frame(f"hello {name}")
    end(status(OK))


def greet_often(name, end):
    for number in range(GREETINGS):
        yield frame(f"hello {name} {number}")
    end(status(OK))


def fail(name, end):
    end(status(FAILED_PRECONDITION, f"100% no, {name}"))
    yield b""


METHODS = {"/test.Greeter/Greet": greet, "/test.Greeter/GreetOften": greet_often, "/test.Greeter/Fail": fail}


def refuse(start_response, code, message):
    """gRPC's "Trailers-Only": a head and no more."""
    start_response("200 OK", [("Content-Type", CONTENT_TYPE), *status(code, message)])
    return []


def application(environ, start_response):
    method = METHODS.get(environ["PATH_INFO"])
    if method is None:
        return refuse(start_response, UNIMPLEMENTED, "no such method")
    try:
        name = unframe(environ["wsgi.input"].read())
    except ValueError as error:
        return refuse(start_response, INVALID_ARGUMENT, str(error))
    start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
    return method(name, environ["uroboros.send_trailers"])
