"""The saturating curve by maximum likelihood: right numbers, right intervals, right warnings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

from cvxqueue import InvalidInputError
from cvxqueue.fitting import CurveFit, fit_curve
from cvxqueue.fitting.likelihood import Counts
from tests.measurements import S1_CURVES

TOKENS = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])


def curve(floor: float, gain: float, rate: float, tokens: np.ndarray = TOKENS) -> np.ndarray:
    return np.asarray(floor - gain * np.expm1(-rate * tokens))


def kinds(found: CurveFit) -> set[str]:
    return {warning.partition(":")[0] for warning in found.warnings}


def best_by_restarts(
    tokens: np.ndarray, correct: np.ndarray, total: np.ndarray, **fixed: float
) -> tuple[float, np.ndarray]:
    """Greatest log-likelihood by a general optimiser from many starts, some parameters fixed."""
    rng = np.random.default_rng(0)

    def loss(x: np.ndarray) -> float:
        floor = fixed.get("floor", x[0])
        gain = fixed.get("gain", x[1] * (1.0 - floor))
        rate = fixed.get("rate", math.exp(x[2]))
        p = np.clip(curve(min(floor, 1.0 - gain), gain, rate, tokens), 1e-12, 1.0 - 1e-12)
        return float(-(correct * np.log(p) + (total - correct) * np.log1p(-p)).sum())

    runs = [
        minimize(
            loss,
            [rng.uniform(0, 0.5), rng.uniform(0, 1), math.log(rng.uniform(5e-5, 5e-3))],
            bounds=[(0, 1), (0, 1), (-12, -3)],
            method="L-BFGS-B",
        )
        for _ in range(12)
    ]
    best = min(runs, key=lambda run: run.fun)
    return -float(best.fun), best.x


@pytest.mark.parametrize("name", S1_CURVES)
def test_the_peak_is_the_best_that_a_general_optimiser_finds(name: str) -> None:
    n, tokens, accuracy = S1_CURVES[name]
    counts = Counts(np.array(tokens), n * np.array(accuracy), np.full(len(tokens), float(n)))
    peak = counts.peak()
    value, x = best_by_restarts(counts.tokens, counts.correct, counts.total)
    assert peak.log_likelihood == pytest.approx(value, rel=1e-8)
    assert peak.log_likelihood >= value - 1e-7
    assert peak.rate == pytest.approx(math.exp(x[2]), rel=2e-3)


@pytest.mark.parametrize("name", S1_CURVES)
def test_profile_intervals_end_where_the_likelihood_ratio_does(name: str) -> None:
    n, tokens, accuracy = S1_CURVES[name]
    found = fit_curve(tokens, accuracy=accuracy, total=[n] * len(tokens))
    t, k, m = np.array(tokens), n * np.array(accuracy), np.full(len(tokens), float(n))
    top, _ = best_by_restarts(t, k, m)
    for parameter in ("floor", "gain", "rate"):
        for end in getattr(found, parameter).interval:
            if end in (0.0, 1.0) or math.isinf(end):
                continue
            value, _ = best_by_restarts(t, k, m, **{parameter: end})
            assert 2.0 * (top - value) == pytest.approx(chi2.ppf(0.95, 1), abs=0.02), parameter


def test_the_standard_errors_are_those_of_the_numerical_information() -> None:
    total = np.full(TOKENS.size, 1000.0)
    correct = np.round(1000 * curve(0.2, 0.5, 0.001))
    found = fit_curve(TOKENS, correct, total)

    def log_likelihood(x: np.ndarray) -> float:
        p = curve(*x)
        return float((correct * np.log(p) + (total - correct) * np.log1p(-p)).sum())

    x = np.array([found.floor.value, found.gain.value, found.rate.value])
    steps = 1e-4 * np.maximum(x, 1e-4)
    information = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            e, f = steps[i] * np.eye(3)[i], steps[j] * np.eye(3)[j]
            corners = [log_likelihood(x + a * e + b * f) for a in (1, -1) for b in (1, -1)]
            mixed = corners[0] - corners[1] - corners[2] + corners[3]
            information[i, j] = -mixed / (4.0 * steps[i] * steps[j])
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    errors = [p.standard_error for p in (found.floor, found.gain, found.rate)]
    np.testing.assert_allclose(errors, expected, rtol=1e-3)


@pytest.mark.parametrize("answers", [1e5, 1e7, 1e9])
def test_of_many_answers_the_profile_intervals_are_those_of_the_information(answers: float) -> None:
    total = np.full(TOKENS.size, answers)
    found = fit_curve(TOKENS, np.round(answers * curve(0.2, 0.5, 1 / 907)), total)
    for parameter in (found.floor, found.gain, found.rate):
        half = 1.959964 * parameter.standard_error
        expected = parameter.value - half, parameter.value + half
        np.testing.assert_allclose(parameter.interval, expected, atol=0.03 * half)


def test_of_many_answers_on_almost_a_line_the_gain_is_bounded_by_the_bend() -> None:
    answers = 1e5
    tokens = np.array([17.0, 922.0, 1751.0, 2266.0, 6077.0])
    correct = np.array([2.0, 237.0, 433.0, 582.0, 1555.0])
    found = fit_curve(tokens, correct, answers, confidence=0.9)

    def deviance(x: np.ndarray, gain: float) -> float:
        # The slope, and not the rate, is what the answers tell.
        p = np.clip(curve(x[0] / 1e5, gain, 2.5e-6 * x[1] / gain, tokens), 1e-12, 1.0 - 1e-12)
        return -2.0 * float((correct * np.log(p) + (answers - correct) * np.log1p(-p)).sum())

    def least(gain: float) -> float:
        found = minimize(deviance, [1.0, 1.0], (gain,), bounds=[(0, 5), (0.5, 2)], method="Powell")
        return float(found.fun)

    top = min(map(least, np.linspace(0.8, 1.0, 4)))
    assert least(found.gain.interval[0]) - top == pytest.approx(chi2.ppf(0.9, 1), abs=0.05)
    assert found.gain.interval[1] == 1.0


def test_where_nothing_is_right_any_gain_may_come_at_more_tokens() -> None:
    found = fit_curve([0, 17, 177, 208], [0, 0, 0, 0], 1000)
    assert found.gain.interval == (0.0, 1.0)
    # The deviance of no right answer of 4000 is 8000 times the accuracy.
    assert found.floor.interval[1] == pytest.approx(chi2.ppf(0.95, 1) / 8000, rel=1e-3)


# Published accuracies of s1-32B; the numbers were found by test_the_peak_..., independently.
@pytest.mark.parametrize(
    ("name", "floor", "gain", "rate", "residual"),
    [
        ("MATH500", 0.421, 0.509, 1.205e-3, 0.026),
        ("AIME24", 0.0, 0.763, 1.930e-4, 0.071),
        ("GPQA-Diamond", 0.254, 0.337, 1.022e-3, 0.028),
    ],
)
def test_the_published_curves_of_s1(
    name: str, floor: float, gain: float, rate: float, residual: float
) -> None:
    n, tokens, accuracy = S1_CURVES[name]
    found = fit_curve(tokens, accuracy=accuracy, total=[n] * len(tokens))
    assert found.floor.value == pytest.approx(floor, abs=1e-3)
    assert found.gain.value == pytest.approx(gain, abs=1e-3)
    assert found.rate.value == pytest.approx(rate, rel=2e-3)
    assert np.abs(found.residuals).max() < residual
    assert found.goodness.outcome == "fits"
    assert found.warnings == ()
    np.testing.assert_allclose(found.observed, accuracy)
    assert found.method == "binomial maximum likelihood"


def coverage(
    floor: float, gain: float, rate: float, answers: int, sets: int
) -> tuple[np.ndarray, dict[str, int], int]:
    """How often the intervals hold the truth, how often each warning came, how many fits failed."""
    rng = np.random.default_rng(20260113)
    hits = np.zeros(3)
    warned: dict[str, int] = {}
    rejected = 0
    for _ in range(sets):
        correct = rng.binomial(answers, curve(floor, gain, rate))
        found = fit_curve(TOKENS, correct, np.full(TOKENS.size, answers))
        for i, truth in enumerate((floor, gain, rate)):
            low, high = (found.floor, found.gain, found.rate)[i].interval
            hits[i] += low <= truth <= high
        for kind in kinds(found):
            warned[kind] = warned.get(kind, 0) + 1
        rejected += found.goodness.outcome == "does not fit"
    return hits / sets, warned, rejected


@pytest.mark.slow
def test_the_intervals_hold_the_truth_in_90_to_99_percent_of_200_data_sets() -> None:
    share, warned, rejected = coverage(0.2, 0.5, 1 / 900, answers=200, sets=200)
    assert np.all((share >= 0.90) & (share <= 0.99)), share
    # Tests at 5 %: rarely a false alarm, and not never.
    assert 1 <= rejected <= 20
    for kind in ("flat", "not concave", "falling", "not identified"):
        assert warned.get(kind, 0) <= 10, kind


@pytest.mark.slow
def test_at_the_bound_the_intervals_hold_too() -> None:
    share, _, _ = coverage(0.0, 0.5, 1 / 900, answers=50, sets=150)
    # The floor is at its bound: an interval that reaches it holds it.
    assert share[0] >= 0.95
    assert np.all((share[1:] >= 0.90) & (share[1:] <= 0.995)), share


def test_bounds_are_respected() -> None:
    found = fit_curve([0, 100, 1000, 5000], [0, 30, 100, 100], [100] * 4)
    assert found.floor.value == pytest.approx(0.0, abs=1e-6)
    assert found.floor.value + found.gain.value <= 1.0
    assert found.gain.interval[1] <= 1.0
    assert found.floor.interval[0] == 0.0
    found.curve.value(100.0)
    sure = fit_curve([10, 100, 1000], [50, 50, 50], [50] * 3)
    assert sure.floor.value + sure.gain.value == pytest.approx(1.0)
    assert kinds(sure) == {"flat"}


def test_all_wrong_is_flat_at_zero() -> None:
    found = fit_curve([10, 100, 1000], [0, 0, 0], [50] * 3)
    assert found.floor.value + found.gain.value == pytest.approx(0.0, abs=1e-9)
    assert kinds(found) == {"flat"}


def test_a_standard_error_at_a_bound_is_not_a_number() -> None:
    n, tokens, accuracy = S1_CURVES["AIME24"]
    found = fit_curve(tokens, accuracy=accuracy, total=[n] * len(tokens))
    assert math.isnan(found.floor.standard_error)
    assert found.gain.standard_error > 0
    assert found.to_dict()["floor"]["standard_error"] is None
    # With floor + gain = 1 the two move together.
    full = fit_curve([0, 300, 1000, 5000], [30, 70, 95, 100], [100] * 4)
    assert full.floor.value + full.gain.value == pytest.approx(1.0, abs=1e-6)
    assert full.floor.standard_error == pytest.approx(full.gain.standard_error)


@pytest.mark.parametrize(
    ("kind", "accuracy"),
    [
        # Half the gain at once, half late: an S.
        ("not concave", [0.2, 0.2, 0.21, 0.22, 0.5, 0.79, 0.8]),
        ("falling", [0.2, 0.5, 0.6, 0.7, 0.7, 0.6, 0.4]),
        ("flat", [0.5, 0.49, 0.51, 0.5, 0.5, 0.49, 0.51]),
    ],
)
def test_each_warning_comes_when_it_should(kind: str, accuracy: list[float]) -> None:
    found = fit_curve(TOKENS, accuracy=accuracy, total=[400] * 7)
    assert kind in kinds(found)
    good = fit_curve(TOKENS, accuracy=curve(0.2, 0.5, 1 / 900), total=[400] * 7)
    assert good.warnings == ()


def test_a_poor_fit_is_called_one() -> None:
    bad = fit_curve(TOKENS, accuracy=[0.2, 0.2, 0.21, 0.22, 0.5, 0.79, 0.8], total=[400] * 7)
    assert bad.goodness.outcome == "does not fit"
    assert "poor fit" in kinds(bad)


def test_what_is_not_identified_is_said_to_be() -> None:
    # Short of any bend.
    straight = fit_curve([0, 100, 200, 300], [100, 130, 160, 190], [1000] * 4)
    assert any("straight line" in warning for warning in straight.warnings)
    assert straight.rate.interval[0] * 300 < 0.3
    # Beyond any rise, but for the first point.
    step = fit_curve([0, 5000, 10000, 20000], [100, 600, 600, 600], [1000] * 4)
    assert any("saturated before 5000" in warning for warning in step.warnings)
    assert math.isinf(step.rate.interval[1])
    # A rise for sure, but of any shape.
    faint = fit_curve([0, 1000, 2000], [24, 35, 42], [80] * 3)
    assert any("every rate fits" in warning for warning in faint.warnings)


def test_without_counts_rows_weigh_the_same_and_residuals_say_how_precise_they_are() -> None:
    _, tokens, accuracy = S1_CURVES["AIME24"]
    found = fit_curve(tokens, accuracy=accuracy)
    assert found.method == "binomial quasi-likelihood, rows of equal weight"
    assert found.goodness.outcome == "not tested"
    assert math.isnan(found.answers)
    counted = fit_curve(tokens, accuracy=accuracy, total=[30] * len(tokens))
    assert found.gain.value == pytest.approx(counted.gain.value, rel=1e-4)
    # Where the counts are known, ten times as many make the intervals about √10 times shorter.
    more = fit_curve(tokens, accuracy=accuracy, total=[300] * len(tokens))
    assert np.diff(more.rate.interval)[0] < 0.5 * np.diff(counted.rate.interval)[0]


def test_rows_of_one_level_are_pooled_and_their_order_does_not_matter() -> None:
    tokens, correct, total = [0, 500, 1000, 4000], [20, 60, 80, 95], [100] * 4
    once = fit_curve(tokens, correct, total)
    twice = fit_curve([4000, 0, 1000, 500, 500], [95, 20, 80, 40, 20], [100, 100, 100, 70, 30])
    assert twice.rate.value == pytest.approx(once.rate.value, rel=1e-9)
    assert twice.gain.interval == pytest.approx(once.gain.interval, rel=1e-9)


def test_single_answers_are_judged_in_groups() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.uniform(0, 6000, 600)
    right = rng.random(600) < curve(0.2, 0.6, 1 / 800, tokens)
    found = fit_curve(tokens, right.astype(float), np.ones(600))
    assert found.rate.interval[0] < 1 / 800 < found.rate.interval[1]
    assert found.goodness.outcome == "fits"
    assert 0 < found.goodness.degrees_of_freedom < 120


def test_thousands_of_levels_are_pooled_at_little_cost() -> None:
    rng = np.random.default_rng(4)
    tokens = rng.uniform(0, 6000, 1500)
    right = (rng.random(1500) < curve(0.2, 0.6, 1 / 800, tokens)).astype(float)
    pooled = fit_curve(tokens, right, np.ones(1500))
    assert pooled.tokens.size == 500
    whole = Counts(np.sort(tokens), right[np.argsort(tokens)], np.ones(1500)).peak()
    for name in ("floor", "gain", "rate"):
        parameter = getattr(pooled, name)
        assert abs(parameter.value - getattr(whole, name)) < 0.1 * parameter.standard_error


def test_rescaling_the_tokens_rescales_the_rate() -> None:
    correct, total = [20, 60, 80, 95], [100] * 4
    a = fit_curve([0, 500, 1000, 4000], correct, total)
    b = fit_curve([0, 50.0, 100.0, 400.0], correct, total)
    assert b.rate.value == pytest.approx(10 * a.rate.value, rel=1e-6)
    assert b.gain.interval == pytest.approx(a.gain.interval, rel=1e-6)


def test_so_many_answers_that_they_cannot_be_counted_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="total"):
        fit_curve([0, 1, 2], [1, 2, 3], [1e300] * 3)


def test_confidence_widens_the_intervals() -> None:
    correct, total = [20, 60, 80, 95], [100] * 4
    narrow = fit_curve([0, 500, 1000, 4000], correct, total, confidence=0.5)
    wide = fit_curve([0, 500, 1000, 4000], correct, total, confidence=0.99)
    assert wide.rate.interval[0] < narrow.rate.interval[0]
    assert narrow.rate.interval[1] < wide.rate.interval[1]
    assert str(wide.rate).startswith("0.00")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": [1, 2, 3], "correct": [1, 0.5, 1]}, "correct needs total"),
        ({"tokens": [1, 2, 3], "total": [1, 1, 1]}, "give correct .* or accuracy"),
        (
            {"tokens": [1, 2, 3], "correct": [1, 1, 1], "accuracy": [1, 1, 1], "total": [1, 1, 1]},
            "not both",
        ),
        ({"tokens": [1, 2], "correct": [1, 1], "total": [1, 1]}, "2 different values.*at least 3"),
        ({"tokens": [1, 2, 3], "accuracy": [0, 0.5, 1]}, "at least 4 where the number of answers"),
        ({"tokens": [-1, 2, 3], "correct": [1, 1, 1], "total": [1, 1, 1]}, r"tokens\[0\].*≥ 0"),
        ({"tokens": [1, 2, 3], "correct": [1, 2, 1], "total": [1, 1, 1]}, "at most total"),
        ({"tokens": [1, 2, 3], "correct": [1, -1, 1], "total": [1, 1, 1]}, r"correct\[1\].*≥ 0"),
        ({"tokens": [1, 2, 3], "correct": [0, 0, 0], "total": [1, 0, 1]}, r"total\[1\].*> 0"),
        ({"tokens": [1, 2, 3], "accuracy": [0.1, 64.0, 0.9], "total": [9, 9, 9]}, "a fraction"),
        ({"tokens": [1, 2, 3], "correct": [1, 1], "total": [1, 1]}, "one length: tokens has 3"),
        (
            {"tokens": [1, 2, 3], "correct": [1] * 3, "total": [1] * 3, "confidence": 1.0},
            r"confidence = 1.0 must be in \(0, 1\)",
        ),
        (
            {"tokens": [1, 2, 3], "correct": [1] * 3, "total": [1] * 3, "confidence": "x"},
            "confidence must be one number, got 'x'",
        ),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fit_curve(**arguments)  # type: ignore[arg-type]
