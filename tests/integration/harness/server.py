"""Starts the daemon, waits for its own words instead of sleeping, and proves at the end that nothing is left."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.client import Address, Client

ROOT = Path(__file__).resolve().parents[3]
APPS = ROOT / "tests" / "apps"
BINARY = Path(os.environ.get("UROBOROS", ROOT / "build" / "release" / "uroboros")).resolve()
IS_SANITIZED = "asan" in BINARY.parent.name
# The same tests with another way to Python: `embedded` is uroboros-app with its own libpython.
PYTHON = os.environ.get("UROBOROS_TEST_PYTHON")
# A sanitizer build, or an emulated kernel, is several times slower; every deadline follows.
IS_SLOW = IS_SANITIZED or "UROBOROS_SLOW_MACHINE" in os.environ
PATIENCE = 4 if IS_SLOW else 1
# Seconds that a machine with sixteen things to do may add to a deadline. Where two deadlines lie nearer to each other
# than this, the log says which of them it was.
LATENESS = 10 * PATIENCE
# What every daemon has for `ktls` that is not given one by its test.
KTLS_MODE = os.environ.get("UROBOROS_TEST_KTLS_MODE")
# Seconds for which a disk may keep everybody waiting: a program that starts reads what the page cache has lost.
STALL = 60
PF_EXITING = 0x4  # of the kernel, in /proc/PID/stat: on its way out, as on a busy machine it may be for a while
LIVE_COUNTERS = ("connections", "exchanges", "slots", "buffers", "staging", "memory", "timers")


def allowed(timeout: float) -> float:
    """What is waited for something that comes at once, or `timeout` seconds later, on a machine with nothing else to do."""
    return timeout * PATIENCE + STALL


def sanitizer_environment() -> dict[str, str]:
    """Applications crash on purpose in some tests: that is no report. pybridge/app.py adds the rest."""
    if not IS_SANITIZED:
        return {}
    return {
        # Freed memory is kept for a while to catch its use, but less of it than the memory tests allow to be used.
        "ASAN_OPTIONS": "exitcode=99:detect_leaks=1:strict_string_checks=1:handle_segv=0:quarantine_size_mb=8",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without anything that the daemon would take for a setting."""
    settings = ("UROBOROS", "GUNICORN_", "PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SENDFILE", "LISTEN_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    env["VIRTUAL_ENV"] = sys.prefix
    env["UROBOROS_LIVE_COUNTERS"] = "1"
    if KTLS_MODE:
        env["UROBOROS_KTLS"] = KTLS_MODE
    env.update(sanitizer_environment())
    env.update(extra or {})
    return env


class Server:
    """One daemon. `binds` are the -b arguments; port 0 asks the kernel for a free one."""

    def __init__(
        self,
        app: str | None,
        *options: str,
        binds: tuple[str, ...] = ("127.0.0.1:0",),
        env: dict[str, str] | None = None,
        cwd: Path = APPS,
        pass_fds: tuple[int, ...] = (),
        preexec=None,
    ) -> None:
        arguments = [str(BINARY), *([app] if app else []), *(word for bind in binds for word in ("-b", bind)), *options]
        if PYTHON and not {"--python", "--venv"} & set(options):
            arguments += ["--python", PYTHON]
        self.arguments = arguments
        self.lines: list[str] = []
        self.stdout_lines: list[str] = []
        self._changed = threading.Condition()
        self._closed_streams = 0
        self.addresses: list[Address] = []
        # Tests that end the daemon in their own way switch the proof off and say what they expect.
        self.expect_clean_stop = True
        self._end_was_seen = False
        self.process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=preexec,
        )
        self._collectors = [
            self._collect(self.process.stderr, self.lines),
            self._collect(self.process.stdout, self.stdout_lines),
        ]

    # --- log ---------------------------------------------------------------------------------------------------

    def _collect(self, stream, lines: list[str]) -> threading.Thread:
        def run() -> None:
            for line in stream:
                with self._changed:
                    lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                    self._changed.notify_all()
            with self._changed:
                self._closed_streams += 1
                self._changed.notify_all()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def wait_for_log(self, pattern: str, timeout: float = 10, count: int = 1, since: int = 0) -> re.Match:
        """Waits for the count-th line of the error log (from index `since` on) that matches."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + allowed(timeout)
        with self._changed:
            while True:
                found = [match for line in self.lines[since:] if (match := expression.search(line))]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or self._closed_streams == 2:
                    state = "ended" if self._closed_streams == 2 else "is silent"
                    raise AssertionError(f"no line matches {pattern!r}, and the daemon {state}:\n{self.log()}")
                self._changed.wait(left)

    def wait_for_stdout(self, pattern: str, timeout: float = 10, count: int = 1) -> list[re.Match]:
        expression = re.compile(pattern)
        deadline = time.monotonic() + allowed(timeout)
        with self._changed:
            while True:
                found = [match for line in self.stdout_lines if (match := expression.search(line))]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._closed_streams == 2:
                    raise AssertionError(f"stdout has no {pattern!r}: {self.stdout_lines[-20:]}")
                self._changed.wait(left)

    def log(self) -> str:
        return "\n".join(self.lines[-400:])

    @property
    def log_position(self) -> int:
        return len(self.lines)

    # --- life --------------------------------------------------------------------------------------------------

    def wait_until_ready(self, timeout: float = 10) -> "Server":
        self.wait_for_log(r"\bready: listening at ", timeout)
        with self._changed:
            text = " ".join(line for line in self.lines if "listening at" in line)
        for host, port in re.findall(r"https?://(\[[^\]]*\]|[^\s:/,]+):(\d+)", text):
            address = (host.strip("[]"), int(port))
            if address not in self.addresses:
                self.addresses.append(address)
        for path in re.findall(r"unix:([^\s,]+)", text):
            if path not in self.addresses:
                self.addresses.append(path)
        assert self.addresses, f"the ready line names no address:\n{self.log()}"
        return self

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://{host}:{port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self, timeout: float = 10) -> Client:
        return Client(self.address, allowed(timeout))

    def get(self, target: str = "/", **options):
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.request(target, **options)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 10) -> int:
        try:
            code = self.process.wait(allowed(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {allowed(timeout)} s:\n{self.log()}") from None
        self._end_was_seen = True
        for collector in self._collectors:
            collector.join(timeout=allowed(5))
        return code

    def stop(self, number: int = signal.SIGTERM, timeout: float = 10) -> int:
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait(timeout)

    def finish(self) -> None:
        """The end of every test: a clean stop, nothing alive, no process left."""
        try:
            if self.expect_clean_stop and not self._end_was_seen:
                assert self.process.poll() is None, f"it ended by itself, status {self.process.poll()}:\n{self.log()}"
                code = self.stop()
                assert code == 0, f"exit status {code} after SIGTERM:\n{self.log()}"
                self.assert_nothing_alive()
        finally:
            self.kill_group()
            self.assert_no_sanitizer_report()

    def assert_nothing_alive(self) -> None:
        """Every I/O process that ended in peace counted its live objects; all counts are zero."""
        counts = [line for line in self.lines if re.search(r"\blive: ", line)]
        assert counts, f"no I/O process said what is alive:\n{self.log()}"
        for line in counts:
            found = dict(re.findall(r"(\w+)=(-?\d+)", line.split("live: ")[1]))
            missing = [name for name in LIVE_COUNTERS if name not in found]
            assert not missing, f"counters {missing} missing in: {line}"
            alive = {name: value for name, value in found.items() if value != "0"}
            assert not alive, f"still alive at exit: {alive}\n{self.log()}"
        left = self.processes()
        assert not any(title.startswith("uroboros: ") for title in left.values()), f"processes left behind: {left}"
        for pid in left:  # an application's own, which hear of its end from it
            self.wait_for_exit_of(pid)

    def assert_no_sanitizer_report(self) -> None:
        reports = [
            line
            for line in self.lines
            if "AddressSanitizer" in line or "runtime error:" in line or "LeakSanitizer" in line
        ]
        assert not reports, f"sanitizer report: {reports[0]}\n{self.log()}"

    def kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        streams = (self.process.stderr, self.process.stdout)
        for collector, stream in zip(self._collectors, streams, strict=True):
            collector.join(timeout=5)
            if not collector.is_alive():
                stream.close()  # servers are remembered for the report: their pipes must not be

    # --- processes ---------------------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """All processes of the daemon's session but the supervisor, with their titles."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.pid:
                continue
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[3]) == self.pid and stat[0] not in "ZX" and not int(stat[6]) & PF_EXITING:
                found[int(entry.name)] = title
        return found

    def app_processes(self) -> list[int]:
        return sorted(pid for pid, title in self.processes().items() if re.match(r"uroboros: app\b", title))

    def io_processes(self) -> list[int]:
        return sorted(pid for pid, title in self.processes().items() if re.match(r"uroboros: io\b", title))

    def kilobytes_of(self, *pids: int) -> int:
        """What these have of their own or share with each other, by the kernel's count. Not the files they map: of
        those each has a smaller part for every other server that comes, and a larger one for each that goes."""
        total = 0
        for pid in pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1])
        return total

    def wait_for_exit_of(self, pid: int, timeout: float = 10) -> None:
        """Waits for a process that is not our child, by its descriptor."""
        import select

        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            poll = select.poll()  # select() knows no descriptor beyond 1,023
            poll.register(descriptor, select.POLLIN)
            ended = poll.poll(allowed(timeout) * 1000)
            assert ended, f"process {pid} still runs after {allowed(timeout)} s:\n{self.log()}"
        finally:
            os.close(descriptor)


def run_to_end(*arguments: str, env: dict[str, str] | None = None, cwd: Path = APPS, timeout: float = 20):
    """A run of the daemon that ends by itself: --help, bad settings, an application that cannot be imported."""
    return subprocess.run(
        [str(BINARY), *arguments],
        cwd=cwd,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=allowed(timeout),
        stdin=subprocess.DEVNULL,
    )
