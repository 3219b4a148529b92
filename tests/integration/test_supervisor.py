"""Births, deaths and orders: what the supervisor does that test_signals.py and test_failures.py do not ask about."""

import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from harness.client import Parallel
from harness.programs import need_open_to_all
from harness.server import APPS, BINARY, IS_SANITIZED, LATENESS, allowed, clean_environment, run_to_end
from harness.waiting import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)



# --- start -----------------------------------------------------------------------------------------------------


def test_the_ready_line_names_every_address_and_comes_when_all_answer(serve, tmp_path):
    server = serve("hello_wsgi:app", "-w", "3", "--rings", "2", binds=("127.0.0.1:0", f"unix:{tmp_path}/s"))
    assert len(server.app_processes()) == 3
    assert len(server.io_processes()) == 2
    assert len([line for line in server.lines if "ready: listening at" in line]) == 1
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")


def test_titles_tell_the_processes_apart(serve):
    server = serve("hello_wsgi:app", "--name", "shop")
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0")
    assert command == b"uroboros: supervisor [shop]"
    assert sorted(server.processes().values()) == ["uroboros: app 0", "uroboros: io 0"]


@pytest.mark.parametrize(("app", "status"), [("import_error:app", 3), ("not_callable:app", 4)])
def test_a_failing_application_ends_the_start_once_however_many_processes_are_wanted(app, status):
    run = run_to_end(app, "-w", "4", "-b", "127.0.0.1:0")
    assert run.returncode == status, run.stderr
    assert run.stderr.count("Traceback (most recent call last)") <= 1
    assert len(re.findall(r"app \d+ started", run.stderr)) == 1


def test_check_config_loads_the_application_and_listens_nowhere():
    good = run_to_end("hello_wsgi:app", "--check-config", "-b", "127.0.0.1:1")
    assert good.returncode == 0, good.stderr
    bad = run_to_end("import_error:app", "--check-config")
    assert bad.returncode == 1


def test_an_interpreter_that_is_not_one_is_explained(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/nowhere/python\n")
    python.chmod(0o755)
    run = run_to_end("hello_wsgi:app", "-b", "127.0.0.1:0", "--python", str(python))
    assert run.returncode != 0
    assert str(python) in run.stderr


def test_too_many_processes_for_the_shared_memory_are_refused_before_anything_starts():
    run = run_to_end("hello_wsgi:app", "-w", "300", "-b", "127.0.0.1:0")
    assert run.returncode == 1
    assert "workers = 300: at most 256 fit" in run.stderr
    assert "started" not in run.stderr


# --- privileges ------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer needs the calls that the filter denies")
def test_children_run_as_their_user_without_new_privileges(serve, tmp_path):
    need_open_to_all()
    nobody = pwd.getpwnam("nobody")
    tmp_path.chmod(0o755)
    server = serve("hello_wsgi:app", "--user", "nobody", binds=("127.0.0.1:0", f"unix:{tmp_path}/s"))
    assert server.get("/").status == 200
    for pid in server.app_processes() + server.io_processes():
        status = status_of(pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"].split() == [str(nobody.pw_gid)]
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.stat(f"{tmp_path}/s").st_uid == nobody.pw_uid
    assert not any("running as root" in line for line in server.lines)


@as_root
def test_serving_as_root_is_one_warning(serve):
    server = serve("hello_wsgi:app", "-w", "2")
    assert len([line for line in server.lines if "running as root" in line]) == 1


@as_root
def test_an_interpreter_that_its_user_cannot_reach_names_the_directory(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").symlink_to("/usr/bin/python3")
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o077 == 0:  # one of pytest's
            directory.chmod(0o755)
    run = run_to_end("hello_wsgi:app", "--user", "nobody", "-b", "127.0.0.1:0", "--python", str(closed / "python"))
    assert run.returncode != 0
    assert f"may not search the directory {closed}" in run.stderr


def test_an_unknown_user_ends_the_start():
    run = run_to_end("hello_wsgi:app", "--user", "nobody-of-that-name", "-b", "127.0.0.1:0")
    assert run.returncode in (1, 2)
    assert "nobody-of-that-name" in run.stderr


def test_children_inherit_no_descriptor_of_ours(serve):
    with open("/dev/null") as extra:
        server = serve("hello_wsgi:app", pass_fds=(extra.fileno(),))
        inode = os.fstat(extra.fileno())
        for pid in server.processes():
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                number = int(entry.name)
                with suppress(FileNotFoundError):  # closed meanwhile
                    assert number <= 2 or os.stat(entry).st_rdev != inode.st_rdev, f"{pid} has /dev/null as {number}"


# --- more, fewer, other logs -----------------------------------------------------------------------------------


def test_ttin_and_ttou_change_the_number_of_processes(serve):
    server = serve("hello_wsgi:app")
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.app_processes()) == 2)
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(server.app_processes()) == 1)
    server.send_signal(signal.SIGTTOU)
    server.wait_for_log("workers = 1 already")
    assert server.get("/").status == 200


def test_fewer_processes_fail_no_request(serve):
    server = serve("wsgi_cases:app", "-w", "3", "--threads", "2")
    with Parallel() as clients:
        for _ in range(6):
            clients.start(server.get, "/sleep?0.5")
        server.wait_for_log(r"\bsleeping$", count=6)
        server.send_signal(signal.SIGTTOU)
        server.wait_for_log("workers = 2 from now on")
        server.send_signal(signal.SIGTTOU)
        eventually(lambda: len(server.app_processes()) == 1)
    assert [result.body for result in clients.results] == [b"slept\n"] * 6


def test_usr1_opens_the_logs_again_in_every_process(serve, tmp_path):
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    server = serve("wsgi_cases:app", "--error-logfile", str(error), "--access-logfile", str(access), ready=False)
    server.expect_clean_stop = False
    eventually(lambda: error.exists() and "ready: listening at" in error.read_text(), timeout=15)
    server.addresses.append(("127.0.0.1", int(re.search(r"http://127\.0\.0\.1:(\d+)", error.read_text())[1])))
    assert server.get("/hello").status == 200
    error.rename(tmp_path / "error.1")
    access.rename(tmp_path / "access.1")
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: error.exists() and "log files opened again" in error.read_text())
    # The I/O process may serve a request before it reads the message about the logs.
    eventually(lambda: server.get("/hello?second").status == 200 and "/hello?second" in access.read_text())
    assert server.stop() == 0
    assert "live: " in error.read_text()
    assert "live: " not in (tmp_path / "error.1").read_text()


def test_a_signal_without_a_meaning_yet_says_so(serve):
    server = serve("hello_wsgi:app")
    server.send_signal(signal.SIGWINCH)
    server.wait_for_log("SIGWINCH.*not available yet")
    assert server.get("/").status == 200


# --- deaths ----------------------------------------------------------------------------------------------------


def test_a_dead_process_is_replaced_within_a_moment(serve):
    server = serve("hello_wsgi:app", "-w", "2", "--log-level", "debug")
    server.wait_for_log(r"app 1 .*is ready")
    os.kill(server.app_processes()[0], signal.SIGKILL)
    server.wait_for_log(r"app 2 started")
    assert not any("the next one is started in" in line for line in server.lines)
    server.wait_for_log(r"was killed by signal 9 \(Killed\), perhaps for want of memory")


def test_processes_that_keep_dying_are_started_ever_more_slowly(serve):
    server = serve("hello_wsgi:app")
    for _ in range(5):
        position = server.log_position
        os.kill(eventually(server.app_processes)[0], signal.SIGSEGV)
        server.wait_for_log(r"app \d+ started", since=position)
    delays = [int(ms) for line in server.lines for ms in re.findall(r"the next one is started in (\d+) ms", line)]
    assert delays == [100, 200, 400]
    eventually(lambda: server.get("/").status == 200)


def test_an_io_process_comes_back_at_once(serve):
    server = serve("hello_wsgi:app", "--rings", "2", "--log-level", "debug")
    os.kill(server.io_processes()[0], signal.SIGKILL)
    server.wait_for_log(r"io \d .*is ready", count=3)
    for _ in range(20):
        assert server.get("/").status == 200


@pytest.mark.full
def test_an_io_process_that_stands_still_is_replaced(serve):
    server = serve("hello_wsgi:app")
    (victim,) = server.io_processes()
    os.kill(victim, signal.SIGSTOP)
    server.wait_for_log("has not turned its loop for 10 s", timeout=15)
    server.wait_for_exit_of(victim)
    eventually(lambda: server.io_processes())
    assert server.get("/").status == 200


@pytest.mark.full
def test_an_idle_io_process_is_left_alone(serve):
    """The proof that its counters move without work."""
    server = serve("hello_wsgi:app")
    before = server.io_processes()
    time.sleep(12)
    assert server.io_processes() == before


def test_a_stuck_process_leaves_the_stacks_of_its_threads(serve):
    server = serve("wsgi_cases:app", "--timeout", "1", "--graceful-timeout", "1", "--queue-timeout", "30")
    (stuck,) = server.app_processes()
    assert server.get("/sleep?30").status == 504
    server.wait_for_log(r"app 0 .* is stuck")
    server.wait_for_log(r'File ".*wsgi_cases.py", line \d+ in sleep')
    server.wait_for_exit_of(stuck)
    assert server.get("/hello").status == 200


# --- reload ----------------------------------------------------------------------------------------------------


def test_a_reload_changes_the_number_of_processes_and_their_environment(serve, tmp_path):
    config = tmp_path / "uroboros.toml"
    config.write_text("workers = 1\n")
    server = serve("wsgi_cases:app", "-c", str(config))
    config.write_text("workers = 3\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: 3 new application processes")
    eventually(lambda: len(server.app_processes()) == 3)


def test_a_reload_reports_what_needs_a_restart(serve, tmp_path):
    config = tmp_path / "uroboros.toml"
    config.write_text("rings = 1\n")
    server = serve("wsgi_cases:app", "-c", str(config))
    config.write_text("rings = 2\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("new value of rings needs a restart")
    server.wait_for_log("reloaded: ")
    assert len(server.io_processes()) == 1


def test_a_reload_turns_the_access_log_on_and_off(serve, tmp_path):
    config, access = tmp_path / "uroboros.toml", tmp_path / "access.log"
    config.write_text("")
    server = serve("wsgi_cases:app", "-c", str(config))
    with server.connect() as client:
        config.write_text(f'accesslog = "{access}"\n')
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: ")
        eventually(lambda: client.request("/hello?on").status == 200 and "?on" in access.read_text())
        config.write_text("")
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: ", count=2)
        assert client.request("/hello?probe").status == 200
        eventually(lambda: not grows(access, lambda: client.request("/hello?off")))


def test_a_reload_changes_the_format_of_an_access_log_that_is_on(serve, tmp_path):
    config, access = tmp_path / "uroboros.toml", tmp_path / "access.log"
    config.write_text(f'accesslog = "{access}"\naccess_log_format = "before %(U)s"\n')
    server = serve("wsgi_cases:app", "-c", str(config), "--rings", "1")
    with server.connect() as client:
        assert client.request("/hello").status == 200
        config.write_text(f'accesslog = "{access}"\naccess_log_format = "after %(U)s %({{x-case}}o)s"\n')
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: ")
        eventually(lambda: client.request("/hello").status == 200 and "after /hello -\n" in access.read_text())
    lines = access.read_text().splitlines()
    assert lines[0] == "before /hello" and lines == sorted(lines, reverse=True)


def grows(path: Path, action) -> bool:
    before = path.stat().st_size
    action()
    return path.stat().st_size != before


def test_reloads_in_a_row_end_with_one_set_of_processes(serve):
    server = serve("wsgi_cases:app", "-w", "2")
    for _ in range(5):
        server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: ")
    eventually(lambda: len(server.app_processes()) == 2)
    assert server.get("/hello").status == 200


def open_descriptors(pid: int) -> Counter[str]:
    """What they lead to, but for sockets and pipes, whose numbers change with the processes at their other ends."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[re.sub(r"\[\d+\]", "", os.readlink(entry))] += 1
    return found


RELOADS = 5


def test_reloads_leave_no_descriptors_behind(serve):
    server = serve("wsgi_cases:app", "--workers", "2")
    processes = [server.pid, *server.io_processes()]

    def reload() -> None:
        position = server.log_position
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: ", timeout=20, since=position)
        eventually(lambda: len(server.app_processes()) == 2, 20, "the end of the old processes")

    # A process that has just come, or gone, is not known yet or still known to those that have to do with it: so what is
    # asked for is that nothing has grown by one for each reload.
    before = {pid: open_descriptors(pid) for pid in processes}
    for _ in range(RELOADS):
        reload()
    for pid in processes:
        eventually(
            lambda pid=pid: max((open_descriptors(pid) - before[pid]).values(), default=0) < RELOADS,
            what=f"no more descriptors than before, {before[pid]}",
        )


def test_term_during_a_reload_stops_everything(serve):
    server = serve("wsgi_cases:app", "-w", "2")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloading the settings")
    assert server.stop() == 0
    assert not server.processes()


@pytest.fixture
def slow_reload(serve, tmp_path):
    """A daemon that is in the middle of a settings file that sleeps; and that file."""
    config, marker = tmp_path / "gunicorn.conf.py", tmp_path / "marker"
    config.write_text("workers = 1\n")
    server = serve("wsgi_cases:app", "-c", str(config))
    config.write_text(f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(99)\nworkers = 2\n")
    server.send_signal(signal.SIGHUP)
    eventually(marker.exists)
    return server, config


def test_term_while_the_settings_are_read_stops_at_once(slow_reload):
    server, _ = slow_reload
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < LATENESS
    assert not server.processes()


def test_a_dead_process_is_replaced_while_the_settings_are_read(slow_reload):
    server, _ = slow_reload
    (victim,) = server.app_processes()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: server.app_processes() not in ([], [victim]))
    assert server.get("/hello").status == 200
    assert not any("reloaded: " in line for line in server.lines)


def test_another_reload_ends_one_whose_settings_are_still_read(slow_reload):
    server, config = slow_reload
    config.write_text("workers = 3\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded: 3 new application processes")
    assert not any("settings reader" in title for title in server.processes().values())


def test_a_reader_of_settings_that_dies_changes_nothing(slow_reload):
    server, _ = slow_reload
    readers = [pid for pid, title in server.processes().items() if "settings reader" in title]
    assert len(readers) == 1
    os.killpg(readers[0], signal.SIGKILL)
    server.wait_for_log("reload failed, nothing has changed: the settings could not be read")
    assert server.get("/hello").status == 200


# --- files, background, service manager ------------------------------------------------------------------------


def test_the_pid_file_comes_and_goes(serve, tmp_path):
    path = tmp_path / "pid"
    server = serve("hello_wsgi:app", "--pid", str(path))
    assert path.read_text() == f"{server.pid}\n"
    second = run_to_end("hello_wsgi:app", "-b", "127.0.0.1:0", "--pid", str(path))
    assert second.returncode == 1
    assert f"process {server.pid} runs already" in second.stderr
    assert server.stop() == 0
    assert not path.exists()


def test_the_background_is_reached_when_the_server_is_ready(tmp_path):
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    run = run_to_end("hello_wsgi:app", "-b", "127.0.0.1:0", "-D", "--pid", str(pid_file), "--error-logfile", str(log))
    assert run.returncode == 0, run.stderr
    pid = int(pid_file.read_text())
    try:
        port = int(re.search(r"ready: listening at http://127\.0\.0\.1:(\d+)", log.read_text())[1])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        assert os.getsid(pid) not in (os.getsid(0), pid)
        assert os.readlink(f"/proc/{pid}/fd/2") == "/dev/null"
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not pid_file.exists())


def test_a_failed_start_in_the_background_is_told_to_the_shell():
    assert run_to_end("import_error:app", "-b", "127.0.0.1:0", "-D").returncode == 3


class NotifySocket:
    def __init__(self) -> None:
        self.name = f"@uroboros-test-{os.getpid()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name[1:])
        self.seen: list[str] = []

    def wait_for(self, pattern: str, timeout: float = 10) -> str:
        self.socket.settimeout(allowed(timeout))
        while True:
            text = self.socket.recv(4096).decode()
            self.seen.append(text)
            if re.search(pattern, text):
                return text


def test_the_service_manager_hears_of_every_change(serve):
    manager = NotifySocket()
    server = serve("wsgi_cases:app", env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"})
    assert f"MAINPID={server.pid}" in manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    server.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    server.send_signal(signal.SIGUSR2)
    assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
    assert f"MAINPID={server.pid}" in manager.wait_for("READY=1", timeout=30)
    manager.wait_for("WATCHDOG=1")
    assert server.stop() == 0
    manager.wait_for("STOPPING=1")
    manager.socket.close()


def test_the_status_says_who_serves_and_what_failed_last(serve, tmp_path):
    manager, broken = NotifySocket(), tmp_path / "broken"
    app = tmp_path / "fragile.py"
    app.write_text(
        f"import os, sys\nif os.path.exists({str(broken)!r}): sys.exit(1)\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello\\n']\n"
    )
    server = serve("fragile:app", "-w", "2", "--pythonpath", str(tmp_path), env={"NOTIFY_SOCKET": manager.name})
    manager.wait_for("STATUS=starting: 0 of 2 application processes ready")
    manager.wait_for("READY=1\nSTATUS=serving: 2 application processes, 1 address\n")
    broken.touch()
    server.send_signal(signal.SIGHUP)
    serving = "READY=1\nSTATUS=serving: 2 application processes, 1 address; "
    manager.wait_for(serving + "the last reload failed: a new application process did not become ready")
    broken.unlink()
    server.send_signal(signal.SIGHUP)
    assert "failed" not in manager.wait_for("READY=1\nSTATUS=serving: 2 application processes, 1 address")
    eventually(lambda: len(server.app_processes()) == 2, what="the end of the old processes")
    broken.touch()
    os.kill(server.app_processes()[0], signal.SIGKILL)
    manager.wait_for("^STATUS=serving: 1 of 2 application processes, 1 address; they keep dying$", timeout=30)
    broken.unlink()
    manager.wait_for("^STATUS=serving: 2 application processes, 1 address$", timeout=30)
    manager.socket.close()


def test_socket_activation_serves_on_the_given_socket(tmp_path):
    """LISTEN_PID has to name the daemon itself, so it is executed by a process that knows its own id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.fileno()
        script = f"exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} hello_wsgi:app"
        process = subprocess.Popen(
            ["/bin/bash", "-c", script], cwd=APPS, env=clean_environment(), pass_fds=(number,), stderr=subprocess.PIPE
        )
        try:
            with socket.create_connection(listener.getsockname(), timeout=allowed(10)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(15) == b"HTTP/1.1 200 OK"
        finally:
            process.terminate()
            _, log = process.communicate(timeout=allowed(10))
    assert process.returncode == 0
    assert b"ready: listening at http://127.0.0.1:" in log


# --- output of applications ------------------------------------------------------------------------------------


def test_what_an_application_says_before_it_dies_comes_before_the_news_of_its_death(serve):
    server = serve("wsgi_cases:app")
    server.get("/segfault")
    server.wait_for_log(r"was killed by signal 11")
    crash = next(i for i, line in enumerate(server.lines) if "Segmentation fault" in line and "Fatal" in line)
    death = next(i for i, line in enumerate(server.lines) if "was killed by signal 11" in line)
    assert crash < death
