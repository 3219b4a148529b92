"""What a regression run measures: each probe gives figures of one server, by the names of harness/comparison.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

from harness import files, scenarios
from harness.comparison import YARDSTICK
from harness.handshakes import run_flood, run_handshakes
from harness.http2_load import run_fan_out, run_http2_load, run_http2_transfer
from harness.load import request_bytes, run_load
from harness.servers import Server
from harness.transfer import http2_connection, idle_bytes_each, run_transfer

IDLE_ROUNDS = 3  # memory does not scatter as time does
SLOW_PEERS_ROUNDS = 2  # of 1 GiB over HTTP/2, where some need a minute
WARMUP_SECONDS = 0.5
FAN_OUT_STREAMS = 100

Figures = dict[str, float]


@dataclass(frozen=True)
class Rig:
    """Where and how long."""

    server_cpus: set[int]
    generator_cpus: set[int]
    seconds: float
    rounds: int
    connections: int
    mib: int
    http2_mib: int
    idle: int

    def server(self, name: str, target: str, **more) -> Server:
        return Server(name, target, self.server_cpus, **more)


@dataclass(frozen=True)
class Probe:
    """`goals`: our rate over the peer's, at least. Without `has_yardstick` nothing of it depends on time."""

    name: str
    unit: str
    ours: str
    peers: tuple[str, ...]
    measure: Callable[[Rig, str], Figures]
    goals: dict[str, float] = field(default_factory=dict)
    has_yardstick: bool = True
    is_quick: bool = True
    rounds_max: int = 1000


def measure_yardstick(rig: Rig) -> Figures:
    """The bare responder: what this machine can do at this moment."""
    with rig.server(YARDSTICK, "") as server:
        return run_load(
            server, request_bytes("/"), rig.generator_cpus, rig.seconds, rig.connections, warmup=WARMUP_SECONDS
        ).as_dict()


def _load(scenario: scenarios.Scenario) -> Callable[[Rig, str], Figures]:
    def measure(rig: Rig, name: str) -> Figures:
        cpus, seconds = rig.generator_cpus, rig.seconds
        with rig.server(name, scenario.target) as server:
            if scenario.http2:
                load = run_http2_load(server, cpus, seconds, *scenario.http2, warmup=WARMUP_SECONDS)
            else:
                load = run_load(server, scenario.request, cpus, seconds, rig.connections, warmup=WARMUP_SECONDS)
        if load.errors and name == scenario.ours:
            raise RuntimeError(f"{load.errors} requests failed")
        return load.as_dict()

    return measure


def _load_probe(scenario: scenarios.Scenario) -> Probe:
    peers = tuple(name for name in scenario.peers if name != YARDSTICK)
    return Probe(scenario.name, "req/s", scenario.ours, peers, _load(scenario), scenario.goals)


def _transfer(target: str, direction: str, threads: int) -> Callable[[Rig, str], Figures]:
    def measure(rig: Rig, name: str) -> Figures:
        with rig.server(name, target, threads=threads) as server:
            result = run_transfer(server, direction, rig.mib, rig.generator_cpus, False)
        return {
            "rate": result.mib_per_second,
            "cpu_us": result.cpu_ms_per_mib * 1e3,
            "others_cpu": result.others_cpu,
            "grown_kib": result.pss_grown_kib,
        }

    return measure


def _transfer_probe(target: str, direction: str, threads: int) -> Probe:
    suffix = "" if threads == scenarios.TRANSFER_THREADS else f"-{threads}-thread"
    return Probe(
        f"{target.split(':')[0].removeprefix('plain_')}-{direction}{suffix}",
        "MiB/s",
        "uroboros",
        scenarios.TRANSFER_TARGETS[target],
        _transfer(target, direction, threads),
    )


def _http2_transfer(target: str, direction: str, streams: int) -> Probe:
    def measure(rig: Rig, name: str) -> Figures:
        with rig.server(name, target, threads=scenarios.TRANSFER_THREADS) as server:
            return run_http2_transfer(server, direction, rig.http2_mib, streams, rig.generator_cpus)

    kind = target.split(":")[0].removeprefix("plain_")
    peers = scenarios.WSGI_H2 if kind == "wsgi" else scenarios.ASGI_H2
    return Probe(
        f"h2-{kind}-{direction}-{streams}x", "MiB/s", "uroboros-h2", peers, measure, rounds_max=SLOW_PEERS_ROUNDS
    )


def _file_probe(kind: str, size: str) -> Probe:
    """In clear, against nginx's sendfile; pathsend against granian's, too. CPU is that of a MiB."""

    def measure(rig: Rig, name: str) -> Figures:
        files.make_files()
        with files.server(name, "clear", rig.server_cpus) as server:
            run = files.run_files(server, "clear", size, rig.seconds, rig.generator_cpus)
        return {"rate": run.rate, "cpu_us": run.cpu_ms_per_mib * 1e3, "others_cpu": run.others_cpu}

    ours, peers = f"uroboros-{kind}", ("nginx", "granian") if kind == "asgi" else ("nginx",)
    goals = {peer: goal for peer in peers if (goal := files.goal_of(ours, peer, "clear", size))}
    return Probe(f"file-{kind}-{size}", "MiB/s", ours, peers, measure, goals, is_quick=size == "1m")


def _handshakes(kind: str, ours: str, peer: str, is_resumed: bool = False) -> Probe:
    def measure(rig: Rig, name: str) -> Figures:
        with rig.server(name, "plain_wsgi:app") as server:
            return run_handshakes(server, rig.generator_cpus, rig.seconds, is_resumed)

    return Probe(f"handshake-{kind}", "handshakes/s", ours, (peer,), measure, {peer: 0.95})


def _flood(rig: Rig, name: str) -> Figures:
    with rig.server(name, "plain_wsgi:app") as server:
        return run_flood(server, rig.generator_cpus, max(rig.seconds, 2))


def _fan_out(rig: Rig, name: str) -> Figures:
    """On every CPU: the client waits nearly all of the time."""
    cpus = rig.server_cpus | rig.generator_cpus
    workers = 1 if "one-process" in name else 2
    with Server(name, "plain_wsgi:app", cpus, workers=workers) as server:
        return run_fan_out(server, cpus, FAN_OUT_STREAMS)


def _idle(rig: Rig, name: str) -> Figures:
    with rig.server(name, "plain_wsgi:app") as server:
        # The buffers that a loaded server has touched are not the price of an idle connection.
        run_load(server, request_bytes("/"), rig.generator_cpus, 1)
        return {"bytes_each": idle_bytes_each(server, rig.idle)}


def _idle_http2(rig: Rig, name: str) -> Figures:
    """A fifth of the connections: each of the client's ends costs as much as the server's."""
    with rig.server(name, "plain_wsgi:app") as server:
        run_http2_load(server, rig.generator_cpus, 1, 10, 10)
        return {"bytes_each": idle_bytes_each(server, rig.idle // 5, http2_connection)}


def _cold_start(rig: Rig, name: str) -> Figures:
    with rig.server(name, "plain_wsgi:app") as server:
        return {"start_ms": server.start_seconds * 1e3}


PROBES: tuple[Probe, ...] = (
    *(_load_probe(scenario) for scenario in scenarios.THROUGHPUT),
    *(_transfer_probe(*transfer) for transfer in scenarios.TRANSFERS),
    *(
        _http2_transfer(target, direction, streams)
        for target in scenarios.TRANSFER_TARGETS
        for direction in ("download", "upload")
        for streams in (1, 8)
    ),
    *(_file_probe(kind, size) for kind in ("wsgi", "asgi") for size in files.CLEAR_GOALS),
    _handshakes("ecdsa", "uroboros-health-h2", "nginx-h2"),
    _handshakes("rsa", "uroboros-rsa-h2", "nginx-rsa-h2"),
    _handshakes("resumed", "uroboros-health-h2", "nginx-h2", is_resumed=True),
    Probe("handshake-flood", "times idle p99", "uroboros-h2", ("nginx-h2",), _flood, has_yardstick=False),
    Probe(
        "h2-fan-out",
        "streams/s",
        "uroboros-h2",
        ("uroboros-one-process-h2",),
        _fan_out,
        {"uroboros-one-process-h2": 1.8},
        has_yardstick=False,
        is_quick=False,
    ),
    Probe("cold-start", "ms", "uroboros", scenarios.WSGI, _cold_start, has_yardstick=False),
    Probe("idle", "octets", "uroboros", (), _idle, has_yardstick=False, is_quick=False, rounds_max=IDLE_ROUNDS),
    Probe(
        "h2-idle",
        "octets",
        "uroboros-h2",
        (),
        _idle_http2,
        has_yardstick=False,
        is_quick=False,
        rounds_max=IDLE_ROUNDS,
    ),
)
