"""What is known of the conic solvers: their options, and which attempts to make with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cvxpy.constraints import SOC, ExpCone
from cvxpy.reductions.solvers.defines import INSTALLED_CONIC_SOLVERS, SOLVER_MAP_CONIC

from cvxqueue.errors import InvalidInputError, MissingDependencyError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.suggest import nearest

__all__ = ["Answer", "BackEnd", "Rung", "checked_options", "find_back_end"]


class Rung(NamedTuple):
    """One attempt."""

    options: dict[str, Any]
    """For the solver."""
    scaling: float = 1.0
    """Unit of the objective, relative to the natural one."""
    is_bounded: bool = True
    """Whether the box is cut to the order bracket, which may be a point without an interior."""


class Answer(NamedTuple):
    """What a solver says."""

    tokens: FloatArray | None
    """shape (N,); ``None`` if it has no point."""
    words: str
    iterations: int
    compilation_time: float = 0.0
    """Seconds that a compiler took before the solver."""


@dataclass(frozen=True)
class BackEnd:
    """What is known of a conic solver.

    Parameters
    ----------
    ladder : tuple of Rung
        Attempts to make in turn, with problems that cvxpy compiles.
    direct_ladder : tuple of Rung
        Attempts to make with cone data; empty where the solver is reached by cvxpy only.
    time_limit, max_iterations : str or None
        Names of the options that limit it.
    options : frozenset of str or None
        Names of all its options; ``None`` where the solver itself must refuse unknown ones.
    """

    ladder: tuple[Rung, ...] = (Rung({}),)
    direct_ladder: tuple[Rung, ...] = ()
    time_limit: str | None = None
    max_iterations: str | None = None
    options: frozenset[str] | None = None


def _clarabel() -> BackEnd:
    import clarabel

    settings = (name for name in dir(clarabel.DefaultSettings()) if not name.startswith("_"))
    return BackEnd(
        ladder=_compiled_ladder(),
        direct_ladder=_direct_ladder(),
        time_limit="time_limit",
        max_iterations="max_iter",
        # The last is of the adapter in cvxpy; cone data is solved as if it were set.
        options=frozenset(settings) - {"default", "verbose"} | {"accept_unknown"},
    )


def _compiled_ladder() -> tuple[Rung, ...]:
    # One instance in a hundred stalls short of the tolerance, or ends at a useless point. What then
    # helps is nearly always another unit of the objective, or less regularization.
    return tuple(
        Rung(
            {
                **_held_to(tolerance),
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
    )


def _direct_ladder() -> tuple[Rung, ...]:
    # The first certified all of 48 instances with 100 to 100 000 types, and 497 of 500 small ones.
    return tuple(
        Rung(
            {
                **_held_to(1e-12),
                "static_regularization_constant": regularization,
                # It would undo the units that the cone data is written in, by up to 1e4.
                "equilibrate_enable": False,
                # What it has not reached by then, it does not reach.
                "max_iter": 100,
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


def _held_to(tolerance: float) -> dict[str, Any]:
    return dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)


def _scs() -> BackEnd:
    return BackEnd(
        ladder=(Rung({"eps_abs": 1e-10, "eps_rel": 1e-10}),),
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


def find_back_end(solver: str) -> BackEnd:
    """Return what is known of a solver.

    Raises
    ------
    InvalidInputError
        If there is none of that name, or it lacks a cone.
    MissingDependencyError
        If it is not installed.
    """
    if str(solver) not in SOLVER_MAP_CONIC:
        raise InvalidInputError(
            f"unknown conic solver {shown(solver)}: {nearest(solver, SOLVER_MAP_CONIC)}"
        )
    if solver not in INSTALLED_CONIC_SOLVERS:
        raise MissingDependencyError(
            f"conic solver {shown(solver)} is not installed; installed: "
            f"{', '.join(name for name in INSTALLED_CONIC_SOLVERS if _has_cones(name))}"
        )
    if not _has_cones(solver):
        raise InvalidInputError(
            f"solver {shown(solver)} does not know exponential and second-order cones; those that "
            f"do: {', '.join(name for name in INSTALLED_CONIC_SOLVERS if _has_cones(name))}"
        )
    return _BACK_ENDS.get(solver, BackEnd)()


def _has_cones(solver: str) -> bool:
    return {SOC, ExpCone} <= set(SOLVER_MAP_CONIC[solver].SUPPORTED_CONSTRAINTS)


def checked_options(
    solver: str, back_end: BackEnd, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the options as a dictionary.

    Raises
    ------
    InvalidInputError
        If one is unknown, or Clarabel does not take its value.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInputError(
            f"solver_options must be a mapping of option names to values, got {shown(given)}"
        )
    options = dict(given or {})
    for option in options:
        if back_end.options is not None and option not in back_end.options:
            raise InvalidInputError(
                f"{solver} has no option {shown(option)}: {nearest(option, back_end.options)}"
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
                f"CLARABEL takes no {option} = {shown(value)}; its default is "
                f"{shown(getattr(settings, option))}"
            ) from None
