"""Runs the generator against a server and puts both sides' figures together."""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass

from harness.process_tree import CpuSpan, pss_kib
from harness.servers import BUILD, Server


@dataclass
class Load:
    """One run."""

    server: str
    rate: float
    cpu_us: float
    server_cpu: float  # CPUs in use; well below the CPUs it has, with a closed loop, means a disturbed machine
    p50_us: float
    p99_us: float
    p999_us: float
    pss_kib: int
    generator_cpu: float
    errors: int
    closed: int
    others_cpu: float = 0.0  # of the server's CPUs, used by others

    def as_dict(self) -> dict:
        return asdict(self)


def request_bytes(path: str, body: bytes | None = None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if body is not None:
        head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def _generate(port: int, request: bytes, cpus: set[int], options: list[str]) -> dict:
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        done = subprocess.run(
            [BUILD / "perf/perf_generator", "127.0.0.1", str(port), "--request", file.name, *options],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
    if not done.stdout:
        raise RuntimeError(f"the generator failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_load(
    server: Server,
    request: bytes,
    cpus: set[int],
    seconds: float,
    connections: int = 64,
    depth: int = 1,
    rate: float = 0,
    warmup: float = 1,
) -> Load:
    """Warms the server up, then measures: CPU is taken around the measured run only."""
    options = ["--connections", str(connections), "--depth", str(depth), "--warmup", "0"]
    _generate(server.port, request, cpus, [*options, "--seconds", str(warmup)])
    if rate:
        options += ["--rate", f"{rate:.0f}"]
    with CpuSpan(server.process.pid, server.cpus - cpus) as span:
        result = _generate(server.port, request, cpus, [*options, "--seconds", str(seconds)])
    return Load(
        server=server.name,
        rate=result["rate"],
        cpu_us=span.cpu / max(result["answers"], 1) * 1e6,
        server_cpu=span.cpu / span.seconds,
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        p999_us=result["p999_us"],
        pss_kib=pss_kib(server.process.pid),
        generator_cpu=result["cpu"],
        errors=result["errors"],
        closed=result["closed"],
        others_cpu=span.others,
    )
