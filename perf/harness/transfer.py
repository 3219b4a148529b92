"""1 GiB up and down over one connection, and many connections that do nothing."""

import hashlib
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from harness.process_tree import CpuSpan, pss_kib, rss_by_name
from harness.servers import Server

PIECE = bytes(range(256)) * 256
SAMPLE_SECONDS = 0.2
IDLE_SETTLE_SECONDS = 13  # idle connections are parked after about ten


@dataclass
class Transfer:
    server: str
    direction: str
    mib_per_second: float
    cpu_ms_per_mib: float
    pss_grown_kib: int
    io_grown_kib: int | None
    sha256_right: bool | None
    others_cpu: float = 0.0  # of the server's CPUs, used by others

    def as_dict(self) -> dict:
        return asdict(self)


class MemoryWatch:
    """The highest memory of a tree while it is entered."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.first = self.sample()
        self.peak = self.first
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def sample(self) -> tuple[int, int]:
        """PSS of the tree, and resident memory of our I/O processes (0 for other servers)."""
        io = sum(kib for title, kib in rss_by_name(self.root).items() if "uroboros: io" in title)
        return pss_kib(self.root), io

    def _run(self) -> None:
        while not self.stop.wait(SAMPLE_SECONDS):
            self.peak = tuple(map(max, self.peak, self.sample()))

    def __enter__(self) -> "MemoryWatch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def _read_head(connection: socket.socket) -> tuple[int | None, bytes]:
    """The Content-Length, None for a chunked body, and what came of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"closed within the head: {data[:200]!r}")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    if " 200" not in lines[0]:
        raise ConnectionError(lines[0])
    return next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), None), rest


def _expected_digest(pieces: int) -> str:
    digest = hashlib.sha256()
    for _ in range(pieces):
        digest.update(PIECE)
    return digest.hexdigest()


def _discard_chunked(connection: socket.socket, expected: int, rest: bytes) -> None:
    """Reads to the last chunk, which cannot come before `expected` octets."""
    count, tail = len(rest), rest[-7:]
    while count < expected or not tail.endswith(b"\r\n0\r\n\r\n"):
        part = connection.recv(1 << 20)
        if not part:
            raise ConnectionError(f"closed after {count} octets")
        count += len(part)
        tail = (tail + part)[-7:]


def _download(connection: socket.socket, pieces: int, verify: bool) -> bool | None:
    connection.sendall(f"GET /download?{pieces} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    length, rest = _read_head(connection)
    if length is None:
        _discard_chunked(connection, pieces * len(PIECE), rest)
        return None
    digest = hashlib.sha256(rest) if verify else None
    missing = length - len(rest)
    buffer = memoryview(bytearray(1 << 20))
    while missing:
        count = connection.recv_into(buffer[: min(missing, len(buffer))])
        if not count:
            raise ConnectionError(f"closed with {missing} octets missing")
        if digest:
            digest.update(buffer[:count])
        missing -= count
    return digest.hexdigest() == _expected_digest(pieces) if digest else None


def _upload(connection: socket.socket, pieces: int, verify: bool) -> bool | None:
    query = "sha256" if verify else "count"
    length = pieces * len(PIECE)
    connection.sendall(f"POST /upload?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode())
    block = PIECE * 16
    for _ in range(pieces // 16):
        connection.sendall(block)
    for _ in range(pieces % 16):
        connection.sendall(PIECE)
    expected, answer = _read_head(connection)
    while len(answer) < expected:
        answer += connection.recv(4096)
    count, digest = answer.decode().split()
    if int(count) != length:
        raise ConnectionError(f"{count} octets arrived of {length}")
    return digest == _expected_digest(pieces) if verify else None


def run_transfer(server: Server, direction: str, mib: int, cpus: set[int], verify: bool) -> Transfer:
    pieces = mib * (1 << 20) // len(PIECE)
    move = _download if direction == "download" else _upload
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            move(connection, 64, False)
            with MemoryWatch(server.process.pid) as watch, CpuSpan(server.process.pid, server.cpus - cpus) as span:
                right = move(connection, pieces, verify)
    finally:
        os.sched_setaffinity(0, before)
    return Transfer(
        server=server.name,
        direction=direction,
        mib_per_second=mib / span.seconds,
        cpu_ms_per_mib=span.cpu / mib * 1e3,
        pss_grown_kib=watch.peak[0] - watch.first[0],
        io_grown_kib=watch.peak[1] - watch.first[1] if watch.first[1] else None,
        sha256_right=right,
        others_cpu=span.others,
    )


# Preface, SETTINGS, and HEADERS of stream 1: GET https://a/ by HPACK's static table. Then the server's SETTINGS answered.
HTTP2_REQUEST = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\0\0\0\x04\0\0\0\0\0"
    b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01a"
    b"\0\0\0\x04\x01\0\0\0\0"
)
HELLO = b"Hello, World!"  # what the applications answer


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def http1_connection(port: int) -> socket.socket:
    """Has made a request, and waits."""
    connection = _connect(port)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    length, rest = _read_head(connection)
    while len(rest) < length:
        rest += connection.recv(4096)
    return connection


def http2_connection(port: int) -> socket.socket:
    """The same over TLS and HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # self-signed, and only measured
    context.set_alpn_protocols(["h2"])
    connection = context.wrap_socket(_connect(port))
    connection.sendall(HTTP2_REQUEST)
    data = b""
    while HELLO not in data:
        part = connection.recv(4096)
        if not part:
            raise ConnectionError(f"closed before the answer: {data[:200]!r}")
        data += part
    return connection


def idle_bytes_each(server: Server, count: int, connect: Callable[[int], socket.socket] = http1_connection) -> float:
    """How many octets of PSS each of `count` connections costs that made a request and now wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 100:
        raise RuntimeError(f"{count} connections need a higher limit of open files than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections: list[socket.socket] = []
    before = pss_kib(server.process.pid)
    try:
        for _ in range(count):
            connections.append(connect(server.port))
        time.sleep(IDLE_SETTLE_SECONDS)
        return (pss_kib(server.process.pid) - before) * 1024 / count
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
