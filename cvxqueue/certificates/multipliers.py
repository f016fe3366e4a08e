"""Multipliers of the constraints that couple the types, for tokens that somebody proposes.

Any multipliers μ ≥ 0 prove a bound (`cvxqueue.certificates.coupled`). It is convex in them, with

    slack_i − ∇c_i · (response − tokens)

as its slopes, the response being that of the Lagrangian to its own marginal cost; so Newton's
method finds those that prove most in a few steps. Where curves have kinks the response jumps, and
bisection goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates.coupled import coupled_gap, excesses, is_satisfied, lagrangian
from cvxqueue.certificates.dual_step import multiplier_step
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray

__all__ = ["estimated_multipliers"]

# Steps of Newton's method, and points on the way of one.
_STEPS, _TRIALS = 30, 60
# So sharp a bound, relative to the scale, needs no second start and no bisection.
_SHARP = 1e-9
# Where a step lowers the bound by no more than this share of it, no other will.
_WORTHWHILE = 1e-6
# Share of the slope at the start of a step that may be left, and what one that is short grows by.
_FLAT, _LONGER = 0.5, 4.0
_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)
# Bisection of multipliers: how often over all of them, and how far up.
_SWEEPS, _WIDER, _GREATEST = 20, 8.0, 1e100
# Tokens this close to a kink, relatively, are at it.
_BESIDE = 1e-6
# What stands for a curvature of zero, relative to a marginal cost over the largest tokens, or one.
_YIELDING = 1e-8


class _Bound(NamedTuple):
    """The bound on the optimum that multipliers prove, as a convex function of them."""

    multipliers: FloatArray
    gap: float
    """Its distance from the certified objective, in seconds."""
    excess: FloatArray
    """Less its slopes: what the responses exceed each constraint by, to first order."""
    hessian: FloatArray


def estimated_multipliers(point: Evaluation) -> FloatArray:
    """Multipliers that prove about the best bound that tokens in the box allow.

    Zeros where the tokens are unstable or violate a constraint, so that nothing is proven.
    Newton's method starts from those that balance the gradient best, or from none. Where curves
    have kinks and there are several constraints, bisection of one after the other may stop short.
    """
    none = np.zeros(len(point.instance.couplings))
    if not is_satisfied(point):
        return none
    starts = sorted(
        (_bound(point, none), _bound(point, _balancing(point))), key=lambda bound: bound.gap
    )
    best = starts[0]
    for start in starts:
        best = min(best, _lowered(point, start), key=lambda bound: bound.gap)
        is_sharp = best.gap <= _SHARP * float(point.scale)
        if is_sharp:
            break
    if point.instance.accuracy.is_smooth or is_sharp:
        return best.multipliers
    return _bisected(point, best.multipliers)


def _balancing(point: Evaluation) -> FloatArray:
    """Multipliers that balance ∇J best: least squares over the types that can move."""
    instance = point.instance
    gradients = np.stack([coupling.gradient(point) for coupling in instance.couplings])
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
        columns, right = gradients * weights, point.gradient * weights
        normal, slopes = columns @ columns.T, columns @ right
    none = np.zeros(len(gradients))
    balancing = multiplier_step(none, slopes, normal, float(point.scale))
    return none if balancing is None else np.maximum(balancing, 0.0)


def _lowered(point: Evaluation, today: _Bound) -> _Bound:
    """The least bound that Newton's method finds from another."""
    for _ in range(_STEPS):
        step = multiplier_step(today.multipliers, today.excess, today.hessian, float(point.scale))
        moved = today if step is None else _along(point, today, step)
        if not moved.gap < (1.0 - _WORTHWHILE) * today.gap:
            return min(today, moved, key=lambda bound: bound.gap)
        today = moved
    return today


def _along(point: Evaluation, today: _Bound, step: FloatArray) -> _Bound:
    """The best bound on a ray of multipliers, about where its slope vanishes.

    A type that soon reaches a bound of its own makes a step far too short, and one that leaves its
    bound makes it too long.
    """
    start = float(today.excess @ step)
    falling = step < 0.0
    longest = float(np.min(-today.multipliers[falling] / step[falling], initial=np.inf))
    best, below, above, length = today, 0.0, np.inf, min(1.0, longest)
    for _ in range(_TRIALS):
        moved = _bound(point, np.maximum(today.multipliers + length * step, 0.0))
        fall = float(moved.excess @ step)
        is_flat = moved.gap < today.gap and abs(fall) <= _FLAT * start
        if moved.gap < best.gap:
            best = moved
        if is_flat or (fall > 0.0 and length >= longest):
            break
        if fall > 0.0:
            below = length
        else:
            above = length
        is_open = above == np.inf
        length = min(_LONGER * length, longest) if is_open else 0.5 * (below + above)
        if not below < length < above:
            break
    return best


def _bound(point: Evaluation, multipliers: FloatArray) -> _Bound:
    priced, instance = lagrangian(point, multipliers), point.instance
    response = priced.response
    there = instance.evaluate(response)
    values, gradients = excesses(point), []
    for place, coupling in enumerate(instance.couplings):
        # A floor is worth accuracy, which is not taken for linear.
        gradient = coupling.gradient(there if coupling.is_floor else point)
        gradients.append(gradient)
        if coupling.is_floor:
            values[place] = coupling.excess(there)
        else:
            values[place] += gradient @ (response - point.tokens)
    slopes = np.stack(gradients)
    bend = -priced.instance.benefit.curvature(response)
    is_free = (response > instance.lower) & (response < instance.upper) & (bend > 0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        pliancy = np.where(is_free, 1.0 / (instance.probabilities * bend), 0.0)
        hessian = (slopes * pliancy) @ slopes.T
    return _Bound(multipliers, coupled_gap(point, multipliers), values, hessian)


def _bisected(point: Evaluation, found: FloatArray) -> FloatArray:
    """Multipliers that are no worse, by bisection of one after the other.

    They may stop short; where depends on which comes first.
    """
    count = len(point.instance.couplings)
    order, none = list(range(count)), np.zeros(count)
    starts = [(found, order), *((none, order[k:] + order[:k]) for k in order)]
    choices = [found, *(_sharpened(point, start, turn) for start, turn in starts)]
    return min(choices, key=lambda multipliers: coupled_gap(point, multipliers))


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
        before = multipliers.copy()
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
        if (np.abs(multipliers - before) <= _ROUNDING * before).all():
            break
    return multipliers
