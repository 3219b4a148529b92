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
