"""Constraints beyond the box and stability, each with a multiplier that has a meaning.

A constraint is kept in the form c(l) ≤ 0 with c convex. At a multiplier μ ≥ 0 the Lagrangian
J − μ c is the objective of a model without the constraint: a price of time is one of the queue, a
price of accuracy one of the types, and a sum over the types is a charge (`cvxqueue.model.charges`).
So whatever solves and certifies models without constraints does it for those with constraints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.arrays import ArrayData, FloatArray, entry_name, float_array, real_number
from cvxqueue.model.charges import Charge, TailCharge, TokenCharge
from cvxqueue.model.summation import accurate_sum

if TYPE_CHECKING:
    from cvxqueue.model.evaluation import Evaluation
    from cvxqueue.model.instance import Instance

__all__ = [
    "BoxConstraint",
    "Constraint",
    "CouplingConstraint",
    "MaxMeanSystemTime",
    "MaxMeanWaitingTime",
    "MaxTokenRate",
    "MinAccuracy",
    "MinMeanAccuracy",
    "Terms",
    "WaitingTimeTail",
]

_EPSILON = float(np.finfo(np.float64).eps)
# As in the certificates: a few roundings reach each sum, and 1/(1−ρ) magnifies them.
_ROUNDINGS = 4.0 * _EPSILON
_BISECTIONS = 200


class Terms(NamedTuple):
    """What multipliers add to the objective."""

    time: float = 0.0
    """Further seconds that a second of mean system time costs."""
    waiting: float = 0.0
    """Seconds that a second of mean waiting time costs."""
    accuracy: float = 0.0
    """Further seconds that the accuracy of any query is worth."""
    charges: tuple[Charge, ...] = ()
    """What the types pay besides."""


class Constraint(ABC):
    """What every constraint has."""

    @abstractmethod
    def require_allowed(self, instance: Instance) -> None:
        """Raise an error where the constraint does not fit the instance."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The constraint as a person would write it."""


class BoxConstraint(Constraint):
    """A constraint that is a lower bound on the tokens of some types."""

    @abstractmethod
    def least_tokens(self, instance: Instance) -> FloatArray:
        """Tokens that satisfy the constraint and no fewer, shape (N,); infinite where none do."""

    @abstractmethod
    def shortfall(self, instance: Instance, position: int) -> str:
        """What no tokens of a type reach, and the value that would do."""


class CouplingConstraint(Constraint):
    """A constraint c(l) ≤ 0 on all types together, c convex in the tokens."""

    is_floor = False
    """Whether more tokens satisfy it rather than fewer."""

    @abstractmethod
    def excess(self, point: Evaluation) -> float:
        """Value of c at a stable point: positive where the constraint is violated."""

    @abstractmethod
    def allowance(self, point: Evaluation) -> float:
        """What rounding can have done to `excess`."""

    @abstractmethod
    def gradient(self, point: Evaluation) -> FloatArray:
        """Gradient of c at a stable point, per token, shape (N,)."""

    @abstractmethod
    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """What −μ c adds to the objective, up to a constant."""

    @abstractmethod
    def price(self, multiplier: float, point: Evaluation) -> float:
        """What relaxing the limit by one unit gains, in seconds, from the multiplier of c."""

    @abstractmethod
    def remedy(self, point: Evaluation) -> str:
        """The limit that the given point would satisfy, as a message says it."""

    def most_tokens(self, instance: Instance) -> FloatArray:
        """Upper bound on the tokens of each type where the constraint holds, shape (N,)."""
        return np.full(instance.size, np.inf)


def _time_allowance(point: Evaluation) -> float:
    return _ROUNDINGS * float(point.mean_system_time / point.idle)


@dataclass(frozen=True)
class _TimeCap(CouplingConstraint):
    """What the caps on mean times share: a limit in seconds."""

    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", _positive(self, "seconds", self.seconds))

    def require_allowed(self, instance: Instance) -> None:
        """Every instance has mean times."""

    def allowance(self, point: Evaluation) -> float:
        """The rounding of the mean system time."""
        return _time_allowance(point) + _ROUNDINGS * self.seconds

    def price(self, multiplier: float, point: Evaluation) -> float:
        """The multiplier itself: the limit enters c alone."""
        return multiplier


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

    @property
    def label(self) -> str:
        """As a person would write it."""
        return f"mean system time ≤ {self.seconds:g} s"

    def excess(self, point: Evaluation) -> float:
        """T less the limit, in seconds."""
        return float(point.mean_system_time) - self.seconds

    def gradient(self, point: Evaluation) -> FloatArray:
        """∇T."""
        return _time_gradient(point)

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """A second of system time costs so much more."""
        return Terms(time=multiplier)

    def remedy(self, point: Evaluation) -> str:
        """The mean system time at the point."""
        return f"raise seconds to {_rounded_up(float(point.mean_system_time))} or more"


@dataclass(frozen=True)
class MaxMeanWaitingTime(_TimeCap):
    """Mean waiting time W ≤ seconds.

    Parameters
    ----------
    seconds : float
        The limit, > 0.
    """

    @property
    def label(self) -> str:
        """As a person would write it."""
        return f"mean waiting time ≤ {self.seconds:g} s"

    def excess(self, point: Evaluation) -> float:
        """W less the limit, in seconds."""
        return float(point.mean_waiting_time) - self.seconds

    def gradient(self, point: Evaluation) -> FloatArray:
        """∇T − ∇m1."""
        return _time_gradient(point) - point.moment_slopes[0]

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """A second of waiting costs so much."""
        return Terms(waiting=multiplier)

    def remedy(self, point: Evaluation) -> str:
        """The mean waiting time at the point."""
        return f"raise seconds to {_rounded_up(float(point.mean_waiting_time))} or more"


@dataclass(frozen=True)
class MinMeanAccuracy(CouplingConstraint):
    """Mean accuracy of the mix Σ π p ≥ accuracy; importance does not enter.

    Parameters
    ----------
    accuracy : float
        The floor, in (0, 1].
    """

    accuracy: float
    is_floor = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "accuracy", _probability(self, "accuracy", self.accuracy))

    @property
    def label(self) -> str:
        """As a person would write it."""
        return f"mean accuracy ≥ {self.accuracy:g}"

    def require_allowed(self, instance: Instance) -> None:
        """Every instance has a mean accuracy."""

    def excess(self, point: Evaluation) -> float:
        """The floor less the mean accuracy."""
        return self.accuracy - float(point.mean_accuracy)

    def allowance(self, point: Evaluation) -> float:
        """The rounding of accuracies, which are at most one."""
        return 4.0 * _ROUNDINGS

    def gradient(self, point: Evaluation) -> FloatArray:
        """−π p′."""
        instance = point.instance
        slopes: FloatArray = -instance.probabilities * instance.accuracy.slope(point.tokens)
        return slopes

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """The accuracy of any query is worth so much more."""
        return Terms(accuracy=multiplier)

    def price(self, multiplier: float, point: Evaluation) -> float:
        """The multiplier itself, in seconds per unit of accuracy."""
        return multiplier

    def remedy(self, point: Evaluation) -> str:
        """The mean accuracy at the point."""
        return f"lower accuracy to {_rounded_down(float(point.mean_accuracy))} or less"


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
        limit = _positive(self, "tokens_per_second", self.tokens_per_second)
        object.__setattr__(self, "tokens_per_second", limit)

    @property
    def label(self) -> str:
        """As a person would write it."""
        return f"thinking tokens ≤ {self.tokens_per_second:g} per second"

    def require_allowed(self, instance: Instance) -> None:
        """Every instance has a token rate."""

    def _mean_tokens(self, point: Evaluation) -> float:
        return float(accurate_sum(point.instance.probabilities * point.tokens))

    def excess(self, point: Evaluation) -> float:
        """Mean tokens of a query less what the limit leaves for each."""
        return self._mean_tokens(point) - self._most(point)

    def _most(self, point: Evaluation) -> float:
        return self.tokens_per_second / float(point.instance.arrival_rate)

    def allowance(self, point: Evaluation) -> float:
        """The rounding of a sum of products, and of the limit."""
        return _ROUNDINGS * (self._mean_tokens(point) + self._most(point))

    def gradient(self, point: Evaluation) -> FloatArray:
        """The mix."""
        return point.instance.probabilities

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """Each token costs so much."""
        return Terms(charges=(TokenCharge(multiplier),))

    def price(self, multiplier: float, point: Evaluation) -> float:
        """Seconds for one token per second more."""
        return multiplier / float(point.instance.arrival_rate)

    def remedy(self, point: Evaluation) -> str:
        """The token rate at the point."""
        rate = float(point.instance.arrival_rate) * self._mean_tokens(point)
        return f"raise tokens_per_second to {_rounded_up(rate)} or more"


@dataclass(frozen=True)
class WaitingTimeTail(CouplingConstraint):
    """P(waiting time > seconds) ≤ probability, first in first out, by the Lundberg bound.

    For θ > 0 with Σ π exp(θ t) ≤ 1 + θ/λ, the stationary waiting time W of the M/G/1 queue has
    P(W > x) ≤ exp(−θ x). The constraint demands it of θ = ln(1/probability)/seconds. It is
    sufficient, not necessary: the true tail lies below the bound.

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
        object.__setattr__(self, "seconds", _positive(self, "seconds", self.seconds))
        chance = _probability(self, "probability", self.probability)
        if chance == 1.0:
            raise InvalidInputError(
                f"{type(self).__name__}: probability = {chance!r} must be < 1; with 1 it demands "
                "nothing"
            )
        object.__setattr__(self, "probability", chance)
        with np.errstate(over="ignore", under="ignore"):
            decay = self.decay
        if not 0.0 < decay < np.inf:
            raise InvalidInputError(
                f"{type(self).__name__}: ln(1/probability)/seconds = {decay!r} must be a positive "
                f"float64, and probability = {chance!r}, seconds = {self.seconds!r} leave none"
            )

    @property
    def label(self) -> str:
        """As a person would write it."""
        return f"P(waiting time > {self.seconds:g} s) ≤ {self.probability:g}"

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

    def _log_limit(self, point: Evaluation) -> float:
        return float(np.log1p(self.decay / float(point.instance.arrival_rate)))

    def _terms_of_sum(self, point: Evaluation) -> FloatArray:
        """π exp(θ t) relative to the limit 1 + θ/λ, shape (N,)."""
        exponent = self.decay * point.times - self._log_limit(point)
        with np.errstate(over="ignore"):
            terms: FloatArray = point.instance.probabilities * np.exp(exponent)
        return terms

    def excess(self, point: Evaluation) -> float:
        """Σ π exp(θ t) relative to its limit, less one."""
        return float(accurate_sum(self._terms_of_sum(point))) - 1.0

    def allowance(self, point: Evaluation) -> float:
        """The rounding of exponents, which is relative in the exponentials."""
        exponent = self.decay * float(np.max(point.times)) + self._log_limit(point)
        # Far beyond the limit the terms overflow, and no rounding is to blame.
        return _ROUNDINGS * (2.0 + exponent) * (2.0 + min(self.excess(point), 1.0))

    def gradient(self, point: Evaluation) -> FloatArray:
        """π θ t′ exp(θ t), relative to the limit."""
        slope = self.decay * point.instance.service.mean_slope(point.tokens)
        gradient: FloatArray = slope * self._terms_of_sum(point)
        return gradient

    def terms(self, multiplier: float, arrival_rate: float) -> Terms:
        """Each query is charged for the exponential of its time."""
        limit = 1.0 + self.decay / arrival_rate
        return Terms(charges=(TailCharge(multiplier / limit, self.decay),))

    def price(self, multiplier: float, point: Evaluation) -> float:
        """Seconds of objective for a second more in the limit."""
        rate, theta = float(point.instance.arrival_rate), self.decay
        # dc/dθ · (−dθ/dx), with c = Σ π exp(θ t)/(1 + θ/λ) − 1 = 0 at the optimum.
        terms = self._terms_of_sum(point)
        by_decay = float(accurate_sum(point.times * terms)) - (1.0 + self.excess(point)) / (
            rate + theta
        )
        return multiplier * by_decay * theta / self.seconds

    def most_tokens(self, instance: Instance) -> FloatArray:
        """No term of the sum exceeds the whole: t ≤ ln((1 + θ/λ)/π)/θ."""
        limit = np.log1p(self.decay / instance.arrival_rate) - np.log(instance.probabilities)
        return instance.service.inverse_mean(limit / self.decay * (1.0 + 1e-12))

    def remedy(self, point: Evaluation) -> str:
        """The seconds or the probability that the point would satisfy."""
        decay = _lundberg_exponent(point)
        seconds = -np.log(self.probability) / decay if decay > 0 else np.inf
        chance = _rounded_up(float(np.exp(-decay * self.seconds)))
        remedy = f"raise seconds to {_rounded_up(float(seconds))} or more"
        # A probability of one would demand nothing, and is refused.
        return remedy + (f", or probability to {chance} or more" if float(chance) < 1.0 else "")


def _lundberg_exponent(point: Evaluation) -> float:
    """The θ > 0 with Σ π exp(θ t) = 1 + θ/λ at a stable point."""
    mix, times, rate = point.instance.probabilities, point.times, float(point.instance.arrival_rate)
    with np.errstate(over="ignore"):
        lower, upper = 0.0, 1.0 / float(np.max(times)) if np.max(times) > 0 else 1.0
        while float(accurate_sum(mix * np.expm1(upper * times))) < upper / rate:
            upper *= 2.0
            if upper == np.inf:
                return upper
        for _ in range(_BISECTIONS):
            middle = 0.5 * (lower + upper)
            is_below = float(accurate_sum(mix * np.expm1(middle * times))) < middle / rate
            lower, upper = (middle, upper) if is_below else (lower, middle)
    return lower


@dataclass(frozen=True, eq=False)
class MinAccuracy(ArrayData, BoxConstraint):
    """Accuracy p of a type, or of every type, ≥ accuracy: a lower bound on its tokens.

    Parameters
    ----------
    accuracy : float or array_like, shape (N,)
        The floor, in [0, 1]; one number for the type, or for all.
    type : str or int, optional
        Name or position of the one type that it is for; by default all.
    """

    accuracy: FloatArray
    type: str | int | None = None

    def __init__(
        self, accuracy: ArrayLike, type: str | int | np.integer[Any] | None = None
    ) -> None:
        array = float_array("MinAccuracy: accuracy", accuracy)
        if not np.all((array >= 0.0) & (array <= 1.0)):
            raise InvalidInputError(
                f"MinAccuracy: accuracy = {accuracy!r:.80} must lie in [0, 1] (a probability)"
            )
        kinds = str | int | np.integer
        if type is not None and (isinstance(type, bool) or not isinstance(type, kinds)):
            raise InvalidInputError(
                f"MinAccuracy: type = {type!r:.80} must be the name or the position of a type"
            )
        if type is not None and array.ndim:
            raise InvalidInputError("MinAccuracy: accuracy must be one number where type is given")
        object.__setattr__(self, "accuracy", array)
        object.__setattr__(self, "type", int(type) if isinstance(type, np.integer) else type)

    @property
    def label(self) -> str:
        """As a person would write it."""
        of = "every type" if self.type is None else repr(self.type)
        floor = f"{float(self.accuracy):g}" if self.accuracy.ndim == 0 else "its floor"
        return f"accuracy of {of} ≥ {floor}"

    def require_allowed(self, instance: Instance) -> None:
        """Refuse a type that the instance does not have, or floors of another number of types."""
        self._floors(instance)

    def _floors(self, instance: Instance) -> FloatArray:
        """The floor of each type, zero where there is none, shape (N,)."""
        if self.type is None:
            return float_array("constraints: MinAccuracy: accuracy", self.accuracy, instance.size)
        floors = np.zeros(instance.size)
        floors[_position(instance, self.type)] = float(self.accuracy)
        return floors

    def least_tokens(self, instance: Instance) -> FloatArray:
        """Where each accuracy reaches its floor."""
        floors, most = self._floors(instance), instance.max_tokens
        least = instance.accuracy.inverse_value(floors)
        # Where little of the gain remains, the inverse may be rounded beyond tokens that do.
        is_enough = instance.accuracy.value(most) >= floors
        return np.where(is_enough, np.minimum(least, most), least)

    def shortfall(self, instance: Instance, position: int) -> str:
        """What the type reaches at most."""
        floor = float(self._floors(instance)[position])
        most = float(instance.accuracy.value(instance.max_tokens)[position])
        return (
            f"{entry_name('accuracy', (position,))} of {instance.type_name(position)!r} must be "
            f"≥ {floor!r}, and is at most {most:.9g}, at max_tokens; lower the floor to "
            f"{_rounded_down(most)} or less, or raise max_tokens"
        )


def _position(instance: Instance, of: str | int) -> int:
    if isinstance(of, str):
        if instance.names is None or of not in instance.names:
            known = "no names" if instance.names is None else ", ".join(instance.names[:20])
            raise InvalidInputError(
                f"constraints: MinAccuracy: type = {of!r} is not the name of a type; the instance "
                f"has {known}"
            )
        return instance.names.index(of)
    if not 0 <= of < instance.size:
        raise InvalidInputError(
            f"constraints: MinAccuracy: type = {of!r} must be the position of one of the "
            f"{instance.size} types, from 0"
        )
    return int(of)


def _time_gradient(point: Evaluation) -> FloatArray:
    first, second = point.moment_slopes
    prices = point.prices
    gradient: FloatArray = prices.mean * first + prices.second_moment * second
    return gradient


def _positive(constraint: Constraint, name: str, value: float) -> float:
    number = real_number(f"{type(constraint).__name__}: {name}", value)
    if number <= 0:
        raise InvalidInputError(f"{type(constraint).__name__}: {name} = {number!r} must be > 0")
    return number


def _probability(constraint: Constraint, name: str, value: float) -> float:
    number = _positive(constraint, name, value)
    if number > 1:
        raise InvalidInputError(f"{type(constraint).__name__}: {name} = {number!r} must be ≤ 1")
    return number


def _rounded_up(value: float) -> str:
    """A number of six digits that is no less."""
    return _rounded(value, 1.0)


def _rounded_down(value: float) -> str:
    """A number of six digits that is no more."""
    return _rounded(value, -1.0)


def _rounded(value: float, direction: float) -> str:
    text = f"{value:.6g}"
    if direction * (float(text) - value) < 0.0:
        text = f"{value * (1.0 + direction * np.sign(value) * 1e-5):.6g}"
    return text
