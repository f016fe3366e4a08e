"""Instances without base times and with nothing right at no tokens: α Σ π w p + T is zero there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import plots
from cvxqueue.cli import main
from cvxqueue.formatting import at_most

CURVES = {
    # All of slope 1e-3 at no tokens, which is what a token costs there.
    "exponential": cq.SaturatingExponential(floor=0.0, gain=1.0, rate=1e-3),
    "little gain": cq.SaturatingExponential(floor=0.0, gain=2.0**-30, rate=1e-3 * 2.0**30),
    "power law": cq.PowerLaw(floor=0.0, gain=0.5, scale=500.0, exponent=1.0),
    "hyperbola": cq.MichaelisMenten(floor=0.0, gain=0.5, half_saturation=500.0),
    "pieces": cq.PiecewiseLinear(tokens=[0, 250, 500], accuracy=[0.0, 0.25, 0.3]),
}
QUEUES = {"FIFO": cq.FIFO(), "sharing": cq.ProcessorSharing()}


def instance(unit: float = 1.0, types: int = 1, **changes: Any) -> cq.Instance:
    """The first token is worth what it costs: 0 tokens are the optimum, and J is 0 there.

    J(l) ≤ p′(0) l − per_token · l = 0 in real arithmetic, since p is concave and T at least the
    mean service time; `unit` is a power of two, the number of units in a second.
    """
    data = {
        "arrival_rate": 1.0 / unit,
        "accuracy_weight": unit,
        "max_tokens": 4096,
        "probabilities": np.full(types, 1.0 / types),
        "service": cq.AffineService(base=0.0, per_token=1e-3 * unit),
        "accuracy": CURVES["exponential"],
    }
    return cq.Instance(**{**data, **changes})


def methods_of(given: cq.Instance) -> list[str]:
    return [method.name for method in cq.methods(given)]


@pytest.mark.parametrize("types", [1, 2, 7])
@pytest.mark.parametrize("queue", QUEUES.values(), ids=QUEUES)
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_every_method_proves_that_nothing_is_best(curve: Any, queue: cq.FIFO, types: int) -> None:
    given = instance(types=types, accuracy=curve, queue=queue)
    for method in methods_of(given):
        solution = cq.solve(given, method)
        assert solution.is_optimal, method
        assert solution.objective <= 0.0 <= solution.upper_bound, method
        assert solution.upper_bound <= 1e-9 * solution.certificate.scale, method
        assert (solution.token_bounds[:, 0] == 0.0).all(), method
        assert f"relative {at_most(solution.relative_gap)}" in str(solution)
        written = json.loads(json.dumps(solution.to_dict()))
        assert written["status"] == "optimal"
        assert written["relative_gap"] == solution.relative_gap
    assert cq.solve(given).tokens.tolist() == [0.0] * types
    assert cq.cross_validate(given).outcome == "agree"


def test_the_exact_optimum_at_nothing_is_zero() -> None:
    solution = cq.solve(instance())
    assert solution.tokens.tolist() == [0.0]
    assert solution.objective == 0.0
    assert solution.gap <= 1e-27
    # Of a hundredth of what 4,096 tokens bring.
    assert solution.certificate.scale == pytest.approx(0.01 * -np.expm1(-4.096), rel=1e-12)


@pytest.mark.parametrize("slope", [np.nextafter(1e-3, 1.0), 1e-3 * (1 + 1e-12), 1e-3 * (1 + 1e-6)])
@pytest.mark.parametrize("base", [0.0, 1e-30, 1e-12])
def test_next_to_a_scale_of_zero_it_is_no_different(slope: float, base: float) -> None:
    curve = cq.SaturatingExponential(floor=0.0, gain=1.0, rate=slope)
    given = instance(accuracy=curve, service=cq.AffineService(base=base, per_token=1e-3))
    for method in methods_of(given):
        assert cq.solve(given, method).is_optimal, method


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**10, 2.0**60])
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_units_change_nothing(curve: Any, unit: float) -> None:
    one, other = (cq.solve(instance(unit=it, accuracy=curve)) for it in (1.0, unit))
    assert other.relative_gap == one.relative_gap
    assert other.certificate.scale == unit * one.certificate.scale
    assert other.status is one.status


def test_what_is_not_optimal_is_not_called_so() -> None:
    certificate = cq.certify(instance(), [1.0])
    assert certificate.relative_gap > 1e-5
    solution = cq.solve(
        instance(), "projected-gradient", start=[100.0], max_iterations=1, on_failure="return"
    )
    assert solution.relative_gap > 0.01
    assert not solution.is_optimal


def test_the_scale_is_the_benefit_and_the_times_wherever_these_are_something() -> None:
    given = instance(service=cq.AffineService(base=0.0, per_token=1e-9))
    point = given.evaluate([[20.0], [50.0], [4096.0]])
    size = point.benefit + point.mean_system_time
    assert (point.scale == size).all()
    least = given.evaluate([1.0]).scale
    assert least == pytest.approx(0.01 * -np.expm1(-4.096), rel=1e-12)


def test_a_server_that_has_nothing_to_gain() -> None:
    for name in ("accuracy_weight", "importance", "max_tokens"):
        changes: dict[str, Any] = {name: 0.0}
        given = instance(**changes)
        for method in methods_of(given):
            solution = cq.solve(given, method)
            assert solution.tokens.tolist() == [0.0]
            assert solution.gap == solution.relative_gap == solution.certificate.scale == 0.0
            assert solution.is_optimal


@pytest.mark.parametrize("method", ["exact", "neighbors", "descent", "nearest", "floor"])
def test_whole_tokens(method: str) -> None:
    answer = cq.solve_integer(instance(), method)
    assert answer.tokens.tolist() == [0]
    assert answer.is_optimal
    assert answer.relative_gap <= 1e-20
    assert json.loads(json.dumps(answer.to_dict()))["status"] == "optimal"
    assert str(answer)


def test_levels_of_effort_that_are_worth_nothing() -> None:
    levels = cq.LevelMenu([0.0, 0.2, 0.4], [0.0, 0.3, 0.6])
    answer = cq.solve_integer(instance(), domains=levels)
    assert answer.levels.tolist() == [0]
    assert answer.is_optimal
    assert float(answer.evaluation.scale) == pytest.approx(0.01 * 0.4)


def test_a_batch() -> None:
    batch = cq.solve_batch(
        instance(), arrival_rate=[0.5, 1.0, 2.0], accuracy_weight=[1.0, 1.0, 0.0]
    )
    assert batch.is_optimal.all()
    assert (batch.tokens == 0.0).all()
    assert (batch.relative_gap <= 1e-20).all()
    assert batch.relative_gap[2] == 0.0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nothing.toml"
    cq.save(instance(), path)
    assert main(["solve", str(path)]) == 0
    assert "agree" in capsys.readouterr().out
    assert main(["solve", str(path), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["status"] == written["integer"]["status"] == "optimal"
    assert written["objective"] == 0.0


def test_pictures() -> None:
    _, ax = plt.subplots()
    plots.plot_convergence([cq.solve(instance(), "fixed-point")], ax=ax)
    for line in ax.get_lines():
        assert np.isfinite(np.asarray(line.get_ydata(), dtype=float)).all()
    plt.close("all")
