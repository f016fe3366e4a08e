"""Multipliers of the constraints that couple the types, for tokens that somebody proposes.

Any multipliers μ ≥ 0 prove a bound (`certificates.lagrangian_gap`). It is convex in them, with

    slack_i − ∇c_i · (response − tokens)

as its slopes, the response being that of the Lagrangian to its own marginal cost; so Newton's
method finds those that prove most in a few steps. Where curves have kinks the response jumps, and
the ellipsoid method takes over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality.dual_step import multiplier_step
from cvxqueue.model import Evaluation
from cvxqueue.model.couplings import allowances, excesses, is_satisfied, lagrangian
from cvxqueue.model.differences import type_gaps
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_minimum, longest_step

# Steps of Newton's method.
_NEWTON_LIMIT = 30
# So sharp a bound, relative to the scale, needs no second start and no other method.
_SHARP_BOUND = 1e-9
# Where a step lowers the bound by no more than this share of it, no other will.
_LEAST_FALL = 1e-6
# Share of the slope at the start of a step that may be left, and what one that is short grows by.
_FLAT, _LONGER = 0.5, 4.0
# Cuts of an ellipsoid that is so many times as wide as anything known of the multipliers, until no
# more than this share of the bound can be gained.
_CUTS, _WIDE, _CLOSE_ENOUGH = 2000, 8.0, 0.01
# Multipliers beyond this stand for none.
_GREATEST = 1e100
# Tokens this close to a kink, relatively, are at it.
_BESIDE = 1e-6
# What stands for a curvature of zero, relative to a marginal cost over the largest tokens, or one.
LEAST_STIFFNESS = 1e-8


class _Bound(NamedTuple):
    """The bound on the optimum that multipliers prove, as a convex function of them."""

    multipliers: FloatArray
    gap: float
    """Its distance from the certified objective, in seconds."""
    excess: FloatArray
    """Less its slopes: what the responses exceed each constraint by, to first order."""
    hessian: FloatArray


@quiet
def estimated_multipliers(point: Evaluation, deadline: Deadline = NEVER) -> FloatArray:
    """Multipliers that prove about the best bound that tokens in the box allow.

    Zeros where the tokens are unstable or violate a constraint, so that nothing is proven.
    Newton's method starts from those that balance the gradient best, or from none.
    """
    none = np.zeros(len(point.model.couplings))
    if not is_satisfied(point):
        return none
    starts = [_bound(point, none), _bound(point, _balancing(point))]
    found = [*starts]
    for start in sorted(starts, key=lambda bound: bound.gap):
        found.append(_lowered(point, start, float(point.scale), deadline))
        if found[-1].gap <= _SHARP_BOUND * float(point.scale):
            return found[-1].multipliers
    known = [bound for bound in found if bound.gap < np.inf]
    if known and not point.model.accuracy.is_smooth:
        return _enclosed(point, known, deadline).multipliers
    return min(found, key=lambda bound: bound.gap).multipliers


def lowered_multipliers(
    point: Evaluation, multipliers: FloatArray, scale: float, deadline: Deadline
) -> FloatArray:
    """Multipliers that prove more of stable tokens in the box, whether these keep the constraints.

    By Newton's method; `scale` is what the objective is about, in seconds.
    """
    return _lowered(point, _bound(point, multipliers), scale, deadline).multipliers


def _balancing(point: Evaluation) -> FloatArray:
    """Multipliers that balance ∇J best: least squares over the types that can move."""
    model = point.model
    gradients = np.stack([coupling.gradient(point) for coupling in model.couplings])
    curvature = model.probabilities * (point.cost_curvature - model.benefit.curvature(point.tokens))
    is_free = (point.tokens > model.lower) & (point.tokens < model.upper)
    if not model.accuracy.is_smooth:
        # At a kink a type balances nothing; inside a straight piece it must, and may not bend.
        ends = (point.tokens * (1.0 - _BESIDE), point.tokens * (1.0 + _BESIDE))
        is_free &= np.isfinite(model.accuracy.curvature_range(*ends)[1])
        stiffness = model.probabilities * point.marginal_cost / np.maximum(model.upper, 1.0)
        curvature = np.maximum(curvature, LEAST_STIFFNESS * stiffness)
    weights = np.where(is_free & (curvature > 0.0), 1.0 / np.sqrt(curvature), 0.0)
    columns, right = gradients * weights, point.gradient * weights
    normal, slopes = columns @ columns.T, columns @ right
    none = np.zeros(len(gradients))
    balancing = multiplier_step(none, slopes, normal, float(point.scale))
    return none if balancing is None else np.maximum(balancing, 0.0)


def _lowered(point: Evaluation, today: _Bound, scale: float, deadline: Deadline) -> _Bound:
    """The least bound that Newton's method finds from another."""
    for _ in range(_NEWTON_LIMIT):
        if deadline.is_over:
            break
        step = multiplier_step(today.multipliers, today.excess, today.hessian, scale)
        moved = today if step is None else _along(point, today, step)
        if not moved.gap < (1.0 - _LEAST_FALL) * today.gap:
            return min(today, moved, key=lambda bound: bound.gap)
        today = moved
    return today


def _along(point: Evaluation, today: _Bound, step: FloatArray) -> _Bound:
    """The best bound on a ray of multipliers, about where its slope vanishes.

    A type that soon reaches a bound of its own makes a step far too short, and one that leaves its
    bound makes it too long.
    """
    start, best = float(today.excess @ step), today

    def slope_at(length: float) -> float | None:
        nonlocal best
        moved = _bound(point, np.maximum(today.multipliers + length * step, 0.0))
        best = min(best, moved, key=lambda bound: bound.gap)
        slope = -float(moved.excess @ step)
        return None if moved.gap < today.gap and abs(slope) <= _FLAT * start else slope

    bracketed_minimum(slope_at, longest_step(today.multipliers, step), _LONGER)
    return best


def _bound(point: Evaluation, multipliers: FloatArray) -> _Bound:
    priced, model = lagrangian(point, multipliers), point.model
    response = priced.response
    there = model.evaluate(response)
    values, gradients = excesses(point), []
    for place, coupling in enumerate(model.couplings):
        # A floor is worth accuracy, which is not taken for linear.
        gradient = coupling.gradient(there if coupling.is_floor else point)
        gradients.append(gradient)
        if coupling.is_floor:
            values[place] = coupling.excess(there)
        else:
            values[place] += gradient @ (response - point.tokens)
    slopes = np.stack(gradients)
    bend = -priced.model.benefit.curvature(response)
    is_free = (response > model.lower) & (response < model.upper) & (bend > 0.0)
    pliancy = np.where(is_free, 1.0 / (model.probabilities * bend), 0.0)
    hessian = (slopes * pliancy) @ slopes.T
    # Of multipliers that prove as much, the less: they magnify what rounding does to a constraint.
    gap = float(type_gaps(priced).sum() + multipliers @ (allowances(point) - excesses(point)))
    return _Bound(multipliers, gap if np.isfinite(gap) else np.inf, values, hessian)


def _enclosed(point: Evaluation, starts: list[_Bound], deadline: Deadline) -> _Bound:
    """The least bound that the ellipsoid method finds, which needs no smooth function.

    At a corner a type is content with a whole interval of marginal costs, and slopes jump. Each
    slope cuts off the half of an ellipsoid where the bound cannot be lower than the best one; the
    next ellipsoid encloses the rest.

    References
    ----------
    Bland, Goldfarb and Todd, "The ellipsoid method: a survey", Operations Research 29(6), 1981:
    with deep cuts, and the ellipsoid kept by a factor.
    """
    best = min(starts, key=lambda bound: bound.gap)
    radii = _WIDE * np.max([_reach(point, start) for start in starts], axis=0)
    count, centre, factor = radii.size, best.multipliers, np.diag(radii)
    for _ in range(_CUTS):
        if deadline.is_over:
            break
        if (centre < 0.0).any():
            place = int(np.argmin(centre / radii))
            cut, excess = -factor[place], -centre[place]
        else:
            here = _bound(point, centre)
            cut = -here.excess @ factor
            if here.gap < best.gap:
                best = here
            excess = here.gap - best.gap
            # Nowhere in the ellipsoid is the bound lower than this.
            if here.gap - np.linalg.norm(cut) >= (1.0 - _CLOSE_ENOUGH) * best.gap:
                break
        size = float(np.linalg.norm(cut))
        depth = excess / size if size > 0.0 else 1.0
        if not depth < 1.0:
            break
        cut = cut / size
        along = factor @ cut
        centre = centre - (1.0 + count * depth) / (count + 1.0) * along
        if count == 1:
            factor = factor * (0.5 * (1.0 - depth))
            continue
        flattening = 2.0 * (1.0 + count * depth) / ((count + 1.0) * (1.0 + depth))
        growth = np.sqrt(count**2 * (1.0 - depth**2) / (count**2 - 1.0))
        factor = growth * (factor + (np.sqrt(1.0 - flattening) - 1.0) * np.outer(along, cut))
    return best


def _reach(point: Evaluation, bound: _Bound) -> FloatArray:
    """How large multipliers may be: as they are, or worth the whole scale at today's excess."""
    scale = float(point.scale)
    size = np.abs(bound.excess)
    natural = np.where(size > 0.0, scale / size, 0.0)
    reach = np.maximum(bound.multipliers, np.where(natural < _GREATEST, natural, 0.0))
    return np.where(reach > 0.0, reach, scale)
