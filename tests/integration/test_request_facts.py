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
