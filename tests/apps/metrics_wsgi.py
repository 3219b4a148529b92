"""A gauge of each process, as prometheus_client's multiprocess mode keeps it, and the page with all of them."""

import os

from prometheus_client import CollectorRegistry, Gauge, generate_latest, multiprocess

GAUGE = Gauge("alive", "Processes that live.", multiprocess_mode="liveall")


def app(environ, start_response):
    GAUGE.set(1)
    if environ["PATH_INFO"] == "/pid":
        body = str(os.getpid()).encode()
    else:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = generate_latest(registry)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
