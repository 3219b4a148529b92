#!/usr/bin/env python3
"""Draws a record of bench.py: plot.py RECORD.json BASE writes BASE.svg and BASE.png. Needs matplotlib."""

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt

OURS, PEER = "#1b6e53", "#b8c4c0"


def bars(axes, entry: dict) -> None:
    rates = {server: median(run["rate"] for run in runs) / 1000 for server, runs in entry["runs"].items() if runs}
    names = sorted(rates, key=rates.get)
    drawn = axes.barh(
        names, [rates[name] for name in names], color=[OURS if n == entry["ours"] else PEER for n in names]
    )
    axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8)
    axes.set_title(f"{entry['name']}, thousand requests/s ({entry['setting']})", fontsize=9, loc="left")
    axes.margins(x=0.15)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    record = json.loads(Path(sys.argv[1]).read_text())
    entries = record["throughput"]
    rows = (len(entries) + 1) // 2
    figure, grid = plt.subplots(rows, 2, figsize=(11, 1.9 * rows + 0.6), squeeze=False)
    for axes, entry in zip(grid.flat, entries):
        bars(axes, entry)
    for axes in list(grid.flat)[len(entries) :]:
        axes.set_visible(False)
    machine = record["machine"]
    figure.suptitle(
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, {record['when'][:10]}", fontsize=9
    )
    figure.tight_layout()
    for suffix in ("svg", "png"):
        figure.savefig(f"{sys.argv[2]}.{suffix}", dpi=110)


main()
