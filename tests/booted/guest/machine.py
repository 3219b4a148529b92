"""What the owner of the machine has at hand: commands, the settings file, the journal, the service's processes."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SHARED = Path("/booted")
CONFIG = Path("/etc/uroboros/uroboros.toml")
SITE = Path("/srv/site")
# Only root reads the key; the service gets it as a credential.
CERTIFICATE, KEY = Path("/etc/uroboros/site.pem"), Path("/etc/uroboros/site.key")
CREDENTIALS = "[Service]\nLoadCredential=site.key:/etc/uroboros/site.key\n"
CREDENTIAL = "${CREDENTIALS_DIRECTORY}/site.key"
UNIT = "uroboros.service"
HTTP, HTTPS = ("127.0.0.1", 8000), ("127.0.0.1", 8443)
IMPORT_SECONDS = 0.2
WORKERS = 2
# syslog(3), as the journal writes them.
ERROR, INFO = "3", "6"
# A guest of one slow CPU.
PATIENCE_SECONDS = 120.0

APPLICATION = '''\
"""Its import takes a while, as that of an application does."""
import os
import sys
import time

time.sleep({import_seconds})


def application(environ, start_response):
    if environ["PATH_INFO"] == "/fault":
        raise ValueError("a fault of the application")
    if environ["PATH_INFO"] == "/print":
        print("said by the application", file=sys.stderr, flush=True)
    body = "{greeting} from {{}} over {{}}\\n".format(os.getpid(), environ["SERVER_PROTOCOL"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
'''


def run(*command: str | Path, check: bool = True, seconds: float = 90) -> str:
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=seconds, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                              "HOME": "/root", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """The seconds that it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        # Asking systemd costs as much as what it is asked about needs.
        time.sleep(0.2)
    return time.monotonic() - started


# --- files -------------------------------------------------------------------------------------------------------


def write_application(greeting: str) -> None:
    SITE.mkdir(parents=True, exist_ok=True)
    (SITE / "site_app.py").write_text(APPLICATION.format(import_seconds=IMPORT_SECONDS, greeting=greeting))


def set_in_config(name: str, value: str) -> int:
    """As in an editor: the line of the setting loses its #. Returns the line's number."""
    lines = CONFIG.read_text().splitlines()
    numbers = [number for number, line in enumerate(lines) if re.match(rf"#?{name} = ", line)]
    assert len(numbers) == 1, f"{name} stands {len(numbers)} times in {CONFIG}"
    lines[numbers[0]] = f"{name} = {value}"
    CONFIG.write_text("\n".join(lines) + "\n")
    return numbers[0] + 1


def drop_in(name: str, text: str | None) -> None:
    path = Path(f"/etc/systemd/system/{UNIT}.d/{name}.conf")
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    run("systemctl", "daemon-reload")


# --- service -----------------------------------------------------------------------------------------------------


def show(name: str, unit: str = UNIT) -> str:
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def main_pid() -> int:
    return int(show("MainPID"))


def children(kind: str) -> list[int]:
    """The processes of the service that call themselves `uroboros: KIND N`."""
    found = []
    for pid in Path(f"/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs").read_text().split():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if title.startswith(f"uroboros: {kind}"):
            found.append(int(pid))
    return found


def journal(cursor: str | None = None, unit: str = UNIT) -> list[dict]:
    run("journalctl", "--sync")
    command = ["journalctl", "-u", unit, "-o", "json", "--no-pager"]
    text = run(*command, *([f"--after-cursor={cursor}"] if cursor else []))
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def journal_end() -> str | None:
    """Where the journal of the service stands now: for journal(), later."""
    entries = journal()
    return entries[-1]["__CURSOR"] if entries else None


def said_by_daemon(entries: list[dict]) -> list[dict]:
    return [entry for entry in entries if entry.get("SYSLOG_IDENTIFIER") == "uroboros"]


def exposure(unit: str = UNIT) -> float:
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", unit))[1])


def curl(*arguments: str) -> str:
    return run("curl", "-sS", "--fail", "--max-time", "20", *arguments)


def get() -> str:
    return curl("http://127.0.0.1:8000/")


def is_served() -> bool:
    try:
        return bool(get())
    except AssertionError:
        return False
