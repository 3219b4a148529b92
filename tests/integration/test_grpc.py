"""gRPC through Python applications: unary and server-streaming calls, their statuses in trailers."""

import json
import sys

import pytest

from harness import protocols
from harness.http2 import connect_http2
from harness.programs import go_program, output_of, run
from harness.server import APPS

sys.path.insert(0, str(APPS))
import grpc_messages

APPLICATIONS = {
    "wsgi": ("grpc_wsgi:application", "--threads", "4"),
    "asyncio": ("grpc_asgi:application", "--asgi-loop", "asyncio"),
    "uvloop": ("grpc_asgi:application", "--asgi-loop", "uvloop"),
}
HEADERS = [("content-type", grpc_messages.CONTENT_TYPE), ("te", "trailers")]


@pytest.fixture(params=APPLICATIONS)
def server(request, serve_shared):
    return serve_shared(*APPLICATIONS[request.param], *protocols.HTTP2.options)


@pytest.fixture
def call(server):
    def ask(method, name, body=None):
        data = grpc_messages.frame(name) if body is None else body
        response = protocols.HTTP2.ask(server, f"/test.Greeter/{method}", "POST", HEADERS, data)
        assert (response.status, response.header("content-type")) == (200, grpc_messages.CONTENT_TYPE)
        assert response.header("content-length") in (None, "0")
        return response

    return ask


def messages_of(body: bytes) -> list[str]:
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append(grpc_messages.decode_text(body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_a_unary_call_is_answered(call):
    response = call("Greet", "world")
    assert messages_of(response.body) == ["hello world"]
    assert response.trailers == [("grpc-status", "0"), ("grpc-message", "")]


def test_a_long_message_is_answered(call):
    name = "n" * 300_000
    response = call("Greet", name)
    assert messages_of(response.body) == [f"hello {name}"]
    assert response.trailers[0] == ("grpc-status", "0")


def test_a_streaming_call_gives_every_message(call):
    response = call("GreetOften", "you")
    assert messages_of(response.body) == [f"hello you {number}" for number in range(grpc_messages.GREETINGS)]
    assert response.trailers[0] == ("grpc-status", "0")


def test_a_failure_is_told_in_trailers(call):
    response = call("Fail", "friend")
    assert (response.body, response.trailers) == (
        b"",
        [("grpc-status", "9"), ("grpc-message", "100%25%20no%2C%20friend")],
    )


def test_an_unknown_method_is_a_head_alone(call):
    response = call("Missing", "x")
    assert (response.body, response.trailers, response.header("grpc-status")) == (b"", [], "12")


def test_a_broken_request_is_told(call):
    assert call("Greet", "", body=b"\1bad").header("grpc-status") == "3"


def test_calls_share_a_connection(server):
    with connect_http2(server) as client:
        streams = {
            client.start("/test.Greeter/GreetOften", "POST", HEADERS, grpc_messages.frame(f"caller {number}")): number
            for number in range(20)
        }
        for stream, number in streams.items():
            response = client.finish(stream)
            expected = [f"hello caller {number} {i}" for i in range(grpc_messages.GREETINGS)]
            assert (messages_of(response.body), response.trailers[0]) == (expected, ("grpc-status", "0"))


# --- a client that other people wrote --------------------------------------------------------------------------------

PROTO = """syntax = "proto3";
package test;
message Name { string text = 1; }
service Greeter {
  rpc Greet(Name) returns (Name);
  rpc GreetOften(Name) returns (stream Name);
  rpc Fail(Name) returns (Name);
}
"""


@pytest.fixture(scope="session")
def grpcurl():
    return go_program("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")


@pytest.mark.timeout(320)
def test_grpcurl_calls_in_clear_and_over_tls(serve, grpcurl, tls, tmp_path):
    (tmp_path / "greeter.proto").write_text(PROTO)
    name = ("-import-path", tmp_path, "-proto", "greeter.proto", "-d", '{"text": "world"}')
    for options, way in ((protocols.HTTP2.options, ["-plaintext"]), (tls.ecdsa.options, ["-insecure"])):
        server = serve("grpc_asgi:application", *options)
        address = "%s:%d" % server.address
        shown = output_of(grpcurl, *way, *name, address, "test.Greeter/Greet")
        assert json.loads(shown) == {"text": "hello world"}
        often = output_of(grpcurl, *way, *name, address, "test.Greeter/GreetOften")
        assert often.count("hello world") == grpc_messages.GREETINGS
        failed = run(grpcurl, *way, *name, address, "test.Greeter/Fail")
        assert failed.returncode == 64 + grpc_messages.FAILED_PRECONDITION
        assert "FailedPrecondition" in failed.stderr and "100% no, world" in failed.stderr
