"""What TLS costs the I/O process: the kernel's against that in user space. A measurement, for docs/tls.md.

    tests/kernel/run.py --full test_ktls_cost.py

The only kernel that can be had everywhere (user-mode-linux) has no SIMD, and its AES and ChaCha20 are portable C. So
user space is measured twice, as it is and with BoringSSL told of a CPU without SIMD: only the last is compared.
Rounds are interleaved and the least of each counts, for the machine around the guest takes its time from any of them.
"""

import os
import time

import pytest

from harness.programs import need, output_of
from harness.server import Server

PLAIN_CPU = {"OPENSSL_ia32cap": "0:0"}
WAYS = {"off": {}, "off, no SIMD": PLAIN_CPU, "tx": PLAIN_CPU, "both": PLAIN_CPU}
REFERENCE = "off, no SIMD"
SUITES = {"AES-128-GCM": "TLS_AES_128_GCM_SHA256", "ChaCha20": "TLS_CHACHA20_POLY1305_SHA256"}
KIB, MIB = 1024, 1024 * 1024
# Octets and requests. What is larger than 64 KiB is a file.
LOADS = {"1 KiB": (KIB, 1_600), "16 KiB": (16 * KIB, 1_200), "1 MiB": (MIB, 40), "100 MiB": (100 * MIB, 1)}
ROUNDS = 3

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
        costs = dict.fromkeys(WAYS, float("inf"))
        for _ in range(ROUNDS):
            for way, server in servers.items():
                costs[way] = min(costs[way], cost_us(server, protocol, suite, path, requests))
        with capsys.disabled():
            cells = (f"{cost:12,.0f} ({cost / costs[REFERENCE]:.2f} x)" for cost in costs.values())
            print(f"  {name:8}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
