"""The settings of the caller change no result, and none of numpy's warnings gets out."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import certificates
from cvxqueue.solvers import projected_gradient

CURVES: dict[str, Any] = {
    "exponential": cq.SaturatingExponential(floor=0.2, gain=[0.5, 0.4], rate=[1e-3, 5.0]),
    "power": cq.PowerLaw(floor=0.1, gain=[0.3, 0.0], scale=[1e-20, 1e3], exponent=[1e-6, 700.0]),
    "michaelis": cq.MichaelisMenten(floor=0.0, gain=0.6, half_saturation=[1e-25, 1e25]),
    "points": cq.PiecewiseLinear(tokens=[10, 20, 4000], accuracy=[0.1, 0.2, 0.9]),
    "mixed": cq.MixedAccuracy(
        curves=[
            cq.PiecewiseLinear(tokens=[0, 900], accuracy=[0.1, 0.7]),
            cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.5),
        ],
        which=[0, 1],
    ),
}
LAWS: dict[str, Any] = {
    "random": cq.AffineService(base=[0.5, 0.0], per_token=0.002, token_scv=0.5),
    "quadratic": cq.QuadraticService(base=0.1, per_token=[1e-3, 1e-25], per_squared_token=1e-9),
}
QUEUES: dict[str, Any] = {
    "fifo": cq.FIFO(),
    "sharing": cq.ProcessorSharing(),
    "batches": cq.BatchArrivals(mean_size=2.0, size_second_moment=5.0),
    "setups": cq.Setups(mean=1.0, second_moment=3.0),
}
# Those that tell the time, and views that come out with the rest.
LEFT_OUT = {
    "groups",
    "blocks",
    "sums",
    "columns",
    "solve_time",
    "setup_time",
    "history",
    "seconds",
    "instance",
    "parts",
}


def bits(value: Any) -> Any:
    """Return what a value is, to the last bit."""
    if isinstance(value, np.ndarray | np.generic):
        return value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return [bits(part) for part in value]
    return repr(value)


def everything(of: Any) -> dict[str, Any]:
    """Return all public attributes that are no methods."""
    names = [name for name in dir(of) if not name.startswith("_") and name not in LEFT_OUT]
    values = {name: outcome(partial(getattr, of, name)) for name in names}
    return {name: bits(value) for name, value in values.items() if not callable(value)}


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except cq.CvxqueueError as error:
        return str(error)


def drawn(curve: str, law: str, queue: str) -> cq.Instance:
    return cq.Instance(
        arrival_rate=0.3,
        accuracy_weight=50.0,
        max_tokens=[5000.0, 1e30],
        probabilities=[1.0 - 1e-12, 1e-12],
        service=LAWS[law],
        accuracy=CURVES[curve],
        queue=QUEUES[queue],
    )


def results(curve: str, law: str, queue: str) -> list[Any]:
    """Go over the surface of the package with numbers that overflow and underflow."""
    wild = np.array([[0.0, 1e-300], [1e300, 1e5], [1e-30, 5e-324]])
    formulas = CURVES[curve]
    found: list[Any] = [
        bits(getattr(formulas, name)(wild))
        for name in ("value", "slope", "curvature", "inverse_value", "inverse_slope")
    ]
    found += [bits(formulas.difference(wild, wild[::-1])), bits(LAWS[law].second_moment(wild))]
    instance = drawn(curve, law, queue)
    at = np.array([100.0, 1e6])
    found += [everything(instance), everything(instance.evaluate([100.0, 1e-290]))]
    found += [bits(instance.objective(wild)), bits(instance.gradient([10.0, 10.0]))]
    found.append(bits(instance.hessian_product([10.0, 10.0], [1e-300, 1e-200])))
    certificate = cq.certify(instance, at)
    found += [everything(certificate), str(certificate)]
    for method in ("newton", "fixed-point", "projected-gradient"):
        settings: Any = {"on_failure": "return", "max_iterations": 40}
        solution = outcome(partial(cq.solve, instance, method, **settings))
        found.append(everything(solution))
    found.append(everything(cq.solve_batch(instance, arrival_rate=[1e-20, 0.3, 0.31, 1e3])))
    for bound in ("contraction", "step_size", "strong_concavity"):
        found.append(everything(getattr(certificates, bound)(instance)))
    if not formulas.is_smooth:
        return found
    limits = [cq.MaxMeanSystemTime(3.0), cq.MinMeanAccuracy(0.3), cq.MaxTokenRate(500.0)]
    bounded = instance.replace(max_tokens=4000.0, constraints=limits)
    found.append(everything(outcome(lambda: cq.solve(bounded, on_failure="return"))))
    found.append(everything(cq.certify(bounded, [500.0, 500.0])))
    return found


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("curve", CURVES)
def test_settings_of_the_caller_change_no_bit(curve: str, law: str, queue: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(all="warn"):
            usual = results(curve, law, queue)
        with np.errstate(all="raise"):
            strict = results(curve, law, queue)
            assert np.geterr()["under"] == "raise"
    assert strict == usual


def test_whole_tokens_and_runs_do_not_see_the_settings_either() -> None:
    instance = drawn("exponential", "random", "fifo").replace(max_tokens=3000.0)
    calls: list[Callable[[], Any]] = [
        lambda: everything(cq.solve_integer(instance)),
        lambda: everything(cq.rounding_bound(instance)),
        lambda: everything(cq.simulate(instance, [100.0, 50.0], queries=2000, seed=1)),
    ]
    for call in calls:
        usual = call()
        with np.errstate(all="raise"):
            assert call() == usual


@pytest.mark.parametrize("method", ["newton", "fixed-point", "projected-gradient"])
def test_a_callback_has_the_settings_of_the_caller_and_keeps_its_own(method: str) -> None:
    instance = drawn("exponential", "quadratic", "fifo").replace(max_tokens=5000.0)
    seen = []

    def callback(iterate: cq.Iterate) -> bool:
        assert iterate.tokens is not None
        seen.append(np.geterr()["over"])
        # Would end every later iteration that underflows, or divides by zero.
        np.seterr(all="raise")
        CURVES["exponential"].slope(iterate.tokens + 1e6)
        return False

    usual = cq.solve(instance, method, on_failure="return")
    with np.errstate(over="print"):
        shown = cq.solve(instance, method, callback=callback, on_failure="return")
        assert np.geterr()["over"] == "print"
    assert set(seen) == {"print"}
    assert np.array_equal(shown.tokens, usual.tokens)


def test_so_has_the_progress_of_a_run() -> None:
    instance = drawn("exponential", "random", "fifo").replace(max_tokens=3000.0)
    seen = []

    def progress(_: float) -> None:
        seen.append(np.geterr()["over"])
        np.seterr(all="raise")

    with np.errstate(over="print"):
        cq.simulate(instance, [100.0, 50.0], queries=2000, seed=1, progress=progress)
    assert set(seen) == {"print"}


def test_a_class_of_the_user_keeps_what_is_no_method_as_it_is() -> None:
    class Curve(cq.SaturatingExponential):
        law = np.exp
        unit = 1.0

        @staticmethod
        def twice(tokens: float) -> float:
            return 2.0 * tokens

        @property
        def factor(self) -> float:
            return self.unit

        @factor.setter
        def factor(self, value: float) -> None:
            vars(self)["unit"] = value

    curve = Curve(floor=0.2, gain=0.5, rate=1e-3)
    curve.factor = 3.0
    assert (curve.law(0.0), curve.twice(2.0), curve.factor) == (1.0, 4.0, 3.0)


SERVER: dict[str, Any] = {
    "arrival_rate": 0.2,
    "accuracy_weight": 60.0,
    "max_tokens": 4096.0,
    "probabilities": [0.3, 0.7],
    "service": cq.AffineService(base=0.5, per_token=0.002),
    "accuracy": cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
}
POINTS = {"tokens": [0.0, 1e31], "accuracy": [0.1, 0.2]}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "weight": (lambda: cq.Instance(**SERVER | {"accuracy_weight": 1e32}), "accuracy_weight"),
    "rate": (lambda: cq.Instance(**SERVER | {"arrival_rate": 1e-31}), "arrival_rate"),
    "mix": (lambda: cq.Instance(**SERVER | {"probabilities": [1.0, 1e-40]}), "probabilities"),
    "cap": (lambda: cq.Instance(**SERVER | {"max_tokens": 1e300}), "max_tokens"),
    "importance": (lambda: cq.Instance(**SERVER, importance=[1.0, 1e-31]), "importance"),
    "service": (lambda: cq.AffineService(base=0.0, per_token=1e-31), "service.per_token"),
    "curve": (lambda: cq.PowerLaw(floor=0, gain=0.5, scale=1e31, exponent=1), "accuracy.scale"),
    "points": (lambda: cq.PiecewiseLinear(**POINTS), "accuracy.tokens"),
    "queue": (lambda: cq.Vacations(mean=1e-31, second_moment=1.0), "queue.mean"),
    "batch": (
        lambda: cq.solve_batch(cq.Instance(**SERVER), accuracy_weight=[1.0, 1e31]),
        "accuracy_weight",
    ),
}


@pytest.mark.parametrize(("make", "name"), REFUSED.values(), ids=REFUSED)
def test_data_beyond_float64_are_refused_with_the_bound(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=r"must be 0 or between 1e-30 and 1e\+30") as e:
        make()
    assert name in str(e.value)


@pytest.mark.parametrize("seed", range(3))
def test_data_at_the_ends_of_the_range_end_in_a_status(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        data = rng.choice([1e-30, 1e-17, 1e-6, 1.0, 1e6, 1e17, 1e30], 8)
        rate, weight, cap, mix, per_token, curved, scale, base = data.tolist()
        mix = min(mix, 0.5)
        base = 0.0 if rng.random() < 0.6 else base
        instance = cq.Instance(
            arrival_rate=rate,
            accuracy_weight=weight,
            max_tokens=cap,
            probabilities=[1.0 - mix, mix],
            service=cq.QuadraticService(base=base, per_token=per_token, per_squared_token=curved),
            accuracy=cq.MichaelisMenten(floor=0.1, gain=0.6, half_saturation=[scale, 1.0]),
        )
        with np.errstate(all="raise"):
            if instance.is_feasible:
                solution = cq.solve(instance, on_failure="return")
                assert "damping" not in solution.advice
                assert solution.certificate.gap >= 0.0


def test_every_function_computes_so() -> None:
    def loud(module: Any) -> list[str]:
        functions = {name: getattr(module, name) for name in module.__all__}
        return [
            name
            for name, function in functions.items()
            if inspect.isfunction(function) and not hasattr(function, "__wrapped__")
        ]

    # Those read, write and list; the arrays of an instance are computed by its class.
    assert loud(cq) == ["from_dict", "load", "methods", "save", "to_dict"]


def test_a_certified_step_that_is_no_number_is_not_searched_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = cq.Instance(**SERVER).evaluate([10.0, 20.0])
    calls, original = [], projected_gradient._ascend

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 99:
            pytest.fail("the search goes on")
        return original(*arguments)

    monkeypatch.setattr(projected_gradient, "_ascend", counted)
    found, _ = projected_gradient._majorized_step(point, np.full(2, np.nan), 1.0)
    assert found is None
