"""What a process does before it sleeps: every word serves, and none keeps an idle server busy."""

import os
import time
from pathlib import Path

import pytest


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def cpu_ticks(pid: int) -> int:
    total = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


@pytest.mark.parametrize("word", ["sleep", "adaptive", "spin"])
def test_every_word_serves_and_an_idle_server_uses_no_cpu(serve, word):
    server = serve("hello_wsgi:app", "--spin", word)
    for _ in range(50):
        assert server.get("/").status == 200
    before = cpu_ticks(server.pid)
    time.sleep(2)  # nothing is awaited: an observation needs a span of time, and a spinning process uses all of it
    assert cpu_ticks(server.pid) - before < 0.1 * os.sysconf("SC_CLK_TCK")
