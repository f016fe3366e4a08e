"""One call for every method."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal

from numpy.typing import ArrayLike

from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.json_values import Options
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.model.feasibility import stable_start
from cvxqueue.numerics.arithmetic import outside, quiet
from cvxqueue.numerics.checks import positive_number, require_that, whole_number
from cvxqueue.solution import ConvergenceError, Iterate, Solution, allowed_tolerance
from cvxqueue.solvers.driver import Limits, drive
from cvxqueue.solvers.open_method import OpenMethod
from cvxqueue.solvers.registry import Method, find_method
from cvxqueue.suggest import nearest


@quiet
def solve(
    instance: Instance,
    method: str | OpenMethod = "newton",
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    time_limit: float = math.inf,
    start: ArrayLike | Solution | None = None,
    callback: Callable[[Iterate], bool] | None = None,
    on_failure: Literal["raise", "return"] = "raise",
    **options: Any,
) -> Solution:
    """Find the token allocation that maximises the objective, and prove how good it is.

    Parameters
    ----------
    instance : Instance
        What to solve.
    method : str or callable, default "newton"
        A name from `methods()`, or a method of one's own: ``f(instance, **settings)`` that returns
        tokens, shape (N,), or an `Answer`, or an iterator of these, as a generator does. Its name
        is its own: ``f.__name__``, of a ``functools.partial`` that of its function, of another
        object that of its class. What it returns is copied, moved into the box like the tokens of
        any method, and graded by the certificate alone.
    tolerance : float, optional
        Certified gap to reach, relative to α Σ π w p + T (and where that is next to nothing, to a
        hundredth of what tokens can add to the benefit), at most 0.01. By default 1e-9, and for
        ``"newton"`` max(1e-12, 16 ε/(1 − ρ)), the least that float64 arithmetic can prove: 16 times
        that where curves have kinks, and no less than 1e-9 under constraints on all types together.
    max_iterations : int, optional
        Limit on the iterations, at least 1; by default the method's own, 10,000 for a callable, of
        which each answer that it yields counts as one at least.
    time_limit : float, default infinity
        Limit on the seconds. A callable cannot be interrupted, and takes none.
    start : array_like, shape (N,), or Solution, optional
        Stable tokens in the box to start from, or the answer to an instance that differs a little:
        its tokens where they are stable, moved into the box, and for ``"newton"`` its prices, which
        saves some of the passes. ``"conic"`` takes none, and where constraints couple the types
        ``"newton"`` has no use for it: it begins with multipliers of zero. A callable gets tokens,
        if it has a parameter of that name; so it does `tolerance` and `max_iterations`.
    callback : callable, optional
        Called with an `Iterate` after each iteration, the last one included; a true answer stops
        the method.
    on_failure : {"raise", "return"}, default "raise"
        What to do with an answer that is not certified within the tolerance.
    **options
        Options of the method, by the names that its `Method.options` lists: `solver`,
        `solver_options` and `polish` of ``"conic"``, `damping` of ``"fixed-point"``, `metric` of
        ``"projected-gradient"``. Of a callable, settings by the names of its parameters.

    Returns
    -------
    Solution
        With status ``optimal`` iff the certified gap is within the tolerance.

    Raises
    ------
    UnstableQueueError
        If no allocation is stable; decided before any method runs.
    InfeasibleError
        If no allocation satisfies the constraints; the message says which, and what would do.
    ConvergenceError
        If the answer is not certified and `on_failure` is ``"raise"``. It carries the solution.
    InvalidInputError
        If the method, an option or a limit is not allowed, or the method cannot take the instance;
        if a callable has the name of a method of the package, or returns what is no allocation.
    MissingDependencyError
        If the method needs a package that is not installed.
    Exception
        Whatever a callable raises, as it is; but a `BackendError` is one more way to fail, with
        status ``numerical_error``.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> solution = cq.solve(instance)
    >>> solution.tokens.round(2).tolist(), solution.is_optimal
    ([1694.69, 790.08], True)
    """
    require_instance(instance)
    is_known = on_failure in ("raise", "return")
    require_that(is_known, "on_failure", on_failure, "'raise' or 'return'")
    require_that(callback is None or callable(callback), "callback", callback, "callable")
    chosen = find_method(method)
    # What a method imports does not count against the time limit.
    propose = chosen.load()
    limits = Limits(
        tolerance=chosen.tolerance if tolerance is None else allowed_tolerance(tolerance),
        max_iterations=allowed_iterations(chosen, max_iterations),
        deadline=deadline_after(time_limit, chosen),
        callback=None if callback is None else outside(callback),
    )
    for option in options:
        if not (chosen.takes_any or option in chosen.options()):
            allowed = {*chosen.options(), *_COMMON_OPTIONS}
            if chosen.is_open:
                allowed.remove("time_limit")
            raise InvalidInputError(
                f"method {shown(chosen.name)} has no option {shown(option)}: "
                f"{nearest(option, allowed)}"
            )
    require_feasible(instance)
    obstacle = chosen.obstacle(instance)
    if obstacle is not None:
        raise InvalidInputError(obstacle)
    if start is not None and "start" not in chosen.filled_in:
        raise InvalidInputError(f"method {shown(chosen.name)} takes no start; leave it out")
    given = {"limits": limits, "tolerance": tolerance, "max_iterations": max_iterations}
    known = kept_options(
        **options,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
        time_limit=None if time_limit == math.inf else time_limit,
    )
    given |= _started(instance, start, chosen)
    settings = options | {
        name: value
        for name, value in given.items()
        if value is not None and name in chosen.filled_in
    }
    try:
        chosen.signature.bind(instance, **settings)
    except TypeError as error:
        raise InvalidInputError(
            f"method {shown(chosen.name)} cannot be called with the instance and "
            f"{', '.join(sorted(settings)) or 'nothing else'}: {error}"
        ) from None
    with closing(propose(instance, **settings)) as proposals:
        solution = drive(instance, chosen.name, proposals, limits, known)
    if on_failure == "raise" and not solution.is_optimal:
        raise ConvergenceError(solution)
    return solution


# What `solve` itself takes, whatever the method.
_COMMON_OPTIONS = ("start", "tolerance", "max_iterations", "time_limit", "callback", "on_failure")


def kept_options(**given: Any) -> Options:
    """Return what a `Solution` keeps of the options: those that were given."""
    return Options({name: value for name, value in given.items() if value is not None})


def deadline_after(time_limit: float, method: Method | None = None) -> Deadline:
    """Return the moment at which a time limit, which may be infinite, is over."""
    if time_limit != math.inf:
        time_limit = positive_number("time_limit", time_limit, "seconds")
        if method is not None and method.is_open:
            raise InvalidInputError(
                f"method {shown(method.name)} is a callable, which no time_limit can interrupt: "
                "leave it out; max_iterations and callback end one that yields its iterates"
            )
    return Deadline.after(time_limit)


def allowed_iterations(method: Method, value: int | None) -> int:
    """Return the limit on the iterations, the method's own where none is given."""
    if value is None:
        return method.max_iterations
    return whole_number("max_iterations", value, least=1)


def _started(
    instance: Instance, start: ArrayLike | Solution | None, method: Method
) -> dict[str, Any]:
    """Where to begin: at nothing, at given tokens, or with the answer to another instance."""
    if not isinstance(start, Solution):
        return {"start": None if start is None else stable_start(instance, start).tokens}
    if start.instance.size != instance.size:
        raise InvalidInputError(
            f"start is the solution of an instance with {start.instance.size} types, and must "
            f"be of one with {instance.size}"
        )
    tokens = instance.model.boxed(start.tokens)
    if "prices" in method.filled_in:
        point = start.certificate.evaluation
        return {"start": tokens, "prices": (float(point.idle), float(point.prices.mean))}
    return {"start": tokens} if instance.evaluate(tokens).is_stable else {}
