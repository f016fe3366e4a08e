"""One call for every form of the problem, and the two forms that people read."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp

from cvxqueue.dcp.expressions import expressions, token_variance
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.natural_units import natural_scale, scaled_tokens, tokens_per_unit
from cvxqueue.dcp.parametric import parametric
from cvxqueue.dcp.scaled import scaled
from cvxqueue.dcp.service_levels import limited
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AffineService, Instance, require_feasible, require_instance
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.suggest import nearest


def disciplined(instance: Instance) -> Formulation:
    """Return the disciplined form with the data as constants."""
    scale, unit = natural_scale(instance), tokens_per_unit(instance)
    variable = scaled_tokens(instance)
    quantities = expressions(instance, cp.multiply(unit, variable))
    constraints = {
        "min_tokens": variable >= instance.lower / unit,
        "max_tokens": variable <= instance.upper / unit,
    }
    variables, data = {"scaled_tokens": variable}, FixedData(instance, scale, disciplined)
    objective = quantities["objective"] / scale
    return limited("dcp", objective, variables, constraints, data, quantities)


def textbook(instance: Instance) -> Formulation:
    """Return the problem in the tokens, with the formula of Pollaczek and Khinchine as it stands.

    The waiting time divides a convex function by an affine one. That this quotient is convex does
    not follow from its parts, so the rules of disciplined convex programming refuse it; cvxpy's
    nonlinear grammar takes it.
    """
    is_affine = type(instance.service) is AffineService
    # A convex time that is not known to be positive has no convex square.
    tokens = cp.Variable(instance.size, name="tokens", nonneg=not is_affine)
    quantities = expressions(instance, tokens, _waiting_time) | {"tokens": tokens}
    constraints = {
        "min_tokens": tokens >= instance.lower,
        "max_tokens": tokens <= instance.upper,
        # The formula is finite and negative beyond saturation, so it must be kept out.
        "stability": quantities["utilization"] <= 1,
    }
    variables, data = {"tokens": tokens}, FixedData(instance, 1.0, textbook)
    objective = quantities["objective"]
    return limited("textbook", objective, variables, constraints, data, quantities)


def _waiting_time(
    instance: Instance, mean: cp.Expression, times: cp.Expression, tokens: cp.Expression
) -> cp.Expression:
    """The mean waiting time as a quotient of the two moments; what has no weight is left out."""
    queue, rate, mix = instance.queue, instance.arrival_rate, instance.probabilities
    if not isinstance(queue, LinearFractionalQueue):
        raise InvalidInputError(f"queue = {shown(queue)} has no textbook form")
    second_moment = mix @ cp.square(times)
    variance = token_variance(instance.service)
    if variance is not None:
        second_moment = second_moment + (mix * variance) @ cp.square(tokens)
    by_mean, by_load, by_second = queue.weights
    terms = (by_mean * mean, by_load * rate * cp.square(mean), by_second * rate * second_moment / 2)
    work = sum(term for term, weight in zip(terms, queue.weights, strict=True) if weight)
    return work / (1 - rate * mean) + queue.constant(rate)


_FORMS: dict[str, Callable[[Instance], Formulation]] = {
    "dcp": disciplined,
    "scaled": scaled,
    "parametric": parametric,
    "textbook": textbook,
}


@quiet
def formulate(instance: Instance, form: str = "dcp") -> Formulation:
    """Write an instance as a cvxpy problem.

    Parameters
    ----------
    instance : Instance
        Feasible.
    form : {"dcp", "scaled", "parametric", "textbook"}, default "dcp"
        ``"dcp"`` is the disciplined form as people read it. ``"scaled"`` is the same program in
        units and blocks that an interior point method likes, for very many types or the last
        digits. ``"parametric"`` has its data in parameters, to be refilled by `Formulation.update`.
        ``"textbook"`` has the waiting time as it is usually written: convex, but refused by the
        rules of disciplined convex programming.

    Returns
    -------
    Formulation
        Its ``problem`` is an ordinary cvxpy problem. No solver is run.

    Raises
    ------
    InvalidInputError
        If the form is unknown, or a class of the instance has no cvxpy form.
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or none satisfies the constraints.

    Notes
    -----
    For FIFO the mean system time is m1 + (λ/2) quad_over_lin(√π ∘ t, 1 − λ m1). This is convex by
    the rules because the first argument is affine in the tokens, or convex and positive, and the
    second affine, or concave; its domain is the stability region. The other queues add a row to the
    first argument, see `dcp.expressions`.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> [cq.formulate(instance, form).is_dcp for form in ("textbook", "dcp", "scaled")]
    [False, True, True]
    """
    require_instance(instance)
    if form not in _FORMS:
        raise InvalidInputError(f"unknown form {shown(form)}: {nearest(form, _FORMS)}")
    require_feasible(instance)
    return _FORMS[form](instance)
