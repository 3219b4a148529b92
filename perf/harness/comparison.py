"""What a regression run found, against a stored baseline. Pure: figures in, verdicts out.

Time on a shared machine scatters, so a figure of ours is divided by the same figure of the bare responder of the same
round, and only these ratios are compared. A figure has lost when it is worse than the baseline by more than its bound,
and has failed when that is so in every one of the repeats as well.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

YARDSTICK = "responder"
REPEATS = 3
OTHERS_CPU_MAX = 0.05  # of the server's CPUs: above this, others were running there and a rate proves nothing
GENERATOR_CPU_MAX = 0.97  # above this the generator was the limit, and the rate is its own


@dataclass(frozen=True)
class Figure:
    """`by_yardstick`: divided by this figure of the responder. A difference within `slack`, in its unit, is none."""

    key: str
    label: str
    more_is_better: bool = False
    by_yardstick: str | None = None
    loss_max: float = 0.05
    slack: float = 0.0


FIGURES = (
    Figure("cpu_us", "CPU", by_yardstick="cpu_us"),
    Figure("rate", "rate", more_is_better=True, by_yardstick="rate"),
    # A tail is made of the few worst moments of a run: what scatters by a third on a quiet machine is not held to 5 %.
    Figure("p99_us", "p99", by_yardstick="p99_us", loss_max=0.5),
    Figure("flood_ratio", "p99 in a flood", loss_max=0.5, slack=1),
    Figure("pss_kib", "memory", slack=1024),
    Figure("bytes_each", "octets each", slack=16),
    Figure("start_ms", "start", slack=5),
)
FIGURE_OF = {figure.key: figure for figure in FIGURES}


class Verdict(StrEnum):
    SAME = "same"
    GAIN = "gain"
    LOSS = "loss"
    NEW = "new"  # the baseline does not have it
    UNSURE = "unsure"  # worse, by a figure that proves nothing in this run


@dataclass
class Change:
    """`change` is the share by which it got worse: +0.05 is 5 % worse, whatever direction that is."""

    probe: str
    key: str
    before: float | None
    now: float
    change: float
    verdict: Verdict


@dataclass
class Settled:
    """A probe after its repeats: `failed` are the figures that had lost every time."""

    probe: str
    failed: set[str]
    attempts: list[dict] = field(default_factory=list)


def summary_of(runs: dict[str, list[dict]], ours: str) -> dict:
    """Medians of each server; of ours also the ratios to the responder, formed round by round."""
    servers = {
        name: {key: median(run[key] for run in some) for key in some[0] if key != "server"}
        for name, some in runs.items()
        if some
    }
    result: dict = {"ours": ours, "servers": servers}
    if ours not in servers:
        return result
    yard = runs.get(YARDSTICK, [])
    ratios = {}
    for figure in FIGURES:
        key, other = figure.key, figure.by_yardstick
        pairs = [(run[key], bare[other]) for run, bare in zip(runs[ours], yard) if other and key in run and bare[other]]
        if pairs:
            ratios[key] = median(value / bare for value, bare in pairs)
    result["ratios"] = ratios
    watched = [servers[name] for name in (ours, YARDSTICK) if name in servers]
    result["disturbed"] = any(some.get("others_cpu", 0.0) > OTHERS_CPU_MAX for some in watched)
    result["generator_bound"] = servers[ours].get("generator_cpu", 0.0) > GENERATOR_CPU_MAX
    return result


def compared_value(summary: dict, figure: Figure) -> float | None:
    """The ratio where there is one, else the figure as it was measured."""
    if figure.by_yardstick:
        return summary.get("ratios", {}).get(figure.key)
    return summary["servers"].get(summary["ours"], {}).get(figure.key)


def judge(figure: Figure, before: float | None, now: float) -> tuple[float, Verdict]:
    if not before:
        return 0.0, Verdict.NEW
    change = before / now - 1 if figure.more_is_better else now / before - 1
    if abs(change) <= figure.loss_max or abs(now - before) <= figure.slack:
        return change, Verdict.SAME
    return change, Verdict.LOSS if change > 0 else Verdict.GAIN


def _rate_proves_nothing(*summaries: dict) -> bool:
    return any(summary.get("disturbed") or summary.get("generator_bound") for summary in summaries)


def compare(name: str, summary: dict, baseline: dict | None) -> list[Change]:
    """One probe's summary against the baseline's. CPU always counts, a rate where it can be believed."""
    changes = []
    for figure in FIGURES:
        now = compared_value(summary, figure)
        if now is None:
            continue
        before = compared_value(baseline, figure) if baseline else None
        change, verdict = judge(figure, before, now)
        is_of_time = figure.key in ("rate", "p99_us")
        if verdict is Verdict.LOSS and is_of_time and baseline and _rate_proves_nothing(summary, baseline):
            verdict = Verdict.UNSURE
        changes.append(Change(name, figure.key, before, now, change, verdict))
    return changes


def losses(name: str, summary: dict, baseline: dict | None) -> set[str]:
    """The figures that got worse; a run without ours, or without its yardstick, has lost them all."""
    has_lost_yardstick = bool(baseline and baseline.get("ratios")) and not summary.get("ratios")
    if summary["ours"] not in summary["servers"] or has_lost_yardstick:
        return {"failed"}
    return {change.key for change in compare(name, summary, baseline) if change.verdict is Verdict.LOSS}


def settle(
    name: str, first: dict, baseline: dict | None, measure_again: Callable[[], dict], repeats: int = REPEATS
) -> Settled:
    """Measures again what has lost, up to `repeats` times, until no figure has lost every time."""
    settled = Settled(name, losses(name, first, baseline), [first])
    while settled.failed and len(settled.attempts) <= repeats:
        again = measure_again()
        settled.attempts.append(again)
        settled.failed &= losses(name, again, baseline)
    return settled
