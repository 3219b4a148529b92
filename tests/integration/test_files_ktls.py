"""Files on connections that the kernel encrypts: it takes them from the page cache itself, and none of it leaves in clear.

As test_ktls.py: without kernel TLS there is nothing to be tested here, tests/kernel/run.py has one.
"""

import contextlib
import hashlib
import random
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlencode

import pytest
from test_files import can_tell_what_is_cached
from test_ktls import MODES, VERSIONS, counters, expected, metric, needs_kernel_tls  # noqa: F401 (a fixture)

from harness.client import build_request
from harness.http2 import connect_http2
from harness.tls import TlsClient
from harness.waiting import eventually

MARK = b"-- in clear this must not be seen --"
BLOB = MARK.join(random.Random(12).randbytes(4096) for _ in range(700))


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system that can tell what is in the page cache: the one of /tmp in memory cannot."""
    place = tmp_path_factory.mktemp("files")
    (place / "probe").write_bytes(b"x")
    if can_tell_what_is_cached(str(place / "probe")):
        yield place
        return
    image, mounted = place / "image", place / "disk"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(192 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@pytest.fixture(scope="module")
def path(disk) -> str:
    blob = disk / "blob"
    blob.write_bytes(BLOB)
    return str(blob)


class Tap:
    """Between a client and the server: what the server says is kept as it is on the wire."""

    def __init__(self, server) -> None:
        self.heard = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.server = server
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        client, _ = self.listener.accept()
        with client, socket.create_connection(self.server.address) as server:
            threading.Thread(target=self.pass_on, args=(client, server), daemon=True).start()
            while data := server.recv(1 << 18):
                self.heard += data
                client.sendall(data)

    @staticmethod
    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_a_file_by_the_kernels_tls(serve, tls, path, mode, version):
    server = serve("files_wsgi:app", *tls.ecdsa.options, "--ktls", mode, "--rings", "1", "--metrics-path", "/metrics")
    target = "/?" + urlencode({"path": path})
    before = counters()
    context = tls.client_context(("http/1.1",))
    context.minimum_version = context.maximum_version = VERSIONS[version]
    tap = Tap(server)
    with TlsClient(tap.address, context, timeout=60) as client:
        for _ in range(2):
            body = client.request(target).body
            assert hashlib.sha256(body).digest() == hashlib.sha256(BLOB).digest()
        expected(mode, before)
        eventually(lambda: metric(client, 'file_bytes_total{ring="0",way="sendfile"}') >= len(BLOB))
    assert len(tap.heard) > 2 * len(BLOB)
    assert MARK not in tap.heard


def serve_files(serve, tls, mode: str, *options: str):
    own = ("--ktls", mode, "--rings", "1", "--metrics-path", "/metrics", *options)
    return serve("files_wsgi:app", *tls.ecdsa.options, *own)


@pytest.mark.parametrize("mode", MODES)
def test_a_file_by_http_2_and_the_kernels_tls(serve, tls, path, mode):
    server = serve_files(serve, tls, mode)
    before = counters()
    with connect_http2(server, tls) as client:
        streams = [client.start("/?" + urlencode({"path": path, "offset": n})) for n in range(3)]
        for n, stream in enumerate(streams):
            assert client.finish(stream).body == BLOB[n:]
    expected(mode, before)


@pytest.mark.parametrize("mode", MODES)
def test_a_reader_that_takes_nothing_costs_others_nothing_and_is_ended(serve, tls, disk, path, mode):
    server = serve_files(serve, tls, mode, "--write-timeout", "4", "--threads", "1")
    long_file = disk / "long"
    long_file.write_bytes(bytes(20 << 20))
    with TlsClient(server.address, tls.client_context(("http/1.1",)), timeout=60) as stuck:
        stuck.send(build_request("/?" + urlencode({"path": str(long_file)})))
        with TlsClient(server.address, tls.client_context(("http/1.1",)), timeout=60) as other:
            eventually(lambda: metric(other, 'files_live{ring="0"}') == 1)
            assert other.request("/?" + urlencode({"path": path})).body == BLOB
            eventually(lambda: metric(other, 'files_live{ring="0"}') == 0, timeout=30)
        with pytest.raises((AssertionError, OSError, ssl.SSLError)):
            stuck.read_response()
