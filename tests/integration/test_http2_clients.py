"""Clients that other people wrote speak HTTP/2 with the daemon, over TLS and in clear, and nginx stands in front of it."""

import hashlib
import html
import json
import re
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import grpc
import httpx
import pytest

from harness.client import Client
from harness.http2 import Http2Client
from harness.programs import (
    curl,
    curl_version,
    debian_nginx,
    free_port,
    go_client,
    need,
    newer_nginx,
    nginx,
    output_of,
    run,
)
from harness.server import APPS, PATIENCE, ROOT, Server
from harness.tls import TlsClient

sys.path.insert(0, str(APPS))
from grpc_messages import GREETINGS, decode_text, encode_text  # noqa: E402

CLIENTS = ROOT / "tests" / "clients"
UPLOAD = bytes(range(251)) * 4000
CLEARTEXT = ("--http2-cleartext", "prior-knowledge")
APPLICATIONS = {
    "wsgi": ("clients_wsgi:app", "--threads", "4"),
    "asgi": ("clients_asgi:app", "-w", "2"),
}


@dataclass
class Place:
    """A daemon, and what a client has to be told to reach it by HTTP/2."""

    server: Server
    url: str
    ca: Path | None

    @property
    def is_tls(self) -> bool:
        return self.ca is not None


@pytest.fixture(params=["clear", "tls"])
def way(request):
    return request.param


@pytest.fixture(params=APPLICATIONS)
def place(request, way, serve_shared, tls) -> Place:
    return place_of(serve_shared, tls, way, *APPLICATIONS[request.param])


def place_of(start, tls, way: str, *arguments: str) -> Place:
    if way == "clear":
        server = start(*arguments, *CLEARTEXT)
        return Place(server, server.url, None)
    server = start(*arguments, *tls.ecdsa.options)
    return Place(server, server.url.replace("http:", "https:"), tls.ca)


# --- curl ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def http2_option(way):
    return {"clear": "--http2-prior-knowledge", "tls": "--http2"}[way]


def test_curl_gets(place, http2_option):
    assert curl(http2_option, f"{place.url}/hello", ca=place.ca).startswith("HTTP/2")
    assert curl_version(http2_option, f"{place.url}/hello", ca=place.ca) == "2"


def test_curl_prior_knowledge(place):
    assert curl_version("--http2-prior-knowledge", f"{place.url}/hello", ca=place.ca) == "2"


def test_curl_http1_1(place):
    assert curl_version("--http1.1", f"{place.url}/hello", ca=place.ca) == "1.1"
    assert curl("--http1.1", f"{place.url}/hello", ca=place.ca) == "HTTP/1.1"


def test_curl_is_not_upgraded_in_clear(serve):
    """Upgrade: h2c is not offered (RFC 9113 took it away): the answer is HTTP/1.1."""
    server = serve(*APPLICATIONS["wsgi"], *CLEARTEXT)
    assert curl_version("--http2", f"{server.url}/hello") == "1.1"


def test_curl_uploads(place, http2_option, tmp_path):
    (tmp_path / "upload").write_bytes(UPLOAD)
    for form in ("--data-binary", "--upload-file"):
        argument = {"--data-binary": f"@{tmp_path}/upload"}.get(form, tmp_path / "upload")
        answer = curl(http2_option, form, argument, f"{place.url}/digest", ca=place.ca)
        assert answer == hashlib.sha256(UPLOAD).hexdigest()


def test_curl_downloads(place, http2_option, tmp_path):
    curl(http2_option, f"{place.url}/large?3000000", "--output", tmp_path / "large", ca=place.ca)
    assert (tmp_path / "large").read_bytes() == (b"0123456789abcdef" * 187_500)


def test_curl_shows_hints_and_trailers(place, http2_option):
    hints = curl(http2_option, "--include", f"{place.url}/hints", ca=place.ca)
    assert re.match(r"HTTP/2 103 *\nlink: </style.css>; rel=preload; as=style\n\nHTTP/2 200", hints), hints
    trailers = curl(http2_option, "-H", "TE: trailers", "-D", "-", f"{place.url}/trailers", ca=place.ca)
    assert trailers.endswith("bodyx-digest: abc\n"), trailers


def test_curl_in_parallel(serve, tls):
    """Over TLS only: curl 7.88, Debian's, breaks off by itself with --parallel and prior knowledge."""
    place = place_of(serve, tls, "tls", *APPLICATIONS["wsgi"])
    done = curl("--http2", "--parallel", "--parallel-max", "50", f"{place.url}/hello?[1-100]", ca=place.ca)
    assert done == "HTTP/2.0" * 100


# --- httpx and openssl -----------------------------------------------------------------------------------------------


def test_httpx(place):
    verify = ssl.create_default_context(cafile=str(place.ca)) if place.ca else False
    with httpx.Client(http1=False, http2=True, verify=verify) as client:
        answer = client.get(f"{place.url}/hello")
        assert (answer.http_version, answer.text[:6]) == ("HTTP/2", "HTTP/2")
        answer = client.post(f"{place.url}/digest", content=UPLOAD)
        assert answer.text == hashlib.sha256(UPLOAD).hexdigest()
        answer = client.post(f"{place.url}/digest", content=iter([UPLOAD[:5], UPLOAD[5:]]))
        assert answer.text == hashlib.sha256(UPLOAD).hexdigest()
        assert len(client.get(f"{place.url}/large?3000000").content) == 3_000_000


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("h2", "ALPN protocol: h2"),
        ("h2,http/1.1", "ALPN protocol: h2"),
        ("http/1.1,h2", "ALPN protocol: h2"),  # the server's order decides
        ("http/1.1", "ALPN protocol: http/1.1"),
        ("h3", "alert no application protocol"),
        (None, "No ALPN negotiated"),
    ],
)
def test_openssl_alpn(serve_shared, tls, offered, said):
    server = serve_shared(*APPLICATIONS["wsgi"], *tls.ecdsa.options)
    alpn = ("-alpn", offered) if offered else ()
    done = run(need("openssl"), "s_client", *alpn, "-connect", "%s:%d" % server.address)
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "cipher", "protocol"),
    [
        ("-tls1_3", None, "h2"),
        ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256", "h2"),
        ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305", "h2"),
    ],
)
def test_openssl_ciphers_of_http2(serve_shared, tls, version, cipher, protocol):
    server = serve_shared(*APPLICATIONS["wsgi"], *tls.ecdsa.options)
    ciphers = ("-cipher", cipher) if cipher else ()
    address = "%s:%d" % server.address
    shown = output_of(need("openssl"), "s_client", version, *ciphers, "-alpn", "h2,http/1.1", "-connect", address)
    assert f"ALPN protocol: {protocol}" in shown


# --- nghttp2's programs ----------------------------------------------------------------------------------------------


def test_nghttp(place):
    shown = output_of(need("nghttp"), "--no-verify-peer", "-v", f"{place.url}/hints", f"{place.url}/hello")
    assert len(re.findall(r":status: 200", shown)) == 2
    assert len(re.findall(r":status: 103", shown)) == 1
    assert "error" not in shown.lower().replace("error_code=no_error", "")


def test_nghttp_uploads_with_padding_and_trailers(place, tmp_path):
    (tmp_path / "upload").write_bytes(UPLOAD)
    shown = output_of(
        *(need("nghttp"), "--no-verify-peer", "--padding=255", "--trailer", "x-end: yes", "-d", tmp_path / "upload"),
        f"{place.url}/digest",
    )
    assert shown.strip() == hashlib.sha256(UPLOAD).hexdigest()


@pytest.mark.parametrize("window", [1, 16, 30])
def test_nghttp_with_other_windows(place, window):
    """From one octet, of which there is one a second (H2-12), to the largest; 2^window - 1."""
    size = 5 if window == 1 else 3_000_000
    windows = (f"--window-bits={window}", f"--connection-window-bits={window}")
    shown = output_of(need("nghttp"), "--no-verify-peer", *windows, f"{place.url}/large?{size}")
    assert shown == ("0123456789abcdef" * 187_500)[:size]


@pytest.mark.parametrize(("connections", "streams"), [(1, 1), (1, 100), (10, 10)])
def test_h2load(place, connections, streams):
    shown = output_of(
        *(need("h2load"), "-n", 2000, "-c", connections, "-m", streams, f"{place.url}/hello"), timeout=60
    )
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in shown, shown
    assert "status codes: 2000 2xx" in shown, shown


def test_h2load_uploads(place, tmp_path):
    (tmp_path / "upload").write_bytes(UPLOAD[:100_000])
    options = ("-n", 200, "-c", 4, "-m", 10, "-d", tmp_path / "upload")
    shown = output_of(need("h2load"), *options, f"{place.url}/digest", timeout=60)
    assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in shown, shown


# --- Go and Node -----------------------------------------------------------------------------------------------------


def expect_everything(seen: dict) -> None:
    assert seen["hello"].startswith("HTTP/2")
    assert seen["upload"] and seen.get("streamed_upload", True)
    assert (seen["download"], seen["after_hints"]) == (3_000_000, 200)
    assert seen["hints"] == ["</style.css>; rel=preload; as=style"]
    assert (seen["trailer"], seen["parallel"]) == ("abc", 100)


@pytest.fixture(scope="session")
def go_program():
    version = re.search(r"go1\.(\d+)", output_of(need("go"), "version"))
    if version is None or int(version.group(1)) < 24:
        pytest.skip("Go is older than 1.24, which cannot be told to speak HTTP/2 in clear")
    return go_client(CLIENTS / "client.go")


@pytest.mark.timeout(240)  # the first build on a machine compiles Go's library
def test_go(go_program, place):
    seen = json.loads(output_of(go_program, place.url, place.ca or ""))
    assert seen["proto"] == "HTTP/2.0"
    expect_everything(seen)


def test_node(place):
    seen = json.loads(output_of(need("node"), CLIENTS / "client.mjs", place.url, *([place.ca] if place.ca else [])))
    assert seen["proto"] == ("h2" if place.is_tls else "h2c")
    expect_everything(seen)


# --- gRPC ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["grpc_wsgi:application", "grpc_asgi:application"])
def channel(request, way, serve_shared, tls):
    place = place_of(serve_shared, tls, way, request.param, "--threads", "4")
    target = "%s:%d" % place.server.address
    if place.ca:
        opened = grpc.secure_channel(target, grpc.ssl_channel_credentials(place.ca.read_bytes()))
    else:
        opened = grpc.insecure_channel(target)
    with opened:
        yield opened


def unary(channel, method: str):
    return channel.unary_unary(f"/test.Greeter/{method}", encode_text, decode_text)


def test_grpc_unary(channel):
    call = unary(channel, "Greet")
    assert call("you", timeout=20) == "hello you"
    assert call("y" * 300_000, timeout=20) == "hello " + "y" * 300_000


def test_grpc_unary_calls_at_once(channel):
    calls = [unary(channel, "Greet").future(str(number), timeout=20) for number in range(100)]
    assert [call.result() for call in calls] == [f"hello {number}" for number in range(100)]


def test_grpc_server_streaming(channel):
    call = channel.unary_stream("/test.Greeter/GreetOften", encode_text, decode_text)("you", timeout=20)
    assert list(call) == [f"hello you {number}" for number in range(GREETINGS)]
    assert call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("Fail", grpc.StatusCode.FAILED_PRECONDITION, "100% no, you"),
        ("Nothing", grpc.StatusCode.UNIMPLEMENTED, "no such method"),
    ],
)
def test_grpc_failures(channel, method, code, details):
    with pytest.raises(grpc.RpcError) as raised:
        unary(channel, method)("you", timeout=20)
    assert (raised.value.code(), raised.value.details()) == (code, details)


# --- a browser -------------------------------------------------------------------------------------------------------


def read_ahead(directory: Path) -> None:
    """From end to end: what a program of 300 MB wants page by page keeps a slow disk busy for minutes."""
    for path in directory.glob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


@pytest.fixture
def chromium(tmp_path):
    """Dumps a page when its scripts have come to rest."""
    program = need("chromium")

    def dump(url: str) -> str:
        read_ahead(Path("/usr/lib/chromium"))
        return output_of(
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--ignore-certificate-errors", "--no-proxy-server", f"--user-data-dir={mkdtemp(dir=tmp_path)}"),
            *("--virtual-time-budget=30000", f"--timeout={40_000 * PATIENCE}", "--dump-dom", url),
            timeout=120,
            env={"HOME": str(tmp_path)},
        )

    return dump


def seen_by(chromium, place) -> dict:
    page = chromium(place.url + "/")
    found = re.search(r'<pre id="seen">(.*?)</pre>', page, re.S)
    assert found and found.group(1), page
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.timeout(900 * PATIENCE)
def test_chromium(chromium, serve, tls):
    place = place_of(serve, tls, "tls", *APPLICATIONS["wsgi"])
    seen = seen_by(chromium, place)
    for _ in range(3):
        # Of hints that come while it starts on a busy machine Chromium makes nothing, though its network log has them.
        if not seen["hinted"]:
            seen = seen_by(chromium, place)
    assert seen == {
        "images": 50,
        "upload": True,
        "download": 3_000_000,
        "form": {"word": ["snow ☃ & more"], "other": ["1"]},
        "protocols": ["h2"],
        "hinted": ["/app.js", "/style.css"],
        "styled": "rgb(1, 2, 3)",
        "script": "ran",
    }


# --- nginx in front --------------------------------------------------------------------------------------------------


def nginx_server(tls, port: int, upstream: str, *lines: str) -> str:
    extra = "\n".join(lines)
    return f"""
upstream app {{ server {upstream}; keepalive 8; }}
server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {tls.ecdsa.cert};
    ssl_certificate_key {tls.ecdsa.key};
    client_max_body_size 10m;
    location / {{
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
        {extra}
    }}
}}
"""


def ask_through(tls, port: int) -> None:
    client = TlsClient(("127.0.0.1", port), tls.client_context(("h2",)))
    with Http2Client(client.sock, "https") as proxied:
        streams = [proxied.start("/hello") for _ in range(50)]
        assert {proxied.finish(stream).body for stream in streams} == {b"HTTP/1.1"}
        digest = hashlib.sha256(UPLOAD).hexdigest()
        assert proxied.request("/digest", "POST", body=UPLOAD).text == digest
        assert len(proxied.request("/large?3000000").body) == 3_000_000


def test_debian_nginx_in_front_in_clear(serve, tls, tmp_path):
    server, port = serve(*APPLICATIONS["wsgi"]), free_port()
    upstream = "%s:%d" % server.address
    with nginx(debian_nginx(), tmp_path, nginx_server(tls, port, upstream, "proxy_pass http://app;"), port):
        ask_through(tls, port)


def test_debian_nginx_in_front_by_tls(serve, tls, tmp_path):
    server, port = serve(*APPLICATIONS["wsgi"], *tls.ecdsa.options), free_port()
    lines = ("proxy_pass https://app;", f"proxy_ssl_trusted_certificate {tls.ca};", "proxy_ssl_verify on;",
             "proxy_ssl_name test.example;", "proxy_ssl_server_name on;")
    with nginx(debian_nginx(), tmp_path, nginx_server(tls, port, "%s:%d" % server.address, *lines), port):
        ask_through(tls, port)


@pytest.mark.timeout(240)  # the first run on a machine may have to bring this nginx
def test_newer_nginx_speaks_http2_to_the_application(serve, tls, tmp_path):
    """1.29.4 and newer speak HTTP/2 to what is behind them, in clear by prior knowledge."""
    server, port = serve(*APPLICATIONS["wsgi"], *CLEARTEXT), free_port()
    http = nginx_server(tls, port, "%s:%d" % server.address, "proxy_pass http://app;", "early_hints 1;")
    http = http.replace("ssl http2", "ssl").replace("proxy_http_version 1.1", "proxy_http_version 2")
    http = http.replace('proxy_set_header Connection "";', "").replace("server {\n", "server {\n    http2 on;\n", 1)
    with nginx(newer_nginx(), tmp_path, http, port):
        client = TlsClient(("127.0.0.1", port), tls.client_context(("h2",)))
        with Http2Client(client.sock, "https") as proxied:
            assert proxied.request("/hello").text.startswith("HTTP/2")
            assert proxied.request("/digest", "POST", body=UPLOAD).text == hashlib.sha256(UPLOAD).hexdigest()


def test_http1_clients_are_served_beside(place):
    """One listener, both versions."""
    if place.is_tls:
        client = TlsClient(place.server.address, ssl.create_default_context(cafile=str(place.ca)), "localhost")
    else:
        client = Client(place.server.address)
    with client:
        assert client.request("/hello").body in (b"HTTP/1.1",)
