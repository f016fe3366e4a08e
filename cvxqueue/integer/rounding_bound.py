"""What rounding to the nearest choice can lose at most, before anything is solved.

J is concave, and where its Hessian is bounded by a diagonal M, moving from l to l + d loses at most

    −∇J(l)·d + ½ Σ M_kk d_k².

Rounding goes two steps. From the optimum over the box to the box between the least and the largest
choices, only types at a bound that is no choice lose to first order: by a known distance, against a
slope that is bounded by the greatest marginal cost or benefit there. From the optimum over that box
to the nearest choices, none does: a type is free there, or at a bound that is a choice.

M holds on a level set {J ≥ level}. The loss grows along either step, so that both stay in the level
set if the bound is at most max J − level; any point with a larger objective than the level shows by
how much the maximum exceeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cvxqueue.certificates import order_bracket, rounding_allowance, step_size
from cvxqueue.certificates.step_size import StepSize
from cvxqueue.formatting import at_most
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.rounding import require_stable, uncoupled_domains
from cvxqueue.model import Instance, assumed, require_feasible
from cvxqueue.model.domains import Domain, Domains
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.summation import accurate_sum

# Points of the segment across the bracket of the optimum, of which the best shows the slack.
_SAMPLES = 33
# Levels tried: parts of the way from the lower end of the box to the best sample.
_STARTS = (1.0, 0.999, 0.99, 0.97, 0.9, 0.8, 0.6, 0.3, 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class RoundingBound(ArrayData):
    """Bound on the loss of rounding the continuous optimum to the nearest choices.

    Parameters
    ----------
    value : float
        The bound, in seconds; infinite where the condition does not hold.
    first_order : float
        Part of it that is due to bounds of the box that are no choices, in seconds.
    distances : ndarray, shape (N,)
        How far the nearest choice of each type can be from any tokens between its least and its
        largest choice.
    level : float
        J ≥ `level` along all of the way, in seconds.
    assumes : tuple of str, default ()
        What is taken for granted of classes that are not the package's.
    """

    value: float
    first_order: float
    distances: FloatArray
    level: float
    assumes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether rounding provably stays in the level set, and so stable."""
        return bool(np.isfinite(self.value))

    @property
    def region(self) -> str:
        """Where the curvature bounds behind it hold."""
        return f"allocations in the box with objective ≥ {at_most(self.level, 9)} s"


@quiet
def rounding_bound(
    instance: Instance, domains: Domains | Domain | Sequence[Domain] | None = None
) -> RoundingBound:
    """Bound what rounding to the nearest choice loses, from the instance alone.

    Parameters
    ----------
    instance : Instance
        Feasible.
    domains : Domains, Domain or sequence of Domain, optional
        What each type may choose from. By default those of the instance, and all whole numbers
        where it has none.

    Returns
    -------
    RoundingBound

    Raises
    ------
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If a type has no choice in its box, or no allocation in the domains is stable.
    InvalidInputError
        If a type has levels, which have no tokens to round, or the instance has constraints on all
        types together: at the optimum under these the gradient of a free type is not zero.
    """
    allowed = uncoupled_domains("rounding_bound", instance, domains)
    require_feasible(instance)
    choices = Choices(instance, allowed)
    choices.refuse_levels()
    require_stable(choices)
    distances = _distances(choices)
    ends = np.maximum(choices.lowest - instance.lower, instance.upper - choices.highest)
    squares = np.square(distances) + np.square(ends)
    bracket = order_bracket(instance)
    shares = np.linspace(0.0, 1.0, _SAMPLES)[:, np.newaxis]
    samples = bracket.lower + shares * (bracket.upper - bracket.lower)
    samples = np.concatenate([samples, np.asarray(instance.lower)[np.newaxis]])
    objectives = instance.objective(samples)
    top = samples[int(np.argmax(objectives))]
    best = RoundingBound(
        value=np.inf,
        first_order=np.inf,
        distances=distances,
        level=-np.inf,
        assumes=assumed(instance),
    )
    for share in _STARTS:
        start = instance.model.boxed(instance.lower + share * (top - instance.lower))
        region = step_size(instance, start)
        if not region.holds:
            continue
        point = instance.evaluate(top)
        slack = float(point.objective) - region.level - float(rounding_allowance(point))
        first = _first_order(choices, region)
        value = first + 0.5 * float(accurate_sum(region.metric * squares))
        if value <= slack and value < best.value:
            best = replace(best, value=value, first_order=first, level=region.level)
    return best


def _distances(choices: Choices) -> FloatArray:
    """Half of the widest gap between neighboring choices of each type, in tokens."""
    distances = np.where(choices.count > 0, 0.5 * choices.step, 0.0)
    distances = np.maximum(distances, np.where(choices.has_zero, 0.5 * choices.low, 0.0))
    for k in choices.tables.types.tolist():
        row = choices.tables.listed(k)
        distances[k] = 0.5 * float(np.max(np.diff(row), initial=0.0))
    return distances


def _first_order(choices: Choices, region: StepSize) -> float:
    """Greatest loss to first order of leaving the bounds that are no choices, in seconds."""
    instance, idle = choices.instance, np.asarray(region.least_idle)
    below, above = choices.lowest - instance.lower, instance.upper - choices.highest
    least, most = instance.evaluate(instance.lower), instance.evaluate(instance.upper)
    rate, second = instance.arrival_rate, most.service_time_second_moment
    prices = instance.queue.prices(rate, (1.0 - idle) / rate, second, idle)
    cost = instance.service.marginal_cost(instance.lower, *prices)[0]
    up = np.maximum(cost - least.marginal_benefit, 0.0) * below
    down = most.marginal_benefit * above
    return float(accurate_sum(instance.probabilities * np.maximum(up, down)))
