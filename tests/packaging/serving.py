"""A daemon that is started by a command, asked once, and stopped."""

import os
import signal
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

PATIENCE_SECONDS = 120  # a slow disk may keep a program that starts waiting


def environment() -> dict[str, str]:
    """Without what the daemon would take for settings."""
    foreign = ("UROBOROS", "GUNICORN_", "PORT", "WEB_CONCURRENCY", "VIRTUAL_ENV", "LISTEN_", "NOTIFY_", "JOURNAL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def ask(url: str, process: subprocess.Popen) -> str:
    """What the URL answers as soon as it does; whose certificate it has is not the question."""
    context = ssl._create_unverified_context() if url.startswith("https") else None
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as response:
                return response.read().decode()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{url}: {error}; exit status {process.poll()}") from error
        time.sleep(0.05)


def serve_once(command, url: str, cwd: Path, **options) -> str:
    """The answer of a server that runs until it is asked to stop, and then stops with status 0."""
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True, **options
    )
    try:
        answer = ask(url, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return answer
