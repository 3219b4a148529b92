"""What TLS costs the daemon, in the kernel against in user space: instructions, and the memory of its connections.

    tests/kernel/run.py --instructions test_ktls_cost.py

An emulated machine whose clock is the number of instructions executed (a nanosecond each) says the same whatever the
machine around it does, and has AES-NI: the kernel and BoringSSL both encrypt as on hardware that has no more than that.
What it does not say is how long an instruction takes there.

A row is the slope between two numbers of requests, so that handshakes and switches are not in it; those are the first.
"""

import contextlib
import os
import time
from pathlib import Path
from statistics import median

import pytest
from test_files_ktls import disk  # noqa: F401 (a fixture)
from test_ktls import Sealer, Wire

from harness.client import build_request
from harness.http2 import connect_http2
from harness.programs import need, output_of
from harness.server import Server

WAYS = ["off", "tx", "both"]
SUITES = {"AES-128-GCM": "TLS_AES_128_GCM_SHA256", "ChaCha20": "TLS_CHACHA20_POLY1305_SHA256"}
KIB, MIB = 1024, 1024 * 1024
CLIENTS = 2
# Octets, the two numbers of requests, and rounds. What is larger than 64 KiB is a file; what goes up is the request's.
LOADS = {
    "1 KiB": (KIB, 8, 48, 3),
    "16 KiB": (16 * KIB, 8, 48, 3),
    "1 MiB": (MIB, 2, 6, 3),
    "100 MiB": (100 * MIB, 0, 1, 1),
    "1 MiB up": (MIB, 2, 6, 3),
}
FILES_FROM = 64 * KIB
# Of what user space costs: a small response by the kernel at most so much, and a file in user space at least.
SMALL_MOST, FILE_LEAST = 1.05, 1.3
# Records of one octet: fewer than user space allows within ten seconds; and what one may cost by the kernel, of that.
TINY, TINY_FACTOR_MOST = 1_500, 5
OCTETS = bytes(range(16))  # of the answer "/16"
# Buffers that few requests go through, all of whose pages have been touched once the server is warm.
BUFFERS = ("--recv-buffers", "32", "--upload-buffers", "8", "--outbound-arena", "2M")
WARM_REQUESTS, WARM_UPLOADS = 200, 8
# Connections; they are parked after 5 s.
IDLE_BEFORE, IDLE, PARK_SECONDS = 100, 300, 7

pytestmark = [pytest.mark.full, pytest.mark.timeout(3_600)]


@pytest.fixture(scope="module", autouse=True)
def needs_kernel_tls():
    if not os.path.exists("/proc/net/tls_stat"):
        pytest.skip("this kernel has no TLS (no module `tls`)")


@pytest.fixture
def servers(serve, tls) -> dict[str, Server]:
    if "UROBOROS_TEST_INSTRUCTIONS" not in os.environ:
        pytest.skip("no machine whose clock counts instructions")
    return {
        way: serve("sized_wsgi:app", *tls.ecdsa.options, "--ktls", way, "--rings", "1", "--workers", "1", *BUFFERS)
        for way in WAYS
    }


def cpu_us(pid: int) -> float:
    """Of all threads of a process that is not ours: the kernel makes the name of its clock of its number."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1_000


def cpu_of(server: Server) -> tuple[float, float]:
    """Of the I/O process, and of the daemon."""
    own = sum(cpu_us(pid) for pid in server.io_processes())
    return own, own + sum(cpu_us(pid) for pid in server.app_processes())


def kernel_encrypted() -> int:
    with open("/proc/net/tls_stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TlsTxSw"))


def ask(server: Server, way: str, options: list[object], path: str, requests: int) -> tuple[float, float]:
    """What that many cost, with the connections they come by."""
    clients = min(requests, CLIENTS)
    before, encrypted = cpu_of(server), kernel_encrypted()
    said = output_of(
        *(need("h2load"), *options, "-n", requests, "-c", clients, "-m", 1),
        f"https://localhost:{server.address[1]}{path}",
        timeout=300,
    )
    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert kernel_encrypted() - encrypted == (0 if way == "off" else clients)
    after = cpu_of(server)
    return after[0] - before[0], after[1] - before[1]


def slope(few: float, many: float, load: tuple[int, ...]) -> float:
    return (many - few) / (load[2] - load[1])


def measure(servers: dict[str, Server], load, run) -> tuple[dict, dict, dict]:
    """Medians by way: of the I/O process and of the daemon a request, and of the daemon a connection."""
    own, whole, begun = ({way: [] for way in WAYS} for _ in range(3))
    for turn in range(load[3]):
        for way in WAYS[turn:] + WAYS[:turn]:
            few, many = ((run(servers[way], way, number) if number else (0.0, 0.0)) for number in load[1:3])
            own[way].append(slope(few[0], many[0], load))
            whole[way].append(slope(few[1], many[1], load))
            begun[way].append((few[1] - load[1] * whole[way][-1]) / CLIENTS)
    return tuple({way: median(runs) for way, runs in costs.items()} for costs in (own, whole, begun))


def judge(octets: int, is_up: bool, reference: float, cost: float) -> str:
    is_file = octets > FILES_FROM and not is_up
    is_met = reference / cost >= FILE_LEAST if is_file else cost / reference <= SMALL_MOST
    return "" if is_met else " MISSED"


def show(name: str, costs: dict[str, float], verdicts: dict[str, str]) -> None:
    cells = (f"{costs[way]:11,.1f} {costs[way] / costs['off']:5.2f}{verdicts.get(way, ''):7}" for way in WAYS)
    print(f"  {name:22}" + "".join(cells), flush=True)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_cost(servers, capsys, tmp_path, disk, protocol, suite):  # noqa: F811
    with capsys.disabled():
        print(f"\nkernel {os.uname().release}, HTTP/{protocol}, {suite}: thousands of instructions, and of `off`")
        print(f"  {'':22}" + "".join(f"{way:>11} {'':12}" for way in WAYS))
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(MIB))
    options = [*(["--h1"] if protocol == "1.1" else ["-w", 24, "-W", 24]), "--tls13-ciphers", SUITES[suite]]
    for way in WAYS:
        ask(servers[way], way, options, f"/{16 * KIB}", WARM_REQUESTS)
        ask(servers[way], way, [*options, "-d", upload], "/16", WARM_UPLOADS)
    for name, load in LOADS.items():
        octets, is_up = load[0], name.endswith(" up")
        file = disk / str(octets)
        if octets > FILES_FROM:
            file.write_bytes(bytes(octets))
        own_options = [*options, "-d", upload] if is_up else options
        path = "/16" if is_up else str(file) if octets > FILES_FROM else f"/{octets}"

        def run(server: Server, way: str, requests: int, path: str = path, all_options=own_options):
            return ask(server, way, all_options, path, requests)

        own, whole, begun = measure(servers, load, run)
        with capsys.disabled():
            if name == "1 KiB":
                show("a connection", begun, {})
            show(name, whole, {way: judge(octets, is_up, whole["off"], whole[way]) for way in WAYS[1:]})
            show("   the I/O process", own, {})




def settle(server: Server, talk) -> float:
    """Instructions of the I/O process for each of so many, until they are answered."""
    before = cpu_of(server)[0]
    talk()
    return (cpu_of(server)[0] - before) * 1_000 / TINY


def cost_of_records(server: Server, tls, keys: Path) -> float:
    """One octet of data in each."""
    with Wire(server, tls, "1.3", keys) as wire:
        wire.sock.sendall(wire.handshake())
        sealer = Sealer(wire, keys)
        wire.sock.sendall(sealer.record(build_request("/16")))
        wire.answers(1, OCTETS)
        wire.sock.sendall(sealer.record(build_request("/16", "POST", [("Content-Length", str(TINY))])))
        records = b"".join(sealer.record(b"x") for _ in range(TINY))
        return settle(server, lambda: (wire.sock.sendall(records), wire.answers(1, OCTETS)))


def cost_of_chunks(server: Server) -> float:
    """The same in clear: one octet of data in each chunk."""
    with server.connect() as client:
        client.send(build_request("/16", "POST", [("Transfer-Encoding", "chunked")]))
        return settle(server, lambda: (client.send_more(b"1\r\nx\r\n" * TINY + b"0\r\n\r\n"), client.read_response()))


def test_cost_of_tiny_records(servers, serve, tls, capsys, tmp_path):
    """Nobody can count them who is not given them; what they cost is bounded by what they are on the wire."""
    chunk = cost_of_chunks(serve("sized_wsgi:app", "--rings", "1"))
    costs = {way: cost_of_records(servers[way], tls, tmp_path / way) for way in ("off", "both")}
    with capsys.disabled():
        cells = ", ".join(f"{way} {cost:,.0f} a record, {cost / 23:,.0f} an octet" for way, cost in costs.items())
        print(f"\none octet of data in each, instructions: {cells}")
        print(f"in clear {chunk:,.0f} a chunk, {chunk / 6:,.0f} an octet")
    assert costs["both"] < TINY_FACTOR_MOST * costs["off"]


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
