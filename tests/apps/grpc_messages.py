"""gRPC's framing and a protobuf message of one string, by hand: the applications need no library for it.

    message Name { string text = 1; }
    service Greeter {
      rpc Greet(Name) returns (Name);             /test.Greeter/Greet
      rpc GreetOften(Name) returns (stream Name); /test.Greeter/GreetOften: GREETINGS of them
      rpc Fail(Name) returns (Name);              /test.Greeter/Fail: status 9, with a message that needs escapes
    }
"""

from urllib.parse import quote

GREETINGS = 5
OK, UNIMPLEMENTED, FAILED_PRECONDITION, INVALID_ARGUMENT = 0, 12, 9, 3
CONTENT_TYPE = "application/grpc+proto"


def encode_text(text: str) -> bytes:
    data = text.encode()
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return b"\x0a" + size + bytes([length]) + data if data else b""


def decode_text(message: bytes) -> str:
    if not message:
        return ""
    if message[0] != 0x0A:
        raise ValueError("the first field is not `text`")
    at, length, shift = 1, 0, 0
    while True:
        length |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return message[at : at + length].decode()


def frame(text: str) -> bytes:
    message = encode_text(text)
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframe(body: bytes) -> str:
    """The one message of a request that is not a stream."""
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise ValueError("not one uncompressed message")
    return decode_text(body[5:])


def status(code: int, message: str = "") -> list[tuple[str, str]]:
    return [("grpc-status", str(code)), ("grpc-message", quote(message))]
