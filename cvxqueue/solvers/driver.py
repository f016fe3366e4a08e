"""The driver: limits, history, timing and the final status of every method, in one loop.

A method proposes allocations and nothing else. It never grades itself: the driver certifies each
proposal on the instance, keeps the best, and derives the status from the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cvxqueue.certificates import (
    Certificate,
    certified_gap,
    certified_objective,
    coupled_gap,
    estimated_multipliers,
    restored,
)
from cvxqueue.deadline import Deadline
from cvxqueue.errors import BackendError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import FloatArray, read_only
from cvxqueue.solution import Iterate, Solution, Status

__all__ = ["Limits", "Progress", "Proposal", "Proposals", "drive", "tightest_tolerance"]


_EPSILON = float(np.finfo(np.float64).eps)
# Relative gap that `newton` is held to at least where constraints couple the types.
_COUPLED = 1e-9
# What a rounding of the marginal cost costs where curves have kinks, beside smooth ones.
_WITH_KINKS = 16.0


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


class Progress(NamedTuple):
    """What a callback is shown after each proposal."""

    iteration: int
    tokens: FloatArray
    objective: float
    gap: float
    relative_gap: float
    seconds: float


class Limits(NamedTuple):
    """When the driver stops a method."""

    tolerance: float | None
    """Relative gap to certify; ``None`` for `tightest_tolerance`."""
    max_iterations: int
    deadline: Deadline
    callback: Callable[[Progress], bool] | None


def tightest_tolerance(point: Evaluation) -> FloatArray:
    """The least relative gap that float64 can prove: near saturation rounding alone costs more.

    Above 1e-5, next to an idle fraction of 1e-10, it would say nothing. Where a type rests inside a
    straight piece of its curve, any of the piece is nearly as good, to rounding.
    """
    share = 1.0 if point.instance.accuracy.is_smooth else _WITH_KINKS
    return share * np.minimum(np.maximum(1e-12, 16.0 * _EPSILON / point.idle), 1e-5)


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
    best, best_gap, best_objective, multipliers = instance.lowest, np.inf, -np.inf, None
    backend_status, iterations, setup_time = "", 0, 0.0
    history: list[Iterate] = []
    status = Status.STALLED
    while True:
        try:
            proposal = next(proposals, None)
        except BackendError as error:
            proposal, status = None, Status.NUMERICAL_ERROR
            backend_status = f"{type(error.__cause__ or error).__name__}: {error}"
        if proposal is None:
            if limits.deadline.is_over:
                status = Status.TIME_LIMIT
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
            status, backend_status = Status.NUMERICAL_ERROR, proposal.backend_status
            break
        point = _in_box(proposed)
        if not point.is_stable:
            status, backend_status = Status.DIVERGED, proposal.backend_status
            break
        point, objective, gap, found = _certified(point, proposal.multipliers, limits.deadline)
        history.append(Iterate(iterations, objective, gap, elapsed))
        if gap < best_gap or not backend_status:
            backend_status = proposal.backend_status
        if gap < best_gap:
            best, best_gap, best_objective, multipliers = point, gap, objective, found
        is_stopped = limits.callback is not None and limits.callback(_progress(point, history[-1]))
        # Looking on changes nothing: what is shown to a callback does not end the method.
        may_end = proposal.is_candidate or is_last
        if may_end and _is_certified(best, best_gap, limits.tolerance):
            status = Status.OPTIMAL
            break
        if is_stopped:
            status = Status.STOPPED
            break
        if iterations >= limits.max_iterations:
            status = Status.ITERATION_LIMIT
            break
        if is_late:
            status = Status.TIME_LIMIT
            break
    if best_gap == np.inf or (instance.couplings and status is not Status.OPTIMAL):
        # Other multipliers than the method's may prove more of its best point.
        again = _certified(best, None, limits.deadline)
        if best_gap == np.inf or again.gap < best_gap:
            best, best_objective, best_gap, multipliers = again
    if _is_certified(best, best_gap, limits.tolerance):
        status = Status.OPTIMAL
    return Solution(
        certificate=Certificate.of(instance, best, best_gap, best_objective, multipliers),
        method=method,
        status=status,
        tolerance=_allowed(best, limits.tolerance),
        backend_status=backend_status,
        iterations=iterations,
        setup_time=setup_time,
        solve_time=limits.deadline.clock() - started - setup_time,
        history=tuple(history),
    )


def _in_box(point: Evaluation) -> Evaluation:
    """The point, moved into the box where a method proposed one outside."""
    lower, upper = point.instance.lower, point.instance.upper
    if ((point.tokens >= lower) & (point.tokens <= upper)).all():
        return point
    return point.instance.evaluate(np.clip(point.tokens, lower, upper))


class _Graded(NamedTuple):
    """What is proven of a point, moved to where the constraints hold."""

    point: Evaluation
    objective: float
    gap: float
    multipliers: FloatArray | None


def _certified(point: Evaluation, multipliers: FloatArray | None, deadline: Deadline) -> _Graded:
    """The proof by given multipliers, or by those that prove most."""
    if not point.instance.couplings:
        return _Graded(point, float(certified_objective(point)), float(certified_gap(point)), None)
    moved = restored(point, beyond_rounding=True)
    if moved is None:
        return _Graded(point, -np.inf, np.inf, np.zeros(len(point.instance.couplings)))
    found = estimated_multipliers(moved, deadline) if multipliers is None else multipliers
    return _Graded(moved, float(certified_objective(moved)), coupled_gap(moved, found), found)


def _allowed(point: Evaluation, tolerance: float | None) -> float:
    if tolerance is not None:
        return tolerance
    # Multipliers magnify what rounding does to the constraints.
    least = _COUPLED if point.instance.couplings else 0.0
    return max(float(tightest_tolerance(point)), least)


def _is_certified(point: Evaluation, gap: float, tolerance: float | None) -> bool:
    return bool(gap <= _allowed(point, tolerance) * point.scale)


def _progress(point: Evaluation, row: Iterate) -> Progress:
    return Progress(
        row.iteration,
        read_only(point.tokens),
        row.objective,
        row.gap,
        row.gap / float(point.scale) if row.gap > 0.0 else 0.0,
        row.seconds,
    )
