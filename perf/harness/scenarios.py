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
    http2: tuple[int, int] | None = None  # over TLS: connections, streams on each

    def goal(self, peer: str) -> float:
        return self.goals.get(peer, 1.0)


WSGI = ("fastpysgi", "granian-wsgi", "gunicorn-gthread")
ASGI = ("fastpysgi", "granian-asgi", "uvicorn", "gunicorn-asgi")
WSGI_GOALS = {"granian-wsgi": 2.0, "fastpysgi": 1.0, "gunicorn-gthread": 15.0}
ASGI_GOALS = {"granian-asgi": 2.0, "fastpysgi": 1.2, "uvicorn": 2.5, "gunicorn-asgi": 4.0}

HTTP1 = (
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

WSGI_H2 = ("granian-wsgi-h2", "gunicorn-gthread-h2")
ASGI_H2 = ("granian-asgi-h2", "hypercorn-h2", "gunicorn-asgi-h2")
H2_GOALS = {
    **{"granian-wsgi-h2": 2.0, "granian-asgi-h2": 2.0, "hypercorn-h2": 10.0},
    **{"gunicorn-gthread-h2": 10.0, "gunicorn-asgi-h2": 10.0, "nginx-h2": 0.75},
}


def _http2(name: str, target: str, peers: tuple[str, ...], connections: int, streams: int) -> Scenario:
    return Scenario(
        f"{name}-{connections}x{streams}",
        target,
        (*peers, "nginx-h2"),
        ours="uroboros-h2",
        goals=H2_GOALS,
        http2=(connections, streams),
    )


HTTP2 = (
    _http2("h2-wsgi-hello", "plain_wsgi:app", WSGI_H2, 10, 10),
    _http2("h2-wsgi-hello", "plain_wsgi:app", WSGI_H2, 1, 100),
    _http2("h2-asgi-hello", "plain_asgi:app", ASGI_H2, 10, 10),
    _http2("h2-asgi-hello", "plain_asgi:app", ASGI_H2, 1, 100),
    Scenario(
        "h2-health-10x10",
        "plain_wsgi:app",
        ("nginx-h2", "h2o-h2"),
        ours="uroboros-health-h2",
        goals={"h2o-h2": 0.8},
        http2=(10, 10),
    ),
)
THROUGHPUT = (*HTTP1, *HTTP2)

# Which servers carry 1 GiB, by application.
TRANSFER_TARGETS = {"plain_wsgi:app": WSGI, "plain_asgi:app": ASGI}
# Every server's, as people deploy. Long bodies of fast clients are streamed to a quarter of the threads, so with fewer
# than four they are held: that is a row of its own.
TRANSFER_THREADS = 4
TRANSFERS = (
    *((target, direction, TRANSFER_THREADS) for target in TRANSFER_TARGETS for direction in ("download", "upload")),
    ("plain_wsgi:app", "upload", 1),
)

IO_GROWN_KIB_MAX = 16 * 1024
IDLE_BYTES_MAX = 512
COLD_START_SECONDS_MAX = 0.3
