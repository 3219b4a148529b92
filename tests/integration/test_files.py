"""Files that applications hand over: whole, in part, while they change, and to clients that do not wait for them."""

import contextlib
import ctypes
import errno
import gzip
import json
import mmap
import os
import random
import signal
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlencode

import h2.errors
import httpx
import pytest
from test_metrics import read, total

from harness.client import Client, Parallel, build_request
from harness.http2 import StreamReset, connect_http2
from harness.waiting import eventually

BLOB = random.Random(11).randbytes(3_000_017)
LONG = BLOB * 7  # more than the kernel takes for a client that does not read
# At, and on both sides of, what is read in the application and what one read of the I/O process takes.
SIZES = (1, 16_385, 65_535, 65_536, 65_537, 131_073, 1_000_003, len(BLOB))
WAYS = ("http/1.1", "http/1.1 tls", "h2", "h2 tls")


@pytest.fixture
def place(tmp_path):
    """A file of so many octets."""

    def make(size: int = len(BLOB), name: str = "blob") -> str:
        path = tmp_path / name
        path.write_bytes(BLOB[:size])
        return str(path)

    return make


@pytest.fixture
def long_file(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(LONG)
    return str(path)


@pytest.fixture(params=WAYS)
def ask(request, serve_shared, tls):
    """ask(QUERY, **OPTIONS): one request by each version of HTTP, in clear and by TLS."""
    version, _, secure = request.param.partition(" ")
    options = tls.ecdsa.options if secure else ("--http2-cleartext", "prior-knowledge")
    server = serve_shared("files_wsgi:app", "--threads", "4", "--metrics-path", "/metrics", *options)
    base = server.url.replace("http:", "https:") if secure else server.url
    trust = ssl.create_default_context(cafile=str(tls.ca))
    with httpx.Client(http1=version != "h2", http2=version == "h2", verify=trust, timeout=60) as client:

        def send(method: str = "GET", headers=None, **query) -> httpx.Response:
            return client.request(method, f"{base}/?{urlencode(query)}", headers=headers)

        send.client, send.base = client, base
        yield send


@pytest.fixture
def server(serve_shared):
    return serve_shared("files_wsgi:app", "--threads", "4", "--metrics-path", "/metrics", "--http2-cleartext", "prior-knowledge")


def handed_over(server) -> int:
    return total(read(server), "files_total")


def target(**query) -> str:
    return "/?" + urlencode(query)


def slow_client(server) -> Client:
    """One for whom little fits on the way."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client = server.connect(60)
    client.sock.close()
    sock.settimeout(60)
    sock.connect(server.address)
    client.sock = sock
    return client


# --- what is sent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_it_comes_whole(ask, place, size):
    response = ask(path=place(size))
    assert response.status_code == 200
    assert response.headers["content-length"] == str(size)
    assert response.content == BLOB[:size]


def test_an_empty_file_is_an_empty_body(ask, place):
    assert ask(path=place(0)).content == b""


@pytest.mark.parametrize(("offset", "length"), [(0, 20_000), (1, 1), (70_000, 65_536), (99_999, 2_000_000)])
def test_its_position_and_the_stated_length_count(ask, place, offset, length):
    response = ask(path=place(), offset=offset, length=length)
    assert response.content == BLOB[offset : offset + length]


def test_from_its_position_to_its_end(ask, place):
    assert ask(path=place(), offset=1_234_567).content == BLOB[1_234_567:]


@pytest.mark.parametrize("size", [100, 500_000])
def test_head_and_not_modified_have_no_body_and_the_connection_goes_on(ask, place, size):
    path = place(size)
    assert ask("HEAD", path=path, length=size).headers["content-length"] == str(size)
    assert ask(path=path, status="304 Not Modified").status_code == 304
    assert ask(path=path, status="204 No Content").content == b""
    assert ask(path=path).content == BLOB[:size]


@pytest.mark.parametrize("kind", ["raw", "temporary", "memory"])
def test_other_files_of_python(ask, place, kind):
    assert ask(path=place(), kind=kind).content == BLOB


@pytest.mark.parametrize("kind", ["gzip", "gzip-buffered"])
def test_what_read_would_give_is_sent_and_not_the_octets_of_the_file(ask, tmp_path, kind):
    path = tmp_path / "blob.gz"
    path.write_bytes(gzip.compress(BLOB, 1))
    assert ask(path=path, kind=kind).content == BLOB


def test_a_read_of_the_applications_own_is_asked(ask, place):
    assert ask(path=place(), kind="subclass").content == BLOB.swapcase()


def test_a_pipe_is_read(ask, place):
    assert ask(path=place(), kind="pipe").content == BLOB[:4096]


def test_behind_octets_that_were_written(ask, place):
    assert ask(path=place(), before="first").content == b"first" + BLOB


def test_a_body_that_is_too_short_is_seen_to_be(ask, place):
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask(path=place(100_000), length=200_000)


def test_it_is_closed_once(ask, place):
    paths = [place(size, f"of {size}") for size in (100, 1_000_000)]
    for path in paths:
        assert ask(path=path).status_code == 200
    found, expected = [], {f"closed {path}" for path in paths}
    eventually(lambda: found.extend(ask.client.get(f"{ask.base}/events").json()) or expected <= set(found))
    assert len([event for event in found if event in expected]) == 2


# --- by whom -----------------------------------------------------------------------------------------------------


def test_the_io_process_reads_what_is_not_small(serve, place):
    server = serve("files_wsgi:app", "--metrics-path", "/metrics")
    # The page of metrics is not made anew for each request.
    for size in (100, 100_000, 65_536, 65_537):
        assert server.get(target(path=place(size))).body == BLOB[:size]
    eventually(lambda: handed_over(server) >= 2)
    assert handed_over(server) == 2


def test_without_sendfile_the_application_reads(serve, place):
    server = serve("files_wsgi:app", "--no-sendfile", "--metrics-path", "/metrics")
    assert server.get(target(path=place())).body == BLOB
    assert handed_over(server) == 0


def test_the_application_may_go_before_its_file_is_sent(serve, long_file):
    server = serve("files_wsgi:app", "--metrics-path", "/metrics")
    with slow_client(server) as client:
        client.send(build_request(target(path=long_file)))
        eventually(lambda: handed_over(server) == 1)
        eventually(lambda: json.loads(server.get("/events").body) == [f"closed {long_file}"])
        for pid in server.app_processes():
            os.kill(pid, signal.SIGKILL)
            server.wait_for_exit_of(pid)
        assert client.read_response().body == LONG


# --- which way ---------------------------------------------------------------------------------------------------


def is_at_hand(path: str) -> bool:
    """As the kernel tells without waiting; asked for what it does not have, it begins to read. OSError: it cannot tell."""
    with open(path, "rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


def can_tell_what_is_cached(path: str) -> bool:
    try:
        is_at_hand(path)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        return False
    return True


def cached_pages(path: str) -> int:
    """Unlike a look by preadv(), this one has nothing read."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        states = (ctypes.c_ubyte * -(-len(memory) // mmap.PAGESIZE))()
        first = ctypes.c_char.from_buffer(memory)
        status = ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(len(memory)), states)
        del first  # a mapping that is looked at cannot be closed
    assert status == 0
    return sum(state & 1 for state in states)


def drop_from_cache(path: str) -> bool:
    """The kernel keeps for a while what somebody still has a hand on."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        for _ in range(1000):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if cached_pages(path) == 0:
                return True
            os.sched_yield()
    return False


def ways(server, files: int) -> tuple[int, int, int]:
    """Of so many files: octets by sendfile, octets read, and reads of what was not in the page cache."""
    eventually(lambda: handed_over(server) == files and total(read(server), "files_live") == 0)
    samples = read(server)

    def count(name: str, label: str = "") -> int:
        return sum(value for (found, _, text), value in samples.items() if found == name and label in text)

    return (
        count("file_bytes_total", 'way="sendfile"'),
        count("file_bytes_total", 'way="read"'),
        count("file_cold_reads_total"),
    )


@pytest.fixture
def fresh(serve):
    return serve("files_wsgi:app", "--metrics-path", "/metrics", "--http2-cleartext", "prior-knowledge")


def test_in_clear_the_kernel_sends_it(fresh, place):
    path = place()
    if not can_tell_what_is_cached(path):
        pytest.skip("this file system does not tell what it has at hand")
    assert fresh.get(target(path=path)).body == BLOB
    assert ways(fresh, 1)[:2] == (len(BLOB), 0)


def test_for_http_2_it_is_read(fresh, place):
    with connect_http2(fresh) as client:
        assert client.request(target(path=place())).body == BLOB
    assert ways(fresh, 1) == (0, len(BLOB), 0)


def cold_files(place) -> Iterator[str]:
    for number in range(20):
        path = place(name=f"cold {number}")
        if not drop_from_cache(path):
            pytest.skip("this file system has its files in memory only")
        yield path


def test_what_is_not_in_the_page_cache_is_read_by_the_ring_first(fresh, place):
    if not can_tell_what_is_cached(place()):
        pytest.skip("this file system does not tell what it has at hand")
    for count, path in enumerate(cold_files(place), 1):
        assert fresh.get(target(path=path)).body == BLOB
        by_sendfile, by_read, cold = ways(fresh, count)
        assert (by_sendfile, by_read) == (count * len(BLOB), 0)
        if cold > 0:
            return
    # A disk may be so fast that a look finds what the look itself had read: then the test's own looks find it, too.
    if all(map(is_at_hand, cold_files(place))):
        pytest.skip("this disk has everything at once")
    pytest.fail("files that were cold were never read by the ring first")


def test_where_the_file_system_does_not_tell_what_is_cached_it_is_read(fresh, place):
    path = place()
    if can_tell_what_is_cached(path):
        pytest.skip("this file system tells what it has at hand")
    assert fresh.get(target(path=path)).body == BLOB
    assert ways(fresh, 1) == (0, len(BLOB), 0)


# --- files that change -------------------------------------------------------------------------------------------


def test_a_file_that_becomes_shorter_ends_the_connection(server, long_file):
    with slow_client(server) as client:
        client.send(build_request(target(path=long_file)))
        eventually(lambda: total(read(server), "files_live") == 1)
        os.truncate(long_file, 1_000_000)
        body = client.read_until_close().partition(b"\r\n\r\n")[2]
    assert LONG.startswith(body) and len(body) < len(LONG)


def test_a_file_that_becomes_shorter_ends_the_stream(server, place, long_file):
    with connect_http2(server) as client:
        stream = client.start(target(path=long_file))
        client.read_until(lambda: client.body_so_far(stream))
        os.truncate(long_file, 70_000)
        with pytest.raises(StreamReset) as caught:
            client.finish(stream)
        assert caught.value.code == h2.errors.ErrorCodes.INTERNAL_ERROR
        assert client.request(target(path=place(50_000, "other"))).body == BLOB[:50_000]


def test_a_file_that_grows_is_sent_as_it_was_stated(server, place, long_file):
    with slow_client(server) as client:
        client.send(build_request(target(path=long_file)))
        eventually(lambda: total(read(server), "files_live") == 1)
        with open(long_file, "ab") as file:
            file.write(b"x" * 1_000_000)
        assert client.read_response().body == LONG
        assert client.request(target(path=place(10, "other"))).body == BLOB[:10]


def test_a_file_that_is_deleted_comes_whole(server, long_file):
    with slow_client(server) as client:
        client.send(build_request(target(path=long_file)))
        eventually(lambda: total(read(server), "files_live") == 1)
        os.unlink(long_file)
        assert client.read_response().body == LONG


# --- many, and clients that go -----------------------------------------------------------------------------------


def test_a_hundred_readers_at_once(server, place):
    path = place()

    def fetch(slow: bool) -> None:
        with slow_client(server) if slow else server.connect(60) as client:
            assert client.request(target(path=path)).body == BLOB

    with Parallel() as parallel:
        for number in range(100):
            parallel.start(fetch, number % 4 == 0)


def test_readers_that_take_nothing_cost_others_nothing(serve, place, long_file):
    server = serve("files_wsgi:app", "--threads", "1", "--metrics-path", "/metrics")
    path, count = place(), 50
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(slow_client(server))
            client.send(build_request(target(path=long_file)))
        eventually(lambda: total(read(server), "files_live") == count)
        with server.connect() as quick:
            for _ in range(20):  # each while all the others wait, which they do until the test ends
                assert quick.request(target(path=path)).body == BLOB
        assert total(read(server), "files_live") == count


def test_a_reader_that_takes_nothing_is_ended_by_write_timeout_and_one_that_reads_is_not(serve, long_file):
    server = serve("files_wsgi:app", "--write-timeout", "1", "--metrics-path", "/metrics")
    with slow_client(server) as stuck, slow_client(server) as reader:
        for client in (stuck, reader):
            client.send(build_request(target(path=long_file)))
        assert reader.read_response().body == LONG
        eventually(lambda: total(read(server), "files_live") == 0, timeout=15)
        with contextlib.suppress(ConnectionResetError):
            assert len(stuck.read_until_close()) < len(LONG)


def test_streams_of_one_connection_have_a_file_each(server, place):
    paths = [place(size, str(size)) for size in SIZES]
    with connect_http2(server) as client:
        streams = [client.start(target(path=path)) for path in paths]
        assert [client.finish(stream).body for stream in streams] == [BLOB[:size] for size in SIZES]


def test_pipelined_requests_have_their_files_in_order(server, place):
    paths = [place(size, str(size)) for size in SIZES]
    with server.connect(60) as client:
        for path in paths:
            client.send(build_request(target(path=path)))
        assert [client.read_response().body for _ in paths] == [BLOB[:size] for size in SIZES]


def test_http_1_0_gets_it_too(server, place):
    with server.connect() as client:
        client.send(f"GET {target(path=place())} HTTP/1.0\r\n\r\n")
        assert client.read_until_close().partition(b"\r\n\r\n")[2] == BLOB


def test_clients_that_go_leave_no_file_open(server, long_file):
    with slow_client(server) as client:
        client.send(build_request(target(path=long_file)))
        eventually(lambda: total(read(server), "files_live") == 1)
    with connect_http2(server) as client:
        stream = client.start(target(path=long_file))
        client.read_until(lambda: client.body_so_far(stream))
        client.reset(stream)
        eventually(lambda: total(read(server), "files_live") == 0)
        assert client.request(target(path=long_file)).body == LONG


# --- ASGI --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asgi(serve_shared):
    return serve_shared("files_asgi:app", "--metrics-path", "/metrics", "--http2-cleartext", "prior-knowledge")


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def ask_asgi(request, asgi):
    def send(method: str = "GET", **query):
        with asgi.connect(60) if request.param == "HTTP/1.1" else connect_http2(asgi) as client:
            return client.request(target(**query), method)

    return send


def errors_of(server) -> list[str]:
    return server.get("/events").text.splitlines()


@pytest.mark.parametrize("way", ["path", "descriptor"])
@pytest.mark.parametrize("size", [0, *SIZES])
def test_asgi_sends_it_whole(ask_asgi, place, size, way):
    response = ask_asgi(path=place(size), way=way)
    assert (response.status, response.body) == (200, BLOB[:size])
    assert response.header("content-length") == str(size)


def test_asgi_states_the_extensions_where_they_are_of_use(serve, asgi):
    both = ["http.response.pathsend", "http.response.zerocopysend"]
    assert errors_of(asgi) == both
    assert errors_of(serve("files_asgi:app", "--no-sendfile")) == []


@pytest.mark.parametrize(("offset", "count"), [(0, 20_000), (1, 1), (70_000, 65_536), (2_999_000, 10**9)])
def test_asgi_sends_a_part(ask_asgi, place, offset, count):
    response = ask_asgi(path=place(), way="descriptor", offset=offset, count=count)
    assert response.body == BLOB[offset : offset + count]


def test_asgi_sends_parts_between_other_octets(ask_asgi, place):
    whole = b"<" + BLOB[:200_000] + b"|" * 100_000 + BLOB[200_000:500_100] + b">"
    assert ask_asgi(path=place(), way="parts").body == whole
    assert ask_asgi(path=place(), way="parts", length=len(whole)).body == whole


def test_asgi_sends_parts_that_do_not_wait_for_each_other(ask_asgi, place):
    assert ask_asgi(path=place(), way="at_once").body == BLOB[:2_500_000]


@pytest.mark.parametrize("size", [100, 500_000])
def test_asgi_has_no_body_where_there_is_none(asgi, place, size):
    path = place(size)
    with asgi.connect() as client:
        assert client.request(target(path=path), "HEAD").header("content-length") == str(size)
        assert client.request(target(path=path, status=304)).status == 304
        assert client.request(target(path=path)).body == BLOB[:size]


def test_asgi_hears_what_is_wrong_with_a_file(ask_asgi, asgi, tmp_path, place):
    os.mkfifo(tmp_path / "fifo")
    errors_of(asgi)
    for path in ("/no/such/file", tmp_path, tmp_path / "fifo", "/dev/zero"):
        assert ask_asgi(path=path).status == 500
    ask_asgi(path=place(1000), length=1000)
    assert [line.partition(":")[0] for line in errors_of(asgi)[:4]] == [
        "FileNotFoundError",
        "IsADirectoryError",
        "ValueError",
        "ValueError",
    ]


def test_asgi_sends_what_was_stated_of_a_file_that_has_grown(ask_asgi, place):
    assert ask_asgi(path=place(300_000), length=200_000).body == BLOB[:200_000]


# --- frameworks --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["http/1.1", "h2 tls"])
def visit(request, serve_shared, tls):
    version, _, secure = request.param.partition(" ")

    def visiting(app: str, *options: str) -> tuple[httpx.Client, str]:
        server = serve_shared(app, *options, *(tls.ecdsa.options if secure else ()))
        client = httpx.Client(
            http1=not secure, http2=bool(secure), verify=ssl.create_default_context(cafile=str(tls.ca)), timeout=60
        )
        request.addfinalizer(client.close)
        return client, server.url.replace("http:", "https:") if secure else server.url

    return visiting


def test_django_file_response(visit, place):
    client, url = visit("files_django:app", "--threads", "2")
    response = client.get(f"{url}/", params={"path": place()})
    assert response.content == BLOB
    assert response.headers["content-length"] == str(len(BLOB))
    assert 'filename="blob"' in response.headers["content-disposition"]
    assert client.head(f"{url}/", params={"path": place()}).headers["content-length"] == str(len(BLOB))


def test_flask_send_file(visit, place):
    client, url = visit("files_flask:app", "--threads", "2")
    path = place()
    whole = client.get(f"{url}/", params={"path": path})
    assert whole.content == BLOB
    ranged = client.get(f"{url}/", params={"path": path}, headers={"Range": "bytes=1000-299999"})
    assert (ranged.status_code, ranged.content) == (206, BLOB[1000:300_000])
    known = client.get(f"{url}/", params={"path": path}, headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_starlette_file_response(visit, place):
    client, url = visit("files_starlette:app")
    path = place()
    whole = client.get(f"{url}/", params={"path": path})
    assert whole.content == BLOB
    ranged = client.get(f"{url}/", params={"path": path}, headers={"Range": "bytes=1000-299999"})
    assert (ranged.status_code, ranged.content) == (206, BLOB[1000:300_000])
    behind = client.get(f"{url}/stamped/", params={"path": path})
    assert (behind.content, behind.headers["x-stamp"]) == (BLOB, "on")
    assert client.head(f"{url}/", params={"path": path}).headers["content-length"] == str(len(BLOB))
