"""Certificates under constraints that couple the types.

For multipliers μ ≥ 0 of constraints c ≤ 0, J ≤ J − μ c =: L wherever the constraints hold. So the
bound on L that its own separable gap proves holds for J as well, whatever the multipliers: with
l feasible, max J − J(l) ≤ gap of L at l + μ · (−c(l)). Good multipliers make the bound sharp.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from cvxqueue.certificates.gap import certified_gap
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray

__all__ = [
    "coupled_gap",
    "estimated_multipliers",
    "excesses",
    "is_satisfied",
    "lagrangian",
    "restored",
]

# A violation that no step of Gauss and Newton mends in so many rounds is not a matter of rounding.
_ROUNDS = 30
# Bisection of multipliers: how often over all of them, and how far up.
_SWEEPS, _WIDER, _GREATEST = 20, 8.0, 1e100
# The first round aims at so many times what rounding can do to the constraint, the next at more.
_MARGIN = 2.0
# Tokens this close to a kink, relatively, are at it.
_BESIDE = 1e-6
# What stands for a curvature of zero, relative to a marginal cost over the largest tokens, or one.
_YIELDING = 1e-8


def excesses(point: Evaluation) -> FloatArray:
    """Value of c for each coupling constraint of the instance, positive where it is violated."""
    return np.array([coupling.excess(point) for coupling in point.instance.couplings])


def is_satisfied(point: Evaluation) -> bool:
    """Whether a point in the box is stable and no constraint is violated beyond rounding."""
    return point.is_stable and bool((excesses(point) <= _allowances(point)).all())


def lagrangian(point: Evaluation, multipliers: FloatArray) -> Evaluation:
    """The same point, as one of the Lagrangian at these multipliers."""
    return point.instance.priced(multipliers).evaluate(point.tokens)


def coupled_gap(point: Evaluation, multipliers: FloatArray) -> float:
    """Proven bound on max J, over what the constraints allow, less the certified objective.

    Parameters
    ----------
    point : Evaluation
        Tokens in the box of an instance with constraints.
    multipliers : ndarray
        One ≥ 0 for each coupling constraint.

    Returns
    -------
    float
        In seconds; infinite where the point is unstable or violates a constraint.
    """
    if not is_satisfied(point):
        return np.inf
    slack = np.maximum(-excesses(point), 0.0) + _allowances(point)
    gap = float(certified_gap(lagrangian(point, multipliers))) + float(multipliers @ slack)
    return gap if np.isfinite(gap) else np.inf


def restored(point: Evaluation, *, beyond_rounding: bool = False) -> Evaluation | None:
    """The nearest point, to first order, at which the constraints hold; ``None`` if not found.

    Steps of Gauss and Newton in the metric diag(π E[(dt/dl)²]), along the gradients of the
    constraints that are violated.

    Parameters
    ----------
    point : Evaluation
        Tokens in the box.
    beyond_rounding : bool, default False
        Whether they shall hold whatever rounding did, where there is such a point: its objective is
        then one that the optimum reaches. Otherwise a violation that rounding explains is none.
    """
    instance, couplings = point.instance, point.instance.couplings
    if not point.is_stable:
        return None
    wanted, found = np.zeros(len(couplings)), None
    for _ in range(_ROUNDS):
        values, allowances = excesses(point), _allowances(point)
        if found is None and (values <= allowances).all():
            found = point
        limits = -allowances if beyond_rounding else allowances
        if (values <= limits).all():
            return point
        is_violated = values > np.minimum(limits, 0.0)
        is_wanted = is_violated | (wanted > 0.0)
        wanted = np.where(is_violated, np.maximum(2.0 * wanted, _MARGIN * allowances), wanted)
        gradients = np.stack([coupling.gradient(point) for coupling in couplings])[is_wanted]
        metric = instance.probabilities * instance.service.mean_square_slope(point.tokens)
        step = _least_step(point, gradients, metric, (values + wanted)[is_wanted])
        if step is None:
            return found
        moved = instance.evaluate(instance.boxed(point.tokens + step))
        if not moved.is_stable or np.array_equal(moved.tokens, point.tokens):
            return found
        point = moved
    return found


def _least_step(
    point: Evaluation, gradients: FloatArray, metric: FloatArray, amounts: FloatArray
) -> FloatArray | None:
    """Shortest step in a metric along which each function falls by its amount, to first order.

    A type at an end of the box that would leave it stays; what it does not do the others do.
    """
    instance = point.instance
    is_free = instance.upper > instance.lower
    step: FloatArray = np.zeros_like(point.tokens)
    for _ in range(len(gradients) + 2):
        with np.errstate(all="ignore"):
            scaled = np.where(is_free, gradients / metric, 0.0)
            system = scaled @ gradients.T
        if not (np.isfinite(system).all() and np.isfinite(amounts).all()):
            return None
        try:
            prices = np.linalg.lstsq(system, amounts, rcond=None)[0]
        except np.linalg.LinAlgError:
            return None
        step = np.asarray(-prices @ scaled, dtype=np.float64)
        leaves = ((step < 0.0) & (point.tokens <= instance.lower)) | (
            (step > 0.0) & (point.tokens >= instance.upper)
        )
        if not (leaves & is_free).any():
            break
        is_free = is_free & ~leaves
    return step if np.isfinite(step).all() and step.any() else None


def estimated_multipliers(point: Evaluation) -> FloatArray:
    """Multipliers that balance ∇J best at a point: least squares over the types that can move.

    Any multipliers ≥ 0 prove a bound; at the optimum these prove a sharp one.
    """
    couplings = point.instance.couplings
    none = np.zeros(len(couplings))
    if not point.is_stable:
        return none
    instance = point.instance
    values, allowances = excesses(point), _allowances(point)
    gradients = np.stack([coupling.gradient(point) for coupling in couplings])
    curvature = -instance.probabilities * (
        instance.benefit.curvature(point.tokens) - point.cost_curvature
    )
    is_free = (point.tokens > instance.lower) & (point.tokens < instance.upper)
    if not instance.accuracy.is_smooth:
        # At a kink a type balances nothing; inside a straight piece it must, and may not bend.
        ends = (point.tokens * (1.0 - _BESIDE), point.tokens * (1.0 + _BESIDE))
        is_free &= np.isfinite(instance.accuracy.curvature_range(*ends)[1])
        stiffness = instance.probabilities * point.marginal_cost / np.maximum(instance.upper, 1.0)
        curvature = np.maximum(curvature, _YIELDING * stiffness)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        weights = np.where(is_free & (curvature > 0.0), 1.0 / np.sqrt(curvature), 0.0)
    # A constraint with room to spare has the multiplier zero at the optimum; how much room that
    # is cannot be told from a point alone, so that every choice is tried and the best bound kept.
    order = [k for k in range(len(couplings)) if values[k] <= allowances[k]]
    best, best_gap = none, coupled_gap(point, none)
    for count in range(1, len(order) + 1):
        for chosen in map(list, combinations(order, count)):
            columns = (gradients[chosen] * weights).T
            found = np.linalg.lstsq(columns, point.gradient * weights, rcond=None)[0]
            multipliers = none.copy()
            multipliers[chosen] = np.maximum(found, 0.0)
            gap = coupled_gap(point, multipliers) if found.any() else np.inf
            if gap < best_gap:
                best, best_gap = multipliers, gap
    if instance.accuracy.is_smooth or not order:
        return best
    # One after the other they may stop short; where depends on which comes first.
    starts = [(best, order), *((none, order[k:] + order[:k]) for k in range(len(order)))]
    for start, turn in starts:
        multipliers = _sharpened(point, start, turn)
        gap = coupled_gap(point, multipliers)
        if gap < best_gap:
            best, best_gap = multipliers, gap
    return best


def _sharpened(point: Evaluation, multipliers: FloatArray, order: list[int]) -> FloatArray:
    """Multipliers that make the bound sharper, one after the other, by bisection.

    At a corner a type is content with a whole interval of marginal costs, and a gradient says
    little. The bound is convex in each multiplier, and falls with it while the responses exceed
    what the constraint, to first order, allows.
    """
    instance = point.instance
    values = excesses(point)
    gradients = [coupling.gradient(point) for coupling in instance.couplings]
    multipliers = multipliers.copy()

    def excess(place: int, multiplier: float) -> float:
        multipliers[place] = multiplier
        response = lagrangian(point, multipliers).response
        coupling = instance.couplings[place]
        if coupling.is_floor:
            return coupling.excess(instance.evaluate(response))
        return float(values[place] + gradients[place] @ (response - point.tokens))

    for _ in range(_SWEEPS if len(order) > 1 else 1):
        for place in order:
            least, most = 0.0, float(multipliers[place]) or 1.0
            if excess(place, 0.0) <= 0.0:
                continue
            while excess(place, most) > 0.0 and most < _GREATEST:
                least, most = most, _WIDER * most
            while least < (middle := 0.5 * (least + most)) < most:
                if excess(place, middle) > 0.0:
                    least = middle
                else:
                    most = middle
            multipliers[place] = most
    return multipliers


def _allowances(point: Evaluation) -> FloatArray:
    return np.array([coupling.allowance(point) for coupling in point.instance.couplings])
