"""What a regression run measures: each probe gives figures of one server, by the names of harness/comparison.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

from harness import scenarios
from harness.comparison import YARDSTICK
from harness.http2_load import run_http2_load
from harness.load import request_bytes, run_load
from harness.servers import Server
from harness.transfer import idle_bytes_each, run_transfer

IDLE_ROUNDS = 3  # memory does not scatter as time does
WARMUP_SECONDS = 0.5

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


def _transfer(target: str, direction: str) -> Callable[[Rig, str], Figures]:
    def measure(rig: Rig, name: str) -> Figures:
        with rig.server(name, target) as server:
            result = run_transfer(server, direction, rig.mib, rig.generator_cpus, False)
        return {
            "rate": result.mib_per_second,
            "cpu_us": result.cpu_ms_per_mib * 1e3,
            "others_cpu": result.others_cpu,
            "grown_kib": result.pss_grown_kib,
        }

    return measure


def _idle(rig: Rig, name: str) -> Figures:
    with rig.server(name, "plain_wsgi:app") as server:
        # The buffers that a loaded server has touched are not the price of an idle connection.
        run_load(server, request_bytes("/"), rig.generator_cpus, 1)
        return {"bytes_each": idle_bytes_each(server, rig.idle)}


def _cold_start(rig: Rig, name: str) -> Figures:
    with rig.server(name, "plain_wsgi:app") as server:
        return {"start_ms": server.start_seconds * 1e3}


PROBES: tuple[Probe, ...] = (
    *(_load_probe(scenario) for scenario in scenarios.THROUGHPUT),
    *(
        Probe(
            f"{target.split(':')[0].removeprefix('plain_')}-{direction}",
            "MiB/s",
            "uroboros",
            peers,
            _transfer(target, direction),
        )
        for target, peers in scenarios.TRANSFER_TARGETS.items()
        for direction in ("download", "upload")
    ),
    Probe("cold-start", "ms", "uroboros", scenarios.WSGI, _cold_start, has_yardstick=False),
    Probe("idle", "octets", "uroboros", (), _idle, has_yardstick=False, is_quick=False, rounds_max=IDLE_ROUNDS),
)
