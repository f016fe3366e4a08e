"""Solving through CVXPY: one parametric form again and again, or each instance from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import cvxpy as cp
import numpy as np

import cvxqueue as cq
from cvxqueue.dcp import Formulation


class Resolver:
    """A form that is compiled, has been solved, and is refilled from then on."""

    def __init__(self, instance: cq.Instance) -> None:
        self.form = cq.formulate(instance, "parametric")
        self.solve(instance)

    def solve(self, instance: cq.Instance) -> None:
        """Refill the form and solve it, with the back end's own tolerances.

        The back end is kept as well and only its data replaced, which is the faster of the two
        settings of ``warm_start``. A failure costs the time that it took.
        """
        self.form.update(instance)
        with suppress(cp.SolverError):
            self.form.problem.solve(solver="CLARABEL", warm_start=True)

    def solve_all(self, instances: Sequence[cq.Instance]) -> None:
        """Solve one instance after the other."""
        for instance in instances:
            self.solve(instance)

    def relative_gap(self, instance: cq.Instance) -> float:
        """Return what can be proven of its answer; infinite where it has none."""
        self.solve(instance)
        return _relative_gap(instance, self.form)


def solve_cold(instance: cq.Instance) -> float:
    """Write an instance down, compile it and solve it; return what can be proven of the answer.

    The proof is a small part of the time. A failure costs the time that it took.
    """
    form = cq.formulate(instance)
    with suppress(cp.SolverError):
        form.problem.solve(solver="CLARABEL")
    return _relative_gap(instance, form)


def _relative_gap(instance: cq.Instance, form: Formulation) -> float:
    tokens = form.tokens.value
    if tokens is None or not np.all(np.isfinite(tokens)):
        return np.inf
    return cq.certify(instance, tokens).relative_gap
