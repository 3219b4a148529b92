"""Hooks that Gunicorn calls in its master, called here in a process of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.hooks import Recorder, hook_processes, wait_for_another
from harness.server import APPS, PATIENCE, allowed, clean_environment
from harness.waiting import eventually

# --- order -------------------------------------------------------------------------------------------------------


def test_each_hook_is_called_in_order_from_the_start_to_the_end(serve_hooks, recorder):
    server = serve_hooks("-w", "2")
    recorder.wait_for("when_ready")
    workers = server.app_processes()
    assert server.stop() == 0
    assert recorder.names() == [
        *("nworkers_changed", "on_starting", "pre_fork", "pre_fork", "when_ready"),
        *("child_exit", "child_exit", "on_exit"),
    ]
    assert recorder.lines()[:4] == ["nworkers_changed 2 None", f"on_starting {server.pid}", "pre_fork 1", "pre_fork 2"]
    assert sorted(int(line.split()[2]) for line in recorder.lines() if line.startswith("child_exit")) == workers
    assert recorder.lines()[-1] == "on_exit 0"
    assert "no effect" not in server.log()


def gunicorn_names(recorder: Recorder, workers: int) -> list[str]:
    """The same file and the same signals, by Gunicorn."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", recorder.config, "-b", "127.0.0.1:0", "hello_wsgi:app"],
        cwd=APPS,
        env=clean_environment({**recorder.env, "WEB_CONCURRENCY": str(workers)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        recorder.wait_for("pre_fork .*", count=workers)
        eventually(lambda: children_of(process.pid) >= workers, what="Gunicorn's workers")
        process.send_signal(signal.SIGTTIN)
        recorder.wait_for("pre_fork .*", count=workers + 1)
        process.send_signal(signal.SIGTERM)
        process.wait(allowed(30))
    finally:
        process.kill()
        process.wait()
    return recorder.names()


def children_of(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_the_order_is_gunicorns_but_for_when_ready(serve_hooks, recorder):
    """Gunicorn's when_ready says that addresses are open. Here applications can answer as well, so it comes later."""
    server = serve_hooks("-w", "2")
    recorder.wait_for("when_ready")
    server.send_signal(signal.SIGTTIN)
    recorder.wait_for("pre_fork 3")
    assert server.stop() == 0
    ours = recorder.names()
    recorder.file.unlink()
    theirs = gunicorn_names(recorder, workers=2)
    assert [name for name in ours if name != "when_ready"] == [name for name in theirs if name != "when_ready"]
    assert ours.index("when_ready") == theirs.index("when_ready") + 2


def test_no_process_is_started_where_the_file_has_no_hook_of_the_server(serve, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("def post_fork(server, worker):\n    pass\n")
    server = serve("hello_wsgi:app", "-c", str(config))
    assert hook_processes(server) == []
    assert "hooks started" not in server.log()


def test_nothing_is_called_by_a_check_of_the_settings(serve_hooks, recorder):
    server = serve_hooks("--check-config", ready=False)
    assert server.wait() == 0
    assert recorder.lines() == []


# --- the start ---------------------------------------------------------------------------------------------------


def test_the_application_is_started_after_on_starting(serve_hooks, recorder, tmp_path):
    """The application cannot be imported before the hook has made what it needs."""
    (tmp_path / "late.py").write_text("import made_by_hook\nfrom hello_wsgi import app\n")
    recorder.write(
        f"""
def on_starting(server):
    say("begun")
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
    open({str(tmp_path / "made_by_hook.py")!r}, "w").close()
"""
    )
    server = serve_hooks("--pythonpath", str(tmp_path), app="late:app", ready=False)
    recorder.wait_for("begun")
    server.send_signal(signal.SIGTTIN)
    server.wait_for_log("workers = 2 from now on")
    assert "app 0 started" not in server.log()
    Path(f"{recorder.file}.go").touch()
    assert server.wait_until_ready().get("/").status == 200


def test_an_exception_in_on_starting_ends_the_start(serve_hooks, recorder):
    recorder.write("\ndef on_starting(server):\n    raise ValueError('no database')\n")
    server = serve_hooks(ready=False)
    assert server.wait() == 3
    assert "ValueError: no database" in server.log()
    assert "the hook on_starting failed" in server.log()
    assert "app 0 started" not in server.log()
    assert recorder.names() == ["nworkers_changed"]


def test_a_process_that_dies_in_on_starting_ends_the_start(serve_hooks, recorder):
    recorder.write("\ndef on_starting(server):\n    os._exit(7)\n")
    server = serve_hooks(ready=False)
    assert server.wait() == 3
    server.wait_for_log(r"hooks \(pid \d+\) exited with status 7, in on_starting")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_does_not_wait_for_on_starting(serve_hooks, recorder, number):
    recorder.write("\ndef on_starting(server):\n    say('begun')\n    import time\n    time.sleep(1000)\n")
    server = serve_hooks(ready=False)
    recorder.wait_for("begun")
    assert server.stop(number) == 0
    assert "on_exit" not in recorder.names()
    assert "app 0 started" not in server.log()


def test_on_exit_is_called_when_the_application_cannot_be_loaded(serve_hooks, recorder):
    server = serve_hooks(app="import_error:app", ready=False)
    assert server.wait() == 3
    assert recorder.names()[-1] == "on_exit"


# --- life --------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_told_by_its_pid(serve_hooks, recorder):
    server = serve_hooks("-w", "2")
    victim = server.app_processes()[0]
    os.kill(victim, signal.SIGKILL)
    recorder.wait_for(rf"child_exit \d+ {victim} False")
    recorder.wait_for("pre_fork 3")
    assert "on_exit" not in recorder.names()


def test_signals_that_change_the_number_are_told(serve_hooks, recorder):
    server = serve_hooks("-w", "2")
    server.send_signal(signal.SIGTTIN)
    recorder.wait_for("nworkers_changed 3 2")
    recorder.wait_for("pre_fork 3")
    server.send_signal(signal.SIGTTOU)
    recorder.wait_for("nworkers_changed 2 3")
    recorder.wait_for("child_exit 1 .*")


def test_copies_of_a_template_are_told_and_the_template_is_not(serve_hooks, recorder):
    server = serve_hooks("-w", "2", "--preload")
    recorder.wait_for("when_ready")
    workers = server.app_processes()
    assert server.stop() == 0
    exits = recorder.wait_for(r"child_exit (\d) (\d+) False", count=2)
    assert sorted(int(match[2]) for match in exits) == workers
    assert sorted(match[1] for match in exits) == ["1", "2"]
    assert recorder.names().count("pre_fork") == recorder.names().count("child_exit") == 2


def test_the_age_is_the_same_for_the_server_and_in_the_worker(serve_hooks, recorder):
    recorder.write("\ndef post_fork(server, worker):\n    say('post_fork', worker.age, worker.pid)\n")
    server = serve_hooks("-w", "2")
    born = {match[2]: match[1] for match in recorder.wait_for(r"post_fork (\d+) (\d+)", count=2)}
    assert server.stop() == 0
    died = {match[2]: match[1] for match in recorder.wait_for(r"child_exit (\d+) (\d+) False", count=2)}
    assert born == died


def test_a_thread_that_a_hook_has_started_runs_between_calls(serve_hooks, recorder):
    recorder.write(
        """
import threading, time

def when_ready(server):
    def run():
        for number in range(5):
            time.sleep(0.01)
            say("thread", number)
    threading.Thread(target=run, daemon=True).start()
"""
    )
    serve_hooks()
    recorder.wait_for("thread 4")


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_an_exception_is_logged_and_the_next_hook_is_called(serve_hooks, recorder):
    recorder.write("\ndef when_ready(server):\n    raise KeyError('nothing there')\n")
    server = serve_hooks()
    server.wait_for_log("KeyError: 'nothing there'")
    assert "the hook when_ready failed" in server.log()
    assert server.get("/").status == 200
    pid = hook_processes(server)
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"
    assert len(pid) == 1 and server.log().count("hooks started") == 1


def test_sys_exit_in_a_hook_ends_nothing(serve_hooks, recorder):
    recorder.write("\ndef when_ready(server):\n    import sys\n    sys.exit(5)\n")
    server = serve_hooks()
    server.wait_for_log("the hook when_ready failed")
    assert server.get("/").status == 200


def test_a_hook_that_hangs_stops_neither_service_nor_the_end(serve_hooks, recorder):
    recorder.write("\ndef when_ready(server):\n    say('hangs')\n    import time\n    time.sleep(1000)\n")
    server = serve_hooks("--graceful-timeout", "2")
    recorder.wait_for("hangs")
    assert server.get("/").status == 200
    assert server.stop() == 0
    server.wait_for_log(r"hooks \(pid \d+\) did not end in time, in when_ready, it is killed")
    assert "child_exit" not in recorder.names()


def test_on_exit_has_what_is_left_of_graceful_timeout(serve_hooks, recorder):
    recorder.write("\ndef on_exit(server):\n    import time\n    time.sleep(1.5)\n    say('on_exit has ended')\n")
    server = serve_hooks("--graceful-timeout", "20")
    assert server.stop() == 0
    recorder.wait_for("on_exit has ended")


def test_a_quick_stop_does_not_wait_for_a_slow_on_exit(serve_hooks, recorder):
    recorder.write("\ndef on_exit(server):\n    say('on_exit')\n    import time\n    time.sleep(1000)\n")
    server = serve_hooks("--graceful-timeout", "60")
    server.send_signal(signal.SIGTERM)
    recorder.wait_for("on_exit")
    began = time.monotonic()
    assert server.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 10 * PATIENCE


def test_a_process_that_dies_is_replaced_and_the_calls_that_waited_are_made(serve_hooks, recorder):
    """The first process for hooks dies in a call, behind which others wait."""
    recorder.write(
        """
def when_ready(server):
    say("when_ready", os.getpid())
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
    os._exit(9)
"""
    )
    server = serve_hooks("-w", "2")
    recorder.wait_for(r"when_ready \d+")
    before = hook_processes(server)
    victim = server.app_processes()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log(rf"app \d \(pid {victim}\) was killed")
    Path(f"{recorder.file}.go").touch()
    server.wait_for_log("exited with status 9, in when_ready")
    recorder.wait_for(rf"child_exit \d+ {victim} False")
    wait_for_another(server, before)
    assert recorder.names().count("on_starting") == 1
    assert server.stop() == 0
    assert recorder.lines()[-1] == "on_exit 0"


def test_a_replaced_process_knows_the_workers_that_live(serve_hooks, recorder):
    recorder.write("\ndef nworkers_changed(server, new, old):\n    say('knows', *sorted(server.WORKERS))\n")
    server = serve_hooks("-w", "2")
    recorder.wait_for("when_ready")
    before = hook_processes(server)
    os.kill(before[0], signal.SIGKILL)
    wait_for_another(server, before)
    workers = " ".join(map(str, server.app_processes()))
    server.send_signal(signal.SIGTTIN)
    recorder.wait_for(f"knows {workers}")


def test_more_calls_than_can_wait_are_counted_and_said_once(serve_hooks, recorder):
    recorder.write(
        """
def when_ready(server):
    say("waits")
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
"""
    )
    server = serve_hooks()
    recorder.wait_for("waits")
    # Each signal is one call, and one or the other of these changes the number each time.
    for turn in range(300):
        number, says = (signal.SIGTTIN, "workers = 2 from now on") if turn % 2 == 0 else (signal.SIGTTOU, "workers = 1 from")
        server.send_signal(number)
        server.wait_for_log(says, count=turn // 2 + 1)
    server.wait_for_log("calls wait for when_ready; until they are made, others are lost")
    Path(f"{recorder.file}.go").touch()
    lost = int(server.wait_for_log(r"(\d+) calls were not made, too many waited", timeout=30)[1])
    assert lost > 0
    assert server.log().count("others are lost") == 1
    assert server.get("/").status == 200
    assert server.stop(timeout=30) == 0
    assert recorder.names()[-1] == "on_exit"


def test_sigterm_for_all_processes_does_not_take_on_exit_away(serve_hooks, recorder):
    """As a service manager with KillMode=control-group says it."""
    server = serve_hooks("-w", "2")
    recorder.wait_for("when_ready")
    os.kill(hook_processes(server)[0], signal.SIGTERM)
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"
    assert server.log().count("hooks started") == 1


def test_the_process_ends_with_a_supervisor_that_is_killed(serve_hooks, recorder):
    server = serve_hooks()
    server.expect_clean_stop = False
    hooks = hook_processes(server)[0]
    server.process.kill()
    server.wait_for_exit_of(hooks)


# --- reload ------------------------------------------------------------------------------------------------------


def test_a_reload_executes_the_file_anew(serve_hooks, recorder):
    server = serve_hooks()
    recorder.wait_for("when_ready")
    before = hook_processes(server)
    recorder.write("\ndef on_reload(server):\n    say('new on_reload')\n")
    old_worker = server.app_processes()[0]
    server.send_signal(signal.SIGHUP)
    recorder.wait_for("new on_reload")
    recorder.wait_for(rf"child_exit 1 {old_worker} False")
    wait_for_another(server, before)
    assert recorder.names().count("on_starting") == recorder.names().count("when_ready") == 1
    assert server.stop() == 0
    assert recorder.names().count("on_exit") == 1


def test_a_reload_that_fails_leaves_the_old_hooks(serve_hooks, recorder, tmp_path):
    (tmp_path / "breaks.py").write_text("from hello_wsgi import app\n")
    server = serve_hooks("--pythonpath", str(tmp_path), app="breaks:app")
    recorder.wait_for("when_ready")
    before = hook_processes(server)
    (tmp_path / "breaks.py").write_text("raise RuntimeError\n")
    recorder.write("\ndef on_exit(server):\n    say('new on_exit')\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reload failed, the old application processes stay")
    eventually(lambda: hook_processes(server) == before, what="the end of the new process for hooks")
    assert server.stop() == 0
    assert recorder.lines()[-1] == "on_exit 0"


def test_on_exit_is_the_last_call_even_when_those_of_a_reload_are_late(serve_hooks, recorder, tmp_path):
    (tmp_path / "breaks.py").write_text("from hello_wsgi import app\n")
    server = serve_hooks("--pythonpath", str(tmp_path), app="breaks:app")
    recorder.wait_for("when_ready")
    (tmp_path / "breaks.py").write_text("raise RuntimeError\n")
    recorder.write(
        """
def on_reload(server):
    while not os.path.exists(os.environ["HOOKS_FILE"] + ".go"):
        pass
    say("on_reload, late")
"""
    )
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reload failed, the old application processes stay")
    server.send_signal(signal.SIGTERM)
    server.wait_for_log(r"app 0 \(pid \d+\) exited")
    Path(f"{recorder.file}.go").touch()
    assert server.wait() == 0
    assert recorder.lines()[-1] == "on_exit 0"
    assert "on_reload, late" in recorder.lines()


def test_a_reload_gives_and_takes_hooks(serve_hooks, recorder):
    server = serve_hooks()
    recorder.wait_for("when_ready")
    hooks = recorder.config.read_text()
    recorder.config.write_text("")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: ")
    eventually(lambda: hook_processes(server) == [], what="the end of the process for hooks")
    recorder.config.write_text(hooks)
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: ", count=2)
    recorder.wait_for("on_reload")
    assert server.stop() == 0
    assert recorder.names()[-1] == "on_exit"


# --- upgrade -----------------------------------------------------------------------------------------------------


def test_pre_exec_comes_before_another_program_with_hooks_of_its_own(serve_hooks, recorder):
    server = serve_hooks("-w", "2")
    recorder.wait_for("when_ready")
    before, workers = hook_processes(server), server.app_processes()
    server.send_signal(signal.SIGUSR2)
    recorder.wait_for("when_ready", count=2)
    names = recorder.names()
    assert names.count("pre_exec") == 1
    assert names.index("pre_exec") < len(names) - 1 - names[::-1].index("on_starting")
    for pid in workers:
        recorder.wait_for(rf"child_exit 0 {pid} False")
    wait_for_another(server, before)
    assert server.stop() == 0
    assert recorder.names().count("on_exit") == 1


# --- worker_abort ------------------------------------------------------------------------------------------------


def test_worker_abort_is_called_beside_what_is_stuck(serve, tmp_path):
    (tmp_path / "stuck.py").write_text(
        "import time\n\ndef app(environ, start_response):\n    time.sleep(60)\n    raise AssertionError\n"
    )
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("def worker_abort(worker):\n    worker.log.info('worker_abort of %s', worker.pid)\n")
    options = ("--timeout", "1", "--graceful-timeout", "1", "--threads", "1", "--pythonpath", str(tmp_path))
    server = serve("stuck:app", "-c", str(config), *options)
    worker = server.app_processes()[0]
    assert server.get("/").status == 504
    server.wait_for_log(f"worker_abort of {worker}")
    server.wait_for_log(rf"app 0 \(pid {worker}\) was killed")


# --- prometheus_client -------------------------------------------------------------------------------------------


def test_gauges_of_a_killed_worker_are_gone(serve, tmp_path):
    """The recipe of docs/applications.md."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        f"""
import os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = {str(directory)!r}
from prometheus_client import multiprocess

workers = 2

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""
    )
    server = serve("metrics_wsgi:app", "-c", str(config))
    first = int(server.get("/pid").body)
    text = server.get("/metrics").body.decode()
    assert f'alive{{pid="{first}"}} 1.0' in text
    os.kill(first, signal.SIGKILL)
    eventually(
        lambda: f'pid="{first}"' not in server.get("/metrics").body.decode(), what="the end of the dead worker's gauge"
    )
    assert server.get("/metrics").status == 200
