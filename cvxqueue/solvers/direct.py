"""Cone data handed to Clarabel as it is, without a compiler in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

from cvxqueue.dcp.cones import ConeProgram, Cones
from cvxqueue.solvers.back_ends import Answer

_KINDS = {
    "zero": clarabel.ZeroConeT,
    "nonnegative": clarabel.NonnegativeConeT,
    "second-order": clarabel.SecondOrderConeT,
}
# With these statuses x is a direction that proves something, and not a point.
_WITHOUT_POINT = frozenset(
    {"PrimalInfeasible", "DualInfeasible", "AlmostPrimalInfeasible", "AlmostDualInfeasible"}
)


def solve_cones(program: ConeProgram, solver: str, options: Mapping[str, Any]) -> Answer:
    """Let Clarabel solve cone data, and keep its words.

    Parameters
    ----------
    program : ConeProgram
        The data.
    solver : str
        Its name, for the words.
    options : mapping
        Settings of Clarabel.
    """
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for name, value in options.items():
        if hasattr(settings, name):
            setattr(settings, name, value)
    found = clarabel.DefaultSolver(
        sparse.csc_array((program.cost.size, program.cost.size)),
        program.cost,
        program.matrix,
        program.right,
        [cone for cones in program.cones for cone in _expanded(cones)],
        settings,
    ).solve()
    status = str(found.status)
    return Answer(
        tokens=None if status in _WITHOUT_POINT else program.tokens(np.asarray(found.x)),
        words=f"{solver}: {status} ({_size(program)})",
        iterations=int(found.iterations),
    )


def _expanded(cones: Cones) -> list[Any]:
    if cones.kind == "exponential":
        return [clarabel.ExponentialConeT()] * cones.sizes.size
    kind = _KINDS[cones.kind]
    return [kind(size) for size in cones.sizes.tolist()]


def _size(program: ConeProgram) -> str:
    """How many cones of either curved kind the program has."""
    counts = {cones.kind: cones.sizes.size for cones in program.cones}
    return (
        f"cone data, {counts['second-order']} second-order and "
        f"{counts.get('exponential', 0)} exponential cones"
    )
