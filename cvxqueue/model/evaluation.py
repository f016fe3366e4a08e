"""Everything that the model says about one allocation, each quantity computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.model.queue import Prices, PriceSlopes
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen_tuple, kept
from cvxqueue.numerics.summation import accurate_sum

if TYPE_CHECKING:
    from cvxqueue.model.data import ModelData

__all__ = ["LEAST_IDLE", "Evaluation"]


LEAST_IDLE = 8.0 * float(np.finfo(np.float64).eps)
"""What rounding cannot tell from zero: ρ has terms of three roundings each, and is rounded."""
# Part of the benefit that the box adds. Where curves have kinks, rounding makes a gap of 64 ε of
# what a piece brings: within their tolerance of 1.6e-11 relative to 1e-3 of it, and ten times that.
_LEAST_SCALE = 0.01
# More than rounding takes from a service time, or from the tokens that it leaves.
_ROUNDED_UP = 1.0 + 1e-12


@quiet
class Evaluation:
    """The closed forms of an instance at given tokens, computed when asked for and kept.

    Parameters
    ----------
    instance : ModelData
        The instance, or a batch of them.
    tokens : ndarray, shape (..., N)
        Thinking tokens. Quantities that exist only inside the stability region are not checked
        here: ask `is_stable` first.
    """

    instance: ModelData
    tokens: FloatArray

    def __init__(self, instance: ModelData, tokens: FloatArray) -> None:
        vars(self).update(instance=instance, tokens=tokens)

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen_tuple, (Evaluation, self.instance, self.tokens)

    def __setstate__(self, state: object) -> None:
        self.__setattr__("state", state)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} follows from the instance and the tokens: evaluate others")

    def __repr__(self) -> str:
        return f"Evaluation(tokens of shape {self.tokens.shape})"

    @property
    def parts(self) -> Iterator[Evaluation]:
        """The same point, a few thousand types at a time, at the prices of the whole."""
        for place, data in self.instance.blocks:
            if data is self.instance:
                yield self
            else:
                part = Evaluation(data, self.tokens[..., place])
                reach = self.reach[..., place]
                vars(part).update(idle=self.idle, prices=self.prices, reach=reach)
                yield part

    def _mix(self, values: Callable[[Evaluation], FloatArray]) -> FloatArray:
        """Σ π of what `values` says by type, without a whole array of it where there are many."""
        sums = []
        for place, data in self.instance.blocks:
            part = self if data is self.instance else Evaluation(data, self.tokens[..., place])
            sums.append(accurate_sum(data.probabilities * values(part)))
        return sums[0] if len(sums) == 1 else accurate_sum(np.stack(sums, axis=-1))

    @kept
    def times(self) -> FloatArray:
        """Mean service time of each type, in seconds, shape (..., N)."""
        return self.instance.service.mean(self.tokens)

    @kept
    def mean_service_time(self) -> FloatArray:
        """First moment m1 of the service time of the mixture, in seconds, shape (...)."""
        return self._mix(lambda part: part.instance.service.mean(part.tokens))

    @kept
    def service_time_second_moment(self) -> FloatArray:
        """Second moment m2 of the service time of the mixture, in seconds², shape (...)."""
        return self._mix(lambda part: part.instance.service.second_moment(part.tokens))

    @kept
    def utilization(self) -> FloatArray:
        """Utilization ρ = λ m1, shape (...)."""
        utilization: FloatArray = self.instance.arrival_rate * self.mean_service_time
        return utilization

    @kept
    def idle(self) -> FloatArray:
        """Idle fraction 1 − ρ, shape (...); the queue is stable where it is positive.

        What rounding cannot tell from zero counts as zero: a stable queue is proven to be one.
        """
        idle = 1.0 - self.utilization
        idle *= np.abs(idle) > LEAST_IDLE
        return idle

    @kept
    def is_stable(self) -> bool:
        """Whether every allocation lies strictly inside the stability region."""
        return bool((self.idle > 0).all())

    @kept
    def mean_waiting_time(self) -> FloatArray:
        """Mean waiting time W, in seconds, shape (...); infinite outside the stability region."""
        is_stable = self.idle > 0
        waiting = self.instance.queue.mean_waiting_time(
            self.instance.arrival_rate,
            self.mean_service_time,
            self.service_time_second_moment,
            self.idle if self.is_stable else np.where(is_stable, self.idle, 1.0),
        )
        return waiting if self.is_stable else np.where(is_stable, waiting, np.inf)

    @kept
    def mean_system_time(self) -> FloatArray:
        """Mean system time T = m1 + W, in seconds, shape (...)."""
        return self.mean_service_time + self.mean_waiting_time

    @kept
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer of each type, shape (..., N)."""
        return self.instance.accuracy.value(self.tokens)

    @kept
    def mean_accuracy(self) -> FloatArray:
        """Plain mean accuracy Σ π p, importance left out, shape (...)."""
        return self._mix(lambda part: part.accuracies)

    @kept
    def benefit(self) -> FloatArray:
        """What accuracy is worth, α Σ π w p, in seconds, shape (...)."""
        return self._mix(lambda part: part.instance.accuracy_value * part.accuracies)

    @kept
    def objective(self) -> FloatArray:
        """Objective J = α Σ π w p − T, in seconds, shape (...); −inf outside stability."""
        return self.benefit - self.mean_system_time

    @property
    def benefit_size(self) -> FloatArray:
        """α Σ π w |p|, in seconds, shape (...): what the benefit is rounded in proportion to.

        Where a line continued to 0 tokens misses it by rounding, both parts of p count.
        """
        return self.benefit + 2.0 * self.instance.shortfall

    @kept
    def scale(self) -> FloatArray:
        """α Σ π w p + T, in seconds: the size of what the objective is a difference of.

        Without base times and without accuracy at no tokens both are zero there, and next to zero
        nearby, while rounding still moves a marginal cost by its share, and a response by that
        share of what tokens bring. So the scale is no less than a hundredth of what the box can add
        to the benefit, which changes with the units as the objective does.
        """
        size = self.benefit_size + self.mean_system_time
        if (size >= _LEAST_SCALE * self.instance.most_benefit).all():
            return size
        return np.maximum(size, _LEAST_SCALE * self.instance.added_benefit)

    @kept
    def prices(self) -> Prices:
        """Prices of a second and of a squared second of service."""
        return self.instance.queue.prices(
            self.instance.arrival_rate,
            self.mean_service_time,
            self.service_time_second_moment,
            self.idle,
        )

    @kept
    def marginal_cost(self) -> FloatArray:
        """∂T/∂l_k / π_k, in seconds per token, shape (..., N)."""
        prices = (np.asarray(price)[..., np.newaxis] for price in self.prices)
        return self.instance.marginal_cost(self.tokens, *prices)[0]

    @kept
    def magnification(self) -> FloatArray:
        """What the rounding of the utilization becomes in a marginal cost, shape (...)."""
        magnification: FloatArray = 1.0 / self.idle
        for cost in self.instance.separable_costs:
            magnification = magnification + cost.magnification(self.instance.service, self.tokens)
        return magnification

    @kept
    def marginal_benefit(self) -> FloatArray:
        """α w_k p_k′(l_k), in seconds per token, shape (..., N)."""
        return self.instance.benefit.slope(self.tokens)

    @kept
    def gradient(self) -> FloatArray:
        """Gradient of the objective, in seconds per token, shape (..., N)."""
        return self.instance.probabilities * (self.marginal_benefit - self.marginal_cost)

    @kept
    def unclipped_response(self) -> FloatArray:
        """Tokens at which the marginal benefit meets today's marginal cost, box left out."""
        return self.instance.benefit.inverse_slope(self.marginal_cost)

    @kept
    def response(self) -> FloatArray:
        """Best answer of each type to today's marginal cost, in its box, shape (..., N)."""
        return self.instance.boxed(self.unclipped_response)

    @kept
    def reach(self) -> FloatArray:
        """Most tokens that a type needs to be allowed in a bound over all, shape (..., N).

        Those of the box, and of curves with kinks none beyond what stability leaves to one type. A
        straight piece may be far longer than that, and as a whole is what rounding of a marginal
        cost moves a response by.
        """
        instance = self.instance
        if instance.accuracy.is_smooth:
            return instance.upper
        rate = np.asarray(instance.arrival_rate)[..., np.newaxis]
        idle = np.asarray(instance.lowest.idle)[..., np.newaxis] + LEAST_IDLE
        service = instance.service
        longest = service.mean(instance.lower) + idle / (rate * instance.probabilities)
        tokens = service.inverse_mean(longest * _ROUNDED_UP) * _ROUNDED_UP
        return np.minimum(instance.upper, tokens)

    @property
    def reachable_response(self) -> FloatArray:
        """The response, no further than `reach`, shape (..., N)."""
        if self.instance.accuracy.is_smooth:
            return self.response
        return np.minimum(self.response, self.reach)

    @property
    def moment_slopes(self) -> tuple[FloatArray, FloatArray]:
        """Derivatives of m1 and m2 with respect to the tokens, s and s² per token, (..., N)."""
        service, mix = self.instance.service, self.instance.probabilities
        return mix * service.mean_slope(self.tokens), mix * service.second_moment_slope(self.tokens)

    @property
    def cost_curvature(self) -> FloatArray:
        """Second derivative of each type's cost at fixed prices, per π, shape (..., N)."""
        prices = (np.asarray(price)[..., np.newaxis] for price in self.prices)
        return self.instance.marginal_cost(self.tokens, *prices)[1]

    @property
    def price_slopes(self) -> PriceSlopes:
        """Second derivatives of the mean system time as a function of the two moments."""
        return self.instance.queue.price_slopes(
            self.instance.arrival_rate,
            self.mean_service_time,
            self.service_time_second_moment,
            self.idle,
        )

    def hessian_product(self, direction: FloatArray) -> FloatArray:
        """Hessian of the objective times a direction, shape (..., N)."""
        instance, slopes = self.instance, self.price_slopes
        mean, second = self.moment_slopes
        along_mean, along_second = accurate_sum(mean * direction), accurate_sum(second * direction)
        mean_price = slopes.mean_mean * along_mean + slopes.mean_second * along_second
        second_price = slopes.mean_second * along_mean + slopes.second_second * along_second
        benefit_curvature = instance.benefit.curvature(self.tokens)
        product: FloatArray = (
            instance.probabilities * (benefit_curvature - self.cost_curvature) * direction
            - mean * np.asarray(mean_price)[..., np.newaxis]
            - second * np.asarray(second_price)[..., np.newaxis]
        )
        return product

    def separable_gains(self, to: FloatArray) -> FloatArray:
        """Per type, what moving to `to` gains if the mean system time were linear.

        The sum bounds J(to) − J(tokens) from above, because T is convex.

        Parameters
        ----------
        to : ndarray, shape (..., N)

        Returns
        -------
        ndarray, shape (..., N)
            α π w (p(to) − p(l)) − ∇T · (to − l), in seconds, to full relative accuracy of each of
            the two terms.
        """
        instance = self.instance
        gain = instance.benefit.difference(self.tokens, to)
        return instance.probabilities * (gain - self.marginal_cost * (to - self.tokens))

    def divergence(self, other: Evaluation) -> FloatArray:
        """T(other) − T − ∇T · (other − self) ≥ 0, in seconds, shape (...), without cancellation.

        Both must be stable.
        """
        instance, service = self.instance, self.instance.service
        ratio = np.asarray(other.idle / self.idle)[..., np.newaxis]
        prices = (np.asarray(price)[..., np.newaxis] for price in self.prices)
        apart = service.mean_square_distance(self.tokens, other.tokens, ratio)
        of_queue = instance.queue.divergence(
            instance.arrival_rate,
            self.idle,
            other.idle,
            accurate_sum(instance.probabilities * (other.times - self.times)),
            accurate_sum(instance.probabilities * apart),
        )
        bend = service.bend(self.tokens, other.tokens, *prices)
        return of_queue + accurate_sum(instance.probabilities * bend)

    def improvement(self, other: Evaluation) -> FloatArray:
        """J(other) − J(self), in seconds, shape (...), without cancellation.

        Both must be stable. Near the optimum the two objectives agree in all their digits; this
        difference keeps its sign.
        """
        return accurate_sum(self.separable_gains(other.tokens)) - self.divergence(other)
