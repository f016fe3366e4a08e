"""What is known of the conic solvers: their options, and what came of letting one solve a form."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from cvxpy.constraints import SOC, ExpCone
from cvxpy.reductions.solvers.defines import INSTALLED_CONIC_SOLVERS, SOLVER_MAP_CONIC

from cvxqueue.dcp import Formulation
from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError, MissingDependencyError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import require_that
from cvxqueue.suggest import nearest

# The filters of warnings belong to the process: two threads would leave each other's behind.
_WARNINGS = threading.Lock()
# Where the bindings to Rust have their panics, which are no subclass of Exception.
_PANICS = "pyo3_runtime"


class Rung(NamedTuple):
    """One attempt."""

    options: dict[str, Any]
    """For the solver."""
    scaling: float = 1.0
    """Unit of the objective, relative to that of the form."""


class Outcome(NamedTuple):
    """What came of letting a solver solve a form."""

    tokens: FloatArray | None
    """shape (N,); ``None`` if it has no point."""
    multipliers: FloatArray | None
    """Of the constraints of the instance, shape (M,); ``None`` if it has no dual values of them."""
    words: str
    iterations: int = 0
    compilation_time: float = 0.0
    """Seconds that cvxpy took before the solver."""
    error: BaseException | None = None
    """What was raised."""


@dataclass(frozen=True)
class BackEnd:
    """What is known of a conic solver."""

    ladder: tuple[Rung, ...] = (Rung({}),)
    """Attempts to make in turn."""
    time_limit: str | None = None
    """Name of the option that limits it."""
    max_iterations: str | None = None
    """The same of its iterations."""
    options: frozenset[str] | None = None
    """Names of all its options; ``None`` where the solver itself must refuse unknown ones."""


def _clarabel() -> BackEnd:
    import clarabel

    settings = (name for name in dir(clarabel.DefaultSettings()) if not name.startswith("_"))
    return BackEnd(
        ladder=_clarabel_ladder(),
        time_limit="time_limit",
        max_iterations="max_iter",
        # The last is of the adapter in cvxpy.
        options=frozenset(settings) - {"default", "verbose"} | {"accept_unknown"},
    )


def _clarabel_ladder() -> tuple[Rung, ...]:
    # The first certified 1706 of 1725 instances of all classes with up to 50 types, and twelve of
    # twelve with 100 000.
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
    return tuple(
        Rung(
            {
                **tolerances,
                "static_regularization_constant": regularization,
                # It would undo the units that the form is written in, by up to 1e4.
                "equilibrate_enable": False,
                # What it has not reached by then, it does not reach.
                "max_iter": 100,
                # Where it runs out of progress it has a point all the same.
                "accept_unknown": True,
            },
            scaling,
        )
        for scaling, regularization in (
            (1.0, 1e-11),
            (1.0, 1e-8),
            (0.1, 1e-11),
            (10.0, 1e-8),
            (0.01, 1e-10),
            (100.0, 1e-8),
        )
    )


_SCS_OPTIONS = """
    acceleration_interval acceleration_lookback adaptive_scale alpha eps_abs eps_infeas eps_rel
    max_iters normalize rho_x scale time_limit_secs use_indirect
"""


def _scs() -> BackEnd:
    return BackEnd(
        ladder=(Rung({"eps_abs": 1e-10, "eps_rel": 1e-10}),),
        time_limit="time_limit_secs",
        max_iterations="max_iters",
        options=frozenset(_SCS_OPTIONS.split()),
    )


_BACK_ENDS = {"CLARABEL": _clarabel, "SCS": _scs}


def find_back_end(solver: str) -> BackEnd:
    """Return what is known of a solver that is installed and has the cones."""
    if str(solver) not in SOLVER_MAP_CONIC:
        raise InvalidInputError(
            f"unknown conic solver {shown(solver)}: {nearest(solver, SOLVER_MAP_CONIC)}"
        )
    able = ", ".join(able_solvers())
    if solver not in INSTALLED_CONIC_SOLVERS:
        raise MissingDependencyError(
            f"conic solver {shown(solver)} is not installed; installed: {able}"
        )
    if not _has_cones(solver):
        raise InvalidInputError(
            f"solver {shown(solver)} does not know exponential and second-order cones; those that "
            f"do: {able}"
        )
    return _BACK_ENDS.get(solver, BackEnd)()


def able_solvers() -> list[str]:
    """Return the names of the installed solvers that know the cones."""
    return list(filter(_has_cones, INSTALLED_CONIC_SOLVERS))


def _has_cones(solver: str) -> bool:
    return {SOC, ExpCone} <= set(SOLVER_MAP_CONIC[solver].SUPPORTED_CONSTRAINTS)


def checked_options(
    solver: str, back_end: BackEnd, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the options as a dictionary, where the solver knows them."""
    is_mapping = isinstance(given, Mapping | None)
    require_that(is_mapping, "solver_options", given, "a mapping of option names to values")
    options = dict(given or {})
    for option in options:
        if back_end.options is not None and option not in back_end.options:
            raise InvalidInputError(
                f"{solver} has no option {shown(option)}: {nearest(option, back_end.options)}"
            )
    if solver == "CLARABEL":
        _check_clarabel_values(options)
    # The one value that is compared here, with what remains of the time.
    limit = back_end.time_limit
    if limit is not None and limit in options:
        require_that(isinstance(options[limit], Real), limit, options[limit], "a number")
    return options


def _check_clarabel_values(options: Mapping[str, Any]) -> None:
    import clarabel

    settings = clarabel.DefaultSettings()
    for option, value in options.items():
        if not hasattr(settings, option):
            # Of the adapter in cvxpy.
            require_that(isinstance(value, bool), option, value, "True or False")
            continue
        try:
            setattr(settings, option, value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(
                f"CLARABEL takes no {option} = {shown(value)}; its default is "
                f"{shown(getattr(settings, option))}"
            ) from None


@contextmanager
def alone(deadline: Deadline) -> Iterator[bool]:
    """Wait until no other thread lets a solver solve; yield whether that came in time."""
    has_turn = _WARNINGS.acquire(timeout=min(max(deadline.remaining, 0.0), threading.TIMEOUT_MAX))
    try:
        yield has_turn
    finally:
        if has_turn:
            _WARNINGS.release()


def solve_form(form: Formulation, solver: str, options: Mapping[str, Any]) -> Outcome:
    """Let cvxpy hand a form to a solver, `alone`, and keep the words of both and any error."""
    problem = form.problem
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # A warm start would reuse the solver object, and with it options of the solve before.
            problem.solve(solver=solver, warm_start=False, **options)
        # A missing licence, a solver that breaks down or panics: not for us to foresee.
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__module__ != _PANICS:
                raise
            return Outcome(None, None, f"{type(error).__name__}: {error}", error=error)
    notes = "; ".join(sorted({str(warning.message).split("\n")[0] for warning in caught}))
    multipliers = form.multipliers
    return Outcome(
        tokens=form.tokens.value,
        multipliers=multipliers if multipliers.size and np.isfinite(multipliers).all() else None,
        words=f"{solver}: {problem.status}" + (f" ({notes})" if notes else ""),
        iterations=int(problem.solver_stats.num_iters or 0),
        compilation_time=float(problem.compilation_time or 0.0),
    )
