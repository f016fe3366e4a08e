"""Certificates under constraints that couple the types.

For multipliers μ ≥ 0 of constraints c ≤ 0, J ≤ J − μ c =: L wherever the constraints hold. So the
bound on L that its own separable gap proves holds for J as well, whatever the multipliers: with
l feasible, max J − J(l) ≤ gap of L at l + μ · (−c(l)). Good multipliers make the bound sharp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates.dual_step import nonnegative_step
from cvxqueue.certificates.gap import certified_gap
from cvxqueue.model import Evaluation
from cvxqueue.model.model import Model
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
def excesses(point: Evaluation) -> FloatArray:
    """Value of c for each coupling constraint of the instance, positive where it is violated."""
    return np.array([coupling.excess(point) for coupling in point.model.couplings])


def is_satisfied(point: Evaluation) -> bool:
    """Whether a point in the box is stable and no constraint is violated beyond rounding."""
    return point.is_stable and bool((excesses(point) <= _allowances(point)).all())


@quiet
def kept_by_rounding(point: Evaluation, whole: NDArray[np.int64] | None = None) -> tuple[str, ...]:
    """A sentence for each constraint that a point keeps, but not beyond rounding."""
    if not point.is_stable:
        return ()
    told = floors_by_rounding(point.model, whole)
    if not point.model.couplings:
        return told
    values, allowances = excesses(point), _allowances(point)
    is_open = (-allowances < values) & (values <= allowances)
    return told + tuple(
        f"the tokens keep {coupling.label}, which they do as far as rounding can tell"
        for coupling, is_told in zip(point.model.couplings, is_open.tolist(), strict=True)
        if is_told
    )


def floors_by_rounding(model: Model, whole: NDArray[np.int64] | None = None) -> tuple[str, ...]:
    """A sentence where rounding can have moved least tokens by more than the objective counts.

    Or where it decides whether whole tokens reach a floor, at the cost of one token or of none.
    """
    moved = model.lower_rounding
    if moved is None:
        return ()
    is_told = moved != model.counted_rounding
    if whole is not None:
        is_told |= (moved > 0.0) & (whole >= 0) & (whole <= model.lower + moved)
    if not is_told.any():
        return ()
    return (
        "the least tokens reach the accuracy floors, which they do as far as rounding can tell",
    )


@quiet
def lagrangian(point: Evaluation, multipliers: FloatArray) -> Evaluation:
    """The same point, as one of the Lagrangian at these multipliers."""
    return point.model.priced(multipliers).evaluate(point.tokens)


@quiet
def coupled_gap(point: Evaluation, multipliers: FloatArray) -> float:
    """Proven bound on max J, over what the constraints allow, less the certified objective.

    In seconds, of tokens in the box and a multiplier ≥ 0 for each coupling constraint; infinite
    where the point is unstable or violates a constraint.
    """
    return lagrangian_gap(point, multipliers) if is_satisfied(point) else np.inf


def lagrangian_gap(point: Evaluation, multipliers: FloatArray) -> float:
    """Proven bound on what the constraints allow, less the certified objective of a stable point.

    The point need not keep the constraints: then this may be negative.
    """
    values = excesses(point)
    # An allowance leaves out the rounding of the subtraction of a limit.
    slack = EPSILON * np.abs(values) - values + _allowances(point)
    gap = float(certified_gap(lagrangian(point, multipliers))) + float(multipliers @ slack)
    return gap if np.isfinite(gap) else np.inf


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
        values, allowances = excesses(point), _allowances(point)
        if found is None and (values <= allowances).all():
            found = point
        limits = side * allowances
        if (values <= limits).all():
            return point
        is_violated = values > np.minimum(limits, 0.0)
        is_aimed = is_violated | (aims > 0.0)
        aims = np.where(is_violated, np.maximum(2.0 * aims, _FIRST_AIM * allowances), aims)
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
        return there.is_stable and bool((excesses(there) <= side * _allowances(there)).all())

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


def _allowances(point: Evaluation) -> FloatArray:
    """What rounding can have done to each constraint, and to the least tokens that it takes.

    Twice what these do to it, because it is convex.
    """
    model = point.model
    allowances = [coupling.allowance(point) for coupling in model.couplings]
    if (moved := model.counted_rounding) is not None:
        gradients = [coupling.gradient(point) for coupling in model.couplings]
        moves = (2.0 * float(np.abs(gradient) @ moved) for gradient in gradients)
        allowances = [a + b for a, b in zip(allowances, moves, strict=True)]
    return np.array(allowances)
