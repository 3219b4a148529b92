#!/usr/bin/env python3
"""Measures files against nginx (`sendfile on`) and granian's pathsend on this machine; see docs/files.md.

files.py [--sizes 4k,64k,1m,100m] [--ways clear,tls,h2] [--only SERVER,...] [--seconds S] [--rounds N]

The server's tree runs on the CPUs of --server-cpus, h2load on --generator-cpus. Rounds are interleaved: one short run of
each server, then the next round. Figures are medians; goals are ratios of rates. Exit status 1 when one is missed.
"""

import argparse
import sys
from statistics import median

from harness.files import SIZES, WAYS, FileRun, goal_of, make_files, run_files, server
from harness.machine import add_cpu_options
from harness.servers import ensure_venv

SERVERS = ("nginx", "uroboros-wsgi", "uroboros-asgi", "granian")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--only", default=",".join(SERVERS))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    add_cpu_options(parser)
    options = parser.parse_args()
    for name, allowed in (("sizes", SIZES), ("ways", WAYS), ("only", SERVERS)):
        words = getattr(options, name).split(",")
        if unknown := [word for word in words if word not in allowed]:
            parser.error(f"--{name}: {', '.join(unknown)}; there are: {' '.join(allowed)}")
        setattr(options, name, words)
    return options


def measure(options: argparse.Namespace, way: str, size: str) -> dict[str, list[FileRun]]:
    runs: dict[str, list[FileRun]] = {name: [] for name in options.only}
    for _ in range(options.rounds):
        for name in options.only:
            try:
                with server(name, way, options.server_cpus) as running:
                    runs[name].append(run_files(running, way, size, options.seconds, options.generator_cpus))
            except (RuntimeError, OSError) as error:
                print(f"  {name}: {error}", file=sys.stderr)
    return {name: own for name, own in runs.items() if own}


def show(way: str, size: str, runs: dict[str, list[FileRun]]) -> int:
    """Returns how many goals were missed."""
    missed = 0
    rates = {name: median(run.rate for run in own) for name, own in runs.items()}
    for name, own in runs.items():
        per_file, per_mib = median(run.cpu_us_per_file for run in own), median(run.cpu_ms_per_mib for run in own)
        others = median(run.others_cpu for run in own)
        words = []
        for peer in ("nginx", "granian"):
            goal = goal_of(name, peer, way, size) if peer in rates else None
            if goal is not None:
                ratio = rates[name] / rates[peer]
                missed += ratio < goal
                words.append(f"{ratio:.2f} of {peer} (goal {goal:g}{', MISSED' if ratio < goal else ''})")
        print(
            f"{way:6}{size:>5}  {name:14}{rates[name]:9.0f} MiB/s {per_file:10.1f} us/file "
            f"{per_mib:7.3f} ms/MiB  others {others:4.2f}  {'; '.join(words)}".rstrip(),
            flush=True,
        )
    return missed


def main() -> int:
    options = parse_arguments()
    ensure_venv()
    make_files()
    missed = sum(show(way, size, measure(options, way, size)) for way in options.ways for size in options.sizes)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
