"""Every queue, service law and accuracy curve in every form, two task types each."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.dcp.expressions import waiting_time
from cvxqueue.dcp.service_levels import service_level
from cvxqueue.model.linear_fractional import LinearFractionalQueue, Weights
from cvxqueue.numerics.arrays import FloatArray

QUEUES = {
    "fifo": cq.FIFO(),
    "sharing": cq.ProcessorSharing(),
    "batches": cq.BatchArrivals(2.0, 7.0),
    "vacations": cq.Vacations(1.0, 2.5),
    "setups": cq.Setups(0.5, 0.5),
}
SERVICES = {
    "affine": cq.AffineService(base=[0.5, 0.2], per_token=[0.002, 0.005]),
    "random": cq.AffineService(base=[0.5, 0.2], per_token=[0.002, 0.005], token_scv=[0.5, 2.0]),
    "quadratic": cq.QuadraticService(
        base=[0.5, 0.2], per_token=[0.002, 0.005], per_squared_token=[1e-6, 2e-6]
    ),
}
CURVES: dict[str, Any] = {
    "exponential": cq.SaturatingExponential(floor=[0.2, 0.1], gain=[0.6, 0.8], rate=[1e-3, 4e-3]),
    "power law": cq.PowerLaw(
        floor=[0.2, 0.1], gain=[0.6, 0.8], scale=[500.0, 100.0], exponent=[0.7, 2.5]
    ),
    "half saturation": cq.MichaelisMenten(
        floor=[0.2, 0.1], gain=[0.6, 0.8], half_saturation=[500.0, 100.0]
    ),
    "piecewise linear": cq.PiecewiseLinear(
        tokens=[[0.0, 500.0, 1300.0, 2000.0], [0.0, 100.0, 300.0, 1000.0]],
        accuracy=[[0.2, 0.5, 0.65, 0.7], [0.1, 0.5, 0.7, 0.8]],
    ),
    "mixed": cq.MixedAccuracy(
        curves=[
            cq.PowerLaw(floor=0.1, gain=0.8, scale=100.0, exponent=2.5),
            cq.SaturatingExponential(floor=0.2, gain=0.6, rate=1e-3),
        ],
        which=[1, 0],
    ),
    "mixed with kinks": cq.MixedAccuracy(
        curves=[
            cq.MichaelisMenten(floor=0.2, gain=0.6, half_saturation=500.0),
            cq.PiecewiseLinear(tokens=[0.0, 100.0, 300.0, 1000.0], accuracy=[0.1, 0.5, 0.7, 0.8]),
        ],
        which=[0, 1],
    ),
}
FAMILIES = list(itertools.product(QUEUES, SERVICES, CURVES))
# Every pair of classes, where all three would take long.
PAIRS = [
    (queue, service, curve)
    for queue, service, curve in FAMILIES
    if queue == "fifo" or curve == "exponential"
]
FIELDS = (
    "accuracies",
    "mean_accuracy",
    "mean_service_time",
    "mean_waiting_time",
    "mean_system_time",
    "utilization",
    "objective",
)
# Expressions evaluate the model's formulas in another order: rounding only.
SAME_FORMULA = 1e-11
# Clarabel held to 1e-12 stops short of it; the objective is flat, so this is loose.
CONIC_OBJECTIVE = 1e-8
# The zooming grid ends at 1e-7 of the box, where a smooth objective is flat to its square.
GRID_OBJECTIVE = 1e-8


def instance(queue: str, service: str, curve: str, **changes: Any) -> cq.Instance:
    values: dict[str, Any] = {
        "arrival_rate": 0.25,
        "accuracy_weight": 30.0,
        "max_tokens": [3000.0, 1500.0],
        "min_tokens": [10.0, 0.0],
        "probabilities": [0.6, 0.4],
        "importance": [1.0, 1.5],
        "queue": QUEUES[queue],
        "service": SERVICES[service],
        "accuracy": CURVES[curve],
    }
    return cq.Instance(**{**values, **changes})


def value(expression: cp.Expression) -> Any:
    return np.asarray(expression.value)


def solve(form: cq.Formulation) -> None:
    with warnings.catch_warnings():
        # Held to more than it can reach, Clarabel warns; the tests look at the point.
        warnings.simplefilter("ignore", UserWarning)
        form.problem.solve(
            solver="CLARABEL",
            tol_gap_abs=1e-12,
            tol_gap_rel=1e-12,
            tol_feas=1e-12,
            accept_unknown=True,
            warm_start=False,
        )


def grid_optimum(given: cq.Instance) -> tuple[FloatArray, float]:
    """Best of a grid of two types that is drawn around the best so far, finer each time."""
    lower, upper = given.min_tokens, given.max_tokens
    low, high = lower, upper
    best = np.asarray(lower)
    with np.errstate(over="ignore"):
        while np.any(high - low > 1e-7 * (upper - lower)):
            axes = np.linspace(low, high, 33)
            points = np.stack(np.meshgrid(*axes.T), axis=-1).reshape(-1, 2)
            values = given.objective(points)
            best = points[np.argmax(values)]
            # A concave function is best within two steps of the best grid point, or nearly.
            reach = 4.0 * (high - low) / 32.0
            low, high = np.maximum(best - reach, lower), np.minimum(best + reach, upper)
    return best, float(given.objective(best))


def filled(form: cq.Formulation, given: cq.Instance, tokens: FloatArray) -> None:
    """Give the variables of a form the values that they have at an allocation."""
    first = form.variables["tokens" if form.form == "textbook" else "scaled_tokens"]
    first.value = np.ones(2)
    first.value = tokens / value(form.tokens)
    if "scaled_times" in form.variables:
        exact, _ = form.constraints["service_times"].args
        form.variables["scaled_times"].value = value(exact)
    if "idle" in form.variables:
        form.variables["idle"].value = 1.0 - given.evaluate(tokens).utilization


def points(given: cq.Instance) -> FloatArray:
    """Four stable allocations, both ends of the box among them where they are stable."""
    rng = np.random.default_rng(3)
    shares = np.concatenate([rng.random((12, 2)), [[0.0, 0.0]]])
    tokens = given.min_tokens + shares * (given.max_tokens - given.min_tokens)
    return tokens[given.objective(tokens) > -np.inf][-4:]


@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_rules(queue: str, service: str, curve: str) -> None:
    given = instance(queue, service, curve)
    textbook = cq.formulate(given, "textbook")
    assert not textbook.is_dcp
    assert not textbook.mean_waiting_time.is_dcp()
    assert textbook.problem.is_dnlp()
    dcp = cq.formulate(given)
    assert dcp.is_dcp
    assert not dcp.problem.parameters()
    parametric = cq.formulate(given, "parametric")
    assert parametric.is_dcp
    assert parametric.is_dpp
    for form in (dcp, parametric):
        times = "CONVEX" if service == "quadratic" else "AFFINE"
        assert form.tokens.curvature == "AFFINE"
        assert form.token_rate.curvature == "AFFINE"
        assert form.accuracies.curvature == "CONCAVE"
        assert form.mean_accuracy.curvature == "CONCAVE"
        assert form.objective.curvature == "CONCAVE"
        assert form.service_times.curvature == times
        assert form.mean_service_time.curvature == times
        assert form.utilization.curvature == times
        assert form.mean_waiting_time.curvature == "CONVEX"
        assert form.mean_system_time.curvature == "CONVEX"


@pytest.mark.parametrize("form", ["textbook", "dcp", "parametric"])
@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_expressions_are_the_model(queue: str, service: str, curve: str, form: str) -> None:
    given = instance(queue, service, curve)
    made = cq.formulate(given, form)
    for tokens in points(given):
        filled(made, given, tokens)
        point = given.evaluate(tokens)
        np.testing.assert_allclose(value(made.tokens), tokens, rtol=SAME_FORMULA)
        np.testing.assert_allclose(value(made.service_times), point.times, rtol=SAME_FORMULA)
        assert value(made.token_rate) == pytest.approx(
            given.arrival_rate * given.probabilities @ tokens, rel=SAME_FORMULA
        )
        for field in FIELDS:
            np.testing.assert_allclose(
                value(getattr(made, field)), getattr(point, field), rtol=SAME_FORMULA, err_msg=field
            )


@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_the_optimum_is_the_best_of_a_grid(queue: str, service: str, curve: str) -> None:
    given = instance(queue, service, curve)
    tokens, best = grid_optimum(given)
    assert np.all(tokens > given.min_tokens), "the point of the test is an interior optimum"
    for kind in ("dcp", "parametric"):
        form = cq.formulate(given, kind)
        solve(form)
        assert value(form.objective) == pytest.approx(best, rel=GRID_OBJECTIVE)
        assert form.problem.value * form.scale == pytest.approx(best, rel=GRID_OBJECTIVE)
        np.testing.assert_allclose(value(form.tokens), tokens, rtol=1e-3)


@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_the_conic_method(queue: str, service: str, curve: str) -> None:
    given = instance(queue, service, curve)
    solution = cq.solve(given, "conic", on_failure="return")
    assert solution.certificate.relative_gap < CONIC_OBJECTIVE
    assert solution.objective == pytest.approx(grid_optimum(given)[1], rel=GRID_OBJECTIVE)


def changed(given: cq.Instance) -> list[cq.Instance]:
    return [
        given.replace(arrival_rate=0.1),
        given.replace(accuracy_weight=60.0),
        given.replace(probabilities=[0.1, 0.9]),
        given.replace(importance=[0.0, 1.0]),
        given.replace(min_tokens=50.0, max_tokens=600.0),
        given.replace(accuracy_weight=0.0),
        given,
    ]


@pytest.mark.parametrize(("queue", "service", "curve"), FAMILIES)
def test_a_refilled_form_is_the_new_problem(queue: str, service: str, curve: str) -> None:
    given = instance(queue, service, curve)
    form = cq.formulate(given, "parametric")
    solve(form)
    compiled = form.problem._cache.param_prog
    assert compiled is not None
    for other in changed(given):
        form.update(other)
        solve(form)
        assert form.problem._cache.param_prog is compiled
        exact = cq.solve(other)
        assert value(form.objective) == pytest.approx(
            exact.objective, abs=CONIC_OBJECTIVE * exact.certificate.scale
        )


def refills() -> list[tuple[str, cq.Instance, cq.Instance]]:
    """Data that a class has and the first instance does not use, and the other way round."""
    still = instance("batches", "affine", "exponential").replace(queue=cq.BatchArrivals(1.0, 1.0))
    moving = instance("batches", "random", "exponential")
    flat = cq.QuadraticService(base=0.0, per_token=0.004, per_squared_token=0.0)
    bent = instance("setups", "quadratic", "exponential")
    return [
        ("row for random use and batches", still, moving),
        ("no row for random use and batches", moving, still),
        ("bow", bent.replace(service=flat), bent),
        ("no bow", bent, bent.replace(service=flat)),
    ]


@pytest.mark.parametrize(
    ("first", "second"), [pytest.param(*pair, id=name) for name, *pair in refills()]
)
def test_a_refill_with_what_was_zero(first: cq.Instance, second: cq.Instance) -> None:
    form = cq.formulate(first, "parametric")
    form.update(second)
    solve(form)
    assert value(form.objective) == pytest.approx(grid_optimum(second)[1], rel=GRID_OBJECTIVE)


def test_a_refill_of_another_class_is_refused() -> None:
    given = instance("fifo", "affine", "exponential")
    form = cq.formulate(given, "parametric")
    for other, words in (
        (instance("sharing", "affine", "exponential"), "queue is ProcessorSharing"),
        (instance("fifo", "quadratic", "exponential"), "service is QuadraticService"),
    ):
        with pytest.raises(cq.InvalidInputError, match=words):
            form.update(other)
    assert form.instance is given


def measured(*, points: int) -> cq.PiecewiseLinear:
    tokens = np.linspace(0.0, 1500.0, points)
    return cq.PiecewiseLinear(
        tokens=tokens, accuracy=0.1 + 0.8 * tokens / (tokens + np.array([[300.0], [80.0]]))
    )


def test_a_refill_with_fewer_segments_and_not_with_more() -> None:
    given = instance("fifo", "affine", "exponential").replace(accuracy=measured(points=6))
    form = cq.formulate(given, "parametric")
    fewer = given.replace(accuracy=measured(points=4))
    form.update(fewer)
    solve(form)
    assert value(form.objective) == pytest.approx(grid_optimum(fewer)[1], rel=GRID_OBJECTIVE)
    with pytest.raises(cq.InvalidInputError, match="accuracy has 8 segments and the form has 6"):
        form.update(given.replace(accuracy=measured(points=8)))
    assert form.instance is fewer


def test_a_refill_with_another_mixture_is_refused() -> None:
    given = instance("fifo", "affine", "mixed")
    form = cq.formulate(given, "parametric")
    other_way_round = cq.MixedAccuracy(
        curves=[
            cq.PowerLaw(floor=0.1, gain=0.8, scale=100.0, exponent=2.5),
            cq.SaturatingExponential(floor=0.2, gain=0.6, rate=1e-3),
        ],
        which=[0, 1],
    )
    for other in (CURVES["mixed with kinks"], other_way_round):
        with pytest.raises(cq.InvalidInputError, match="accuracy has curves of other classes"):
            form.update(given.replace(accuracy=other))
    assert form.instance is given


def test_a_curve_that_is_flat() -> None:
    """Nothing to gain, nothing missed: every token only costs time."""
    flat = cq.PiecewiseLinear(tokens=[0.0], accuracy=[0.4])
    given = instance("fifo", "affine", "exponential").replace(accuracy=flat)
    for kind in ("dcp", "parametric"):
        form = cq.formulate(given, kind)
        solve(form)
        np.testing.assert_allclose(value(form.tokens), given.min_tokens, atol=1e-3)
        np.testing.assert_allclose(value(form.accuracies), 0.4, rtol=SAME_FORMULA)


def many(curve: str, rng: np.random.Generator) -> cq.Instance:
    """Thirty types over two decades of every scale, each with its own shape of curve."""
    n = 30
    mix = rng.dirichlet(np.ones(n))
    scale = 10.0 ** rng.uniform(1.5, 3.5, n)
    shape = {"floor": rng.uniform(0.0, 0.2, n), "gain": rng.uniform(0.1, 0.8, n)}
    exponent = 10.0 ** rng.uniform(-0.7, 0.7, n)
    curves: dict[str, Any] = {
        "power law": cq.PowerLaw(scale=scale, exponent=exponent, **shape),
        "half saturation": cq.MichaelisMenten(half_saturation=scale, **shape),
        "exponential": cq.SaturatingExponential(rate=1.0 / scale, **shape),
    }
    curves["mixed"] = cq.MixedAccuracy(curves=list(curves.values()), which=np.arange(n) % 3)
    per_token = 10.0 ** rng.uniform(-3.0, -2.0, n)
    return cq.Instance(
        arrival_rate=0.8 / float(mix @ (0.3 + per_token * scale)),
        accuracy_weight=100.0,
        max_tokens=10.0 * scale,
        probabilities=mix,
        service=cq.QuadraticService(
            base=0.3, per_token=per_token, per_squared_token=0.3 * per_token / scale
        ),
        queue=cq.BatchArrivals(2.0, 7.0),
        accuracy=curves[curve],
    )


@pytest.mark.parametrize("curve", ["power law", "half saturation", "exponential", "mixed"])
def test_many_types_against_newton(curve: str) -> None:
    given = many(curve, np.random.default_rng(7))
    reference = cq.solve(given, "newton")
    for kind in ("dcp", "parametric"):
        form = cq.formulate(given, kind)
        solve(form)
        assert value(form.objective) == pytest.approx(reference.objective, rel=CONIC_OBJECTIVE)
    conic = cq.solve(given, "conic")
    assert conic.objective == pytest.approx(reference.objective, rel=1e-9)


@pytest.mark.parametrize("queue", QUEUES)
def test_what_stands_for_convex_times_falls_onto_them(queue: str) -> None:
    """And further convex constraints leave it there."""
    given = instance(queue, "quadratic", "exponential")
    unit = given.service.mean(1.0 / np.array([1e-3, 4e-3]))
    for kind in ("scaled", "parametric"):
        form = cq.formulate(given, kind)
        solve(form)
        half = 0.5 * float(value(form.mean_service_time))
        for capped in (form, form.with_constraints(form.mean_service_time <= half)):
            solve(capped)
            times = given.service.mean(value(capped.tokens))
            if kind == "scaled":
                above = unit * value(capped.variables["scaled_times"])
                np.testing.assert_allclose(above, times, rtol=1e-6)
            else:
                rest = 1.0 - given.arrival_rate * given.probabilities @ times
                assert value(capped.variables["idle"]) == pytest.approx(rest, rel=1e-6)
        assert value(form.mean_service_time) == pytest.approx(half, rel=1e-6)


def test_no_constraint_can_hold_the_time_variable_up() -> None:
    """Were the named times the variable above them, the rules would accept this."""
    for kind in ("dcp", "scaled", "parametric"):
        form = cq.formulate(instance("fifo", "quadratic", "exponential"), kind)
        assert not form.with_constraints(form.mean_service_time >= 3.0).is_dcp
        assert not form.with_constraints(form.utilization >= 0.5).is_dcp


def test_a_queue_of_no_known_family() -> None:
    class Strange(cq.FIFO):
        """Has the interface, and is of the family."""

    class Stranger:
        """Has a price and nothing else."""

        def prices(self) -> None: ...

    given = instance("fifo", "affine", "exponential").replace(queue=Strange())
    assert cq.formulate(given).is_dcp
    with pytest.raises(cq.InvalidInputError, match=r"queue = .*Stranger.* has no cvxpy form"):
        waiting_time(Stranger(), 0.1, cp.Variable(), cp.Variable(2))


class Adjustable(LinearFractionalQueue):
    """A queue of the family whose data decide which moments it sees."""

    def __init__(self, second: float) -> None:
        self.second = second

    @property
    def weights(self) -> Weights:
        return Weights(mean=0.0, load=1.0, second=self.second)


def test_a_refill_with_other_moments() -> None:
    given = instance("fifo", "affine", "exponential").replace(queue=Adjustable(0.5))
    form = cq.formulate(given, "parametric")
    for second in (0.25, 0.0, 1.0):
        other = given.replace(queue=Adjustable(second))
        form.update(other)
        solve(form)
        assert value(form.objective) == pytest.approx(
            cq.solve(other).objective, rel=CONIC_OBJECTIVE
        )
    with pytest.raises(cq.InvalidInputError, match="must be an Instance, got 3"):
        form.update(3)  # type: ignore[arg-type]


def test_a_law_without_a_form() -> None:
    class Faster(cq.AffineService):
        """Might compute anything."""

    service = Faster(base=0.5, per_token=0.002)
    given = instance("fifo", "affine", "exponential").replace(service=service)
    with pytest.raises(
        cq.InvalidInputError, match=r"service = .* has no cvxpy form; those that do: AffineService"
    ):
        cq.formulate(given)


@pytest.mark.parametrize("kind", ["dcp", "parametric"])
@pytest.mark.parametrize(("queue", "service", "curve"), PAIRS)
def test_limits_bind_where_they_say(queue: str, service: str, curve: str, kind: str) -> None:
    form = cq.formulate(instance(queue, service, curve), kind)
    solve(form)
    waiting, system, rate, accuracy = (
        float(value(expression))
        for expression in (
            form.mean_waiting_time,
            form.mean_system_time,
            form.token_rate,
            form.mean_accuracy,
        )
    )
    lowest = form.instance.model.lowest
    least_waiting, least_system = lowest.mean_waiting_time, lowest.mean_system_time
    for constraint, expression, level in (
        (cq.MaxMeanWaitingTime, form.mean_waiting_time, 0.5 * (waiting + least_waiting)),
        (cq.MaxMeanSystemTime, form.mean_system_time, 0.5 * (system + least_system)),
        (cq.MaxTokenRate, form.token_rate, 0.5 * rate),
        (cq.MinMeanAccuracy, form.mean_accuracy, accuracy + 0.02),
    ):
        limited = form.with_constraints(service_level(form, constraint(float(level))))
        assert limited.is_dcp
        assert limited.is_dpp
        solve(limited)
        assert value(expression) == pytest.approx(float(level), rel=1e-5)


def tail(decay: float) -> cq.WaitingTimeTail:
    """The bound on the tail whose decay is θ."""
    return cq.WaitingTimeTail(seconds=1.0, probability=float(np.exp(-decay)))


@pytest.mark.parametrize("kind", ["dcp", "parametric"])
@pytest.mark.parametrize("service", ["affine", "quadratic"])
def test_the_tail_cap(service: str, kind: str) -> None:
    given = instance("fifo", service, "exponential")
    form = cq.formulate(given, kind)
    theta = 0.8
    limited = form.with_constraints(service_level(form, tail(theta)))
    assert limited.is_dcp
    for other in (given, given.replace(arrival_rate=0.15, probabilities=[0.3, 0.7])):
        if other is not given:
            if kind == "dcp":
                break
            limited.update(other)
        solve(limited)
        tokens = value(limited.tokens)
        moment = other.probabilities @ np.exp(theta * other.evaluate(tokens).times)
        assert moment == pytest.approx(1.0 + theta / other.arrival_rate, rel=1e-6)
        # Not binding without it: the test would pass for nothing.
        free = other.evaluate(np.asarray(cq.solve(other).tokens)).times
        assert other.probabilities @ np.exp(theta * free) > 1.1 * moment


def test_what_has_no_such_tail() -> None:
    for queue, service, words in (
        ("sharing", "affine", "not available for ProcessorSharing"),
        ("fifo", "random", "not available with random use"),
    ):
        form = cq.formulate(instance(queue, service, "exponential"))
        with pytest.raises(cq.InvalidInputError, match=words):
            service_level(form, tail(0.5))

    class Ordered(cq.FIFO):
        """First in first out by another name."""

    orderly = cq.formulate(
        instance("fifo", "affine", "exponential").replace(queue=Ordered()), "dcp"
    )
    assert service_level(orderly, tail(0.5)).is_dcp()
    still = cq.formulate(instance("fifo", "affine", "exponential"), "parametric")
    service_level(still, tail(0.5))
    with pytest.raises(cq.InvalidInputError, match="not available with random use"):
        still.update(instance("fifo", "random", "exponential"))
    assert still.instance == instance("fifo", "affine", "exponential")


def test_a_constraint_of_a_class_without_a_form() -> None:
    class Tighter(cq.MaxMeanWaitingTime):
        """Might demand anything."""

    given = instance("fifo", "affine", "exponential").replace(constraints=[Tighter(9.0)])
    with pytest.raises(
        cq.InvalidInputError,
        match=r"constraints = .*Tighter.* has no cvxpy form; those that do: MaxMeanSystemTime",
    ):
        cq.formulate(given)


def test_a_bound_of_one_type_is_no_service_level() -> None:
    form = cq.formulate(instance("fifo", "affine", "exponential"))
    with pytest.raises(cq.InvalidInputError, match=r"MinAccuracy.* has no cvxpy form"):
        service_level(form, cq.MinAccuracy(0.5))  # type: ignore[arg-type]
