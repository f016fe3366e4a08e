"""Multipliers of the constraints that couple the types, for tokens that somebody proposes.

Any multipliers μ ≥ 0 prove a bound (`certificates.lagrangian_gap`). It is convex in them, with

    slack_i − ∇c_i · (response − tokens)

as its slopes, the response being that of the Lagrangian to its own marginal cost; so Newton's
method finds those that prove most in a few steps. Where curves have kinks the response jumps, and
cutting planes take over.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality.newton_on_multipliers import DualPoint, descent, multiplier_step, pliancy
from cvxqueue.model import Evaluation
from cvxqueue.model.couplings import allowances, excesses, is_satisfied, lagrangian
from cvxqueue.model.differences import separable_gains, separable_gap
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray

# So sharp a bound, relative to the scale, needs no second start and no other method.
_SHARP_BOUND = 1e-9
# Where a step lowers the bound by no more than this share of it, no other will.
_LEAST_FALL = 1e-6
# Cuts in a box that is so many times as wide as anything known of the multipliers, until no more
# than this share of the bound can be gained. Of 510 hostile proofs 99 % took fewer than 300, and
# the others gained nothing by more.
_CUTS, _WIDE, _CLOSE_ENOUGH = 300, 8.0, 0.01
# Where the least bound is at a side of the box, as where a type that hardly shows in a constraint
# must be held by it, up to so many boxes, each so many times as wide there as the last.
_WIDENINGS, _WIDER = 8, 1e3
# A place is beyond a side of the box by more than this share of it.
_OUT_OF_BOX = 1e-12
# Tokens this close to a kink, relatively, are at it.
_BESIDE = 1e-6
# Multipliers beyond this stand for none.
_GREATEST = 1e100


@quiet
def estimated_multipliers(point: Evaluation, deadline: Deadline = NEVER) -> FloatArray:
    """Multipliers that prove about the best bound that tokens in the box allow.

    Zeros where the tokens are unstable or violate a constraint, so that nothing is proven.
    Newton's method starts from those that balance the gradient best, or from none.
    """
    none = np.zeros(len(point.model.couplings))
    if not is_satisfied(point):
        return none
    scale = float(point.scale)
    found = []
    for start in (_balancing(point), none):
        found.append(lowered(point, start, scale, deadline))
        if found[-1].gap <= _SHARP_BOUND * scale:
            return found[-1].multipliers
    best = min(found, key=lambda bound: bound.gap)
    if best.gap < np.inf and not point.model.accuracy.is_smooth:
        # As large as any are, or worth the whole scale where there are none.
        worth = scale / np.abs(_bound(point, none).excess)
        known = [np.where(worth < _GREATEST, worth, 0.0), *(bound.multipliers for bound in found)]
        reach = _WIDE * np.max(known, axis=0)
        reach = np.where(reach > 0.0, reach, scale)
        for _ in range(_WIDENINGS):
            best = _enclosed(point, best, reach, deadline)
            is_at_side = best.multipliers >= (1.0 - _OUT_OF_BOX) * reach
            if deadline.is_over or not is_at_side.any():
                break
            reach = np.where(is_at_side, _WIDER * reach, reach)
    return best.multipliers


def _balancing(point: Evaluation) -> FloatArray:
    """Multipliers that balance ∇J best: least squares over the types that can move."""
    gradients = np.stack([coupling.gradient(point) for coupling in point.model.couplings])
    # At a kink a type balances nothing; inside a straight piece it must.
    ends = (point.tokens * (1.0 - _BESIDE), point.tokens * (1.0 + _BESIDE))
    is_inside = np.isfinite(point.model.accuracy.curvature_range(*ends)[1])
    columns = gradients * pliancy(point, is_inside | point.model.accuracy.is_smooth)
    none = np.zeros(len(gradients))
    step = multiplier_step(
        none, columns @ point.gradient, columns @ gradients.T, float(point.scale)
    )
    return none if step is None else np.maximum(step, 0.0)


def lowered(
    point: Evaluation, multipliers: FloatArray, scale: float, deadline: Deadline
) -> DualPoint:
    """The least bound that Newton's method finds of stable tokens in the box.

    Whether these keep the constraints or not; `scale` is what the objective is about, in seconds.
    """
    start = best = _bound(point, multipliers)

    def at(multipliers: FloatArray, _: DualPoint) -> DualPoint:
        nonlocal best
        found = _bound(point, multipliers)
        best = min(best, found, key=lambda bound: bound.gap)
        return found

    def step_from(today: DualPoint) -> FloatArray | None:
        hessian = _hessian(point, today.point)
        return multiplier_step(today.multipliers, today.excess, hessian, scale)

    least = np.inf
    for _ in descent(start, at, step_from, deadline):
        if not best.gap < (1.0 - _LEAST_FALL) * least:
            break
        least = best.gap
    return best


def _bound(point: Evaluation, multipliers: FloatArray) -> DualPoint:
    priced, values = lagrangian(point, multipliers), excesses(point)
    there = point.model.evaluate(priced.reachable_response)
    move = there.tokens - point.tokens
    # A floor is worth accuracy, which is not taken for linear.
    excess = np.array(
        [
            coupling.excess(there) if coupling.is_floor else value + coupling.gradient(point) @ move
            for coupling, value in zip(point.model.couplings, values, strict=True)
        ]
    )
    # Multipliers magnify what rounding does to a constraint.
    rounding = allowances(point)
    excess -= rounding
    gap = float(separable_gap(priced) + multipliers @ (rounding - values))
    return DualPoint(multipliers, priced, excess, gap if np.isfinite(gap) else np.inf)


def _hessian(point: Evaluation, priced: Evaluation) -> FloatArray:
    """Second derivatives of the bound: Σ ∇c_i ∇c_j / curvature over the types that are free."""
    model, response = point.model, priced.reachable_response
    there = model.evaluate(response)
    slopes = np.stack(
        [each.gradient(there if each.is_floor else point) for each in model.couplings]
    )
    bend = -model.probabilities * priced.model.benefit.curvature(response)
    is_free = (response > model.lower) & (response < model.upper) & (bend > 0.0)
    hessian: FloatArray = (slopes * np.where(is_free, 1.0 / bend, 0.0)) @ slopes.T
    return hessian


def _enclosed(
    point: Evaluation, best: DualPoint, reach: FloatArray, deadline: Deadline
) -> DualPoint:
    """The least bound that cutting planes find, which need no smooth function.

    At a corner a type is content with a whole interval of marginal costs, and slopes jump. The
    bound is nowhere below the planes that touch it. As many as there are unknowns, some of them
    sides of a box of multipliers up to `reach`, are lowest at one place: its own plane, or the side
    that it is beyond, takes the turn of another by a step of the dual simplex method.

    References
    ----------
    Kelley, "The cutting-plane method for solving convex programs", Journal of the Society for
    Industrial and Applied Mathematics 8(4), 1960.
    """
    count = reach.size
    units = np.eye(count + 1)
    # Of each plane, row · (multipliers / reach, bound) ≥ side; of the box, the sides downhill.
    rows, sides = units.copy(), np.zeros(count + 1)
    rows[:-1][best.excess > 0.0] *= -1.0
    sides[:-1][best.excess > 0.0] = -1.0
    rows[-1], sides[-1], lowest = _plane(point, best, reach)
    # Planes that are parallel but for rounding meet nowhere.
    with suppress(np.linalg.LinAlgError):
        for _ in range(_CUTS):
            *shares, least = np.linalg.solve(rows, sides)
            is_number = np.isfinite([*shares, least]).all()
            if deadline.is_over or not is_number or least >= (1.0 - _CLOSE_ENOUGH) * lowest:
                break
            beyond = np.abs(np.array(shares) - 0.5)
            worst = int(np.argmax(beyond))
            if beyond[worst] > 0.5 + _OUT_OF_BOX:
                is_above = shares[worst] > 0.5
                row, side = (-units[worst], -1.0) if is_above else (units[worst], 0.0)
            else:
                here = _bound(point, np.maximum(shares, 0.0) * reach)
                best = min(best, here, key=lambda bound: bound.gap)
                row, side, value = _plane(point, here, reach)
                lowest = min(lowest, value)
            weights, changes = np.linalg.solve(rows.T, np.stack([units[-1], row], axis=1)).T
            ratios = np.where(changes > 0.0, np.maximum(weights, 0.0) / changes, np.inf)
            turn = int(np.argmin(ratios))
            if ratios[turn] == np.inf:
                break
            rows[turn], sides[turn] = row, side
    return best


def _plane(
    point: Evaluation, bound: DualPoint, reach: FloatArray
) -> tuple[FloatArray, float, float]:
    """The plane that touches a bound: its row and its side, and the value that it touches at.

    Without what rounding can have taken from the types, which is no convex function.
    """
    gains = separable_gains(bound.point, bound.point.reachable_response)
    slack = allowances(point) - excesses(point)
    value = float(np.maximum(gains, 0.0).sum() + bound.multipliers @ slack)
    side = value + float(bound.excess @ bound.multipliers)
    return np.append(bound.excess * reach, 1.0), side, value
