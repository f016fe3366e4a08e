"""The way back to where the constraints that couple the types hold."""

from __future__ import annotations

import numpy as np

from cvxqueue.duality.newton_on_multipliers import nonnegative_step
from cvxqueue.model import Evaluation
from cvxqueue.model.couplings import allowances, excesses
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.numerics.roots import bracketed_root

# A violation that no step of Gauss and Newton mends in so many rounds is not a matter of rounding.
_RESTORING_STEPS = 30
# Share of what a constraint shall fall by that rounding may leave.
_SHORTFALL = 1e-6
# The first round aims at so many times what rounding can do to the constraint, the next at more.
_FIRST_AIM = 2.0


@quiet
def restored(point: Evaluation, *, beyond_rounding: bool = False) -> Evaluation | None:
    """The nearest point, to first order, at which the constraints hold; ``None`` if not found.

    Steps of Gauss and Newton in the metric diag(π E[(dt/dl)²]), along the gradients of the
    constraints that are violated. Where they lead nowhere, and the least tokens satisfy the
    constraints, the last point on the way there that does.

    A violation that rounding explains is none. With `beyond_rounding` they shall hold whatever
    rounding did, where there is such a point: its objective is then one that the optimum reaches.
    """
    if not point.is_stable:
        return None
    side = -1.0 if beyond_rounding else 1.0
    return _stepped(point, side) or _drawn_back(point, side)


def _stepped(point: Evaluation, side: float) -> Evaluation | None:
    """Where steps lead at which no constraint exceeds its allowance, taken with a sign."""
    model, couplings = point.model, point.model.couplings
    aims, found = np.zeros(len(couplings)), None
    for _ in range(_RESTORING_STEPS):
        values, rounding = excesses(point), allowances(point)
        if found is None and (values <= rounding).all():
            found = point
        limits = side * rounding
        if (values <= limits).all():
            return point
        is_violated = values > np.minimum(limits, 0.0)
        is_aimed = is_violated | (aims > 0.0)
        aims = np.where(is_violated, np.maximum(2.0 * aims, _FIRST_AIM * rounding), aims)
        gradients = np.stack([coupling.gradient(point) for coupling in couplings])[is_aimed]
        metric = model.probabilities * model.service.mean_square_slope(point.tokens)
        step = _least_step(point, gradients, metric, (values + aims)[is_aimed])
        if step is None:
            return found
        moved = model.evaluate(model.boxed(point.tokens + step))
        if not moved.is_stable or np.array_equal(moved.tokens, point.tokens):
            return found
        point = moved
    return found


def _drawn_back(point: Evaluation, side: float) -> Evaluation | None:
    """The last point towards `point` from the least tokens, where these satisfy the constraints."""
    model, least = point.model, point.model.lower

    def keeps(there: Evaluation) -> bool:
        return there.is_stable and bool((excesses(there) <= side * allowances(there)).all())

    found = model.lowest
    if not keeps(found):
        return None

    def side_of(share: FloatArray) -> FloatArray:
        nonlocal found
        there = model.evaluate(model.boxed(least + share * (point.tokens - least)))
        if not keeps(there):
            return np.ones(())
        found = there
        return -np.ones(())

    bracketed_root(side_of, np.zeros(()), np.ones(()), EPSILON)
    return found


def _least_step(
    point: Evaluation, gradients: FloatArray, metric: FloatArray, amounts: FloatArray
) -> FloatArray | None:
    """Shortest step in a metric along which no function falls by less than its amount.

    To first order, and where no step does, one that falls short as little as possible.

    A type at an end of the box that would leave it stays; what it does not do the others do.
    """
    model = point.model
    is_free = model.upper > model.lower
    step: FloatArray = np.zeros_like(point.tokens)
    for _ in range(len(gradients) + 2):
        scaled = np.where(is_free, gradients / metric, 0.0)
        system = scaled @ gradients.T
        unit = 1.0 / np.sqrt(system.diagonal())
        if not (np.isfinite(system).all() and np.isfinite(amounts).all()):
            return None
        # What no free type changes, no step mends.
        moves = np.flatnonzero(np.isfinite(unit))
        unit, columns = unit[moves], scaled[moves]
        system = system[np.ix_(moves, moves)] * unit * unit[:, np.newaxis]
        falls = amounts[moves] * unit
        prices = nonnegative_step(system, falls, np.zeros(moves.size))
        if (system @ prices < (1.0 - _SHORTFALL) * falls).any():
            # No step does it all: one that comes nearest.
            prices = np.asarray(np.linalg.lstsq(system, falls, rcond=None)[0], dtype=np.float64)
        step = np.asarray(-(unit * prices) @ columns, dtype=np.float64)
        leaves = ((step < 0.0) & (point.tokens <= model.lower)) | (
            (step > 0.0) & (point.tokens >= model.upper)
        )
        if not (leaves & is_free).any():
            break
        is_free = is_free & ~leaves
    return step if np.isfinite(step).all() and step.any() else None
