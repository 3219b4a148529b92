"""What is measured, against whom, and what is to be reached."""

from dataclasses import dataclass, field

from harness.load import request_bytes

TEN_KB = b"x" * 10_000


@dataclass(frozen=True)
class Scenario:
    """`goals`: our rate over the peer's, at least; peers without a number of their own must be passed (1.0)."""

    name: str
    target: str
    peers: tuple[str, ...]
    request: bytes = request_bytes("/")
    ours: str = "uroboros"
    goals: dict[str, float] = field(default_factory=dict)
    latency: bool = False  # also p99 at one fixed rate

    def goal(self, peer: str) -> float:
        return self.goals.get(peer, 1.0)


WSGI = ("fastpysgi", "granian-wsgi", "gunicorn-gthread")
ASGI = ("fastpysgi", "granian-asgi", "uvicorn", "gunicorn-asgi")
WSGI_GOALS = {"granian-wsgi": 2.0, "fastpysgi": 1.0, "gunicorn-gthread": 15.0}
ASGI_GOALS = {"granian-asgi": 2.0, "fastpysgi": 1.2, "uvicorn": 2.5, "gunicorn-asgi": 4.0}

THROUGHPUT = (
    Scenario("wsgi-hello", "plain_wsgi:app", WSGI, goals=WSGI_GOALS, latency=True),
    Scenario("asgi-hello", "plain_asgi:app", ASGI, goals=ASGI_GOALS, latency=True),
    Scenario("wsgi-10k", "plain_wsgi:app", WSGI, request_bytes("/10k")),
    Scenario("asgi-10k", "plain_asgi:app", ASGI, request_bytes("/10k")),
    Scenario("wsgi-echo", "plain_wsgi:app", WSGI, request_bytes("/echo", TEN_KB)),
    Scenario("asgi-echo", "plain_asgi:app", ASGI, request_bytes("/echo", TEN_KB)),
    Scenario("flask-hello", "framework_flask:app", WSGI, latency=True),
    Scenario("fastapi-hello", "framework_fastapi:app", ASGI, latency=True),
    Scenario("health", "plain_wsgi:app", ("nginx", "responder"), ours="uroboros-health", goals={"responder": 0.85}),
)

# Which servers carry 1 GiB, by application.
TRANSFER_TARGETS = {"plain_wsgi:app": WSGI, "plain_asgi:app": ASGI}

IO_GROWN_KIB_MAX = 16 * 1024
IDLE_BYTES_MAX = 512
COLD_START_SECONDS_MAX = 0.3
