"""Random servers of realistic scale: as many as wanted, of any size, at a wanted load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.generator import log_uniform

# A common limit on the tokens of a reasoning model.
MAX_TOKENS = 32768.0
# The utilization is as exact as the ratio of the prices, whose error shrinks by a third or more
# in each round; nobody needs more digits.
_ROUNDS = 60
_SETTLED = 1e-9
# Newton's steps for the tokens: from a guess, and from the tokens of the last round.
_FIRST_STEPS, _STEPS = 20, 3


@dataclass(frozen=True)
class Servers:
    """Parameters of random servers, one in each row."""

    arrival_rate: FloatArray
    """shape (B,)"""
    accuracy_weight: FloatArray
    """shape (B,)"""
    probabilities: FloatArray
    """shape (B, N), as all that follow"""
    base: FloatArray
    per_token: FloatArray
    floor: FloatArray
    gain: FloatArray
    rate: FloatArray

    def instance(self, row: int = 0) -> cq.Instance:
        """Return one of them as a new object, which has computed nothing yet."""
        return cq.Instance(
            arrival_rate=float(self.arrival_rate[row]),
            accuracy_weight=float(self.accuracy_weight[row]),
            probabilities=self.probabilities[row],
            max_tokens=MAX_TOKENS,
            service=cq.AffineService(base=self.base[row], per_token=self.per_token[row]),
            accuracy=cq.SaturatingExponential(
                floor=self.floor[row], gain=self.gain[row], rate=self.rate[row]
            ),
        )


def plain_objective(instance: cq.Instance) -> Callable[[FloatArray], float]:
    """Return the objective as a person would write it: the unit of work of these benchmarks."""
    assert isinstance(instance.service, cq.AffineService)
    assert isinstance(instance.accuracy, cq.SaturatingExponential)
    lam, alpha = instance.arrival_rate, instance.accuracy_weight
    pi, w = instance.probabilities, instance.importance
    base, c = instance.service.base, instance.service.per_token
    D, A, b = instance.accuracy.floor, instance.accuracy.gain, instance.accuracy.rate

    def objective(l: FloatArray) -> float:  # noqa: E741 (the tokens of every formula)
        t = base + c * l
        m1 = pi @ t
        m2 = pi @ (t * t)
        accuracy = pi @ (w * (D + A * (1 - np.exp(-b * l))))
        return float(alpha * accuracy - m1 - lam * m2 / (2 * (1 - lam * m1)))

    return objective


def random_servers(
    rng: np.random.Generator,
    count: int,
    types: int,
    utilization: tuple[float, float] = (0.3, 0.9),
    exponent: tuple[float, float] = (0.3, 3.0),
) -> Servers:
    """Draw servers whose utilization at the optimum is uniform in a range.

    Mixes are uniform on the simplex, curves and service times of the size of published ones. The
    arrival rate and the accuracy weight follow from two wishes: that utilization, and how far up
    its curve the middle type thinks, in the order of gain · rate / per_token.

    Parameters
    ----------
    rng
        The source of everything.
    count, types
        How many servers, and how many task types each has.
    utilization
        Range at the optimum, in (0, 1).
    exponent
        Range of rate · tokens of the middle type.

    Notes
    -----
    With the prices P1 and P2 and the accuracy weight α, a type between its bounds gets the l with

        gain · rate · exp(−rate · l) = κ · per_token · (q + t(l)),   q = P1/(2 P2),   κ = 2 P2/α.

    The second wish gives κ. The first fixes λ = ρ/m1, and so the ratio of the prices there,

        q = m1 (1 − ρ)/ρ + ρ m2/(2 m1 (1 − ρ)).

    This falls where q rises, and the geometric mean of the old and the new q settles.
    """
    shape = (count, types)
    weights = rng.standard_exponential(shape)
    mix = weights / weights.sum(axis=1, keepdims=True)
    base = log_uniform(rng, 0.01, 1.0, count * types).reshape(shape)
    per_token = log_uniform(rng, 1e-3, 3e-2, count * types).reshape(shape)
    rate = log_uniform(rng, 1e-4, 1e-2, count * types).reshape(shape)
    gain = rng.uniform(0.05, 0.7, shape)
    floor = rng.uniform(0.0, 1.0, shape) * (1.0 - gain)
    load = rng.uniform(*utilization, (count, 1))

    log_worth = np.log(gain * rate / per_token)
    middle = np.argsort(log_worth, axis=1)[:, types // 2, np.newaxis]
    wish = rng.uniform(*exponent, (count, 1))
    middle_tokens = wish / np.take_along_axis(rate, middle, axis=1)
    middle_time = np.take_along_axis(base, middle, axis=1) + middle_tokens * np.take_along_axis(
        per_token, middle, axis=1
    )
    middle_worth = np.take_along_axis(log_worth, middle, axis=1) - wish
    ratio = np.ones((count, 1))
    tokens = 1.0 / rate
    for iteration in range(_ROUNDS):
        log_level = middle_worth - np.log(ratio + middle_time)
        for _ in range(_STEPS if iteration else _FIRST_STEPS):
            # The equation is concave in the tokens: the steps climb to its root from below.
            price = ratio + base + per_token * tokens
            excess = log_worth - log_level - rate * tokens - np.log(price)
            tokens = np.clip(tokens + excess / (rate + per_token / price), 0.0, MAX_TOKENS)
        times = base + per_token * tokens
        mean = np.sum(mix * times, axis=1, keepdims=True)
        second = np.sum(mix * times * times, axis=1, keepdims=True)
        wanted = mean * (1.0 - load) / load + load * second / (2.0 * mean * (1.0 - load))
        error = float(np.max(np.abs(wanted / ratio - 1.0)))
        ratio = np.sqrt(ratio * wanted)
        if error <= _SETTLED:
            break
    arrival_rate = load / mean
    accuracy_weight = arrival_rate / (1.0 - load) * np.exp(-log_level)
    return Servers(
        arrival_rate=arrival_rate[:, 0],
        accuracy_weight=accuracy_weight[:, 0],
        probabilities=mix,
        base=base,
        per_token=per_token,
        floor=floor,
        gain=gain,
        rate=rate,
    )
