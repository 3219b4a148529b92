"""What applications and libraries expect of the Task that they run in (tests/apps/asgi_tasks.py), on both loops.

Without a Task 18 of these fail, with one that all requests share 9. Tasks from a pool must pass every one, on a Task
that served other requests before as on a fresh one; so each check runs several times, and all at once.
"""

import pytest

from harness.client import Parallel

REPETITIONS = 4

ASYNCIO = [
    "current_task", "timeout_on_first_step", "timeout_after_a_suspend", "task_group", "cancels_itself", "wait_for",
    "gather", "lock", "context_is_kept", "context_is_isolated", "remembers_its_task", "remembers_its_task_weakly",
    "is_not_cancelling",
]  # fmt: skip
LIBRARIES = [
    "sniffio_finds_asyncio", "anyio_sleep", "anyio_to_thread", "anyio_move_on_after", "anyio_task_group",
    "asgiref_sync_to_async", "asgiref_async_to_sync",
]  # fmt: skip
FRAMEWORKS = [
    "starlette/plain", "starlette/def", "starlette/is_disconnected", "starlette/streaming", "starlette/file",
    "starlette/middleware/", "starlette/middleware/streaming", "fastapi/async", "fastapi/def",
]  # fmt: skip
# The second path waits until what the first one left for later has happened.
LATER = [
    ("watches_its_task", "watched_task_ended"),
    ("starlette/background", "starlette/background_done"),
    ("fastapi/dependency", "fastapi/dependency_closed"),
]


SERVERS = {
    "asyncio": ("--asgi-loop", "asyncio"),
    "uvloop": ("--asgi-loop", "uvloop"),
    "asyncio-task": ("--asgi-loop", "asyncio", "--asgi-tasks", "task"),
    "uvloop-task": ("--asgi-loop", "uvloop", "--asgi-tasks", "task"),
    "embedded": ("--python", "embedded"),
}


@pytest.fixture(params=SERVERS)
def server(request, serve_shared):
    return serve_shared("asgi_tasks:app", *SERVERS[request.param])


def expect_ok(client, path: str) -> None:
    response = client.request(f"/{path}")
    assert response.status == 200, response.text
    assert response.text.strip('"') == "ok"


@pytest.mark.parametrize("check", ASYNCIO + LIBRARIES + FRAMEWORKS)
def test_a_request_runs_in_a_task_of_its_own(server, check):
    with server.connect() as client:
        for _ in range(REPETITIONS):
            expect_ok(client, check)


@pytest.mark.parametrize("first, second", LATER)
def test_what_a_request_left_for_later_happens(server, first, second):
    with server.connect() as client:
        for _ in range(REPETITIONS):
            expect_ok(client, first)
            expect_ok(client, second)


@pytest.mark.parametrize("path, needle", [("django/", "Hello from Django"), ("django/async", '"async": true')])
def test_django_views_of_both_kinds_answer(server, path, needle):
    with server.connect() as client:
        for _ in range(REPETITIONS):
            assert needle in client.request(f"/{path}").text


def test_requests_that_wait_do_not_share_a_task(server):
    def ask(path: str) -> None:
        with server.connect() as client:
            for _ in range(REPETITIONS):
                expect_ok(client, path)

    with Parallel() as clients:
        for path in ASYNCIO + LIBRARIES + FRAMEWORKS:
            clients.start(ask, path)
