"""The model: what the formulas need of an instance, of some of its types, or of a batch.

And everything that it says about one allocation, each quantity computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.formatting import plural
from cvxqueue.model.accuracy import AccuracyCurve, Place
from cvxqueue.model.constraints import CouplingConstraint
from cvxqueue.model.queue_formulas import Prices, PriceSlopes, Queue
from cvxqueue.model.separable_costs import SeparableCost
from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import (
    FloatArray,
    Numbers,
    frozen,
    frozen_tuple,
    is_frozen,
    kept,
    read_only,
)
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.summation import accurate_sum

# Types that are worked on at a time: a dozen arrays of so many floats stay in the cache, and a dot
# product of more of them would wake the threads of OpenBLAS.
BLOCK = 10_000
LEAST_IDLE = 8.0 * EPSILON
"""What rounding cannot tell from zero: ρ has terms of three roundings each, and is rounded."""
COUNTED_ROUNDING = 1e-12
"""Share of the least tokens that their rounding may be and count: it makes a relative gap of about
as much. Next to its ceiling a curve is so flat that rounding can be any share of the tokens."""
# Part of the benefit that the box adds. Where curves have kinks, rounding makes a gap of 64 ε of
# what a piece brings: within their tolerance of 1.6e-11 relative to 1e-3 of it, and ten times that.
_LEAST_SCALE = 0.01
# More than rounding takes from a service time, or from the tokens that it leaves.
_ROUNDED_UP = 1.0 + 1e-12


def take_rows(array: FloatArray, which: NDArray[np.intp]) -> FloatArray:
    """Return some rows of an array, laid out by columns: sums over a few types are fast then."""
    return np.take(array.T, which, axis=-1).T


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Model(ArrayData):
    """The data of the formulas, unchecked; `Instance` is what people make, and has one.

    Of one instance, or of each of a batch in arrays of shape (...), and (..., N) by type. Nothing
    has a default here, so that nothing is forgotten. The types pay `separable_costs` for tokens, as
    in a Lagrangian; each of the `couplings`, constraints on all types together, has a multiplier.
    Rounding can have moved `lower` by `lower_rounding`; ``None`` where all of it was given.
    """

    arrival_rate: Numbers
    accuracy_weight: Numbers
    probabilities: FloatArray
    importance: FloatArray
    lower: FloatArray
    upper: FloatArray
    lower_rounding: FloatArray | None
    service: ServiceLaw
    accuracy: AccuracyCurve
    queue: Queue
    separable_costs: tuple[SeparableCost, ...]
    couplings: tuple[CouplingConstraint, ...]

    def __post_init__(self) -> None:
        # In place: what the formulas hand on is theirs, and may be large.
        for value in vars(self).values():
            frozen(value)

    @property
    def size(self) -> int:
        """Number of task types, N."""
        return int(self.probabilities.shape[-1])

    @property
    def accuracy_value(self) -> FloatArray:
        """α w_k: seconds that one unit of type k's accuracy is worth, shape (..., N)."""
        weight = np.asarray(self.accuracy_weight)[..., np.newaxis]
        return weight * self.importance

    @kept
    def benefit(self) -> AccuracyCurve:
        """α w (p − p(0)): what the thinking of each type is worth, in seconds."""
        return self.accuracy.weighted(self.accuracy_value)

    def __repr__(self) -> str:
        many = f"{np.size(self.arrival_rate)} instances of " if np.ndim(self.arrival_rate) else ""
        return f"Model({many}{plural(self.size, 'type')})"

    @kept
    def most_benefit(self) -> FloatArray:
        """α Σ π w, in seconds, shape (...): more than tokens can add to the benefit."""
        most: FloatArray = np.vecdot(self.probabilities, self.accuracy_value)
        return most

    @cached_property
    def added_benefit(self) -> FloatArray:
        """What the most tokens add to the benefit of the least, in seconds, shape (...)."""
        return self.evaluate(self.upper).benefit - self.lowest.benefit

    @kept
    def shortfall(self) -> FloatArray:
        """What accuracies below zero cost, α Σ π w max(−p(0), 0), in seconds, shape (...).

        Only a curve that is continued to 0 tokens may have them, by rounding.
        """
        if self.accuracy.is_smooth:
            return np.zeros(())
        below = np.maximum(-self.accuracy.value(np.zeros(self.size)), 0.0)
        shortfall: FloatArray = np.vecdot(self.probabilities * self.accuracy_value, below)
        return shortfall

    @kept
    def counted_rounding(self) -> FloatArray | None:
        """`lower_rounding` where it is small enough for the objective to answer for, else zero."""
        if self.lower_rounding is None:
            return None
        is_small = self.lower_rounding <= COUNTED_ROUNDING * self.lower
        return np.where(is_small, self.lower_rounding, 0.0)

    def contains(self, tokens: FloatArray) -> bool:
        """Whether all tokens lie in the box."""
        return bool(((tokens >= self.lower) & (tokens <= self.upper)).all())

    def boxed(self, tokens: FloatArray) -> FloatArray:
        """Return the nearest tokens in the box; NaN stays."""
        return tokens.clip(self.lower, self.upper)

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Cost of one more token of each type at given prices, per π, and its derivative."""
        cost, rise = self.service.marginal_cost(tokens, mean_price, second_price)
        for term in self.separable_costs:
            more, more_rise = term.marginal_cost(self.service, tokens)
            cost, rise = cost + more, rise + more_rise
        return cost, rise

    def priced(self, multipliers: Sequence[float] | FloatArray, of_time: float = 1.0) -> Model:
        """Return the Lagrangian at multipliers ≥ 0, a model without the couplings.

        Its objective is J less the multipliers, one for each of `couplings`, times the excesses, up
        to a constant, where J counts a second of mean system time as `of_time`.
        """
        pairs = zip(self.couplings, multipliers, strict=True)
        rate = float(self.arrival_rate)
        terms = [coupling.terms(float(multiplier), rate) for coupling, multiplier in pairs]
        time = of_time + sum(term.time for term in terms)
        waiting = sum(term.waiting for term in terms)
        is_priced = time != 1.0 or waiting != 0.0
        return self.with_(
            # The prices of accuracy are seconds already.
            accuracy_weight=1.0,
            importance=self.accuracy_value + sum(term.accuracy for term in terms),
            queue=self.queue.priced(time, waiting) if is_priced else self.queue,
            separable_costs=tuple(cost for term in terms for cost in term.separable_costs),
            couplings=(),
        )

    def with_(self, **changes: Any) -> Model:
        """Return the model with some of its data replaced, unchecked."""
        return Model(**self._fields() | changes)

    def evaluate(self, tokens: FloatArray) -> Evaluation:
        """Return all closed forms at `tokens`, shape (..., N), computed when asked for."""
        return Evaluation._of(self, tokens)

    @cached_property
    def lowest(self) -> Evaluation:
        """The closed forms at the least tokens: some allocation is stable iff this one is."""
        return Evaluation._of(self, self.lower)

    @property
    def blocks(self) -> tuple[tuple[slice, Model], ...]:
        """The types, some thousand at a time: where they are, and their data."""
        return ((slice(None), self),) if self.size <= BLOCK else self._views

    @kept
    def _views(self) -> tuple[tuple[slice, Model], ...]:
        """Kept, because what every pass needs of them is computed in the first."""
        places = [slice(start, start + BLOCK) for start in range(0, self.size, BLOCK)]
        return tuple((place, self.types(place)) for place in places)

    @property
    def groups(self) -> tuple[tuple[Place, Model], ...]:
        """The types of each class of curves: where they are, and their data."""
        (_, curve), *others = self.accuracy.groups
        is_one = curve is self.accuracy and not others
        return ((slice(None), self),) if is_one else self._groups

    @kept
    def _groups(self) -> tuple[tuple[Place, Model], ...]:
        groups = self.accuracy.groups
        return tuple((place, self.types(place, curve)) for place, curve in groups)

    def types(self, place: Place, accuracy: AccuracyCurve | None = None) -> Model:
        """Return the data of some types, whose probabilities do not sum to one.

        Of a slice as views; with their curves, where these are at hand.
        """
        return self._view(lambda array: array[..., place], lambda value: value, accuracy)

    def rows(self, which: NDArray[np.intp]) -> Model:
        """Return the data of some instances of a batch of any axes, counted through them.

        The batch has an arrival rate for each.
        """
        shape = np.shape(self.arrival_rate) or (1,)
        places = np.unravel_index(which, shape)

        def each(array: FloatArray) -> FloatArray:
            # Laid out by columns, as by `take_rows`.
            if array.ndim == 1:
                return np.repeat(array[:, np.newaxis], which.size, axis=1).T
            wide = np.broadcast_to(array, (*shape, self.size))
            return take_rows(wide, which) if wide.ndim == 2 else np.asfortranarray(wide[places])

        return self._view(each, lambda value: np.broadcast_to(value, shape)[places])

    def _view(
        self,
        each_type: Callable[[FloatArray], FloatArray],
        each_instance: Callable[[Any], Any],
        accuracy: AccuracyCurve | None = None,
    ) -> Model:
        """Return the data mapped, without the couplings, which are constraints on the whole."""
        rounding = self.lower_rounding
        return self.with_(
            arrival_rate=each_instance(self.arrival_rate),
            accuracy_weight=each_instance(self.accuracy_weight),
            probabilities=each_type(self.probabilities),
            importance=each_type(self.importance),
            lower=each_type(self.lower),
            upper=each_type(self.upper),
            lower_rounding=None if rounding is None else each_type(rounding),
            service=self.service.mapped(each_type),
            accuracy=self.accuracy.mapped(each_type) if accuracy is None else accuracy,
            couplings=(),
        )


@quiet
class Evaluation:
    """The closed forms of a model at tokens of shape (..., N), computed when asked for and kept.

    Quantities that exist only inside the stability region are not checked: ask `is_stable` first.
    """

    model: Model
    tokens: FloatArray

    def __init__(self, model: Model, tokens: ArrayLike) -> None:
        array = np.asarray(tokens, dtype=np.float64)
        vars(self).update(model=model, tokens=array if is_frozen(array) else read_only(array))

    @classmethod
    def _of(cls, model: Model, tokens: FloatArray, **known: Any) -> Evaluation:
        """Evaluate tokens that nobody writes to as long as it counts, with what a whole knows."""
        made = object.__new__(cls)
        vars(made).update(model=model, tokens=tokens, **known)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen_tuple, (Evaluation, self.model, self.tokens)

    def __setstate__(self, state: object) -> None:
        self.__setattr__("state", state)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} follows from the model and the tokens: evaluate others")

    def __repr__(self) -> str:
        return f"Evaluation(tokens of shape {self.tokens.shape})"

    @property
    def parts(self) -> Iterator[Evaluation]:
        """The same point, a few thousand types at a time, at the prices of the whole."""
        for place, data in self.model.blocks:
            if data is self.model:
                yield self
            else:
                own = self.tokens[..., place], self.reach[..., place]
                yield Evaluation._of(data, own[0], idle=self.idle, prices=self.prices, reach=own[1])

    def _mix(self, values: Callable[[Evaluation], FloatArray]) -> FloatArray:
        """Σ π of what `values` says by type, without a whole array of it where there are many."""
        sums = []
        for place, data in self.model.blocks:
            part = self if data is self.model else data.evaluate(self.tokens[..., place])
            sums.append(accurate_sum(data.probabilities * values(part)))
        return sums[0] if len(sums) == 1 else accurate_sum(np.stack(sums, axis=-1))

    @kept
    def times(self) -> FloatArray:
        """Mean service time of each type, in seconds, shape (..., N)."""
        return self.model.service.mean(self.tokens)

    @kept
    def mean_service_time(self) -> FloatArray:
        """First moment m1 of the service time of the mixture, in seconds, shape (...)."""
        return self._mix(lambda part: part.model.service.mean(part.tokens))

    @kept
    def service_time_second_moment(self) -> FloatArray:
        """Second moment m2 of the service time of the mixture, in seconds², shape (...)."""
        return self._mix(lambda part: part.model.service.second_moment(part.tokens))

    @kept
    def utilization(self) -> FloatArray:
        """Utilization ρ = λ m1, shape (...)."""
        return self.model.arrival_rate * self.mean_service_time

    @kept
    def idle(self) -> FloatArray:
        """Idle fraction 1 − ρ, shape (...); the queue is stable where it is positive.

        What rounding cannot tell from zero counts as zero: a stable queue is proven to be one.
        """
        idle = 1.0 - self.utilization
        idle *= np.abs(idle) > LEAST_IDLE
        return idle

    @property
    def _moments(self) -> tuple[Numbers, FloatArray, FloatArray, FloatArray]:
        """What the formulas of the queue need."""
        mean, second = self.mean_service_time, self.service_time_second_moment
        return self.model.arrival_rate, mean, second, self.idle

    @kept
    def is_stable(self) -> bool:
        """Whether every allocation lies strictly inside the stability region."""
        return bool((self.idle > 0).all())

    @kept
    def mean_waiting_time(self) -> FloatArray:
        """Mean waiting time W, in seconds, shape (...); infinite outside the stability region."""
        rate, mean, second, idle = self._moments
        if self.is_stable:
            return self.model.queue.mean_waiting_time(rate, mean, second, idle)
        inside = np.where(idle > 0, idle, 1.0)
        waiting = self.model.queue.mean_waiting_time(rate, mean, second, inside)
        return np.where(idle > 0, waiting, np.inf)

    @kept
    def mean_system_time(self) -> FloatArray:
        """Mean system time T = m1 + W, in seconds, shape (...)."""
        return self.mean_service_time + self.mean_waiting_time

    @kept
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer of each type, shape (..., N)."""
        return self.model.accuracy.value(self.tokens)

    @kept
    def mean_accuracy(self) -> FloatArray:
        """Plain mean accuracy Σ π p, importance left out, shape (...)."""
        return self._mix(lambda part: part.accuracies)

    @kept
    def benefit(self) -> FloatArray:
        """What accuracy is worth, α Σ π w p, in seconds, shape (...)."""
        return self._mix(lambda part: part.model.accuracy_value * part.accuracies)

    @kept
    def objective(self) -> FloatArray:
        """Objective J = α Σ π w p − T, in seconds, shape (...); −inf outside stability."""
        return self.benefit - self.mean_system_time

    @property
    def benefit_size(self) -> FloatArray:
        """α Σ π w ``|p|``, in seconds, shape (...): what the benefit is rounded in proportion to.

        Where a line continued to 0 tokens misses it by rounding, both parts of p count.
        """
        return self.benefit + 2.0 * self.model.shortfall

    @kept
    def scale(self) -> FloatArray:
        """α Σ π w p + T, in seconds: the size of what the objective is a difference of.

        Without base times and without accuracy at no tokens both are zero there, and next to zero
        nearby, while rounding still moves a marginal cost by its share, and a response by that
        share of what tokens bring. So the scale is no less than a hundredth of what the box can add
        to the benefit, which changes with the units as the objective does.
        """
        size = self.benefit_size + self.mean_system_time
        if (size >= _LEAST_SCALE * self.model.most_benefit).all():
            return size
        return np.maximum(size, _LEAST_SCALE * self.model.added_benefit)

    @kept
    def prices(self) -> Prices:
        """Prices of a second and of a squared second of service."""
        return self.model.queue.prices(*self._moments)

    @kept
    def marginal_cost(self) -> FloatArray:
        """∂T/∂l_k / π_k, in seconds per token, shape (..., N)."""
        return self.model.marginal_cost(self.tokens, *self.prices.by_type)[0]

    @kept
    def magnification(self) -> FloatArray:
        """What the rounding of the utilization becomes in a marginal cost, shape (...)."""
        magnification: FloatArray = 1.0 / self.idle
        for cost in self.model.separable_costs:
            magnification = magnification + cost.magnification(self.model.service, self.tokens)
        return magnification

    @kept
    def marginal_benefit(self) -> FloatArray:
        """α w_k p_k′(l_k), in seconds per token, shape (..., N)."""
        return self.model.benefit.slope(self.tokens)

    @kept
    def gradient(self) -> FloatArray:
        """Gradient of the objective, in seconds per token, shape (..., N)."""
        return self.model.probabilities * (self.marginal_benefit - self.marginal_cost)

    @kept
    def unclipped_response(self) -> FloatArray:
        """Tokens at which the marginal benefit meets today's marginal cost, box left out."""
        return self.model.benefit.inverse_slope(self.marginal_cost)

    @kept
    def response(self) -> FloatArray:
        """Best answer of each type to today's marginal cost, in its box, shape (..., N)."""
        return self.model.boxed(self.unclipped_response)

    @kept
    def reach(self) -> FloatArray:
        """Most tokens that a type needs to be allowed in a bound over all, shape (..., N).

        Those of the box, and of curves with kinks none beyond what stability leaves to one type. A
        straight piece may be far longer than that, and as a whole is what rounding of a marginal
        cost moves a response by.
        """
        model = self.model
        if model.accuracy.is_smooth:
            return model.upper
        rate = np.asarray(model.arrival_rate)[..., np.newaxis]
        idle = np.asarray(model.lowest.idle)[..., np.newaxis] + LEAST_IDLE
        service = model.service
        longest = service.mean(model.lower) + idle / (rate * model.probabilities)
        tokens = service.inverse_mean(longest * _ROUNDED_UP) * _ROUNDED_UP
        return np.minimum(model.upper, tokens)

    @property
    def reachable_response(self) -> FloatArray:
        """The response, no further than `reach`, shape (..., N)."""
        if self.model.accuracy.is_smooth:
            return self.response
        return np.minimum(self.response, self.reach)

    @property
    def moment_slopes(self) -> tuple[FloatArray, FloatArray]:
        """Derivatives of m1 and m2 with respect to the tokens, s and s² per token, (..., N)."""
        service, mix = self.model.service, self.model.probabilities
        return mix * service.mean_slope(self.tokens), mix * service.second_moment_slope(self.tokens)

    @property
    def cost_curvature(self) -> FloatArray:
        """Second derivative of each type's cost at fixed prices, per π, shape (..., N)."""
        return self.model.marginal_cost(self.tokens, *self.prices.by_type)[1]

    @property
    def price_slopes(self) -> PriceSlopes:
        """Second derivatives of the mean system time as a function of the two moments."""
        return self.model.queue.price_slopes(*self._moments)

    def hessian_product(self, direction: FloatArray) -> FloatArray:
        """Hessian of the objective times a direction, shape (..., N)."""
        model, slopes = self.model, self.price_slopes
        mean, second = self.moment_slopes
        along_mean, along_second = accurate_sum(mean * direction), accurate_sum(second * direction)
        prices = Prices(
            slopes.mean_mean * along_mean + slopes.mean_second * along_second,
            slopes.mean_second * along_mean + slopes.second_second * along_second,
        ).by_type
        bend = model.probabilities * (model.benefit.curvature(self.tokens) - self.cost_curvature)
        return bend * direction - mean * prices.mean - second * prices.second_moment
