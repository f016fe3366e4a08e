"""One call for the integer methods."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from cvxqueue.certificates import certified_objective
from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.branch_and_bound import best_choice
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.partition import first_ceiling, upper_gain
from cvxqueue.integer.rounding import require_stable, rounded, uncoupled_domains
from cvxqueue.integer.solution import IntegerSolution, proven_answer
from cvxqueue.model import Instance, require_feasible
from cvxqueue.model.domains import Domain, Domains
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.solution import ConvergenceError, Ended, Solution, allowed_tolerance
from cvxqueue.solvers.solve import deadline_after, solve
from cvxqueue.suggest import nearest

_METHODS = ("exact", "neighbors", "descent", "nearest", "floor")
# Relative to `scale`.
_GAP_TOLERANCE = 1e-9
# What is proven of a heuristic may be wider than what could be by this share.
_EFFORT = 0.25
# The part of the time that is kept for that.
_BOUND_SHARE = 0.25


@quiet
def solve_integer(
    instance: Instance,
    method: str = "exact",
    *,
    tolerance: float | None = None,
    time_limit: float = math.inf,
    domains: Domains | Domain | Sequence[Domain] | None = None,
) -> IntegerSolution:
    """Find the best allocation in whole tokens, or within other domains, and prove it.

    Every answer is stable, in the box and in its domains, and states its loss against the
    continuous optimum, with a proven bound, and an upper bound over all allocations in the domains.

    Parameters
    ----------
    instance : Instance
        What to solve.
    method : {"exact", "neighbors", "descent", "nearest", "floor"}, default "exact"
        ``"exact"`` finds the best allocation of all. The others round the continuous optimum:
        ``"nearest"`` and ``"floor"`` type by type to the nearest and to the next lower choice;
        where the nearest is unstable it is replaced by the floor, which never is. ``"descent"``
        goes on from there, by one choice up or down for as many types as gain most, and
        ``"neighbors"`` takes the best of all combinations of next lower and next higher choices.
    tolerance : float, optional
        Certified gap to reach, relative to α Σ π w p + T, at most 0.01; by default 1e-9. The answer
        is held to what rounding can do to the objective where that is more. Only ``"exact"``
        searches until it is reached, and ``"neighbors"`` among its combinations.
    time_limit : float, default infinity
        Seconds after which the search ends with the best so far and its gap. Whatever the limit,
        the continuous optimum is found and rounded; beyond it, one pass over the types may end.
    domains : Domains, Domain or sequence of Domain, optional
        What each type may choose from, within its box: one for all types, or one for each. By
        default those of the instance, and all whole numbers where it has none.

    Returns
    -------
    IntegerSolution

    Raises
    ------
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If a type has no choice in its box, or no allocation in the domains is stable.
    ConvergenceError
        If nothing can be proven of the continuous optimum.
    InvalidInputError
        If the method, a domain or a limit is not allowed, a type may have more than 2^53 tokens,
        types have levels and the method rounds, or the instance has constraints on all types
        together.

    Notes
    -----
    Every proof is a bound of this package, computed with allowances for rounding; no solver's word
    is taken. ``"neighbors"`` has one about all allocations, as every method, and one about the
    other combinations, `neighbors_gap`.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> cq.solve_integer(instance).tokens.tolist()
    [0, 2000]
    """
    allowed = uncoupled_domains("solve_integer", instance, domains)
    if method not in _METHODS:
        raise InvalidInputError(
            f"unknown integer method {shown(method)}: {nearest(method, _METHODS)}"
        )
    tolerance = _GAP_TOLERANCE if tolerance is None else allowed_tolerance(tolerance)
    deadline = deadline_after(time_limit)
    if not allowed.has_levels:
        require_feasible(instance)
    return solve_within(instance, method, allowed, tolerance, deadline)


def solve_within(
    instance: Instance, method: str, domains: Domains, tolerance: float, deadline: Deadline
) -> IntegerSolution:
    """Solve what has been checked, as `solve_integer` does, until a moment on any clock."""
    started = deadline.clock()
    choices = Choices(instance, domains)
    require_stable(choices)
    if method not in ("exact", "descent"):
        choices.refuse_levels()
    continuous = None if domains.has_levels else _relaxed(instance)
    inner, start = None, choices.lowest
    if continuous is not None:
        inner = _between(choices, continuous)
        roundings = [rounded(choices, inner.tokens, down=down)[0] for down in (False, True)]
        start = max(roundings, key=lambda point: float(point.objective)).tokens
    neighbors_gap, is_done, is_repaired = None, True, False
    if method == "exact":
        proof = best_choice(choices, start, inner, tolerance, deadline)
        point, gap, is_done = proof.point, proof.gap, proof.is_exact
    else:
        # The last part of the time is for the bound.
        search = Deadline.after((1.0 - _BOUND_SHARE) * deadline.remaining, deadline.clock)
        if inner is None or method == "descent":
            point = choices.evaluate(local_search(choices, start, search))
            is_done = not search.is_over
        elif method == "neighbors":
            # An integer program of one binary number for each type.
            combinations = choices.only(*choices.around(inner.tokens))
            proof = best_choice(combinations, start, inner, tolerance, search)
            point, neighbors_gap, is_done = proof.point, proof.gap, proof.is_exact
        else:
            point, is_repaired = rounded(choices, inner.tokens, down=method == "floor")
        ceiling = first_ceiling(choices, point, inner)
        gap = upper_gain(choices, point, ceiling, _EFFORT, deadline)
    unfinished = Ended.TIME_LIMIT if deadline.is_over else Ended.STALLED
    return proven_answer(
        point,
        gap,
        instance=instance,
        domains=domains,
        continuous=continuous,
        method=method,
        ended=Ended.CONVERGED if is_done else unfinished,
        tolerance=tolerance,
        neighbors_gap=neighbors_gap,
        is_repaired=is_repaired,
        solve_time=deadline.clock() - started,
    )


def plain_rounding(solution: IntegerSolution) -> IntegerSolution | None:
    """Return what rounding to the nearest gives, by the bound of an answer that is known already.

    ``None`` where a type has levels, which cannot be rounded to.
    """
    started = time.perf_counter()
    if solution.continuous is None:
        return None
    choices = Choices(solution.instance, solution.domains)
    tokens = _between(choices, solution.continuous).tokens
    point, is_repaired = rounded(choices, tokens, down=False)
    changed = {"method": "nearest", "ended": Ended.CONVERGED, "neighbors_gap": None}
    changed |= {"is_repaired": is_repaired, "solve_time": time.perf_counter() - started}
    gap = solution.upper_bound - float(certified_objective(point))
    return proven_answer(point, gap, **(solution._fields() | changed))


def _relaxed(instance: Instance) -> Solution:
    """The continuous answer, and be it proven to less than its tolerance: no bound needs that."""
    found = solve(instance, on_failure="return")
    if not math.isfinite(found.gap):
        raise ConvergenceError(found)
    return found


def _between(choices: Choices, continuous: Solution) -> Solution:
    """The continuous answer between the least and the largest choices."""
    instance, lower, upper = choices.instance, choices.lowest, choices.highest
    if np.array_equal(lower, instance.lower) and np.array_equal(upper, instance.upper):
        return continuous
    return _relaxed(instance.replace(min_tokens=lower, max_tokens=upper))
