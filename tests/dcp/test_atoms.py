"""The queueing atoms: curvature, sign, monotonicity, domain, parameters and values."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.dcp import atoms
from tests.paths import EXAMPLES

MIX = np.array([0.5, 0.3, 0.2])
ROOT_MIX = np.sqrt(MIX)
RATE = 0.2
# Of a mean service time of 1.7, utilization 0.34.
TIMES = np.array([1.0, 2.0, 3.0])
# A closed form in another order of operations.
ROUNDING = 1e-13


def mg1_waiting(time: cp.Expression) -> cp.Expression:
    return atoms.mg1_waiting_time(MIX @ time, cp.multiply(ROOT_MIX, time), RATE)


def mg1_system(time: cp.Expression) -> cp.Expression:
    return atoms.mg1_system_time(MIX @ time, cp.multiply(ROOT_MIX, time), RATE)


def sharing(time: cp.Expression) -> cp.Expression:
    return atoms.processor_sharing_system_time(MIX @ time, RATE)


def batches(time: cp.Expression) -> cp.Expression:
    return atoms.batch_waiting_time(
        MIX @ time, cp.multiply(ROOT_MIX, time), RATE, mean_size=2.0, size_second_moment=7.0
    )


def lundberg(time: cp.Expression) -> cp.Expression:
    return atoms.lundberg_moment(time, np.log(MIX), 0.4)


OF_TIMES: dict[str, Callable[[cp.Expression], cp.Expression]] = {
    "mg1 waiting": mg1_waiting,
    "mg1 system": mg1_system,
    "sharing": sharing,
    "batches": batches,
    "lundberg": lundberg,
}
QUEUES = {
    "mg1 waiting": (cq.FIFO(), False),
    "mg1 system": (cq.FIFO(), True),
    "sharing": (cq.ProcessorSharing(), True),
    "batches": (cq.BatchArrivals(2.0, 7.0), False),
}


def number(expression: cp.Expression) -> float:
    return float(np.asarray(expression.value))


@pytest.mark.parametrize("name", QUEUES)
def test_the_value_is_the_closed_form_of_the_model(name: str) -> None:
    time = cp.Variable(3)
    expression = OF_TIMES[name](time)
    queue, is_system = QUEUES[name]
    rng = np.random.default_rng(1)
    for _ in range(20):
        time.value = rng.uniform(0.01, 5.0, 3)
        mean, square = np.asarray(MIX @ time.value), np.asarray(MIX @ time.value**2)
        idle = np.asarray(1.0 - RATE * mean)
        if idle <= 0.0:
            continue
        waiting = queue.mean_waiting_time(RATE, mean, square, idle)
        assert number(expression) == pytest.approx(float(waiting + is_system * mean), rel=ROUNDING)


def test_the_value_of_the_others() -> None:
    time = cp.Variable(3, value=TIMES)
    assert number(lundberg(time)) == pytest.approx(MIX @ np.exp(0.4 * TIMES), rel=ROUNDING)
    service, arrival = cp.Variable(2, value=[3.0, 5.0]), cp.Variable(2, value=[1.0, 4.5])
    np.testing.assert_allclose(
        np.asarray(atoms.mm1_system_time(service, arrival).value), [0.5, 2.0], rtol=ROUNDING
    )
    # M/M/1 is the M/G/1 queue with m2 = 2 m1², and processor sharing has its mean.
    rate, load = 2.0, 1.2
    single = number(atoms.mm1_system_time(rate, load))
    assert single == pytest.approx(
        number(atoms.mg1_system_time(1 / rate, np.sqrt(2.0) / rate, load)), rel=ROUNDING
    )
    assert single == pytest.approx(
        number(atoms.processor_sharing_system_time(1 / rate, load)), rel=ROUNDING
    )


@pytest.mark.parametrize("name", OF_TIMES)
def test_curvature_in_the_times(name: str) -> None:
    expression = OF_TIMES[name](cp.Variable(3))
    assert expression.curvature == "CONVEX"
    problem = cp.Problem(cp.Minimize(expression))
    assert problem.is_dcp()
    assert problem.is_dpp()
    assert not cp.Problem(cp.Maximize(expression)).is_dcp()


@pytest.mark.parametrize("name", OF_TIMES)
def test_it_increases_so_that_convex_times_compose(name: str) -> None:
    tokens = cp.Variable(3, nonneg=True)
    convex = 0.1 + 0.2 * tokens + 0.1 * cp.square(tokens)
    assert OF_TIMES[name](convex).curvature == "CONVEX"
    # A concave one does not: the time is then known to be neither.
    assert not OF_TIMES[name](1 + cp.sqrt(tokens)).is_dcp()


def test_the_square_needs_a_known_sign_and_processor_sharing_does_not() -> None:
    free = cp.Variable(3)
    assert not mg1_waiting(cp.square(free) - 1).is_dcp()
    assert sharing(cp.square(free) - 1).is_dcp()
    assert lundberg(cp.square(free) - 1).is_dcp()


def test_signs() -> None:
    time = cp.Variable(3)
    assert mg1_waiting(time).is_nonneg()
    assert lundberg(time).is_nonneg()
    assert mg1_system(cp.Variable(3, nonneg=True)).is_nonneg()
    assert mg1_system(time).sign == "UNKNOWN"
    assert atoms.mm1_system_time(cp.Variable(), cp.Variable()).is_nonneg()
    assert atoms.congestion_time(time, cp.Variable()).is_nonneg()


def test_curvature_and_monotonicity_in_the_rates() -> None:
    service, arrival = cp.Variable(), cp.Variable()
    assert atoms.mm1_system_time(service, arrival).curvature == "CONVEX"
    assert atoms.mm1_system_time(cp.sqrt(service), cp.square(arrival)).curvature == "CONVEX"
    assert not atoms.mm1_system_time(cp.square(service), arrival).is_dcp()
    assert not atoms.mm1_system_time(service, cp.sqrt(arrival)).is_dcp()


def test_curvature_and_monotonicity_of_the_quotient() -> None:
    root, idle = cp.Variable(2), cp.Variable()
    assert atoms.congestion_time(root, idle).curvature == "CONVEX"
    assert atoms.congestion_time(cp.square(root), cp.sqrt(idle)).curvature == "CONVEX"
    assert not atoms.congestion_time(root, cp.square(idle)).is_dcp()


@pytest.mark.parametrize("name", QUEUES)
def test_outside_the_stability_region_there_is_no_point(name: str) -> None:
    time = cp.Variable(3)
    # 1.01/λ of mean service time; the quotient of the textbook is finite and negative there.
    beyond = cp.Problem(cp.Minimize(OF_TIMES[name](time)), [MIX @ time >= 1.01 / RATE])
    assert beyond.solve(solver="CLARABEL") == np.inf
    assert beyond.status == cp.INFEASIBLE
    inside = cp.Problem(cp.Minimize(OF_TIMES[name](time)), [time >= 0, MIX @ time >= 0.9 / RATE])
    assert 0 < inside.solve(solver="CLARABEL") < np.inf


def test_outside_its_domain_the_single_queue_has_no_point() -> None:
    rate = cp.Variable()
    problem = cp.Problem(cp.Minimize(atoms.mm1_system_time(rate, 2.0)), [rate <= 1.9])
    assert problem.solve(solver="CLARABEL") == np.inf


def is_dpp(expression: cp.Expression) -> bool:
    return bool(cp.Problem(cp.Minimize(expression)).is_dpp())


def test_what_may_be_a_parameter() -> None:
    time, parameter = cp.Variable(3), cp.Parameter(3)
    one = cp.Parameter()
    assert is_dpp(atoms.mg1_waiting_time(MIX @ time, cp.multiply(parameter, time), RATE))
    assert is_dpp(atoms.processor_sharing_system_time(parameter @ time, RATE))
    assert is_dpp(atoms.mm1_system_time(cp.Variable() * one, one))
    assert is_dpp(atoms.lundberg_moment(time, parameter, cp.Parameter(nonneg=True)))
    assert is_dpp(atoms.lundberg_moment(cp.multiply(parameter, time), parameter, 0.4))
    assert is_dpp(atoms.congestion_time(cp.multiply(parameter, time), cp.Variable()))


def test_what_may_not_be_a_parameter() -> None:
    time, parameter = cp.Variable(3), cp.Parameter(3)
    mean = parameter @ time
    assert atoms.mg1_waiting_time(mean, time, RATE).is_dcp()
    assert not is_dpp(atoms.mg1_waiting_time(mean, time, RATE))
    assert not is_dpp(
        atoms.batch_waiting_time(mean, time, RATE, mean_size=1.0, size_second_moment=1.0)
    )
    assert not is_dpp(atoms.congestion_time(time, 1 - mean))
    assert not is_dpp(
        atoms.lundberg_moment(cp.multiply(parameter, time), parameter, cp.Parameter(nonneg=True))
    )
    with pytest.raises(cq.InvalidInputError, match=r"arrival_rate must be one number.*rules"):
        atoms.mg1_waiting_time(1.0, 1.0, cp.Parameter(nonneg=True))  # type: ignore[arg-type]


def test_a_parameter_in_the_denominator_by_a_variable_of_its_own() -> None:
    """What the docstring of the module advises, against the fixed problem."""
    time, idle, slope = cp.Variable(3), cp.Variable(), cp.Parameter(3, nonneg=True)
    worth = cp.sum(cp.log(1 + time))
    refilled = cp.Problem(
        cp.Maximize(worth - atoms.congestion_time(np.sqrt(RATE / 2) * ROOT_MIX * 1.0 @ time, idle)),
        [idle == 1 - slope @ time, time >= 0],
    )
    assert refilled.is_dpp()
    for rate in (0.1, 0.4):
        slope.value = rate * MIX
        fixed = cp.Problem(
            cp.Maximize(
                worth
                - atoms.congestion_time(np.sqrt(RATE / 2) * ROOT_MIX @ time, 1 - rate * MIX @ time)
            ),
            [time >= 0],
        )
        assert refilled.solve(solver="CLARABEL") == pytest.approx(
            fixed.solve(solver="CLARABEL"), rel=1e-6
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: atoms.mg1_waiting_time(1.0, 1.0, 0.0), r"arrival_rate = 0\.0 must be > 0"),
        (lambda: atoms.mg1_system_time(1.0, 1.0, -1.0), r"arrival_rate = -1\.0 must be > 0"),
        (lambda: atoms.mm1_system_time(cp.Variable(), -3.0), r"arrival_rate = -3\.0 must be ≥ 0"),
        (lambda: atoms.mm1_system_time(cp.Variable(), np.nan), "arrival_rate = nan must be finite"),
        (
            lambda: atoms.mm1_system_time(np.array([2.0, -1.0]), cp.Variable(2)),
            r"service_rate\[1\] = -1\.0 must be ≥ 0",
        ),
        (lambda: atoms.processor_sharing_system_time(1.0, np.nan), "= nan must be finite"),
        (lambda: atoms.processor_sharing_system_time(1.0, True), "one number, got True"),
        (
            lambda: atoms.batch_waiting_time(1.0, 1.0, 0.1, mean_size=0.5, size_second_moment=1.0),
            r"mean_size = 0\.5 must be ≥ 1",
        ),
        (
            lambda: atoms.batch_waiting_time(1.0, 1.0, 0.1, mean_size=2.0, size_second_moment=3.0),
            r"size_second_moment = 3\.0 must be at least the square of mean_size = 2\.0",
        ),
    ],
)
def test_bad_numbers(call: Callable[[], cp.Expression], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        call()


def example(name: str) -> ModuleType:
    path = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_capacity_assignment(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("capacity_assignment")
    computed, reference = module.compare()
    np.testing.assert_allclose(computed.capacities, reference.capacities, rtol=1e-5)
    assert computed.delay == pytest.approx(reference.delay, rel=1e-9)
    # No neighbour within the budget does better than the closed form.
    rng = np.random.default_rng(2)
    rates, costs = module.ARRIVAL_RATES, module.COSTS
    for _ in range(20):
        step = rng.normal(size=rates.size) * 100.0
        step -= costs * (costs @ step) / (costs @ costs)
        capacities = reference.capacities + step
        spare = capacities / module.MESSAGE_BITS - rates
        assert (rates / spare).sum() / module.ENTERING > reference.delay
    module.main()
    assert "0.085011773 s computed, 0.085011773 s in closed form" in capsys.readouterr().out


def test_a_budget_that_carries_no_load() -> None:
    module = example("capacity_assignment")
    with pytest.raises(ValueError, match=r"budget = 100\.0 carries no load"):
        module.solve(module.ARRIVAL_RATES, module.COSTS, module.MESSAGE_BITS, 90.0, 100.0)
