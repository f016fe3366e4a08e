"""The best uniform budget: the same number of tokens for every type, blind to what they are."""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates import Certificate, certify
from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_root


@quiet
def best_uniform(instance: Instance) -> Certificate:
    """Return the best allocation that gives every type the same number of tokens.

    Along that line the objective is concave as well, and its slope falls through zero once. The
    certificate is of the whole problem: its gap bounds what budgets by type gain over this one.

    Parameters
    ----------
    instance : Instance
        Without constraints on all types together.

    Returns
    -------
    Certificate

    Raises
    ------
    InvalidInputError
        If constraints couple the types.
    UnstableQueueError, InfeasibleError
        If no allocation is stable, or no one number is in the box of every type and stable.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> uniform = cq.best_uniform(instance)
    >>> uniform.tokens.round(1).tolist(), round(uniform.gap, 2)
    ([1123.3, 1123.3], 2.38)
    """
    require_instance(instance)
    model = instance.model
    if model.couplings:
        raise InvalidInputError(
            f"constraints: a uniform budget under {model.couplings[0].label} is not searched for"
        )
    require_feasible(instance)

    def slope(tokens: FloatArray) -> FloatArray:
        point = model.evaluate(np.full(model.size, tokens))
        return np.asarray(point.gradient.sum() if point.is_stable else -np.inf)

    low, high = model.lower.max(), model.upper.min()
    if low > high:
        most, least = (
            instance.type_name(int(k)) for k in (model.upper.argmin(), model.lower.argmax())
        )
        raise InfeasibleError(
            f"no one number of tokens suits all types: {most} may have {high:g} at most, and "
            f"{least} needs {low:g}"
        )
    at_low, at_high = slope(low), slope(high)
    if not np.isfinite(at_low):
        raise InfeasibleError(f"no uniform budget is stable: {low:g} tokens for all types are not")
    best = high if at_high > 0.0 else low if at_low <= 0.0 else bracketed_root(slope, low, high)[0]
    return certify(instance, np.full(model.size, best))
