"""What is saved is what is solved: nobody can write to an array of a public object."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.certificates import contraction, order_bracket, step_size, strong_concavity
from cvxqueue.numerics.arrays import FloatArray, forwarded, frozen, is_frozen, kept

EXPONENTIAL = cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004])
CURVES: dict[str, Any] = {
    "exponential": EXPONENTIAL,
    "one for all": cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.001),
    "power law": cq.PowerLaw(floor=0.2, gain=0.5, scale=500.0, exponent=1.5),
    "hyperbola": cq.MichaelisMenten(floor=0.2, gain=0.5, half_saturation=500.0),
    "pieces": cq.PiecewiseLinear(
        tokens=[[0, 500, 900], [0, 700, 900]], accuracy=[[0.1, 0.5, 0.6], [0.2, 0.5, 0.55]]
    ),
    "the same pieces": cq.PiecewiseLinear(tokens=[0, 500, 900], accuracy=[0.1, 0.5, 0.6]),
    "mixed": cq.MixedAccuracy(
        curves=[
            cq.PiecewiseLinear(tokens=[0, 500, 900], accuracy=[0.1, 0.5, 0.6]),
            cq.PowerLaw(floor=0.2, gain=0.5, scale=500.0, exponent=1.5),
        ],
        which=[1, 0],
    ),
}
SERVICES: dict[str, Any] = {
    "affine": cq.AffineService(base=0.5, per_token=0.002),
    "random": cq.AffineService(base=[0.5, 0.2], per_token=0.002, token_scv=0.3),
    "quadratic": cq.QuadraticService(base=0.5, per_token=0.002, per_squared_token=1e-7),
}


def instance(**changes: Any) -> cq.Instance:
    data: dict[str, Any] = {
        "arrival_rate": 0.2,
        "accuracy_weight": 60.0,
        "max_tokens": np.array([4096.0, 900.0]),
        "probabilities": np.array([0.3, 0.7]),
        "service": SERVICES["affine"],
        "accuracy": EXPONENTIAL,
    }
    return cq.Instance(**{**data, **changes})


LIMITED = instance(
    constraints=[cq.MaxMeanSystemTime(5.0), cq.MinAccuracy([0.3, 0.3]), cq.MaxTokenRate(1e3)],
    domains=[cq.Menu([0, 500, 900]), cq.LevelMenu([0.2, 0.6], [0.5, 2.0])],
)
OBJECTS: dict[str, Callable[[], Any]] = {
    **{f"curve {name}": partial(copy.copy, it) for name, it in CURVES.items()},
    **{f"instance {name}": partial(instance, accuracy=it) for name, it in CURVES.items()},
    **{f"service {name}": partial(instance, service=it) for name, it in SERVICES.items()},
    "limited instance": lambda: LIMITED,
    "solution": lambda: cq.solve(instance()),
    "kinked solution": lambda: cq.solve(instance(accuracy=CURVES["mixed"])),
    "conic solution": lambda: cq.solve(instance(), "conic"),
    "projected solution": lambda: cq.solve(instance(), "projected-gradient"),
    "fixed point": lambda: cq.solve(instance(), "fixed-point"),
    "limited solution": lambda: cq.solve(LIMITED),
    "certificate": lambda: cq.certify(LIMITED, np.array([1e4, 1.0])),
    "no certificate": lambda: cq.certify(LIMITED, None),
    "batch": lambda: cq.solve_batch(instance(), arrival_rate=np.array([0.1, 0.2, 3.0])),
    "whole tokens": lambda: cq.solve_integer(instance()),
    "levels": lambda: cq.solve_integer(instance(domains=LIMITED.domains)),
    "rounding bound": lambda: cq.rounding_bound(instance()),
    "evaluation": lambda: instance().evaluate(np.array([[10.0, 20.0], [500.0, 30.0]])),
    "bracket": lambda: order_bracket(instance()),
    "contraction": lambda: contraction(instance()),
    "step size": lambda: step_size(instance()),
    "strong concavity": lambda: strong_concavity(instance()),
    "comparison": lambda: cq.cross_validate(instance(), ["newton", "fixed-point"]),
    "simulation": lambda: cq.simulate(
        instance(), np.array([100.0, 20.0]), queries=2000, thresholds=[1.0], seed=1
    ),
    "replay": lambda: cq.simulate(
        instance(), np.array([100.0, 20.0]), arrivals=np.arange(1.0, 900.0), seed=1
    ),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def computed(value: Any) -> None:
    """Ask for everything that an object keeps once it has been computed."""
    for kind in type(value).__mro__:
        for name, attribute in vars(kind).items():
            is_computed = isinstance(attribute, kept | cached_property | property)
            if is_computed and not name.startswith("_"):
                try:
                    getattr(value, name)
                except (cq.CvxqueueError, NotImplementedError, AttributeError, ValueError):
                    continue


def arrays_in(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """All arrays that can be reached from an object, by dotted name."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from arrays_in(entry, f"{name}[{key!r}]", seen)
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            yield from arrays_in(entry, f"{name}[{place}]", seen)
    elif type(value).__module__.startswith("cvxqueue") and hasattr(value, "__dict__"):
        computed(value)
        for key, entry in list(vars(value).items()):
            yield from arrays_in(entry, f"{name}.{key}", seen)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_no_array_can_be_written_to(
    make: Callable[[], Any], duplicate: Callable[[Any], Any]
) -> None:
    found = dict(arrays_in(duplicate(make()), "it", set()))
    assert found or make().__class__.__name__ == "StrongConcavity"
    assert [name for name, array in found.items() if not is_frozen(array)] == []
    for array in found.values():
        if array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_a_view_is_frozen_through_its_base() -> None:
    base = np.arange(6.0)
    view = base[1:5][::2]
    view.flags.writeable = False
    assert not is_frozen(view)
    assert frozen(view) is view
    assert is_frozen(view)
    assert is_frozen(base)
    # Memory of somebody else can be written to by him.
    foreign = np.frombuffer(bytearray(16))
    assert not is_frozen(frozen(foreign))
    assert frozen("no array") == "no array"


def test_no_points_of_others_are_kept_that_can_be_written_to() -> None:
    tokens = np.array([[1.0, 2.0], [3.0, 4.0]])
    view = tokens[0]
    view.flags.writeable = False
    point = instance().evaluate(view)
    tokens[0] = 9.0
    assert point.tokens.tolist() == [1.0, 2.0]
    safe = frozen(np.array([1.0, 2.0]))
    assert instance().evaluate(safe).tokens is safe


def test_a_property_of_a_part_is_that_of_the_whole() -> None:
    class Part:
        @property
        def number(self) -> float:
            """A number."""
            return 2.0

        @kept
        def array(self) -> FloatArray:
            """An array."""
            return np.ones(3)

    class Whole:
        part = Part()
        number = forwarded("part", Part.number)
        array = forwarded("part", Part.array)

    whole = Whole()
    assert whole.number == 2.0
    assert whole.array is Whole.part.array
    for name, doc in (("number", "A number."), ("array", "An array.")):
        assert getattr(Whole, name).__doc__ == doc
        with pytest.raises(AttributeError):
            setattr(whole, name, 0.0)
