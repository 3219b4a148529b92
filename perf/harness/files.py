"""Files: h2load as the client of each way, and what it got counted in octets, for a long file may not end in time."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.http2_load import DATA, PATIENCE_SECONDS, WINDOW_BITS
from harness.process_tree import CpuSpan
from harness.servers import COMMANDS, WORK, Command, Context, Server, certificate, granian, uroboros, with_tls

PLACE = WORK / "files"
SIZES = {"4k": 4 << 10, "64k": 64 << 10, "1m": 1 << 20, "100m": 100 << 20}
FEW_BYTES = 1 << 20  # files as long as this or longer are asked for on one connection
CONNECTIONS = 8
WAYS = ("clear", "tls", "h2")
# Our rate over the peer's, at least: nginx's in clear, by size; over TLS whatever the size; granian's pathsend wherever it is.
CLEAR_GOALS = {"4k": 1.0, "1m": 0.95, "100m": 0.95}
TLS_GOAL = 0.9
GRANIAN_GOAL = 1.5
ANSWERED = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")

NGINX_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
    client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096 reuseport{tls}; root {root}; index index; }}
}}
"""


@dataclass
class FileRun:
    """One run: `rate` in MiB/s, CPU time of the whole tree."""

    rate: float
    cpu_us_per_file: float
    cpu_ms_per_mib: float
    others_cpu: float


def nginx(way: str) -> Command:
    def command(context: Context, _target: str) -> list[str]:
        tls = ""
        if way != "clear":
            cert, key = certificate()
            version = " http2" if way == "h2" else ""
            tls = f" ssl{version}; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key}"
        path = context.scratch / "nginx.conf"
        path.write_text(NGINX_CONFIGURATION.format(scratch=context.scratch, port=context.port, tls=tls, root=PLACE))
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(path), "-e", str(context.scratch / "nginx.log")]

    return command


def _commands(way: str) -> dict[str, Command]:
    if way == "clear":
        return {"uroboros-wsgi": uroboros, "uroboros-asgi": uroboros, "granian": granian("asgi"), "nginx": nginx(way)}
    ours = with_tls(uroboros, "--certfile", "--keyfile")
    peer = with_tls(granian("asgi", "auto" if way == "h2" else "1"), "--ssl-certificate", "--ssl-keyfile")
    return {"uroboros-wsgi": ours, "uroboros-asgi": ours, "granian": peer, "nginx": nginx(way)}


def server(name: str, way: str, cpus: set[int]) -> Server:
    """The name's end tells Server whether to ask by TLS."""
    command = _commands(way)[name]
    full = f"files-{name}-{way}" + ("" if way == "clear" else "-h2")
    COMMANDS[full] = command
    os.environ["PERF_FILES"] = str(PLACE)
    return Server(full, "files_wsgi:app" if name == "uroboros-wsgi" else "files_asgi:app", cpus)


def make_files() -> None:
    """Also what the servers answer to "/" when they are asked whether they are there."""
    PLACE.mkdir(parents=True, exist_ok=True)
    PLACE.chmod(0o755)
    for name, size in {"index": 3, **SIZES}.items():
        path = PLACE / name
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(os.urandom(min(size, 1 << 20)) * max(size >> 20, 1))


def goal_of(name: str, peer: str, way: str, size: str) -> float | None:
    if not name.startswith("uroboros"):
        return None
    if peer == "granian":
        return GRANIAN_GOAL if name == "uroboros-asgi" else None
    return CLEAR_GOALS.get(size) if way == "clear" else TLS_GOAL


def warm(name: str) -> None:
    Path(PLACE / name).read_bytes()


def _h2load(port: int, way: str, size: str, seconds: float, cpus: set[int]) -> str:
    connections = 1 if SIZES[size] >= FEW_BYTES else CONNECTIONS
    scheme = "http" if way == "clear" else "https"
    done = subprocess.run(
        [
            *["h2load", "-c", str(connections), "-m", "1", "-D", f"{seconds * 1000:.0f}ms"],
            *(["-w", str(WINDOW_BITS), "-W", str(WINDOW_BITS)] if way == "h2" else ["--h1"]),
            f"{scheme}://127.0.0.1:{port}/{size}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + PATIENCE_SECONDS,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode != 0:
        raise RuntimeError(f"h2load: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def run_files(running: Server, way: str, size: str, seconds: float, cpus: set[int]) -> FileRun:
    """Warms the server and the page cache up, then measures."""
    warm(size)
    _h2load(running.port, way, size, 0.5, cpus)
    with CpuSpan(running.process.pid, running.cpus - cpus) as span:
        text = _h2load(running.port, way, size, seconds, cpus)
    data, statuses = DATA.search(text), ANSWERED.search(text)
    if not data or not statuses or any(int(count) for count in statuses.groups()[1:]) or int(data[1]) == 0:
        raise RuntimeError(f"h2load against {running.name}: {text[-500:]}")
    octets = int(data[1])
    return FileRun(
        rate=octets / (1 << 20) / span.seconds,
        cpu_us_per_file=span.cpu * 1e6 * SIZES[size] / octets,
        cpu_ms_per_mib=span.cpu * 1e3 / (octets / (1 << 20)),
        others_cpu=span.others,
    )
