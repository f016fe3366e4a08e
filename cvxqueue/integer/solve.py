"""One call for the integer methods."""

from __future__ import annotations

import math
import time

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.errors import InvalidInputError
from cvxqueue.integer.neighbors import best_combination
from cvxqueue.integer.rounding import Rounding, floor, nearest, whole_box
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import real_number
from cvxqueue.model.summation import accurate_sum
from cvxqueue.solvers import solve
from cvxqueue.suggest import nearest as nearest_name

__all__ = ["solve_integer"]

_ROUNDINGS = {"nearest": nearest, "floor": floor}
_METHODS = (*_ROUNDINGS, "neighbors")


def solve_integer(
    instance: Instance,
    method: str = "neighbors",
    *,
    tolerance: float = 1e-6,
    time_limit: float = 10.0,
) -> IntegerSolution:
    """Find a good allocation in whole tokens, and prove how good it is.

    Every answer is stable and in the box, and states its loss against the continuous optimum, with
    a proven bound, and an upper bound over all whole allocations.

    Parameters
    ----------
    instance : Instance
        What to solve.
    method : {"neighbors", "nearest", "floor"}, default "neighbors"
        ``"nearest"`` and ``"floor"`` round the continuous optimum over the whole box, from
        ⌈min_tokens⌉ to ⌊max_tokens⌋, type by type; where the nearest is unstable it is replaced by
        the floor, which never is. ``"neighbors"`` takes the best of all combinations of floors and
        ceilings.
    tolerance : float, default 1e-6
        ``"neighbors"`` stops when no combination can gain more than this part of the loss.
    time_limit : float, default 10
        Seconds after which ``"neighbors"`` returns the best combination so far.

    Returns
    -------
    IntegerSolution

    Raises
    ------
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If a type has no whole number in its box, or no whole allocation is stable.
    ConvergenceError
        If the continuous optimum cannot be certified.
    InvalidInputError
        If the method or a limit is not allowed, or a type would have more than 2^53 tokens.

    Notes
    -----
    ``"neighbors"`` is an outer approximation: T is convex, so its tangents bound it from below, and
    a mixed-integer program on HiGHS with enough of them has the best combination as its answer.
    What it proves about other combinations, `neighbors_gap`, rests on HiGHS and its tolerance of
    1e-6; tokens, objective, losses and upper bound do not.

    The best combination need not be the best whole allocation: `gap` bounds the difference.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> cq.solve_integer(instance).tokens.tolist()
    [1695, 790]
    """
    started = time.perf_counter()
    if not isinstance(instance, Instance):
        raise InvalidInputError(f"instance must be an Instance, got {instance!r:.80}")
    if instance.couplings:
        raise InvalidInputError(
            f"solve_integer cannot keep {instance.couplings[0].label}: it takes no constraints on "
            "all types together"
        )
    if method not in _METHODS:
        raise InvalidInputError(
            f"unknown integer method {method!r}: {nearest_name(str(method), _METHODS)}"
        )
    tolerance = real_number("tolerance", tolerance)
    if tolerance < 0:
        raise InvalidInputError(f"tolerance = {tolerance!r} must be ≥ 0")
    if time_limit != math.inf:
        time_limit = real_number("time_limit", time_limit)
        if time_limit <= 0:
            raise InvalidInputError(f"time_limit = {time_limit!r} must be > 0 (seconds)")
    whole = whole_box(instance)
    continuous = solve(instance)
    relaxed = (continuous if whole is instance else solve(whole)).certificate.evaluation

    neighbors_gap, is_exact = None, False
    if method == "neighbors":
        combination = best_combination(relaxed, tolerance, time_limit)
        rounding = Rounding(combination.point, is_repaired=False)
        neighbors_gap, is_exact = combination.gap, combination.is_exact
    else:
        rounding = _ROUNDINGS[method](relaxed)
    return IntegerSolution(
        continuous=continuous,
        method=method,
        tokens=rounding.point.tokens.astype(np.int64),
        separable_gap=_separable_gap(rounding.point, relaxed),
        neighbors_gap=neighbors_gap,
        is_exact=is_exact,
        is_repaired=rounding.is_repaired,
        solve_time=time.perf_counter() - started,
    )


def _separable_gap(point: Evaluation, relaxed: Evaluation) -> float:
    """Bound on max J over whole allocations less the certified objective, in seconds.

    T is convex, so J(l) ≤ J(relaxed) + Σ gains_k(l_k). Each gain is concave: over whole numbers it
    is largest next to the response.
    """
    response = relaxed.response
    best = np.maximum(
        relaxed.separable_gains(np.floor(response)), relaxed.separable_gains(np.ceil(response))
    )
    allowance = float(np.maximum(rounding_allowance(point), rounding_allowance(relaxed)))
    return max(float(accurate_sum(best) - relaxed.improvement(point)), 0.0) + 2.0 * allowance
