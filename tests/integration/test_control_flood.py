"""What an application process may say to the supervisor is little, whoever has taken hold of its socket."""

import signal

import pytest

from harness.waiting import eventually

# What is passed over in silence, and what is told in the log: once.
SILENT = ("short", "unknown", "ready")
TOLD = ("of-io", "forked", "failed", "descriptors")
LINES_MAX = 60


def flooded(serve, word: str):
    """A daemon, and the application process in whose name something floods it."""
    server = serve("control_flood_wsgi:app", "-w", "2", "--graceful-timeout", "5")
    return server, int(server.get(f"/?{word}").body)


@pytest.mark.parametrize("word", SILENT + TOLD)
def test_a_supervisor_that_is_flooded_does_what_it_is_told(serve, word):
    server, _ = flooded(serve, word)
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.app_processes()) >= 3, 20, "a third process")
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert len(server.lines) < LINES_MAX


@pytest.mark.parametrize("word", TOLD)
def test_a_process_that_says_what_it_may_not_is_replaced(serve, word):
    server, culprit = flooded(serve, word)
    server.wait_for_log(rf"\(pid {culprit}\) (sent a message of kind|answers what nobody has asked)")
    eventually(lambda: culprit not in server.app_processes(), 20, "the end of the process that floods")
    eventually(lambda: len(server.app_processes()) == 2, 20, "its successor")
    assert server.get("/").status == 200
    assert len(server.lines) < LINES_MAX
