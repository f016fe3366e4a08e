"""The driver: limits, history, timing and why a method ended, in one loop.

A method proposes allocations and nothing else. It never grades itself: the driver certifies each
proposal on the instance and keeps the best, and the status follows from the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import (
    Certificate,
    estimated_multipliers,
    restored,
)
from cvxqueue.deadline import Deadline
from cvxqueue.errors import BackendError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.rounding import EPSILON
from cvxqueue.solution import Ended, Iterate, Solution

__all__ = ["Limits", "Proposal", "Proposals", "drive", "tightest_tolerance"]


# Relative gap that `newton` is held to at least where constraints couple the types.
_COUPLED = 1e-9
# What a rounding of the marginal cost costs where curves have kinks, beside smooth ones.
_KINKED_TOLERANCE = 16.0


class Proposal(NamedTuple):
    """One allocation that a method proposes."""

    point: Evaluation | Callable[[], Evaluation]
    """The closed forms at the allocation, or how to have them."""
    iterations: int = 1
    """Iterations that it took since the last proposal."""
    setup_time: float = 0.0
    """Seconds of these that went into building a problem."""
    backend_status: str = ""
    """What a solver behind the method said of it."""
    is_candidate: bool = True
    """Whether it may be the answer; others are looked at for a callback or at a limit only."""
    multipliers: FloatArray | None = None
    """Of the coupling constraints, where the method has some; otherwise they are estimated."""

    def evaluate(self) -> Evaluation:
        """Return the closed forms at the allocation."""
        return self.point() if callable(self.point) else self.point


Proposals = Iterator[Proposal]


class Limits(NamedTuple):
    """When the driver stops a method."""

    tolerance: float | None
    """Relative gap to certify; ``None`` for `tightest_tolerance`."""
    max_iterations: int
    deadline: Deadline
    callback: Callable[[Iterate], bool] | None


def tightest_tolerance(point: Evaluation) -> FloatArray:
    """The least relative gap that float64 can prove: near saturation rounding alone costs more.

    Above 1e-5, next to an idle fraction of 1e-10, it would say nothing. Where a type rests inside a
    straight piece of its curve, any of the piece is nearly as good, to rounding.
    """
    share = 1.0 if point.model.accuracy.is_smooth else _KINKED_TOLERANCE
    return share * np.minimum(np.maximum(1e-12, 16.0 * EPSILON / point.idle), 1e-5)


def drive(instance: Instance, method: str, proposals: Proposals, limits: Limits) -> Solution:
    """Run a method until its answer is certified, a limit is reached or it gives up.

    Parameters
    ----------
    instance : Instance
        Feasible.
    method : str
        Name of the method, for the solution.
    proposals : iterator of Proposal
        The method.
    limits : Limits
        When to stop.

    Returns
    -------
    Solution
        The proposal with the least certified gap; the least tokens, moved to where the constraints
        hold, if nothing is proven of any.
    """
    started = limits.deadline.clock()
    best: Certificate | None = None
    best_gap = np.inf
    backend_status, iterations, setup_time = "", 0, 0.0
    history: list[Iterate] = []
    ended = Ended.STALLED
    while True:
        try:
            proposal = next(proposals, None)
        except BackendError as error:
            proposal, ended = None, Ended.NUMERICAL_ERROR
            backend_status = f"{type(error.__cause__ or error).__name__}: {error}"
        if proposal is None:
            if limits.deadline.is_over:
                ended = Ended.TIME_LIMIT
            break
        iterations += proposal.iterations
        setup_time += proposal.setup_time
        elapsed = limits.deadline.clock() - started
        is_late = limits.deadline.is_over
        is_last = iterations >= limits.max_iterations or is_late
        if not (proposal.is_candidate or is_last or limits.callback is not None):
            continue
        proposed = proposal.evaluate()
        if not np.isfinite(proposed.tokens).all():
            ended, backend_status = Ended.NUMERICAL_ERROR, proposal.backend_status
            break
        point = _in_box(proposed)
        if not point.is_stable:
            ended, backend_status = Ended.DIVERGED, proposal.backend_status
            break
        found = _certified(instance, point, proposal.multipliers, limits.deadline)
        row = Iterate(iterations, found.objective, found.gap, found.relative_gap, elapsed)
        history.append(row)
        if found.gap < best_gap or not backend_status:
            backend_status = proposal.backend_status
        if found.gap < best_gap:
            best, best_gap = found, found.gap
        is_stopped = limits.callback is not None and limits.callback(
            row._replace(tokens=found.tokens)
        )
        # Looking on changes nothing: what is shown to a callback does not end the method.
        may_end = proposal.is_candidate or is_last
        if may_end and best is not None and _is_certified(best, limits.tolerance):
            ended = Ended.CONVERGED
            break
        if is_stopped:
            ended = Ended.STOPPED
            break
        if iterations >= limits.max_iterations:
            ended = Ended.ITERATION_LIMIT
            break
        if is_late:
            ended = Ended.TIME_LIMIT
            break
    if best is None:
        best = _certified(instance, instance.model.lowest, None, limits.deadline)
    elif instance.model.couplings and ended is not Ended.CONVERGED:
        # Other multipliers than the method's may prove more of its best point.
        again = _certified(instance, best.evaluation, None, limits.deadline)
        best = again if again.gap < best_gap else best
    return Solution(
        certificate=best,
        method=method,
        ended=ended,
        tolerance=_allowed(best.evaluation, limits.tolerance),
        backend_status=backend_status,
        iterations=iterations,
        setup_time=setup_time,
        solve_time=limits.deadline.clock() - started - setup_time,
        history=tuple(history),
    )


def _in_box(point: Evaluation) -> Evaluation:
    """The point, moved into the box where a method proposed one outside."""
    model = point.model
    return point if model.contains(point.tokens) else model.evaluate(model.boxed(point.tokens))


def _certified(
    instance: Instance, point: Evaluation, multipliers: FloatArray | None, deadline: Deadline
) -> Certificate:
    """The proof of a point, moved to where the constraints hold.

    By given multipliers, or by those that prove most.
    """
    if not instance.model.couplings:
        return Certificate.of(instance, point)
    moved = restored(point, beyond_rounding=True)
    if moved is None:
        return Certificate.of(instance, point, np.zeros(len(instance.model.couplings)))
    found = estimated_multipliers(moved, deadline) if multipliers is None else multipliers
    return Certificate.of(instance, moved, found)


def _allowed(point: Evaluation, tolerance: float | None) -> float:
    if tolerance is not None:
        return tolerance
    # Multipliers magnify what rounding does to the constraints.
    least = _COUPLED if point.model.couplings else 0.0
    return max(float(tightest_tolerance(point)), least)


def _is_certified(found: Certificate, tolerance: float | None) -> bool:
    return found.relative_gap <= _allowed(found.evaluation, tolerance)
