"""WSGI or ASGI: what the loader takes an application for. No daemon runs here."""

import functools
import sys

import pytest

from harness.server import ROOT

sys.path.append(str(ROOT / "pybridge"))

from uroboros.loader import is_asgi  # noqa: E402


async def asgi(scope, receive, send):
    pass


async def asgi_of(settings, scope, receive, send):
    pass


def wsgi(environ, start_response):
    pass


@functools.wraps(asgi)
def decorated(*arguments):
    return asgi(*arguments)


class Asgi:
    func = None

    async def __call__(self, scope, receive, send):
        pass

    async def method(self, scope, receive, send):
        pass


class Wsgi:
    def __call__(self, environ, start_response):
        pass


class DoubleCallable:
    """ASGI 2, which nothing here speaks."""

    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


@pytest.mark.parametrize(
    "application",
    [asgi, decorated, Asgi(), Asgi().method, functools.partial(asgi_of, 1), functools.partial(Asgi())],
    ids=["function", "decorated", "object", "method", "partial function", "partial object"],
)
def test_asgi_applications_are_recognised(application):
    assert is_asgi(application)


@pytest.mark.parametrize(
    "application",
    [wsgi, Wsgi(), functools.partial(wsgi), Asgi, DoubleCallable],
    ids=["function", "object", "partial", "class", "double callable"],
)
def test_others_are_not(application):
    assert not is_asgi(application)


def test_frameworks_are_what_they_are():
    import fastapi
    import flask

    assert is_asgi(fastapi.FastAPI())
    assert not is_asgi(flask.Flask("test"))
