"""What TLS costs the I/O process: the kernel's against that in user space. Measurements, for docs/tls.md.

    tests/kernel/run.py --full test_ktls_cost.py

The only kernel that can be had everywhere (user-mode-linux) has no SIMD, and its AES and ChaCha20 are portable C. So
user space is measured twice, as it is and with BoringSSL told of a CPU without SIMD: only the last is compared.
Rounds are interleaved, each begins with another, and medians count: the machine around the guest takes time from any.
"""

import contextlib
import os
import time
from pathlib import Path
from statistics import median

import pytest

from harness.http2 import connect_http2
from harness.programs import need, output_of
from harness.server import Server

PLAIN_CPU = {"OPENSSL_ia32cap": "0:0"}
WAYS = {"off": {}, "off, no SIMD": PLAIN_CPU, "tx": PLAIN_CPU, "both": PLAIN_CPU}
REFERENCE = "off, no SIMD"
SUITES = {"AES-128-GCM": "TLS_AES_128_GCM_SHA256", "ChaCha20": "TLS_CHACHA20_POLY1305_SHA256"}
KIB, MIB = 1024, 1024 * 1024
# Octets and requests. What is larger than 64 KiB is a file.
LOADS = {"1 KiB": (KIB, 1_000), "16 KiB": (16 * KIB, 600), "1 MiB": (MIB, 24), "100 MiB": (100 * MIB, 1)}
ROUNDS = 5
# Connections; they are parked after 5 s.
IDLE_BEFORE, IDLE, PARK_SECONDS = 100, 300, 7

pytestmark = [pytest.mark.full, pytest.mark.timeout(1_200)]


def cpu_us(pid: int) -> float:
    """Of all threads of a process that is not ours: the kernel makes the name of its clock of its number."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1_000


@pytest.fixture
def servers(serve, tls) -> dict[str, Server]:
    if not os.path.exists("/proc/net/tls_stat"):
        pytest.skip("this kernel has no TLS (no module `tls`)")
    return {
        way: serve("sized_wsgi:app", *tls.ecdsa.options, "--ktls", way.split(",")[0], "--rings", "1", env=environment)
        for way, environment in WAYS.items()
    }


def kernel_encrypted() -> int:
    with open("/proc/net/tls_stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TlsTxSw"))


def cost_us(server: Server, protocol: str, suite: str, path: str, requests: int) -> float:
    """For each request."""
    (pid,) = server.io_processes()
    clients = min(requests, 4)
    protocol_options = ["--h1"] if protocol == "1.1" else ["-w", 24, "-W", 24]
    before, encrypted = cpu_us(pid), kernel_encrypted()
    said = output_of(
        *(need("h2load"), *protocol_options, "-n", requests, "-c", clients, "-m", 1, "--tls13-ciphers", SUITES[suite]),
        f"https://localhost:{server.address[1]}{path}",
        timeout=300,
    )
    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    is_offloaded = server.arguments[server.arguments.index("--ktls") + 1] != "off"
    assert kernel_encrypted() - encrypted == (clients if is_offloaded else 0)
    return (cpu_us(pid) - before) / requests


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_cost(servers, capsys, tmp_path, protocol, suite):
    with capsys.disabled():
        print(f"\nkernel {os.uname().release}, HTTP/{protocol}, TLS 1.3, {suite}: us of the I/O process's CPU a request")
        print(f"  {'':8}" + "".join(f"{way:>22}" for way in WAYS))
    for name, (octets, requests) in LOADS.items():
        path = f"/{octets}"
        if octets > 64 * KIB:
            file = tmp_path / path[1:]
            file.write_bytes(bytes(octets))
            path = str(file)
        runs: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(ROUNDS):
            order = list(WAYS)[turn % len(WAYS) :] + list(WAYS)[: turn % len(WAYS)]
            for way in order:
                runs[way].append(cost_us(servers[way], protocol, suite, path, requests))
        costs = {way: median(own) for way, own in runs.items()}
        with capsys.disabled():
            cells = (f"{cost:12,.0f} ({cost / costs[REFERENCE]:.2f} x)" for cost in costs.values())
            print(f"  {name:8}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def anonymous_octets(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("RssAnon"))


def open_idle(server: Server, tls, protocol: str, count: int, stack: contextlib.ExitStack) -> None:
    """Each has had an answer."""
    for _ in range(count):
        connect = tls.connect if protocol == "1.1" else lambda server: connect_http2(server, tls)
        assert stack.enter_context(connect(server)).request("/16").status == 200


@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_memory_of_an_idle_connection(serve, tls, capsys, protocol):
    costs = {}
    for mode in ("off", "tx", "both"):
        server = serve("sized_wsgi:app", *tls.ecdsa.options, "--ktls", mode, "--rings", "1", "--keep-alive", "999")
        (pid,) = server.io_processes()
        with contextlib.ExitStack() as stack:
            open_idle(server, tls, protocol, IDLE_BEFORE, stack)
            time.sleep(PARK_SECONDS)
            before = anonymous_octets(pid)
            open_idle(server, tls, protocol, IDLE, stack)
            time.sleep(PARK_SECONDS)
            costs[mode] = (anonymous_octets(pid) - before) / IDLE
    with capsys.disabled():
        cells = ", ".join(f"{mode} {octets:,.0f}" for mode, octets in costs.items())
        print(f"\nHTTP/{protocol}, octets of an idle connection: {cells}", flush=True)
    assert costs["both"] < costs["off"] - 2_500
