#!/usr/bin/env python3
"""One page for a regression run: page.py RUN.json PAGE.html HISTORY_DIRECTORY... Needs matplotlib.

The page holds all it shows: no script, no font, no image of elsewhere. Drawings are SVG whose colours are the page's
own variables, so that they follow a light or a dark screen.
"""

import io
import json
import re
import sys
from html import escape
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from harness.comparison import FIGURE_OF, YARDSTICK

# Colours that no drawing would use stand for the page's variables.
INK, OURS, PEER, MUTED, BARE, BAD = (f"#0{n}0{n}0{n}" for n in range(1, 7))
VARIABLES = {INK: "ink", OURS: "ours", PEER: "peer", MUTED: "muted", BARE: "bare", BAD: "bad"}
WIDTH_INCHES = 3.6  # of a phone: text keeps its size there, and wider screens put drawings side by side
HISTORY_MAX = 40
STYLE = """
:root { color-scheme: light dark; --page: #f6f7f6; --card: #fff; --line: #dfe4e1; --ink: #1d2522; --muted: #66716c;
  --ours: #17805d; --peer: #b4beb9; --bare: #7d8a84; --bad: #c0392b; --good: #17805d; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --page: #121614; --card: #1b211e; --line: #313a36; --ink: #e4eae7;
  --muted: #96a39d; --ours: #3fbf92; --peer: #56625d; --bare: #8b9891; --bad: #ff7b6b; --good: #3fbf92;
  --warn: #e0b24c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.35rem; margin: 8px 0 4px; } h2 { font-size: 1.1rem; margin: 32px 0 10px; }
h3 { font-size: 1rem; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 4px 0; } .muted { color: var(--muted); font-size: 13px; } .bad { color: var(--bad); }
.good { color: var(--good); } .warn { color: var(--warn); }
.banner { border-left: 6px solid var(--good); background: var(--card); padding: 10px 14px; border-radius: 6px;
  margin: 12px 0; overflow-wrap: anywhere; } .banner.failed { border-color: var(--bad); }
.banner ul { margin: 6px 0; padding-left: 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 12px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; }
.wide { overflow-x: auto; } svg { display: block; width: 100%; height: auto; max-width: 460px; }
svg text { font-family: system-ui, sans-serif !important; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { color: var(--muted); font-weight: 500; } th, td { text-align: right; padding: 3px 0 3px 8px; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
tr + tr td { border-top: 1px solid var(--line); }
tr.ours td { font-weight: 600; } summary { cursor: pointer; color: var(--muted); font-size: 13px; padding: 4px 0; }
"""


def svg_of(figure) -> str:
    """The figure as an element of the page: its colours become variables, its size the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def new_axes(height: float, salt: str):
    mpl.rcParams["svg.hashsalt"] = salt  # names within a drawing must not meet those of another
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    return figure, axes


def short(value: float) -> str:
    """Three digits and a letter: 149k, 6.61, 2.1M."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def short_name(server: str) -> str:
    return server.removesuffix("-h2")


def colour_of(server: str, ours: str) -> str:
    return OURS if server == ours else BARE if server == YARDSTICK else PEER


def drawn_servers(name: str, probe: dict) -> dict[str, dict]:
    """The responder stands beside those who do the same work; elsewhere it is a yardstick only."""
    is_same_work = probe["unit"] == "req/s" and not name.startswith("h2-")
    return {server: figures for server, figures in probe["servers"].items() if is_same_work or server != YARDSTICK}


def main_figure(probe: dict) -> str:
    figures = probe["servers"].get(probe["ours"]) or next(iter(probe["servers"].values()), {})
    return next((key for key in ("rate", "flood_ratio", "start_ms", "bytes_each") if key in figures), "")


def bars(name: str, probe: dict) -> str:
    """What each server does, the quickest on top."""
    key = main_figure(probe)
    values = {server: figures[key] for server, figures in drawn_servers(name, probe).items() if key in figures}
    if len(values) < 2:
        return ""
    names = sorted(values, key=values.get, reverse=key != "rate")
    figure, axes = new_axes(0.24 * len(names) + 0.12, f"bars {name}")
    drawn = axes.barh(
        [short_name(server) for server in names],
        [values[server] for server in names],
        color=[colour_of(server, probe["ours"]) for server in names],
    )
    axes.bar_label(drawn, [short(values[server]) for server in names], padding=3, fontsize=8, color=INK)
    axes.margins(x=0.16)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return svg_of(figure)


def latencies(name: str, probe: dict) -> str:
    """p50, p99 and p99.9 of each server, on a scale where twice as long is one step."""
    servers = {
        server: figures
        for server, figures in drawn_servers(name, probe).items()
        if figures.get("p50_us", 0) and "p999_us" in figures
    }
    if not servers:
        return ""
    names = sorted(servers, key=lambda server: servers[server]["p99_us"], reverse=True)
    figure, axes = new_axes(0.24 * len(names) + 0.42, f"latencies {name}")
    for row, server in enumerate(names):
        times = [servers[server][key] for key in ("p50_us", "p99_us", "p999_us")]
        colour = colour_of(server, probe["ours"])
        axes.plot(times, [row] * 3, color=colour, linewidth=2, zorder=1)
        axes.scatter(times, [row] * 3, s=(14, 26, 10), color=colour, zorder=2)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), [short_name(server) for server in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    low, high = axes.get_xlim()
    ticks = [tick for tick in (10, 100, 1e3, 1e4, 1e5, 1e6) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick / 1e3:g} ms" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", color=MUTED, alpha=0.25)
    return svg_of(figure)


def trend(name: str, points: list[tuple[str, float]], before: float | None) -> str:
    """CPU per request over the responder's, run by run; the band is 5 % around the baseline."""
    figure, axes = new_axes(1.0, f"trend {name}")
    values = [value for _, value in points]
    if before:
        axes.axhspan(before * 0.95, before * 1.05, color=MUTED, alpha=0.18, linewidth=0)
    axes.plot(range(len(values)), values, color=OURS, linewidth=1.5, marker="o", markersize=3.5)
    axes.set_xticks(
        sorted({0, len(points) - 1}),
        [points[index][0][5:16].replace("T", " ") for index in sorted({0, len(points) - 1})],
    )
    for label, side in zip(axes.get_xticklabels(), ("left", "right")):
        label.set_horizontalalignment(side)
    low, high = min(values + [before or values[0]]), max(values + [before or values[0]])
    margin = max(high - low, high * 0.1) * 0.4
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="y", nbins=3)
    return svg_of(figure)


# --- tables ---


def table(heads: list[str], rows: list[tuple[str, list[str]]]) -> str:
    """Rows are a class and cells, which are HTML already."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for kind, cells in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def change_cell(change: dict | None, has_failed: bool) -> str:
    if not change:
        return '<span class="muted">–</span>'
    if change["verdict"] == "new":
        return '<span class="muted">new</span>'
    kinds = {"loss": "bad" if has_failed else "warn", "gain": "good", "unsure": "muted", "same": ""}
    mark = {"unsure": " ?", "loss": "" if has_failed else " ~"}.get(change["verdict"], "")
    return f'<span class="{kinds[change["verdict"]]}">{change["change"]:+.1%}{mark}</span>'


CHANGE_COLUMNS = (("CPU", ("cpu_us",)), ("rate", ("rate",)), ("p99", ("p99_us",)))
OTHER_COLUMN = ("other", ("pss_kib", "bytes_each", "start_ms", "flood_ratio"))


def changes_table(record: dict) -> str:
    rows = []
    for name, probe in record["probes"].items():
        changes = {change["key"]: change for change in probe["changes"]}
        cells = [escape(name)]
        for _, keys in (*CHANGE_COLUMNS, OTHER_COLUMN):
            key = next((key for key in keys if key in changes), None)
            cells.append(change_cell(changes.get(key), key in probe["failed"]))
        rows.append(("", cells))
    return table(["", *(head for head, _ in (*CHANGE_COLUMNS, OTHER_COLUMN))], rows)


def servers_table(probe: dict) -> str:
    keys = (
        ("rate", probe["unit"], short),
        ("cpu_us", "CPU µs", short),
        ("p50_us", "p50 µs", short),
        ("p99_us", "p99 µs", short),
        ("p999_us", "p99.9 µs", short),
        ("pss_kib", "MiB", lambda kib: f"{kib / 1024:.1f}"),
        ("p99_idle_us", "p99 idle", short),
        ("flood_ratio", "ratio", short),
        ("grown_kib", "grown MiB", lambda kib: f"{kib / 1024:.1f}"),
        ("bytes_each", "octets each", short),
        ("start_ms", "ms", short),
        ("server_cpu", "CPUs", lambda value: f"{value:.2f}"),
        ("generator_cpu", "gen CPU", lambda value: f"{value:.2f}"),
        ("others_cpu", "others", lambda value: f"{value:.2f}"),
    )
    present = [row for row in keys if any(row[0] in figures for figures in probe["servers"].values())]
    rows = [
        (
            "ours" if server == probe["ours"] else "",
            [escape(short_name(server)), *(form(figures[key]) if key in figures else "" for key, _, form in present)],
        )
        for server, figures in probe["servers"].items()
    ]
    return f'<div class="wide">{table(["server", *(head for _, head, _ in present)], rows)}</div>'


def goal_lines(probe: dict) -> str:
    """Against peers: what was promised of our rate, or of CPU where a generator was the limit."""
    ours = probe["servers"].get(probe["ours"], {})
    lines = []
    for peer, wanted in probe["goals"].items():
        theirs = probe["servers"].get(peer)
        if not theirs or "rate" not in ours or not theirs.get("rate"):
            continue
        by_cpu = theirs["cpu_us"] / ours["cpu_us"] if ours.get("cpu_us") else 0.0
        reached = ours["rate"] / theirs["rate"]
        kind = "good" if reached >= wanted else "warn" if by_cpu >= wanted else "bad"
        cpu_text = f", by CPU {by_cpu:.2f}" if by_cpu else ""
        lines.append(
            f'<span class="{kind}">{reached:.2f}</span> of {escape(short_name(peer))}{cpu_text}, wanted {wanted:g}'
        )
    return f'<p class="muted">{"<br>".join(lines)}</p>' if lines else ""


def card(name: str, probe: dict) -> str:
    unit = {
        "rate": probe["unit"],
        "flood_ratio": "p99 in a flood of handshakes over p99 without",
        "start_ms": "ms to the first answer",
        "bytes_each": "octets of each connection",
    }
    notes = []
    if probe["failed"]:
        labels = [FIGURE_OF[key].label if key in FIGURE_OF else key for key in probe["failed"]]
        notes.append(f'<p class="bad">lost {probe["attempts"]} times in a row: {escape(", ".join(labels))}</p>')
    elif probe["attempts"] > 1:
        notes.append(f'<p class="warn">looked slower, did not when measured again ({probe["attempts"]} attempts)</p>')
    if probe.get("disturbed"):
        notes.append('<p class="warn">others used this machine: believe CPU only</p>')
    if probe.get("generator_bound"):
        notes.append('<p class="warn">the generator was the limit: believe CPU only</p>')
    notes += [f'<p class="bad">{escape(server)} failed</p>' for server in probe["errors"]]
    drawing, times = bars(name, probe), latencies(name, probe)
    times = f'<p class="muted">p50, p99, p99.9</p>{times}' if times else ""
    return (
        f'<section class="card"><h3>{escape(name)}</h3><p class="muted">{escape(unit.get(main_figure(probe), ""))}</p>'
        f"{drawing}{times}{goal_lines(probe)}{''.join(notes)}"
        f"<details><summary>all figures</summary>{servers_table(probe)}</details></section>"
    )


def instructions_table(record: dict) -> str:
    rows = []
    for name, case in record["instructions"].items():
        before, now = case["before"], case["now"]
        change = f"{now / before - 1:+.1%}" if now and before else "failed" if not now else "new"
        kind = "bad" if case["failed"] else "good" if now and before and now < before * 0.97 else ""
        cells = [escape(name), f"{now:,.0f}" if now else "–", f"{before:,.0f}" if before else "–"]
        rows.append(("", [*cells, f'<span class="{kind}">{change}</span>']))
    return table(["instructions of", "now", "baseline", ""], rows)


def trend_cards(record: dict, history: list[dict]) -> str:
    cards = []
    for name, probe in record["probes"].items():
        points = [
            (entry["when"], value)
            for entry in history
            if (value := entry["probes"].get(name, {}).get("ratios", {}).get("cpu_us"))
        ]
        if len(points) < 2:
            continue
        before = next((change["before"] for change in probe["changes"] if change["key"] == "cpu_us"), None)
        cards.append(f'<section class="card"><h3>{escape(name)}</h3>{trend(name, points, before)}</section>')
    return "".join(cards)


def read_history(directories: list[str]) -> list[dict]:
    """Each run once, the oldest first."""
    entries = {}
    for directory in directories:
        for path in sorted(Path(directory).glob("*.json")):
            entry = json.loads(path.read_text())
            entries[entry["when"]] = entry
    return [entries[when] for when in sorted(entries)][-HISTORY_MAX:]


def runs_table(history: list[dict]) -> str:
    rows = [
        (
            "",
            [
                *(entry["when"][:16].replace("T", " "), escape(entry["commit"]), entry["mode"]),
                f'<span class="bad">{len(entry["failures"])} lost</span>' if entry["failures"] else "ok",
            ],
        )
        for entry in reversed(history)
    ]
    return f'<div class="wide">{table(["run", "commit", "kind", ""], rows)}</div>'


def banner(record: dict) -> str:
    if record["failures"]:
        items = "".join(f"<li>{escape(line)}</li>" for line in record["failures"])
        return f'<div class="banner failed"><b class="bad">Slower than the baseline</b><ul>{items}</ul></div>'
    text = "Nothing has become slower" if record["baseline"] else "Measured; there is no baseline to compare with yet"
    return f'<div class="banner"><b class="good">{text}</b></div>'


def facts(record: dict) -> str:
    machine, baseline, settings = record["machine"], record["baseline"], record["settings"]
    lines = [
        f"{record['when'][:16].replace('T', ' ')} UTC, commit {record['commit']}, a {record['mode']} run of "
        f"{record['seconds'] // 60} min {record['seconds'] % 60} s: {settings['rounds']} rounds of "
        f"{settings['seconds']:g} s",
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, "
        f"load {record['load_average']:.1f} at the end",
    ]
    if baseline:
        lines.append(
            f"baseline: {baseline['when'][:16].replace('T', ' ')}, commit {baseline['commit']}, {baseline['mode']}, "
            f"{baseline['machine']['cpu']}"
        )
    return "".join(f'<p class="muted">{escape(line)}</p>' for line in lines)


def page(record: dict, history: list[dict]) -> str:
    legend = (
        '<p class="muted">Change against the baseline; + is worse. CPU per request, rate and p99 are ratios to the '
        "bare io_uring responder of the same round; the last column is memory, an idle connection, a start or a flood. "
        "<b>~</b> went away when measured again; <b>?</b> worse, in a run that proves nothing.</p>"
    )
    parts = [
        f"<h1>Uroboros: has it become slower?</h1>{facts(record)}{banner(record)}",
        f'<h2>Against the baseline</h2>{legend}<div class="card wide">{changes_table(record)}</div>',
        f'<h2>Against others</h2><div class="cards">{"".join(card(*item) for item in record["probes"].items())}</div>',
    ]
    if record["instructions"]:
        parts.append(f'<h2>Instructions</h2><div class="card wide">{instructions_table(record)}</div>')
    if cards := trend_cards(record, history):
        parts.append(
            "<h2>History</h2>"
            '<p class="muted">CPU per request over the responder\'s; the band is 5 % around the baseline</p>'
            f'<div class="cards">{cards}</div>'
        )
    parts.append(f'<h2>Runs</h2><div class="card">{runs_table(history)}</div>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Uroboros: performance, {escape(record['when'][:10])}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def main() -> None:
    run, output, *directories = sys.argv[1:]
    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    Path(output).write_text(page(json.loads(Path(run).read_text()), read_history(directories)))


main()
