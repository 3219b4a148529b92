#!/usr/bin/env python3
"""Measures Uroboros and its peers on this machine; see docs/performance.md.

bench.py [SCENARIO...] [--seconds S] [--rounds N] [--only SERVER,...] [--parts PART,...] [--accept [NAME]]

The server's whole tree runs on the CPUs of --server-cpus, the generator on --generator-cpus; with --all-cpus the
server may use every CPU. Rounds are interleaved: one short run of each server, then the next round. Figures are
medians. The record goes to build/perf/, with --accept also to perf/records/NAME.*. Exit status 1 when a goal is missed.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from harness import report, scenarios
from harness.http2_load import run_http2_load
from harness.load import request_bytes, run_load
from harness.machine import add_cpu_options, git_commit, machine
from harness.servers import BUILD, ROOT, WORK, Server, ensure_venv, python, versions
from harness.transfer import idle_bytes_each, run_transfer

PARTS = ("throughput", "latency", "transfer", "idle", "cold")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help="names, of: " + " ".join(s.name for s in scenarios.THROUGHPUT))
    parser.add_argument("--seconds", type=float, default=4, help="of one run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--depth", type=int, default=1, help="requests pipelined")
    parser.add_argument("--threads", type=int, default=1, help="of each Python process, where a server has them")
    parser.add_argument("--workers", type=int, default=1, help="Python processes")
    add_cpu_options(parser)
    parser.add_argument("--all-cpus", action="store_true", help="let the server use every CPU")
    parser.add_argument("--only", default="", help="servers, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help="of: " + " ".join(PARTS))
    parser.add_argument("--mib", type=int, default=1024, help="of one transfer")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    parser.add_argument(
        "--accept",
        nargs="?",
        const="accepted",
        metavar="NAME",
        help="keep the record as perf/records/NAME.*; without a name, as accepted.*",
    )
    options = parser.parse_args()
    if options.accept and not re.fullmatch(r"[a-z0-9-]+", options.accept):
        parser.error(f"--accept takes a name of small letters, digits and hyphens, not {options.accept!r}")
    if options.accept in {s.name for s in scenarios.THROUGHPUT}:
        parser.error(f"--accept {options.accept}: that is a scenario; name the scenarios before --accept")
    return options


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.only = set(filter(None, options.only.split(",")))
        self.parts = set(options.parts.split(","))
        self.server_cpus = set(range(os.cpu_count() or 1)) if options.all_cpus else options.server_cpus
        if options.all_cpus:
            self.place = "server on all CPUs"
        elif len(self.server_cpus) == 1:
            self.place = f"server on CPU {min(self.server_cpus)}"
        else:
            self.place = f"server on {len(self.server_cpus)} CPUs"
        self.setting = f"{options.connections} connections x {options.depth}, {self.place}"
        self.record: dict = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": git_commit(),
            "machine": machine(),
            "versions": versions(),
            "settings": {key: sorted(v) if isinstance(v, set) else v for key, v in vars(options).items()},
        }

    def http2_setting(self, connections: int, streams: int) -> str:
        return f"HTTP/2 over TLS 1.3, {connections} connections x {streams} streams, {self.place}"

    def wanted(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if not self.only or name in self.only]

    def server(self, name: str, target: str, threads: int | None = None) -> Server:
        return Server(name, target, self.server_cpus, threads or self.options.threads, self.options.workers)

    def interleaved(self, names: list[str], run) -> tuple[dict[str, list], dict[str, str]]:
        """Calls run(name) for each in turn, `rounds` times; a server that fails is left out from then on."""
        runs: dict[str, list] = {name: [] for name in names}
        failures: dict[str, str] = {}
        for round_number in range(self.options.rounds):
            for name in names:
                if name in failures:
                    continue
                try:
                    runs[name].append(run(name))
                except (RuntimeError, OSError, ValueError) as error:
                    failures[name] = str(error)
                    runs[name].clear()
                    print(f"  {name}: {error}", file=sys.stderr)
                else:
                    print(f"  round {round_number + 1} {name}", flush=True)
        return runs, failures

    def throughput(self, scenario: scenarios.Scenario) -> dict:
        options = self.options

        def run(name: str) -> dict:
            with self.server(name, scenario.target) as server:
                if scenario.http2:
                    cpus, seconds = options.generator_cpus, options.seconds
                    return run_http2_load(server, cpus, seconds, *scenario.http2).as_dict()
                return run_load(
                    server,
                    scenario.request,
                    options.generator_cpus,
                    options.seconds,
                    options.connections,
                    options.depth,
                ).as_dict()

        print(scenario.name, flush=True)
        runs, _ = self.interleaved(self.wanted((scenario.ours, *scenario.peers)), run)
        return {
            "name": scenario.name,
            "ours": scenario.ours,
            "setting": self.http2_setting(*scenario.http2) if scenario.http2 else self.setting,
            "goals": scenario.goals,
            "runs": runs,
        }

    def latency(self, scenario: scenarios.Scenario, entry: dict) -> dict | None:
        """All at 70 % of what the slower of us and the best peer can do; slower peers are left out."""
        best = {name: median(run["rate"] for run in runs) for name, runs in entry["runs"].items() if runs}
        peers = [name for name in best if name != scenario.ours]
        if not peers or scenario.ours not in best:
            return None
        strongest = max(peers, key=best.get)
        rate = 0.7 * min(best[scenario.ours], best[strongest])
        able = [name for name in best if best[name] * 0.9 > rate]

        def run(name: str) -> dict:
            with self.server(name, scenario.target) as server:
                cpus, seconds = self.options.generator_cpus, self.options.seconds
                return run_load(server, scenario.request, cpus, seconds, self.options.connections, rate=rate).as_dict()

        print(f"{scenario.name} at {rate:.0f} req/s", flush=True)
        runs, _ = self.interleaved(able, run)
        return {"name": scenario.name, "ours": scenario.ours, "setting": self.setting, "rate": rate, "runs": runs}

    def transfer(self, target: str, peers: tuple[str, ...], direction: str, threads: int) -> dict:
        def run(name: str) -> dict:
            with self.server(name, target, threads) as server:
                cpus = self.options.generator_cpus
                if (
                    name == "uroboros"
                    and not run_transfer(server, direction, self.options.mib, cpus, True).sha256_right
                ):
                    raise RuntimeError("wrong sha256")
                return run_transfer(server, direction, self.options.mib, cpus, False).as_dict()

        print(f"{direction} {target}, threads: {threads}", flush=True)
        runs, failures = self.interleaved(self.wanted(("uroboros", *peers)), run)
        return {"target": target, "direction": direction, "threads": threads, "runs": runs, "failures": failures}

    def idle(self) -> dict[str, list[float]]:
        def run(name: str) -> float:
            with self.server(name, "plain_wsgi:app") as server:
                # The buffers that a loaded server has touched are not the price of an idle connection.
                run_load(server, request_bytes("/"), self.options.generator_cpus, 1)
                return idle_bytes_each(server, self.options.idle)

        print(f"{self.options.idle} idle connections", flush=True)
        return {name: values for name, values in self.interleaved(self.wanted(("uroboros",)), run)[0].items() if values}

    def cold_start(self) -> dict[str, list[float]]:
        def run(name: str) -> float:
            with self.server(name, "plain_wsgi:app") as server:
                return server.start_seconds

        print("cold start", flush=True)
        runs, _ = self.interleaved(self.wanted(("uroboros", *scenarios.WSGI)), run)
        return {name: values for name, values in runs.items() if values}

    def run(self) -> dict:
        chosen = [s for s in scenarios.THROUGHPUT if not self.options.scenarios or s.name in self.options.scenarios]
        entries = [self.throughput(s) for s in chosen] if self.parts & {"throughput", "latency"} else []
        self.record["throughput"] = entries
        if "latency" in self.parts:
            pairs = [self.latency(s, entry) for s, entry in zip(chosen, entries) if s.latency]
            self.record["latency"] = [pair for pair in pairs if pair]
        if "transfer" in self.parts:
            self.record["transfer"] = [
                self.transfer(target, scenarios.TRANSFER_TARGETS[target], direction, threads)
                for target, direction, threads in scenarios.TRANSFERS
            ]
        if "idle" in self.parts:
            self.record["idle"] = self.idle()
        if "cold" in self.parts:
            self.record["cold_start"] = self.cold_start()
        return self.record


def save(record: dict, text: str, accepted_name: str | None) -> Path:
    base = WORK / ("record-" + record["when"].replace(":", "").replace("+0000", ""))
    bases = [base, ROOT / "perf/records" / accepted_name] if accepted_name else [base]
    for path in bases:
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".txt").write_text(text + "\n")
        if record["throughput"]:
            subprocess.run([python("python"), ROOT / "perf/plot.py", path.with_suffix(".json"), path], check=True)
    return base


def main() -> int:
    options = parse_arguments()
    unknown = set(options.scenarios) - {s.name for s in scenarios.THROUGHPUT}
    if unknown or set(options.parts.split(",")) - set(PARTS):
        sys.exit(f"no such scenario or part: {' '.join(unknown) or options.parts}")
    ensure_venv()
    subprocess.run(["ninja", "-C", BUILD, "--quiet", "perf_generator", "perf_responder"], check=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    record = Bench(options).run()
    text, missed = report.render(record)
    print(text)
    print("\nrecord:", save(record, text, options.accept).with_suffix(".json"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
