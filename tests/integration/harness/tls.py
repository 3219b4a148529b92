"""Certificates for tests, made once per session by the `openssl` program, and a client that speaks TLS.

The fixture `tls` has them all: `serve(APP, *tls.ecdsa.options)` is a daemon with TLS, `tls.connect(server)` a client of
it that trusts the test authority. tls_client() of this module takes an SSLContext for everything else.
"""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.client import Address, Client
from harness.server import Server, allowed

LOCAL = "DNS:localhost,DNS:test.example,IP:127.0.0.1,IP:::1"
USAGE = "extendedKeyUsage=serverAuth,clientAuth\n"
LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n" + USAGE
AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n"
PASSWORD = "correct horse"


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        return "--certfile", str(self.cert), "--keyfile", str(self.key)


def openssl(*arguments: object, text: str | None = None) -> None:
    """Runs the program; what goes wrong is the test's failure, with openssl's own words."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, text=True, capture_output=True)
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}: {done.stderr}"


class TlsFiles:
    """Everything in one directory. A test that changes files copies them first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = self.make_authority("ca")
        self.other_authority = self.make_authority("other-ca")
        self.intermediate = self.make_pair("intermediate", extensions=AUTHORITY)
        # Servers: names localhost, test.example, 127.0.0.1 and ::1 unless said otherwise.
        self.ecdsa = self.make_pair("ecdsa")
        self.ecdsa2 = self.make_pair("ecdsa2")  # the same names, another serial number
        self.rsa = self.make_pair("rsa", algorithm="RSA")
        self.wildcard = self.make_pair("wildcard", names="DNS:*.wild.example")
        self.exact = self.make_pair("exact", names="DNS:exact.wild.example,DNS:exact.example")
        self.chained = self.make_pair("chained", issuer=self.intermediate)
        self.expired = self.make_pair("expired", days=-1)
        self.mismatched = Pair(self.ecdsa.cert, self.ecdsa2.key)
        self.encrypted = Pair(self.ecdsa.cert, self.encrypt(self.ecdsa.key))
        self.both = self.join("both.pem", self.ecdsa.cert, self.ecdsa.key)  # chain and key in one file
        # Clients.
        self.client = self.make_pair("client", names="DNS:client.example,email:client@example.org")
        self.chained_client = self.make_pair("chained-client", names="DNS:client.example", issuer=self.intermediate)
        self.foreign_client = self.make_pair("foreign-client", names="DNS:evil.example", issuer=self.other_authority)
        self.expired_client = self.make_pair("expired-client", names="DNS:old.example", days=-1)
        self.password_file = self.write("password", PASSWORD + "\n")
        self.ca = self.authority.cert  # for --ca-certs, --cacert and load_verify_locations

    # --- making ------------------------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def join(self, name: str, *parts: Path) -> Path:
        return self.write(name, "".join(part.read_text() for part in parts))

    def make_key(self, name: str, algorithm: str) -> Path:
        path = self.directory / f"{name}.key"
        option = {"EC": "ec_paramgen_curve:P-256", "RSA": "rsa_keygen_bits:2048"}[algorithm]
        openssl("genpkey", "-quiet", "-algorithm", algorithm, "-pkeyopt", option, "-out", path)
        path.chmod(0o600)
        return path

    def make_authority(self, name: str) -> Pair:
        key, cert = self.make_key(name, "EC"), self.directory / f"{name}.pem"
        config = self.write(f"{name}.cnf", f"[req]\ndistinguished_name=dn\nx509_extensions=x\n[dn]\n[x]\n{AUTHORITY}")
        openssl(
            *("req", "-x509", "-new", "-key", key, "-out", cert, "-days", 30),
            *("-subj", f"/CN={name}", "-config", config),
        )
        return Pair(cert, key)

    def make_pair(
        self,
        name: str,
        names: str = LOCAL,
        issuer: Pair | None = None,
        algorithm: str = "EC",
        days: int = 30,
        extensions: str = LEAF,
    ) -> Pair:
        """A certificate file has the chain in it, up to and without the authority."""
        issuer = issuer or self.authority
        key = self.make_key(name, algorithm)
        cert, request = self.directory / f"{name}.pem", self.directory / f"{name}.csr"
        config = self.write(f"{name}.cnf", f"{extensions}subjectAltName={names}\n")
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/O=Uroboros tests/CN={name}")
        openssl(
            *("x509", "-req", "-in", request, "-CA", issuer.cert, "-CAkey", issuer.key, "-set_serial", self.serial()),
            *("-days", days, "-extfile", config, "-out", cert),
        )
        if issuer not in (self.authority, self.other_authority):
            cert.write_text(cert.read_text() + issuer.cert.read_text())
        return Pair(cert, key)

    def serial(self) -> int:
        """Serial numbers count the files, so they differ and say nothing."""
        return 0x1000 + len(list(self.directory.iterdir()))

    def encrypt(self, key: Path) -> Path:
        path = key.with_suffix(".encrypted.key")
        openssl("pkcs8", "-topk8", "-in", key, "-out", path, "-passout", f"pass:{PASSWORD}")
        return path

    def make_ocsp(self, name: str, pair: Pair) -> Path:
        """A good OCSP response for a certificate of the test authority, in DER."""
        request, response = self.directory / f"{name}.ocsp-request", self.directory / f"{name}.ocsp"
        serial = subprocess.run(
            ["openssl", "x509", "-noout", "-serial", "-in", pair.cert], capture_output=True, text=True, check=True
        ).stdout.strip().partition("=")[2]
        index = self.write(f"{name}.index", f"V\t491231235959Z\t\t{serial}\tunknown\t/CN={name}\n")
        openssl("ocsp", "-issuer", self.ca, "-cert", pair.cert, "-reqout", request)
        openssl(
            *("ocsp", "-index", index, "-CA", self.ca, "-rsigner", self.authority.cert, "-rkey", self.authority.key),
            *("-reqin", request, "-respout", response, "-ndays", 7),
        )
        return response

    # --- clients -----------------------------------------------------------------------------------------------

    def client_context(self, alpn: tuple[str, ...] = (), pair: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def connect(
        self,
        server: Server,
        alpn: tuple[str, ...] = ("http/1.1",),
        pair: Pair | None = None,
        name: str = "test.example",
    ) -> "TlsClient":
        return TlsClient(server.address, self.client_context(alpn, pair), name)


class TlsClient(Client):
    """Like Client, behind a handshake. `sock` is an SSLSocket: version(), cipher(), selected_alpn_protocol(), ..."""

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext,
        name: str | None = "test.example",
        session: ssl.SSLSession | None = None,
        timeout: float = 10,
    ) -> None:
        super().__init__(address, allowed(timeout))
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname=name, session=session)
        except BaseException:
            self.sock.close()
            raise


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> TlsFiles:
    return TlsFiles(tmp_path_factory.mktemp("tls"))
