"""The service line: robust, within its bounds, with intervals that hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from cvxqueue import InvalidInputError
from cvxqueue.fitting import ServiceFit, fit_service
from cvxqueue.fitting.robust_line import HUBER, robust_line
from tests.measurements import H100_TIMES

Noise = Callable[[np.random.Generator, np.ndarray], np.ndarray]

NOISES: dict[str, Noise] = {
    "normal": lambda rng, x: rng.normal(0.0, 0.3, x.size),
    "spread that grows": lambda rng, x: rng.normal(0.0, 0.05, x.size) * (1.0 + x / 500.0),
    "heavy tails": lambda rng, x: 0.2 * rng.standard_t(3, x.size),
    "stragglers": lambda rng, x: (
        rng.normal(0.0, 0.2, x.size) + (rng.random(x.size) < 0.03) * rng.exponential(8.0, x.size)
    ),
}


def starts(found: ServiceFit) -> set[str]:
    return {warning.partition(":")[0].partition(" at")[0] for warning in found.warnings}


def test_the_h100_line_is_6_86_ms_per_token_within_2_percent() -> None:
    alone = [(out, t) for at, _, out, t in H100_TIMES if at == 1]
    found = fit_service(*zip(*alone, strict=True))
    assert found.per_token.value == pytest.approx(6.86e-3, rel=0.02)
    assert found.per_token.interval[0] < 6.86e-3 < found.per_token.interval[1]
    assert found.linearity.holds
    assert found.r_squared > 0.998
    assert found.warnings == ()
    assert found.tokens.size == found.rows == len(alone) == found.to_dict()["rows"]
    assert not {"tokens", "seconds"} & set(found.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("rows", [25, 100])
def test_the_intervals_hold_the_truth_in_90_to_99_percent_of_200_data_sets(
    name: str, rows: int
) -> None:
    rng = np.random.default_rng(20260114)
    hits = np.zeros(2)
    bent = 0
    for _ in range(200):
        x = rng.integers(50, 4000, rows).astype(float)
        y = 2.0 + 0.006 * x + NOISES[name](rng, x)
        found = fit_service(x, np.maximum(y, 0.01))
        for i, (parameter, truth) in enumerate(((found.base, 2.0), (found.per_token, 0.006))):
            hits[i] += parameter.interval[0] <= truth <= parameter.interval[1]
        bent += found.linearity.holds is False
    assert np.all((hits / 200 >= 0.90) & (hits / 200 <= 0.99)), hits / 200
    assert bent <= 17


def five_levels(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.permutation(np.resize([128.0, 256.0, 512.0, 1024.0, 2048.0], rows))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 80])
def test_noise_in_proportion_to_the_times_is_covered_and_not_called_a_bend(rows: int) -> None:
    # The rows that set the slope are mostly outside the quadratic zone.
    rng = np.random.default_rng(20260117)
    hits = bent = 0
    for _ in range(200):
        x = five_levels(rng, rows)
        found = fit_service(x, (0.5 + 0.01 * x) * (1.0 + 0.15 * rng.normal(size=rows)))
        hits += found.per_token.interval[0] <= 0.01 <= found.per_token.interval[1]
        bent += found.linearity.holds is False
    assert hits >= 0.91 * 200
    assert bent <= 0.12 * 200


@pytest.mark.parametrize("rows", [10, 40])
def test_two_levels_are_covered(rows: int) -> None:
    rng = np.random.default_rng(20260118)
    hits = 0
    for _ in range(150):
        x = np.resize([256.0, 1024.0], rows)
        found = fit_service(x, (0.5 + 0.01 * x) * (1.0 + 0.02 * rng.normal(size=rows)))
        hits += found.per_token.interval[0] <= 0.01 <= found.per_token.interval[1]
    assert hits >= 0.9 * 150


def test_even_noise_does_not_make_a_long_answer_worth_little() -> None:
    # Relative errors of the shortest times once stood for those of all.
    rng = np.random.default_rng(9)
    widths, misses = [], []
    for _ in range(100):
        x = np.exp(rng.normal(6.2, 0.8, 20))
        found = fit_service(x, 0.5 + 0.01 * x + 0.2 * rng.normal(size=20))
        widths.append(found.per_token.interval[1] - found.per_token.interval[0])
        misses.append(abs(found.per_token.value - 0.01))
    assert np.median(widths) / 2.0 <= 2.6 * np.quantile(misses, 0.95)


def test_few_rows_of_much_noise_leave_few_degrees_of_freedom() -> None:
    rng = np.random.default_rng(10)
    x = five_levels(rng, 40)
    design = np.stack([np.ones(40), x], axis=1)
    noise = rng.normal(size=40)
    even = robust_line(design, 0.5 + 0.01 * x + 0.3 * noise)
    growing = robust_line(design, (0.5 + 0.01 * x) * (1.0 + 0.02 * noise))
    assert np.all((growing.freedom >= 1.0) & (growing.freedom <= 38.0))
    # Eight rows are at 2048 tokens.
    assert growing.freedom[1] < 11.0 < even.freedom[1]


@pytest.mark.parametrize("high", [1, 2])
def test_rows_that_set_the_slope_alone_do_not_make_it_certain(high: int) -> None:
    # The line goes through a single long answer whatever it took, and so leaves no residual there.
    rng = np.random.default_rng(7)
    x = np.concatenate((np.full(20, 128.0), np.full(high, 2048.0)))
    hits = 0
    for _ in range(100):
        y = (0.5 + 0.007 * x) * (1.0 + 0.05 * rng.normal(size=x.size))
        found = fit_service(x, y)
        low, highest = found.per_token.interval
        hits += low <= 0.007 <= highest
        assert "leverage" in starts(found)
    assert hits >= 80


def test_a_few_stragglers_do_not_bend_the_line() -> None:
    x = np.linspace(100, 4000, 60)
    y = 0.5 + 0.007 * x + 0.01 * np.sin(x)
    clean = fit_service(x, y)
    y[[10, 30, 55]] += 60.0
    dirty = fit_service(x, y)
    assert dirty.per_token.value == pytest.approx(clean.per_token.value, rel=5e-3)
    least_squares = np.polyfit(x, y, 1)[0]
    assert abs(least_squares - 0.007) > 20 * abs(dirty.per_token.value - 0.007)
    assert dirty.largest_residual > 50
    assert dirty.residual_scale < 0.05


def test_the_robust_line_solves_hubers_equations() -> None:
    rng = np.random.default_rng(7)
    x = rng.uniform(0, 1, 80)
    y = 1.0 + 2.0 * x + rng.standard_t(2, 80)
    design = np.stack([np.ones(80), x], axis=1)
    theta, errors, _, scale = robust_line(design, y)
    winsorized = np.clip(y - design @ theta, -HUBER * scale, HUBER * scale)
    np.testing.assert_allclose(design.T @ winsorized, 0.0, atol=1e-4 * scale * 80)
    residuals = np.sort(np.abs(y - design @ theta))[2:]
    assert scale == pytest.approx(np.median(residuals) / 0.6744897501960817, rel=1e-4)
    assert np.all(errors > 0)


def test_a_jacobian_is_the_solvers_to_write_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # As SciPy 1.15 does.
    rng = np.random.default_rng(7)
    design = np.stack([np.ones(80), rng.uniform(0, 1, 80)], axis=1)
    y = design @ [1.0, 2.0] + rng.standard_t(2, 80)
    expected = robust_line(design, y).coefficients
    solve = scipy.optimize.least_squares

    def writes(jac: Callable[..., Any], x0: Any, args: Any, **settings: Any) -> Any:
        jac(x0, *args)[:] = np.nan
        return solve(x0=x0, args=args, jac=jac, **settings)

    monkeypatch.setattr(scipy.optimize, "least_squares", writes)
    np.testing.assert_array_equal(robust_line(design, y).coefficients, expected)


def test_the_standard_errors_are_hc3_of_the_winsorized_residuals() -> None:
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 1, 90)
    y = 1.0 + 2.0 * x + rng.uniform(-0.5, 0.5, 90)
    y[:6] += 20.0
    design = np.stack([np.ones(90), x], axis=1)
    theta, errors, _, scale = robust_line(design, y)
    residuals = y - design @ theta
    assert np.all(residuals[:6] > HUBER * scale)
    # Row by row, from the definition.
    gram = np.linalg.inv(design.T @ design)
    information, meat = np.zeros((2, 2)), np.zeros((2, 2))
    for row, residual in zip(design, residuals, strict=True):
        outer = np.outer(row, row)
        winsorized = min(max(residual, -HUBER * scale), HUBER * scale)
        information += outer * (abs(residual) <= HUBER * scale)
        meat += outer * (winsorized / (1.0 - row @ gram @ row)) ** 2
    bread = np.linalg.inv(information)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(bread @ meat @ bread)), rtol=1e-9)


def test_exact_data_are_recovered_exactly() -> None:
    x = np.array([10.0, 100.0, 1000.0, 5000.0])
    found = fit_service(x, 0.25 + 0.004 * x)
    assert found.base.value == pytest.approx(0.25, rel=1e-6)
    assert found.per_token.value == pytest.approx(0.004, rel=1e-9)
    assert found.linearity.holds
    assert found.warnings == ()
    assert found.to_dict()["rows"] == 4


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_no_unit_is_better_than_another(factor: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        x = rng.uniform(100, 4000, 30)
        y = 0.5 + 0.007 * x + 0.2 * rng.standard_t(2, 30)
        a, b = fit_service(x, y), fit_service(factor * x, factor * y)
        for one, other, unit in ((a.base, b.base, factor), (a.per_token, b.per_token, 1.0)):
            scaled = np.array([one.value, one.standard_error, *one.interval])
            found = np.array([other.value, other.standard_error, *other.interval])
            np.testing.assert_allclose(found / unit, scaled, rtol=1e-6)
        assert b.linearity.p_value == pytest.approx(a.linearity.p_value, rel=1e-6)


def test_a_base_below_zero_stays_at_its_bound() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(500, 4000, 50)
    y = 0.006 * x - 1.0 + rng.normal(0, 0.05, 50)
    found = fit_service(x, y)
    assert found.base.value == 0.0
    assert math.isnan(found.base.standard_error)
    assert found.base.interval == (0.0, 0.0)
    assert starts(found) >= {"the base is"}
    # Where the truth is zero, the interval says what else it may be.
    fair = [fit_service(x, 0.006 * x + rng.normal(0, 0.3, 50)) for _ in range(20)]
    assert any(f.base.value == 0.0 and f.base.interval[1] > 0 for f in fair)
    assert all(f.base.interval[0] == 0.0 for f in fair if f.base.value == 0.0)


def test_a_bend_is_seen_and_a_small_one_is_let_pass() -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(100, 8000, 120)
    noise = rng.normal(0, 0.05, 120)
    bent = fit_service(x, 0.5 + 0.004 * x + 1e-6 * x**2 + noise)
    assert bent.linearity.holds is False
    assert "not linear" in starts(bent)
    slightly = fit_service(x, 0.5 + 0.007 * x + 1e-8 * x**2 + noise)
    assert slightly.linearity.p_value < 0.05
    assert slightly.linearity.holds is True
    assert slightly.warnings == ()
    two = fit_service([100, 100, 200, 200], [1.0, 1.1, 2.0, 2.1])
    assert two.linearity.holds is None


def test_two_regimes_and_stragglers_are_called_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(100, 4000, 200)
    noise = rng.normal(0, 0.05, 200)
    even = fit_service(x, np.where(rng.random(200) < 0.5, 0.007, 0.012) * x + 0.5 + noise)
    assert "not explained" in starts(even)
    few = fit_service(x, np.where(rng.random(200) < 0.9, 0.007, 0.012) * x + 0.5 + noise)
    assert few.per_token.value == pytest.approx(0.007, rel=0.01)
    assert "stragglers" in starts(few)
    assert fit_service(x, 0.007 * x + 0.5 + noise).warnings == ()


def test_a_slope_that_may_be_zero_is_said_so() -> None:
    found = fit_service([100, 200, 300], [1.0, 0.8, 1.3])
    assert "not identified" in starts(found)
    assert found.per_token.interval[0] == 0.0


@pytest.mark.parametrize(
    ("tokens", "seconds", "message"),
    [
        ([1, 2], [1, 2], "2 rows with 2 different numbers.*at least 3 rows"),
        ([5, 5, 5], [1, 2, 3], "1 different number of tokens"),
        ([1, 2, 3], [1, 2], "one length, got 3 and 2"),
        ([1, 2, -3], [1, 2, 3], r"tokens\[2\].*≥ 0"),
        ([1, 2, 3], [1, 0, 3], r"seconds\[1\].*> 0"),
        ([1, 2, math.nan], [1, 2, 3], "tokens"),
        ([100, 200, 300], [3.0, 2.0, 1.0], "do not increase with tokens.*units"),
        ([1, 2, 3], [1, 1, 1], "do not increase with tokens: the fitted line has 0 seconds"),
        ([1, 2, 3, 7], [1.1e-9] * 4, "do not increase with tokens: the fitted line has 0 seconds"),
        ([1e6, 1e6 + 1, 1e6 + 7], [3.3] * 3, "do not increase with tokens.*has 0 seconds"),
    ],
)
def test_bad_input_is_named(tokens: list[float], seconds: list[float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fit_service(tokens, seconds)
