#!/usr/bin/env python3
"""Has it become slower? Measures Uroboros against a stored baseline on this machine; see docs/performance.md.

regress.py [PROBE...] [--quick | --no-peers] [--accept] [--own-baseline]

Every round runs the bare responder, Uroboros and (without --quick) the peers. What is compared are ratios to the
responder of the same round, memory, and exact instruction counts. A probe that looks lost is measured again, up to
three times; what has lost every time fails. Exit status 1 then.

The report is build/perf/regress/report.html. --accept makes this run the baseline (perf/records/baseline.json, or
baseline-quick.json). --own-baseline keeps baselines and history in build/perf/regress instead, where the first run
becomes the baseline: for machines that run this on their own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from harness import comparison
from harness.comparison import FIGURE_OF, YARDSTICK, Settled, Verdict
from harness.machine import add_cpu_options, git_commit, machine
from harness.probes import PROBES, Probe, Rig, measure_yardstick
from harness.servers import BUILD, ROOT, WORK, ensure_venv, python
from micro import check

STATE = WORK / "regress"
RECORDS = ROOT / "perf/records"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probes", nargs="*", help="names, of: " + " ".join(probe.name for probe in PROBES))
    parser.add_argument("--quick", action="store_true", help="Uroboros and the responder only, in short rounds")
    parser.add_argument("--no-peers", action="store_true", help="Uroboros and the responder only, in full rounds")
    parser.add_argument("--seconds", type=float, help="of one run; 2, quick 0.8")
    parser.add_argument("--rounds", type=int, help="5, quick 3")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--mib", type=int, help="of one transfer; 1024, quick 512, and 128 over HTTP/2")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    add_cpu_options(parser)
    parser.add_argument(
        "--no-instructions",
        action="store_true",
        help="leave out the instruction counts, as a run of chosen probes does",
    )
    parser.add_argument("--accept", action="store_true", help="this run becomes the baseline")
    parser.add_argument("--own-baseline", action="store_true", help="baselines and history in build/perf/regress")
    options = parser.parse_args()
    if unknown := set(options.probes) - {probe.name for probe in PROBES}:
        parser.error(f"no such probe: {' '.join(sorted(unknown))}")
    if options.accept and options.probes:
        parser.error("--accept takes a run of all probes: a baseline of some would leave the others unwatched")
    return options


def rig_of(options: argparse.Namespace) -> Rig:
    return Rig(
        server_cpus=options.server_cpus,
        generator_cpus=options.generator_cpus,
        seconds=options.seconds or (0.8 if options.quick else 2),
        rounds=options.rounds or (3 if options.quick else 5),
        connections=options.connections,
        mib=options.mib or (512 if options.quick else 1024),
        http2_mib=options.mib or (128 if options.quick else 1024),
        idle=options.idle,
    )


def measure(probe: Probe, rig: Rig, with_peers: bool) -> dict:
    """One attempt: rounds of responder, ours, peers. Who fails is left out from then on, and named in `errors`."""
    names = [YARDSTICK] if probe.has_yardstick else []
    names += [probe.ours, *(probe.peers if with_peers else ())]
    runs: dict[str, list] = {name: [] for name in names}
    errors: dict[str, str] = {}
    for _ in range(min(rig.rounds, probe.rounds_max)):
        for name in names:
            if name in errors:
                continue
            try:
                runs[name].append(measure_yardstick(rig) if name == YARDSTICK else probe.measure(rig, name))
            except (RuntimeError, OSError, ValueError) as error:
                errors[name] = str(error)
                runs[name].clear()
                print(f"    {name}: {error}", file=sys.stderr)
    return {"unit": probe.unit, "goals": probe.goals, "errors": errors, **comparison.summary_of(runs, probe.ours)}


def describe(change: comparison.Change) -> str:
    figure = FIGURE_OF[change.key]
    before = "" if change.before is None else f"{change.before:9.3f} ->"
    unit = f"of the responder's {figure.by_yardstick}" if figure.by_yardstick else ""
    return f"    {figure.label:12}{before} {change.now:9.3f}  {change.change:+7.1%}  {change.verdict:7} {unit}"


def run_probe(probe: Probe, rig: Rig, baseline: dict | None, with_peers: bool) -> dict:
    def again() -> dict:
        print(f"  {probe.name}: worse than the baseline, measured again", flush=True)
        return measure(probe, rig, with_peers=False)

    print(probe.name, flush=True)
    first = measure(probe, rig, with_peers)
    settled: Settled = comparison.settle(probe.name, first, baseline, again)
    summary = settled.attempts[-1]
    # The peers were measured once, with the first attempt.
    summary["servers"] = {**first["servers"], **summary["servers"]}
    changes = comparison.compare(probe.name, summary, baseline) if probe.ours not in summary["errors"] else []
    print(*map(describe, changes), sep="\n", flush=True)
    return {
        **summary,
        "attempts": len(settled.attempts),
        "failed": sorted(settled.failed),
        "changes": [asdict(change) for change in changes],
    }


def least_price(case: check.Case, before: float | None) -> float:
    """An event loop does not run the same way twice: what looks lost is counted again, and the least is the price."""
    least = check.price(case)
    for _ in range(comparison.REPEATS):
        if not before or least <= before * (1 + check.RISE_MAX):
            break
        least = min(least, check.price(case))
    return least


def count_instructions(cases: tuple[check.Case, ...]) -> dict[str, dict]:
    """By case: now, before, whether it fails."""
    baseline = json.loads(check.BASELINE.read_text()) if check.BASELINE.exists() else {}
    result = {}
    for case in cases:
        before = baseline.get(case.name)
        try:
            now = least_price(case, before)
        except RuntimeError as error:
            result[case.name] = {"now": None, "before": before, "failed": True, "error": str(error)}
            continue
        has_failed = not check.judge(case.name, now, before)
        result[case.name] = {"now": round(now, 1), "before": before, "failed": has_failed}
    return result


def cases_of(options: argparse.Namespace) -> tuple[check.Case, ...]:
    """An interpreter under callgrind takes its time: a quick run has one such case."""
    if options.no_instructions or options.probes:
        return ()
    return tuple(case for case in check.CASES if not options.quick or not case.application or case.name == "wsgi_hello")


def failures(record: dict) -> list[str]:
    lines = []
    for name, probe in record["probes"].items():
        changes = {change["key"]: change["change"] for change in probe["changes"]}
        for key in probe["failed"]:
            if key == "failed":
                lines.append(f"{name}: {'; '.join(probe['errors'].values()) or 'no figures'}")
            else:
                label = FIGURE_OF[key].label
                lines.append(f"{name}: {label} is {changes[key]:.1%} worse, {probe['attempts']} times in a row")
    for name, case in record["instructions"].items():
        if case["failed"]:
            counts = f"{case['now']}, were {case['before']}"
            lines.append(f"instructions of {name}: {case.get('error', counts)}")
    return lines


def history_entry(record: dict) -> dict:
    """What later reports draw of this run."""
    keep = ("unit", "ours", "servers", "ratios", "disturbed", "generator_bound")
    probes = {name: {key: probe[key] for key in keep if key in probe} for name, probe in record["probes"].items()}
    return {
        **{key: record[key] for key in ("when", "commit", "mode", "machine", "failures")},
        "probes": probes,
        "instructions": {name: case["now"] for name, case in record["instructions"].items()},
    }


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def baseline_of(directory: Path, mode: str) -> tuple[Path, dict | None]:
    """A quick run falls back on the full run's baseline: the ratios are the same, a little less sharp."""
    own = directory / ("baseline-quick.json" if mode == "quick" else "baseline.json")
    for path in (own, directory / "baseline.json"):
        if path.exists():
            return own, json.loads(path.read_text())
    return own, None


def save(record: dict, directory: Path, baseline_path: Path, is_baseline: bool) -> Path:
    stamp = record["when"].replace(":", "").replace("+0000", "")
    write_json(STATE / f"runs/{stamp}.json", record)
    entry = history_entry(record)
    write_json(STATE / f"history/{stamp}.json", entry)
    if is_baseline:
        write_json(baseline_path, entry)
        write_json(directory / f"history/{stamp}.json", entry)
    page = STATE / "report.html"
    histories = {STATE / "history", directory / "history"}
    subprocess.run(
        [python("python"), ROOT / "perf/page.py", STATE / f"runs/{stamp}.json", page, *histories], check=True
    )
    return page


def prepare() -> None:
    ensure_venv()
    targets = ("perf_generator", "perf_responder", "perf_handshaker", "perf_micro", "perf_app_driver")
    subprocess.run(["ninja", "-C", BUILD, "--quiet", *targets], check=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    options = parse_arguments()
    prepare()
    mode, rig, begin = "quick" if options.quick else "full", rig_of(options), time.monotonic()
    directory = STATE if options.own_baseline else RECORDS
    baseline_path, baseline = baseline_of(directory, mode)
    known = baseline["probes"] if baseline else {}
    chosen = [p for p in PROBES if (p.name in options.probes if options.probes else p.is_quick or not options.quick)]
    record: dict = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "mode": mode,
        "machine": machine(),
        "settings": {key: sorted(v) if isinstance(v, set) else v for key, v in vars(rig).items()},
        "baseline": {key: baseline[key] for key in ("when", "commit", "mode", "machine")} if baseline else None,
        "probes": {
            p.name: run_probe(p, rig, known.get(p.name), not (options.quick or options.no_peers)) for p in chosen
        },
        "instructions": count_instructions(cases_of(options)),
        "load_average": os.getloadavg()[0],
    }
    record["seconds"] = round(time.monotonic() - begin)
    record["failures"] = failures(record)
    is_wanted = options.accept or (options.own_baseline and baseline is None and not options.probes)
    # What a baseline lacks would never be compared again.
    is_whole = not any("failed" in probe["failed"] for probe in record["probes"].values())
    is_baseline = is_wanted and is_whole
    if is_wanted and not is_whole:
        print("not accepted: a probe of ours gave no figures")
    page = save(record, directory, baseline_path, is_baseline)
    print_end(record, page, baseline_path if is_baseline else None)
    return 1 if record["failures"] else 0


def print_end(record: dict, page: Path, accepted: Path | None) -> None:
    print(f"\n{record['seconds']} s in all; report: {page}")
    if accepted:
        print(f"this run is the baseline now: {accepted}")
    if not record["baseline"]:
        print("there was no baseline: times and memory were compared with nothing (--accept makes one)")
    elif record["baseline"]["machine"]["cpu"] != record["machine"]["cpu"]:
        print("the baseline is of another CPU: believe the instruction counts, and the ratios only roughly")
    unsure = sorted(
        {c["probe"] for p in record["probes"].values() for c in p["changes"] if c["verdict"] == Verdict.UNSURE}
    )
    if unsure:
        print("rate or p99 worse, in runs that prove nothing (a busy machine, or a generator at its limit):", *unsure)
    for line in record["failures"]:
        print("FAILED ", line)
    if not record["failures"]:
        print("nothing has become slower")


if __name__ == "__main__":
    sys.exit(main())
