"""Application specifications, search paths, environments, and what happens when an application cannot be loaded."""

import json
import re

import pytest

from harness.server import APPS, ROOT, run_to_end
from harness.waiting import eventually

HERE = ("-b", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("spec", "body"),
    [
        ("loading:app", b"hello\n"),
        ("loading", b"hello\n"),
        ("loading:factory()", b"made"),
        ("loading:factory('by argument')", b"by argument"),
        ("loading:factory(greeting='by name')", b"by name"),
    ],
)
def test_forms_of_a_specification(serve, spec, body):
    assert serve(spec).get("/").body == body


def test_the_application_may_be_a_setting(serve):
    assert serve(None, "--env", "X=1", env={"UROBOROS_WSGI_APP": "loading:app"}).get("/").body == b"hello\n"


def test_a_factory_setting_calls_the_application(serve):
    assert serve("loading:factory", "--factory").get("/").body == b"made"


def test_asgi_and_wsgi_are_recognised(serve):
    assert serve("hello_asgi:app").get("/").body == b"hello\n"
    assert serve("hello_wsgi:app").get("/").body == b"hello\n"


def test_chdir_and_env_are_in_place_before_the_import(serve):
    server = serve("loading:whoami", "--chdir", str(APPS), "--env", "LOADING_MARK=set", cwd=ROOT)
    assert server.get("/").body == f"{APPS} set".encode()


def test_pythonpath_is_searched(serve):
    assert serve("hello_wsgi:app", "--pythonpath", str(APPS), cwd=ROOT).get("/").body == b"hello\n"


def test_the_virtual_environment_s_own_interpreter_runs_the_application(serve):
    import sys

    where = json.loads(serve("wsgi_cases:app").get("/where").body)
    assert where["prefix"] == sys.prefix


@pytest.mark.parametrize(
    ("spec", "status", "words"),
    [
        ("import_error:app", 3, "this module breaks while it is imported"),
        ("no_such_module:app", 3, "No module named 'no_such_module'"),
        ("syntax_error:app", 3, "SyntaxError"),
        ("hello_wsgi:missing", 4, "missing"),
        ("not_callable:app", 4, "callable"),
    ],
)
def test_an_application_that_cannot_be_loaded_stops_the_server_at_once(spec, status, words):
    done = run_to_end(spec, *HERE, "-w", "2")
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert len(re.findall("Traceback", done.stderr)) <= 2, "respawned again and again"


def test_an_interpreter_that_dies_at_start_does_not_respawn_for_ever():
    done = run_to_end("exits_at_import:app", *HERE)
    assert done.returncode == 3, done.stderr


def test_without_an_application_the_daemon_says_so():
    done = run_to_end(*HERE)
    assert done.returncode == 2
    assert "uroboros: " in done.stderr and "Traceback" not in done.stderr


def test_check_config_loads_the_application():
    assert run_to_end("hello_wsgi:app", *HERE, "--check-config").returncode == 0
    assert run_to_end("import_error:app", *HERE, "--check-config").returncode != 0


def test_max_requests_replaces_the_process_and_fails_no_request(serve):
    server = serve("wsgi_cases:app", "--max-requests", "20")
    pids = set()
    with server.connect() as client:

        def three_generations() -> bool:
            response = client.request("/pid")
            assert response.status == 200
            pids.add(response.text.split()[0])
            return len(pids) >= 3

        eventually(three_generations)
