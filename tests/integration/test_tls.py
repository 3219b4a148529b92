"""TLS on the wire: what clients agree upon, how sessions go on, what applications learn. Rows TLS-01 to TLS-19."""

import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

from harness.client import build_request
from harness.server import Server, allowed
from harness.tls import TlsClient, TlsFiles

HELLO = "hello_wsgi:app"
ECHO = "echo_wsgi:app"
FACTS = "protocol_wsgi:application"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def s_client(server: Server, *options: str, text: str = "", timeout: float = 10) -> str:
    """What openssl's client says to itself and to us, and the server to it."""
    host, port = server.address
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", *options]
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=allowed(timeout), check=False)
    return done.stdout + done.stderr


def get_text(target: str = "/", method: str = "GET") -> str:
    return f"{method} {target} HTTP/1.1\nHost: test.example\nConnection: close\n\n".replace("\n", "\r\n")


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture
def server(serve_shared, tls):
    return serve_shared(HELLO, *tls.ecdsa.options)


# --- versions, suites, groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_both_versions_and_both_kinds_of_keys(version, kind, serve_shared, tls):
    server = serve_shared(HELLO, *getattr(tls, kind).options)
    with TlsClient(server.address, only(tls.client_context(), version)) as client:
        assert client.sock.version() == version.name.replace("_", ".")
        assert client.request("/").status == 200


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused_by_name(version, server):
    said = s_client(server, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
)
def test_suites_of_tls_1_2(cipher, server):
    assert f"Cipher is {cipher}" in s_client(server, "-tls1_2", "-cipher", cipher)


@pytest.mark.parametrize(
    "ciphers",
    [
        "AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES128-SHA",
        "DHE-RSA-AES128-GCM-SHA256",
        "AES256-SHA",
    ],
)
def test_suites_without_forward_secrecy_or_aead_are_refused(ciphers, server):
    said = s_client(server, "-tls1_2", "-cipher", f"{ciphers}:@SECLEVEL=0")
    assert "alert handshake failure" in said
    assert "Cipher is (NONE)" in said


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_suites_of_tls_1_3(suite, server):
    assert f"Cipher is {suite}" in s_client(server, "-tls1_3", "-ciphersuites", suite)


def test_groups_are_those_of_the_setting(serve, server, tls):
    assert "X25519" in s_client(server, "-groups", "X25519")
    assert "Peer Temp Key: ECDH, prime256v1" in s_client(server, "-groups", "P-256").replace("Server Temp", "Peer Temp")
    assert "alert handshake failure" in s_client(server, "-groups", "P-521")
    other = serve(HELLO, *tls.ecdsa.options, "--tls-groups", "P-384")
    assert "secp384r1" in s_client(other, "-groups", "X25519:P-384")
    assert "alert handshake failure" in s_client(other, "-groups", "X25519")


def test_a_suite_of_our_list_only(serve, tls):
    server = serve(HELLO, *tls.ecdsa.options, "--ciphers", "ECDHE+CHACHA20:AES128-SHA")
    assert "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" in s_client(server, "-tls1_2")
    assert "alert handshake failure" in s_client(server, "-tls1_2", "-cipher", "AES128-SHA")


def test_tls_1_3_can_be_required(serve, tls):
    server = serve(HELLO, *tls.ecdsa.options, "--tls-min-version", "1.3")
    assert "alert protocol version" in s_client(server, "-tls1_2")
    assert "TLSv1.3" in s_client(server)


def test_nothing_is_renegotiated(server):
    """TLS-03. The R makes openssl's client ask for it."""
    said = s_client(server, "-tls1_2", text="R\n")
    assert "RENEGOTIATING" in said
    assert re.search(r"no renegotiation|unexpected message|handshake failure|closed|unexpected eof", said)
    assert "hello" not in said


def test_nothing_is_compressed(server):
    assert "Compression: NONE" in s_client(server, "-tls1_2", "-comp")


# --- protocols -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("h2", "http/1.1"), "h2"),
        (("http/1.1", "h2"), "h2"),
        (("http/1.1",), "http/1.1"),
        (("h3", "h2"), "h2"),
        ((), None),
    ],
)
def test_alpn_in_our_order(offered, chosen, server, tls):
    with tls.connect(server, alpn=offered) as client:
        assert client.sock.selected_alpn_protocol() == chosen


def test_no_protocol_in_common_is_refused_by_name(server):
    assert "alert no application protocol" in s_client(server, "-alpn", "ftp,h3")


def test_without_alpn_it_is_http_1(server, tls):
    with tls.connect(server, alpn=()) as client:
        assert client.request("/").body == b"hello\n"


def test_http_2_after_http_1_1_was_chosen_is_refused(server, tls):
    with tls.connect(server) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.read_response().status in (400, 505)
        client.expect_close()


def test_http_1_after_http_2_was_chosen_is_refused(server, tls):
    with tls.connect(server, alpn=("h2",)) as client:
        client.send_more(build_request("/"))
        said = client.read_until_close()
    assert b"HTTP/1.1" not in said
    goaway = said.index(b"\x07\x00\x00\x00\x00\x00", 3)
    assert int.from_bytes(said[goaway + 10 : goaway + 14], "big") == 1  # PROTOCOL_ERROR


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(version, server, tls):
    host, port = server.address
    command = [
        *("curl", "-sS", version, "--cacert", str(tls.ca), "--resolve", f"test.example:{port}:{host}"),
        *("-w", "%{http_version}"),
        f"https://test.example:{port}/",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=allowed(20), check=True)
    assert done.stdout == "hello\n" + version[-3:].replace("tp2", "2")


# --- certificates and hosts ------------------------------------------------------------------------------------------


def shown(server: Server, tls: TlsFiles, name: str | None, prepare=lambda context: None) -> str:
    """CN of the certificate that the client is shown."""
    context = tls.client_context()
    context.check_hostname = False
    prepare(context)
    with TlsClient(server.address, context, name) as client:
        subject = client.sock.getpeercert()["subject"]
    return dict(pair[0] for pair in subject)["commonName"]


def several(tls: TlsFiles, *names: str) -> tuple[str, ...]:
    pairs = [getattr(tls, name) for name in names]
    return (
        *("--certfile", ",".join(str(pair.cert) for pair in pairs)),
        *("--keyfile", ",".join(str(pair.key) for pair in pairs)),
    )


def rsa_only(context: ssl.SSLContext) -> None:
    context.maximum_version = TLS12
    context.set_ciphers("ECDHE+aRSA+AESGCM")


def test_names_choose_the_certificate(serve, tls):
    server = serve(HELLO, *several(tls, "ecdsa", "wildcard", "exact"))
    expected = {
        "test.example": "ecdsa",
        "some.wild.example": "wildcard",
        "exact.wild.example": "exact",
        "exact.example": "exact",
        "unknown.example": "ecdsa",
        "two.labels.wild.example": "ecdsa",
        None: "ecdsa",
    }
    assert {name: shown(server, tls, name) for name in expected} == expected


def test_rsa_and_ecdsa_beside_each_other(serve, tls):
    server = serve(HELLO, *several(tls, "rsa", "ecdsa"))
    assert shown(server, tls, "test.example") == "ecdsa"
    assert shown(server, tls, "test.example", rsa_only) == "rsa"
    assert shown(server, tls, None) == "ecdsa"
    assert shown(server, tls, None, rsa_only) == "rsa"


def test_an_unknown_name_can_be_refused(serve, tls):
    server = serve(HELLO, *tls.ecdsa.options, "--tls-strict-sni")
    assert "unrecognized name" in s_client(server, "-servername", "unknown.example")
    assert shown(server, tls, "test.example") == "ecdsa"


def test_a_request_for_another_certificate_s_host_is_misdirected(serve, tls):
    server = serve(HELLO, *several(tls, "ecdsa", "exact"))
    with tls.connect(server) as client:
        assert client.request("/", host="exact.example").status == 421
        assert client.request("/", host="localhost:8443").status == 200
        assert client.request("/", host="nobody.example").status == 421
        assert client.request("/", method="POST", host="exact.example", body=b"some").status == 421
        client.expect_close()
    context = tls.client_context()
    context.check_hostname = False
    with TlsClient(server.address, context, None) as client:
        assert client.request("/", host="192.0.2.1").status == 200
        assert client.request("/", host="exact.example").status == 421


def test_an_ocsp_response_is_stapled(serve, tls):
    response = tls.make_ocsp("stapled", tls.ecdsa)
    server = serve(HELLO, *tls.ecdsa.options, "--ocsp-file", str(response))
    assert "OCSP Response Status: successful" in s_client(server, "-status", "-servername", "test.example")


# --- sessions --------------------------------------------------------------------------------------------------------


def connect_again(server: Server, context: ssl.SSLContext, session=None, name="test.example"):
    with TlsClient(server.address, context, name, session) as client:
        assert client.request("/").status == 200
        return client.sock.session_reused, client.sock.session


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_session_is_resumed(version, server, tls):
    context = only(tls.client_context(), version)
    reused, session = connect_again(server, context)
    assert not reused
    for _ in range(3):
        reused, session = connect_again(server, context, session)
        assert reused


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_session_is_for_one_name_only(version, server, tls):
    """TLS-05: with another name the same ticket is as good as none."""
    context = only(tls.client_context(), version)
    _, session = connect_again(server, context)
    reused, _ = connect_again(server, context, session, "localhost")
    assert not reused


def test_at_most_two_tickets_are_given(server):
    said = s_client(server, "-tls1_3", "-ign_eof", "-msg", text=get_text())
    assert 1 <= said.count("NewSessionTicket") <= 2


def early(server: Server, tmp_path, text: str, session: str, wait: bool = True) -> str:
    """openssl's client does not say again what was refused early, so only an answer to what was taken is waited for."""
    data = tmp_path / "early"
    data.write_text(text)
    options = ("-tls1_3", "-servername", "test.example", "-sess_in", session, "-early_data", str(data))
    return s_client(server, *options, *(["-ign_eof"] if wait else []))


def ticket(server: Server, tmp_path) -> str:
    path = str(tmp_path / "session")
    said = s_client(server, "-tls1_3", "-servername", "test.example", "-ign_eof", "-sess_out", path, text=get_text())
    assert " 200 OK" in said
    return path


def test_early_data_is_off_by_default(serve, tls, tmp_path):
    server = serve(ECHO, *tls.ecdsa.options)
    said = early(server, tmp_path, get_text("/early"), ticket(server, tmp_path), wait=False)
    assert "Early data was accepted" not in said


def test_early_data_is_for_what_changes_nothing_and_never_twice(serve, tls, tmp_path):
    """TLS-08."""
    server = serve(ECHO, *tls.ecdsa.options, "--tls-early-data", "--rings", "1")
    session = ticket(server, tmp_path)
    said = early(server, tmp_path, get_text("/early"), session)
    assert "Early data was accepted" in said
    assert '"path": "/early"' in said and '["early-data", "1"]' in said
    assert "Early data was rejected" in early(server, tmp_path, get_text("/again"), session, wait=False)
    said = early(server, tmp_path, get_text("/post", "POST"), ticket(server, tmp_path))
    assert "Early data was accepted" in said
    assert "HTTP/1.1 425 " in said and '"/post"' not in said


def test_after_the_handshake_everything_is_served_and_nothing_early(serve, tls):
    server = serve(ECHO, *tls.ecdsa.options, "--tls-early-data")
    with tls.connect(server) as client:
        answer = json.loads(client.request("/", method="POST", body=b"x").body)
    assert "early-data" not in dict(answer["headers"])


# --- client certificates ---------------------------------------------------------------------------------------------


def mtls(tls: TlsFiles, requirement: str) -> tuple[str, ...]:
    return (*tls.ecdsa.options, "--ca-certs", str(tls.ca), "--cert-reqs", requirement)


def facts(server: Server, tls: TlsFiles, context: ssl.SSLContext | None = None, session=None) -> dict:
    with TlsClient(server.address, context or tls.client_context(), session=session) as client:
        return json.loads(client.request("/request").body)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_an_application_learns_who_the_client_is(version, serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, "required"))
    environ = facts(server, tls, only(tls.client_context(pair=tls.client), version))
    assert environ["wsgi.url_scheme"] == "https" and environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == version.name.replace("_", ".")
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN"] == "CN=client,O=Uroboros tests"
    assert environ["SSL_CLIENT_I_DN"] == "CN=ca"
    assert environ["SSL_CLIENT_CERT"].split() == tls.client.cert.read_text().split()
    assert environ["SSL_TLS_SNI"] == "test.example"


def test_an_asgi_application_learns_it_too(serve, tls):
    server = serve("protocol_asgi:application", *mtls(tls, "optional"))
    extension = facts(server, tls, tls.client_context(pair=tls.client))["extensions"]["tls"]
    assert extension["tls_version"] == 0x0304
    assert extension["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    assert extension["client_cert_name"] == "CN=client,O=Uroboros tests"
    assert extension["client_cert_error"] is None
    assert extension["client_cert_chain"][0].split() == tls.client.cert.read_text().split()
    assert extension["server_cert"].split() == tls.ecdsa.cert.read_text().split()
    without = facts(server, tls)["extensions"]["tls"]
    assert without["client_cert_chain"] in ([], ()) and without["client_cert_name"] is None


def test_a_certificate_may_be_optional(serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, "optional"))
    assert facts(server, tls)["SSL_CLIENT_VERIFY"] == "NONE"
    assert facts(server, tls, tls.client_context(pair=tls.client))["SSL_CLIENT_VERIFY"] == "SUCCESS"


@pytest.mark.parametrize("requirement", ["optional", "required"])
@pytest.mark.parametrize("bad", ["foreign_client", "expired_client"])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_certificate_that_is_no_good_is_refused(version, requirement, bad, serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, requirement))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        facts(server, tls, only(tls.client_context(pair=getattr(tls, bad)), version))


def test_without_a_required_certificate_nobody_comes_in(serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, "required"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        facts(server, tls)
    with pytest.raises(ssl.SSLError):
        facts(server, tls, only(tls.client_context(), TLS12))


def test_a_chain_of_the_client_is_followed(serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, "required"))
    environ = facts(server, tls, tls.client_context(pair=tls.chained_client))
    assert environ["SSL_CLIENT_I_DN"] == "CN=intermediate,O=Uroboros tests"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_resumed_session_still_knows_its_client(version, serve_shared, tls):
    server = serve_shared(FACTS, *mtls(tls, "required"))
    context = only(tls.client_context(pair=tls.client), version)
    with TlsClient(server.address, context) as client:
        client.request("/request")
        session = client.sock.session
    with TlsClient(server.address, context, session=session) as client:
        environ = json.loads(client.request("/request").body)
        assert client.sock.session_reused
    assert environ["SSL_CLIENT_S_DN"] == "CN=client,O=Uroboros tests"
    assert environ["SSL_SESSION_RESUMED"] == "Resumed"


# --- behind a PROXY header -------------------------------------------------------------------------------------------


PROXY_HEADER = b"PROXY TCP4 203.0.113.9 198.51.100.2 56324 443\r\n"


def test_a_proxy_header_stands_before_the_handshake(serve, tls):
    server = serve("wsgi_cases:app", *tls.ecdsa.options, "--proxy-protocol", "v1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client_context().wrap_bio(incoming, outgoing, server_hostname="test.example")
    with server.connect() as raw:
        raw.send_more(PROXY_HEADER[:20])
        rest = PROXY_HEADER[20:]
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.send_more(rest + outgoing.read())  # header and ClientHello in one piece
                rest = b""
                incoming.write(raw.sock.recv(65536))
        client.write(build_request("/environ", headers=[("Connection", "close")]))
        raw.send_more(outgoing.read())
        incoming.write(raw.read_until_close())
        answer = client.read(65536)
    environ = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert environ["REMOTE_ADDR"] == "203.0.113.9"
    assert environ["wsgi.url_scheme"] == "https"


def test_a_peer_that_may_send_no_proxy_header_hears_nothing_in_clear(serve, tls):
    server = serve(FACTS, *tls.ecdsa.options, "--proxy-protocol", "v1", "--proxy-allow-from", "192.0.2.1")
    with server.connect() as raw:
        raw.send_more(PROXY_HEADER)
        assert raw.read_until_close() == b""


# --- octets ----------------------------------------------------------------------------------------------------------


class ByHand:
    """A client whose records are cut where the test wants it."""

    def __init__(self, server: Server, context: ssl.SSLContext, step: int) -> None:
        self.sock = socket.create_connection(server.address, timeout=allowed(30))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="test.example")
        self.step = step

    def flush(self) -> None:
        data = self.outgoing.read()
        for at in range(0, len(data), self.step):
            self.sock.sendall(data[at : at + self.step])

    def until_done(self, work):
        while True:
            try:
                result = work()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError("closed") from None
                self.incoming.write(data)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 1447])
def test_records_may_be_cut_anywhere(step, server, tls):
    client = ByHand(server, tls.client_context(), step)
    client.until_done(client.tls.do_handshake)
    client.tls.write(build_request("/"))
    client.flush()
    answer = b""
    while b"hello\n" not in answer:
        answer += client.until_done(lambda: client.tls.read(65536))
    client.sock.close()


def test_finished_and_request_and_close_notify_in_one_segment(server, tls):
    client = ByHand(server, only(tls.client_context(), TLS13), 1 << 20)
    try:
        client.tls.do_handshake()
    except ssl.SSLWantReadError:
        client.flush()
    while True:  # the handshake, up to our Finished, which stays in the buffer
        client.incoming.write(client.sock.recv(65536))
        try:
            client.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
    client.tls.write(build_request("/", headers=[("Connection", "close")]))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.flush()
    answer = b""
    while data := client.sock.recv(65536):
        client.incoming.write(data)
        try:
            answer += client.tls.read(65536)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            continue
    assert b"200 OK" in answer
    client.sock.close()


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("app", [ECHO, "echo_asgi:app"])
def test_long_bodies_arrive_whole(version, app, serve_shared, tls):
    server = serve_shared(app, *tls.ecdsa.options)
    body = os.urandom(5_000_000)
    with TlsClient(server.address, only(tls.client_context(), version), timeout=60) as client:
        for _ in range(2):
            answer = json.loads(client.request("/", method="POST", body=body).body)
            assert answer["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_pipelined_requests_in_one_record(server, tls):
    with tls.connect(server) as client:
        for _ in range(20):
            client.reader.expect("GET")
        client.send_more(build_request("/") * 20)
        assert [client.read_response().status for _ in range(20)] == [200] * 20


def test_a_connection_that_was_idle_for_long_goes_on(server, tls):
    """Parked after five seconds: without a buffer, and with the session's keys only."""
    with tls.connect(server) as client:
        assert client.request("/").status == 200
        time.sleep(5.5)
        assert client.request("/").status == 200


# --- the end ---------------------------------------------------------------------------------------------------------


def strict(tls: TlsFiles) -> ssl.SSLContext:
    """An end without close_notify is an error."""
    context = tls.client_context()
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def strict_client(server: Server, tls: TlsFiles) -> TlsClient:
    client = TlsClient.__new__(TlsClient)
    super(TlsClient, client).__init__(server.address, 10)
    client.sock = strict(tls).wrap_socket(client.sock, server_hostname="test.example", suppress_ragged_eofs=False)
    return client


def test_close_notify_comes_before_the_end(server, tls):
    with strict_client(server, tls) as client:
        assert client.request("/", headers=[("Connection", "close")]).status == 200
        assert client.sock.recv(10) == b""


def test_an_idle_connection_ends_with_close_notify(serve, tls):
    server = serve(HELLO, *tls.ecdsa.options, "--keepalive", "1")
    with strict_client(server, tls) as client:
        assert client.request("/").status == 200
        assert client.sock.recv(10) == b""


def test_a_client_that_says_close_notify_gets_one(server, tls):
    with strict_client(server, tls) as client:
        assert client.request("/").status == 200
        client.sock.unwrap()


def test_a_stop_ends_connections_with_close_notify(serve, tls):
    server = serve(HELLO, *tls.ecdsa.options)
    with strict_client(server, tls) as client:
        assert client.request("/").status == 200
        server.send_signal(15)
        assert client.sock.recv(10) == b""
    assert server.wait() == 0


# --- keys ------------------------------------------------------------------------------------------------------------


def private_number(tls: TlsFiles) -> bytes:
    text = subprocess.run(
        ["openssl", "pkey", "-in", tls.ecdsa.key, "-text", "-noout"], capture_output=True, text=True, check=True
    ).stdout
    digits = re.search(r"priv:\s*([0-9a-f:\s]+)pub:", text)[1]
    return bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits))


SHADOW_BYTES = 1 << 32  # so large is only an address sanitizer's


def memory_has(pid: int, needles: list[bytes]) -> bool:
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line or end - start >= SHADOW_BYTES:
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            if any(needle in data for needle in needles):
                return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="reads the memory of other processes")
def test_application_processes_hold_no_key(serve, tls):
    """TLS-19. Where the key must be, in the I/O process, the search finds it: so the search works."""
    server = serve(HELLO, *tls.ecdsa.options)
    with tls.connect(server) as client:
        assert client.request("/").status == 200
    number = private_number(tls).lstrip(b"\0")
    key_text = tls.ecdsa.key.read_bytes().splitlines()[1]
    needles = [number, number[::-1], key_text]
    assert not any(memory_has(pid, needles) for pid in server.app_processes())
    assert any(memory_has(pid, needles) for pid in server.io_processes())
