"""Classes of one's own, as the page shows them, through every door of the package."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import optimize

import cvxqueue as cq
from cvxqueue.certificates import contraction, order_bracket, step_size, strong_concavity
from cvxqueue.dcp.atoms import congestion_time
from cvxqueue.dcp.expressions import accuracies, service_times, waiting_time
from cvxqueue.model import AccuracyCurve, assumed
from cvxqueue.model.accuracy import WeightedCurve
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.plots import plot_accuracy
from cvxqueue.testing import check_extension
from tests.own_classes import BLOCKS, Knee, Logarithmic, Retrials, slsqp

# Its overloads want shapes that arrays are not known to have.
minimize: Any = optimize.minimize

CURVE = Logarithmic(floor=[0.2, 0.3], gain=[0.08, 0.05], scale=[100.0, 500.0])
LAW = Knee(base=0.5, per_token=[0.002, 0.003], per_squared_token=1e-6, knee=500.0)
QUEUE = Retrials(mean_backoff=3.0)
OURS: Mapping[str, Any] = {
    "accuracy": cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
    "service": cq.AffineService(base=0.5, per_token=[0.002, 0.003]),
    "queue": cq.FIFO(),
}
OWN: Mapping[str, Any] = {"accuracy": CURVE, "service": LAW, "queue": QUEUE}


def instance(*own: str, **changes: Any) -> cq.Instance:
    """An instance of which some classes are not the package's."""
    classes = {part: (OWN if part in own else OURS)[part] for part in OURS}
    values: dict[str, Any] = {
        "arrival_rate": 0.2,
        "accuracy_weight": 100.0,
        "max_tokens": 4096,
        "probabilities": [0.4, 0.6],
        **classes,
    }
    return cq.Instance(**{**values, **changes})


def objective(given: cq.Instance, tokens: FloatArray) -> float:
    """J by the formulas of the page, written down anew."""
    count = np.asarray(tokens, dtype=np.float64)
    if given.accuracy is OURS["accuracy"]:
        p = 0.2 + np.array([0.6, 0.5]) * (1.0 - np.exp(-np.array([0.001, 0.004]) * count))
    else:
        p = [0.2, 0.3] + np.array([0.08, 0.05]) * np.log(1.0 + count / [100.0, 500.0])
    t = 0.5 + np.array([0.002, 0.003]) * count
    if given.service is not OURS["service"]:
        t = t + 1e-6 * np.maximum(count - 500.0, 0.0) ** 2
    mix, rate = np.array([0.4, 0.6]), given.arrival_rate
    m1, m2 = mix @ t, mix @ t**2
    load = rate * m1
    if load >= 1.0:
        return -np.inf
    wait = rate * m2 / (2.0 * (1.0 - load))
    if given.queue is not OURS["queue"]:
        wait += 3.0 * load / (1.0 - load)
    return float(given.accuracy_weight * (mix @ p) - m1 - wait)


CASES = [*itertools.chain.from_iterable(itertools.combinations(OURS, n) for n in (1, 2, 3))]


@pytest.fixture(params=CASES, ids="+".join)
def given(request: pytest.FixtureRequest) -> cq.Instance:
    return instance(*request.param)


def test_the_examples_are_short() -> None:
    assert len(BLOCKS) == 5
    # Comments and the sentence that says what a class is are no code.
    lines = [len(re.findall(r'^ *[^ #"\n]', block, re.MULTILINE)) for block in BLOCKS]
    curve, law, queue, server, method = lines
    assert max(curve, law, queue + server, method) < 40


def test_the_optimum_is_found_and_proven(given: cq.Instance) -> None:
    solution = cq.solve(given)
    assert solution.is_optimal
    best = max(
        -minimize(
            lambda tokens: -max(objective(given, np.clip(tokens, 0.0, 4096.0)), -1e9),
            share * solution.tokens + 1.0,
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-13, "maxiter": 4000},
        ).fun
        for share in (0.5, 1.5)
    )
    rounding = 1e-12 * solution.certificate.scale
    assert solution.objective - rounding <= best <= solution.upper_bound + rounding
    assert objective(given, solution.tokens) == pytest.approx(best, abs=1e-9)


def test_certificates_hold_at_any_tokens(given: cq.Instance) -> None:
    solution, rng = cq.solve(given), np.random.default_rng(5)
    for tokens in rng.uniform(0.0, 1200.0, (40, 2)):
        found = cq.certify(given, tokens)
        if not found.is_stable:
            continue
        assert found.objective <= solution.upper_bound
        assert found.upper_bound >= solution.objective
        low, high = found.token_bounds.T
        assert ((low <= solution.tokens) & (solution.tokens <= high)).all()
    bracket = order_bracket(given)
    assert (bracket.lower <= solution.tokens).all()
    assert (solution.tokens <= bracket.upper).all()


def test_bounds_on_the_curvature_hold(given: cq.Instance) -> None:
    start = order_bracket(given).lower
    step, below = step_size(given, start), strong_concavity(given)
    rng = np.random.default_rng(6)
    level = float(given.objective(start))
    points = [x for x in rng.uniform(0.0, 1500.0, (60, 2)) if float(given.objective(x)) >= level]
    assert points
    for tokens in points:
        point = given.evaluate(tokens)
        hessian = -np.stack([point.hessian_product(row) for row in np.eye(2)])
        least, most = np.linalg.eigvalsh(hessian)[[0, -1]]
        assert most <= step.value * (1.0 + 1e-9)
        assert least >= below.plain * (1.0 - 1e-9)
    proof = contraction(given)
    if not np.isfinite(proof.value):
        assert "unstable at the upper end" in proof.reason
        return
    inside = rng.uniform(proof.lower, proof.upper, (20, 2))
    answers = np.stack([given.response(tokens) for tokens in inside])
    for k in range(19):
        apart = np.max(np.abs(inside[k] - inside[k + 1]) / proof.weights)
        moved = np.max(np.abs(answers[k] - answers[k + 1]) / proof.weights)
        assert moved <= proof.value * apart * (1.0 + 1e-9)


def test_all_methods_agree_and_conic_stays_out(given: cq.Instance) -> None:
    check = cq.cross_validate(given)
    assert check.outcome == "agree"
    names = [solution.method for solution in check.solutions]
    assert names == ["newton", "fixed-point", "projected-gradient"]
    assert check.to_dict()["assumes"] == list(assumed(given))
    assert "assumed, and not proven: " in str(check)
    with pytest.raises(cq.InvalidInputError, match=r"conic.*has no cvxpy form.*'newton'"):
        cq.solve(given, "conic")
    with pytest.raises(cq.InvalidInputError, match="has no cvxpy form"):
        cq.formulate(given)


def test_a_method_of_ones_own() -> None:
    given = instance(*OURS)
    found = cq.certify(given, slsqp(given))
    assert found.relative_gap < 1e-9


def test_whole_tokens_by_enumeration(given: cq.Instance) -> None:
    small = given.replace(max_tokens=24.0, accuracy_weight=3.0, arrival_rate=0.9)
    found = cq.solve_integer(small)
    every = list(itertools.product(range(25), repeat=2))
    values = [objective(small, np.array(tokens, dtype=np.float64)) for tokens in every]
    best = int(np.argmax(values))
    assert found.is_optimal
    assert found.objective == pytest.approx(values[best], abs=1e-9)
    assert found.upper_bound >= values[best] - 1e-12
    assert found.to_dict()["assumes"] == list(assumed(small))
    assert "assumed, and not proven: " in str(found)


@pytest.mark.parametrize("method", ["neighbors", "descent", "nearest", "floor"])
def test_roundings_are_bounded(given: cq.Instance, method: str) -> None:
    exact, found = cq.solve_integer(given), cq.solve_integer(given, method)
    assert exact.is_optimal
    assert found.objective <= exact.upper_bound
    assert found.upper_bound >= exact.objective


def test_a_batch_is_what_each_is(given: cq.Instance) -> None:
    rates = [0.1, 0.2, 0.25]
    batch = cq.solve_batch(given, arrival_rate=rates)
    assert batch.is_optimal.all()
    assert batch.assumes == assumed(given)
    assert "assumes=" in repr(batch)
    for k, rate in enumerate(rates):
        alone = cq.solve(given.replace(arrival_rate=rate))
        np.testing.assert_allclose(batch.tokens[k], alone.tokens, atol=1e-3)
        assert batch.objective[k] == pytest.approx(alone.objective, abs=1e-9)


def test_the_simulation_agrees(given: cq.Instance) -> None:
    tokens = cq.solve(given).tokens
    check = cq.check_simulation(cq.simulate(given, tokens, queries=100_000, seed=3))
    assert check.outcome != "differs", check
    assert {"mean waiting time (s)", "utilization"} <= {
        row.quantity for row in check.rows if row.outcome == "agrees"
    }
    two = cq.compare_allocations(given, [tokens, 0.5 * tokens], queries=20_000)
    assert len(two.simulations) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "constraint",
    [
        cq.MaxMeanSystemTime(1.9),
        cq.MaxMeanWaitingTime(0.8),
        cq.MaxTokenRate(60.0),
        cq.MinAccuracy(0.31),
        cq.MinMeanAccuracy(0.42),
    ],
    ids=lambda it: type(it).__name__,
)
def test_constraints_are_kept_and_proven(given: cq.Instance, constraint: Any) -> None:
    limited = given.replace(constraints=[constraint])
    try:
        solution = cq.solve(limited, tolerance=1e-7)
    except cq.InfeasibleError:
        # Then no tokens on a grid keep it either.
        grid = np.linspace(0.0, 4096.0, 65)
        points = np.array(list(itertools.product(grid, grid)))
        stable = [x for x in points if np.isfinite(objective(given, x))]
        assert not any(cq.certify(limited, x).is_feasible for x in stable[::31])
        return
    free = cq.solve(given)
    assert solution.certificate.is_feasible
    assert solution.objective <= free.upper_bound
    rng = np.random.default_rng(8)
    for tokens in solution.tokens * rng.uniform(0.5, 1.5, (40, 2)):
        found = cq.certify(limited, tokens)
        if found.is_feasible:
            assert objective(given, found.tokens) <= solution.upper_bound + 1e-9


def test_a_mixture_with_a_curve_of_ones_own() -> None:
    own = Logarithmic(floor=0.2, gain=0.08, scale=100.0)
    ours = cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.004)
    given = instance(accuracy=cq.MixedAccuracy(curves=[own, ours], which=[0, 1]))
    solution = cq.solve(given)
    assert solution.is_optimal
    assert [sentence.split()[2].rpartition(".")[2] for sentence in solution.assumes] == [
        "Logarithmic"
    ]
    best = minimize(
        lambda x: -float(given.objective(np.clip(x, 0.0, 4096.0))),
        solution.tokens * 0.7,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-13, "maxiter": 4000},
    )
    assert -best.fun <= solution.upper_bound + 1e-9


def test_ours_assume_nothing() -> None:
    solution = cq.solve(instance())
    assert solution.assumes == solution.certificate.assumes == ()
    assert solution.certificate.to_dict()["assumes"] == []
    for shown in (str(solution), repr(solution.certificate), str(cq.solve_integer(instance()))):
        assert "assume" not in shown


def test_what_is_assumed_is_told(given: cq.Instance) -> None:
    solution = cq.solve(given)
    certificate = solution.certificate
    assert certificate.assumes == solution.assumes == assumed(given)
    names = {"accuracy": "Logarithmic", "service": "Knee", "queue": "Retrials"}
    own = {names[part] for part in names if getattr(given, part) is OWN[part]}
    found = {name for name in names.values() for told in certificate.assumes if name in told}
    assert found == own
    assert solution.to_dict()["assumes"] == list(certificate.assumes)
    for sentence in certificate.assumes:
        assert f"assumed, and not proven: {sentence}" in str(solution)
        assert sentence in repr(certificate)


def test_what_is_derived_from_ours_is_not_ours() -> None:
    class Faster(cq.FIFO):
        """Might compute anything."""

    class Cap(cq.MaxMeanSystemTime):
        """Might demand anything."""

    class Odd(cq.Integers):
        """Might allow anything."""

    class Other(cq.Instance):
        """Might have any model."""

    derived = Other(**{**vars_of(instance()), "queue": Faster(), "constraints": [Cap(9.0)]})
    told = cq.certify(derived, [100.0, 100.0]).assumes
    assert [sentence.split()[0] for sentence in told] == ["class", "queue", "constraint"]
    integer = cq.solve_integer(instance(), domains=Odd())
    assert [sentence.split()[0] for sentence in integer.assumes] == ["class"]
    assert "Odd" in integer.assumes[0]
    # A name of the package does not make a class of it.
    named = type("FIFO", (cq.FIFO,), {"__module__": "cvxqueue.model.queues"})
    assert "queue" in cq.certify(instance(queue=named()), [1.0, 1.0]).assumes[0]


def test_what_stands_within_ours_is_not_ours() -> None:
    class Steeper(cq.PiecewiseLinear):
        """Might be anything."""

    corners = Steeper(tokens=[0, 1000, 2000], accuracy=[0.2, 0.4, 0.5])
    worth = np.ones(2)
    for part, name, within in (
        ("accuracy", "Logarithmic", OWN["accuracy"].weighted(worth)),
        ("accuracy", "Steeper", corners.broadcast(2).weighted(worth)),
    ):
        told = cq.certify(instance(**{part: within}), [1.0, 1.0]).assumes
        assert len(told) == 1
        assert name in told[0]
    model = instance().model.with_(queue=OWN["queue"].priced(1.0, 0.5))
    assert "Retrials" in assumed(model)[0]
    first = OWN["accuracy"].mapped(lambda array: array[:1])
    mixed = cq.MixedAccuracy(curves=[first, corners], which=[0, 1])
    assert len(assumed(instance(accuracy=mixed.weighted(worth)))) == 2
    assert len(assumed(instance(accuracy=WeightedCurve(mixed, worth)))) == 2
    ring = Retrials(mean_backoff=3.0)
    vars(ring)["owner"] = ring
    assert len(assumed(instance(queue=ring))) == 1


@pytest.mark.parametrize("part", ["accuracy", "queue"])
def test_smaller_certificates_say_what_they_assume(part: str) -> None:
    for ask in (contraction, step_size, strong_concavity, cq.rounding_bound):
        assert ask(instance()).assumes == ()
        told = ask(instance(part)).assumes
        assert len(told) == 1
        assert type(OWN[part]).__qualname__ in told[0]


def test_no_probability_hides_in_a_mixture() -> None:
    own = Logarithmic(floor=0.9, gain=0.5, scale=100.0)
    ours = cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.004)
    for curve in (own, cq.MixedAccuracy(curves=[own, ours], which=[0, 1])):
        with pytest.raises(cq.InvalidInputError, match=r"max_tokens\[0\] = 2.768.* a probability"):
            instance(accuracy=curve)


@pytest.mark.parametrize(
    "prices", [(1.0, -3.0), (-1.0, 0.0), (np.nan, 1.0), (np.inf, 1.0), ("a", 1.0), (1.0, None)]
)
def test_no_price_of_time_is_negative(prices: tuple[Any, Any]) -> None:
    with pytest.raises(cq.InvalidInputError, match=r"of_(time|waiting)"):
        cq.FIFO().priced(*prices)


def test_queues_at_prices_are_for_lagrangians() -> None:
    priced = cq.Vacations(mean=10.0, second_moment=150.0).priced(0.5, 0.5)
    with pytest.raises(cq.InvalidInputError, match="what queries meet"):
        instance(queue=priced)
    with pytest.raises(cq.InvalidInputError, match="has prices already"):
        priced.priced(1.0, 1.0)


@pytest.mark.parametrize("gain", [[0.08, 0.0], [0.0, 0.0]])
def test_a_curve_that_does_not_rise_is_no_obstacle(gain: list[float]) -> None:
    class Searched(Logarithmic):  # type: ignore[misc]
        """Without the closed forms."""

        inverse_slope = AccuracyCurve.inverse_slope
        inverse_slope_sensitivity = AccuracyCurve.inverse_slope_sensitivity
        curvature_range = AccuracyCurve.curvature_range

    data = {"floor": 0.2, "gain": gain, "scale": 100.0}
    searched, known = (
        cq.solve(instance(accuracy=kind(**data))) for kind in (Searched, Logarithmic)
    )
    assert searched.is_optimal
    assert searched.tokens == pytest.approx(known.tokens, abs=1e-3)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Ramp(AccuracyCurve):
    """Straight up to a knee; behind it the slope falls to a share, and on from there."""

    floor: Any
    rise: Any
    knee: Any
    share: Any
    scale: Any

    is_smooth = False

    def _beyond(self, tokens: Any) -> Any:
        return np.maximum(np.asarray(tokens, dtype=np.float64) - self.knee, 0.0)

    def value(self, tokens: Any) -> Any:
        return self.floor + self.difference(0.0, tokens)

    def slope(self, tokens: Any) -> Any:
        fallen = self.share * np.exp(-self._beyond(tokens) / self.scale)
        return self.rise * np.where(np.less(tokens, self.knee), 1.0, fallen)

    def curvature(self, tokens: Any) -> Any:
        return np.where(np.greater(tokens, self.knee), -self.slope(tokens) / self.scale, 0.0)

    def difference(self, tokens: Any, to: Any) -> Any:
        straight = np.minimum(to, self.knee) - np.minimum(tokens, self.knee)
        start, end = self._beyond(np.minimum(tokens, to)), self._beyond(np.maximum(tokens, to))
        bent = -np.exp(-start / self.scale) * np.expm1((start - end) / self.scale)
        bent = np.where(np.less(tokens, to), bent, -bent)
        return self.rise * (straight + self.share * self.scale * bent)


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.7])
@pytest.mark.parametrize("queue", [cq.FIFO(), cq.ProcessorSharing(), QUEUE], ids=repr)
def test_a_curve_of_ones_own_may_have_kinks(queue: Any, share: float) -> None:
    curve = Ramp(floor=0.1, rise=[6e-4, 4e-4], knee=[500.0, 800.0], share=share, scale=200.0)
    check_extension(curve, max_tokens=4096.0)
    given = instance(accuracy=curve, queue=queue, max_tokens=[4096, 700])
    for weight in np.geomspace(5.0, 3000.0, 8):
        priced = given.replace(accuracy_weight=weight)
        found = cq.solve(priced)
        assert found.is_optimal
        # Around the optimum, along each of both, and in all directions between.
        steps = np.array([-30.0, -3.0, -0.3, 0.0, 0.3, 3.0, 30.0])
        near = found.tokens + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        values = priced.evaluate(np.clip(near, 0.0, priced.upper)).objective
        assert values.max() <= found.objective + 1e-11 * found.certificate.scale
    batch = cq.solve_batch(given, accuracy_weight=np.geomspace(5.0, 3000.0, 8))
    assert batch.is_optimal.all()
    assert cq.cross_validate(given).outcome == "agree"
    whole = cq.solve_integer(given.replace(accuracy_weight=12.0))
    every = np.stack(np.meshgrid(np.arange(700.0), np.arange(701.0)), axis=-1)
    assert whole.is_optimal
    assert whole.objective == pytest.approx(whole.instance.evaluate(every).objective.max())


def vars_of(given: cq.Instance) -> dict[str, Any]:
    return {name: getattr(given, name) for name in type(given).__dataclass_fields__}


def test_what_cannot_be_simulated_says_what_is_missing() -> None:
    class Silent(Retrials):  # type: ignore[misc]
        def recursion(self, generator: np.random.Generator) -> None:
            return None

    class Slower(cq.FIFO):
        """Is of the package but for its weights, and would be simulated as it is not."""

        @property
        def weights(self) -> Any:
            return super().weights._replace(second=2.0)

    for queue in (Silent(3.0), Slower()):
        with pytest.raises(cq.InvalidInputError, match=r"cannot be simulated.*recursion"):
            cq.simulate(instance(queue=queue), [100.0, 100.0])

    class Random(Knee):  # type: ignore[misc]
        is_random = True

    law = Random(base=0.5, per_token=0.002, per_squared_token=1e-6, knee=500.0)
    with pytest.raises(cq.InvalidInputError, match="random times of a law"):
        cq.simulate(instance(service=law), [100.0, 100.0])


def test_a_file_of_classes_of_ones_own_is_refused(given: cq.Instance, tmp_path: Path) -> None:
    for write in (cq.to_dict, lambda it: cq.save(it, tmp_path / "own.toml")):
        with pytest.raises(cq.InvalidInputError, match=r"no kind in instance files"):
            write(given)
    assert not (tmp_path / "own.toml").exists()


def test_what_is_not_derived_from_the_base_is_refused() -> None:
    class Duck:
        """Has some of the methods."""

        broadcast = prices = inverse_slope = Logarithmic.broadcast

    for part, words in (("accuracy", "curve"), ("service", "law"), ("queue", "queue")):
        with pytest.raises(cq.InvalidInputError, match=f"{part} must be an? .*{words} such as"):
            instance(**{part: Duck()})
    with pytest.raises(cq.InvalidInputError, match="accuracy curve such as"):
        cq.MixedAccuracy(curves=[Duck()], which=[0])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (cq.model.AccuracyCurve,), {})()


def test_accuracies_of_ones_own_are_probabilities() -> None:
    beyond = Logarithmic(floor=0.2, gain=0.5, scale=10.0)
    with pytest.raises(cq.InvalidInputError, match=r"accuracy at max_tokens.*a probability"):
        instance(accuracy=beyond)
    assert instance(accuracy=beyond, max_tokens=20.0).is_feasible


def test_pictures_and_reports(given: cq.Instance) -> None:
    axes = plot_accuracy(cq.solve(given), Figure().subplots())
    assert len(axes.lines) >= 2
    text = str(cq.check(given))
    assert "kink" not in text
    for sentence in assumed(given):
        assert " ".join(sentence.split()[-4:]) in " ".join(text.split())


@pytest.fixture(params=CASES, ids="+".join)
def formed(request: pytest.FixtureRequest) -> Iterator[cq.Instance]:
    """An instance whose own classes have cvxpy forms, as long as the test runs."""
    with pytest.MonkeyPatch.context() as patch:
        for forms in (accuracies, service_times, waiting_time):
            patch.setattr(forms, "_by_class", dict(forms._by_class))

        @accuracies.register(Logarithmic)
        def _(curve: Any, tokens: cp.Expression) -> Any:
            share = cp.multiply(1 / curve.scale, tokens)
            return curve.floor + cp.multiply(curve.gain, cp.log1p(share))

        @service_times.register(Knee)
        def _(law: Any, tokens: cp.Expression) -> Any:
            beyond = cp.multiply(np.sqrt(law.per_squared_token), cp.pos(tokens - law.knee))
            return law.base + cp.multiply(law.per_token, tokens) + cp.square(beyond)

        @waiting_time.register(Retrials)
        def _(queue: Any, arrival_rate: float, mean: Any, root: Any) -> Any:
            idle = 1 - arrival_rate * mean
            lost = queue.mean_backoff * (cp.inv_pos(idle) - 1)
            return congestion_time(np.sqrt(arrival_rate / 2) * root, idle) + lost

        yield instance(*request.param)


def test_conic_with_forms_of_ones_own(formed: cq.Instance) -> None:
    exact, conic = cq.solve(formed), cq.solve(formed, "conic")
    assert conic.is_optimal
    assert "conic" in [method.name for method in cq.methods(formed)]
    assert abs(conic.objective - exact.objective) <= 1e-8 * conic.certificate.scale
    for kind in ("dcp", "scaled"):
        form = cq.formulate(formed, kind)
        assert form.is_dcp
        form.problem.solve(solver="CLARABEL", warm_start=False)
        found = float(np.asarray(form.objective.value))
        assert abs(found - exact.objective) <= 1e-5 * conic.certificate.scale
    assert cq.solve(formed, "conic", solver="SCS", tolerance=1e-5).is_optimal


def test_what_has_forms_for_people_only(formed: cq.Instance) -> None:
    own = [name for name, value in OWN.items() if getattr(formed, name) == value]
    with pytest.raises(cq.InvalidInputError, match=rf"{own[-1]} = .* has no|has no .* form"):
        cq.formulate(formed, "parametric")
    textbook = "queue" not in own
    if textbook:
        assert not cq.formulate(formed, "textbook").is_dcp
    else:
        with pytest.raises(cq.InvalidInputError, match=r"queue = .* has no textbook form"):
            cq.formulate(formed, "textbook")


def test_a_class_without_a_form_is_named(given: cq.Instance) -> None:
    with pytest.raises(cq.InvalidInputError, match="has no cvxpy form; those that do: "):
        cq.formulate(given)
    assert "conic" not in [method.name for method in cq.methods(given)]
    with pytest.raises(cq.InvalidInputError, match=r"method 'conic': .* has no cvxpy form"):
        cq.solve(given, "conic")
