"""Interim responses before the final one: any number of them, checked, and none for those who do not know them."""

import pytest

from harness import protocols

PROTOCOLS = {"1.1": protocols.HTTP1, "1.0": protocols.HTTP1_0, "2": protocols.HTTP2}
APPLICATIONS = {
    "wsgi": ("protocol_wsgi:application", "--threads", "4"),
    "asyncio": ("protocol_asgi:application", "--asgi-loop", "asyncio"),
    "uvloop": ("protocol_asgi:application", "--asgi-loop", "uvloop"),
    "embedded": ("protocol_wsgi:application", "--python", "embedded"),
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return PROTOCOLS[request.param]


@pytest.fixture(params=APPLICATIONS)
def server(request, protocol, serve_shared):
    return serve_shared(*APPLICATIONS[request.param], *protocol.options)


def interim_of(response):
    return [(hint.status, hint.headers) for hint in response.interim]


def test_hints_come_before_the_response(server, protocol):
    response = protocol.ask(server, "/hints")
    fields = [(name.lower(), value) for hint in response.interim for name, value in hint.headers]
    assert (response.status, response.text) == (200, "after hints")
    assert [hint.status for hint in response.interim] == ([103, 103] if protocol.has_hints else [])
    if protocol.has_hints:
        assert fields == [
            ("link", "</a.css>; rel=preload"),
            ("link", "</b.js>; rel=preload"),
            ("link", "</c.png>; rel=preload"),
            ("x-more", "1"),
        ]


def test_hints_may_follow_the_start_while_no_body_was_sent(server, protocol):
    response = protocol.ask(server, "/hints_after_start")
    assert len(response.interim) == (1 if protocol.has_hints else 0)
    assert response.text == "after hints"


def test_there_may_be_any_number_of_hints(server, protocol):
    response = protocol.ask(server, "/many_hints?100")
    assert response.text == "after hints"
    if protocol.has_hints:
        assert [hint.all("link") for hint in response.interim] == [[f"</{number}>"] for number in range(100)]


def test_hints_after_the_response_has_begun_are_an_error(server, protocol):
    response = protocol.ask(server, "/late_hints")
    assert (response.text, interim_of(response)) == ("begun refused", [])


def test_malformed_hints_are_an_error(server, protocol):
    response = protocol.ask(server, "/bad_hints")
    assert (response.text, interim_of(response)) == ("[]", [])


def test_hints_go_before_a_response_without_body_too(server, protocol):
    response = protocol.ask(server, "/hints", "HEAD")
    assert (response.status, response.body) == (200, b"")
    assert len(response.interim) == (2 if protocol.has_hints else 0)
