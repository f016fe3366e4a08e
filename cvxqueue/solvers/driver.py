"""The driver: limits, history, timing and why a method ended, in one loop.

A method proposes allocations and nothing else. It never grades itself: the driver certifies each
proposal on the instance and keeps the best, and the status follows from the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates import Certificate
from cvxqueue.deadline import Deadline
from cvxqueue.duality import estimated_multipliers, restored, tightest_tolerance
from cvxqueue.errors import BackendError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.solution import Ended, Iterate, Solution

# Relative gap that `newton` is held to at least where constraints couple the types.
_COUPLED = 1e-9


class Answer(NamedTuple):
    """What a method of one's own may return or yield in place of bare tokens.

    Nothing of it is believed: the certificate of the instance grades it.
    """

    tokens: ArrayLike | None
    """Of each type, shape (N,); ``None`` or NaN where the method failed to give a number."""
    multipliers: ArrayLike | None = None
    """One ≥ 0 for each constraint on all types together, of its excess; by default they are
    estimated. Any are valid, and good ones make the gap small."""
    iterations: int = 1
    """Iterations that it took since the last answer."""
    setup_time: float = 0.0
    """Seconds of these that went into building a problem."""
    backend_status: str = ""
    """What a solver behind the method said of it."""
    claims_optimal: bool | None = None
    """Whether the method itself calls it optimal, for a comparison to say whether that is true;
    ``None`` where it does not say."""


class Proposal(NamedTuple):
    """One allocation that a method proposes: an answer whose closed forms are known."""

    point: Evaluation | Callable[[], Evaluation]
    """The closed forms at the allocation, or how to have them."""
    iterations: int = 1
    setup_time: float = 0.0
    backend_status: str = ""
    is_candidate: bool = True
    """Whether it may be the answer; others are looked at for a callback or at a limit only."""
    multipliers: FloatArray | None = None
    """Of the coupling constraints, where the method has some; otherwise they are estimated."""

    def evaluate(self) -> Evaluation:
        """Return the closed forms at the allocation."""
        return self.point() if callable(self.point) else self.point


Proposals = Generator[Proposal, None, None]
"""What a method is: it may be left at any of its proposals."""


class Limits(NamedTuple):
    """When the driver stops a method."""

    tolerance: float | None
    """Relative gap to certify; ``None`` for `tightest_tolerance`."""
    max_iterations: int
    deadline: Deadline
    callback: Callable[[Iterate], bool] | None


def drive(
    instance: Instance,
    method: str,
    proposals: Iterator[Proposal],
    limits: Limits,
    options: Mapping[str, Any] | None = None,
) -> Solution:
    """Run a method until its answer is certified, a limit is reached or it gives up.

    Return the proposal with the least certified gap; the least tokens, moved to where the
    constraints hold, if nothing is proven of any.
    """
    run = _Run(instance, limits, limits.deadline.clock())
    ended = None
    while ended is None:
        try:
            proposal = next(proposals, None)
        except BackendError as error:
            run.backend_status = f"{type(error.__cause__ or error).__name__}: {error}"
            proposal, ended = None, Ended.NUMERICAL_ERROR
        if proposal is not None:
            ended = run.take(proposal)
        elif limits.deadline.is_over:
            ended = Ended.TIME_LIMIT
        else:
            ended = ended or Ended.STALLED
    best = run.proven(ended)
    return Solution(
        certificate=best,
        method=method,
        ended=ended,
        tolerance=_allowed(best.evaluation, limits.tolerance),
        backend_status=run.backend_status,
        iterations=run.iterations,
        setup_time=run.setup_time,
        solve_time=limits.deadline.clock() - run.started - run.setup_time,
        history=tuple(run.history),
        options=options or {},
    )


@dataclass
class _Run:
    """What a method has proposed so far, and the best that is proven of it."""

    instance: Instance
    limits: Limits
    started: float
    best: Certificate | None = None
    highest: Certificate | None = None
    backend_status: str = ""
    proposals: int = 0
    iterations: int = 0
    setup_time: float = 0.0
    history: list[Iterate] = field(default_factory=list)

    def take(self, proposal: Proposal) -> Ended | None:
        """Certify a proposal that may be the answer, or is looked at, and say whether to end."""
        limits = self.limits
        self.proposals += 1
        self.iterations += proposal.iterations
        elapsed = limits.deadline.clock() - self.started
        self.setup_time = min(self.setup_time + proposal.setup_time, elapsed)
        # One that counts none of its iterations would go on for ever.
        has_all = max(self.proposals, self.iterations) >= limits.max_iterations
        is_last = limits.deadline.is_over or has_all
        # Looking on changes nothing: what is shown to a callback does not end the method.
        may_end = proposal.is_candidate or is_last
        if not (may_end or limits.callback is not None):
            return None
        point = proposal.evaluate()
        is_finite = np.isfinite(point.tokens).all()
        # A method that goes on from its proposal goes on with a copy.
        frozen(point.tokens)
        if is_finite and not point.model.contains(point.tokens):
            point = point.model.evaluate(point.model.boxed(point.tokens))
        if not (is_finite and point.is_stable):
            self.backend_status = proposal.backend_status
            return Ended.DIVERGED if is_finite else Ended.NUMERICAL_ERROR
        found = _certified(self.instance, point, proposal.multipliers, limits.deadline)
        row = Iterate(self.iterations, found.objective, found.gap, found.relative_gap, elapsed)
        self.history.append(row)
        if self.highest is None or found.objective > self.highest.objective:
            self.highest = found
        if self.best is None or found.gap < self.best.gap:
            self.best, self.backend_status = found, proposal.backend_status
        self.backend_status = self.backend_status or proposal.backend_status
        is_stopped = limits.callback is not None and limits.callback(
            row._replace(tokens=found.tokens)
        )
        held_to = _allowed(self.best.evaluation, limits.tolerance)
        if may_end and self.best.relative_gap <= held_to:
            return Ended.CONVERGED
        if is_stopped:
            return Ended.STOPPED
        if is_last:
            return Ended.ITERATION_LIMIT if has_all else Ended.TIME_LIMIT
        return None

    def proven(self, ended: Ended) -> Certificate:
        """The proof of the best proposal, or of the least tokens where nothing is proven of any."""
        instance, deadline, best = self.instance, self.limits.deadline, self.best
        if best is not None and instance.model.couplings and ended is not Ended.CONVERGED:
            # Other multipliers than the method's may prove more, and of another of its points.
            points = [best.evaluation]
            if self.highest is not None and self.highest is not best:
                points.append(self.highest.evaluation)
            again = [_certified(instance, point, None, deadline) for point in points]
            best = min(best, *again, key=lambda proof: proof.gap)
        if best is None or best.gap == np.inf:
            return _certified(instance, instance.model.lowest, None, deadline)
        return best


def _certified(
    instance: Instance, point: Evaluation, multipliers: FloatArray | None, deadline: Deadline
) -> Certificate:
    """The proof of a point where the constraints hold, by given multipliers or the best ones."""
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
