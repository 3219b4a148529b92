"""Real frameworks from PyPI: what their users do every day."""

import hashlib
import random

import pytest
import requests

from harness.waiting import eventually

BLOB = random.Random(7).randbytes(300_000)


@pytest.fixture
def session():
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@pytest.fixture
def flask(serve_shared):
    return serve_shared("flask_app:app", "--threads", "4").url


@pytest.fixture
def fastapi(serve_shared):
    return serve_shared("fastapi_app:app").url


@pytest.fixture
def starlette(serve_shared):
    return serve_shared("starlette_app:app").url


@pytest.fixture(params=["app", "asgi_app"])
def django(request, serve_shared):
    return serve_shared(f"django_app:{request.param}").url


# --- Flask -------------------------------------------------------------------------------------------------------


def test_flask_answers(flask, session):
    assert session.get(flask).text == "Hello from Flask"


def test_flask_sees_url_and_arguments(flask, session):
    answer = session.get(f"{flask}/json/42?a=b&c=%C3%A9").json()
    assert answer == {"number": 42, "args": {"a": "b", "c": "é"}, "url": f"{flask}/json/42?a=b&c=é", "scheme": "http"}


def test_flask_takes_forms(flask, session):
    answer = session.post(f"{flask}/form", data=[("name", "Zoë"), ("tag", "1"), ("tag", "2")]).json()
    assert answer == {"name": ["Zoë"], "tag": ["1", "2"]}


def test_flask_takes_uploads(flask, session):
    assert session.post(f"{flask}/upload", files={"file": ("blob.bin", BLOB)}).json() == {
        "file": ["blob.bin", len(BLOB)]
    }


def test_flask_takes_chunked_bodies(flask, session):
    parts = (BLOB[at : at + 10_000] for at in range(0, len(BLOB), 10_000))
    answer = session.post(f"{flask}/raw", data=parts, headers={"Content-Type": "application/x-blob"}).json()
    assert answer == {"length": len(BLOB), "type": "application/x-blob"}


def test_flask_keeps_a_session_in_cookies(flask, session):
    assert [session.get(f"{flask}/cookie").json() for _ in range(3)] == [
        {"count": 1, "seen": None},
        {"count": 2, "seen": "yes"},
        {"count": 3, "seen": "yes"},
    ]


def test_flask_streams_with_its_context(flask, session):
    assert session.get(f"{flask}/stream?tag=t").text == "".join(f"{n} t\n" for n in range(5))


def test_flask_redirects_and_errors(flask, session):
    assert session.get(f"{flask}/redirect").text == "Hello from Flask"
    assert session.get(f"{flask}/missing").status_code == 404
    assert session.get(f"{flask}/error").status_code == 500
    assert session.get(flask).status_code == 200


def test_flask_sees_unicode_paths(flask, session):
    response = session.get(f"{flask}/unicode/größe")
    assert response.text == "größe"
    assert session.head(f"{flask}/unicode/größe").headers["content-length"] == str(len("größe".encode()))


# --- FastAPI -----------------------------------------------------------------------------------------------------


def test_fastapi_answers_with_state_of_its_lifespan(fastapi, session):
    assert session.get(fastapi).json() == {"message": "Hello from FastAPI"}


def test_fastapi_runs_plain_functions_in_threads(fastapi, session):
    assert session.get(f"{fastapi}/sync").json() == {"kind": "def"}


def test_fastapi_validates(fastapi, session):
    good = session.post(f"{fastapi}/items", json={"name": "snake", "price": 1.5, "tags": ["a"]})
    assert good.json() == {"name": "snake", "price": 1.5, "tags": ["a"]}
    assert session.post(f"{fastapi}/items", json={"name": "snake"}).status_code == 422
    assert session.get(f"{fastapi}/items/7?q=x").json() == {"number": 7, "q": "x"}
    assert session.get(f"{fastapi}/items/seven").status_code == 422


def test_fastapi_takes_forms_and_uploads(fastapi, session):
    assert session.post(f"{fastapi}/form", data={"name": "Zoë", "age": "3"}).json() == {"name": "Zoë", "age": 3}
    answer = session.post(f"{fastapi}/upload", files={"file": ("blob.bin", BLOB)}).json()
    assert answer == {"name": "blob.bin", "size": len(BLOB)}


def test_fastapi_cookies_and_streams(fastapi, session):
    assert session.get(f"{fastapi}/cookie").json() == {"seen": None}
    assert session.get(f"{fastapi}/cookie").json() == {"seen": "yes"}
    assert session.get(f"{fastapi}/stream").text == "".join(f"{n}\n" for n in range(5))


def test_fastapi_dependencies_and_background_tasks_end(fastapi, session):
    assert session.get(f"{fastapi}/dependency").json() == {"open": True}
    assert session.get(f"{fastapi}/background").json() == {"queued": True}
    eventually(lambda: {"closed", "background"} <= set(session.get(f"{fastapi}/done").json()))


def test_fastapi_errors(fastapi, session):
    assert session.get(f"{fastapi}/missing").json() == {"detail": "not here"}
    assert session.get(f"{fastapi}/error").status_code == 500
    assert session.get(fastapi).status_code == 200


def test_fastapi_knows_its_client(fastapi, session):
    assert session.get(f"{fastapi}/client").json() == {"host": "127.0.0.1", "url": f"{fastapi}/client"}


# --- Starlette ---------------------------------------------------------------------------------------------------


def test_starlette_middleware_of_both_kinds(starlette, session):
    response = session.get(f"{starlette}/stream")
    assert response.headers["x-stamp"] == "on" and response.headers["content-encoding"] == "gzip"
    assert response.text == "".join(f"line {n}\n" * 20 for n in range(100))


def test_starlette_streams_uploads(starlette, session):
    answer = session.post(f"{starlette}/digest", data=BLOB).json()
    assert answer == {"sha256": hashlib.sha256(BLOB).hexdigest(), "size": len(BLOB)}


def test_starlette_sends_files_and_ranges(starlette, session):
    whole = session.get(f"{starlette}/file")
    assert whole.text.startswith('"""A Starlette application')
    part = session.get(f"{starlette}/file", headers={"Range": "bytes=0-9", "Accept-Encoding": "identity"})
    assert (part.status_code, part.content) == (206, whole.content[:10])


def test_starlette_mounts_and_errors(starlette, session):
    assert session.get(f"{starlette}/sub/here").json()["root_path"] == "/sub"
    assert session.get(f"{starlette}/error").status_code == 500
    assert session.get(starlette).text == "Hello from Starlette"


# --- Django ------------------------------------------------------------------------------------------------------


def test_django_answers(django, session):
    assert session.get(django).text.startswith("Hello from Django ")


def test_django_takes_forms_and_uploads(django, session):
    assert session.post(f"{django}/form", data={"name": "Zoë"}).json() == {"name": ["Zoë"]}
    answer = session.post(f"{django}/upload", files={"file": ("blob.bin", BLOB)}).json()
    assert answer == {"file": ["blob.bin", len(BLOB)]}


def test_django_cookies_and_streams(django, session):
    assert session.get(f"{django}/cookie").json() == {"seen": None}
    assert session.get(f"{django}/cookie").json() == {"seen": "yes"}
    assert session.get(f"{django}/stream").text == "".join(f"{n}\n" for n in range(5))


def test_django_async_views_and_errors(django, session):
    answer = session.get(f"{django}/async").json()
    assert answer == {"async": True, "secure": False, "host": django.removeprefix("http://")}
    assert session.get(f"{django}/error").status_code == 500
    assert session.get(django).status_code == 200
