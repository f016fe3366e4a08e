"""The disciplined convex program, handed to a conic solver: the reference.

What the solver says of its answer is kept and not believed. Every answer becomes a proposal, and
the driver's certificate grades it. An interior point method held to a tolerance that it cannot
reach stops with a good point or a useless one, and which of the two is not known beforehand: hence
a ladder of scalings and tolerances, on which the driver keeps the best.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from cvxpy.constraints import SOC, ExpCone
from cvxpy.reductions.solvers.defines import INSTALLED_CONIC_SOLVERS, SOLVER_MAP_CONIC

from cvxqueue.certificates import Bracket, order_bracket
from cvxqueue.dcp import Formulation
from cvxqueue.dcp.disciplined import disciplined, natural_scale
from cvxqueue.errors import BackendError, InvalidInputError, MissingDependencyError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import FloatArray
from cvxqueue.solvers.driver import Limits, Proposal, Proposals
from cvxqueue.solvers.newton import newton
from cvxqueue.suggest import nearest

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
# Newton's steps from a point that is good to 1e-4 reach rounding in two or three.
_POLISH_STEPS = 5


class _Rung(NamedTuple):
    """One attempt."""

    options: dict[str, Any]
    """For the solver."""
    scaling: float = 1.0
    """Unit of the objective, relative to the natural one."""
    is_bounded: bool = True
    """Whether the box is cut to the order bracket, which may be a point without an interior."""


# The filters of warnings belong to the process: two threads would leave each other's behind.
_WARNINGS = threading.Lock()


@dataclass(frozen=True)
class _BackEnd:
    """What is known of a conic solver's options.

    Parameters
    ----------
    ladder : tuple of _Rung
        Attempts to make in turn.
    time_limit, max_iterations : str or None
        Names of the options that limit it.
    options : frozenset of str or None
        Names of all its options; ``None`` where the solver itself must refuse unknown ones.
    """

    ladder: tuple[_Rung, ...] = (_Rung({}),)
    time_limit: str | None = None
    max_iterations: str | None = None
    options: frozenset[str] | None = None


def _clarabel() -> _BackEnd:
    import clarabel

    settings = (name for name in dir(clarabel.DefaultSettings()) if not name.startswith("_"))
    return _BackEnd(
        # One instance in a hundred stalls short of the tolerance, or ends at a useless point. What
        # then helps is nearly always another unit of the objective, or less regularization.
        ladder=tuple(
            _Rung(
                {
                    "tol_gap_abs": tolerance,
                    "tol_gap_rel": tolerance,
                    "tol_feas": tolerance,
                    "static_regularization_constant": regularization,
                    # Where it runs out of progress it has a point all the same.
                    "accept_unknown": True,
                },
                scaling,
                is_bounded,
            )
            for tolerance, scaling, regularization, is_bounded in (
                (1e-12, 1.0, 1e-8, True),
                (1e-12, 0.1, 1e-8, True),
                (1e-12, 10.0, 1e-8, True),
                (1e-12, 0.01, 1e-8, True),
                (1e-12, 100.0, 1e-10, True),
                (1e-12, 1000.0, 1e-8, True),
                (1e-12, 1.0, 1e-8, False),
                (1e-9, 1.0, 1e-8, True),
            )
        ),
        time_limit="time_limit",
        max_iterations="max_iter",
        # The last is of the adapter in cvxpy.
        options=frozenset(settings) - {"default", "verbose"} | {"accept_unknown"},
    )


def _scs() -> _BackEnd:
    return _BackEnd(
        ladder=(_Rung({"eps_abs": 1e-10, "eps_rel": 1e-10}),),
        time_limit="time_limit_secs",
        max_iterations="max_iters",
        options=frozenset(
            {
                "acceleration_interval",
                "acceleration_lookback",
                "adaptive_scale",
                "alpha",
                "eps_abs",
                "eps_infeas",
                "eps_rel",
                "max_iters",
                "normalize",
                "rho_x",
                "scale",
                "time_limit_secs",
                "use_indirect",
            }
        ),
    )


_BACK_ENDS = {"CLARABEL": _clarabel, "SCS": _scs}


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
        Whether a few Newton steps follow, named in ``backend_status``.

    Raises
    ------
    InvalidInputError
        If the solver or an option is unknown, or the solver lacks a cone.
    MissingDependencyError
        If the solver is not installed.
    BackendError
        While iterating, if the solver gave no usable point at all.
    """
    if not isinstance(polish, bool):
        raise InvalidInputError(f"polish must be True or False, got {polish!r}")
    back_end = _find_back_end(solver)
    options = _checked_options(solver, back_end, solver_options)
    rungs = [rung._replace(options=rung.options | options) for rung in back_end.ladder]
    name = back_end.max_iterations
    if limits is not None and name is not None:
        for rung in rungs:
            rung.options.setdefault(name, limits.max_iterations)
    deadline = math.inf if limits is None else time.perf_counter() + limits.time_limit
    answers = _climb(instance, solver, rungs, back_end.time_limit, deadline)
    return (_polished(answer) for answer in answers) if polish else answers


def _checked_options(
    solver: str, back_end: _BackEnd, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInputError(
            f"solver_options must be a mapping of option names to values, got {given!r:.80}"
        )
    options = dict(given or {})
    for option in options:
        if back_end.options is not None and option not in back_end.options:
            raise InvalidInputError(
                f"{solver} has no option {option!r}: {nearest(str(option), back_end.options)}"
            )
    if solver == "CLARABEL":
        _check_clarabel_values(options)
    return options


def _check_clarabel_values(options: Mapping[str, Any]) -> None:
    import clarabel

    settings = clarabel.DefaultSettings()
    for option, value in options.items():
        if not hasattr(settings, option):
            continue
        try:
            setattr(settings, option, value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(
                f"CLARABEL takes no {option} = {value!r:.80}; its default is "
                f"{getattr(settings, option)!r:.80}"
            ) from None


def _find_back_end(solver: str) -> _BackEnd:
    if str(solver) not in SOLVER_MAP_CONIC:
        raise InvalidInputError(
            f"unknown conic solver {solver!r}: {nearest(str(solver), SOLVER_MAP_CONIC)}"
        )
    if solver not in INSTALLED_CONIC_SOLVERS:
        raise MissingDependencyError(
            f"conic solver {solver!r} is not installed; installed: "
            f"{', '.join(name for name in INSTALLED_CONIC_SOLVERS if _has_cones(name))}"
        )
    if not _has_cones(solver):
        raise InvalidInputError(
            f"solver {solver!r} does not know exponential and second-order cones; installed ones "
            f"that do: {', '.join(name for name in INSTALLED_CONIC_SOLVERS if _has_cones(name))}"
        )
    return _BACK_ENDS.get(solver, _BackEnd)()


def _has_cones(solver: str) -> bool:
    return {SOC, ExpCone} <= set(SOLVER_MAP_CONIC[solver].SUPPORTED_CONSTRAINTS)


def _climb(
    instance: Instance,
    solver: str,
    rungs: list[_Rung],
    time_option: str | None,
    deadline: float,
) -> Iterator[Proposal]:
    """Make one attempt after the other, and propose every usable point."""
    bracket = order_bracket(instance)
    bounded = instance.replace(min_tokens=bracket.lower, max_tokens=bracket.upper)
    is_fruitless, words, cause = True, [], None
    for options, scaling, is_bounded in rungs:
        started = time.perf_counter()
        boxed = bounded if is_bounded else instance
        form = disciplined(boxed, scaling * natural_scale(boxed))
        setup_time = time.perf_counter() - started
        remaining = deadline - time.perf_counter()
        if remaining <= 0:
            break
        if time_option is not None and remaining < math.inf:
            options[time_option] = min(options.get(time_option, remaining), remaining)
        try:
            answer = _run(form, solver, options)
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
    if is_fruitless:
        tried = "; ".join(words) or "out of time"
        raise BackendError(f"{solver} gave no stable and finite point: {tried}") from cause


class _Answer(NamedTuple):
    tokens: FloatArray | None
    words: str
    iterations: int
    compilation_time: float


def _run(form: Formulation, solver: str, options: Mapping[str, Any]) -> _Answer:
    """Let the solver solve, and keep its words; the one place where it is called."""
    problem = form.problem
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A warm start would reuse the solver object, and with it options of the solve before.
        problem.solve(solver=solver, warm_start=False, **options)
    notes = "; ".join(sorted({str(warning.message).split("\n")[0] for warning in caught}))
    stats = problem.solver_stats
    iterations = int(stats.num_iters or 0)
    return _Answer(
        tokens=form.tokens.value,
        words=f"{solver}: {problem.status}" + (f" ({notes})" if notes else ""),
        iterations=iterations,
        compilation_time=float(problem.compilation_time or 0.0),
    )


def _usable_point(
    instance: Instance, tokens: FloatArray | None, bracket: Bracket
) -> Evaluation | None:
    """The point in the bracket, or ``None`` if it is not finite or not stable."""
    if tokens is None or not np.all(np.isfinite(tokens)):
        return None
    inside = np.clip(np.asarray(tokens, dtype=np.float64), *bracket)
    point = instance.evaluate(inside)
    return point if point.is_stable else None


def _polished(answer: Proposal) -> Proposal:
    """The answer after a few Newton steps, which its status names."""
    point = answer.evaluate()
    steps = list(islice(newton(point.instance, point.tokens), _POLISH_STEPS + 1))
    words = f"{answer.backend_status}; polished, {len(steps) - 1} Newton steps"
    iterations = answer.iterations + len(steps) - 1
    return answer._replace(point=steps[-1].point, iterations=iterations, backend_status=words)
