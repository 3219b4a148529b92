"""What applications and libraries expect of the asyncio Task that their code runs in: one path, one expectation.

A check that fails raises, and is answered with 500 and the traceback. `before`/`after` pairs leave something on the
Task of one request and look for it in the next.
"""

import asyncio
import contextvars
import time
import traceback
import weakref
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import sniffio
from asgiref.sync import async_to_sync, sync_to_async
from django_app import asgi_app as django
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
DONE: list[str] = []
BY_TASK: dict = {}
BY_TASK_WEAKLY: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
LOCK = asyncio.Lock()


# --- asyncio -----------------------------------------------------------------------------------------------------


async def current_task():
    task = asyncio.current_task()
    assert isinstance(task, asyncio.Task)
    await asyncio.sleep(0)
    assert asyncio.current_task() is task


async def timeout_on_first_step():
    started = time.monotonic()
    try:
        async with asyncio.timeout(0.02):
            await asyncio.sleep(20)
    except TimeoutError:
        assert time.monotonic() - started < 10
    else:
        raise AssertionError("the timeout did not fire")


async def timeout_after_a_suspend():
    await asyncio.sleep(0.001)
    await timeout_on_first_step()


async def task_group():
    async def fails():
        raise ValueError("child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(20)
    except ExceptionGroup as error:
        assert isinstance(error.exceptions[0], ValueError)
    else:
        raise AssertionError("the group swallowed its child's error")


async def cancels_itself():
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        return
    raise AssertionError("cancel() was ignored")


async def wait_for():
    assert await asyncio.wait_for(asyncio.sleep(0, "value"), 10) == "value"
    try:
        await asyncio.wait_for(asyncio.sleep(20), 0.01)
    except TimeoutError:
        return
    raise AssertionError("wait_for did not give up")


async def gather():
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2)) == [1, 2]


async def lock():
    async with LOCK:
        await asyncio.sleep(0.001)


async def context_is_kept():
    VARIABLE.set("mine")
    await asyncio.sleep(0.001)
    assert VARIABLE.get() == "mine"
    assert await asyncio.create_task(read_variable()) == "mine"


async def read_variable():
    return VARIABLE.get()


async def context_is_isolated():
    assert VARIABLE.get() == "unset"
    VARIABLE.set("left behind")


# --- traces on a Task --------------------------------------------------------------------------------------------


async def remembers_its_task():
    task = asyncio.current_task()
    assert task not in BY_TASK, "a request was given the Task of another that is remembered"
    assert task not in BY_TASK_WEAKLY
    BY_TASK[task] = "state"


async def remembers_its_task_weakly():
    task = asyncio.current_task()
    assert task not in BY_TASK_WEAKLY, "state keyed by the Task came back in another request"
    BY_TASK_WEAKLY[task] = "state"


async def watches_its_task():
    asyncio.current_task().add_done_callback(lambda task: DONE.append("watched task"))


async def watched_task_ended():
    while "watched task" not in DONE:
        await asyncio.sleep(0.001)
    DONE.remove("watched task")


async def is_not_cancelling():
    assert asyncio.current_task().cancelling() == 0
    asyncio.current_task().cancel()


# --- libraries ---------------------------------------------------------------------------------------------------


async def sniffio_finds_asyncio():
    assert sniffio.current_async_library() == "asyncio"


async def anyio_sleep():
    await anyio.sleep(0.001)


async def anyio_to_thread():
    assert await anyio.to_thread.run_sync(lambda: 42) == 42


async def anyio_move_on_after():
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(20)
    assert scope.cancelled_caught


async def anyio_task_group():
    results = []

    async def child(number):
        await anyio.sleep(0.001)
        results.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(child, 1)
        group.start_soon(child, 2)
    assert sorted(results) == [1, 2]


async def asgiref_sync_to_async():
    VARIABLE.set("through a thread")
    assert await sync_to_async(VARIABLE.get)() == "through a thread"


async def asgiref_async_to_sync():
    async def inner():
        await asyncio.sleep(0.001)
        return "inner"

    assert await sync_to_async(lambda: async_to_sync(inner)())() == "inner"


# --- Starlette ---------------------------------------------------------------------------------------------------


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "on"
        return response


async def plain(request):
    return PlainTextResponse("ok")


async def background(request):
    return PlainTextResponse("ok", background=BackgroundTask(DONE.append, "background task"))


async def background_done(request):
    while "background task" not in DONE:
        await asyncio.sleep(0.001)
    DONE.remove("background task")
    return PlainTextResponse("ok")


def in_a_thread(request):
    return PlainTextResponse("ok")


async def is_disconnected(request):
    assert await request.is_disconnected() is False
    return PlainTextResponse("ok")


async def streaming(request):
    async def parts():
        yield "o"
        await asyncio.sleep(0.001)
        yield "k"

    return StreamingResponse(parts())


async def file(request):
    return FileResponse(Path(__file__).with_name("ok.txt"))


starlette = Starlette(
    routes=[
        Route("/starlette/plain", plain),
        Route("/starlette/background", background),
        Route("/starlette/background_done", background_done),
        Route("/starlette/def", in_a_thread),
        Route("/starlette/is_disconnected", is_disconnected),
        Route("/starlette/streaming", streaming),
        Route("/starlette/file", file),
        Mount(
            "/starlette/middleware",
            Starlette(routes=[Route("/", plain), Route("/streaming", streaming)], middleware=[Middleware(Stamp)]),
        ),
    ]
)


# --- FastAPI -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_app):
    yield {"started": True}


fastapi = FastAPI(lifespan=lifespan)


async def resource():
    await asyncio.sleep(0)
    yield "ok"
    DONE.append("dependency closed")


@fastapi.get("/fastapi/async")
async def fastapi_async():
    return "ok"


@fastapi.get("/fastapi/dependency")
async def fastapi_dependency(value: Annotated[str, Depends(resource)]):
    return value


@fastapi.get("/fastapi/dependency_closed")
async def fastapi_dependency_closed():
    while "dependency closed" not in DONE:
        await asyncio.sleep(0.001)
    DONE.remove("dependency closed")
    return "ok"


@fastapi.get("/fastapi/def")
def fastapi_def():
    return "ok"


# --- the application ---------------------------------------------------------------------------------------------

CHECKS = {f"/{check.__name__}": check for check in [
    current_task, timeout_on_first_step, timeout_after_a_suspend, task_group, cancels_itself, wait_for, gather, lock,
    context_is_kept, context_is_isolated, remembers_its_task, remembers_its_task_weakly, watches_its_task,
    watched_task_ended, is_not_cancelling, sniffio_finds_asyncio, anyio_sleep, anyio_to_thread, anyio_move_on_after,
    anyio_task_group, asgiref_sync_to_async, asgiref_async_to_sync,
]}  # fmt: skip


async def answer(send, status, text):
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def run_check(check, send):
    try:
        await check()
    except Exception:
        await answer(send, 500, traceback.format_exc())
        return
    await answer(send, 200, "ok")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await fastapi(scope, receive, send)
    elif scope["path"].startswith("/starlette/"):
        await starlette(scope, receive, send)
    elif scope["path"].startswith("/fastapi/"):
        await fastapi(scope, receive, send)
    elif scope["path"].startswith("/django/"):
        await django({**scope, "path": scope["path"].removeprefix("/django")}, receive, send)
    else:
        await run_check(CHECKS[scope["path"]], send)
