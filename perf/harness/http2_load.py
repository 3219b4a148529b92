"""HTTP/2 over TLS: h2load as the generator. It costs more than ours, so look at `gen CPU` before believing a rate."""

import os
import re
import resource
import subprocess
import tempfile
from pathlib import Path
from statistics import quantiles

from harness.load import Load
from harness.process_tree import CpuSpan, pss_kib
from harness.servers import Server

PATIENCE_SECONDS = 15  # a server that leaves a stream unanswered keeps h2load waiting for ever


def _run(server: Server, cpus: set[int], seconds: float, connections: int, streams: int, log: str) -> tuple[str, float]:
    """What h2load printed, and the CPU seconds that it used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = _h2load(server.port, cpus, seconds, connections, streams, log)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{server.name} left h2load waiting") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 or "Application protocol: h2" not in done.stdout:
        raise RuntimeError(f"h2load against {server.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _h2load(
    port: int, cpus: set[int], seconds: float, connections: int, streams: int, log: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *["h2load", "-c", str(connections), "-m", str(streams), "-D", f"{seconds * 1000:.0f}ms", "--log-file", log],
            f"https://127.0.0.1:{port}/",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + PATIENCE_SECONDS,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )


def _percentiles(log: str) -> tuple[float, float, float]:
    """p50, p99, p99.9 of the time of a request, in us: the third column of h2load's log."""
    times = sorted(int(line.rsplit("\t", 1)[1]) for line in Path(log).read_text().splitlines())
    if len(times) < 2:
        return 0.0, 0.0, 0.0
    cuts = quantiles(times, n=1000)
    return cuts[499], cuts[989], cuts[998]


def run_http2_load(
    server: Server, cpus: set[int], seconds: float, connections: int, streams: int, warmup: float = 1
) -> Load:
    """Warms the server up, then measures: CPU is taken around the measured run only."""
    with tempfile.TemporaryDirectory() as scratch:
        _run(server, cpus, warmup, connections, streams, f"{scratch}/warm")
        with CpuSpan(server.process.pid, server.cpus - cpus) as span:
            text, generator_cpu = _run(server, cpus, seconds, connections, streams, f"{scratch}/log")
        p50, p99, p999 = _percentiles(f"{scratch}/log")
    found = re.search(r"requests: (\d+) total, .*? (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    statuses = re.search(r"status codes: (\d+) 2xx", text)
    if not found or not statuses:
        raise RuntimeError(f"h2load says something new: {text[-500:]}")
    answers = int(statuses[1])
    return Load(
        server=server.name,
        rate=answers / span.seconds,
        cpu_us=span.cpu / max(answers, 1) * 1e6,
        server_cpu=span.cpu / span.seconds,
        p50_us=p50,
        p99_us=p99,
        p999_us=p999,
        pss_kib=pss_kib(server.process.pid),
        generator_cpu=generator_cpu / span.seconds,
        errors=int(found[3]) + int(found[4]),
        closed=0,
        others_cpu=span.others,
    )
