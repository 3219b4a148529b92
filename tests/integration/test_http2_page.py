"""Gunicorn's page about HTTP/2, from top to bottom: each command, setting, table row, sample and piece of advice.

Commands and samples are the page's own text. Adapted are the program's name, paths, ports and `pip install` (nothing is
to be installed here); the tests put the application `myapp` and the certificate beside them.
"""

import re
import shlex
import ssl
import sys

import h2.settings
import httpx
import pytest

from harness.client import Client
from harness.http2 import Http2Client, connect_http2
from harness.programs import curl, curl_version, free_port, need, newer_nginx, nginx, run
from harness.server import Server, run_to_end
from harness.tls import TlsClient
from harness.waiting import eventually

MYAPP = """
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [environ['SERVER_PROTOCOL'].encode()]
"""
ASGI_MYAPP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["http_version"].encode()})
"""
LATER = "the worker comes with issue 6"


@pytest.fixture
def page(serve, tls, tmp_path):
    return Page(serve, tls, tmp_path)


class Page:
    """A folder with myapp.py, server.crt and server.key, as the page's reader has it."""

    def __init__(self, serve, tls, folder) -> None:
        self.serve, self.tls, self.folder = serve, tls, folder
        (folder / "server.crt").write_bytes(tls.ecdsa.cert.read_bytes())
        (folder / "server.key").write_bytes(tls.ecdsa.key.read_bytes())
        self.write("myapp.py", MYAPP)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def adapt(self, text: str) -> str:
        for written in ("/path/to/", "/etc/letsencrypt/live/example.com/"):
            text = text.replace(written, f"{self.folder}/")
        return text.replace("fullchain.pem", "server.crt").replace("privkey.pem", "server.key")

    def run(self, command: str, **options) -> Server:
        """A command line of the page."""
        words = shlex.split(self.adapt(command).replace("\\\n", " "))
        assert words.pop(0) == "gunicorn"
        return self.serve(words.pop(0), *words, cwd=self.folder, **options)

    def configure(self, sample: str, *options: str, **more) -> Server:
        """A gunicorn.conf.py of the page, found where Gunicorn finds it. Options complete a sample that is a part."""
        assert not sample.startswith("#") or "gunicorn.conf.py" in sample.splitlines()[0]
        self.write("gunicorn.conf.py", self.adapt(sample))
        return self.serve("myapp:app", *options, cwd=self.folder, **more)

    @property
    def pair(self) -> tuple[str, ...]:
        return "--certfile", "server.crt", "--keyfile", "server.key"

    def negotiated(self, server: Server, *offered: str) -> str | None:
        with self.tls.connect(server, alpn=offered or ("h2", "http/1.1")) as client:
            return client.sock.selected_alpn_protocol()

    def connect(self, server: Server) -> Http2Client:
        return connect_http2(server, self.tls)

    def serves_http2(self, server: Server) -> None:
        with self.connect(server) as client:
            response = client.request("/")
            assert (response.status, response.text[:6]) == (200, "HTTP/2")

    def serves_http1(self, server: Server) -> None:
        with self.tls.connect(server) as client:
            assert client.request("/").text == "HTTP/1.1"

    def announced(self, server: Server) -> dict[int, int]:
        """The settings that the server's first frame says, on top of the protocol's own defaults."""
        with self.connect(server) as client:
            client.request("/")
            return dict(client.h2.remote_settings)


# --- Quick Start -----------------------------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="the package for pip comes with issue 6")
def test_quick_start_pip_install():
    assert run(sys.executable, "-m", "pip", "show", "uroboros").returncode == 0


def test_quick_start_command(page):
    server = page.run(r"""gunicorn myapp:app \
    --worker-class gthread \
    --threads 4 \
    --certfile server.crt \
    --keyfile server.key \
    --http-protocols h2,h1
""")
    page.serves_http2(server)
    page.serves_http1(server)


# --- Requirements ----------------------------------------------------------------------------------------------------


def test_requirement_http2_needs_tls(page):
    """Without TLS nobody is offered HTTP/2, and a client that insists is refused."""
    server = page.run("gunicorn myapp:app --http-protocols h2,h1")
    assert server.get("/").text == "HTTP/1.1"
    assert run(need("curl"), "--silent", "--http2-prior-knowledge", server.url).returncode != 0
    assert curl_version("--http2", server.url) == "1.1"


def test_requirement_the_h2_library_is_not_needed(page):
    """It is in C here: an application's interpreter that cannot import h2 serves HTTP/2 all the same."""
    page.write("h2.py", "raise ImportError('no h2 here')")
    page.write("myapp.py", "try:\n    import h2\nexcept ImportError:\n    pass\nelse:\n    raise SystemExit(1)\n" + MYAPP)
    page.serves_http2(page.run("gunicorn myapp:app --certfile server.crt --keyfile server.key --http-protocols h2,h1"))


# --- Configuration: enable HTTP/2 ------------------------------------------------------------------------------------


def test_enable_by_command(page):
    server = page.run("gunicorn myapp:app --http-protocols h2,h1 --certfile server.crt --keyfile server.key")
    assert page.negotiated(server) == "h2"


@pytest.mark.parametrize("form", ['["h2", "h1"]', '"h2,h1"', '("h2", "h1")'])
def test_enable_by_file(page, form):
    sample = """# gunicorn.conf.py
http_protocols = ["h2", "h1"]
"""
    assert page.negotiated(page.configure(sample.replace('["h2", "h1"]', form), *page.pair)) == "h2"


@pytest.mark.parametrize(("order", "chosen"), [("h2,h1", "h2"), ("h1,h2", "http/1.1")])
def test_the_order_matters_for_alpn(page, order, chosen):
    server = page.run(f"gunicorn myapp:app --http-protocols {order} --certfile server.crt --keyfile server.key")
    assert page.negotiated(server, "h2", "http/1.1") == chosen
    assert page.negotiated(server, "http/1.1", "h2") == chosen


@pytest.mark.parametrize(("protocol", "name", "text"), [("h2", "h2", "HTTP/2.0"), ("h1", "http/1.1", "HTTP/1.1")])
def test_protocol_row(page, protocol, name, text):
    server = page.run(f"gunicorn myapp:app --http-protocols {protocol} --certfile server.crt --keyfile server.key")
    assert page.negotiated(server, name) == name
    if protocol == "h2":
        page.serves_http2(server)
    else:
        page.serves_http1(server)
        assert page.negotiated(server, "h2", "http/1.1") == "http/1.1"


def test_h1_is_the_fallback_of_clients_without_http2(page):
    server = page.run("gunicorn myapp:app --http-protocols h2,h1 --certfile server.crt --keyfile server.key")
    assert page.negotiated(server, "http/1.1") == "http/1.1"
    with TlsClient(server.address, page.tls.client_context()) as client:
        assert client.sock.selected_alpn_protocol() is None  # no ALPN at all
        assert client.request("/").text == "HTTP/1.1"


# --- Configuration: SSL/TLS ------------------------------------------------------------------------------------------


def test_tls_by_command(page):
    page.serves_http2(page.run(r"""gunicorn myapp:app \
    --certfile /path/to/server.crt \
    --keyfile /path/to/server.key \
    --http-protocols h2,h1
"""))


def test_tls_by_file(page):
    page.serves_http2(page.configure("""# gunicorn.conf.py
certfile = "/path/to/server.crt"
keyfile = "/path/to/server.key"
http_protocols = ["h2", "h1"]
"""))


# --- Configuration: HTTP/2 settings ----------------------------------------------------------------------------------

CODES = h2.settings.SettingCodes
SETTINGS = {
    "http2_max_concurrent_streams": (100, CODES.MAX_CONCURRENT_STREAMS, 7),
    "http2_initial_window_size": (65535, CODES.INITIAL_WINDOW_SIZE, 70_000),
    "http2_max_frame_size": (16384, CODES.MAX_FRAME_SIZE, 20_000),
    "http2_max_header_list_size": (65536, CODES.MAX_HEADER_LIST_SIZE, 9_000),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_row(page, name):
    """The default is the page's, and another value is said to clients. The limits' own effect: test_http2_limits_*."""
    default, code, other = SETTINGS[name]
    assert page.announced(page.serve("myapp:app", *page.pair, cwd=page.folder)).get(code) == default
    option = "--" + name.replace("_", "-")
    assert page.announced(page.serve("myapp:app", *page.pair, option, str(other), cwd=page.folder)).get(code) == other


def test_http2_limits_concurrent_streams(page):
    """The stream beyond the limit is refused, and the others are served."""
    page.write("myapp.py", "import time\n" + MYAPP.replace("    return", "    time.sleep(2)\n    return"))
    server = page.run("gunicorn myapp:app --threads 4 --http2-max-concurrent-streams 3 --certfile server.crt"
                      " --keyfile server.key")
    with page.connect(server) as client:
        streams = [client.start("/") for _ in range(3)]
        client.h2.remote_settings[CODES.MAX_CONCURRENT_STREAMS] = 100  # a client that does not care
        client.h2.remote_settings.acknowledge()
        late = client.start("/")
        client.read_until(lambda: client.reset_code(late) is not None, "the reset of the fourth stream")
        assert client.reset_code(late) == 7  # REFUSED_STREAM
        assert [client.finish(stream).status for stream in streams] == [200, 200, 200]
        assert client.request("/").status == 200


def test_http2_limits_header_list_size(page):
    server = page.run("gunicorn myapp:app --http2-max-header-list-size 9000 --certfile server.crt --keyfile server.key")
    with page.connect(server) as client:
        client.h2.remote_settings[CODES.MAX_HEADER_LIST_SIZE] = 1 << 20
        fields = [(f"x-{number}", "v" * 1000) for number in range(10)]
        assert client.request("/", headers=fields[:5]).status == 200
        assert client.request("/", headers=fields).status == 431
        assert client.request("/").status == 200


def test_settings_sample(page):
    server = page.configure("""# gunicorn.conf.py
http_protocols = ["h2", "h1"]
http2_max_concurrent_streams = 200
http2_initial_window_size = 1048576  # 1MB
""", *page.pair)
    said = page.announced(server)
    assert (said[CODES.MAX_CONCURRENT_STREAMS], said[CODES.INITIAL_WINDOW_SIZE]) == (200, 1048576)


# --- Worker compatibility --------------------------------------------------------------------------------------------


def test_worker_row_sync(page):
    server = page.run("gunicorn myapp:app -k sync --http-protocols h2,h1 --certfile server.crt --keyfile server.key")
    server.wait_for_log(r"\[WARNING\].*HTTP/2 is not supported by the sync worker")
    assert page.negotiated(server) == "http/1.1"
    page.serves_http1(server)


def test_worker_row_gthread(page):
    server = page.run("gunicorn myapp:app -k gthread --threads 2 --certfile server.crt --keyfile server.key")
    page.serves_http2(server)


def check_config(page, *options: str):
    return run_to_end("myapp:app", "--check-config", *options, cwd=page.folder)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason=LATER)
@pytest.mark.parametrize("worker", ["gevent", "eventlet"])
def test_worker_row_of_a_green_thread_library(page, worker):
    done = check_config(page, "-k", worker, *page.pair)
    assert done.returncode == 0, done.stderr


def test_worker_row_asgi(page):
    page.write("myapp.py", ASGI_MYAPP)
    server = page.run("gunicorn myapp:app -k asgi --certfile server.crt --keyfile server.key")
    with page.connect(server) as client:
        assert client.request("/").text == "2"


@pytest.mark.xfail(strict=True, raises=AssertionError, reason=LATER)
def test_worker_row_tornado(page):
    done = check_config(page, "-k", "tornado", *page.pair)
    assert (done.returncode, "HTTP/2 is not supported by the tornado worker" in done.stderr) == (0, True), done.stderr


def test_recommended_worker(page):
    server = page.run(r"""gunicorn myapp:app \
    --worker-class gthread \
    --threads 4 \
    --workers 2 \
    --http-protocols h2,h1 \
    --certfile server.crt \
    --keyfile server.key
""")
    page.serves_http2(server)
    assert len(eventually(lambda: server.app_processes(), what="the workers")) == 2


# --- Early hints -----------------------------------------------------------------------------------------------------

WSGI_HINTS = """
def app(environ, start_response):
    # Send early hints if available
    if 'wsgi.early_hints' in environ:
        environ['wsgi.early_hints']([
            ('Link', '</style.css>; rel=preload; as=style'),
            ('Link', '</app.js>; rel=preload; as=script'),
        ])

    # Continue with the actual response
    start_response('200 OK', [('Content-Type', 'text/html')])
    return [b'<html>...</html>']
"""
ASGI_HINTS = """
async def app(scope, receive, send):
    # Send early hints
    await send({
        "type": "http.response.informational",
        "status": 103,
        "headers": [
            (b"link", b"</style.css>; rel=preload; as=style"),
            (b"link", b"</app.js>; rel=preload; as=script"),
        ],
    })

    # Send the actual response
    await send({
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/html")],
    })
    await send({
        "type": "http.response.body",
        "body": b"<html>...</html>",
    })
"""
HINTS = ["</style.css>; rel=preload; as=style", "</app.js>; rel=preload; as=script"]


@pytest.fixture(params=["wsgi", "asgi"])
def hints(request, page):
    """The page's application. Its ASGI sample knows no lifespan, which a server has to bear."""
    page.write("myapp.py", {"wsgi": WSGI_HINTS, "asgi": ASGI_HINTS}[request.param])
    worker = {"wsgi": "gthread", "asgi": "asgi"}[request.param]
    return page.run(f"gunicorn myapp:app -k {worker} --certfile server.crt --keyfile server.key")


def check_hints(response) -> None:
    assert [interim.status for interim in response.interim] == [103]
    assert response.interim[0].all("link") == HINTS
    assert (response.status, response.body) == (200, b"<html>...</html>")


def test_early_hints_over_http2(page, hints):
    with page.connect(hints) as client:
        check_hints(client.request("/"))


def test_early_hints_over_http1(page, hints):
    with page.tls.connect(hints) as client:
        check_hints(client.request("/"))


def test_http_1_0_clients_get_no_hints(page, hints):
    with page.tls.connect(hints) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = client.read_response()
    assert (response.interim, response.body) == ([], b"<html>...</html>")


# --- Production: nginx -----------------------------------------------------------------------------------------------

NGINX = """upstream gunicorn {
    server 127.0.0.1:8443;
    keepalive 32;
}

server {
    listen 443 ssl;
    http2 on;
    server_name example.com;

    ssl_certificate /path/to/server.crt;
    ssl_certificate_key /path/to/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;

    # Forward 103 Early Hints (requires nginx 1.29+)
    location / {
        proxy_pass https://gunicorn;
        proxy_http_version 1.1;
        proxy_ssl_verify off;

        early_hints $http2;

        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
"""


def test_nginx_in_front_passes_early_hints(page, hints):
    port = free_port()
    http = page.adapt(NGINX).replace("8443", str(hints.address[1])).replace("listen 443", f"listen 127.0.0.1:{port}")
    with nginx(newer_nginx(), page.folder, http, port):
        client = TlsClient(("127.0.0.1", port), page.tls.client_context(("h2",)))
        with Http2Client(client.sock, "https") as proxied:
            for _ in range(3):
                check_hints(proxied.request("/"))


# --- Production: TLS here --------------------------------------------------------------------------------------------


def test_direct_tls_termination(page):
    server = page.configure("""# gunicorn.conf.py
bind = "0.0.0.0:443"
worker_class = "gthread"
threads = 4
workers = 4

# SSL
certfile = "/etc/letsencrypt/live/example.com/fullchain.pem"
keyfile = "/etc/letsencrypt/live/example.com/privkey.pem"

# HTTP/2
http_protocols = ["h2", "h1"]
http2_max_concurrent_streams = 100
""".replace(":443", ":0"), binds=())
    assert server.address[0] == "0.0.0.0"
    assert len(eventually(lambda: server.app_processes(), what="the workers")) == 4
    assert page.announced(server)[CODES.MAX_CONCURRENT_STREAMS] == 100
    page.serves_http2(server)
    page.serves_http1(server)


def test_recommended_settings(page):
    server = page.configure("""# gunicorn.conf.py
worker_class = "gthread"
workers = 4
threads = 4
keepalive = 120  # HTTP/2 connections are long-lived

# SSL/TLS
certfile = "/path/to/server.crt"
keyfile = "/path/to/server.key"
ssl_version = "TLSv1_2"  # Minimum TLS 1.2 for HTTP/2

# HTTP/2
http_protocols = ["h2", "h1"]
http2_max_concurrent_streams = 100
http2_initial_window_size = 65535
""")
    said = page.announced(server)
    assert (said[CODES.MAX_CONCURRENT_STREAMS], said[CODES.INITIAL_WINDOW_SIZE]) == (100, 65535)
    page.serves_http2(server)
    for version, minimum in (("TLSv1.2", ssl.TLSVersion.TLSv1_2), ("TLSv1.3", ssl.TLSVersion.TLSv1_3)):
        context = page.tls.client_context(("h2",))
        context.minimum_version = context.maximum_version = minimum
        with TlsClient(server.address, context) as client:
            assert (client.sock.version(), client.sock.selected_alpn_protocol()) == (version, "h2")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_tls_older_than_1_2_is_refused(page):
    server = page.configure('ssl_version = "TLSv1_2"\n', *page.pair)
    context = page.tls.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)), TlsClient(server.address, context):
        pass


# --- Troubleshooting -------------------------------------------------------------------------------------------------


def test_trouble_not_negotiated_1_is_tls_configured_correctly(page):
    """A wrong certificate is said at once, and nothing is served."""
    done = check_config(page, "--certfile", "server.crt", "--keyfile", "/path/to/nothing")
    assert done.returncode == 1
    assert "/path/to/nothing" in done.stderr


def test_trouble_not_negotiated_2_h2_is_not_in_http_protocols(page):
    server = page.run("gunicorn myapp:app --http-protocols h1 --certfile server.crt --keyfile server.key")
    server.wait_for_log(r"ready: listening at https://\S+ \(http/1\.1\)")
    assert page.negotiated(server, "h2", "http/1.1") == "http/1.1"


@pytest.mark.xfail(strict=True, reason="`pip install h2` is nothing to check here; the package comes with issue 6")
def test_trouble_not_negotiated_3_pip():
    assert run(sys.executable, "-m", "pip", "show", "uroboros").returncode == 0


def test_trouble_not_negotiated_4_openssl_shows_alpn(page):
    server = page.run("gunicorn myapp:app --certfile server.crt --keyfile server.key --http-protocols h2,h1")
    host, port = server.address
    command = "openssl s_client -alpn h2 -connect host:port".replace("host:port", f"{host}:{port}")
    assert "ALPN protocol: h2" in run(*shlex.split(command)).stdout
    assert "ALPN protocol: http/1.1" in run(*shlex.split(command.replace("h2", "http/1.1"))).stdout


def test_trouble_worker(page):
    """"If you see "HTTP/2 is not supported by the sync worker"": the worker that is recommended ends it."""
    server = page.run("gunicorn myapp:app --worker-class gthread --threads 4 --certfile server.crt --keyfile server.key")
    assert "not supported" not in server.log()
    page.serves_http2(server)


def test_trouble_large_requests(page):
    page.write("myapp.py", """
def app(environ, start_response):
    start_response('200 OK', [])
    return [str(len(environ['wsgi.input'].read())).encode()]
""")
    server = page.configure("""http2_initial_window_size = 1048576  # 1MB
http2_max_frame_size = 32768  # 32KB
""", *page.pair)
    with page.connect(server) as client:
        client.request("/")
        assert client.h2.remote_settings[CODES.INITIAL_WINDOW_SIZE] == 1048576
        assert client.h2.max_outbound_frame_size == 32768
        assert client.request("/", "POST", body=b"x" * 5_000_000).text == "5000000"


def test_trouble_large_requests_need_no_setting_here(page):
    page.write("myapp.py", """
def app(environ, start_response):
    start_response('200 OK', [])
    return [str(len(environ['wsgi.input'].read())).encode()]
""")
    with page.connect(page.serve("myapp:app", *page.pair, cwd=page.folder)) as client:
        assert client.request("/", "POST", body=b"x" * 5_000_000).text == "5000000"


def test_trouble_streams(page):
    server = page.configure("http2_max_concurrent_streams = 200  # Increase from default 100\n", *page.pair)
    with page.connect(server) as client:
        client.request("/")
        streams = [client.start("/") for _ in range(200)]
        assert {client.finish(stream).status for stream in streams} == {200}


# --- Testing HTTP/2 --------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(page):
    server = page.run("gunicorn myapp:app --certfile server.crt --keyfile server.key --http-protocols h2,h1")
    return lambda text: re.sub(r"localhost:\d+", f"localhost:{server.address[1]}", text)


@pytest.mark.parametrize(
    "command", ["curl -v --http2 https://localhost:443/", "curl --http2-prior-knowledge https://localhost:443/"]
)
def test_testing_with_curl(page, quick, command):
    words = shlex.split(quick(command))[1:]
    assert curl(*words, ca=page.tls.ca) == "HTTP/2.0"
    assert curl_version(*words, ca=page.tls.ca) == "2"


def test_testing_with_python(page, quick, capsys):
    assert httpx  # what the sample imports
    sample = """
import httpx

with httpx.Client(http2=True, verify=False) as client:
    response = client.get("https://localhost:8443/")
    print(f"HTTP Version: {response.http_version}")
"""
    exec(compile(quick(sample), "page", "exec"), {})
    assert capsys.readouterr().out == "HTTP Version: HTTP/2\n"


# --- what the page promises of Gunicorn and its readers may rely on --------------------------------------------------


def test_a_certificate_alone_brings_http2(page):
    """The default of http_protocols is h2,h1 here; Gunicorn's is h1."""
    server = page.run("gunicorn myapp:app --certfile server.crt --keyfile server.key")
    assert page.negotiated(server) == "h2"


def test_plain_http_at_the_tls_port_gets_words(page):
    server = page.run("gunicorn myapp:app --certfile server.crt --keyfile server.key")
    with Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_response().status == 400
