"""What an instance is as data: checked, copied, read-only, comparable."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import cvxqueue as cq
from cvxqueue.integer import RoundingBound
from cvxqueue.model.model import Model
from cvxqueue.numerics.array_data import ArrayData

COPIES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "replace": lambda value: value.replace(),
}


def arguments(**changes: Any) -> dict[str, Any]:
    """Arguments of an instance of two types, none of them a default."""
    return {
        "arrival_rate": 0.2,
        "accuracy_weight": 60.0,
        "min_tokens": [1.0, 2.0],
        "max_tokens": [4096.0, 8192.0],
        "probabilities": [0.3, 0.7],
        "importance": [1.0, 2.0],
        "service": cq.AffineService(base=[0.5, 0.25], per_token=[0.002, 0.001]),
        "accuracy": cq.SaturatingExponential(
            floor=[0.2, 0.1], gain=[0.6, 0.5], rate=[0.001, 0.004]
        ),
        "names": ["proof", "lookup"],
        "name": "two types",
        "description": "an example",
        "sources": ["ours"],
        **changes,
    }


def arrays_of(data: ArrayData) -> dict[str, NDArray[np.float64]]:
    """All arrays of an object and of the objects in it, by dotted name."""
    found = {}
    for name, value in data._fields().items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, ArrayData):
            found |= {f"{name}.{inner}": array for inner, array in arrays_of(value).items()}
    return found


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_every_copy_is_equal_and_read_only(duplicate: Callable[[Any], Any]) -> None:
    instance = cq.Instance(**arguments())
    twin = duplicate(instance)
    assert twin == instance
    assert hash(twin) == hash(instance)
    assert len(arrays_of(twin)) == 10
    for name, array in arrays_of(twin).items():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.5
        assert array.shape == (2,), name
        assert array.dtype == np.float64, name


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_of_scalar_parts_are_read_only(duplicate: Callable[[Any], Any]) -> None:
    curve = cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.01)
    twin = duplicate(curve)
    assert twin == curve
    for array in arrays_of(twin).values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.2


def test_changing_the_caller_s_array_changes_nothing() -> None:
    given = {
        name: np.array(arguments()[name])
        for name in ("min_tokens", "max_tokens", "probabilities", "importance")
    }
    base = np.array([0.5, 0.25])
    instance = cq.Instance(
        **arguments(**given, service=cq.AffineService(base=base, per_token=[0.002, 0.001]))
    )
    for array in (*given.values(), base):
        array += 1.0
    assert instance == cq.Instance(**arguments())


def test_changing_tokens_changes_no_evaluation_of_them() -> None:
    instance = cq.Instance(**arguments())
    tokens = np.array([500.0, 300.0])
    before = instance.evaluate(tokens.tolist())
    point = instance.evaluate(tokens)
    assert point.utilization == before.utilization
    tokens += 100.0
    assert point.mean_system_time == before.mean_system_time
    with pytest.raises(ValueError, match="read-only"):
        point.tokens += 1.0


def test_tokens_that_do_not_change_are_not_copied() -> None:
    instance = cq.Instance(**arguments())
    assert instance.evaluate(instance.upper).tokens is instance.upper


def test_an_instance_shows_few_names_besides_its_data() -> None:
    fields = {field.name for field in dataclasses.fields(cq.Instance)}
    instance = cq.Instance(**arguments())
    assert len(instance.model.lowest.tokens) == instance.size
    public = {name for name in dir(instance) if not name.startswith("_")} - fields
    assert {"model", "evaluate", "replace"} <= public
    public -= {"table", "to_frame", "to_csv", "to_latex"}  # those of every result
    assert len(public) <= 15


@pytest.mark.parametrize("forgotten", ["separable_costs", "couplings"])
def test_the_data_of_a_model_have_no_defaults(forgotten: str) -> None:
    model = cq.Instance(**arguments()).model
    every = {name: getattr(model, name) for name in Model.__annotations__}
    assert Model(**every).lowest.objective == model.lowest.objective
    del every[forgotten]
    with pytest.raises(TypeError, match=forgotten):
        Model(**every)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _WithClassVar(cq.AffineService):
    unit: ClassVar[float] = 1.0


class _NoDataclass(cq.model.ServiceLaw):
    base: Any

    def __init__(self, base: float) -> None:
        vars(self).update(base=base)

    mean = mean_slope = mean_curvature = mean_bend = None  # type: ignore[assignment]


def test_what_a_class_has_in_common_is_no_field_of_its_objects() -> None:
    kind: Any = _WithClassVar
    law = kind(base=0.5, per_token=[0.002, 0.001], token_scv=0.0)
    assert list(law._fields()) == ["base", "per_token", "token_scv"]
    for duplicate in COPIES.values():
        assert duplicate(law) == law
    assert cq.solve(cq.Instance(**arguments(service=law))).is_optimal


def test_a_law_without_fields_is_refused_by_name() -> None:
    message = "_NoDataclass must be a dataclass"
    for call in (
        lambda law: law == _NoDataclass(2.0),
        pickle.dumps,
        lambda law: cq.Instance(**arguments(service=law)),
    ):
        with pytest.raises(cq.InvalidInputError, match=message):
            call(_NoDataclass(1.0))


@pytest.mark.parametrize("each", [None, "ab", iter([cq.Integers()]), 5, cq.Integers()])
def test_domains_are_a_list(each: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match="domains must be a domain such as"):
        cq.Domains(each)
    made: Any = [cq.Integers(), cq.Multiples(8)]
    assert hash(cq.Domains(made)) == hash(cq.Domains(tuple(made)))


def test_fields_cannot_be_assigned() -> None:
    instance = cq.Instance(**arguments())
    for target, field in ((instance, "arrival_rate"), (instance.service, "base")):
        with pytest.raises(AttributeError, match=field):
            setattr(target, field, 1.0)


CHANGES: dict[str, Any] = {
    "arrival_rate": 0.3,
    "accuracy_weight": 61.0,
    "min_tokens": [1.0, 3.0],
    "max_tokens": 5000.0,
    "probabilities": [0.7, 0.3],
    "importance": [2.0, 1.0],
    "service": cq.AffineService(base=[0.5, 0.25], per_token=[0.002, 0.0011]),
    "accuracy": cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001),
    "queue": cq.ProcessorSharing(),
    "constraints": [cq.MaxMeanSystemTime(2.0)],
    "domains": cq.Multiples(64),
    "names": ["lookup", "proof"],
    "name": "other",
    "description": "",
    "sources": ["theirs"],
}


@pytest.mark.parametrize("field", CHANGES)
def test_replace_changes_one_field_and_equality_notices(field: str) -> None:
    instance = cq.Instance(**arguments())
    changed = instance.replace(**{field: CHANGES[field]})
    assert changed == cq.Instance(**arguments(**{field: CHANGES[field]}))
    assert changed != instance
    assert instance == cq.Instance(**arguments())


def test_replace_covers_every_field() -> None:
    assert set(CHANGES) == set(cq.Instance(**arguments())._fields())


def test_equality_asks_for_the_class() -> None:
    service = cq.AffineService(base=1.0, per_token=1.0)
    assert service != {"base": 1.0, "per_token": 1.0}
    assert cq.Instance(**arguments()) != service


def test_equality_takes_missing_numbers_for_equal() -> None:
    def bound(distance: float) -> RoundingBound:
        return RoundingBound(
            value=1.0, first_order=0.0, distances=np.array([0.5, distance]), level=2.0
        )

    assert bound(np.nan) == bound(-np.nan)
    assert hash(bound(np.nan)) == hash(bound(-np.nan))
    assert bound(np.nan) != bound(0.0)
    batch = cq.solve_batch(cq.Instance(**arguments()), arrival_rate=[0.2, 9.0])
    assert np.isnan(batch.tokens).any()
    assert batch == batch
    assert pickle.loads(pickle.dumps(batch)) == batch


def test_negative_zero_is_zero() -> None:
    plus, minus = (cq.AffineService(base=zero, per_token=1.0) for zero in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


def test_instances_serve_as_keys() -> None:
    cache = {cq.Instance(**arguments()): "known"}
    assert cache[cq.Instance(**arguments())] == "known"


def test_scalars_stand_for_all_types() -> None:
    scalar = arguments(
        min_tokens=1,
        max_tokens=4096,
        importance=2,
        service=cq.AffineService(base=0.5, per_token=[0.002, 0.001]),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001),
    )
    vector = arguments(
        min_tokens=[1, 1],
        max_tokens=[4096, 4096],
        importance=[2, 2],
        service=cq.AffineService(base=[0.5, 0.5], per_token=[0.002, 0.001]),
        accuracy=cq.SaturatingExponential(floor=[0.2] * 2, gain=[0.6] * 2, rate=[0.001] * 2),
    )
    assert cq.Instance(**scalar) == cq.Instance(**vector)


def test_defaults() -> None:
    instance = cq.Instance(
        arrival_rate=1,
        accuracy_weight=0,
        max_tokens=0,
        probabilities=1.0,
        service=cq.AffineService(base=0, per_token=1),
        accuracy=cq.SaturatingExponential(floor=0, gain=0, rate=1),
    )
    assert instance.min_tokens.tolist() == [0.0]
    assert instance.importance.tolist() == [1.0]
    assert instance.queue == cq.FIFO()
    assert (instance.names, instance.name, instance.description) == (None, "", "")
    assert instance.sources == ()
    assert instance.type_name(0) == "type 1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            cq.Instance(**arguments()),
            "Instance('two types', 2 types, arrival_rate=0.2, accuracy_weight=60)",
        ),
        (
            cq.Instance(**arguments(name="")),
            "Instance(2 types, arrival_rate=0.2, accuracy_weight=60)",
        ),
        (cq.AffineService(base=0, per_token=1), "AffineService(1 type)"),
        (cq.SaturatingExponential(floor=[0, 0], gain=0, rate=1), "SaturatingExponential(2 types)"),
        (cq.FIFO(), "FIFO()"),
        (cq.Instance(**arguments()).evaluate([[1, 2]] * 3), "Evaluation(tokens of shape (3, 2))"),
    ],
    ids=["named instance", "instance", "service", "accuracy", "queue", "evaluation"],
)
def test_repr_is_one_short_line(value: object, expected: str) -> None:
    assert repr(value) == expected
