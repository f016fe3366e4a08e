"""Derivatives of optima against differences of proven optima, and against each other."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pickle
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.instances import instance_of
from tests.own_classes import Knee, Logarithmic, Retrials
from tests.strategies import SEEDS, parameter_sets
from tests.tolerances import Tolerance

# Central differences of optima of thirty digits are off by the square of the step, times the ratio
# of the third derivative to the first, and derivatives by some roundings over the idle fraction: at
# worst 1e-12 for the five instances. Where nothing changes, proofs leave digits beyond their own.
DIFFERENCE = Tolerance(rtol=1e-8, atol=1e-60)
STEP = 2.0**-24
# Two orders of the same products, relative to the sum of their sizes: 5e-11 at an idle fraction of
# 1e-6.
ADJOINT = 1e-10

SE = cq.SaturatingExponential
CURVES = SE(floor=[0.2, 0.125, 0.25], gain=[0.6, 0.5, 0.375], rate=[1e-3, 4e-3, 5e-4])
SERVER = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    probabilities=[0.25, 0.5, 0.25],
    min_tokens=[16.0, 800.0, 16.0],
    max_tokens=[4096.0, 4096.0, 900.0],
    importance=[1.0, 1.5, 1.0],
    service=cq.AffineService(
        base=[0.5, 0.75, 0.125], per_token=[0.002, 0.003, 0.001], token_scv=[0.25, 0.5, 0.125]
    ),
    accuracy=CURVES,
)
TABLES = cq.PiecewiseLinear(
    tokens=[[0, 500, 1000, 2000], [100, 500, 1000, 2000], [100, 400, 800, 4000]],
    accuracy=[[0.2, 0.45, 0.6, 0.7], [0.15, 0.4, 0.5, 0.55], [0.3, 0.35, 0.38, 0.6]],
)
INSTANCES = {
    # A type at either end of its box, and one within.
    "bounds": SERVER,
    "constraints": SERVER.replace(
        min_tokens=1.0,
        max_tokens=4096.0,
        queue=cq.Setups(2.0, 6.0),
        constraints=[
            cq.MaxMeanSystemTime(5.0),
            cq.MinAccuracy(0.58, 1),
            cq.MaxTokenRate(1000.0),
            cq.MinMeanAccuracy(0.1),
        ],
    ),
    # Tokens from 1e-2 to 1e7, times from 1e-5 s to 1e2 s, a type in a million.
    "decades": cq.Instance(
        arrival_rate=1e-3,
        accuracy_weight=1e4,
        max_tokens=1e9,
        min_tokens=1e-6,
        probabilities=[0.5, 0.5 - 2.0**-20, 2.0**-20],
        service=cq.AffineService(
            base=[1e-5, 1.0, 100.0], per_token=[10.0, 1e-3, 1e-6], token_scv=[0.5, 1e-3, 10.0]
        ),
        accuracy=SE(floor=[1e-3, 0.5, 0.25], gain=[0.5, 0.25, 1e-3], rate=[5.0, 1e-4, 1e-6]),
    ),
    # A type at a kink, one within a piece, and one within another class.
    "tables": SERVER.replace(
        min_tokens=1.0,
        max_tokens=4096.0,
        accuracy_weight=35.0,
        accuracy=cq.MixedAccuracy(
            curves=[TABLES, cq.PowerLaw(floor=0.25, gain=0.5, scale=300.0, exponent=1.25)],
            which=[0, 0, 1],
        ),
    ),
    "processor sharing": SERVER.replace(
        min_tokens=1.0,
        queue=cq.ProcessorSharing(),
        service=cq.QuadraticService(
            base=[0.5, 0.75, 0.125],
            per_token=[0.002, 0.003, 0.001],
            per_squared_token=[1e-6, 1e-7, 3e-7],
        ),
        accuracy=cq.MichaelisMenten(
            floor=[0.2, 0.1, 0.3], gain=[0.6, 0.5, 0.4], half_saturation=[500.0, 100.0, 2000.0]
        ),
    ),
}


def field(instance: cq.Instance, name: str) -> Any:
    """The field of a name, as the page on sensitivities explains names."""
    if found := re.fullmatch(r"(.*)\[(\d+)\]\.(\w+)", name):
        part, place, last = found.groups()
        return getattr(field(instance, part)[int(place)], last)
    for part in name.split("."):
        instance = getattr(instance, part)
    return instance


def moved(instance: cq.Instance, name: str, value: FloatArray) -> cq.Instance:
    """The instance with one field replaced."""
    number = value if value.ndim else float(value)
    if found := re.fullmatch(r"(.*)\[(\d+)\]\.(\w+)", name):
        part, place, last = found.groups()
        parts = list(field(instance, part))
        parts[int(place)] = with_field(parts[int(place)], last, number)
        if part == "constraints":
            return instance.replace(constraints=parts)
        return instance.replace(accuracy=instance.accuracy.replace(curves=parts))
    first, _, last = name.partition(".")
    if not last:
        return instance.replace(**{first: number})
    return instance.replace(**{first: with_field(getattr(instance, first), last, number)})


def with_field(part: Any, name: str, value: Any) -> Any:
    if hasattr(part, "replace"):
        return part.replace(**{name: value})
    return dataclasses.replace(part, **{name: value})


def proven(instance: cq.Instance) -> tuple[Fraction, list[Fraction]]:
    record = cq.prove(instance)
    return Fraction(record["objective"]), [Fraction(tokens) for tokens in record["tokens"]]


def directions(name: str, at: FloatArray) -> Iterator[FloatArray]:
    """One for each entry of a field; of a mix, pairs that keep its sum."""
    units = np.eye(at.size).reshape(at.size, *at.shape)
    if name == "probabilities":
        units = units - np.roll(units, 1, axis=0)
    yield from units


def differences(
    instance: cq.Instance, name: str, direction: FloatArray, step: float
) -> tuple[float, FloatArray]:
    """Central differences of the proven objective and tokens, for one unit of a direction."""
    at = np.asarray(field(instance, name), dtype=np.float64)
    # A power of two, so that what is added is exact or nearly so.
    size = float(np.max(np.abs(at[direction != 0.0])))
    length = step * 2.0 ** np.floor(np.log2(size))
    high, low = at + length * direction, at - length * direction
    place = tuple(np.argwhere(direction != 0.0)[0])
    width = (Fraction(float(high[place])) - Fraction(float(low[place]))) / Fraction(
        float(direction[place])
    )
    (best, tokens), (worst, others) = (proven(moved(instance, name, it)) for it in (high, low))
    slopes = [(first - last) / width for first, last in zip(tokens, others, strict=True)]
    return float((best - worst) / width), np.array(slopes, dtype=np.float64)


def one_sided(
    instance: cq.Instance, found: cq.Sensitivity, names: Iterable[str], step: float
) -> Iterator[tuple[str, float, float]]:
    """Yield name, derivative and the slope of solved optima, on each side that is allowed."""
    here = cq.solve(instance).objective
    for name in names:
        at = np.asarray(field(instance, name), dtype=np.float64)
        for direction in directions(name, at):
            slope = float(np.sum(found.value[name] * direction, where=direction != 0.0))
            # Tokens are thousands, and all else is some one.
            size = step * max(1.0, float(np.max(at)))
            for side in (size, -size):
                with contextlib.suppress(cq.CvxqueueError):
                    there = cq.solve(moved(instance, name, at + side * direction)).objective
                    yield name, slope, (there - here) / side


def require_derivatives(instance: cq.Instance, names: list[str], step: float = STEP) -> None:
    """Hold value, tokens and gradient against differences, field by field."""
    found = cq.sensitivity(cq.solve(instance))
    weights = np.cos(np.arange(instance.size))
    back = found.gradient(weights)
    for name in names:
        at = np.asarray(field(instance, name), dtype=np.float64)
        for direction in directions(name, at):
            if not at[direction != 0.0].any():
                continue
            what = f"{name} along {direction.tolist()}"
            value, slopes = differences(instance, name, direction, step)
            DIFFERENCE.check(np.sum(found.value[name] * direction), value, what)
            tokens = found.tokens({name: direction})
            natural = found.solution.tokens / np.max(np.abs(at))
            # Rounding is left where nothing moves.
            allowed = 1e-8 * np.max(np.abs(slopes)) + 1e-12 * natural
            assert (np.abs(tokens - slopes) <= allowed).all(), what
            natural = natural + np.abs(tokens)
            miss = abs(np.sum(back[name] * direction) - weights @ tokens)
            assert miss <= ADJOINT * np.sum(np.abs(weights) * natural), what


FEW = ("arrival_rate", "probabilities", "accuracy.rate", "max_tokens", "constraints[0].seconds")


@pytest.mark.parametrize("name", INSTANCES)
def test_some_derivatives_by_differences_of_proven_optima(name: str) -> None:
    known = cq.sensitivity(cq.solve(INSTANCES[name])).value
    require_derivatives(INSTANCES[name], [it for it in FEW if it in known])


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTANCES)
def test_all_derivatives_by_differences_of_proven_optima(name: str) -> None:
    known = cq.sensitivity(cq.solve(INSTANCES[name])).value
    require_derivatives(INSTANCES[name], list(known))


def test_directions_add_up_and_gradients_are_their_adjoint() -> None:
    for instance in INSTANCES.values():
        found, rng = cq.sensitivity(cq.solve(instance)), np.random.default_rng(1)
        direction = {
            name: rng.normal(size=np.shape(it)) * np.abs(field(instance, name))
            for name, it in found.value.items()
        }
        along = found.tokens(direction)
        parts = [found.tokens({name: it}) for name, it in direction.items()]
        np.testing.assert_allclose(along, np.sum(parts, axis=0), rtol=1e-9)
        weights = rng.normal(size=instance.size)
        back = found.gradient(weights)
        total = sum(np.sum(back[name] * it) for name, it in direction.items())
        assert total == pytest.approx(weights @ along, rel=1e-9)


@settings(max_examples=40)
@given(parameter_sets(largest_n=12), SEEDS)
def test_forward_and_backward_agree_on_any_instance(parameters: dict[str, Any], seed: int) -> None:
    instance, rng = instance_of(parameters), np.random.default_rng(seed)
    found = cq.sensitivity(cq.solve(instance))
    if found.degenerate:
        return
    weights = rng.normal(size=instance.size)
    back = found.gradient(weights)
    for name, slope in back.items():
        direction = rng.normal(size=np.shape(slope)) * np.abs(field(instance, name))
        along = found.tokens({name: direction})
        size = np.abs(slope * direction).sum() + np.abs(weights * along).sum()
        size += np.abs(weights * found.solution.tokens).sum()
        allowed = ADJOINT / (1.0 - found.solution.utilization)
        assert abs(np.sum(slope * direction) - weights @ along) <= allowed * size, name


@settings(max_examples=25)
@given(parameter_sets(largest_n=8), st.sampled_from([-6, -2, 4, 10]))
def test_derivatives_change_with_units_by_powers_of_two(
    parameters: dict[str, Any], power: int
) -> None:
    """Seconds in units of another: powers of four, of which the roots are powers of two as well."""
    unit = 4.0**power
    instance = instance_of(parameters)
    law: Any = instance.service
    other = instance.replace(
        arrival_rate=instance.arrival_rate / unit,
        accuracy_weight=instance.accuracy_weight * unit,
        service=law.replace(base=law.base * unit, per_token=law.per_token * unit),
    )
    seconds = {"arrival_rate": 2.0, "accuracy_weight": 0.0}
    seconds |= {"service.base": 0.0, "service.per_token": 0.0}
    first, last = (cq.sensitivity(cq.solve(it)) for it in (instance, other))
    assert first.degenerate == last.degenerate
    for name, slope in first.value.items():
        assert np.array_equal(last.value[name], slope * unit ** seconds.get(name, 1.0)), name


def test_types_may_come_in_any_order() -> None:
    instance, order = SERVER, np.array([2, 0, 1])
    law, curve = instance.service, instance.accuracy
    other = instance.replace(
        service=law.mapped(lambda array: array[order]),
        accuracy=curve.mapped(lambda array: array[order]),
        **{name: getattr(instance, name)[order] for name in BY_TYPE},
    )
    first, last = (cq.sensitivity(cq.solve(it)) for it in (instance, other))
    for name, slope in first.value.items():
        np.testing.assert_allclose(
            last.value[name], slope[order] if np.ndim(slope) else slope, rtol=1e-11
        )


BY_TYPE = ("probabilities", "min_tokens", "max_tokens", "importance")


@pytest.mark.parametrize("name", ["heavy-traffic-6", "exact-20", "one-type", "all-at-cap"])
def test_near_saturation_and_at_bounds(name: str) -> None:
    instance = cq.references.load(name).instance
    # A step shifts the idle fraction by a small share of it.
    names = ["arrival_rate", "service.per_token"]
    require_derivatives(instance, names[: 1 + (instance.size < 3)], step=2.0**-46)


@pytest.mark.parametrize("name", ["all-at-zero", "no-accuracy-weight"])
def test_where_no_type_thinks(name: str) -> None:
    instance = cq.references.load(name).instance
    found = cq.sensitivity(cq.solve(instance))
    assert (
        found.tokens({"arrival_rate": 1.0, "accuracy.gain": 1.0}).tolist() == [0.0] * instance.size
    )
    value = found.value["arrival_rate"]
    DIFFERENCE.check(value, differences(instance, "arrival_rate", np.ones(()), STEP)[0])


CAPPED = cq.Instance(
    arrival_rate=0.25,
    accuracy_weight=64.0,
    max_tokens=512.0,
    probabilities=[1.0],
    service=cq.AffineService(base=1.0, per_token=0.002),
    accuracy=SE(floor=0.125, gain=0.75, rate=0.001),
)


@pytest.mark.parametrize(
    "constraint",
    [
        cq.MaxMeanWaitingTime(0.5),
        cq.MaxTokenRate(50.0),
        cq.WaitingTimeTail(5.0, 0.125),
        cq.MinMeanAccuracy(0.6),
    ],
    ids=lambda constraint: type(constraint).__name__,
)
def test_one_type_that_a_constraint_holds(constraint: Any) -> None:
    instance = CAPPED.replace(max_tokens=8192.0, constraints=[constraint])
    fields = [f"constraints[0].{it.name}" for it in dataclasses.fields(constraint)]
    require_derivatives(instance, ["arrival_rate", "service.base", "accuracy.rate", *fields])
    found = cq.sensitivity(cq.solve(instance))
    price = found.solution.constraint_multipliers[0]
    sign = -1.0 if constraint.is_floor else 1.0
    assert found.value[fields[0]] == pytest.approx(sign * price, rel=1e-6)


def test_a_number_that_is_zero_has_the_derivative_of_the_formula() -> None:
    zero = SERVER.service.replace(base=0.0, token_scv=0.0)
    near = SERVER.service.replace(base=2.0**-40, token_scv=2.0**-40)
    first, last = (cq.sensitivity(cq.solve(SERVER.replace(service=it))) for it in (zero, near))
    for name in ("service.base", "service.token_scv"):
        assert (first.value[name] < 0.0).all()
        np.testing.assert_allclose(first.value[name], last.value[name], rtol=1e-9)


QUEUES = (cq.BatchArrivals(2.0, 6.0), cq.Vacations(2.0, 6.0), cq.Setups(2.0, 6.0))


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: type(queue).__name__)
def test_the_numbers_of_a_queue(queue: Any) -> None:
    instance = SERVER.replace(queue=queue, constraints=[cq.MaxMeanWaitingTime(4.0)])
    names = [f"queue.{it.name}" for it in dataclasses.fields(queue)]
    require_derivatives(instance, ["arrival_rate", *names])


OWN = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=100.0,
    max_tokens=4096,
    probabilities=[0.4, 0.6],
    service=Knee(base=0.5, per_token=[0.002, 0.003], per_squared_token=1e-6, knee=500.0),
    accuracy=Logarithmic(floor=[0.2, 0.3], gain=[0.08, 0.05], scale=[100.0, 500.0]),
    queue=Retrials(mean_backoff=3.0),
)


def test_classes_of_ones_own_have_derivatives() -> None:
    found = cq.sensitivity(cq.solve(OWN))
    for name, slope in found.value.items():
        at = np.asarray(field(OWN, name), dtype=np.float64)
        for direction in directions(name, at):
            if name == "min_tokens":
                continue
            step = 2.0**-12 * np.max(np.abs(at[direction != 0.0]))
            best = [
                cq.solve(moved(OWN, name, at + side * step * direction)).certificate
                for side in (-1.0, 1.0)
            ]
            values = [it.instance.objective(it.tokens) for it in best]
            quotient = (values[1] - values[0]) / (2.0 * step)
            # The square of the step, and two objectives of some 1e-14 over it.
            allowed = 1e-6 * abs(quotient) + 1e-12 / step
            assert abs(np.sum(slope * direction) - quotient) <= allowed, name


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _Absolute(Logarithmic):  # type: ignore[misc]
    def value(self, tokens: Any) -> Any:
        return np.abs(super().value(tokens))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _Buffered(Logarithmic):  # type: ignore[misc]
    def value(self, tokens: Any) -> Any:
        found = np.empty(2)
        found[:] = super().value(tokens)
        return found


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _InPlace(Logarithmic):  # type: ignore[misc]
    def value(self, tokens: Any) -> Any:
        found = self.gain * np.log1p(tokens / self.scale)
        found += self.floor
        return found


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _Bent(cq.model.AccuracyCurve):
    """A straight piece up to a knee, and an exponential beyond."""

    floor: Any
    first: Any
    second: Any
    knee: Any
    is_smooth = False

    @property
    def breakpoints(self) -> Any:
        return np.asarray(self.knee)[np.newaxis]

    def value(self, tokens: Any) -> Any:
        beyond = self.first * self.knee + self.second * -np.expm1((self.knee - tokens) / 1000.0)
        return self.floor + np.where(tokens < self.knee, self.first * tokens, beyond)

    def slope(self, tokens: Any) -> Any:
        beyond = self.second * np.exp((self.knee - tokens) / 1000.0) / 1000.0
        return np.where(tokens < self.knee, self.first, beyond)

    def curvature(self, tokens: Any) -> Any:
        return np.where(tokens < self.knee, 0.0, -self.slope(tokens) / 1000.0)

    def difference(self, tokens: Any, to: Any) -> Any:
        return self.value(to) - self.value(tokens)


@dataclasses.dataclass(frozen=True)
class _Switched(Retrials):  # type: ignore[misc]
    is_patient: bool = True
    customers: Any = None
    kinds: ClassVar[int] = 3

    def delay(self, arrival_rate: Any, mean: Any, idle: Any) -> Any:
        found = super().delay(arrival_rate, mean, idle)
        return type(found)(*(part * self.customers for part in found))

    def delay_divergence(self, *moves: Any) -> Any:
        return self.customers * super().delay_divergence(*moves)


def test_only_numbers_have_derivatives_and_all_of_them() -> None:
    found = cq.sensitivity(
        cq.solve(OWN.replace(queue=_Switched(mean_backoff=3.0, customers=np.float32(2.0))))
    ).value
    names = {name for name in found if name.startswith("queue.")}
    assert names == {"queue.mean_backoff", "queue.customers"}
    assert found["queue.customers"] == pytest.approx(1.5 * found["queue.mean_backoff"])


def test_a_kink_of_ones_own_moves_with_its_field() -> None:
    curve = _Bent(floor=0.1, first=[4e-4, 2e-4, 1e-4], second=[0.05, 0.2, 0.09], knee=700.0)
    service = cq.AffineService(base=[0.5, 0.75, 0.1], per_token=[0.002, 0.003, 0.001])
    instance = SERVER.replace(
        accuracy=curve,
        accuracy_weight=40.0,
        service=service,
        importance=1.0,
        min_tokens=0.0,
        max_tokens=4096.0,
    )
    found = cq.sensitivity(cq.solve(instance, tolerance=1e-6))
    assert found.solution.tokens[0] == 700.0 < found.solution.tokens[1]
    for name in ("arrival_rate", "accuracy.first", "accuracy.second", "accuracy.knee"):
        at = np.asarray(field(instance, name), dtype=np.float64)
        for direction in directions(name, at):
            step = 2.0**-16 * np.max(at)
            ends = [
                cq.solve(moved(instance, name, at + side * step * direction), tolerance=1e-6)
                for side in (-1.0, 1.0)
            ]
            points = [cq.sensitivity(it)._optimum.point for it in ends]
            quotient = float(points[1].objective - points[0].objective) / (2.0 * step)
            slope = float(np.sum(found.value[name] * direction))
            assert slope == pytest.approx(quotient, rel=1e-6, abs=1e-12 / step), name
            along = (points[1].tokens - points[0].tokens) / (2.0 * step)
            np.testing.assert_allclose(
                found.tokens({name: direction}), along, rtol=1e-5, atol=1e-9 / step
            )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _AtBothEnds(Logarithmic):  # type: ignore[misc]
    """Of the floors none can be less, or none more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if np.min(self.floor) < 0.0 or np.max(self.floor) > 0.3:
            raise ValueError("a floor lies in [0, 0.3]")

    def value(self, tokens: Any) -> Any:
        return super().value(tokens) - self.floor + np.abs(self.floor)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _OnlyItself(Logarithmic):  # type: ignore[misc]
    def __post_init__(self) -> None:
        if not np.array_equal(self.floor, field(OWN, "accuracy.floor")):
            raise ValueError("another floor")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _NotOfConstructor(Logarithmic):  # type: ignore[misc]
    unit: float = dataclasses.field(init=False, default=1.0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _Raising(Logarithmic):  # type: ignore[misc]
    error = ValueError

    def value(self, tokens: Any) -> Any:
        if np.iscomplexobj(self.floor):
            raise self.error("no complex numbers here")
        return super().value(tokens)


class _Looked(_Raising):
    error = IndexError  # type: ignore[assignment]


@pytest.mark.parametrize(
    "kind",
    [*(_Absolute, _Buffered, _AtBothEnds, _OnlyItself), *(_NotOfConstructor, _Raising, _Looked)],
)
def test_a_class_whose_formulas_lose_a_derivative_is_refused_by_name(kind: Any) -> None:
    ends = {"floor": [0.0, 0.3]} if kind is _AtBothEnds else {}
    solution = cq.solve(OWN.replace(accuracy=kind(**vars(OWN.accuracy) | ends)))
    with pytest.raises(cq.InvalidInputError, match=f"{kind.__name__} has no derivative by floor"):
        cq.sensitivity(solution)


@dataclasses.dataclass(frozen=True)
class _AbsoluteRate(Retrials):  # type: ignore[misc]
    def delay(self, arrival_rate: Any, mean: Any, idle: Any) -> Any:
        return super().delay(np.abs(arrival_rate), mean, idle)


@dataclasses.dataclass(frozen=True)
class _FloatRate(Retrials):  # type: ignore[misc]
    def delay(self, arrival_rate: Any, mean: Any, idle: Any) -> Any:
        return super().delay(float(arrival_rate), mean, idle)


@pytest.mark.parametrize("kind", [_AbsoluteRate, _FloatRate])
def test_a_queue_that_loses_the_derivative_by_the_rate_is_refused_by_name(kind: Any) -> None:
    solution = cq.solve(OWN.replace(queue=kind(mean_backoff=3.0)))
    with pytest.raises(cq.InvalidInputError, match=f"{kind.__name__} .* by arrival_rate"):
        cq.sensitivity(solution)


@pytest.mark.parametrize("weight", [1e4, 1e8, 1e12])
def test_a_queue_of_ones_own_may_be_near_saturation(weight: float) -> None:
    solution = cq.solve(OWN.replace(accuracy_weight=weight, max_tokens=1e6), tolerance=1e-6)
    assert cq.sensitivity(solution).value["arrival_rate"] < 0.0


def test_a_class_may_add_in_place() -> None:
    solution = cq.solve(OWN.replace(accuracy=_InPlace(**vars(OWN.accuracy))))
    first, last = cq.sensitivity(cq.solve(OWN)), cq.sensitivity(solution)
    for name, slope in first.value.items():
        np.testing.assert_allclose(last.value[name], slope, rtol=1e-12)


def test_the_answer_of_any_method_leads_to_the_same_derivatives() -> None:
    def rough(instance: cq.Instance) -> Any:
        return 0.99 * cq.solve(instance).tokens + 0.01 * instance.lower

    for instance in (SERVER, INSTANCES["constraints"]):
        answers = [cq.solve(instance, "conic"), cq.solve(instance, rough, tolerance=0.01)]
        assert answers[1].relative_gap > 1e-6
        expected = cq.sensitivity(cq.solve(instance)).value
        for answer in answers:
            for name, slope in cq.sensitivity(answer).value.items():
                np.testing.assert_allclose(slope, expected[name], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["degenerate-caps", "degenerate-lower-bounds"])
def test_degenerate_types_are_named_and_have_a_value_alone(name: str) -> None:
    instance = cq.references.load(name).instance
    found = cq.sensitivity(cq.solve(instance))
    assert found.degenerate == tuple(instance.type_name(k) for k in range(instance.size))
    assert found.degenerate[0] in str(found)
    for call in (lambda: found.tokens({}), lambda: found.gradient(1.0)):
        with pytest.raises(cq.InvalidInputError, match=f"{found.degenerate[0]}.* multiplier"):
            call()
    # The second derivative has another value on each side.
    value = differences(instance, "arrival_rate", np.ones(()), STEP)[0]
    assert found.value["arrival_rate"] == pytest.approx(value, rel=1e-6)


def test_a_constraint_that_lets_go_is_named() -> None:
    point = cq.sensitivity(cq.solve(SERVER))._optimum.point
    limit = float(point.mean_system_time)
    instance = SERVER.replace(constraints=[cq.MaxMeanSystemTime(limit)])
    found = cq.sensitivity(cq.solve(instance))
    assert found.degenerate == (instance.constraints[0].label,)
    assert found.value["constraints[0].seconds"] == pytest.approx(0.0, abs=1e-9)


def test_what_two_things_hold_has_no_derivative_by_either() -> None:
    # A cap at the end of a table, a point on the line between two others, and two floors alike.
    table = cq.PiecewiseLinear(tokens=[0, 1000, 2000, 4096], accuracy=[0.25, 0.5, 0.625, 0.75])
    capped = SERVER.replace(accuracy=table, accuracy_weight=1e3, max_tokens=2000.0)
    found = cq.sensitivity(cq.solve(capped))
    assert found.solution.tokens[0] == 2000.0
    assert np.isnan(found.value["max_tokens"][0])
    assert np.isnan(found.value["accuracy.tokens"][0]).tolist() == [False, False, True, False]
    assert np.isfinite(found.value["accuracy.accuracy"]).all()
    assert found.to_dict()["value"]["max_tokens"][0] is None
    line = cq.PiecewiseLinear(tokens=[0, 1000, 2000, 4096], accuracy=[0.2, 0.4, 0.6, 0.7])
    found = cq.sensitivity(cq.solve(SERVER.replace(accuracy=line, accuracy_weight=20.0)))
    assert 0.0 < found.solution.tokens[0] < 2000.0
    slopes = found.value["accuracy.accuracy"][0]
    assert np.isnan(slopes).tolist() == [True, True, True, False]
    floors = [cq.MinAccuracy(0.5, 0), cq.MinAccuracy([0.5, 0.125, 0.25])]
    found = cq.sensitivity(cq.solve(SERVER.replace(constraints=floors, accuracy_weight=1.0)))
    assert np.isnan(found.value["constraints[0].accuracy"])
    assert np.isnan(found.value["constraints[1].accuracy"]).tolist() == [True, False, False]


def test_at_the_edge_of_what_is_feasible_the_derivative_is_of_the_allowed_side() -> None:
    same = SERVER.replace(min_tokens=100.0, max_tokens=[100.0, 4096.0, 4096.0])
    slope = cq.sensitivity(cq.solve(same)).value["max_tokens"][0]
    more = same.replace(max_tokens=[100.001, 4096.0, 4096.0])
    change = cq.solve(more).objective - cq.solve(same).objective
    assert 0.0 < slope == pytest.approx(1e3 * change, rel=1e-3)


def test_a_floor_of_one_type_leaves_the_others_alone() -> None:
    nothing = SERVER.accuracy.replace(floor=[0.2, 0.0, 0.0])
    instance = SERVER.replace(
        accuracy=nothing, min_tokens=0.0, accuracy_weight=0.5, constraints=[cq.MinAccuracy(0.5, 0)]
    )
    found = cq.sensitivity(cq.solve(instance))
    assert found.solution.tokens[1:].tolist() == [0.0, 0.0]
    assert all(np.isfinite(slope).all() for slope in found.value.values())
    require_derivatives(instance, ["constraints[0].accuracy", "accuracy.rate"])


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0, 60.0])
@pytest.mark.parametrize(
    ("points", "heights", "floor", "least", "is_tied"),
    [
        # Rounding puts the floor a bit to the left of the point.
        ([0, 100, 1000], [0.1, 0.3, 0.6], 0.3, 1.0, True),
        ([0, 500, 1000, 2000], [0.2, 0.45, 0.6, 0.7], 0.45, 1.0, True),
        ([0, 500, 1000, 2000], [0.2, 0.45, 0.6, 0.7], 0.7, 1.0, True),
        ([0, 500, 1000, 2000], [0.2, 0.45, 0.6, 0.7], 0.5, 1.0, False),
        # Bounds that meet by rounding, or not.
        ([0, 100, 1000], [0.1, 0.3, 0.6], 0.3, 100.0, True),
        ([0, 300, 1000], [0.1, 0.3, 0.6], 0.2, 150.0, True),
        ([0, 300, 1000], [0.1, 0.3, 0.6], 0.2, 150.1, False),
    ],
)
def test_a_floor_has_no_derivative_of_one_side(
    points: Any, heights: Any, floor: float, least: float, is_tied: bool, weight: float
) -> None:
    instance = cq.Instance(
        arrival_rate=0.01,
        accuracy_weight=weight,
        probabilities=[1.0],
        min_tokens=least,
        max_tokens=4096,
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.PiecewiseLinear(tokens=points, accuracy=heights),
        constraints=[cq.MinAccuracy(floor)],
    )
    found = cq.sensitivity(cq.solve(instance))
    assert found.degenerate == ()
    names = ["accuracy.tokens", "accuracy.accuracy", "constraints[0].accuracy", "min_tokens"]
    sides = [side for side in one_sided(instance, found, names, 1e-5) if np.isfinite(side[1])]
    assert len(sides) > 3
    for name, slope, quotient in sides:
        assert slope == pytest.approx(quotient, rel=2e-3, abs=1e-7), name
    rests = found.solution.tokens[0] == pytest.approx(instance.lower[0])
    assert np.isnan(found.value["constraints[0].accuracy"]) == (rests and is_tied)


def test_what_has_no_derivative_leaves_all_else_alone() -> None:
    # The first type is on the line between three points, the second at a kink.
    table = cq.PiecewiseLinear(
        tokens=[[0, 1000, 2000, 4096], [0, 500, 2000, 4096]],
        accuracy=[[0.2, 0.4, 0.6, 0.7], [0.2, 0.5, 0.6, 0.65]],
    )
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=20.0,
        probabilities=[0.3, 0.7],
        max_tokens=4096,
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=table,
    )
    found = cq.sensitivity(cq.solve(instance))
    assert np.isnan(found.value["accuracy.accuracy"][0, :3]).all()
    change = np.zeros((2, 4))
    assert found.tokens({"accuracy.accuracy": change}).tolist() == [0.0, 0.0]
    change[1] = 1.0
    assert found.tokens({"accuracy.accuracy": change}).tolist() == [0.0, 0.0]
    change[0, 0] = 1.0
    assert np.isnan(found.tokens({"accuracy.accuracy": change})[0])
    assert np.isfinite(found.gradient([0.0, 1.0])["accuracy.accuracy"]).all()
    # The first type has no part in it where its accuracy is worth nothing.
    nothing = instance.replace(importance=[0.0, 1.0], min_tokens=[1.0, 0.0])
    assert np.isfinite(cq.sensitivity(cq.solve(nothing)).value["accuracy.accuracy"]).all()


@pytest.mark.parametrize(
    ("points", "heights", "most", "unsure"),
    [
        # At the kink of a level line a further point on it changes nothing.
        ([0, 500, 1500], [0.2, 0.3, 0.3], 4096.0, []),
        # Nor does what is to the right, on one line with others, of where a type is.
        ([0, 200, 1000, 2000], [0.3, 0.3, 0.4, 0.5], 0.0, []),
        # On a level line accuracies may go up alone, and points anywhere.
        ([0, 500, 1500], [0.2, 0.3, 0.3], 1000.0, ["accuracy.accuracy"]),
    ],
)
def test_points_on_one_line_have_a_derivative_where_both_sides_agree(
    points: Any, heights: Any, most: float, unsure: list[str]
) -> None:
    curve = cq.PiecewiseLinear(tokens=points, accuracy=heights)
    least = most if most == 1000.0 else 0.0
    instance = CAPPED.replace(accuracy=curve, max_tokens=most, min_tokens=least)
    found, names = cq.sensitivity(cq.solve(instance)), ["accuracy.tokens", "accuracy.accuracy"]
    assert [name for name in names if np.isnan(found.value[name]).any()] == unsure
    sides = [side for side in one_sided(instance, found, names, 1e-6) if np.isfinite(side[1])]
    assert len(sides) > 6
    for name, slope, quotient in sides:
        assert slope == pytest.approx(quotient, rel=1e-3, abs=1e-7), name


class _Relative(cq.MinAccuracy):
    """A share of what each type can reach."""

    def floors(self, instance: cq.Instance) -> FloatArray:
        return super().floors(instance) * instance.accuracy.ceiling


@dataclasses.dataclass(frozen=True)
class _Milliseconds(cq.MaxMeanSystemTime):
    def excess(self, point: Any) -> float:
        return float(point.mean_system_time) - self.seconds / 1000.0


@dataclasses.dataclass(frozen=True)
class _SaysHow(_Milliseconds):
    def partials(self, point: Any) -> dict[str, tuple[float, float | FloatArray]]:
        return {"seconds": (-0.001, 0.0)}


@pytest.mark.parametrize("constraint", [_Relative(0.5), _Milliseconds(3000.0)])
def test_a_constraint_that_is_derived_does_not_inherit_derivatives(constraint: Any) -> None:
    instance = SERVER.replace(min_tokens=1.0, constraints=[constraint])
    with pytest.raises(cq.InvalidInputError, match=f"{type(constraint).__name__} does not say"):
        cq.sensitivity(cq.solve(instance))


def test_a_constraint_of_ones_own_may_say_how_it_changes() -> None:
    first, last = (
        cq.sensitivity(cq.solve(SERVER.replace(min_tokens=1.0, constraints=[it]))).value
        for it in (_SaysHow(3000.0), cq.MaxMeanSystemTime(3.0))
    )
    name = "constraints[0].seconds"
    assert 0.0 < first[name] == pytest.approx(0.001 * last[name], rel=1e-9)


def test_one_type_may_rest_within_a_straight_piece() -> None:
    table = cq.PiecewiseLinear(tokens=[[0, 4096]] * 2, accuracy=[[0.125, 0.75], [0.125, 0.5]])
    instance = cq.Instance(
        arrival_rate=0.25,
        accuracy_weight=64.0,
        max_tokens=8192,
        probabilities=[0.5, 0.5],
        queue=cq.ProcessorSharing(),
        accuracy=table,
        service=cq.AffineService(base=[1.0, 1.0], per_token=0.002),
    )
    assert 0.0 < cq.solve(instance).tokens[0] < 4096.0
    require_derivatives(instance, ["arrival_rate", "service.per_token", "accuracy.accuracy"])


def test_what_is_no_unique_optimum_is_refused() -> None:
    pair = [cq.MaxMeanSystemTime(3.0)] * 2
    for instance in (
        cq.references.load("straight-piece").instance,
        SERVER.replace(constraints=pair, min_tokens=1.0, max_tokens=4096.0),
    ):
        with pytest.raises(cq.InvalidInputError, match=r"not unique, .* need not have"):
            cq.sensitivity(cq.solve(instance))


@pytest.mark.parametrize(
    ("at", "limit", "is_unique"),
    [
        # At the cap: the limit holds the type as well, or would have it beyond the cap.
        (512.0, lambda point: cq.MaxMeanSystemTime(float(point.mean_system_time)), False),
        (512.0, lambda point: cq.MaxTokenRate(128.0), False),
        (512.0, lambda point: cq.MinMeanAccuracy(float(point.mean_accuracy)), True),
        # Without a use for tokens, at none.
        (0.0, lambda point: cq.MaxMeanWaitingTime(float(point.mean_waiting_time)), True),
        (0.0, lambda point: cq.MinMeanAccuracy(float(point.mean_accuracy)), False),
    ],
    ids=["system time at cap", "tokens at cap", "floor at cap", "waiting at none", "floor at none"],
)
def test_a_limit_that_is_just_kept_beside_a_bound(at: float, limit: Any, is_unique: bool) -> None:
    bounded = CAPPED.replace(accuracy_weight=64.0 if at else 0.25)
    constraint = limit(bounded.evaluate([at]))
    instance = bounded.replace(constraints=[constraint])
    solution = cq.solve(instance)
    assert solution.tokens == pytest.approx([at], abs=1e-9)
    if not is_unique:
        with pytest.raises(cq.InvalidInputError, match="not unique"):
            cq.sensitivity(solution)
        return
    names = "arrival_rate", f"constraints[0].{dataclasses.fields(constraint)[0].name}"
    for name, slope, quotient in one_sided(instance, cq.sensitivity(solution), names, 1e-6):
        assert slope == pytest.approx(quotient, rel=1e-4, abs=1e-7), name


def test_what_is_no_optimum_is_refused() -> None:
    far = cq.solve(SERVER, lambda instance: instance.lower, on_failure="return")
    with pytest.raises(cq.InvalidInputError, match="must be optimal, and is stalled"):
        cq.sensitivity(far)
    for answer, reason in (
        (cq.solve_integer(SERVER), "whole tokens do not move"),
        (cq.solve_batch(SERVER, arrival_rate=[0.1, 0.2]), "take one of its answers"),
        *((it, "give it what solve") for it in (SERVER, None, cq.certify(SERVER, SERVER.lower))),
    ):
        name = type(answer).__name__
        with pytest.raises(
            cq.InvalidInputError, match=f"must be a Solution, got '{name}': {reason}"
        ):
            cq.sensitivity(answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ({"arrival": 1.0}, "did you mean 'arrival_rate'"),
        ({3: 1.0}, "no field is called 3"),
        ({"service.base": [1.0, 2.0]}, r"of shape \(3,\), got \(2,\)"),
        ({"arrival_rate": [1.0, 2.0]}, "one number, got a list of 2"),
        ({"accuracy.gain": np.nan}, "must be finite"),
        ({"accuracy.gain": "much"}, "got 'much'"),
        ("arrival_rate", "must be a mapping"),
    ],
)
def test_a_wrong_direction_is_an_error_that_says_so(direction: Any, message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.sensitivity(cq.solve(SERVER)).tokens(direction)


def test_wrong_weights_are_an_error_that_says_so() -> None:
    with pytest.raises(cq.InvalidInputError, match="each of the 3 types, got 2"):
        cq.sensitivity(cq.solve(SERVER)).gradient([1.0, 2.0])


def test_derivatives_can_be_copied_and_pickled_and_nobody_can_write_to_them() -> None:
    found = cq.sensitivity(cq.solve(SERVER))
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other == found
        assert other.value["arrival_rate"] == found.value["arrival_rate"]
    with pytest.raises(TypeError):
        found.value["arrival_rate"] = 0.0  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        found.value["importance"][0] = 0.0


def test_the_table_begins_with_what_matters_most() -> None:
    frame = cq.sensitivity(cq.solve(SERVER)).to_frame()
    assert frame["field"][0] == "accuracy_weight"
    sizes = np.abs(frame["one percent (s)"])
    assert (np.diff(sizes) <= 0.0).all()
    expected = 0.01 * frame["value"] * frame["derivative (s per unit)"]
    np.testing.assert_allclose(frame["one percent (s)"], expected)
    points = cq.sensitivity(cq.solve(INSTANCES["tables"])).to_frame()["field"]
    assert "accuracy.curves[0].tokens, point 4" in set(points)
