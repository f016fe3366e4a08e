"""Limits on what the operator sees: mean times, and thinking tokens per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cvxqueue.formatting import at_most
from cvxqueue.model.constraints import ROUNDINGS, CouplingConstraint, Terms
from cvxqueue.model.model import Evaluation
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.model.separable_costs import ServiceCost, TokenCost
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum

# What is advised leaves this much room. Of 64 solves under caps on times from 0 to 1e-4 above the
# least that there is, 6 stalled at relative gaps of 2e-9 to 6e-7; of 16 at 1e-3, none.
_ROOM = 1.001


def _waiting_allowance(point: Evaluation) -> float:
    """What rounding can have done to W: ρ is off by less than ROUNDINGS, and W is over 1 − ρ.

    The work that waits, m2 and m1², and the constant are right to twice as much, relatively.
    """
    magnified = 1.0 / (float(point.idle) - ROUNDINGS)
    return ROUNDINGS * float(point.mean_waiting_time) * (2.0 + magnified)


@dataclass(frozen=True)
class _TimeCap(CouplingConstraint):
    """What the caps on mean times share: a limit in seconds."""

    seconds: float
    _time: ClassVar[str]

    def __post_init__(self) -> None:
        self._keep_positive("seconds")

    def excess(self, point: Evaluation) -> float:
        """The time less the limit, in seconds."""
        return float(getattr(point, self._time)) - self.seconds

    def partials(self, point: Evaluation) -> dict[str, tuple[float, float | FloatArray]]:
        """Of the limit, which is subtracted."""
        return {"seconds": (-1.0, 0.0)}

    def remedy(self, point: Evaluation) -> str:
        """The time at the point."""
        return f"raise seconds to {at_most(_ROOM * float(getattr(point, self._time)), 6)} or more"


@dataclass(frozen=True)
class MaxMeanSystemTime(_TimeCap):
    """Mean system time T ≤ seconds.

    Parameters
    ----------
    seconds : float
        The limit, > 0.

    Notes
    -----
    With the multiplier η, the optimum is that of the accuracy weight α/(1 + η) without the cap.
    """

    _label, _time = "mean system time ≤ {0.seconds:g} s", "mean_system_time"

    def allowance(self, point: Evaluation) -> float:
        """The rounding of the mean service time and that of the mean waiting time."""
        return ROUNDINGS * float(point.mean_service_time) + _waiting_allowance(point)

    def gradient(self, point: Evaluation) -> FloatArray:
        """∇T."""
        return _gradient(point, point.prices)

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """A second of system time costs so much more."""
        return Terms(time=multiplier)


@dataclass(frozen=True)
class MaxMeanWaitingTime(_TimeCap):
    """Mean waiting time W ≤ seconds.

    Parameters
    ----------
    seconds : float
        The limit, > 0.
    """

    _label, _time = "mean waiting time ≤ {0.seconds:g} s", "mean_waiting_time"

    def allowance(self, point: Evaluation) -> float:
        """The rounding of the mean waiting time."""
        return _waiting_allowance(point)

    def gradient(self, point: Evaluation) -> FloatArray:
        """∇T − ∇m1, of which next to nothing is left at a low load."""
        model = point.model
        moments = (point.mean_service_time, point.service_time_second_moment, point.idle)
        prices = model.queue.priced(0.0, 1.0).prices(model.arrival_rate, *moments)
        return _gradient(point, prices)

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """A second of waiting costs so much."""
        return Terms(waiting=multiplier)


@dataclass(frozen=True)
class MaxTokenRate(CouplingConstraint):
    """Thinking tokens per second λ Σ π l ≤ tokens_per_second.

    Parameters
    ----------
    tokens_per_second : float
        The limit, > 0.
    """

    tokens_per_second: float

    def __post_init__(self) -> None:
        self._keep_positive("tokens_per_second")

    _label = "thinking tokens ≤ {0.tokens_per_second:g} per second"

    def _mean_tokens(self, point: Evaluation) -> float:
        return float(accurate_sum(point.model.probabilities * point.tokens))

    def excess(self, point: Evaluation) -> float:
        """Mean tokens of a query less what the limit leaves for each."""
        return self._mean_tokens(point) - self._most(point)

    def _most(self, point: Evaluation) -> float:
        return self.tokens_per_second / float(point.model.arrival_rate)

    def allowance(self, point: Evaluation) -> float:
        """The rounding of a sum of products, and of the quotient that is the limit."""
        return 0.5 * ROUNDINGS * (self._mean_tokens(point) + self._most(point))

    def gradient(self, point: Evaluation) -> FloatArray:
        """The mix."""
        return point.model.probabilities

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """Each token costs so much."""
        return Terms(separable_costs=(TokenCost(multiplier),))

    def price(self, multiplier: float, point: Evaluation) -> float:
        """Seconds for one token per second more."""
        return multiplier / float(point.model.arrival_rate)

    def partials(self, point: Evaluation) -> dict[str, tuple[float, float | FloatArray]]:
        """Of the limit over the arrival rate, which is subtracted."""
        rate = float(point.model.arrival_rate)
        return {
            "tokens_per_second": (-1.0 / rate, 0.0),
            "arrival_rate": (self._most(point) / rate, 0.0),
        }

    def remedy(self, point: Evaluation) -> str:
        """The token rate at the point."""
        rate = float(point.model.arrival_rate) * self._mean_tokens(point)
        return f"raise tokens_per_second to {at_most(_ROOM * rate, 6)} or more"


@dataclass(frozen=True)
class Stability(CouplingConstraint):
    """Utilization ρ ≤ 1, for a model in which time costs nothing and keeps nothing stable."""

    _label = "a stable queue"

    def excess(self, point: Evaluation) -> float:
        """ρ − 1."""
        return float(point.utilization) - 1.0

    def allowance(self, point: Evaluation) -> float:
        """The rounding of the utilization."""
        return ROUNDINGS * float(point.utilization)

    def gradient(self, point: Evaluation) -> FloatArray:
        """λ ∇m1."""
        return point.model.arrival_rate * point.moment_slopes[0]

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """Each second of service costs so much."""
        return Terms(separable_costs=(ServiceCost(multiplier * arrival_rate),))

    def remedy(self, point: Evaluation) -> str:
        """The arrival rate."""
        return "lower arrival_rate"


def _gradient(point: Evaluation, prices: Prices) -> FloatArray:
    first, second = point.moment_slopes
    return prices.mean * first + prices.second_moment * second
