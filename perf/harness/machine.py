"""Which machine and which commit a record is of."""

import argparse
import os
import platform
import subprocess
from pathlib import Path

from harness.servers import ROOT


def cpu_set(text: str) -> set[int]:
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def add_cpu_options(parser: argparse.ArgumentParser) -> None:
    """By default each side gets one half."""
    count = os.cpu_count() or 1
    parser.add_argument("--server-cpus", type=cpu_set, default=set(range(max(count // 2, 1))))
    parser.add_argument("--generator-cpus", type=cpu_set, default=set(range(count // 2, count)))


def machine() -> dict:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = next(
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "memory_mib": int(memory) // 1024}


def git_commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
