"""Arrivals: their rate, their mix, and the test of the Poisson assumption."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cvxqueue import InvalidInputError
from cvxqueue.fitting import fit_arrivals, read_requests
from tests.measurements import AZURE_ARRIVALS, AZURE_GAP_SCV, azure_trace


def hyperexponential(rng: np.random.Generator, count: int) -> np.ndarray:
    """Gaps of mean 3 and squared coefficient of variation 17/9."""
    short = rng.random(count) < 0.5
    return np.where(short, rng.exponential(1.0, count), rng.exponential(5.0, count))


def test_the_whole_azure_trace_is_read_and_is_not_poisson(tmp_path: Path) -> None:
    trace = read_requests(azure_trace(tmp_path), needs=("arrivals",))
    assert trace.source.rows == AZURE_ARRIVALS
    assert trace.source.format == "azure"
    found = fit_arrivals(trace.column("arrivals"))
    assert found.poisson.is_rejected
    assert found.poisson.gap_p_value < 1e-4
    assert found.poisson.gap_scv.value == pytest.approx(AZURE_GAP_SCV, abs=0.06)
    assert found.poisson.gap_scv.interval[0] > 1.0
    assert found.rate.value == pytest.approx(5.53, rel=0.02)
    assert any("Poisson arrivals are rejected" in warning for warning in found.warnings)
    assert "squared coefficient of variation of the gaps is 1.2" in found.warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 300, 3000])
def test_poisson_arrivals_are_rarely_rejected_and_the_intervals_hold(count: int) -> None:
    rng = np.random.default_rng(20260115)
    rejected = rate = scv = 0
    for _ in range(400):
        found = fit_arrivals(np.cumsum(rng.exponential(3.0, count)))
        rejected += found.poisson.is_rejected
        rate += found.rate.interval[0] <= 1 / 3 <= found.rate.interval[1]
        scv += found.poisson.gap_scv.interval[0] <= 1.0 <= found.poisson.gap_scv.interval[1]
    assert 0.02 <= rejected / 400 <= 0.09
    assert 0.90 <= rate / 400 <= 0.99
    assert 0.92 <= scv / 400 <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("step", "mean"), [(1.0, 5.0), (1.0, 0.5), (0.1, 1.0)])
def test_a_coarse_clock_does_not_reject_poisson_arrivals(step: float, mean: float) -> None:
    rng = np.random.default_rng(11)
    rejected = bursty = 0
    for _ in range(100):
        times = 1.7e9 + np.cumsum(rng.exponential(mean, 1000))
        rejected += fit_arrivals(np.floor(times / step) * step).poisson.is_rejected
        times = np.cumsum(rng.gamma(0.3, mean / 0.3, 1000))
        bursty += fit_arrivals(np.floor(times / step) * step).poisson.is_rejected
    assert rejected <= 12
    assert bursty == 100


@pytest.mark.parametrize(
    ("step", "rate", "seconds"),
    # The last trace ends within a step.
    [(60.0, 2.0, 1020.0), (1.0, 200.0, 60.0), (60.0, 2.0, 990.0), (60.0, 0.02, 36000.0)],
)
def test_no_step_of_a_coarse_clock_is_missed(step: float, rate: float, seconds: float) -> None:
    rng = np.random.default_rng(20260119)
    hits = rejected = 0
    relative = []
    for _ in range(200):
        times = np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))
        found = fit_arrivals(step * np.floor(times / step))
        hits += found.rate.interval[0] <= rate <= found.rate.interval[1]
        rejected += found.poisson.is_rejected
        relative.append(found.rate.value / rate - 1.0)
    assert hits >= 0.91 * 200
    assert rejected <= 0.1 * 200
    error = np.std(relative) / math.sqrt(200)
    assert abs(np.mean(relative)) <= 4.0 * error


def test_steps_seen_in_part_are_left_out_and_said_so() -> None:
    seconds = [0.0] * 7 + [60.0] * 120 + [120.0] * 110 + [180.0] * 125 + [240.0] * 3
    found = fit_arrivals(seconds)
    assert found.arrivals == len(seconds)
    assert found.duration == 180.0
    assert found.rate.value == pytest.approx(355 / 180)
    assert "the first and last step, which may be seen in part" in found.warnings[0]
    # Two steps have none between.
    few = fit_arrivals([0.0] * 100 + [60.0] * 100)
    assert few.rate.value == pytest.approx(200 / 120, rel=0.05)
    assert "the rate is too low" in few.warnings[-1]


def test_batches_are_rejected_on_a_fine_clock() -> None:
    times = np.repeat(np.round(np.cumsum(np.random.default_rng(3).exponential(5.0, 200)), 3), 2)
    assert fit_arrivals(times).poisson.is_rejected


def test_both_tests_share_the_level() -> None:
    poisson = fit_arrivals(np.cumsum(np.random.default_rng(4).exponential(1.0, 300))).poisson
    smaller = min(poisson.gap_p_value, poisson.count_p_value)
    assert smaller < 0.5
    assert poisson.p_value == 2.0 * smaller


def test_bursty_arrivals_are_rejected_and_the_intervals_hold() -> None:
    rng = np.random.default_rng(20260116)
    rejected = rate = scv = 0
    for _ in range(300):
        found = fit_arrivals(np.cumsum(hyperexponential(rng, 2000)))
        rejected += found.poisson.is_rejected
        rate += found.rate.interval[0] <= 1 / 3 <= found.rate.interval[1]
        scv += found.poisson.gap_scv.interval[0] <= 17 / 9 <= found.poisson.gap_scv.interval[1]
    assert rejected >= 297
    assert 0.90 <= rate / 300 <= 0.99
    assert 0.92 <= scv / 300 <= 0.98


def test_a_rate_that_changes_is_seen_in_the_counts() -> None:
    rng = np.random.default_rng(1)
    slow, fast = rng.exponential(4.0, 600), rng.exponential(2.0, 600)
    found = fit_arrivals(np.cumsum(np.concatenate([slow, fast])))
    assert found.poisson.count_p_value < 1e-3
    assert "their counts" in found.poisson.sentence
    steady = fit_arrivals(np.cumsum(rng.exponential(3.0, 1200)))
    assert steady.poisson.count_p_value > 0.05
    assert "not rejected" in steady.poisson.sentence
    assert steady.warnings == ()


def test_arrivals_by_the_clock_are_not_poisson_either() -> None:
    rng = np.random.default_rng(2)
    found = fit_arrivals(np.arange(500) + rng.uniform(0, 0.2, 500))
    assert found.poisson.is_rejected
    assert found.poisson.gap_scv.value < 0.1
    assert found.poisson.dispersion < 0.5
    assert "shorter" in found.warnings[0]


def test_a_coarse_clock_is_called_out() -> None:
    rng = np.random.default_rng(3)
    found = fit_arrivals(np.floor(np.cumsum(rng.exponential(1.0, 1000))))
    assert any("at the same time as the one before" in warning for warning in found.warnings)


def test_the_rate_does_not_depend_on_order_or_origin() -> None:
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.exponential(2.0, 100))
    a, b = fit_arrivals(times), fit_arrivals(1e6 + rng.permutation(times))
    assert a.rate.value == pytest.approx(99 / (times[-1] - times[0]))
    assert b.rate.value == pytest.approx(a.rate.value, rel=1e-7)
    assert b.poisson.gap_scv.value == pytest.approx(a.poisson.gap_scv.value, rel=1e-6)


def test_the_mix_has_wilsons_intervals() -> None:
    times = np.cumsum(np.ones(100)) + np.sin(np.arange(100)) / 3
    found = fit_arrivals(times, ["b"] * 10 + ["a"] * 90)
    assert list(found.mix) == ["b", "a"]
    assert found.mix["b"].value == 0.1
    # Wilson's interval of 10 in 100, as tabulated.
    assert found.mix["b"].interval == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert found.to_dict()["mix"]["a"]["value"] == 0.9


@pytest.mark.parametrize(
    ("arrivals", "types", "message"),
    [
        (np.arange(9.0), None, "9 arrivals are too few; at least 10"),
        (np.ones(20), None, "all 20 arrivals are at one time"),
        (np.arange(20.0), ["a"], "one length, got 20 and 1"),
        ([0.0, np.inf] * 10, None, "arrivals"),
    ],
)
def test_bad_input_is_named(arrivals: np.ndarray, types: list[str] | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fit_arrivals(arrivals, types)
