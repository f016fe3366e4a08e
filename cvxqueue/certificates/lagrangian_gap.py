"""Certificates under constraints that couple the types.

For multipliers μ ≥ 0 of constraints c ≤ 0, J ≤ J − μ c =: L wherever the constraints hold. So the
bound on L that its own separable gap proves holds for J as well, whatever the multipliers: with
l feasible, max J − J(l) ≤ gap of L at l + μ · (−c(l)). Good multipliers make the bound sharp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates.gap import certified_gap
from cvxqueue.model import Evaluation
from cvxqueue.model.couplings import allowances, excesses, lagrangian
from cvxqueue.model.model import Model
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON


@quiet
def kept_by_rounding(point: Evaluation, whole: NDArray[np.int64] | None = None) -> tuple[str, ...]:
    """A sentence for each constraint that a point keeps, but not beyond rounding."""
    if not point.is_stable:
        return ()
    told = floors_by_rounding(point.model, whole)
    if not point.model.couplings:
        return told
    values, rounding = excesses(point), allowances(point)
    is_open = (-rounding < values) & (values <= rounding)
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
def lagrangian_gap(point: Evaluation, multipliers: FloatArray) -> float:
    """Proven bound on what the constraints allow, less the certified objective of a stable point.

    The point need not keep the constraints: then this may be negative.
    """
    values = excesses(point)
    # An allowance leaves out the rounding of the subtraction of a limit.
    slack = EPSILON * np.abs(values) - values + allowances(point)
    gap = float(certified_gap(lagrangian(point, multipliers))) + float(multipliers @ slack)
    return gap if np.isfinite(gap) else np.inf
