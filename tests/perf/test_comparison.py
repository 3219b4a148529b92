"""How perf/ decides that something has become slower: on figures made up here, nothing is measured."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

from harness.comparison import REPEATS, Verdict, compare, losses, settle, summary_of  # noqa: E402

ROUNDS = 5


def run(rate=100_000.0, cpu_us=10.0, p99_us=800.0, pss_kib=30_000, others_cpu=0.0, generator_cpu=0.7):
    return {
        **{"server": "any", "rate": rate, "cpu_us": cpu_us, "p99_us": p99_us},
        **{"pss_kib": pss_kib, "others_cpu": others_cpu, "generator_cpu": generator_cpu},
    }


def summary(yardstick=None, **ours):
    return summary_of({"responder": [yardstick or run()] * ROUNDS, "uroboros": [run(**ours)] * ROUNDS}, "uroboros")


def verdicts(now, before):
    return {change.key: change.verdict for change in compare("probe", now, before)}


def test_the_same_figures_are_the_same():
    assert set(verdicts(summary(), summary()).values()) == {Verdict.SAME}


@pytest.mark.parametrize(
    ("key", "worse", "a_little_worse"),
    [("rate", 94_000, 96_000), ("cpu_us", 10.6, 10.4), ("p99_us", 1300, 1100), ("pss_kib", 33_000, 30_900)],
)
def test_a_figure_is_lost_beyond_its_bound_only(key, worse, a_little_worse):
    assert losses("probe", summary(**{key: worse}), summary()) == {key}
    assert losses("probe", summary(**{key: a_little_worse}), summary()) == set()


def test_a_gain_is_no_loss():
    found = verdicts(summary(rate=120_000, cpu_us=8), summary())
    assert found["rate"] is Verdict.GAIN and found["cpu_us"] is Verdict.GAIN


def test_a_machine_that_is_slower_for_everybody_is_not_a_loss():
    slow = run(rate=50_000, cpu_us=20, p99_us=1600)
    assert losses("probe", summary(slow, rate=50_000, cpu_us=20, p99_us=1600), summary()) == set()


def test_a_machine_that_is_faster_for_everybody_does_not_hide_a_loss():
    fast = run(rate=200_000, cpu_us=5, p99_us=400)
    assert losses("probe", summary(fast, rate=180_000, cpu_us=5.6, p99_us=400), summary()) == {"rate", "cpu_us"}


def test_ratios_are_formed_round_by_round():
    """The machine gets slower within the run: each round is compared with its own yardstick."""
    speeds = [1, 1.5, 2, 4, 8]
    runs = {
        "responder": [run(cpu_us=10 * s) for s in speeds],
        "uroboros": [run(cpu_us=20 * s) for s in speeds],
    }
    assert summary_of(runs, "uroboros")["ratios"]["cpu_us"] == pytest.approx(2)


def test_one_bad_round_is_outvoted():
    runs = {"responder": [run()] * ROUNDS, "uroboros": [run()] * (ROUNDS - 1) + [run(cpu_us=90, rate=9)]}
    assert losses("probe", summary_of(runs, "uroboros"), summary()) == set()


@pytest.mark.parametrize("why", [{"others_cpu": 0.3}, {"generator_cpu": 0.99}])
def test_a_rate_that_proves_nothing_is_unsure_and_cpu_decides(why):
    found = verdicts(summary(rate=50_000, cpu_us=10, **why), summary())
    assert found["rate"] is Verdict.UNSURE and found["cpu_us"] is Verdict.SAME
    assert losses("probe", summary(rate=50_000, cpu_us=12, **why), summary()) == {"cpu_us"}


def test_a_server_that_waits_on_a_quiet_machine_has_lost_its_rate():
    assert losses("probe", summary(rate=50_000, cpu_us=10), summary()) == {"rate"}


def test_without_a_baseline_all_is_new_and_nothing_lost():
    assert set(verdicts(summary(), None).values()) == {Verdict.NEW}
    assert losses("probe", summary(), None) == set()


def test_a_figure_that_the_baseline_lacks_is_new():
    before = summary()
    del before["ratios"]["p99_us"]
    assert verdicts(summary(p99_us=9000), before)["p99_us"] is Verdict.NEW


def test_ours_without_figures_is_lost_even_without_a_baseline():
    broken = summary_of({"responder": [run()], "uroboros": []}, "uroboros")
    assert losses("probe", broken, None) == {"failed"}


def test_a_run_without_its_yardstick_does_not_pass():
    alone = summary_of({"responder": [], "uroboros": [run()]}, "uroboros")
    assert losses("probe", alone, summary()) == {"failed"}


def settled(*attempts):
    """The attempts in their order; asking for more than there are is an error of its own."""
    first, *rest = attempts
    rest = iter(rest)
    return settle("probe", first, summary(), lambda: next(rest))


def test_nothing_lost_is_measured_once():
    assert len(settled(summary()).attempts) == 1


def test_a_loss_that_goes_away_is_noise():
    found = settled(summary(cpu_us=11), summary(cpu_us=11), summary())
    assert not found.failed and len(found.attempts) == 3


def test_a_loss_that_repeats_three_times_fails():
    found = settled(*[summary(cpu_us=11)] * (1 + REPEATS))
    assert found.failed == {"cpu_us"} and len(found.attempts) == 1 + REPEATS == 4


def test_different_figures_lost_in_turn_are_noise():
    found = settled(summary(cpu_us=11), summary(pss_kib=40_000))
    assert not found.failed and len(found.attempts) == 2


def test_what_is_lost_beside_noise_fails_alone():
    noisy = summary(cpu_us=11, pss_kib=40_000)
    assert settled(noisy, summary(cpu_us=11), noisy, noisy).failed == {"cpu_us"}


def test_a_quiet_machine_in_a_later_attempt_decides():
    busy = summary(rate=50_000, cpu_us=11, others_cpu=0.5)
    assert not settled(busy, summary()).failed
