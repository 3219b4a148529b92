"""The kernel's TLS: what it takes over, that it does, and that nothing is lost or said in clear at the switch.

Of each product of circumstances every pair is tried; --full tries all of it.

Proof is /proc/net/tls_stat, whose counters only the kernel moves. Without kernel TLS there is nothing to be tested
here; tests/kernel/run.py runs this file in a kernel that has it, and there a missing one is a failure.
"""

import contextlib
import ctypes
import hashlib
import hmac
import itertools
import json
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from harness.client import Parallel, build_request
from harness.http2 import connect_http2
from harness.programs import curl, need, output_of
from harness.server import Server, allowed
from harness.tls import TlsClient
from harness.waiting import eventually

TCP_ULP = 31
MODES = ["tx", "both"]
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SUITES = {
    ("1.2", "AES-128-GCM"): ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("1.2", "AES-256-GCM"): ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("1.2", "ChaCha20"): ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("1.3", "AES-128-GCM"): ("--tlsv1.3", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"),
    ("1.3", "AES-256-GCM"): ("--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"),
    ("1.3", "ChaCha20"): ("--tlsv1.3", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"),
}
BODY = bytes(range(256)) * 2048
PROTOCOLS, APPLICATIONS = ["1.1", "2"], ["ktls_wsgi:app", "ktls_asgi:app"]


def of_these(cases, enough) -> list:
    return [case if case in enough else pytest.param(*case, marks=pytest.mark.full) for case in cases]


def matrix() -> list:
    """Every mode with every suite; and with each, as with each other, every protocol and every application."""
    pairs = {
        (mode, *suite, PROTOCOLS[(i + j) % 2], APPLICATIONS[(i // 2 + j) % 2])
        for (i, suite), (j, mode) in itertools.product(enumerate(SUITES), enumerate(MODES))
    }
    cases = itertools.product(MODES, SUITES, PROTOCOLS, APPLICATIONS)
    return of_these([(mode, *suite, protocol, app) for mode, suite, protocol, app in cases], pairs)


def kernel_has_tls() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError:
            return False
    return True


@pytest.fixture(scope="module", autouse=True)
def needs_kernel_tls():
    if kernel_has_tls():
        return
    if "UROBOROS_TEST_KTLS" in os.environ:
        pytest.fail("this kernel was to have TLS")
    pytest.skip("this kernel has no TLS (no module `tls`)")


@pytest.fixture(scope="module")
def table(request):
    """What the kernel did, case by case, for the eye."""
    cases: dict[tuple[str, ...], list[str]] = {}
    yield cases
    plugins = request.config.pluginmanager
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        print(f"\nkernel {os.uname().release}: connections that the kernel encrypted")
        for (mode, version, cipher), protocols in sorted(cases.items()):
            print(f"  ktls = {mode:4}  TLS {version}  {cipher:11}  {', '.join(sorted(protocols))}")


@pytest.fixture(params=MODES)
def mode(request) -> str:
    return request.param


@pytest.fixture
def serve_mode(serve_shared, tls, mode):
    def start(application: str = "ktls_wsgi:app", *options: str) -> Server:
        return serve_shared(
            application, *tls.ecdsa.options, "--ktls", mode, "--rings", "1", "--metrics-path", "/metrics", *options
        )

    return start


def counters() -> dict[str, int]:
    with open("/proc/net/tls_stat") as file:
        return {name: int(number) for name, number in (line.split() for line in file)}


def metric(client: TlsClient, name: str) -> int:
    text = client.request("/metrics").body.decode()
    return int(re.search(rf"^uroboros_{re.escape(name)} (\d+)$", text, re.MULTILINE)[1])


def expect_encrypted(before: dict[str, int], connections: int = 1) -> None:
    after = counters()
    assert after["TlsTxSw"] - before["TlsTxSw"] == connections
    assert after["TlsDecryptError"] == before["TlsDecryptError"]


def expected(mode: str, before: dict[str, int], connections: int = 1) -> None:
    expect_encrypted(before, connections)
    assert counters()["TlsRxSw"] - before["TlsRxSw"] == (connections if mode == "both" else 0)


# --- version x cipher x protocol x application -----------------------------------------------------------------------


@pytest.mark.parametrize("mode, version, cipher, protocol, application", matrix())
def test_the_kernel_serves(mode, version, cipher, protocol, application, serve_mode, tls, tmp_path, table):
    server = serve_mode(application)
    sent = tmp_path / "body"
    sent.write_bytes(BODY)
    before = counters()
    host, port = server.address
    answer = subprocess.run(
        [
            *("curl", "-sS", "--cacert", tls.ca, f"--http{protocol}", *SUITES[version, cipher], "-H", "Expect:"),
            *("--data-binary", f"@{sent}", "-D", tmp_path / "heads", f"https://{host}:{port}/a", "--next", "-sS"),
            *("--cacert", tls.ca, f"--http{protocol}", *SUITES[version, cipher], f"https://{host}:{port}/b"),
        ],
        capture_output=True,
        timeout=allowed(30),
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    assert answer.stdout == BODY[::-1] + b"nothing came"
    assert (tmp_path / "heads").read_text().startswith(f"HTTP/{protocol}")
    expected(mode, before)
    name = f"HTTP/{protocol} {application[5:9].upper()}"
    table.setdefault((mode, version, cipher), []).append(name)


# --- a client that says what shares a segment ------------------------------------------------------------------------


class Wire:
    """TLS in memory: what it has to say is sent when and as the test wants."""

    def __init__(self, server: Server, tls, version: str, key_log: Path | None = None) -> None:
        context = tls.client_context(("http/1.1",))
        if key_log is not None:
            context.keylog_filename = key_log
        context.minimum_version = context.maximum_version = VERSIONS[version]
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="test.example")
        self.sock = socket.create_connection(server.address, timeout=allowed(10))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def handshake(self) -> bytes:
        """Up to what has to be said last, the Finished, which is returned and not sent."""
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def read(self, enough) -> bytes:
        """Until `enough` says so, or close_notify: an end without it raises."""
        text = b""
        while not enough(text):
            try:
                piece = self.tls.read(1 << 20)
                if not piece:
                    return text
                text += piece
            except ssl.SSLWantReadError:
                data = self.sock.recv(1 << 20)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            except ssl.SSLZeroReturnError:
                return text
        return text

    def finish(self) -> bytes:
        return self.read(lambda text: False)

    def answers(self, count: int, body: bytes) -> None:
        text = self.read(lambda text: text.count(b"HTTP/1.1 200 OK") == count and text.count(body) >= count)
        assert text.count(b"HTTP/1.1 200 OK") == count and text.endswith(body)


GET = build_request("/b")
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(params=list(VERSIONS))
def version(request) -> str:
    return request.param


@pytest.fixture
def wire(serve_mode, tls, version):
    with Wire(serve_mode(), tls, version) as wire:
        yield wire


def test_a_request_in_the_segment_of_the_finished(wire, mode):
    before = counters()
    finished = wire.handshake()
    wire.sock.sendall(finished + wire.sealed(GET))
    wire.answers(1, b"nothing came")
    wire.sock.sendall(wire.sealed(GET))
    wire.answers(1, b"nothing came")
    expected(mode, before)


CUTS = {1: "1.2", 4: "1.3", 5: "1.3", 6: "1.2", 40: "1.3", -1: "1.3"}


@pytest.mark.parametrize(
    "mode, version, cut",
    of_these(
        list(itertools.product(MODES, VERSIONS, CUTS)),
        {("tx", "1.2", 5), ("tx", "1.3", 6), *(("both", version, cut) for cut, version in CUTS.items())},
    ),
)
def test_a_record_cut_in_two_at_the_switch(wire, mode, cut):
    before = counters()
    finished = wire.handshake()
    whole, cut_one = wire.sealed(GET), wire.sealed(GET)
    wire.sock.sendall(finished + whole + cut_one[:cut])
    wire.answers(1, b"nothing came")
    wire.sock.sendall(cut_one[cut:] + wire.sealed(GET))
    wire.answers(2, b"nothing came")
    expected(mode, before)


def test_a_megabyte_behind_the_finished(wire, mode):
    before = counters()
    finished = wire.handshake()
    post = build_request("/a", method="POST", headers=[("Content-Length", str(len(BODY) * 2))])
    data = finished + wire.sealed(post) + b"".join(wire.sealed(BODY[i : i + 9000]) for i in range(0, len(BODY), 9000))
    data += wire.sealed(BODY) + wire.sealed(LAST)
    with Parallel() as parallel:
        parallel.start(wire.sock.sendall, data)
        text = wire.finish()
    assert text.count(b"HTTP/1.1 200 OK") == 2 and (BODY * 2)[::-1] in text and text.endswith(b"nothing came")
    expected(mode, before)


@pytest.mark.parametrize("end", ["fin", "close_notify", "both"])
def test_an_end_in_the_segment_of_the_finished(wire, end):
    finished = wire.handshake()
    data = finished + wire.sealed(GET)
    if end != "fin":
        data += wire.goodbye()
    wire.sock.sendall(data)
    if end != "close_notify":
        wire.sock.shutdown(socket.SHUT_WR)
    raw = b""
    while piece := wire.sock.recv(65536):
        raw += piece
    assert len(raw) > 100 and b"nothing came" not in raw and b"HTTP/1.1" not in raw


def test_the_end_is_said_in_tls(wire):
    """Of a connection that is over nothing is decrypted any more, by nobody."""
    before = counters()
    wire.sock.sendall(wire.handshake() + wire.sealed(LAST))
    assert wire.finish().endswith(b"nothing came")
    expect_encrypted(before)


def test_half_a_request_and_a_fin_are_no_request(wire):
    wire.sock.sendall(wire.handshake() + wire.sealed(GET))
    wire.answers(1, b"nothing came")
    wire.sock.sendall(wire.sealed(GET[:-2]))
    wire.sock.shutdown(socket.SHUT_WR)
    assert b" 200 OK" not in wire.finish()


def test_a_forged_record_ends_the_connection_with_an_alert_or_a_reset(wire):
    wire.sock.sendall(wire.handshake() + wire.sealed(GET))
    wire.answers(1, b"nothing came")
    forged = bytearray(wire.sealed(GET))
    forged[-1] ^= 1
    wire.sock.sendall(forged)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        wire.finish()


def test_tickets_are_given_before_the_switch(serve_mode, tls, version):
    server = serve_mode()
    context = tls.client_context()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    session = None
    for turn in range(3):
        with TlsClient(server.address, context, "test.example", session) as client:
            assert client.request("/b").status == 200
            assert client.sock.session_reused == (turn > 0)
            session = client.sock.session


def test_early_data_and_what_comes_behind_them(serve_mode, tmp_path):
    server = serve_mode("ktls_wsgi:app", "--tls-early-data")
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(GET)
    with s_client(server, "-servername", "test.example", "-sess_out", session) as process:
        say(process, LAST)
        read_to(process, b"nothing came")
        process.wait()
    before = counters()
    with s_client(server, "-servername", "test.example", "-sess_in", session, "-early_data", early) as process:
        said = read_to(process, b"Early data was accepted")
        while said.count(b"nothing came") < 1:
            said += read_to(process, b"nothing came")
        say(process, LAST)
        read_to(process, b"nothing came")
        process.wait()
    expect_encrypted(before)


def test_an_application_learns_the_same_before_and_after_the_switch(serve_mode, tls, version):
    server = serve_mode("protocol_wsgi:application", "--ca-certs", str(tls.ca), "--cert-reqs", "required")
    context = tls.client_context(pair=tls.chained_client)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with TlsClient(server.address, context) as client:
        environs = [json.loads(client.request("/request").body) for _ in range(3)]
    facts = [{key: value for key, value in environ.items() if key.startswith("SSL_")} for environ in environs]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["SSL_CLIENT_S_DN_CN"] == "chained-client" and facts[0]["SSL_TLS_SNI"] == "test.example"


def test_what_the_kernel_does_is_told(serve_mode, tls, mode):
    with tls.connect(serve_mode()) as client:
        does = [metric(client, f'ktls_kernel{{ring="0",does="{what}"}}') for what in ("encrypt", "decrypt", "rekey")]
    assert does == [1, int(mode == "both"), int(can_rekey())]


def test_an_end_that_tls_does_not_know_of_is_counted(serve_mode, tls, mode):
    server = serve_mode("ktls_wsgi:app", "--keep-alive", "99")  # nobody else's: what others leave behind ends any time
    with tls.connect(server) as observer:
        for is_polite in (True, False):
            with Wire(server, tls, "1.3") as wire:
                wire.sock.sendall(wire.handshake() + wire.sealed(GET))
                wire.answers(1, b"nothing came")
                if is_polite:
                    wire.sock.sendall(wire.goodbye())
                wire.sock.shutdown(socket.SHUT_WR)
                while wire.sock.recv(65536):
                    pass
        name = 'tls_truncations_total{ring="0"}'
        eventually(lambda: metric(observer, name) > 0, what="the end that was not polite is counted")
        assert metric(observer, name) == 1


class Sealer:
    """Makes records of TLS 1.3 by itself, for those that OpenSSL makes for nobody: without data, or with padding."""

    KEY_BYTES, NONCE_BYTES, TAG_BYTES, GET_TAG, DATA = 32, 12, 16, 0x10, b"\x17"

    def __init__(self, wire: Wire, key_log: Path) -> None:
        assert wire.tls.cipher()[0] == "TLS_AES_256_GCM_SHA384"
        secret = bytes.fromhex(re.search(r"^CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)$", key_log.read_text(), re.MULTILINE)[1])
        self.key, self.nonce = (
            self.expand(secret, label, length) for label, length in ((b"key", self.KEY_BYTES), (b"iv", self.NONCE_BYTES))
        )
        self.sent = 0
        self.library = ctypes.CDLL("libcrypto.so.3")
        for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
            getattr(self.library, name).restype = ctypes.c_void_p
        self.cipher = ctypes.c_void_p(self.library.EVP_aes_256_gcm())
        self.context = ctypes.c_void_p(self.library.EVP_CIPHER_CTX_new())

    @staticmethod
    def expand(secret: bytes, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label, of at most one block: RFC 8446 7.1."""
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return hmac.digest(secret, info + b"\1", hashlib.sha384)[:length]

    def record(self, data: bytes = b"", padding: int = 0) -> bytes:
        text, length = data + self.DATA + bytes(padding), ctypes.c_int()
        header = b"\x17\3\3" + (len(text) + self.TAG_BYTES).to_bytes(2, "big")
        number = self.sent.to_bytes(self.NONCE_BYTES, "big")
        nonce = bytes(a ^ b for a, b in zip(self.nonce, number, strict=True))
        self.sent += 1
        sealed, tag = ctypes.create_string_buffer(len(text)), ctypes.create_string_buffer(self.TAG_BYTES)
        context, crypto = self.context, self.library
        assert crypto.EVP_EncryptInit_ex(context, self.cipher, None, self.key, nonce) == 1
        assert crypto.EVP_EncryptUpdate(context, None, ctypes.byref(length), header, len(header)) == 1
        assert crypto.EVP_EncryptUpdate(context, sealed, ctypes.byref(length), text, len(text)) == 1
        assert crypto.EVP_EncryptFinal_ex(context, None, ctypes.byref(length)) == 1
        assert crypto.EVP_CIPHER_CTX_ctrl(context, self.GET_TAG, self.TAG_BYTES, tag) == 1
        return header + sealed.raw + tag.raw


def test_records_without_data_are_a_flood_and_few_of_them_are_not(serve_mode, tls, tmp_path):
    with Wire(serve_mode(), tls, "1.3", key_log=tmp_path / "keys") as wire:
        wire.sock.sendall(wire.handshake())
        sealer = Sealer(wire, tmp_path / "keys")
        for _ in range(2):
            wire.sock.sendall(sealer.record(GET))
            wire.answers(1, b"nothing came")
        few = b"".join(sealer.record() for _ in range(30))
        wire.sock.sendall(few + sealer.record(GET))
        wire.answers(1, b"nothing came")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            for _ in range(10):
                wire.sock.sendall(b"".join(sealer.record() for _ in range(1_000)))
            wire.finish()


def test_records_with_padding_arrive_though_the_kernel_expects_none(serve_mode, tls, tmp_path, mode):
    before = counters()
    with Wire(serve_mode(), tls, "1.3", key_log=tmp_path / "keys") as wire:
        wire.sock.sendall(wire.handshake())
        sealer = Sealer(wire, tmp_path / "keys")
        for padding in (0, 1, 500, 5_000, 0):  # the long one is more than a buffer, and copied anyway
            wire.sock.sendall(sealer.record(GET, padding))
            wire.answers(1, b"nothing came")
    after = counters()
    assert after["TlsRxNoPadViolation"] - before["TlsRxNoPadViolation"] == (2 if mode == "both" else 0)


def heap(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def test_an_idle_connection_that_the_kernel_serves_has_no_object_of_boringssl(serve, tls):
    """Some 250 octets (docs/tls.md), where one with it has 4,000."""
    server = serve("ktls_wsgi:app", *tls.ecdsa.options, "--ktls", "both", "--rings", "1", "--keep-alive", "99")
    context, more = tls.client_context(), 300
    (pid,) = server.io_processes()
    with contextlib.ExitStack() as stack:

        def open_idle(count: int) -> None:
            for _ in range(count):
                client = stack.enter_context(TlsClient(server.address, context, "test.example"))
                assert client.request("/b").status == 200

        open_idle(100)
        before = heap(pid)
        open_idle(more)
        assert (heap(pid) - before) / more < 1_000


# --- new keys --------------------------------------------------------------------------------------------------------


def s_client(server: Server, *options: object) -> subprocess.Popen:
    host, port = server.address
    return subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def read_to(process: subprocess.Popen, wanted: bytes) -> bytes:
    """What it says, up to and with `wanted`."""
    said = b""
    while wanted not in said:
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, said.decode(errors="replace")
        said += piece
    return said


@pytest.fixture
def keyed(serve_mode):
    """openssl's client, which says KeyUpdate when it reads k, and asks for one in return when it reads K."""
    with s_client(serve_mode()) as process:
        yield process
        process.kill()


def say(process: subprocess.Popen, text: bytes) -> None:
    process.stdin.write(text)
    process.stdin.flush()


def can_rekey() -> bool:
    return "TlsRxRekeyOk" in counters()


@pytest.mark.parametrize("letter", ["k", "K"])
def test_a_client_that_takes_new_keys_is_served_on_where_that_is_possible(keyed, mode, letter):
    say(keyed, GET)
    read_to(keyed, b"nothing came")
    before, times = counters(), 3
    for _ in range(times):
        say(keyed, f"{letter}\n".encode())
        if mode == "both" and not can_rekey():
            read_to(keyed, b"alert internal error")
            return
        read_to(keyed, b"KEYUPDATE")
        say(keyed, GET)
        read_to(keyed, b"nothing came")
    if can_rekey():
        after = counters()
        assert after["TlsRxRekeyOk"] - before["TlsRxRekeyOk"] == (times if mode == "both" else 0)
        assert after["TlsTxRekeyOk"] - before["TlsTxRekeyOk"] == (times if letter == "K" else 0)


def test_by_default_the_kernel_decrypts_where_it_can_take_new_keys(serve, tls):
    server = serve("ktls_wsgi:app", *tls.ecdsa.options, "--ktls", "auto")
    before = counters()
    with tls.connect(server) as client:
        assert client.request("/b").status == 200
        assert client.request("/b").status == 200
    expected("both" if can_rekey() else "tx", before)


# --- other clients ---------------------------------------------------------------------------------------------------


def test_many_streams_of_one_connection(serve_mode, tls, mode):
    server = serve_mode("ktls_asgi:app")
    before = counters()
    with connect_http2(server, tls) as client:
        streams = [client.start("/a", method="POST", body=BODY[: 1000 * n]) for n in range(1, 21)]
        for n, stream in enumerate(streams, 1):
            assert client.finish(stream).body == BODY[: 1000 * n][::-1]
    expected(mode, before)


def test_h2load(serve_mode, tls, mode):
    server = serve_mode("ktls_asgi:app")
    before = counters()
    said = output_of(need("h2load"), "-n", 200, "-c", 4, "-m", 10, f"https://localhost:{server.address[1]}/")
    assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in said
    expected(mode, before, connections=4)


def test_switched_off_it_is_user_space_that_serves(serve, tls):
    server = serve("ktls_wsgi:app", *tls.ecdsa.options, "--ktls", "off")
    before = counters()
    assert curl(f"https://localhost:{server.address[1]}/b", ca=tls.ca) == "nothing came"
    assert counters() == before
    assert "kernel TLS is not used: it is switched off" in server.log()
