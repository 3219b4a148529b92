"""TLS handshakes: how many, what each costs, and what running requests notice of a flood of them."""

import json
import os
import subprocess
import tempfile

from harness.http2_load import percentiles
from harness.process_tree import CpuSpan
from harness.servers import BUILD, Server

RUNNING_CONNECTIONS = 10
RUNNING_RATE = 1000  # requests a second, which is little: what is measured is what they wait for
FLOOD_SHARE = 0.5  # of the most handshakes a second that were measured just before


def _command(port: int, seconds: float, more: list[str]) -> list[str]:
    return [str(BUILD / "perf/perf_handshaker"), "127.0.0.1", str(port), "--seconds", f"{seconds:g}", *more]


def _handshake(server: Server, cpus: set[int], seconds: float, more: list[str]) -> dict:
    done = subprocess.run(
        _command(server.port, seconds, more),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode != 0:
        raise RuntimeError(f"handshakes with {server.name}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def run_handshakes(server: Server, cpus: set[int], seconds: float, is_resumed: bool) -> dict[str, float]:
    """CPU is of a connection with one request, of which the request is a small part."""
    more = ["--resume"] if is_resumed else []
    _handshake(server, cpus, 0.3, more)
    with CpuSpan(server.process.pid, server.cpus - cpus) as span:
        found = _handshake(server, cpus, seconds, more)
    if found["resumed"] != (found["answers"] if is_resumed else 0):
        raise RuntimeError(f"{server.name} resumed {found['resumed']} of {found['answers']} sessions")
    return {
        "rate": found["rate"],
        "cpu_us": span.cpu / max(found["answers"], 1) * 1e6,
        "server_cpu": span.cpu / span.seconds,
        "generator_cpu": found["cpu"],
        "others_cpu": span.others,
        **{key: found[key] for key in ("p50_us", "p99_us", "p999_us")},
    }


def _running_percentiles(server: Server, cpus: set[int], seconds: float) -> tuple[float, float, float]:
    """Of requests at a small fixed rate, on connections that are there already."""
    with tempfile.NamedTemporaryFile() as log:
        done = subprocess.run(
            [
                *["h2load", "-c", str(RUNNING_CONNECTIONS), "-m", "1", "-D", f"{seconds * 1000:.0f}ms"],
                *["--rps", f"{RUNNING_RATE / RUNNING_CONNECTIONS:g}", "--log-file", log.name],
                f"https://127.0.0.1:{server.port}/",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 15,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        if done.returncode != 0:
            raise RuntimeError(f"h2load against {server.name}: {done.stderr[-500:]}")
        return percentiles(log.name)


def run_flood(server: Server, cpus: set[int], seconds: float) -> dict[str, float]:
    """How much longer running requests take while others shake hands at half of what is possible."""
    most = _handshake(server, cpus, min(seconds, 1.5), [])["rate"]
    _, idle_p99, _ = _running_percentiles(server, cpus, seconds)
    flood = subprocess.Popen(
        _command(server.port, seconds + 1, ["--rate", f"{most * FLOOD_SHARE:.0f}"]),
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    try:
        p50, p99, p999 = _running_percentiles(server, cpus, seconds)
    finally:
        status = flood.wait()
    if status != 0:
        raise RuntimeError(f"handshakes with {server.name} failed in the flood")
    return {"flood_ratio": p99 / idle_p99, "p99_idle_us": idle_p99, "p50_us": p50, "p99_us": p99, "p999_us": p999}
