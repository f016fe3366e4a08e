"""The disciplined convex program, handed to a conic solver: the reference.

The form is compiled by cvxpy for whatever solver. What the solver says of its answer is kept and
not believed: every answer becomes a proposal, and the driver's certificate grades it. An interior
point method held to a tolerance that it cannot reach stops with a good point or a useless one, and
which of the two is not known beforehand: hence a ladder of scalings and regularizations, on which
the driver keeps the best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from cvxqueue.certificates import Bracket, order_bracket
from cvxqueue.dcp.scaled import scaled
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality import estimated_multipliers, restored
from cvxqueue.errors import BackendError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.couplings import lagrangian
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import require_that
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.back_ends import Rung, alone, checked_options, find_back_end, solve_form
from cvxqueue.solvers.driver import Limits, Proposal, Proposals
from cvxqueue.solvers.newton import newton

# From a point that is good to 1e-4, newton reaches rounding in two or three passes.
_POLISH_PASSES = 5
# Relative distance from a corner that an interior point method leaves.
_NEXT_TO = 1e-4


def conic(
    instance: Instance,
    limits: Limits | None = None,
    solver: str = "CLARABEL",
    solver_options: Mapping[str, Any] | None = None,
    *,
    polish: bool = False,
) -> Proposals:
    """Propose what a conic solver answers to the disciplined form.

    The solver is any that cvxpy finds and that knows second-order and exponential cones. Its
    options, in its own words, take the place of those of the same name on every rung of the ladder;
    the limits are handed on where it has options for them. With `polish` a few passes of `newton`
    follow, named in ``backend_status``. While iterating it is a `BackendError` if the solver gave
    no usable point at all.
    """
    deadline = NEVER if limits is None else limits.deadline
    require_that(isinstance(polish, bool), "polish", polish, "True or False")
    # A solver's word for an infeasible program does not say what would do.
    require_attainable(instance.model, deadline)
    back_end = find_back_end(solver)
    options = checked_options(solver, back_end, solver_options)
    rungs = [rung._replace(options=rung.options | options) for rung in back_end.ladder]
    name = back_end.max_iterations
    if limits is not None and name is not None and name not in options:
        for rung in rungs:
            most = rung.options.get(name, limits.max_iterations)
            rung.options[name] = min(most, limits.max_iterations)
    answers = _climb(instance, solver, rungs, back_end.time_limit, deadline)
    for answer in answers:
        if polish:
            # Where the passes do not help enough, the answer may do as it is.
            yield _polished(instance, answer)
            answer = answer._replace(iterations=0, setup_time=0.0)
        yield answer


def _climb(
    instance: Instance, solver: str, rungs: list[Rung], time_option: str | None, deadline: Deadline
) -> Iterator[Proposal]:
    """Make one attempt after the other, and propose every usable point."""
    bracket = order_bracket(instance)
    bounded = instance.replace(min_tokens=bracket.lower, max_tokens=bracket.upper)
    is_fruitless, words, cause = True, [], None
    for options, scaling in rungs:
        started = deadline.clock()
        form = scaled(bounded, scaling)
        setup_time = deadline.clock() - started
        with alone(deadline) as has_turn:
            remaining = deadline.remaining
            if not has_turn or remaining <= 0.0:
                break
            if time_option is not None and remaining < np.inf:
                options[time_option] = min(options.get(time_option, remaining), remaining)
            outcome = solve_form(form, solver, options)
        words.append(outcome.words)
        cause = outcome.error or cause
        # Where the bracket is as narrow as its rounding, this alone decides, whatever the solver.
        point = _usable_point(instance, outcome.tokens, bracket)
        if point is None:
            continue
        is_fruitless = False
        found = Proposal(
            point,
            iterations=outcome.iterations,
            setup_time=setup_time + outcome.compilation_time,
            backend_status="; then ".join(words),
            multipliers=outcome.multipliers,
        )
        yield found
        again = found._replace(iterations=0, setup_time=0.0)
        if not instance.accuracy.is_smooth:
            again = again._replace(
                point=_at_corners(point, found.multipliers),
                backend_status=f"{found.backend_status}; corners made exact",
            )
            yield again
        if found.multipliers is not None:
            # Where the dual values do not prove enough, estimates from the point may.
            yield again._replace(multipliers=None)
    if is_fruitless:
        tried = "; ".join(words) or "out of time"
        raise BackendError(f"{solver} gave no stable and finite point: {tried}") from cause


def _usable_point(
    instance: Instance, tokens: FloatArray | None, bracket: Bracket
) -> Evaluation | None:
    """The point in the bracket, or ``None`` if it is not finite or not stable."""
    if tokens is None or not np.all(np.isfinite(tokens)):
        return None
    inside = np.clip(np.asarray(tokens, dtype=np.float64), *bracket)
    point = instance.evaluate(inside)
    return point if point.is_stable else None


def _at_corners(point: Evaluation, multipliers: FloatArray | None) -> Evaluation:
    """The point, with types that are next to a corner of their curve on the corner itself.

    Next to it they lose in proportion to their distance, and an interior point method stops there.
    """
    response = point.response
    if point.model.couplings:
        allowed = restored(point)
        if allowed is None:
            return point
        if multipliers is None:
            multipliers = estimated_multipliers(allowed)
        response = lagrangian(allowed, multipliers).response
    is_next = np.abs(response - point.tokens) <= _NEXT_TO * np.maximum(response, 1.0)
    moved = point.model.evaluate(np.where(is_next, response, point.tokens))
    return moved if moved.is_stable else point


def _polished(instance: Instance, answer: Proposal) -> Proposal:
    """The answer after a few passes of newton, which its status names."""
    point, passes = answer.evaluate(), 0
    for proposal in islice(newton(instance, point.tokens), _POLISH_PASSES):
        point, passes = proposal.evaluate(), passes + 1
        if proposal.is_candidate:
            break
    words = f"{answer.backend_status}; polished, {passes} passes of newton"
    iterations = answer.iterations + passes
    return answer._replace(point=point, iterations=iterations, backend_status=words)
