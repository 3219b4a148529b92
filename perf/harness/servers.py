"""The servers that are compared, each in its best published configuration, one Python process and equal threads."""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "perf/apps"
WORK = Path(os.environ.get("PERF_WORK", ROOT / "build/perf"))
VENV = WORK / "venv"
BUILD = Path(os.environ.get("PERF_BUILD", ROOT / "build/release"))
READY_SECONDS = 20
STOP_SECONDS = 10


@dataclass
class Context:
    """Where and how wide a server runs."""

    port: int
    threads: int
    workers: int
    scratch: Path


Command = Callable[[Context, str], list[str]]


def python(name: str) -> str:
    return str(VENV / "bin" / name)


def uroboros(context: Context, target: str) -> list[str]:
    return [
        *[str(BUILD / "uroboros"), "--bind", f"127.0.0.1:{context.port}", "--workers", str(context.workers)],
        *["--threads", str(context.threads), "--chdir", str(APPS), "--venv", str(VENV), "--log-level", "warning"],
        *["--limit-request-body", "2G", target],
    ]


def uroboros_health(context: Context, target: str) -> list[str]:
    return [*uroboros(context, target)[:-1], "--health-path", "/", target]


KEY_OPTIONS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
}


def certificate(kind: str = "ecdsa") -> tuple[str, str]:
    """Of the servers that speak TLS: ECDSA P-256 or RSA of 2048 bits, made once."""
    prefix = "" if kind == "ecdsa" else f"{kind}-"
    pair = WORK / f"{prefix}certificate.pem", WORK / f"{prefix}key.pem"
    if not all(path.exists() for path in pair):
        subprocess.run(
            [
                *["openssl", "req", "-x509", *KEY_OPTIONS[kind], "-nodes"],
                *["-days", "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                *["-out", pair[0], "-keyout", pair[1]],
            ],
            check=True,
            capture_output=True,
        )
    return str(pair[0]), str(pair[1])


def with_tls(command: Command, certificate_option: str, key_option: str, *more: str, kind: str = "ecdsa") -> Command:
    """The same server behind TLS, speaking HTTP/2. The application stays the last argument."""

    def secured(context: Context, target: str) -> list[str]:
        *words, last = command(context, target)
        cert, key = certificate(kind)
        return [*words, certificate_option, cert, key_option, key, *more, last]

    return secured


def granian(interface: str, version: str = "1") -> Command:
    def command(context: Context, target: str) -> list[str]:
        threads = ["--blocking-threads", str(context.threads)] if interface == "wsgi" else ["--loop", "uvloop"]
        return [
            *[python("granian"), "--interface", interface, "--host", "127.0.0.1", "--port", str(context.port)],
            *["--workers", str(context.workers), "--http", version, "--no-ws", "--log-level", "error"],
            *["--backlog", "16384", *threads, target],
        ]

    return command


def fastpysgi(context: Context, target: str) -> list[str]:
    return [python("python"), "serve_fastpysgi.py", target, str(context.port), str(context.workers)]


def uvicorn(context: Context, target: str) -> list[str]:
    return [
        *[python("uvicorn"), target, "--host", "127.0.0.1", "--port", str(context.port)],
        *["--workers", str(context.workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log"],
        *["--log-level", "warning", "--timeout-keep-alive", "75", "--backlog", "4096"],
    ]


def gunicorn(worker_class: str) -> Command:
    def command(context: Context, target: str) -> list[str]:
        threads = ["--threads", str(context.threads)] if worker_class == "gthread" else ["--asgi-loop", "uvloop"]
        return [
            *[python("gunicorn"), "--bind", f"127.0.0.1:{context.port}", "--worker-class", worker_class],
            *["--workers", str(context.workers), *threads, "--keep-alive", "75", "--worker-connections", "20000"],
            *["--log-level", "warning", "--timeout", "600", "--backlog", "4096", "--no-control-socket"],
            target,
        ]

    return command


def hypercorn(context: Context, target: str) -> list[str]:
    return [
        *[python("hypercorn"), "--bind", f"127.0.0.1:{context.port}", "--workers", str(context.workers)],
        *["--worker-class", "uvloop", "--log-level", "warning", target],
    ]


NGINX_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 75s; default_type text/plain;
    client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096 reuseport{tls}; location / {{ return 200 "ok\\n"; }} }}
}}
"""


def nginx(context: Context, _target: str, tls: str = "") -> list[str]:
    path = context.scratch / "nginx.conf"
    path.write_text(NGINX_CONFIGURATION.format(scratch=context.scratch, port=context.port, tls=tls))
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(path), "-e", str(context.scratch / "nginx.log")]


def nginx_http2(kind: str = "ecdsa") -> Command:
    """Older releases speak TLS 1.3 when asked only."""

    def command(context: Context, target: str) -> list[str]:
        cert, key = certificate(kind)
        tls = f" ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key}"
        return nginx(context, target, tls)

    return command


def h2o(context: Context, _target: str) -> list[str]:
    cert, key = certificate()
    (context.scratch / "ok").mkdir(exist_ok=True)
    (context.scratch / "ok/index.html").write_text("ok")
    path = context.scratch / "h2o.conf"
    path.write_text(
        f"""num-threads: 1
listen: {{host: 127.0.0.1, port: {context.port}, ssl: {{certificate-file: {cert}, key-file: {key}}}}}
hosts: {{default: {{paths: {{/: {{file.dir: {context.scratch}/ok}}}}}}}}
"""
    )
    return [shutil.which("h2o") or "/usr/bin/h2o", "-m", "worker", "-c", str(path)]


def responder(context: Context, _target: str) -> list[str]:
    return [str(BUILD / "perf/perf_responder"), str(context.port)]


COMMANDS: dict[str, Command] = {
    "uroboros": uroboros,
    "uroboros-health": uroboros_health,
    "granian-wsgi": granian("wsgi"),
    "granian-asgi": granian("asgi"),
    "fastpysgi": fastpysgi,
    "uvicorn": uvicorn,
    "gunicorn-gthread": gunicorn("gthread"),
    "gunicorn-asgi": gunicorn("asgi"),
    "nginx": nginx,
    "uroboros-h2": with_tls(uroboros, "--certfile", "--keyfile"),
    "uroboros-health-h2": with_tls(uroboros_health, "--certfile", "--keyfile"),
    "granian-wsgi-h2": with_tls(granian("wsgi", "auto"), "--ssl-certificate", "--ssl-keyfile"),
    "granian-asgi-h2": with_tls(granian("asgi", "auto"), "--ssl-certificate", "--ssl-keyfile"),
    "hypercorn-h2": with_tls(hypercorn, "--certfile", "--keyfile"),
    "gunicorn-gthread-h2": with_tls(gunicorn("gthread"), "--certfile", "--keyfile", "--http-protocols", "h2,h1"),
    "gunicorn-asgi-h2": with_tls(gunicorn("asgi"), "--certfile", "--keyfile", "--http-protocols", "h2,h1"),
    "nginx-h2": nginx_http2(),
    "uroboros-rsa-h2": with_tls(uroboros_health, "--certfile", "--keyfile", kind="rsa"),
    "nginx-rsa-h2": nginx_http2("rsa"),
    "uroboros-one-process-h2": with_tls(uroboros, "--certfile", "--keyfile"),
    "h2o-h2": h2o,
    "responder": responder,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int, path: str = "/", is_secure: bool = False) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    if is_secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # self-signed, and only asked whether it is there
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Server:
    """A running server; its tree lives on `cpus`. Use it in a `with`."""

    name: str
    target: str
    cpus: set[int]
    threads: int = 1
    workers: int = 1
    port: int = field(default_factory=free_port)
    start_seconds: float = 0.0

    def __enter__(self) -> "Server":
        scratch = WORK / "scratch" / self.name
        scratch.mkdir(parents=True, exist_ok=True)
        command = COMMANDS[self.name](Context(self.port, self.threads, self.workers, scratch), self.target)
        self.log = scratch / "output"
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "UROBOROS"))
        }
        begin = time.monotonic()
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=APPS,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cpus),
            )
        self._wait_until_ready(begin)
        return self

    def _wait_until_ready(self, begin: float) -> None:
        while not answers(self.port, is_secure=self.name.endswith("-h2")):
            if self.process.poll() is not None or time.monotonic() - begin > READY_SECONDS:
                text = self.log.read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"{self.name} did not answer; its output:\n{text[-3000:]}")
            time.sleep(0.002)
        self.start_seconds = time.monotonic() - begin

    def __exit__(self, *_: object) -> None:
        """The whole session ends: some of the servers leave children behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(STOP_SECONDS if number == signal.SIGTERM else None)
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not stop within {STOP_SECONDS} s", file=sys.stderr)


def ensure_venv() -> None:
    """The peers live in an environment of their own; ours runs the applications from it too."""
    requirements = ROOT / "perf/requirements.txt"
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return
    WORK.mkdir(parents=True, exist_ok=True)
    print("installing the peers into", VENV)
    subprocess.run(["/usr/bin/python3", "-m", "venv", VENV], check=True)
    subprocess.run([python("pip"), "install", "-q", "--disable-pip-version-check", "-r", requirements], check=True)
    stamp.write_text(requirements.read_text())


def versions() -> dict[str, str]:
    listing = subprocess.run([python("pip"), "list", "--format", "freeze"], capture_output=True, text=True, check=True)
    result = dict(line.split("==", 1) for line in listing.stdout.splitlines() if "==" in line)
    result["python"] = subprocess.run(
        [python("python"), "-V"], capture_output=True, text=True, check=True
    ).stdout.strip()
    for name, option in (("nginx", "-v"), ("h2o", "--version"), ("h2load", "--version")):
        if path := shutil.which(name):
            done = subprocess.run([path, option], capture_output=True, text=True, check=True)
            result[name] = (done.stdout or done.stderr).splitlines()[0].strip()
    return result
