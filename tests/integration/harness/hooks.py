"""A settings file with every hook of the server, and the process in which they run."""

import re
from pathlib import Path

import pytest

from harness.server import Server
from harness.waiting import eventually

# Every hook writes its name and what it was told, one line each, in the order in which they run.
RECORDER = """
import os

def say(*words):
    with open(os.environ["HOOKS_FILE"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

def on_starting(server):
    say("on_starting", server.pid)

def on_reload(server):
    say("on_reload")

def when_ready(server):
    say("when_ready")

def pre_fork(server, worker):
    say("pre_fork", worker.age)

def child_exit(server, worker):
    say("child_exit", worker.age, worker.pid, worker.pid in server.WORKERS)

def nworkers_changed(server, new, old):
    say("nworkers_changed", new, old)

def pre_exec(server):
    say("pre_exec")

def on_exit(server):
    say("on_exit", len(server.WORKERS))
"""


class Recorder:
    """A settings file, and the lines that its hooks write."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "gunicorn.conf.py"
        self.file = directory / "hooks"
        self.env = {"HOOKS_FILE": str(self.file)}
        self.write("")

    def write(self, more: str) -> None:
        self.config.write_text(RECORDER + more)

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def names(self) -> list[str]:
        return [line.split()[0] for line in self.lines()]

    def wait_for(self, pattern: str, count: int = 1) -> list[re.Match]:
        expression = re.compile(pattern)

        def found():
            matches = [match for line in self.lines() if (match := expression.fullmatch(line))]
            return matches if len(matches) >= count else None

        return eventually(found, what=f"{count} x {pattern}, after {self.lines()},")


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path)


@pytest.fixture
def serve_hooks(serve, recorder):
    """A server with the recorder's file."""

    def run(*options: str, app: str = "hello_wsgi:app", env: dict[str, str] | None = None, **others) -> Server:
        return serve(app, "-c", str(recorder.config), *options, env={**recorder.env, **(env or {})}, **others)

    return run


def hook_processes(server: Server) -> list[int]:
    return sorted(pid for pid, title in server.processes().items() if title == "uroboros: hooks")


def wait_for_another(server: Server, before: list[int]) -> int:
    """The one process for hooks, when it is none of those."""

    def only_one():
        now = hook_processes(server)
        return now if len(now) == 1 and not set(now) & set(before) else None

    return eventually(only_one, what="another process for hooks")[0]
