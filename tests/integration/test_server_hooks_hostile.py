"""Hooks that do what they should not: nothing of it stops service, a stop, a reload or the watchdog."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from test_supervisor import NotifySocket

from harness.hooks import hook_processes, wait_for_another
from harness.server import LATENESS, allowed
from harness.waiting import eventually

# A hook calls this to hang until the test, or the supervisor, ends it.
HANG = "\ndef hang(word):\n    say(word)\n    import time\n    time.sleep(1000)\n"


@pytest.fixture
def manager():
    socket = NotifySocket()
    yield socket
    socket.socket.close()


# --- processes that a hook has forked ----------------------------------------------------------------------------


def test_a_process_that_a_hook_has_forked_hears_sigterm(serve_hooks, recorder):
    """At the end of Python multiprocessing sends it to those that are left, and waits for them."""
    recorder.write(
        """
import multiprocessing, time

def when_ready(server):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True)
    process.start()
    say("forked", process.pid)
"""
    )
    server = serve_hooks()
    pid = int(recorder.wait_for(r"forked (\d+)")[0][1])
    began = time.monotonic()
    assert server.stop(timeout=40) == 0
    assert time.monotonic() - began < LATENESS
    server.wait_for_exit_of(pid)
    assert "did not end in time" not in server.log()


def test_a_forked_process_that_returns_from_its_hook_serves_no_other_call(serve_hooks, recorder):
    recorder.write("\ndef on_starting(server):\n    if os.fork() == 0:\n        raise ValueError\n    say('on_starting')\n")
    server = serve_hooks()
    server.wait_for_log("a process that on_starting has forked returned from it, it ends")
    recorder.wait_for("when_ready")
    eventually(lambda: len(hook_processes(server)) == 1, what="the end of the copy")
    assert server.stop() == 0
    assert [recorder.names().count(name) for name in ("on_starting", "when_ready", "on_exit")] == [1, 1, 1]


def test_a_forked_process_that_keeps_everything_open_holds_up_nothing(serve_hooks, recorder):
    """The copy has the control socket and both outputs, and leaves the session's processes to nobody."""
    recorder.write(
        """
def when_ready(server):
    if os.fork() == 0:
        say("kept", os.getpid())
        import time
        time.sleep(1000)
        os._exit(0)
"""
    )
    server = serve_hooks()
    copy = int(recorder.wait_for(r"kept (\d+)")[0][1])
    before = hook_processes(server)
    main = next(pid for pid in before if pid != copy)
    os.kill(main, signal.SIGKILL)
    eventually(lambda: set(hook_processes(server)) - set(before), what="another process for hooks")
    server.send_signal(signal.SIGTERM)
    try:
        assert server.process.wait(allowed(10)) == 0
    finally:
        os.kill(copy, signal.SIGKILL)
    assert server.wait() == 0
    assert recorder.names()[-1] == "on_exit"


# --- sockets and outputs -----------------------------------------------------------------------------------------


def test_a_hook_that_floods_its_outputs_holds_up_nothing(serve_hooks, recorder):
    recorder.write(
        """
def when_ready(server):
    say("floods")
    while True:
        try:
            os.write(1, b"x" * 4095 + b"\\n")
            os.write(2, b"\\0" * 4096)
        except BlockingIOError:
            pass
"""
    )
    server = serve_hooks("--graceful-timeout", "1", "--error-logfile", "/dev/null", ready=False)
    recorder.wait_for("floods")
    old = server.app_processes()
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.app_processes()) == len(old) + 1, what="one more application process")
    assert server.stop() == 0


def test_garbage_on_the_control_socket_is_not_heard(serve_hooks, recorder):
    """Empty, short, unknown and over-long messages."""
    recorder.write(
        """
import socket

def when_ready(server):
    with socket.socket(fileno=os.dup(3)) as control:
        for turn in range(1000):
            for text in (b"\\1", b"\\xff" * 4, b"\\0" * 8, b"\\1" * 4000, b"\\1\\0\\0\\0"):
                control.send(text)
    say("when_ready has written")
"""
    )
    server = serve_hooks()
    recorder.wait_for("when_ready has written")
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"
    assert server.log().count("hooks started") == 1


def test_a_hook_that_closes_every_descriptor_is_replaced(serve_hooks, recorder):
    recorder.write("\ndef when_ready(server):\n    say('closes')\n    os.closerange(0, 1024)\n")
    server = serve_hooks()
    recorder.wait_for("closes")
    server.wait_for_log(r"hooks \(pid \d+\) (exited|was killed)")
    server.wait_for_log("hooks started", count=2)
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"


# --- reload ------------------------------------------------------------------------------------------------------


def test_reloads_in_quick_succession_leave_one_process(serve_hooks, recorder):
    server = serve_hooks()
    recorder.wait_for("when_ready")
    before = hook_processes(server)
    for turn in range(5):
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloading the settings", count=turn + 1)
    server.wait_for_log("reloaded: ")
    wait_for_another(server, before)
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert [recorder.names().count(name) for name in ("on_starting", "on_exit")] == [1, 1]


def test_a_process_that_dies_after_a_reload_says_what_was_not_called(serve_hooks, recorder):
    """Nobody is started anew for the calls that waited behind the one which was its end."""
    recorder.write(
        """
def when_ready(server):
    say("waits")
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
    os._exit(9)
"""
    )
    server = serve_hooks("--graceful-timeout", "60")
    recorder.wait_for("waits")
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.app_processes()) == 2, what="the second application process")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: ")
    Path(f"{recorder.file}.go").touch()
    server.wait_for_log("exited with status 9, in when_ready")
    server.wait_for_log(r"[2-9] calls that waited are not made")
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"


def test_a_reload_does_not_wait_for_a_hook_that_hangs(serve_hooks, recorder):
    """Neither for the old process, which hangs in when_ready, nor for the new one, which hangs in on_reload."""
    recorder.write(HANG + "def when_ready(server):\n    hang('when_ready')\ndef on_reload(server):\n    hang('on_reload')\n")
    server = serve_hooks("--graceful-timeout", "2")
    recorder.wait_for("when_ready")
    before = hook_processes(server)
    old = server.app_processes()
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: ")
    recorder.wait_for("on_reload")
    eventually(lambda: not set(old) & set(server.app_processes()), what="the end of the old application process")
    server.wait_for_log(r"hooks \(pid \d+\) did not end in time, in when_ready, it is killed")
    wait_for_another(server, before)
    assert server.get("/").status == 200
    assert server.stop() == 0
    server.wait_for_log(r"hooks \(pid \d+\) did not end in time, in on_reload, it is killed")


# --- while on_starting runs --------------------------------------------------------------------------------------


def test_the_service_manager_hears_that_on_starting_goes_on(serve_hooks, recorder, manager):
    """The watchdog is fed, and the manager's limit for a start is not that of on_starting."""
    recorder.write(HANG + "def on_starting(server):\n    hang('begun')\n")
    server = serve_hooks(ready=False, env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"})
    recorder.wait_for("begun")
    for _ in range(3):
        manager.wait_for("^WATCHDOG=1$")
    for _ in range(2):
        manager.wait_for(r"^EXTEND_TIMEOUT_USEC=\d{7,}$")
    assert server.stop() == 0
    assert not any("READY=1" in text for text in manager.seen)


def test_an_upgrade_waits_until_on_starting_has_returned(serve_hooks, recorder):
    recorder.write(
        """
def on_starting(server):
    say("begun")
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
    say("returned")
"""
    )
    server = serve_hooks(ready=False)
    recorder.wait_for("begun")
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log("the upgrade waits until the server has started")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("the reload waits until the server has started")
    Path(f"{recorder.file}.go").touch()
    recorder.wait_for("when_ready", count=2)
    assert recorder.names().count("returned") == 2
    server.wait_until_ready()


def test_an_upgrade_that_waits_does_not_hold_up_a_stop(serve_hooks, recorder):
    recorder.write(HANG + "def on_starting(server):\n    hang('begun')\n")
    server = serve_hooks(ready=False)
    recorder.wait_for("begun")
    server.send_signal(signal.SIGUSR2)
    server.wait_for_log("the upgrade waits until the server has started")
    assert server.stop() == 0
    assert "executing" not in server.log()


# --- the user ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="a user is changed by root only")
def test_hooks_run_as_the_user_of_the_applications(serve):
    directory = Path(tempfile.mkdtemp())
    try:
        directory.chmod(0o755)
        config = directory / "gunicorn.conf.py"
        config.write_text("import os\n\ndef on_starting(server):\n    server.log.info('ids %s', os.getresuid())\n")
        server = serve("hello_wsgi:app", "-c", str(config), "--user", "nobody")
        server.wait_for_log(r"ids \((\d+), \1, \1\)")
        assert "ids (0," not in server.log()
    finally:
        shutil.rmtree(directory)
