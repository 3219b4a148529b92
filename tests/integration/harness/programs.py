"""Programs that other people wrote, as clients of the daemon or in front of it."""

import os
import random
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.server import BINARY, ROOT, allowed

NEWER_NGINX = ROOT / "build" / "newer-nginx"


def need(name: str) -> str:
    """The path of a program. Without it the test is left out, and the summary says so."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/go/bin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def need_open_to_all() -> None:
    """Another user runs what is tested, which it cannot where the tree lies in root's home."""
    for path in (BINARY, Path(sys.prefix)):
        for folder in path.parents:
            if not folder.stat().st_mode & stat.S_IXOTH:
                pytest.skip(f"{folder} is closed to other users, and the tree lies in it")


def run(*arguments: object, timeout: float = 30, env: dict[str, str] | None = None, **options):
    """A program that ends by itself; its output is text and its failure the caller's to judge."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=allowed(timeout),
        stdin=subprocess.DEVNULL,
        **options,
    )


def go_program(name: str, module: str) -> Path:
    """Built once, by the machine's Go, from the module that the Go proxy has."""
    program = ROOT / "build" / "go" / name
    if not program.exists():
        done = run(need("go"), "install", module, env={"GOBIN": str(program.parent)}, timeout=240)
        if done.returncode != 0:
            pytest.skip(f"{name} cannot be installed: {done.stderr.strip()[-200:]}")
    return program


def go_client(source: Path) -> Path:
    """A client of ours in Go, built again when its source has changed. Kept in build/, where a kernel that is booted for
    a test finds it: such a guest is too slow to compile Go's library."""
    program = ROOT / "build" / "go" / source.stem
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        output_of(need("go"), "build", "-o", program, source, timeout=100)
    return program


def output_of(*arguments: object, **options) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, f"{arguments[0]}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


# --- curl --------------------------------------------------------------------------------------------------------


def curl(*arguments: object, ca: Path | None = None, **options) -> str:
    """What curl writes; `ca` is trusted without an option of the command, as a machine's own authority is."""
    env = {"CURL_CA_BUNDLE": str(ca)} if ca else {}
    return output_of(need("curl"), "--silent", "--show-error", "--max-time", allowed(25), *arguments, env=env, **options)


def curl_version(*arguments: object, **options) -> str:
    """The version of HTTP that a request ended up with."""
    return curl(*arguments, "--output", "/dev/null", "--write-out", "%{http_version}", **options)


# --- nginx -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """For a server that does not ask the kernel for one. Below those that the kernel gives: until the server has it, no
    other test's socket gets it."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def debian_nginx() -> str:
    return need("nginx")


def newer_nginx() -> str:
    """1.29 or newer, which Debian's stable suite may not have: tests/newer_nginx.sh brings one."""
    system = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if system and nginx_version(system) >= (1, 29):
        return system
    if not (NEWER_NGINX / "nginx").exists():
        done = run("bash", ROOT / "tests" / "newer_nginx.sh", NEWER_NGINX, timeout=120)
        if done.returncode != 0:
            pytest.skip(f"no nginx of 1.29 or newer: {done.stderr.strip()[-200:]}")
    return str(NEWER_NGINX / "nginx")


def nginx_version(program: str) -> tuple[int, ...]:
    return tuple(map(int, re.search(r"nginx/(\d+)\.(\d+)", run(program, "-v").stderr).groups()))


@contextmanager
def nginx(program: str, directory: Path, http: str, port: int):
    """nginx with the given http block, until the end of the block. Its own files are in `directory`."""
    log = directory / "nginx-error.log"
    bodies = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nerror_log {log} info;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{bodies}{http}\n}}\n"
    )
    process = subprocess.Popen(
        [program, "-p", str(directory), "-c", str(config), "-e", str(log)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + allowed(10)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"nginx ended: {process.stderr.read()}"
                assert time.monotonic() < deadline, f"nginx does not listen: {log.read_text()}"
                time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(allowed(10))
        process.stderr.close()
