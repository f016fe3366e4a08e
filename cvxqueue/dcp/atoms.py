"""Queueing formulas as convex expressions, for anybody's cvxpy problem.

Each function composes cvxpy atoms so that the rules of disciplined convex programming (DCP) accept
it wherever they can, and its domain is the stability region: no constraint need state that. Times
are in any unit, rates per that unit.

An argument *may hold parameters* where the rules for them (DPP) are kept if it does, so that a
problem is compiled once and solved for many values. All others are numbers, or constants. Where a
parameter is wanted in a mean that ends up in a denominator, give the denominator a variable of its
own, and use `congestion_time`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.checks import float_array, positive_number, require

ExpressionLike: TypeAlias = cp.Expression | ArrayLike


def congestion_time(root: ExpressionLike, idle: ExpressionLike) -> cp.Expression:
    """‖root‖² / idle, the quotient behind every mean waiting time here.

    Convex in both at once; ≥ 0; decreasing in `idle`, and increasing in an entry of `root` that is
    known to be ≥ 0. The domain is idle > 0, or idle = 0 with root = 0.

    Parameters
    ----------
    root : affine expression of any shape, or convex and ≥ 0
        May hold parameters.
    idle : scalar concave expression
        Idle fraction 1 − ρ of the server. Where this holds parameters, give a variable in its place
        that is constrained to be equal.

    Returns
    -------
    cvxpy.Expression
        Scalar.

    Examples
    --------
    >>> import cvxpy as cp
    >>> time, idle = cp.Variable(2), cp.Variable()
    >>> from cvxqueue.dcp.atoms import congestion_time
    >>> congestion_time(time, idle).curvature
    'CONVEX'
    """
    return cp.quad_over_lin(root, idle)


def mg1_waiting_time(
    mean: ExpressionLike, second_moment_root: ExpressionLike, arrival_rate: float
) -> cp.Expression:
    """Mean waiting time λ m2 / (2 (1 − λ m1)) of the M/G/1 queue, first in first out.

    Convex; ≥ 0; increasing in `mean`, and in an entry of `second_moment_root` that is known to be
    ≥ 0. The domain is λ m1 < 1.

    Parameters
    ----------
    mean : scalar convex expression
        First moment m1 of the service time.
    second_moment_root : affine expression of any shape, or convex and ≥ 0
        Any r with ‖r‖² = m2, such as √π ∘ t for types with shares π and service times t. May hold
        parameters.
    arrival_rate : float
        λ > 0.

    Returns
    -------
    cvxpy.Expression
        Scalar.

    Raises
    ------
    InvalidInputError
        If the arrival rate is not a finite number > 0.

    Notes
    -----
    As a function of the two moments the quotient is not convex; of the service times it is. Hence
    the root: the rules accept ‖r‖²/y, not m2/y.

    References
    ----------
    Kleinrock, "Queueing Systems, volume I: Theory", Wiley 1975, section 5.6.

    Examples
    --------
    >>> import cvxpy as cp
    >>> from cvxqueue.dcp.atoms import mg1_waiting_time
    >>> time = cp.Variable(2)
    >>> waiting = mg1_waiting_time(0.5 * cp.sum(time), 0.5**0.5 * time, arrival_rate=0.25)
    >>> time.value = [1.0, 3.0]
    >>> waiting.curvature, round(float(waiting.value), 6)
    ('CONVEX', 1.25)
    """
    rate = _positive("arrival_rate", arrival_rate)
    root = np.sqrt(0.5 * rate) * cp.Expression.cast(second_moment_root)
    return congestion_time(root, 1 - rate * cp.Expression.cast(mean))


def mg1_system_time(
    mean: ExpressionLike, second_moment_root: ExpressionLike, arrival_rate: float
) -> cp.Expression:
    """Mean system time m1 + λ m2 / (2 (1 − λ m1)) of the M/G/1 queue, first in first out.

    Convex and increasing as `mg1_waiting_time`, with the same domain, arguments and error.
    """
    waiting = mg1_waiting_time(mean, second_moment_root, arrival_rate)
    return cp.Expression.cast(mean) + waiting


def processor_sharing_system_time(mean: ExpressionLike, arrival_rate: float) -> cp.Expression:
    """Mean system time m1 / (1 − λ m1) of a server shared equally.

    Convex and increasing in `mean`, whatever its sign; the domain is λ m1 < 1.

    Parameters
    ----------
    mean : convex expression, of any shape
        Mean service time m1; several queues are taken entry by entry. May hold parameters.
    arrival_rate : float
        λ > 0.

    Returns
    -------
    cvxpy.Expression
        Of the shape of `mean`.

    Raises
    ------
    InvalidInputError
        If the arrival rate is not a finite number > 0.

    Notes
    -----
    Written (1/(1 − λ m1) − 1)/λ, as the rules do not know the quotient of two expressions.

    References
    ----------
    Kleinrock, "Queueing Systems, volume II: Computer Applications", Wiley 1976, section 4.4.
    """
    rate = _positive("arrival_rate", arrival_rate)
    growth: cp.Expression = cp.inv_pos(1 - rate * cp.Expression.cast(mean)) - 1
    return growth / rate


def batch_waiting_time(
    mean: ExpressionLike,
    second_moment_root: ExpressionLike,
    arrival_rate: float,
    *,
    mean_size: float,
    size_second_moment: float,
) -> cp.Expression:
    """Mean waiting time (λ m2 + (E[X²]/E[X] − 1) m1) / (2 (1 − λ m1)) where X come at a time.

    Convex; increasing in `mean`, and in an entry of `second_moment_root` that is known to be ≥ 0.
    The domain is λ m1 < 1.

    Parameters
    ----------
    mean, second_moment_root
        As for `mg1_waiting_time`.
    arrival_rate : float
        λ > 0; it counts queries, and not batches.
    mean_size, size_second_moment : float
        E[X] ≥ 1 and E[X²] ≥ E[X]².

    Returns
    -------
    cvxpy.Expression
        Scalar.

    Raises
    ------
    InvalidInputError
        If a number is not finite or out of range.

    References
    ----------
    Burke, "Delays in single-server queues with batch input", Operations Research 23(4), 1975.
    """
    size = _positive("mean_size", mean_size)
    square = _positive("size_second_moment", size_second_moment)
    if size < 1.0:
        raise InvalidInputError(f"mean_size = {size!r} must be ≥ 1 (queries)")
    if square < size * size:
        raise InvalidInputError(
            f"size_second_moment = {square!r} must be at least the square of mean_size = {size!r}"
        )
    ahead = 0.5 * (square / size - 1.0)
    behind_its_own = ahead * processor_sharing_system_time(mean, arrival_rate)
    waiting: cp.Expression = (
        mg1_waiting_time(mean, second_moment_root, arrival_rate) + behind_its_own
    )
    return waiting


def mm1_system_time(service_rate: ExpressionLike, arrival_rate: ExpressionLike) -> cp.Expression:
    """Mean system time 1/(μ − λ) of the M/M/1 queue.

    Convex in both at once; > 0; decreasing in μ and increasing in λ; the domain is λ < μ.

    Parameters
    ----------
    service_rate : concave expression
        μ; numbers must be ≥ 0. May hold parameters.
    arrival_rate : convex expression, of the same shape
        λ; numbers must be ≥ 0. May hold parameters.

    Returns
    -------
    cvxpy.Expression
        Of the common shape; several queues are taken entry by entry.

    Raises
    ------
    InvalidInputError
        If a rate that is a number is not finite or not ≥ 0.

    References
    ----------
    Kleinrock, "Queueing Systems, volume I: Theory", Wiley 1975, section 3.2.

    Examples
    --------
    >>> import cvxpy as cp
    >>> from cvxqueue.dcp.atoms import mm1_system_time
    >>> rate = cp.Variable()
    >>> total = rate + mm1_system_time(rate, 2.0)
    >>> value = cp.Problem(cp.Minimize(total)).solve(solver="CLARABEL")
    >>> round(float(rate.value), 4)
    3.0
    """
    spare = _rates("service_rate", service_rate) - _rates("arrival_rate", arrival_rate)
    return cp.inv_pos(spare)


def lundberg_moment(
    times: ExpressionLike, log_weights: ExpressionLike, decay: ExpressionLike
) -> cp.Expression:
    """Σ exp(θ t + ln π), the moment generating function of a mixture of service times.

    Convex in the times; ≥ 0; increasing in them; finite everywhere.

    Parameters
    ----------
    times : convex expression, shape (N,)
        Service times t of the types. May hold parameters if `decay` holds none.
    log_weights : constant or convex expression, shape (N,)
        ln π. May hold parameters.
    decay : float or parameter ≥ 0
        θ. May be a parameter if `times` holds none.

    Returns
    -------
    cvxpy.Expression
        Scalar.

    Notes
    -----
    In the M/G/1 queue, first in first out, the probability of waiting longer than x is at most
    exp(−θ x) for every θ ≥ 0 with Σ π exp(θ t) ≤ 1 + θ/λ (the Lundberg bound). The weights stand in
    the exponent, where numbers of many decades do no harm.

    References
    ----------
    Kingman, "Inequalities in the theory of queues", Journal of the Royal Statistical Society B
    32(1), 1970.
    """
    exponent = cp.multiply(decay, times) + cp.Expression.cast(log_weights)
    return cp.sum(cp.exp(exponent))


def _rates(name: str, value: ExpressionLike) -> cp.Expression:
    """Rates as an expression; what is known of them beforehand is checked."""
    if isinstance(value, cp.Expression):
        return value
    numbers = float_array(name, value, axes=2)
    require(name, numbers, numbers >= 0.0, "must be ≥ 0")
    return cp.Constant(numbers)


def _positive(name: str, value: Any) -> float:
    """The value as a float, or an error that names it."""
    if isinstance(value, cp.Expression):
        raise InvalidInputError(
            f"{name} must be one number, got {shown(value)}; an expression or a parameter here "
            "would break the rules"
        )
    return positive_number(name, value)
