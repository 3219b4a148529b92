"""Trailers of a response: behind its body for those who take them, and left out for all others."""

import json

import pytest

from harness import protocols

PROTOCOLS = {
    "1.1": protocols.HTTP1,
    "1.1-without-te": protocols.HTTP1_WITHOUT_TRAILERS,
    "1.0": protocols.HTTP1_0,
    "2": protocols.HTTP2,
}
APPLICATIONS = {
    "wsgi": ("protocol_wsgi:application", "--threads", "4"),
    "asyncio": ("protocol_asgi:application", "--asgi-loop", "asyncio"),
    "uvloop": ("protocol_asgi:application", "--asgi-loop", "uvloop"),
    "embedded": ("protocol_asgi:application", "--python", "embedded"),
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return PROTOCOLS[request.param]


@pytest.fixture(params=APPLICATIONS)
def interface(request):
    return request.param


@pytest.fixture
def server(interface, protocol, serve_shared):
    return serve_shared(*APPLICATIONS[interface], *protocol.options)


def trailers_of(response):
    return [(name.lower(), value) for name, value in response.trailers]


def due(protocol, *trailers):
    return list(trailers) if protocol.has_trailers else []


def test_trailers_follow_a_body_of_one_piece(server, protocol):
    response = protocol.ask(server, "/trailers")
    assert (response.status, response.body) == (200, b"body")
    assert trailers_of(response) == due(protocol, ("x-digest", "abc"), ("x-count", "1"))
    assert response.header("x-digest") is None


def test_trailers_follow_a_streamed_body(server, protocol):
    response = protocol.ask(server, "/streamed_trailers")
    assert response.body == b"one two three"
    assert trailers_of(response) == due(protocol, ("x-count", "3"))


def test_trailers_follow_an_empty_body(server, protocol):
    response = protocol.ask(server, "/trailers_behind_nothing")
    assert (response.status, response.body) == (200, b"")
    assert trailers_of(response) == due(protocol, ("x-digest", "none"))


def test_trailers_follow_more_than_a_window(server, protocol):
    response = protocol.ask(server, "/trailers_behind_much")
    assert response.body == b"x" * (1 << 20)
    assert trailers_of(response) == due(protocol, ("x-digest", "much"))


def test_a_stated_length_is_kept(server, protocol):
    response = protocol.ask(server, "/trailers_with_length")
    assert (response.header("content-length"), response.body) == ("6", b"stated")
    expected = [] if protocol.trailers_need_chunks else due(protocol, ("x-digest", "abc"))
    assert trailers_of(response) == expected


def test_a_response_without_body_has_no_trailers(server, protocol):
    response = protocol.ask(server, "/trailers_of_no_content")
    assert (response.status, response.body, trailers_of(response)) == (204, b"", [])


def test_an_answer_to_head_has_no_trailers(server, protocol):
    response = protocol.ask(server, "/trailers", "HEAD")
    assert (response.status, response.body, trailers_of(response)) == (200, b"", [])


def test_many_trailers_arrive(server, protocol):
    response = protocol.ask(server, "/many_trailers")
    assert response.body == b"body"
    assert trailers_of(response) == due(protocol, *((f"x-{number}", "v" * 100) for number in range(200)))


def test_no_trailers_are_an_end_like_any_other(server, protocol):
    response = protocol.ask(server, "/empty_trailers")
    assert (response.body, trailers_of(response)) == (b"body", [])


def test_fields_that_may_not_be_trailers_are_an_error(server, protocol):
    response = protocol.ask(server, "/forbidden_trailers")
    assert (response.body, trailers_of(response)) == (b"[]", [])


def test_trailers_after_the_end_are_an_error(server, protocol, interface):
    before = server.log_position
    assert protocol.ask(server, "/late_trailers").body == b"whole"
    if interface != "wsgi" or protocol.has_trailers:
        server.wait_for_log("late trailers were refused", since=before)


def test_the_connection_serves_on(interface, serve_shared):
    with serve_shared(*APPLICATIONS[interface]).connect() as client:
        for _ in range(3):
            assert client.request("/trailers", headers=[("TE", "trailers")]).trailers
            assert client.request("/streamed_trailers").body == b"one two three"


def test_what_is_offered_is_what_the_client_takes(server, protocol, interface):
    offers = json.loads(protocol.ask(server, "/offers").body)
    if interface == "wsgi":
        assert offers["uroboros.send_trailers"] == protocol.has_trailers
        assert offers["wsgi.early_hints"]
        assert offers["gunicorn.http2.send_trailers"] == (protocol.name == "HTTP/2.0")
    else:
        assert ("http.response.trailers" in offers) == protocol.has_trailers
        assert "http.response.early_hint" in offers


@pytest.mark.parametrize("way", [protocols.HTTP1, protocols.HTTP2], ids=["1.1", "2"])
def test_a_response_that_breaks_off_has_no_trailers(interface, way, serve_shared):
    with pytest.raises(ConnectionError):
        way.ask(serve_shared(*APPLICATIONS[interface], *way.options), "/trailers_and_failure")


# --- the order of ASGI's messages --------------------------------------------------------------------------------


@pytest.fixture(params=["asyncio", "uvloop"])
def asgi_server(request, serve_shared):
    return serve_shared(*APPLICATIONS[request.param])


def test_trailers_that_were_announced_and_never_come_break_the_response(asgi_server):
    before = asgi_server.log_position
    with pytest.raises(ConnectionError):
        protocols.HTTP1.ask(asgi_server, "/trailers_that_never_come")
    asgi_server.wait_for_log("returned before its response was complete", since=before)


def test_no_body_may_follow_the_last(asgi_server):
    response = protocols.HTTP1.ask(asgi_server, "/body_behind_the_end")
    assert (response.body, trailers_of(response)) == (b"body", [("x-taken", "0")])
