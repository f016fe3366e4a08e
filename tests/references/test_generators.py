"""Generated instances: their optimum in rational arithmetic, and the same bits everywhere."""

from __future__ import annotations

import decimal
import hashlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mpmath import mp

import cvxqueue as cq
from cvxqueue.references import ExactInstance, PlantedInstance, exact, exact_by_hand, planted
from tests.exact_model import ExactModel, numbers
from tests.strategies import SEEDS

POWERS = st.integers(1, 24)


def data(instance: cq.Instance) -> dict[str, Any]:
    """All numbers of an instance, as floats and lists of floats."""
    law: Any = instance.service
    curve: Any = instance.accuracy
    assert isinstance(instance.queue, cq.FIFO)
    shape = "rate" if isinstance(curve, cq.SaturatingExponential) else "half_saturation"
    arrays = {
        "probabilities": instance.probabilities,
        "min_tokens": instance.min_tokens,
        "max_tokens": instance.max_tokens,
        "importance": instance.importance,
        "base": law.base,
        "per_token": law.per_token,
        "token_scv": law.token_scv,
        "floor": curve.floor,
        "gain": curve.gain,
        shape: getattr(curve, shape),
    }
    scalars = {"arrival_rate": instance.arrival_rate, "accuracy_weight": instance.accuracy_weight}
    return scalars | {name: array.tolist() for name, array in arrays.items()}


def digest(found: ExactInstance | PlantedInstance) -> str:
    """Digest of all that it is made of, as decimals that tell any two floats apart."""
    return hashlib.sha256(repr((data(found.instance), *found[1:])).encode()).hexdigest()[:16]


def check_optimum(found: ExactInstance, idle: Fraction) -> None:
    """Check in rational arithmetic that no allocation is better, by section 2 of the design.

    J is concave, so that J(l′) ≤ J(l) + Σ s (l′ − l) with its slopes s at l: where all are zero,
    the gap is zero.
    """
    instance, tokens, objective = found
    columns = data(instance)
    rate, weight = (Fraction(columns.pop(name)) for name in ("arrival_rate", "accuracy_weight"))
    assert not any(columns["min_tokens"] + columns["token_scv"])
    assert {*columns["importance"]} == {1.0}
    rows = [
        dict(zip(columns, map(Fraction, row), strict=True))
        for row in zip(*columns.values(), strict=True)
    ]
    times = [
        row["base"] + row["per_token"] * count for row, count in zip(rows, tokens, strict=True)
    ]
    mix = [row["probabilities"] for row in rows]
    first = sum(p * t for p, t in zip(mix, times, strict=True))
    second = sum(p * t * t for p, t in zip(mix, times, strict=True))
    assert sum(mix) == 1
    assert 1 - rate * first == idle
    by_first = 1 + rate * rate * second / (2 * idle * idle)
    accuracy = Fraction(0)
    for row, count, t in zip(rows, tokens, times, strict=True):
        assert 0 < count < row["max_tokens"]
        assert row["floor"] + row["gain"] <= 1
        s = row["half_saturation"]
        worth = weight * row["gain"] * s
        assert worth == row["per_token"] * (by_first + rate * t / idle) * (s + count) * (s + count)
        accuracy += row["probabilities"] * (row["floor"] + row["gain"] * count / (count + s))
    assert objective == weight * accuracy - first - rate * second / (2 * idle)


@pytest.mark.parametrize(
    ("types", "power"),
    [(1, 2), (3, 2), (20, 2), (1000, 2), (1, 20), (2, 20), (3, 20), (20, 20), (1000, 20)],
)
def test_the_gap_of_an_exact_instance_is_zero(types: int, power: int) -> None:
    check_optimum(exact(types, idle=2.0**-power), Fraction(1, 2**power))


@pytest.mark.slow
def test_the_gap_of_a_hundred_thousand_types_is_zero() -> None:
    found = exact(100_000, idle=2.0**-20)
    check_optimum(found, Fraction(1, 2**20))
    solution = cq.solve(found.instance)
    assert Fraction(solution.objective) <= found.objective <= Fraction(solution.upper_bound)
    assert solution.is_optimal


@given(st.integers(1, 12), POWERS, SEEDS)
@example(1, 24, 0)
@example(2, 24, 1)
@example(3, 24, 2)
def test_any_exact_instance_has_no_gap(types: int, power: int, seed: int) -> None:
    check_optimum(exact(types, idle=2.0**-power, seed=seed), Fraction(1, 2**power))


def test_the_exact_instance_by_hand() -> None:
    found = exact_by_hand()
    check_optimum(found, Fraction(1, 4))
    assert found.tokens == tuple(map(Fraction, (768, 512, 1024)))
    assert found.objective == Fraction(215, 4)
    assert data(found.instance) == {
        "arrival_rate": 3 / 16,
        "accuracy_weight": 256.0,
        "probabilities": [1 / 2, 1 / 4, 1 / 4],
        "min_tokens": [0.0] * 3,
        "max_tokens": [8192.0] * 3,
        "importance": [1.0] * 3,
        "base": [1.0, 2.0, 3.0],
        "per_token": [1 / 256, 1 / 256, 1 / 1024],
        "token_scv": [0.0] * 3,
        "floor": [0.0] * 3,
        "gain": [17 / 32, 17 / 64, 17 / 128],
        "half_saturation": [256.0, 512.0, 1024.0],
    }


def test_this_test_can_see_a_gap() -> None:
    found = exact_by_hand()
    moved = found._replace(tokens=(*found.tokens[:2], found.tokens[2] + Fraction(1, 10**30)))
    for wrong in (moved, found._replace(objective=found.objective + Fraction(1, 10**30))):
        with pytest.raises(AssertionError):
            check_optimum(wrong, Fraction(1, 4))


@pytest.mark.parametrize("method", [method.name for method in cq.methods()])
@pytest.mark.parametrize("power", [2, 20])
@pytest.mark.parametrize("types", [0, 1, 3, 20, 300])
def test_every_interval_contains_the_rational_optimum(types: int, power: int, method: str) -> None:
    found = exact(types, idle=2.0**-power, seed=7) if types else exact_by_hand()
    solution = cq.solve(found.instance, method, on_failure="return", max_iterations=300)
    assert Fraction(solution.objective) <= found.objective <= Fraction(solution.upper_bound)
    for tokens, (low, high) in zip(found.tokens, solution.token_bounds.tolist(), strict=True):
        assert Fraction(low) <= tokens <= Fraction(high)


def test_an_exact_optimum_is_that_over_whole_tokens() -> None:
    found = exact(20, idle=2.0**-10)
    whole = cq.solve_integer(found.instance)
    assert tuple(whole.tokens.tolist()) == found.tokens
    assert Fraction(whole.objective) <= found.objective <= Fraction(whole.upper_bound)


SHARES = st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.sampled_from([0.0, 0.3, 0.5]))


@given(
    st.integers(1, 12),
    st.sampled_from([1e-6, 0.1, 0.8, 0.99, 1 - 1e-6]),
    st.sampled_from([1.0, 16.0, 1e3, 1e6]),
    SHARES.filter(lambda shares: sum(shares) <= 1.0),
    SEEDS,
)
def test_a_planted_point_is_the_optimum_up_to_the_rounding_of_the_gains(
    types: int, utilization: float, spread: float, shares: tuple[float, float], seed: int
) -> None:
    zero_share, cap_share = shares
    instance, tokens = planted(
        types,
        utilization=utilization,
        spread=spread,
        zero_share=zero_share,
        cap_share=cap_share,
        seed=seed,
    )
    caps = instance.max_tokens.tolist()
    zeros = sum(count == 0.0 for count in tokens)
    assert zeros == int(zero_share * types + 0.5)
    at_cap = sum(count == cap for count, cap in zip(tokens, caps, strict=True))
    assert at_cap == min(int(cap_share * types + 0.5), types - zeros)
    assert sum(map(Fraction, data(instance)["probabilities"])) == 1
    with mp.workdps(60):
        model, point = ExactModel(instance), numbers(tokens)
        idle = model.idle(point)
        assert abs((1 - idle) / utilization - 1) <= 2.0**-52
        costs = model.marginal_costs(point)
        for k, cost in enumerate(costs):
            slope = model.worth[k] * model.gain[k] / model.scale[k]
            # The scale of the curve is 1/rate in sixty digits.
            ratio = slope * mp.exp(-point[k] / model.scale[k]) / cost
            if tokens[k] == 0.0:
                assert 0.12 < ratio < 0.88
            elif tokens[k] == caps[k]:
                assert 1.12 < ratio < 3.13
            else:
                assert abs(ratio - 1) <= 2.0**-53 * (1 + 2.0**-50)
        # So near an optimum, what is missing is of the second order.
        scale = sum(
            a * w * model.accuracy(k, point[k])
            for k, (a, w) in enumerate(zip(model.mix, model.worth, strict=True))
        )
        gap = model.bound(point) - model.objective(point)
        assert 0 <= gap <= 1e-31 * scale


@pytest.mark.parametrize("spread", [1.0, 16.0, 1e6])
@pytest.mark.parametrize("utilization", [1e-6, 0.5, 1 - 1e-6])
def test_newton_finds_what_was_planted(utilization: float, spread: float) -> None:
    instance, tokens = planted(
        200, utilization=utilization, spread=spread, zero_share=0.25, cap_share=0.25, seed=3
    )
    solution = cq.solve(instance)
    # The rounding of the gains moves the optimum by a few 2^-53 of 1/rate.
    off = 1e-14 / np.array(data(instance)["rate"])
    lower, upper = solution.token_bounds.T
    assert (lower - off <= tokens).all()
    assert (upper + off >= tokens).all()


GOLDEN: dict[str, tuple[Callable[[], Any], str]] = {
    "by hand": (exact_by_hand, "4cfda353bfa2380b"),
    "one": (lambda: exact(1), "b9f4eacc79823824"),
    "two": (lambda: exact(2, idle=0.5), "8f377a87d5d7bd29"),
    "twenty": (lambda: exact(20, idle=2.0**-10, seed=5), "2eb39bbbbf8d3e1d"),
    "thousand": (lambda: exact(1000, idle=2.0**-24, seed=6), "64a28151929249f3"),
    "planted one": (lambda: planted(1), "83796c3a96893f7d"),
    "planted twenty": (
        lambda: planted(20, zero_share=0.3, cap_share=0.3, seed=5),
        "b25fedbceeaa27ab",
    ),
    "planted thousand": (
        lambda: planted(1000, utilization=1 - 1e-6, spread=1e6, seed=6),
        "6e130fb433f14c65",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bits_are_the_same_everywhere(name: str) -> None:
    make, expected = GOLDEN[name]
    assert digest(make()) == expected


def test_nothing_of_the_caller_changes_the_bits() -> None:
    with decimal.localcontext() as context:
        context.prec, context.rounding = 3, decimal.ROUND_UP
        context.traps[decimal.Inexact] = context.traps[decimal.FloatOperation] = True
        found = planted(20, zero_share=0.3, cap_share=0.3, seed=5)
    assert digest(found) == GOLDEN["planted twenty"][1]


@pytest.mark.parametrize("make", [exact, planted])
def test_another_seed_gives_other_data_and_the_same_one_the_same(
    make: Callable[..., ExactInstance | PlantedInstance],
) -> None:
    found = [make(20, seed=seed) for seed in (0, 1, 2, 0)]
    assert len({digest(each) for each in found}) == 3
    assert found[0].instance == found[3].instance
    assert found[0].tokens == found[3].tokens


@pytest.mark.parametrize(
    "call",
    [
        "exact_by_hand()",
        "exact(7, idle=2.0**-12, seed=4)",
        "planted(7, utilization=0.25, spread=3.5, zero_share=0.5, cap_share=0.1, seed=4)",
    ],
)
def test_the_source_of_an_instance_makes_it_again(call: str) -> None:
    instance = eval(f"cq.references.{call}").instance
    assert instance.sources == (f"cvxqueue.references.{call}",)
    assert instance.name
    assert instance.description


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact(0), "types = 0 must be a whole number from 1"),
        (lambda: exact(3, seed=-1), "seed = -1 must be a whole number from 0"),
        (lambda: exact(3, idle=0.3), "idle = 0.3 must be a power of two from 2\\^-24 to 1/2"),
        (lambda: exact(3, idle=1.0), "idle = 1.0 must be"),
        (lambda: exact(3, idle=0.0), "idle = 0.0 must be"),
        (lambda: exact(3, idle=-0.5), "idle = -0.5 must be"),
        (lambda: exact(3, idle=2.0**-25), "must be a power of two from 2\\^-24"),
        (lambda: planted(0), "types = 0 must be a whole number"),
        (lambda: planted(3, utilization=1.0), "utilization = 1.0 must be between 1e-06 and"),
        (lambda: planted(3, spread=0.5), "spread = 0.5 must be between 1.0 and 1000000.0"),
        (lambda: planted(3, zero_share=-0.1), "zero_share = -0.1 must be between 0.0 and 1.0"),
        (lambda: planted(3, zero_share=0.6, cap_share=0.5), "0.6 \\+ 0.5 must be ≤ 1"),
    ],
)
def test_what_is_out_of_range_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        call()
