"""Many instances of one size at once: method `newton`, vectorised over the instances."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.certificates import certified_gap, relative_gap
from cvxqueue.duality import tightest_tolerance
from cvxqueue.duality.newton_on_prices import STILL, PriceSearch
from cvxqueue.errors import InfeasibleError
from cvxqueue.model import AccuracyCurve, Instance, ServiceLaw
from cvxqueue.model.model import Model
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import frozen
from cvxqueue.solution import allowed_tolerance
from cvxqueue.solvers.batch_solution import ENTRIES, NOTHING, BatchSolution, Claims, claims_of
from cvxqueue.solvers.registry import find_method
from cvxqueue.solvers.solve import allowed_iterations, kept_options, solve
from cvxqueue.solvers.variants import Variants

# The variants that are solved are dropped once this share of the others is left.
_THIN_OUT_AT = 0.75


@quiet
def solve_batch(
    instance: Instance,
    *,
    arrival_rate: ArrayLike | None = None,
    accuracy_weight: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    service: ServiceLaw | None = None,
    accuracy: AccuracyCurve | None = None,
    max_tokens: ArrayLike | None = None,
    min_tokens: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> BatchSolution:
    """Solve many variants of an instance at once, each with its own certificate.

    What is given takes the place of the instance's own, and has leading axes for the variants,
    which broadcast with each other as in numpy: rates of shape (5, 1, 1), weights of shape (4, 1)
    and caps of shape (3, N) span a grid of shape (5, 4, 3). The answers are those of `solve` with
    method ``"newton"``, to rounding; only where the limit on the passes comes first may the two end
    at different points, each with a gap of its own. Under constraints on all types together they
    are its answers, one by one; floors on the accuracies of types cost nothing.

    Parameters
    ----------
    instance : Instance
        What all variants share.
    arrival_rate, accuracy_weight : array_like, shape (...), optional
        As in `Instance`.
    probabilities, max_tokens, min_tokens, importance : array_like, shape (..., N), optional
        As in `Instance`; the last three may be scalars.
    service : ServiceLaw, optional
        With arrays of shape (..., N).
    accuracy : AccuracyCurve, optional
        With arrays of shape (..., N).
    tolerance : float, optional
        Certified gap to reach, relative to α Σ π w p + T, at most 0.01; by default as in `solve`.
    max_iterations : int, optional
        Limit on the passes over each variant.

    Returns
    -------
    BatchSolution
        Arrays of the shape of the grid, and the `Solution` of each variant by its index. A variant
        that no allocation makes stable, or whose constraints none satisfies, is marked as such,
        and the others are solved.

    Raises
    ------
    InvalidInputError
        If a value is not allowed, or the shapes do not fit.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> batch = cq.solve_batch(instance, arrival_rate=[0.1, 0.2, 0.4, 3.0])
    >>> batch.is_stable.tolist(), batch.tokens[1].round(2).tolist()
    ([True, True, True, False], [0.0, 2000.0])
    """
    started = time.perf_counter()
    limit = allowed_iterations(find_method("newton"), max_iterations)
    given = None if tolerance is None else allowed_tolerance(tolerance)
    variants = Variants(
        instance=instance,
        arrival_rate=arrival_rate,
        accuracy_weight=accuracy_weight,
        probabilities=probabilities,
        service=service,
        accuracy=accuracy,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        importance=importance,
    )
    shape, count, size = variants.shape, variants.count, instance.size
    # Of variants without an allocation nothing is proven; the others are filled in.
    answers: dict[str, NDArray[Any]] = {
        "tokens": np.full((count, size), np.nan),
        "tolerance": np.full(count, np.nan),
        "iterations": np.zeros(count, dtype=np.int64),
    }
    if instance.model.couplings:
        answers["multipliers"] = np.full((count, len(instance.model.couplings)), np.nan)
        for row, place in enumerate(np.ndindex(shape)):
            _solve_one(variants.at(place), given, limit, row, answers)
    else:
        nothing = zip(Claims._fields, NOTHING, strict=True)
        proofs: dict[str, NDArray[Any]] = {name: np.full(count, it) for name, it in nothing}
        proofs["is_stable"] = np.zeros(count, dtype=np.bool_)
        model, reaches = variants.model, variants.reaches_floors.reshape(-1)
        rows = max(1, ENTRIES // size)
        for first in range(0, count, rows):
            places = slice(first, min(first + rows, count))
            part = {name: it[places] for name, it in (answers | proofs).items()}
            _solve_rows(model.rows(np.arange(count)[places]), reaches[places], given, limit, part)
    found: dict[str, Any] = {"variants": variants, "max_iterations": limit}
    found["options"] = kept_options(tolerance=tolerance, max_iterations=max_iterations)
    found |= {name: it.reshape((*shape, *it.shape[1:])) for name, it in answers.items()}
    if instance.model.couplings:
        return BatchSolution(**found, solve_time=time.perf_counter() - started)
    # What has just been proven is not computed again.
    proven = {name: frozen(it.reshape(shape)) for name, it in proofs.items()}
    return unchecked(
        BatchSolution,
        **found,
        is_stable=proven.pop("is_stable"),
        claims=Claims(**proven),
        multipliers=None,
        solve_time=time.perf_counter() - started,
    )


def _solve_one(
    instance: Instance, given: float | None, limit: int, row: int, answers: dict[str, NDArray[Any]]
) -> None:
    """Solve a variant alone, and write the answer in its row; nothing where there is none."""
    try:
        found = solve(instance, tolerance=given, max_iterations=limit, on_failure="return")
    except InfeasibleError:
        return
    multipliers = found.certificate.multipliers
    values = found.tokens, found.tolerance, found.iterations, multipliers
    for name, value in zip(answers, values, strict=True):
        answers[name][row] = value


def _solve_rows(
    model: Model,
    reaches_floors: NDArray[np.bool_],
    given: float | None,
    limit: int,
    answers: dict[str, NDArray[Any]],
) -> None:
    """Solve some variants, each as if it were alone, and write the answers in place."""
    answers["is_stable"][:] = model.lowest.idle > 0.0
    answers["utilization"][:] = model.lowest.utilization
    rows = np.flatnonzero(answers["is_stable"] & reaches_floors)
    if rows.size < answers["gap"].size:
        model = model.rows(rows)
    search = PriceSearch(model, model.lower)
    is_open = np.ones(rows.size, dtype=bool)
    while is_open.any():
        search.advance()
        is_last = search.passes >= limit
        ready = np.flatnonzero(is_open & (search.is_close | is_last))
        if not ready.size:
            continue
        point = search.candidate(ready)
        gap = certified_gap(point)
        tolerance = tightest_tolerance(point) if given is None else np.full(gap.shape, given)
        is_certified = relative_gap(gap, point.scale) <= tolerance
        is_over = is_certified | (search.step[ready] <= STILL) | is_last
        done = rows[ready[is_over]]
        found = {"tokens": point.tokens, "tolerance": tolerance, **claims_of(point, gap)._asdict()}
        for name, values in found.items():
            answers[name][done] = values[is_over]
        answers["iterations"][done] = search.passes
        is_open[ready[is_over]] = False
        if np.count_nonzero(is_open) < _THIN_OUT_AT * rows.size:
            search.keep(np.flatnonzero(is_open))
            rows = rows[is_open]
            is_open = np.ones(rows.size, dtype=bool)
