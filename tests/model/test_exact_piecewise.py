"""Measured points against rationals of the same binary numbers: nothing may cancel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.exact_curve import Corner, corners, value

ROUNDING = Fraction(1, 2**53)
# Four roundings reach a value: of the slope, of what lies between, of a product and of a sum. The
# certificate allows eight, two of them for the worth and the mix.
ALLOWED = 5


def drawn(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw points as people write them down, far from 0 tokens, and wilder ones."""
    n, kind = int(rng.integers(1, 8)), int(rng.integers(0, 4))
    if kind == 0:
        tokens = 50.0 * np.sort(rng.choice(np.arange(1, 60), n, replace=False))
        slope = float(f"{10 ** rng.uniform(-5, -3.6):.2g}")
        return tokens, np.array([float(f"{min(slope * x, 1.0):.6g}") for x in tokens])
    if kind == 1:
        steps = np.sort(rng.integers(0, 80, n))[::-1]
        rises = np.minimum(np.round(np.cumsum(steps) / 1000, 3), 1.0)
        return 50.0 * np.cumsum(rng.integers(1, 20, n)), np.asarray(rises, dtype=np.float64)
    if kind == 2:
        tokens = 10.0 * np.sort(rng.choice(np.arange(100), n, replace=False))
        return tokens, np.round(np.sort(rng.uniform(0, 1, n)), 2)
    tokens = np.sort(10 ** rng.uniform(0, 6, n))
    off = 1.0 + rng.uniform(-1, 1, n) * 10 ** rng.uniform(-16, -3)
    line = 10 ** rng.uniform(-9, -6.1) * tokens * off
    return tokens, np.minimum(np.maximum.accumulate(line), 1.0)


def curves(seed: int, count: int) -> list[tuple[cq.PiecewiseLinear, list[Corner]]]:
    """Return curves and their exact corners."""
    rng = np.random.default_rng(seed)
    found: list[tuple[cq.PiecewiseLinear, list[Corner]]] = []
    while len(found) < count:
        tokens, accuracy = drawn(rng)
        exact = corners(tokens.tolist(), accuracy.tolist())
        if exact[0][1] >= -1e-13:
            found.append((cq.PiecewiseLinear(tokens=tokens, accuracy=accuracy), exact))
    return found


def asked(rng: np.random.Generator, curve: Any) -> FloatArray:
    last = float(curve.tokens[-1])
    spread = 10 ** rng.uniform(-6, np.log10(last + 1.0), 6)
    return np.concatenate([[0.0, 0.3, curve.tokens[0]], spread, last * rng.uniform(0, 1.2, 4)])


def check(found: Any, exact: Fraction, size: Fraction) -> None:
    assert abs(Fraction(float(found)) - exact) <= ALLOWED * ROUNDING * size


@pytest.mark.parametrize("seed", range(4))
def test_values_worth_and_differences_lose_a_few_roundings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for curve, exact in curves(seed, 100):
        at = asked(rng, curve)
        values = [value(exact, Fraction(x)) for x in at]
        start = exact[0][1]
        worth = curve.weighted(np.asarray(1.0)).value(at)
        for found, gained, right in zip(curve.value(at), worth, values, strict=True):
            check(found, right, right + 2 * max(-start, Fraction(0)))
            check(gained, right - start, right - start)
        first, last = rng.integers(0, at.size, (2, 12))
        for i, j in zip(first, last, strict=True):
            change = values[j] - values[i]
            check(curve.difference(at[i], at[j]), change, abs(change))


def test_every_copy_of_a_curve_is_as_exact() -> None:
    rng = np.random.default_rng(7)
    pairs = curves(7, 24)
    exact = [corner for _, corner in pairs]
    points = [
        [getattr(curve, name).tolist() for curve, _ in pairs] for name in ("tokens", "accuracy")
    ]
    whole = cq.PiecewiseLinear(tokens=points[0], accuracy=points[1])
    smooth = cq.SaturatingExponential(floor=0.1, gain=0.5, rate=1e-3)
    which = np.tile([0, 0, 1], 12)
    mixed = cq.MixedAccuracy(curves=[whole, smooth], which=which)
    batch = whole.mapped(lambda array: np.stack([array, array[::-1]]))
    at = 10 ** rng.uniform(-3, 3, 24)
    right = [value(curve, Fraction(x)) for curve, x in zip(exact, at, strict=True)]
    spread = np.ones(which.size)
    spread[which == 0] = at
    copies = {
        "all at once": whole.value(at),
        "mixed": mixed.value(spread)[which == 0],
        "batch": batch.value(np.stack([at, at[::-1]]))[0],
        "reversed": batch.value(np.stack([at, at[::-1]]))[1][::-1],
        "first": whole.mapped(lambda array: array[..., :9]).value(at[:9]),
    }
    for found in copies.values():
        for one, other in zip(found, right, strict=False):
            check(one, other, abs(other) + 2 * Fraction(1, 10**13))


def instance_of(curve: cq.PiecewiseLinear, **changes: Any) -> cq.Instance:
    data: dict[str, Any] = {
        "arrival_rate": 0.2,
        "accuracy_weight": 100.0,
        "max_tokens": 0.3,
        "probabilities": [1.0],
        "service": cq.AffineService(base=0.0, per_token=1e-5),
        "accuracy": curve,
    }
    return cq.Instance(**data | changes)


def objective(instance: cq.Instance, curve: list[Corner], tokens: float) -> Fraction:
    rate, weight = Fraction(instance.arrival_rate), Fraction(instance.accuracy_weight)
    law: Any = instance.service
    base, per_token = (Fraction(float(array[0])) for array in (law.base, law.per_token))
    time = base + per_token * Fraction(tokens)
    waiting = rate * time**2 / (2 * (1 - rate * time))
    return weight * value(curve, Fraction(tokens)) - time - waiting


def test_the_interval_holds_the_optimum_where_the_line_to_zero_cancels() -> None:
    # At the cap, so that the exact optimum is the exact objective there.
    tokens, accuracy = [1000.0, 1250.0, 1350.0, 1450.0], [0.3, 0.375, 0.405, 0.435]
    instance = instance_of(cq.PiecewiseLinear(tokens=tokens, accuracy=accuracy))
    optimum = objective(instance, corners(tokens, accuracy), 0.3)
    assert float(optimum) == pytest.approx(0.0089969999990945, abs=1e-16)
    solution = cq.solve(instance)
    assert solution.is_optimal
    assert Fraction(solution.objective) <= optimum <= Fraction(solution.upper_bound)
    assert solution.relative_gap <= 1e-14


@pytest.mark.parametrize("seed", range(4))
def test_no_other_tokens_exceed_the_upper_bound(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    for curve, exact in curves(100 + seed, 60):
        first = float(curve.tokens[0])
        cap = float(rng.choice([0.3, 1e-3, 10.0, 0.5 * first + 1.0, 1e5]))
        base = float(rng.choice([0.0, 0.0, 0.01, 0.5]))
        instance = instance_of(
            curve,
            max_tokens=cap,
            arrival_rate=10 ** rng.uniform(-9, 0),
            accuracy_weight=10 ** rng.uniform(-2, 5),
            service=cq.AffineService(base=base, per_token=10 ** rng.uniform(-7, -2)),
        )
        solution = cq.solve(instance)
        best = float(solution.tokens[0])
        assert Fraction(solution.objective) <= objective(instance, exact, best)
        limit = 0.999 / instance.arrival_rate
        near = best * (1.0 + rng.uniform(-1, 1, 5) * 10 ** rng.uniform(-12, -1, 5))
        for other in [0.0, cap, best, *near, *(float(x) for x, _ in exact)]:
            law: Any = instance.service
            if other <= cap and base + law.per_token[0] * other < limit:
                other_objective = objective(instance, exact, other)
                assert other_objective <= Fraction(solution.upper_bound)


def test_a_line_that_misses_zero_by_rounding_has_a_scale() -> None:
    # p(0) = -5.6e-17, and nothing else counts.
    curve = cq.PiecewiseLinear(tokens=[1000.0, 1250.0], accuracy=[0.3, 0.375])
    assert curve.breakpoint_values[0] == float(
        Fraction(0.3) - 4 * (Fraction(0.375) - Fraction(0.3))
    )
    solution = cq.solve(instance_of(curve, accuracy_weight=1e-6))
    assert solution.is_optimal
    assert solution.tokens[0] == 0.0
    assert solution.gap >= 0.0
    assert Fraction(solution.objective) <= Fraction(1e-6) * Fraction(curve.breakpoint_values[0])
