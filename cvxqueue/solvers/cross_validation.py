"""Every method on one instance, and whether their certified answers agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.solution import Solution
from cvxqueue.solvers.registry import find_method
from cvxqueue.solvers.registry import methods as able_methods
from cvxqueue.solvers.solve import solve

__all__ = ["CrossValidation", "cross_validate"]


# A gap has the allowance for rounding in it twice, and hardly more where it is all rounding.
_NOISE = 4.0


@dataclass(frozen=True)
class CrossValidation:
    """Answers of several methods to one instance.

    Parameters
    ----------
    solutions : tuple of Solution
        One for each method that ran, in the order of running.
    """

    solutions: tuple[Solution, ...]

    @property
    def best(self) -> Solution:
        """The optimal answer with the least certified gap; where none is optimal, of all.

        The first of those that differ by rounding.
        """
        # One level for all: the allowances of answers that agree differ in their last digits.
        noise = _NOISE * min(solution.certificate.allowance for solution in self.solutions)
        return min(self.solutions, key=lambda it: (not it.is_optimal, max(it.gap, noise)))

    @property
    def verdict(self) -> str:
        """``"agree"``, ``"disagree"`` or ``"undecided"``.

        Each answer proves an interval for the optimal objective, and one for the optimal tokens of
        each type. If two of them are disjoint, one of the proofs is wrong: ``"disagree"``.
        Otherwise the methods ``"agree"`` if all are certified within their tolerance, and the
        comparison is ``"undecided"`` if some are not.
        """
        if self._is_contradictory():
            return "disagree"
        certified = all(solution.is_optimal for solution in self.solutions)
        return "agree" if certified else "undecided"

    def _is_contradictory(self) -> bool:
        highest = max(solution.objective for solution in self.solutions)
        if highest > min(solution.upper_bound for solution in self.solutions):
            return True
        bounds = np.stack([solution.token_bounds for solution in self.solutions])
        return bool(np.any(bounds[..., 0].max(axis=0) > bounds[..., 1].min(axis=0)))

    def token_difference(self, solution: Solution) -> float:
        """Largest difference of a type's tokens from those of the best certified answer."""
        return float(np.max(np.abs(solution.tokens - self.best.tokens)))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each method, as plain Python values."""
        return [
            {
                "method": solution.method,
                "status": solution.status.value,
                "ended": solution.ended.value,
                "backend_status": solution.backend_status,
                "objective": solution.objective,
                "gap": solution.gap,
                "relative_gap": solution.relative_gap,
                "token_difference": self.token_difference(solution),
                "iterations": solution.iterations,
                "seconds": solution.setup_time + solution.solve_time,
            }
            for solution in self.solutions
        ]

    def __str__(self) -> str:
        head = (
            f"{'method':<20} {'status':<16} {'objective':>16} {'relative gap':>13} "
            f"{'tokens off':>11} {'iterations':>11} {'seconds':>9}"
        )
        body = (
            f"{row['method']:<20} {row['status']:<16} {row['objective']:>16.9g} "
            f"{row['relative_gap']:>13.2g} {row['token_difference']:>11.2g} "
            f"{row['iterations']:>11} {row['seconds']:>9.3g}"
            for row in self.rows()
        )
        return "\n".join([head, *body, f"verdict: {self.verdict}"])


@quiet
def cross_validate(
    instance: Instance,
    methods: Sequence[str] | None = None,
    *,
    time_limit: float = np.inf,
    progress: Callable[[str], object] | None = None,
) -> CrossValidation:
    """Solve one instance by every method and compare what they prove.

    Parameters
    ----------
    instance : Instance
        What to solve.
    methods : sequence of str, optional
        Names of the methods; by default all that are installed and can take the instance.
    time_limit : float, default infinity
        Seconds for each method.
    progress : callable, optional
        Called with the name of each method before it runs.

    Returns
    -------
    CrossValidation
        Solutions, a table of them, and a verdict.

    Raises
    ------
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If no allocation satisfies the constraints.
    InvalidInputError
        If a method is not known, or none is given.
    """
    require_instance(instance)
    if isinstance(methods, str):
        raise InvalidInputError(f"methods must be a sequence of names, got {shown(methods)}")
    if methods is None:
        methods = [method.name for method in able_methods(instance)]
    names = [find_method(name).name for name in methods]
    if not names:
        raise InvalidInputError("methods must name at least one method, got an empty list")
    solutions = []
    for name in names:
        if progress is not None:
            progress(name)
        solutions.append(solve(instance, name, time_limit=time_limit, on_failure="return"))
    return CrossValidation(tuple(solutions))
