"""Applications that start processes of their own."""

import pytest
import requests

from harness.server import allowed

HOSTS = {"executed": (), "embedded": ("--python", "embedded", "--env", "VIRTUAL_ENV=")}


@pytest.fixture(params=HOSTS)
def url(serve_shared, request):
    return serve_shared("children_wsgi:app", "--threads", "2", *HOSTS[request.param]).url


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_pool_calculates(url, method):
    assert requests.get(f"{url}/{method}", timeout=allowed(30)).json() == [0, 1, 4, 9]


def test_a_command_has_an_empty_input_and_a_status(url):
    assert requests.get(f"{url}/command", timeout=allowed(30)).json() == ["out\n", 3]


@pytest.mark.parametrize("kind", [("wsgi", "-k", "sync"), ("wsgi", "--threads", "2"), ("asgi",), ("wsgi", "--preload")])
def test_a_process_that_the_application_forks_serves_nobody(serve, kind):
    server = serve(f"copies:{kind[0]}", *kind[1:])
    processes = server.app_processes()
    for path, status in (("/leave", 7), ("/fail", 1), ("/return", 1), ("/terminate", -15)):
        assert server.get(path).body.decode() == str(status)
    for number in range(50):
        assert server.get(f"/?{number}").body.decode() == str(number)
    assert server.app_processes() == processes
    server.wait_for_log("ValueError: of the copy")


@pytest.mark.parametrize("path, status", [("/write", 1), ("/pieces", 7)])
def test_a_process_that_the_application_forks_adds_nothing_to_the_answer(serve, path, status):
    server = serve("copies:wsgi", "--threads", "2")
    assert server.get(path).body.decode() == f"first {status}"
    assert server.get("/?again").body == b"again"
