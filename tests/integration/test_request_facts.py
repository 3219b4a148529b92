"""What applications are told of the connection under a request: its TLS, its version, its priority."""

import json

import pytest

from harness import protocols
from harness.http2 import Http2Client

APPLICATIONS = {
    "wsgi": ("protocol_wsgi:application", "--threads", "4"),
    "asgi": ("protocol_asgi:application",),
}


@pytest.fixture
def facts(serve_shared):
    def ask(interface, protocol=protocols.HTTP1, headers=()):
        server = serve_shared(*APPLICATIONS[interface], *protocol.options)
        return json.loads(protocol.ask(server, "/request", headers=headers).body)

    return ask


def test_a_cleartext_request_has_nothing_of_tls(facts):
    environ = facts("wsgi")
    assert environ["wsgi.url_scheme"] == "http"
    assert not [key for key in environ if key.startswith("SSL_") or key == "HTTPS"]
    assert "tls" not in facts("asgi")["extensions"]


def test_https_of_a_trusted_proxy_is_said_and_says_nothing_of_tls(facts):
    headers = [("X-Forwarded-Proto", "https")]
    environ = facts("wsgi", headers=headers)
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    assert not [key for key in environ if key.startswith("SSL_")]
    scope = facts("asgi", headers=headers)
    assert (scope["scheme"], "tls" in scope["extensions"]) == ("https", False)


def test_a_header_cannot_pass_for_a_fact_of_tls(facts):
    headers = [("SSL-Client-Verify", "SUCCESS"), ("Ssl-Client-S-Dn", "CN=root")]
    assert not [key for key in facts("wsgi", headers=headers) if key.startswith("SSL_")]


@pytest.mark.parametrize("protocol", [protocols.HTTP1, protocols.HTTP1_0])
def test_http_1_has_no_priorities(facts, protocol):
    environ = facts("wsgi", protocol, [("Priority", "u=0, i")])
    assert environ["SERVER_PROTOCOL"] == protocol.name
    assert not [key for key in environ if ".http2." in key]
    scope = facts("asgi", protocol, [("Priority", "u=0, i")])
    assert "http.response.priority" not in scope["extensions"]


@pytest.mark.parametrize(
    ("priority", "urgency", "incremental", "weight"),
    [(None, 3, False, 16), ("u=0", 0, False, 256), ("u=5, i", 5, True, 4), ("i", 3, True, 16), ("u=9", 3, False, 16)],
)
def test_http_2_says_what_the_client_asked_for(facts, priority, urgency, incremental, weight):
    headers = [("priority", priority)] if priority else []
    environ = facts("wsgi", protocols.HTTP2, headers)
    assert environ == {
        "SERVER_PROTOCOL": "HTTP/2.0",
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "gunicorn.http2.priority_weight": weight,
        "gunicorn.http2.priority_depends_on": 0,
        "uroboros.http2.urgency": urgency,
        "uroboros.http2.incremental": incremental,
    }
    scope = facts("asgi", protocols.HTTP2, headers)
    assert (scope["http_version"], scope["scheme"]) == ("2", "http")
    asked = {"urgency": urgency, "incremental": incremental, "weight": weight, "depends_on": 0}
    assert scope["extensions"]["http.response.priority"] == asked


def test_one_server_tells_the_versions_apart(serve_shared):
    """Each thread has a template for either version; requests of both must not mix them."""
    server = serve_shared(*APPLICATIONS["wsgi"], *protocols.HTTP2.options)
    for protocol in (protocols.HTTP1, protocols.HTTP2, protocols.HTTP1_0) * 3:
        environ = json.loads(protocol.ask(server, "/request").body)
        assert environ["SERVER_PROTOCOL"] == protocol.name
        assert ("uroboros.http2.urgency" in environ) == (protocol is protocols.HTTP2)


# --- over TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(tls, serve_shared):
    def start(interface):
        options = (*tls.ecdsa.options, "--ca-certs", str(tls.ca), "--cert-reqs", "1")
        return serve_shared(*APPLICATIONS[interface], *options)

    return start


def ask_over_tls(server, tls, pair=None, alpn=("http/1.1",)):
    with tls.connect(server, alpn, pair) as client:
        if alpn == ("h2",):
            return json.loads(Http2Client(client.sock, "https").request("/request").body)
        return json.loads(client.request("/request").body)


@pytest.mark.parametrize(("alpn", "protocol"), [(("http/1.1",), "HTTP/1.1"), (("h2",), "HTTP/2.0")])
def test_wsgi_has_the_names_of_mod_ssl(tls_server, tls, alpn, protocol):
    server = tls_server("wsgi")
    environ = ask_over_tls(server, tls, tls.chained_client, alpn)
    assert (environ["SERVER_PROTOCOL"], environ["wsgi.url_scheme"], environ["HTTPS"]) == (protocol, "https", "on")
    own, issuer = tls.chained_client.cert.read_text(), tls.intermediate.cert.read_text()
    assert environ["SSL_CLIENT_CERT"] + environ["SSL_CLIENT_CERT_CHAIN_0"] == own
    assert environ["SSL_CLIENT_CERT_CHAIN_0"] == issuer
    assert int(environ["SSL_CLIENT_M_SERIAL"], 16) > 0
    expected = {
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": "CN=chained-client,O=Uroboros tests",
        "SSL_CLIENT_S_DN_CN": "chained-client",
        "SSL_CLIENT_I_DN": "CN=intermediate,O=Uroboros tests",
    }
    assert {key: environ[key] for key in expected} == expected
    assert environ["SSL_CIPHER"].startswith("TLS_") and environ["SSL_CIPHER_USEKEYSIZE"] in ("128", "256")
    assert environ["SSL_CLIENT_V_START"].endswith(" GMT") and environ["SSL_CLIENT_V_END"].endswith(" GMT")


@pytest.mark.parametrize("alpn", [("http/1.1",), ("h2",)])
def test_asgi_has_every_key_of_the_tls_extension(tls_server, tls, alpn):
    server = tls_server("asgi")
    extension = ask_over_tls(server, tls, tls.chained_client, alpn)["extensions"]["tls"]
    own = tls.chained_client.cert.read_text()
    assert extension.pop("cipher_suite") in (0x1301, 0x1302, 0x1303)
    assert "".join(extension.pop("client_cert_chain")) == own
    assert extension == {
        "server_cert": tls.ecdsa.cert.read_text(),
        "client_cert_name": "CN=chained-client,O=Uroboros tests",
        "client_cert_error": None,
        "tls_version": 0x0304,
    }
    without = ask_over_tls(server, tls, None, alpn)["extensions"]["tls"]
    assert (without["client_cert_chain"], without["client_cert_name"], without["client_cert_error"]) == ([], None, None)


@pytest.mark.parametrize("alpn", [("http/1.1",), ("h2",)])
@pytest.mark.parametrize("interface", APPLICATIONS)
def test_one_clients_certificate_is_never_anothers(tls_server, tls, interface, alpn):
    """What was made of a connection's TLS is kept for the next request that has it alike, and for no other."""
    server = tls_server(interface)
    names = {None: None, tls.client: "client", tls.chained_client: "chained-client"}
    for pair in (tls.client, None, tls.chained_client, tls.client, tls.client, None, None, tls.chained_client):
        facts = ask_over_tls(server, tls, pair, alpn)
        if interface == "wsgi":
            assert facts.get("SSL_CLIENT_S_DN_CN") == names[pair]
            assert facts["SSL_CLIENT_VERIFY"] == ("SUCCESS" if pair else "NONE")
        else:
            name = f"CN={names[pair]},O=Uroboros tests" if pair else None
            assert facts["extensions"]["tls"]["client_cert_name"] == name
