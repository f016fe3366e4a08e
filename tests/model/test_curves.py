"""Accuracy curves: against exact arithmetic, against each other, and in certificates."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

import cvxqueue as cq
from cvxqueue.certificates.bracket import order_bracket
from cvxqueue.certificates.contraction import contraction
from cvxqueue.certificates.gap import certified_gap, certified_objective
from cvxqueue.certificates.step_size import step_size
from cvxqueue.certificates.token_bounds import token_bounds
from cvxqueue.model.model import take_rows
from cvxqueue.numerics.arrays import FloatArray
from tests.tolerances import EPSILON

SEED = 20261125

EXPONENTIAL = cq.SaturatingExponential(floor=[0.2, 0.1], gain=[0.5, 0.0], rate=[1e-3, 2e-3])
POWER = cq.PowerLaw(floor=0.1, gain=[0.4, 0.6], scale=[100.0, 1e4], exponent=[0.5, 3.0])
MICHAELIS = cq.MichaelisMenten(floor=0.1, gain=0.6, half_saturation=[50.0, 900.0])
POINTS = cq.PiecewiseLinear(
    tokens=[[0, 100, 300, 900], [50, 400]], accuracy=[[0.1, 0.4, 0.3, 0.6], [0.2, 0.6]]
)
MIXED = cq.MixedAccuracy(
    curves=[EXPONENTIAL, POINTS, POWER, MICHAELIS], which=[0, 1, 2, 1, 3, 0, 2, 3]
)
CURVES: dict[str, Any] = {
    "exponential": EXPONENTIAL,
    "power law": POWER,
    "Michaelis-Menten": MICHAELIS,
    "points": POINTS,
    "mixed": MIXED,
}
each_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)


def exact(curve: cq.PowerLaw, tokens: mpf) -> mpf:
    """Return p in multiple precision."""
    floor, gain, scale, power = (
        mpf(float(value)) for value in (curve.floor, curve.gain, curve.scale, curve.exponent)
    )
    return floor - gain * mp.expm1(-power * mp.log1p(tokens / scale))


def wide_power_laws() -> list[cq.PowerLaw]:
    rng = np.random.default_rng(SEED)
    edges = [
        cq.PowerLaw(floor=0.2, gain=gain, scale=scale, exponent=exponent)
        for gain in (0.8, 1e-12)
        for scale in (1e-3, 1.0, 1e9)
        for exponent in (1e-3, 1.0, 50.0)
    ]
    drawn = [
        cq.PowerLaw(
            floor=rng.uniform(0, 0.5),
            gain=rng.uniform(0, 0.5),
            scale=10 ** rng.uniform(-3, 9),
            exponent=10 ** rng.uniform(-3, 1.7),
        )
        for _ in range(60)
    ]
    return edges + drawn


@pytest.mark.parametrize("tokens", [0.0, 1e-6, 0.3, 77.0, 1e5])
def test_the_power_law_against_exact_arithmetic(tokens: float) -> None:
    with workdps(350):
        start = mpf(tokens)
        for curve in wide_power_laws():
            scale, power = mpf(float(curve.scale)), mpf(float(curve.exponent))
            gain = mpf(float(curve.gain))
            logarithm = mp.log1p(start / scale)
            # Roundings of the exponent (power + 2) · ln(1 + l/scale) show in an exponential of it.
            digits = 4 * EPSILON * float(1 + (power + 2) * logarithm)
            slope = gain * power / scale * mp.exp(-(power + 1) * logarithm)
            curvature = -slope * (power + 1) / (scale + start)
            to = tokens + 1e-3
            rise = exact(curve, mpf(to)) - exact(curve, start)
            for found, expected in (
                (curve.value(tokens), exact(curve, start)),
                (curve.slope(tokens), slope),
                (curve.curvature(tokens), curvature),
                (curve.difference(tokens, to), rise),
                (curve.difference(to, tokens), -rise),
            ):
                assert abs(float(found) - expected) <= digits * abs(expected) + mpf(1e-300)
            asked = float(slope)
            if asked > 1e-290:
                answer = scale * mp.expm1(mp.log(gain * power / scale / mpf(asked)) / (power + 1))
                allowed = float(curve.inverse_slope_rounding(tokens)) + 3 * EPSILON * float(
                    curve.inverse_slope_sensitivity(tokens, tokens)
                )
                assert abs(float(curve.inverse_slope(asked)) - answer) <= allowed


def test_inverse_value_of_the_power_law_against_exact_arithmetic() -> None:
    with workdps(50):
        for curve in wide_power_laws():
            for share in (1e-9, 0.3, 0.9, 1 - 1e-6):
                accuracy = float(curve.floor + share * curve.gain)
                reached = (mpf(accuracy) - mpf(float(curve.floor))) / mpf(float(curve.gain))
                if not 0 < reached < 1:
                    continue
                logarithm = -mp.log1p(-reached) / mpf(float(curve.exponent))
                if logarithm > 600:
                    continue
                expected = mpf(float(curve.scale)) * mp.expm1(logarithm)
                found = float(curve.inverse_value(accuracy))
                assert abs(found - expected) <= 6 * EPSILON * (1 + logarithm) * expected


def test_inverse_value_at_the_ends() -> None:
    for curve in (EXPONENTIAL, POWER, MICHAELIS, POINTS):
        np.testing.assert_allclose(curve.inverse_value(curve.value(0.0)), 0.0, atol=1e-12)
        assert curve.inverse_value(0.0).tolist() == [0.0, 0.0]
        above = curve.inverse_value(curve.ceiling + 1e-9)
        assert above.tolist() == [np.inf, np.inf]
    # No tokens reach the ceiling of a smooth curve; those of the last point do of the other.
    dyadic = cq.PowerLaw(floor=0.25, gain=0.5, scale=3.0, exponent=2.0)
    assert dyadic.inverse_value(dyadic.ceiling) == np.inf
    np.testing.assert_allclose(POINTS.inverse_value(POINTS.ceiling), [900.0, 400.0], rtol=1e-15)


def test_michaelis_menten_is_the_rational_function_and_the_power_law_of_exponent_one() -> None:
    tokens = np.array([[0.0], [3.0], [1e5]])
    half = MICHAELIS.half_saturation
    np.testing.assert_allclose(
        MICHAELIS.value(tokens), 0.1 + 0.6 * tokens / (tokens + half), rtol=1e-15
    )
    law = cq.PowerLaw(floor=0.1, gain=0.6, scale=half, exponent=1.0)
    for method in ("value", "slope", "curvature", "inverse_value"):
        argument = tokens if method != "inverse_value" else np.array([[0.2], [0.5]])
        np.testing.assert_array_equal(
            getattr(MICHAELIS, method)(argument), getattr(law, method)(argument)
        )


@each_curve
def test_slopes_are_those_of_the_values(curve: Any) -> None:
    rng = np.random.default_rng(SEED)
    tokens = rng.uniform(1.0, 1500.0, (40, curve.shape[-1]))
    quotient = curve.difference(tokens - 1e-4, tokens + 1e-4) / 2e-4
    is_kink = np.isinf(curve.curvature_range(tokens - 1e-3, tokens + 1e-3)[1])
    np.testing.assert_allclose(
        np.where(is_kink, 0.0, curve.slope(tokens)), np.where(is_kink, 0.0, quotient), rtol=1e-6
    )
    to = rng.uniform(0.0, 1500.0, tokens.shape)
    np.testing.assert_allclose(
        curve.difference(tokens, to), curve.value(to) - curve.value(tokens), atol=1e-14
    )
    bent = (curve.slope(tokens + 1e-3) - curve.slope(tokens - 1e-3)) / 2e-3
    np.testing.assert_allclose(
        np.where(is_kink, 0.0, bent), np.where(is_kink, 0.0, curve.curvature(tokens)), atol=1e-10
    )
    low, high = np.minimum(tokens, to), np.maximum(tokens, to)
    least, greatest = curve.curvature_range(low, high)
    for share in (0.0, 0.4, 1.0):
        between = -curve.curvature(low + share * (high - low))
        assert (least <= between * (1 + 1e-12)).all()
        assert (between <= greatest * (1 + 1e-12)).all()


@each_curve
def test_inverse_slope_maximises(curve: Any) -> None:
    rng = np.random.default_rng(SEED)
    slope = 10 ** rng.uniform(-6, -2, (30, curve.shape[-1]))
    with np.errstate(divide="ignore"):
        wanted = curve.inverse_slope(slope)
    best = np.clip(wanted, 0.0, 5000.0)
    gain = curve.value(best) - slope * best
    for tokens in np.linspace(0.0, 5000.0, 300):
        assert (curve.value(tokens) - slope * tokens <= gain + 1e-13).all()


@each_curve
def test_what_is_too_dear_is_answered_by_a_finite_number(curve: Any) -> None:
    # Zero times it is zero: under processor sharing a marginal cost does not rise.
    with np.errstate(divide="ignore"):
        dear = curve.inverse_slope(np.full(curve.shape[-1], 1e300))
    assert np.isfinite(dear).all()
    assert (dear < 0.0).all()


@each_curve
def test_inverse_value_inverts(curve: Any) -> None:
    tokens = np.random.default_rng(SEED).uniform(0.0, 1500.0, (30, curve.shape[-1]))
    accuracy = curve.value(tokens)
    least = curve.inverse_value(accuracy)
    assert (least <= tokens * (1 + 1e-9)).all()
    np.testing.assert_allclose(curve.value(least), accuracy, rtol=1e-13)
    np.testing.assert_allclose(curve.value(1e300), curve.ceiling, rtol=1e-3)


@each_curve
def test_copies_views_and_batches(curve: Any) -> None:
    size = curve.shape[-1]
    tokens = np.random.default_rng(SEED).uniform(0.0, 1500.0, (3, size))
    for copied in (pickle.loads(pickle.dumps(curve)), copy.deepcopy(curve), curve.replace()):
        assert copied == curve
        assert hash(copied) == hash(curve)
    assert curve != cq.PowerLaw(floor=0.1, gain=0.1, scale=1.0, exponent=1.0)
    assert curve.broadcast(size) is curve
    assert type(curve).__name__ in repr(curve)
    part = curve.mapped(lambda array: array[..., 1:])
    assert part.shape == (size - 1,)
    np.testing.assert_array_equal(part.value(tokens[:, 1:]), curve.value(tokens)[:, 1:])
    which = np.array([2, 0])
    rows = curve.mapped(lambda array: take_rows(np.broadcast_to(array, (3, size)), which))
    assert rows.shape == (2, size)
    np.testing.assert_array_equal(rows.value(tokens[which]), curve.value(tokens)[which])
    part = rows.mapped(lambda array: array[..., :1])
    np.testing.assert_array_equal(part.slope(tokens[which, :1]), curve.slope(tokens)[which, :1])
    none = curve.mapped(lambda array: take_rows(np.broadcast_to(array, (3, size)), np.arange(0)))
    assert none.value(tokens[:0]).shape == (0, size)
    worth = np.linspace(1.0, 9.0, size)
    benefit = curve.weighted(worth)
    expected = worth * curve.difference(0.0, tokens)
    np.testing.assert_allclose(benefit.value(tokens), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(benefit.difference(np.zeros(size), tokens), expected, rtol=1e-13)
    np.testing.assert_allclose(benefit.slope(tokens), worth * curve.slope(tokens), rtol=1e-15)


def majorant(tokens: list[float], accuracy: list[float], at: float) -> float:
    """Value of the least nondecreasing concave majorant, from all pairs of points."""
    best = max(a for t, a in zip(tokens, accuracy, strict=True) if t <= at)
    for i, (left, low) in enumerate(zip(tokens, accuracy, strict=True)):
        for right, high in zip(tokens[i + 1 :], accuracy[i + 1 :], strict=True):
            if left <= at <= right:
                best = max(best, low + (high - low) * (at - left) / (right - left))
    return best


def test_the_points_have_their_concave_majorant() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(100):
        counts = rng.integers(1, 8, 4)
        tokens = [[0.0, *np.sort(rng.choice(np.arange(1.0, 20.0), n - 1, False))] for n in counts]
        accuracy = [(rng.integers(0, 11, n) / 10).tolist() for n in counts]
        curve = cq.PiecewiseLinear(tokens=tokens, accuracy=accuracy)
        for at in rng.uniform(0.0, 25.0, 10):
            expected = [majorant(t, a, at) for t, a in zip(tokens, accuracy, strict=True)]
            np.testing.assert_allclose(curve.value(at), expected, atol=1e-15)
        change = max(
            majorant(t, a, x) - y
            for t, a in zip(tokens, accuracy, strict=True)
            for x, y in zip(t, a, strict=True)
        )
        assert curve.largest_change == pytest.approx(change, abs=1e-14)
        assert (np.diff(curve.segment_slopes, axis=0) <= 0).all()
        assert (np.diff(curve.breakpoints, axis=0) >= 0).all()
        assert curve.point_counts.tolist() == counts.tolist()


def test_points_that_are_moved_by_more_than_a_hundredth_are_warned_of() -> None:
    # The chord from 1000 to 4000 tokens has 0.4 + 0.2/3 at 2000.
    for change, digits in ((0.46, "0.0067"), (0.457, "0.0097"), (0.456, "0.011"), (0.38, "0.087")):
        points = {"tokens": [0, 1000, 2000, 4000], "accuracy": [0.2, 0.4, change, 0.6]}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cq.PiecewiseLinear(**points)
        assert len(caught) == (change < 0.4 + 0.2 / 3 - 0.01)
        for warning in caught:
            assert warning.category is cq.CvxqueueWarning
            assert f"accuracy.accuracy[2] = {change}: " in str(warning.message)
            assert f"is {digits} higher there" in str(warning.message)
            assert warning.filename == __file__
    with pytest.warns(cq.CvxqueueWarning, match=r"accuracy\.accuracy\[1, 2\] = 0.1: .* 0.3 higher"):
        curve = cq.PiecewiseLinear(
            tokens=[[0, 2], [0, 1, 2]], accuracy=[[0.1, 0.2], [0.2, 0.4, 0.1]]
        )
    # Once is enough.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pickle.loads(pickle.dumps(curve)) == copy.deepcopy(curve) == curve


def test_a_mixture_does_not_warn_of_its_curves_again() -> None:
    with pytest.warns(cq.CvxqueueWarning, match="accuracy.accuracy"):
        scattered = cq.PiecewiseLinear(
            tokens=[[0, 100, 200]] * 2, accuracy=[[0.1, 0.12, 0.4], [0.1, 0.2, 0.25]]
        )
    # Here, a warning would be an error.
    cq.MixedAccuracy(curves=[scattered, MICHAELIS], which=[0, 1])


def test_points_that_are_concave_stay_as_they_are() -> None:
    curve = cq.PiecewiseLinear(tokens=[10, 20, 40], accuracy=[0.2, 0.3, 0.4])
    assert curve.largest_change == 0.0
    assert curve.shape == ()
    np.testing.assert_allclose(curve.value([0, 10, 30, 40, 99]), [0.1, 0.2, 0.35, 0.4, 0.4])
    np.testing.assert_allclose(curve.slope([0, 10, 20, 40]), [0.01, 0.01, 0.005, 0.0])
    wide = curve.broadcast(3)
    assert wide == cq.PiecewiseLinear(tokens=[[10, 20, 40]] * 3, accuracy=[0.2, 0.3, 0.4])
    assert not curve.is_smooth
    assert cq.PiecewiseLinear(tokens=[5], accuracy=[0.3]).is_smooth


def test_ties_go_to_the_most_tokens() -> None:
    curve = cq.PiecewiseLinear(tokens=[0, 4, 8], accuracy=[0.0, 0.5, 0.75])
    assert curve.inverse_slope([0.2, 0.125, 0.1, 0.0625, 0.01]).tolist() == [-1, 4, 4, 8, 8]


def test_a_mixture_is_its_curves_apart() -> None:
    tokens = np.linspace(0.0, 1000.0, MIXED.which.size)
    for which, curve in enumerate((EXPONENTIAL, POINTS, POWER, MICHAELIS)):
        place = np.flatnonzero(MIXED.which == which)
        for method in ("value", "slope", "curvature"):
            np.testing.assert_array_equal(
                getattr(MIXED, method)(tokens)[place], getattr(curve, method)(tokens[place])
            )
    # Entries of other types, and the order of the curves, do not matter.
    whole = cq.SaturatingExponential(floor=0.1, gain=0.4, rate=[0.1, 9.0, 0.3])
    own = cq.SaturatingExponential(floor=0.1, gain=0.4, rate=[0.1, 0.3])
    shared = cq.PowerLaw(floor=0.1, gain=0.4, scale=3.0, exponent=2.0)
    mixed = cq.MixedAccuracy(curves=[whole, shared], which=[0, 1, 0])
    assert mixed == cq.MixedAccuracy(curves=[shared, own], which=[1, 0, 1])
    assert mixed.is_smooth
    assert not MIXED.is_smooth


@pytest.mark.parametrize("curve", [EXPONENTIAL, POWER, MICHAELIS, POINTS], ids=str)
def test_what_rounding_takes_from_a_response_is_bounded(curve: Any) -> None:
    rng = np.random.default_rng(SEED)
    error = np.array([1e-7])
    slopes = 10 ** rng.uniform(-6, -2, (50, 2))
    if isinstance(curve, cq.PiecewiseLinear):
        # The price of a piece, or next to it: the two ends of the piece are as good.
        slopes[:20] = curve.segment_slopes[0] * (1 + rng.uniform(-1e-6, 1e-6, (20, 2)))
    for slope in slopes:
        off = slope * (1.0 + 16 * error * rng.uniform(-1, 1, 2))
        with np.errstate(divide="ignore"):
            right, wrong = curve.inverse_slope(slope), curve.inverse_slope(off)
        best, found = np.maximum(right, 0.0), np.maximum(wrong, 0.0)
        lost = curve.difference(found, best) - slope * (best - found)
        bound = slope * curve.response_loss(slope, wrong, found, error)
        assert (lost <= bound + 4 * EPSILON).all()
        assert (bound <= 1e-5).all()


def drawn_instance(rng: np.random.Generator) -> cq.Instance:
    """Draw up to three types, each with a curve of any class."""
    n = int(rng.integers(1, 4))
    floor, gain = rng.uniform(0, 0.3, n), rng.uniform(0.05, 0.6, n)
    wide = 10 ** rng.uniform(0, 4, n)
    counts = rng.integers(2, 7, n)
    curves = [
        cq.SaturatingExponential(floor=floor, gain=gain, rate=1 / wide),
        cq.PowerLaw(floor=floor, gain=gain, scale=wide, exponent=10 ** rng.uniform(-1.5, 1.5, n)),
        cq.MichaelisMenten(floor=floor, gain=gain, half_saturation=wide),
        cq.PiecewiseLinear(
            tokens=[[0.0, *np.sort(rng.uniform(1, 900, m - 1))] for m in counts],
            accuracy=[np.sort(rng.uniform(0, 1, m)).tolist() for m in counts],
        ),
    ]
    drawn = rng.integers(0, 4, n)
    kinds, which = np.unique(drawn, return_inverse=True)
    mix = rng.dirichlet(np.ones(n))
    return cq.Instance(
        arrival_rate=10 ** rng.uniform(-1.5, 0),
        accuracy_weight=10 ** rng.uniform(0, 2.5),
        max_tokens=1000.0,
        probabilities=mix / mix.sum(),
        service=cq.AffineService(
            base=rng.uniform(0, 0.5, n), per_token=10 ** rng.uniform(-4, -2, n)
        ),
        accuracy=cq.MixedAccuracy(curves=[curves[kind] for kind in kinds], which=which),
    )


def searched(instance: cq.Instance) -> FloatArray:
    """Return the best of ever finer grids that contain the corners of all curves."""
    n = instance.size
    best: FloatArray = instance.min_tokens
    center, width = 0.5 * instance.max_tokens, 0.5 * instance.max_tokens
    corners: list[list[float]] = [[] for _ in range(n)]
    for place, curve in instance.accuracy.groups:
        if isinstance(curve, cq.PiecewiseLinear):
            for column, at in enumerate(np.arange(n)[place]):
                corners[at] = curve.breakpoints[:, column].tolist()
    for _ in range(50):
        axes = [
            np.clip([*(center[k] + width[k] * np.linspace(-1, 1, 9)), *corners[k]], 0.0, 1000.0)
            for k in range(n)
        ]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, n)
        grid = np.vstack([grid, best])
        best = grid[np.argmax(instance.objective(grid))]
        center, width = best, 0.65 * width
    return best


def test_certificates_hold_with_every_curve() -> None:
    rng = np.random.default_rng(SEED)
    contracting = 0
    for _ in range(40):
        instance = drawn_instance(rng)
        best = searched(instance)
        most, scale = float(instance.objective(best)), float(instance.evaluate(best).scale)
        near = np.clip(best + rng.normal(size=(6, instance.size)) * 3.0, 0.0, 1000.0)
        tokens = np.vstack([rng.uniform(0, 1000, (10, instance.size)), near, best])
        point = instance.evaluate(tokens)
        gap = certified_gap(point)
        is_known = gap < np.inf
        assert (certified_objective(point)[is_known] + gap[is_known] >= most).all()
        slack = 1e-11 * scale
        bracket = order_bracket(instance, rounds=5)
        assert instance.objective(np.clip(best, *bracket)) >= most - slack
        for row in tokens[-3:]:
            lower, upper = token_bounds(instance.evaluate(row)).T
            assert instance.objective(np.clip(best, lower, upper)) >= most - slack
        proof = contraction(instance)
        assert proof.reason or proof.value < np.inf
        if proof.holds:
            contracting += 1
            inside = proof.lower + rng.random((10, instance.size)) * (proof.upper - proof.lower)
            answers = instance.response(inside)
            apart = (np.abs(inside[:5] - inside[5:]) / proof.weights).max(axis=-1)
            moved = np.abs(answers[:5] - answers[5:]) - 64 * EPSILON * (answers[:5] + 1e4)
            assert ((moved / proof.weights).max(axis=-1) <= proof.value * apart * (1 + 1e-9)).all()
        step = step_size(instance)
        assert step.holds == (not step.reason)
    assert contracting > 10


def kinked() -> cq.Instance:
    return cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=20.0,
        max_tokens=1000.0,
        probabilities=[0.5, 0.5],
        names=["smooth", "measured"],
        service=cq.AffineService(base=0.1, per_token=[1e-3, 0.01]),
        accuracy=cq.MixedAccuracy(
            curves=[
                cq.MichaelisMenten(floor=0.1, gain=0.6, half_saturation=50.0),
                cq.PiecewiseLinear(tokens=[0, 100, 300], accuracy=[0.1, 0.4, 0.6]),
            ],
            which=[0, 1],
        ),
    )


def test_certificates_that_kinks_rule_out_say_so() -> None:
    instance = kinked()
    step = step_size(instance)
    assert not step.holds
    assert "measured has a kink" in step.reason
    jumping = contraction(
        instance,
        order_bracket(instance)._replace(lower=instance.lower, upper=instance.max_tokens * 0.5),
    )
    assert not jumping.holds
    assert "measured jumps" in jumping.reason
    worthless = instance.replace(importance=[1.0, 0.0])
    assert step_size(worthless).holds


WRONG: dict[str, tuple[type[Any], dict[str, Any], tuple[str, ...]]] = {
    "scale": (
        cq.PowerLaw,
        {"floor": 0, "gain": 0.1, "scale": [1, 0], "exponent": 1},
        ("accuracy.scale[1] = 0.0", "> 0"),
    ),
    "ceiling": (
        cq.MichaelisMenten,
        {"floor": 0.5, "gain": 0.6, "half_saturation": 1},
        ("0.5 + 0.6", "≤ 1"),
    ),
    "order": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1], [3, 2]], "accuracy": [0.1, 0.3]},
        ("accuracy.tokens[1, 1] = 2.0", "more than"),
    ),
    "negative tokens": (
        cq.PiecewiseLinear,
        {"tokens": [-1, 2], "accuracy": [0.1, 0.3]},
        ("accuracy.tokens[0] = -1.0", "≥ 0"),
    ),
    "no probability": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1], [2]], "accuracy": [[0.1, 0.2], [1.3]]},
        ("accuracy.accuracy[1, 0] = 1.3", "between 0 and 1"),
    ),
    "negative at zero": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1], [10, 20]], "accuracy": [0.1, 0.3]},
        ("accuracy.accuracy[1]", "-0.1 at 0 tokens", "≥ 0"),
    ),
    "unequal counts": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1], [2]], "accuracy": [0.1, 0.3]},
        ("accuracy.tokens[1] has length 1", "accuracy.accuracy[1] has length 2"),
    ),
    "unequal types": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1]] * 2, "accuracy": [[0.1, 0.3]] * 3},
        ("(2, 2)", "(3, 2)"),
    ),
    "a number": (cq.PiecewiseLinear, {"tokens": 3, "accuracy": 0.1}, ("list of numbers",)),
    "an empty list": (
        cq.PiecewiseLinear,
        {"tokens": [[0, 1], []], "accuracy": [0.1, 0.2]},
        ("accuracy.tokens[1]", "at least one"),
    ),
    "too close": (
        cq.PiecewiseLinear,
        {"tokens": [0, 1e-310], "accuracy": [0.1, 0.2]},
        ("accuracy.tokens[1] = 1e-310", "between 1e-30 and 1e+30"),
    ),
    "no curves": (cq.MixedAccuracy, {"curves": [], "which": [0]}, ("accuracy.curves", "[]")),
    "no curve": (cq.MixedAccuracy, {"curves": [3], "which": [0]}, ("accuracy.curves[0]", "3")),
    "nested": (cq.MixedAccuracy, {"curves": [MIXED], "which": [0]}, ("must not be mixed",)),
    "no position": (
        cq.MixedAccuracy,
        {"curves": [POWER, POWER], "which": [0, 1.5]},
        ("accuracy.which[1] = 1.5", "from 0 to 1"),
    ),
    "unused": (
        cq.MixedAccuracy,
        {"curves": [POWER, POWER], "which": [0, 0]},
        ("accuracy.curves[1]", "no type"),
    ),
    "wrong size": (
        cq.MixedAccuracy,
        {"curves": [POWER, EXPONENTIAL], "which": [0, 1, 1, 1]},
        ("accuracy.curves[0]", "own types (1) or of all 4, got 2"),
    ),
    "batches of two sizes": (
        cq.MixedAccuracy,
        {
            "curves": [
                cq.MichaelisMenten(floor=0.1, gain=0.1, half_saturation=[[1.0]] * size)
                for size in (2, 3)
            ],
            "which": [0, 1],
        },
        ("accuracy.curves[0] has (2,), accuracy.curves[1] has (3,)",),
    ),
}


@pytest.mark.parametrize(("kind", "fields", "says"), WRONG.values(), ids=WRONG)
def test_wrong_curves_are_refused_by_name(
    kind: type[Any], fields: dict[str, Any], says: tuple[str, ...]
) -> None:
    with pytest.raises(cq.InvalidInputError) as caught:
        kind(**fields)
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize("curve", [POINTS, MIXED, POWER], ids=str)
def test_the_wrong_number_of_types_is_refused(curve: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match="for each of the 3 types"):
        curve.broadcast(3)


@pytest.mark.parametrize("queue", [cq.FIFO(), cq.ProcessorSharing()], ids=repr)
def test_an_optimum_within_a_straight_piece_is_no_fixed_point(queue: Any) -> None:
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=80.0,
        max_tokens=4096,
        probabilities=[1.0],
        queue=queue,
        service=cq.AffineService(base=0.5, per_token=0.001),
        accuracy=cq.PiecewiseLinear(tokens=[0, 4096], accuracy=[0.2, 0.4]),
    )
    solution = cq.solve(instance)
    assert 0.0 < solution.tokens[0] < 4096.0
    assert instance.response(solution.tokens)[0] in (0.0, 4096.0)
