"""HTTP/2 over TLS: h2load as the generator. It costs more than ours, so look at `gen CPU` before believing a rate.

A load for some time, 1 GiB either way on one connection, and the streams of one connection spread over processes.
"""

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
from harness.transfer import MemoryWatch

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


def percentiles(log: str) -> tuple[float, float, float]:
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
        p50, p99, p999 = percentiles(f"{scratch}/log")
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


WINDOW_BITS = 24  # of a stream and of the connection: a transfer is not to wait for its client
SLOWEST_MIB_PER_SECOND = 12
REQUESTS = re.compile(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded")
DATA = re.compile(r"headers \(space savings [^)]*\), [^(]*\((\d+)\) data")


def _streams(server: Server, cpus: set[int], path: str, streams: int, timeout: float, more: list[str]) -> str:
    """One connection with `streams` requests beside each other, each once."""
    try:
        done = subprocess.run(
            [
                *["h2load", "-n", str(streams), "-c", "1", "-m", str(streams), *more],
                f"https://127.0.0.1:{server.port}{path}",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{server.name} took longer than {timeout:.0f} s") from None
    found = REQUESTS.search(done.stdout)
    if done.returncode != 0 or not found or int(found[1]) != streams:
        raise RuntimeError(f"h2load against {server.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def run_http2_transfer(server: Server, direction: str, mib: int, streams: int, cpus: set[int]) -> dict[str, float]:
    """`mib` in all over one connection; what arrives is counted, its content is what the integration tests look at."""
    octets = mib * (1 << 20) // streams
    windows = ["-w", str(WINDOW_BITS), "-W", str(WINDOW_BITS)]
    timeout = PATIENCE_SECONDS + mib / SLOWEST_MIB_PER_SECOND
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as body:
        if direction == "upload":
            os.posix_fallocate(body.fileno(), 0, octets)
            path, more = "/upload?count", [*windows, "-d", body.name]
        else:
            path, more = f"/download?{octets // 65536}", windows
        with MemoryWatch(server.process.pid) as watch, CpuSpan(server.process.pid, server.cpus - cpus) as span:
            text = _streams(server, cpus, path, streams, timeout, more)
    found = DATA.search(text)
    if direction == "download" and (not found or int(found[1]) != octets * streams):
        raise RuntimeError(f"{server.name} sent {found[1] if found else 'no'} octets of {octets * streams}")
    return {
        "rate": mib / span.seconds,
        "cpu_us": span.cpu / mib * 1e6,
        "others_cpu": span.others,
        "grown_kib": watch.peak[0] - watch.first[0],
    }


def run_fan_out(server: Server, cpus: set[int], streams: int) -> dict[str, float]:
    """Streams of 20 ms of work on one connection, done per second: the application's processes share them."""
    _streams(server, cpus, "/work", 2, PATIENCE_SECONDS, [])
    with CpuSpan(server.process.pid, server.cpus) as span:
        _streams(server, cpus, "/work", streams, PATIENCE_SECONDS + streams * 0.05, [])
    return {"rate": streams / span.seconds, "cpu_us": span.cpu / streams * 1e6, "others_cpu": span.others}
