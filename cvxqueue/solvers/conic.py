"""The disciplined convex program, handed to a conic solver: the reference.

What the solver says of its answer is kept and not believed. Every answer becomes a proposal, and
the driver's certificate grades it. An interior point method held to a tolerance that it cannot
reach stops with a good point or a useless one, and which of the two is not known beforehand: hence
a ladder of scalings and tolerances, on which the driver keeps the best.

Clarabel gets the cone data as it is: at a hundred types cvxpy's compiler would take as long as
Clarabel itself, and at ten thousand the cones and units that it chooses stop short. Other solvers,
and instances of classes without cone data, go through cvxpy.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

from cvxqueue.certificates import (
    Bracket,
    estimated_multipliers,
    lagrangian,
    order_bracket,
    restored,
)
from cvxqueue.dcp import Formulation
from cvxqueue.dcp.cones import ConeProgram, cone_program, cone_unit, has_cone_program
from cvxqueue.dcp.disciplined import disciplined, natural_scale
from cvxqueue.dcp.service_levels import limited
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.errors import BackendError, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Evaluation, Instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.back_ends import Answer, Rung, checked_options, find_back_end
from cvxqueue.solvers.direct import solve_cones
from cvxqueue.solvers.driver import Limits, Proposal, Proposals
from cvxqueue.solvers.newton import newton

__all__ = ["conic"]

# What a back end may raise when an instance is too much for it; anything else is a defect.
_FAILURES = (
    cp.SolverError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
# From a point that is good to 1e-4, newton reaches rounding in two or three passes.
_POLISH_PASSES = 5
# Relative distance from a corner that an interior point method leaves.
_NEXT_TO = 1e-4
# The filters of warnings belong to the process: two threads would leave each other's behind.
_WARNINGS = threading.Lock()


def conic(
    instance: Instance,
    limits: Limits | None = None,
    solver: str = "CLARABEL",
    solver_options: Mapping[str, Any] | None = None,
    *,
    polish: bool = False,
) -> Proposals:
    """Propose what a conic solver answers to the disciplined form.

    Parameters
    ----------
    instance : Instance
        Feasible.
    limits : Limits, optional
        The driver's, handed on to the solver where it has options for them.
    solver : str, default "CLARABEL"
        Any solver that cvxpy finds and that knows second-order and exponential cones.
    solver_options : mapping, optional
        Options for the solver, in its own words. They take the place of those of the same name on
        every rung of the ladder.
    polish : bool, default False
        Whether a few passes of `newton` follow, named in ``backend_status``.

    Raises
    ------
    InfeasibleError
        If the other constraints leave too little for a floor on the accuracy.
    InvalidInputError
        If the solver or an option is unknown, or the solver lacks a cone.
    MissingDependencyError
        If the solver is not installed.
    BackendError
        While iterating, if the solver gave no usable point at all.
    """
    deadline = NEVER if limits is None else limits.deadline
    if not isinstance(polish, bool):
        raise InvalidInputError(f"polish must be True or False, got {shown(polish)}")
    # A solver's word for an infeasible program does not say what would do.
    require_attainable(instance.model, deadline)
    back_end = find_back_end(solver)
    options = checked_options(solver, back_end, solver_options)
    is_direct = bool(back_end.direct_ladder) and has_cone_program(instance)
    ladder = back_end.direct_ladder if is_direct else back_end.ladder
    rungs = [rung._replace(options=rung.options | options) for rung in ladder]
    name = back_end.max_iterations
    if limits is not None and name is not None and name not in options:
        for rung in rungs:
            most = rung.options.get(name, limits.max_iterations)
            rung.options[name] = min(most, limits.max_iterations)
    path = _DIRECT if is_direct else _COMPILED
    answers = _climb(instance, solver, path, rungs, back_end.time_limit, deadline)
    yield from _each_polished(instance, answers) if polish else answers


def _written_form(instance: Instance, scaling: float) -> Formulation:
    return limited(disciplined(instance, scaling * natural_scale(instance)))


def _solve_form(form: Formulation, solver: str, options: Mapping[str, Any]) -> Answer:
    """Let cvxpy compile a form for any solver, and keep the words of both."""
    problem = form.problem
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A warm start would reuse the solver object, and with it options of the solve before.
        problem.solve(solver=solver, warm_start=False, **options)
    notes = "; ".join(sorted({str(warning.message).split("\n")[0] for warning in caught}))
    return Answer(
        tokens=form.tokens.value,
        words=f"{solver}: {problem.status}" + (f" ({notes})" if notes else ""),
        iterations=int(problem.solver_stats.num_iters or 0),
        compilation_time=float(problem.compilation_time or 0.0),
    )


def _written_cones(instance: Instance, scaling: float) -> ConeProgram:
    return cone_program(instance, scaling * cone_unit(instance))


class _Path(NamedTuple):
    """How an instance reaches the solver."""

    write: Callable[[Instance, float], Any]
    """From the instance and a unit of its objective, relative to the natural one."""
    solve: Callable[[Any, str, Mapping[str, Any]], Answer]
    """What was written, by the solver of that name with these options."""


_COMPILED = _Path(_written_form, _solve_form)
_DIRECT = _Path(_written_cones, solve_cones)


def _climb(
    instance: Instance,
    solver: str,
    path: _Path,
    rungs: list[Rung],
    time_option: str | None,
    deadline: Deadline,
) -> Iterator[Proposal]:
    """Make one attempt after the other, and propose every usable point."""
    bracket = order_bracket(instance)
    bounded = instance.replace(min_tokens=bracket.lower, max_tokens=bracket.upper)
    is_fruitless, words, cause = True, [], None
    for options, scaling, is_bounded in rungs:
        started = deadline.clock()
        program = path.write(bounded if is_bounded else instance, scaling)
        setup_time = deadline.clock() - started
        remaining = deadline.remaining
        if remaining <= 0.0:
            break
        if time_option is not None and remaining < np.inf:
            options[time_option] = min(options.get(time_option, remaining), remaining)
        try:
            answer = path.solve(program, solver, options)
        except _FAILURES as error:
            cause = error
            words.append(f"{type(error).__name__}: {error}")
            continue
        # Where the bracket is as narrow as its rounding, this alone decides, whatever the solver.
        point = _usable_point(instance, answer.tokens, bracket)
        words.append(answer.words)
        if point is None:
            continue
        is_fruitless = False
        yield Proposal(
            point,
            iterations=answer.iterations,
            setup_time=setup_time + answer.compilation_time,
            backend_status="; then ".join(words),
        )
        if not instance.accuracy.is_smooth:
            yield Proposal(
                _at_corners(point),
                iterations=0,
                backend_status="; then ".join(words) + "; corners made exact",
            )
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


def _at_corners(point: Evaluation) -> Evaluation:
    """The point, with types that are next to a corner of their curve on the corner itself.

    Next to it they lose in proportion to their distance, and an interior point method stops there.
    """
    response = point.response
    if point.model.couplings:
        allowed = restored(point)
        if allowed is None:
            return point
        response = lagrangian(allowed, estimated_multipliers(allowed)).response
    is_next = np.abs(response - point.tokens) <= _NEXT_TO * np.maximum(response, 1.0)
    moved = point.model.evaluate(np.where(is_next, response, point.tokens))
    return moved if moved.is_stable else point


def _each_polished(instance: Instance, answers: Iterable[Proposal]) -> Iterator[Proposal]:
    """Each answer after a few passes of newton, and as it was where these did not help enough."""
    for answer in answers:
        yield _polished(instance, answer)
        yield answer._replace(iterations=0, setup_time=0.0)


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
