"""PROXY protocol, versions 1 and 2: who the client was before a load balancer took the connection."""

import json
import socket
import struct
import time

import pytest

from harness.client import Client, build_request
from harness.server import LATENESS

V1 = b"PROXY TCP4 203.0.113.9 198.51.100.2 56324 443\r\n"
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = build_request("/environ")


def v2(command: int, family: int, payload: bytes) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(payload)) + payload


V4_PAYLOAD = socket.inet_aton("203.0.113.9") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 56324, 443)
V6_PAYLOAD = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 56324, 443)
)
NOOP_TLV = struct.pack("!BH", 0x04, 5) + b"\0" * 5


@pytest.fixture
def server(serve_shared):
    return serve_shared("wsgi_cases:app", "--proxy-protocol", "auto")


def client_seen(server, header: bytes) -> tuple[str, str]:
    with server.connect() as client:
        client.send(header + REQUEST)
        environ = json.loads(client.read_response().body)
        # The header belongs to the connection: the next request has the same client.
        again = json.loads(client.request("/environ").body)
        assert again["REMOTE_ADDR"] == environ["REMOTE_ADDR"]
        return environ["REMOTE_ADDR"], environ["REMOTE_PORT"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (V1, ("203.0.113.9", "56324")),
        (b"PROXY TCP6 2001:db8::9 2001:db8::2 56324 443\r\n", ("2001:db8::9", "56324")),
        (v2(1, 0x11, V4_PAYLOAD), ("203.0.113.9", "56324")),
        (v2(1, 0x21, V6_PAYLOAD), ("2001:db8::9", "56324")),
        (v2(1, 0x11, V4_PAYLOAD + NOOP_TLV), ("203.0.113.9", "56324")),
    ],
    ids=["v1", "v1-ipv6", "v2", "v2-ipv6", "v2-tlv"],
)
def test_the_header_names_the_client(server, header, expected):
    assert client_seen(server, header) == expected


def test_the_environ_has_gunicorn_s_words_about_it(server):
    with server.connect() as client:
        client.send(V1 + REQUEST)
        environ = json.loads(client.read_response().body)
    words = [environ[name] for name in ("PROXY_PROTOCOL", "PROXY_ADDR", "PROXY_PORT", "SERVER_NAME", "SERVER_PORT")]
    assert words == ["TCP4", "198.51.100.2", "443", "198.51.100.2", "443"]


def test_the_scope_has_the_client_and_the_server_of_the_header(serve_shared):
    with serve_shared("asgi_cases:app", "--proxy-protocol", "auto").connect() as client:
        client.send(V1 + build_request("/scope"))
        scope = json.loads(client.read_response().body)["scope"]
    assert (scope["client"], scope["server"]) == (["203.0.113.9", 56324], ["198.51.100.2", 443])


def test_x_forwarded_for_does_not_change_the_client_that_the_header_named(server):
    """Who speaks PROXY does not look into the octets: what stands there is the client's own."""
    with server.connect() as client:
        client.send(V1 + build_request("/environ", headers=[("X-Forwarded-For", "198.51.100.77")]))
        assert json.loads(client.read_response().body)["REMOTE_ADDR"] == "203.0.113.9"


@pytest.mark.parametrize("header", [V1, v2(1, 0x11, V4_PAYLOAD + NOOP_TLV)], ids=["v1", "v2"])
def test_the_header_may_be_cut_anywhere(server, header):
    """The first part is with the server before the second is sent: another connection was answered in between."""
    stream = header + REQUEST
    with server.connect() as other:
        other.send(V1 + REQUEST)
        other.read_response()
        for cut in range(1, len(header) + 2):
            with server.connect() as client:
                client.send(stream[:cut])
                other.request("/environ")
                client.send_more(stream[cut:])
                assert json.loads(client.read_response().body)["REMOTE_ADDR"] == "203.0.113.9", cut


def test_a_header_with_4000_octets_of_tlvs_is_read_and_one_with_5000_is_not(server):
    for size, served in ((4000, True), (5000, False)):
        tlvs = struct.pack("!BH", 0x04, size) + b"\0" * size
        with server.connect() as client:
            client.send(v2(1, 0x11, V4_PAYLOAD + tlvs) + REQUEST)
            assert client.read_until_close() == b"" if not served else client.read_response().status == 200


def test_a_listen_table_may_have_its_own_word(serve, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(
        'proxy_protocol = "v1"\n[[listen]]\naddress = "127.0.0.1:0"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\nproxy_protocol = "off"\n'
        '[[listen]]\naddress = "127.0.0.1:0"\nproxy_protocol = "v2"\n'
    )
    server = serve("wsgi_cases:app", "-c", str(config), binds=())
    headers = (V1, b"", v2(1, 0x11, V4_PAYLOAD))
    for index, address in enumerate(server.addresses):
        for own, header in enumerate(headers):
            with Client(address) as client:
                client.send(header + REQUEST)
                if own != index:
                    assert b" 200 OK" not in client.read_until_close()
                else:
                    seen = json.loads(client.read_response().body)["REMOTE_ADDR"]
                    assert seen == ("203.0.113.9" if header else "127.0.0.1")


def test_octets_that_stop_inside_the_header_are_closed_in_3_seconds(server):
    started = time.monotonic()
    with server.connect() as client:
        client.send_more(V1[:20])
        assert client.read_until_close() == b""
        assert 2.5 <= time.monotonic() - started <= 3 + LATENESS


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", v2(0, 0x00, b""), v2(0, 0x11, V4_PAYLOAD)],
    ids=["v1-unknown", "v2-local", "v2-local-with-address"],
)
def test_local_and_unknown_keep_the_socket_s_own_address(server, header):
    assert client_seen(server, header)[0] == "127.0.0.1"


@pytest.mark.parametrize("header", [V1, v2(1, 0x11, V4_PAYLOAD + NOOP_TLV)], ids=["v1", "v2"])
def test_the_header_may_come_in_pieces(server, header):
    with server.connect() as client:
        client.reader.expect("GET")
        for octet in header + REQUEST:
            client.send_more(bytes([octet]))
        assert json.loads(client.read_response().body)["REMOTE_ADDR"] == "203.0.113.9"


@pytest.mark.parametrize(
    "header",
    [
        REQUEST,
        b"PROXY TCP4 203.0.113.9\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.2 0056324 443\r\n",
        b"PROXY TCP4 203.0.113.999 198.51.100.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        v2(2, 0x11, V4_PAYLOAD),
        v2(1, 0x11, V4_PAYLOAD[:8]),
        V2_SIGNATURE + b"\x31\x11\x00\x00",
    ],
    ids=["none", "short", "port", "address", "endless", "command", "v2-short", "v2-version"],
)
def test_a_wrong_or_missing_header_closes_without_serving(server, header):
    with server.connect() as client:
        client.send(header + (b"" if header is REQUEST else REQUEST))
        assert client.read_until_close() == b""


def test_a_header_that_does_not_come_is_closed_in_3_seconds(server):
    started = time.monotonic()
    with server.connect() as client:
        assert client.read_until_close() == b""
        assert 2.5 <= time.monotonic() - started <= 3 + LATENESS


def test_a_peer_that_is_not_allowed_is_not_served(serve):
    server = serve("wsgi_cases:app", "--proxy-protocol", "auto", "--proxy-allow-from", "192.0.2.1")
    with server.connect() as client:
        client.send(V1 + REQUEST)
        assert client.read_response().status == 403
        client.expect_close()


def test_without_the_setting_the_header_is_a_bad_request(serve_shared):
    with serve_shared("hello_wsgi:app").connect() as client:
        client.send(V1 + REQUEST)
        assert client.read_response().status == 400


@pytest.mark.parametrize(("mode", "other"), [("v1", v2(1, 0x11, V4_PAYLOAD)), ("v2", V1)], ids=["v1", "v2"])
def test_only_the_version_that_was_asked_for(serve_shared, mode, other):
    server = serve_shared("wsgi_cases:app", "--proxy-protocol", mode)
    good = V1 if mode == "v1" else v2(1, 0x11, V4_PAYLOAD)
    assert client_seen(server, good)[0] == "203.0.113.9"
    with server.connect() as client:
        client.send(other + REQUEST)
        assert client.read_until_close() == b""
