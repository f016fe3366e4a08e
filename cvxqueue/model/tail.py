"""The tail of the waiting time, by the Lundberg bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_most
from cvxqueue.model.constraints import ROUNDINGS, CouplingConstraint, Terms
from cvxqueue.model.instance import Instance
from cvxqueue.model.model import Evaluation
from cvxqueue.model.separable_costs import TailCost
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import LARGEST
from cvxqueue.numerics.roots import bracketed_root
from cvxqueue.numerics.summation import accurate_sum


@dataclass(frozen=True)
class WaitingTimeTail(CouplingConstraint):
    """P(waiting time > seconds) ≤ probability, first in first out, by the Lundberg bound.

    For θ > 0 with Σ π exp(θ t) ≤ 1 + θ/λ, the stationary waiting time W of the M/G/1 queue has
    P(W > x) ≤ exp(−θ x). The constraint demands it of θ = ln(1/probability)/seconds. It is
    sufficient, not necessary: the true tail lies below the bound. It is taken for
    Σ π (exp(θ t) − 1) ≤ θ/λ, which does not cancel where θ is small beside λ, and counts a mix that
    misses one by rounding as one.

    Parameters
    ----------
    seconds : float
        x > 0.
    probability : float
        ε in (0, 1).

    References
    ----------
    Kingman, "Inequalities in the theory of queues", Journal of the Royal Statistical Society B
    32(1), 1970.
    """

    seconds: float
    probability: float

    def __post_init__(self) -> None:
        self._keep_positive("seconds", "probability")
        kind, chance, decay = type(self).__name__, self.probability, self.decay
        if chance >= 1.0:
            raise InvalidInputError(
                f"{kind}: probability = {chance!r} must be < 1; from 1 on the constraint demands "
                "nothing"
            )
        if not 0.0 < decay < np.inf:
            raise InvalidInputError(
                f"{kind}: ln(1/probability)/seconds = {decay!r} must be a positive float64, and "
                f"probability = {chance!r}, seconds = {self.seconds!r} leave none"
            )

    _label = "P(waiting time > {0.seconds:g} s) ≤ {0.probability:g}"

    @property
    def decay(self) -> float:
        """θ = ln(1/probability)/seconds, per second."""
        return float(-np.log(self.probability) / self.seconds)

    def require_allowed(self, instance: Instance) -> None:
        """Refuse where the law of the waiting time is not that of FIFO and of known times."""
        if not instance.queue.has_lundberg_bound:
            raise InvalidInputError(
                f"constraints: {type(self).__name__} is not available for "
                f"{type(instance.queue).__name__}: the bound is one of first in first out with "
                "Poisson arrivals"
            )
        if instance.service.is_random:
            raise InvalidInputError(
                f"constraints: {type(self).__name__} is not available with random use "
                "(service.token_scv > 0): it needs the whole law of the service time, and two "
                "moments are known"
            )

    def _exponentials(self, point: Evaluation) -> FloatArray:
        """π exp(θ t) relative to the limit θ/λ, shape (N,)."""
        limit = float(np.log(self.decay) - np.log(point.model.arrival_rate))
        exponent = self.decay * point.times - limit
        return point.model.probabilities * np.exp(exponent)

    def excess(self, point: Evaluation) -> float:
        """Σ π (exp(θ t) − 1) relative to its limit, less one."""
        terms = self._exponentials(point) * -np.expm1(-self.decay * point.times)
        return float(accurate_sum(terms)) - 1.0

    def allowance(self, point: Evaluation) -> float:
        """The rounding of exponents, which is relative in the exponentials.

        Each logarithm in the limit is rounded by itself, however near each other they are.
        """
        logarithms = np.abs(np.log([self.decay, float(point.model.arrival_rate)])).sum()
        exponent = 1.5 * self.decay * float(np.max(point.times)) + float(logarithms)
        # Far beyond the limit the terms overflow, and no rounding is to blame.
        return min(ROUNDINGS * (3.0 + exponent), 0.5) * min(1.0 + self.excess(point), LARGEST)

    def gradient(self, point: Evaluation) -> FloatArray:
        """π θ t′ exp(θ t), relative to the limit."""
        slope = self.decay * point.model.service.mean_slope(point.tokens)
        return slope * self._exponentials(point)

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """Each query costs the exponential of its time."""
        cost = TailCost(multiplier * arrival_rate / self.decay, self.decay)
        return Terms(separable_costs=(cost,))

    def price(self, multiplier: float, point: Evaluation) -> float:
        """Seconds of objective for a second more in the limit."""
        return -multiplier * self.partials(point)["seconds"][0]

    def partials(self, point: Evaluation) -> dict[str, tuple[float, float | FloatArray]]:
        """By way of θ, and of the arrival rate that the sum is relative to."""
        theta, rate, slope = self.decay, float(point.model.arrival_rate), self.gradient(point)
        # c = λ Σ π (exp(θ t) − 1)/θ − 1.
        share = 1.0 + self.excess(point)
        rise = float(accurate_sum(point.times * self._exponentials(point))) - share / theta
        by_limit = {"seconds": -theta / self.seconds}
        by_limit["probability"] = -1.0 / (self.probability * self.seconds)
        return {
            "arrival_rate": (share / rate, slope / rate),
            **{name: (rise * it, point.times * slope * it) for name, it in by_limit.items()},
        }

    def most_tokens(self, instance: Instance) -> FloatArray:
        """No term of the sum exceeds the whole: t ≤ ln(1 + θ/(λ π))/θ."""
        limit = np.log1p(self.decay / (instance.arrival_rate * instance.probabilities))
        return instance.service.inverse_mean(limit / self.decay * (1.0 + 1e-12))

    def remedy(self, point: Evaluation) -> str:
        """The seconds or the probability that the point would satisfy."""
        decay = _lundberg_exponent(point)
        seconds = -np.log(self.probability) / decay if decay > 0 else np.inf
        chance = at_most(float(np.exp(-decay * self.seconds)), 6)
        remedy = f"raise seconds to {at_most(float(seconds), 6)} or more"
        # A probability of one would demand nothing, and is refused.
        return remedy + (f", or probability to {chance} or more" if float(chance) < 1.0 else "")


def _lundberg_exponent(point: Evaluation) -> float:
    """The θ > 0 with Σ π exp(θ t) = 1 + θ/λ at a stable point; infinite where all t are zero.

    From x + x²/2 ≤ exp(x) − 1 ≤ x exp(x) it lies between −ln ρ/max t and 2 (1 − ρ)/(λ m2): twice as
    far apart, rounding does not count.
    """
    mix, times, rate = point.model.probabilities, point.times, float(point.model.arrival_rate)
    if not times.any():
        return np.inf

    def above(theta: FloatArray) -> FloatArray:
        return np.asarray(accurate_sum(mix * np.expm1(theta * times)) - theta / rate)

    lower = -0.5 * np.log(point.utilization) / np.max(times)
    upper = 4.0 * point.idle / (rate * point.service_time_second_moment)
    return float(bracketed_root(above, lower, upper)[0])
