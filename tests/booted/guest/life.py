"""Reloads, deaths, and the listening sockets of systemd."""

import os
import signal

from load import ask_http1, load
from machine import (
    ERROR,
    INFO,
    UNIT,
    WORKERS,
    children,
    drop_in,
    exposure,
    get,
    is_served,
    journal,
    journal_end,
    main_pid,
    run,
    said_by_daemon,
    show,
    wait_until,
    write_application,
)

SOCKET = "uroboros.socket"
EXPOSURE_WITH_SOCKET_MAX = 1.1
SOCKET_DROP_IN = "/usr/share/uroboros/socket-activation.conf"


def test_a_reload_under_load_changes_the_application_and_fails_no_request():
    before, cursor = main_pid(), journal_end()
    with load() as clients:
        wait_until(lambda: clients.answered > 50, "requests before the reload")
        write_application("second")
        run("systemctl", "reload", UNIT)
        wait_until(lambda: b"second" in clients.bodies, "the new application")
        done = clients.answered + 50
        wait_until(lambda: clients.answered > done, "requests after the reload")
    assert main_pid() == before
    assert not clients.reconnected, "a reload closes no connection"
    wait_until(lambda: len(children("app")) == WORKERS, "as many processes as before")
    # A filter that takes the clock from the I/O process made every certificate look old.
    said = [entry["MESSAGE"] for entry in said_by_daemon(journal(cursor)) if entry["PRIORITY"] < INFO]
    assert not said, said
    return clients.verdict()


def is_complaint(entry: dict) -> bool:
    return entry["PRIORITY"] == ERROR and "reload failed" in str(entry["MESSAGE"])


def test_a_reload_that_fails_keeps_what_serves():
    cursor = journal_end()
    write_application('third"""')
    run("systemctl", "reload", UNIT, check=False)
    wait_until(lambda: any(is_complaint(entry) for entry in journal(cursor)), "the complaint")
    assert get().startswith("second from ")
    wait_until(lambda: "; the last reload failed: a new application process" in show("StatusText"), "the status")
    write_application("second")
    run("systemctl", "reload", UNIT)
    wait_until(lambda: show("ActiveState") == "active" and is_served(), "a reload that works again")


def kill_one(kind: str, count: int) -> None:
    before, service = children(kind), main_pid()
    assert len(before) == count, before
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(children(kind)) - {before[0]}) == count, f"another {kind} process")
    wait_until(is_served, "an answer")
    assert main_pid() == service


def test_an_application_process_that_is_killed_comes_back():
    kill_one("app", WORKERS)


def test_an_io_process_that_is_killed_comes_back():
    kill_one("io", len(children("io")))


def test_a_supervisor_that_is_killed_is_started_again():
    before = main_pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: main_pid() not in (0, before) and show("ActiveState") == "active", "another supervisor")
    assert get()


def test_a_socket_starts_the_service():
    run("systemctl", "stop", UNIT)
    run("install", "-D", "-m", "644", SOCKET_DROP_IN, "-t", f"/etc/systemd/system/{UNIT}.d")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", SOCKET)
    assert show("ActiveState") == "inactive"
    assert get().startswith("second from ")
    # The first application process serves before the last one is ready, and only then the service is.
    wait_until(lambda: show("ActiveState") == "active", "readiness")


def test_with_the_socket_the_service_is_exposed_less():
    found = exposure()
    assert found <= EXPOSURE_WITH_SOCKET_MAX, found
    return str(found)


def test_a_restart_behind_the_socket_refuses_no_connection():
    with load((ask_http1,)) as clients:
        wait_until(lambda: clients.answered > 50, "requests before the restart")
        run("systemctl", "restart", UNIT)
        done = clients.answered + 50
        wait_until(lambda: clients.answered > done, "requests after the restart")
    return clients.verdict()


def test_without_the_socket_the_service_binds_for_itself():
    run("systemctl", "stop", SOCKET, UNIT)
    drop_in("socket-activation", None)
    run("systemctl", "enable", "--now", UNIT)
    assert get()
