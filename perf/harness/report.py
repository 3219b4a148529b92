"""The record of a session as a table, with every goal judged."""

from statistics import median

from harness import scenarios

WIDTHS = (17, 9, 7, 11, 8, 7, 6, 8, 8, 8, 8)
DISTURBED_BELOW = 0.85  # of a CPU: a closed loop keeps a server busy, unless others run on its CPU
HEADS = ("server", "req/s", "ratio", "goal", "CPU us", "ratio", "CPUs", "p50 us", "p99 us", "PSS MiB", "gen CPU")


def medians(runs: list[dict]) -> dict[str, float]:
    return {key: median(run[key] for run in runs) for key in runs[0] if key != "server"}


def _row(*cells: str) -> str:
    return " ".join(
        cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(cells, WIDTHS))
    )


def throughput_table(entry: dict) -> tuple[list[str], list[str]]:
    """Lines to print, and the goals that were missed. Ratios say how much better we are than the peer."""
    lines = [f"\n{entry['name']}  ({entry['setting']})", _row(*HEADS)]
    missed = []
    ours = medians(entry["runs"][entry["ours"]]) if entry["runs"].get(entry["ours"]) else None
    for server, runs in entry["runs"].items():
        if not runs:
            lines.append(_row(server, "failed"))
            missed += [f"{entry['name']} ({entry['setting']}): {server} failed"] if server == entry["ours"] else []
            continue
        figures = medians(runs)
        ratio = goal = cpu_ratio = ""
        if ours and server != entry["ours"]:
            value, wanted = ours["rate"] / figures["rate"], entry["goals"].get(server, 1.0)
            cpu_ratio = f"{figures['cpu_us'] / max(ours['cpu_us'], 0.01):.2f}"
            ratio, goal = f"{value:.2f}", f"{'ok' if value >= wanted else 'MISSED'} {wanted:g}"
            if value < wanted:
                missed.append(f"{entry['name']} ({entry['setting']}): {value:.2f} of {server}, wanted {wanted:g}")
        lines.append(
            _row(
                *(server, f"{figures['rate']:.0f}", ratio, goal, f"{figures['cpu_us']:.2f}"),
                *(cpu_ratio, f"{figures['server_cpu']:.2f}", f"{figures['p50_us']:.0f}", f"{figures['p99_us']:.0f}"),
                *(f"{figures['pss_kib'] / 1024:.1f}", f"{figures['generator_cpu']:.2f}"),
            )
            + (f"  {figures['errors']:.0f} errors" if figures["errors"] else "")
        )
    if any(medians(runs)["server_cpu"] < DISTURBED_BELOW for runs in entry["runs"].values() if runs):
        lines.append("others used this machine: a server did not get its CPU, believe the CPU ratio only")
    return lines, missed


def latency_table(entry: dict) -> tuple[list[str], list[str]]:
    lines = [f"\n{entry['name']}  p99 at {entry['rate']:.0f} req/s ({entry['setting']})"]
    missed = []
    p99 = {server: median(run["p99_us"] for run in runs) for server, runs in entry["runs"].items() if runs}
    for server, value in p99.items():
        p50 = median(run["p50_us"] for run in entry["runs"][server])
        cpu = median(run["cpu_us"] for run in entry["runs"][server])
        lines.append(f"{server:17} p50 {p50:8.0f} us   p99 {value:8.0f} us   CPU {cpu:6.2f} us")
    others = [value for server, value in p99.items() if server != entry["ours"]]
    if entry["ours"] in p99 and others and p99[entry["ours"]] > min(others):
        missed.append(
            f"{entry['name']} ({entry['setting']}): p99 {p99[entry['ours']]:.0f} us, best peer {min(others):.0f} us"
        )
    return lines, missed


def _transfer_name(entry: dict) -> str:
    """Records of before 2026-11-23 had one thread throughout."""
    count = entry.get("threads", 1)
    return f"{entry['target']} {entry['direction']}, {count} thread{'s' if count > 1 else ''}"


def transfer_table(entries: list[dict]) -> tuple[list[str], list[str]]:
    lines, missed = ["\n1 GiB over one connection"], []
    for entry in entries:
        name = _transfer_name(entry)
        lines.append(name)
        rates = {}
        for server, runs in entry["runs"].items():
            if not runs:
                lines.append(f"  {server:17} failed: {entry['failures'].get(server, '')}")
                missed += [f"{name}: {server} failed"] if server == "uroboros" else []
                continue
            rates[server] = median(run["mib_per_second"] for run in runs)
            grown = max(run["pss_grown_kib"] for run in runs) / 1024
            cpu = median(run["cpu_ms_per_mib"] for run in runs)
            lines.append(f"  {server:17} {rates[server]:7.0f} MiB/s   CPU {cpu:6.3f} ms/MiB   memory +{grown:.1f} MiB")
            missed += _transfer_faults(entry, server, runs)
        ours = rates.pop("uroboros", None)
        if ours and rates and ours < max(rates.values()):
            missed.append(f"{name}: {ours:.0f} MiB/s, best peer {max(rates.values()):.0f}")
    return lines, missed


def _transfer_faults(entry: dict, server: str, runs: list[dict]) -> list[str]:
    if server != "uroboros":
        return []
    faults = []
    if any(run["sha256_right"] is False for run in runs):
        faults.append(f"{_transfer_name(entry)}: wrong sha256")
    grown = [run["io_grown_kib"] for run in runs if run["io_grown_kib"] is not None]
    if grown and max(grown) > scenarios.IO_GROWN_KIB_MAX:
        faults.append(f"{_transfer_name(entry)}: the I/O process grew by {max(grown) / 1024:.1f} MiB")
    return faults


def single_table(record: dict) -> tuple[list[str], list[str]]:
    lines, missed = [], []
    for server, runs in record.get("idle", {}).items():
        each = median(runs)
        lines.append(f"idle keep-alive connection, {server}: {each:.0f} octets of PSS each")
        if server == "uroboros" and each > scenarios.IDLE_BYTES_MAX:
            missed.append(f"idle: {each:.0f} octets each, wanted {scenarios.IDLE_BYTES_MAX}")
    for server, runs in record.get("cold_start", {}).items():
        lines.append(f"cold start to first answer, {server}: {median(runs) * 1e3:.0f} ms")
        if server == "uroboros" and median(runs) > scenarios.COLD_START_SECONDS_MAX:
            missed.append(
                f"cold start: {median(runs) * 1e3:.0f} ms, wanted {scenarios.COLD_START_SECONDS_MAX * 1e3:.0f}"
            )
    return lines, missed


def render(record: dict) -> tuple[str, list[str]]:
    lines: list[str] = []
    missed: list[str] = []
    parts = [throughput_table(entry) for entry in record.get("throughput", [])]
    parts += [latency_table(entry) for entry in record.get("latency", [])]
    if record.get("transfer"):
        parts.append(transfer_table(record["transfer"]))
    parts.append(single_table(record))
    for some_lines, some_missed in parts:
        lines += some_lines
        missed += some_missed
    lines += (
        ["", *(f"MISSED  {line}" for line in missed)] if missed else ["", "every goal that was measured is reached"]
    )
    return "\n".join(lines), missed
