"""One call for every form of the problem."""

from __future__ import annotations

from collections.abc import Callable

from cvxqueue.dcp.disciplined import disciplined
from cvxqueue.dcp.formulation import Formulation
from cvxqueue.dcp.parametric import parametric
from cvxqueue.dcp.scaled import scaled
from cvxqueue.dcp.textbook import textbook
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.suggest import nearest

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
