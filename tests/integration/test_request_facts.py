"""What applications are told of the connection under a request, where there is no TLS."""

import json

import pytest

from harness import protocols

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
