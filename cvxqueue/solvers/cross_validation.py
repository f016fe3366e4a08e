"""Every method on one instance, and whether their certified answers agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_least, at_most, shown, significant
from cvxqueue.json_values import json_values
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import require_that
from cvxqueue.solution import Iterate, Solution, Status, assumption_lines, run_names
from cvxqueue.solvers.open_method import OpenMethod
from cvxqueue.solvers.registry import find_method
from cvxqueue.solvers.registry import methods as able_methods
from cvxqueue.solvers.solve import deadline_after, solve
from cvxqueue.tables import Cell, Column, Part, Report, Table

# Seconds for each method that is only there for comparison.
_OTHERS_LIMIT = 10.0
# A gap has the allowance for rounding in it twice, and hardly more where it is all rounding.
_NOISE = 4.0


@dataclass(frozen=True, repr=False)
class CrossValidation(Report):
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
    def outcome(self) -> str:
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
        """Return one row for each run, as plain Python values."""
        return [
            {
                "method": solution.method,
                "options": json_values(solution.options),
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

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome and the rows as plain values, ready for JSON."""
        return json_values(
            {"methods": self.rows(), "outcome": self.outcome, "assumes": self.solutions[0].assumes}
        )

    def __repr__(self) -> str:
        names = ", ".join(run_names(self.solutions))
        return f"CrossValidation(outcome={self.outcome!r}, methods={names})"

    def _parts(self) -> Iterable[Part]:
        yield self.table()
        if len(self.solutions) > 1:
            style, meaning = _OUTCOMES[self.outcome]
            yield ""
            yield [(self.outcome, f"bold {style}"), f": {meaning}"]
        yield from assumption_lines(self.solutions[0])

    def table(self) -> Table:
        """Return a row for each run: a method, and of several runs of one what differs."""
        names = run_names(self.solutions)
        rows = [row | {"method": name} for row, name in zip(self.rows(), names, strict=True)]
        columns = [
            Column(name, [row[key] for row in rows], show) for key, (name, show) in _COLUMNS.items()
        ]
        return Table(columns, most=len(rows))


def _marked(status: str) -> Cell:
    return status.replace("_", " "), "green" if status == Status.OPTIMAL.value else "red"


_COLUMNS: dict[str, tuple[str, Callable[[Any], Cell]]] = {
    "method": ("method", str),
    "status": ("status", _marked),
    "objective": ("objective (s)", lambda value: at_least(value, 9)),
    "relative_gap": ("relative gap", at_most),
    "token_difference": ("tokens off by", at_most),
    "iterations": ("iterations", str),
    "seconds": ("time (s)", lambda value: significant(value, 2)),
}
_OUTCOMES = {
    "agree": ("green", "every method is certified, and no two proofs contradict."),
    "undecided": (
        "yellow",
        "no two proofs contradict, but not every method is certified within its tolerance.",
    ),
    "disagree": ("red", "two proofs contradict each other."),
}


@quiet
def cross_validate(
    instance: Instance,
    methods: Sequence[str | OpenMethod] | None = None,
    *,
    tolerance: float | None = None,
    time_limit: float | None = None,
    callback: Callable[[Iterate], bool] | None = None,
    progress: Callable[[str], object] | None = None,
) -> CrossValidation:
    """Solve one instance by every method and compare what they prove.

    Parameters
    ----------
    instance : Instance
        What to solve.
    methods : sequence of str or callable, optional
        Names of methods, and methods of one's own as `solve` takes them, each of another name; by
        default all of the package that are installed and can take the instance.
    tolerance : float, optional
        As for `solve`; by default each method's own.
    time_limit : float, optional
        Seconds for each method; by default no limit for the first and for callables, which cannot
        be interrupted, and ten for each of the others: the first has the answer by then.
    callback : callable, optional
        As for `solve`: called with an `Iterate` after each iteration of each method; a true answer
        stops that method.
    progress : callable, optional
        Called with the name of each method before it runs.

    Returns
    -------
    CrossValidation
        The solutions, a table of them, and whether they agree. With a callback or without, every
        iterate is certified and in the history of its solution.

    Raises
    ------
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.
    InvalidInputError
        If a method is not known, none is given or two have one name, a `time_limit` comes with a
        callable, one returns what is no allocation, or another argument is not allowed.
    """
    require_instance(instance)
    is_list = not (isinstance(methods, str) or callable(methods))
    require_that(is_list, "methods", methods, "a sequence of names and callables")
    methods = [it.name for it in able_methods(instance)] if methods is None else list(methods)
    chosen = [find_method(method) for method in methods]
    if not chosen:
        raise InvalidInputError("methods must name at least one method, got an empty list")
    for name, count in Counter(method.name for method in chosen).items():
        if count > 1:
            raise InvalidInputError(
                f"methods has {count} of the name {shown(name)}, and its answers could not be "
                "told apart: give a callable a __name__ of its own"
            )
    if callback is None:
        # With a callback `newton` too certifies every iterate, as the other methods do.
        callback = lambda _: False  # noqa: E731
    for method in chosen:
        deadline_after(math.inf if time_limit is None else time_limit, method)
    solutions: list[Solution] = []
    for given, method in zip(methods, chosen, strict=True):
        if progress is not None:
            progress(method.name)
        own_limit = _OTHERS_LIMIT if solutions and not method.is_open else math.inf
        solutions.append(
            solve(
                instance,
                given,
                tolerance=tolerance,
                time_limit=own_limit if time_limit is None else time_limit,
                callback=callback,
                on_failure="return",
            )
        )
    return CrossValidation(tuple(solutions))
