"""The queues against their derivations, and every method on every queue and service law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

import cvxqueue as cq
from cvxqueue.certificates import contraction, order_bracket, step_size, strong_concavity
from cvxqueue.numerics.arrays import FloatArray
from tests.tolerances import ROUNDING

# Batches of one, two or four queries, with these chances.
SIZES, CHANCES = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.3, 0.2])
MEAN_SIZE, SQUARED_SIZE = float(CHANCES @ SIZES), float(CHANCES @ SIZES**2)

QUEUES: dict[str, cq.Queue] = {
    "fifo": cq.FIFO(),
    "processor-sharing": cq.ProcessorSharing(),
    "batches": cq.BatchArrivals(MEAN_SIZE, SQUARED_SIZE),
    "vacations": cq.Vacations(3.0, 12.0),
    "setups": cq.Setups(3.0, 12.0),
}

Times = Callable[[float, float, float], float]


def of_batches(rate: float, m1: float, m2: float) -> float:
    """A batch waits as a query of an M/G/1 queue does; a query also for those before it in it."""
    mean, square = MEAN_SIZE * m1, MEAN_SIZE * (m2 - m1**2) + SQUARED_SIZE * m1**2
    batches = rate / MEAN_SIZE
    ahead = float(CHANCES @ (SIZES * (SIZES - 1.0) / 2.0)) / MEAN_SIZE
    return m1 + batches * square / (2.0 * (1.0 - batches * mean)) + ahead * m1


def pollaczek_khinchine(rate: float, m1: float, m2: float) -> float:
    return m1 + rate * m2 / (2.0 * (1.0 - rate * m1))


TIMES: dict[str, Times] = {
    "fifo": pollaczek_khinchine,
    "processor-sharing": lambda rate, m1, _: m1 / (1.0 - rate * m1),
    "batches": of_batches,
    # What is left of a vacation, or of the setup: the share of queries that come during it.
    "vacations": lambda rate, m1, m2: pollaczek_khinchine(rate, m1, m2) + 12.0 / 6.0,
    "setups": lambda rate, m1, m2: (
        pollaczek_khinchine(rate, m1, m2) + (3.0 + rate * 3.0 * 12.0 / 6.0) / (1.0 + rate * 3.0)
    ),
}


def laws(rng: np.random.Generator, size: int) -> dict[str, cq.ServiceLaw]:
    base, per_token = rng.uniform(0.0, 0.3, size), 10 ** rng.uniform(-3.0, -2.0, size)
    base[0] = 0.0
    return {
        "affine": cq.AffineService(base=base, per_token=per_token),
        "random": cq.AffineService(
            base=base, per_token=per_token, token_scv=rng.uniform(0.0, 4.0, size)
        ),
        "quadratic": cq.QuadraticService(
            base=base, per_token=per_token, per_squared_token=per_token * 1e-3
        ),
    }


def drawn(
    seed: int, queue: str, law: str, size: int, load: float, weight: float = 1e4
) -> cq.Instance:
    """An instance whose utilization would be `load` at twice the scales of its curves."""
    rng = np.random.default_rng(seed)
    mix = rng.dirichlet(np.ones(size))
    rate = 10 ** rng.uniform(-3.0, -2.0, size)
    service = laws(rng, size)[law]
    return cq.Instance(
        arrival_rate=load / float(mix @ service.mean(2.0 / rate)),
        accuracy_weight=weight,
        max_tokens=1e5,
        probabilities=mix,
        service=service,
        accuracy=cq.SaturatingExponential(floor=0.1, gain=rng.uniform(0.2, 0.9, size), rate=rate),
        queue=QUEUES[queue],
    )


@pytest.mark.parametrize("law", ["affine", "random", "quadratic"])
@pytest.mark.parametrize("queue", QUEUES)
def test_system_times_against_their_derivations(queue: str, law: str) -> None:
    instance = drawn(1, queue, law, size=4, load=0.9)
    service, mix = instance.service, instance.probabilities
    tokens = np.array([100.0, 300.0, 0.0, 700.0])
    # The tokens used are the mean times one of two values, as likely: of the given variation.
    spread = np.sqrt(getattr(service, "token_scv", np.zeros(4)))
    uses = [tokens * (1.0 - spread), tokens * (1.0 + spread)]
    lengths = np.stack([service.mean(use) for use in uses])
    m1 = float(mix @ lengths.mean(axis=0))
    m2 = float(mix @ (lengths**2).mean(axis=0))
    ROUNDING._replace(rtol=1e-12).check(
        instance.evaluate(tokens).mean_system_time, TIMES[queue](instance.arrival_rate, m1, m2)
    )


@pytest.mark.parametrize("queue", QUEUES)
def test_price_slopes_against_differences(queue: str) -> None:
    rate, m1, m2, step = 0.2, 3.0, 20.0, 1e-5

    def prices(mean: float, second: float) -> tuple[float, ...]:
        held = np.asarray(mean), np.asarray(second), np.asarray(1.0 - rate * mean)
        return tuple(float(price) for price in QUEUES[queue].prices(rate, *held))

    along = np.subtract(prices(m1 + step, m2), prices(m1 - step, m2)) / (2.0 * step)
    across = np.subtract(prices(m1, m2 + step), prices(m1, m2 - step)) / (2.0 * step)
    held = np.asarray(m1), np.asarray(m2), np.asarray(1.0 - rate * m1)
    slopes = [float(slope) for slope in QUEUES[queue].price_slopes(rate, *held)]
    assert slopes == pytest.approx([along[0], along[1], across[1]], rel=1e-7, abs=1e-9)
    assert across[0] == pytest.approx(along[1], rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("law", ["affine", "random", "quadratic"])
@pytest.mark.parametrize("queue", QUEUES)
def test_every_method_proves_the_optimum(queue: str, law: str, seed: int) -> None:
    instance = drawn(seed, queue, law, size=1 + 4 * seed, load=[0.5, 1.5][seed])
    best = cq.solve(instance)
    slow = [cq.solve(instance, method) for method in ("fixed-point", "projected-gradient")]
    for answer in slow:
        assert answer.objective <= best.upper_bound
        assert best.objective <= answer.upper_bound
        assert np.all(answer.token_bounds[:, 0] <= best.token_bounds[:, 1])
        assert np.all(answer.token_bounds[:, 1] >= best.token_bounds[:, 0])
    # A method that knows nothing of prices finds no better, and hardly any worse.
    size = best.tokens + 1.0

    def loss(share: FloatArray) -> float:
        return float(np.nan_to_num(-instance.objective(share * size), posinf=1e9))

    found = minimize(
        loss,
        0.5 * best.tokens / size,
        method="SLSQP",
        bounds=[(0.0, 10.0)] * instance.size,
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert -found.fun <= best.upper_bound
    assert -found.fun >= best.objective - 1e-5 * best.certificate.scale


@pytest.mark.parametrize("law", ["affine", "random", "quadratic"])
@pytest.mark.parametrize("queue", QUEUES)
def test_curvature_stays_within_the_certificates(queue: str, law: str) -> None:
    rng = np.random.default_rng(7)
    instance = drawn(3, queue, law, size=3, load=1.5)
    bound, floor = step_size(instance), strong_concavity(instance)
    seen = 0
    for share in rng.uniform(0.0, 2.0, (200, 3)):
        point = instance.evaluate(share * cq.solve(instance).tokens)
        if not point.is_stable:
            continue
        hessian = -np.stack([point.hessian_product(row) for row in np.eye(3)])
        slopes = instance.service.mean_slope(point.tokens)
        metric = instance.probabilities * slopes**2
        least = np.linalg.eigvalsh(hessian / np.sqrt(np.outer(metric, metric)))[0]
        assert floor.value <= least * (1.0 + 1e-9)
        if float(point.objective) >= bound.level:
            seen += 1
            assert float(point.idle) >= bound.least_idle * (1.0 - 1e-9)
            assert np.linalg.eigvalsh(hessian)[-1] <= bound.value * (1.0 + 1e-9)
    assert seen > 20


@pytest.mark.parametrize("law", ["affine", "random", "quadratic"])
@pytest.mark.parametrize("queue", QUEUES)
def test_responses_move_by_no_more_than_the_contraction(queue: str, law: str) -> None:
    rng = np.random.default_rng(8)
    instance = drawn(4, queue, law, size=3, load=0.1, weight=30.0)
    # Shrunk until it stands still, the bracket would be as narrow as its rounding.
    factor = contraction(instance, order_bracket(instance))
    assert np.isfinite(factor.value)
    width = factor.upper - factor.lower
    for one, other in rng.uniform(size=(50, 2, 3)):
        ends = instance.evaluate(factor.lower + width * np.stack([one, other]))
        apart = np.abs(ends.response[0] - ends.response[1]) / factor.weights
        before = np.abs(ends.tokens[0] - ends.tokens[1]) / factor.weights
        assert np.max(apart) <= factor.value * np.max(before) * (1.0 + 1e-9)


@pytest.mark.parametrize("queue", QUEUES)
def test_where_no_service_takes_time_the_idle_fraction_is_bounded(queue: str) -> None:
    constant = QUEUES[queue].constant(0.1) if queue in ("vacations", "setups") else 0.0
    assert 0.0 <= float(QUEUES[queue].least_idle(0.1, constant, 0.0, 0.0)) <= 1.0
