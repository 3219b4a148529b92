"""preload_app: the application is imported once, and the processes that serve are copies of the one that has."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.server import run_to_end
from harness.waiting import eventually


@dataclass
class Report:
    imported_by: int
    pid: int
    parent: int
    random: str
    drawn: str

    @staticmethod
    def of(server, target: str = "/") -> "Report":
        imported_by, pid, parent, fresh, drawn = server.get(target).text.split()
        return Report(int(imported_by), int(pid), int(parent), fresh, drawn)


def template(server) -> int:
    return next((pid for pid, title in server.processes().items() if title.startswith("uroboros: template")), 0)


def workers_seen(server, count: int) -> dict[int, Report]:
    seen: dict[int, Report] = {}

    def all_of_them() -> bool:
        report = Report.of(server)
        seen[report.pid] = report
        return len(seen) >= count

    eventually(all_of_them)
    return seen


@pytest.mark.parametrize("app", ["preloaded:app", "preloaded:asgi"])
def test_the_processes_are_copies_of_one_that_has_imported_the_application(serve, app):
    server = serve(app, "--preload", "-w", "3")
    original = template(server)
    pids = server.app_processes()
    assert len(pids) == 3
    report = Report.of(server)
    assert report.imported_by == original
    assert report.pid in pids
    assert report.parent == server.pid


def test_copies_draw_random_numbers_of_their_own(serve):
    seen = workers_seen(serve("preloaded:app", "--preload", "-w", "2"), 2)
    assert len({report.random for report in seen.values()}) == 2
    assert len({report.drawn for report in seen.values()}) == 1


def test_one_that_dies_is_replaced_by_another_copy(serve):
    server = serve("preloaded:app", "--preload", "-w", "1")
    original, victim = template(server), server.app_processes()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log(rf"\(pid {victim}\) was killed")
    eventually(lambda: server.app_processes() and server.app_processes()[0] != victim)
    report = Report.of(server)
    assert (report.imported_by, template(server)) == (original, original)


def test_a_template_that_dies_is_replaced_and_no_request_fails(serve):
    server = serve("preloaded:app", "--preload", "-w", "2")
    first = template(server)
    os.kill(first, signal.SIGKILL)
    assert Report.of(server).imported_by == first
    eventually(lambda: template(server) not in (0, first))
    second = template(server)
    old = server.app_processes()
    for victim in old:
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(rf"\(pid {victim}\) was killed")
    eventually(lambda: len(set(server.app_processes()) - set(old)) == 2)
    assert Report.of(server).imported_by == second


def test_a_template_that_does_not_answer_keeps_the_supervisor_from_nothing(serve):
    server = serve("preloaded:app", "--preload", "-w", "2")
    first, victim = template(server), server.app_processes()[0]
    os.kill(first, signal.SIGSTOP)
    since = server.log_position
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log(rf"\(pid {victim}\) was killed")
    os.kill(server.io_processes()[0], signal.SIGKILL)
    server.wait_for_log(r"io 0 started", since=since)
    assert "cannot be copied" not in server.log()
    assert Report.of(server).imported_by == first
    server.wait_for_log(rf"the template \(pid {first}\) cannot be copied: it does not answer", since=since)
    eventually(lambda: len(server.app_processes()) == 2 and template(server) not in (0, first))
    assert template(server) in {report.imported_by for report in workers_seen(server, 2).values()}


def test_a_stop_while_a_template_does_not_answer_ends_all(serve):
    server = serve("preloaded:app", "--preload", "-w", "2", "--graceful-timeout", "1")
    victim = server.app_processes()[0]
    os.kill(template(server), signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log(rf"\(pid {victim}\) was killed")
    assert server.stop() == 0
    server.assert_nothing_alive()


FORKED_KIND = 23  # CONTROL_FORKED


@pytest.mark.parametrize(
    ("claimed", "complaint"),
    [
        ("1", "it answers with a process that is no copy"),
        ("0", "its answer makes no sense"),
        ("-11", "Resource temporarily unavailable"),
    ],
)
def test_a_template_that_lies_is_found_out(claimed, complaint):
    lie = {"PRELOADED_LIES": claimed, "PRELOADED_FORKED": str(FORKED_KIND)}
    run = run_to_end("preloaded:app", "--preload", "-b", "127.0.0.1:0", env=lie)
    assert run.returncode == 1
    assert f"cannot be copied: {complaint}" in run.stderr


def test_a_reload_imports_anew(serve):
    server = serve("preloaded:app", "--preload", "-w", "2")
    first = template(server)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: 2 new application processes serve")
    assert Report.of(server).imported_by not in (0, first)
    eventually(lambda: template(server) not in (0, first))


def test_what_breaks_at_import_is_said_once_and_ends_the_start():
    run = run_to_end("preloaded:app", "--preload", "-w", "3", "-b", "127.0.0.1:0", env={"PRELOADED_BREAKS": "yes"})
    assert run.returncode == 3
    assert run.stderr.count("the application cannot be loaded") == 1
    assert "RuntimeError: this module breaks while it is imported" in run.stderr


def test_threads_of_the_import_are_warned_of(serve):
    server = serve("preloaded:app", "--preload", env={"PRELOADED_THREAD": "yes"})
    server.wait_for_log(r"WARNING\].*preload_app: the application has started 1 threads while it was imported")
    assert Report.of(server).imported_by == template(server)


@pytest.mark.parametrize("captured", [True, False])
def test_the_output_of_copies_comes_out(serve, captured):
    server = serve("preloaded:app", "--preload", *([] if captured else ["--no-capture-output"]))
    pid = Report.of(server).pid
    if captured:
        server.wait_for_log(f"asked in {pid}")
    else:
        server.wait_for_stdout(f"asked in {pid}")


def test_what_an_application_leaves_behind_is_buried(serve):
    server = serve("preloaded:app", "--preload")
    Report.of(server, "/orphan")

    def is_zombie(pid: str) -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # buried meanwhile
            return False

    def no_zombie() -> bool:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        return not any(map(is_zombie, children))

    eventually(no_zombie)


def test_copies_share_the_memory_of_the_template(serve):
    server = serve("django_app:app", "--preload", "-w", "3")

    def kib(pid: int, key: str) -> int:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(key))

    server.get("/")
    for pid in server.app_processes():
        assert kib(pid, "Pss:") < kib(pid, "Rss:") / 2
