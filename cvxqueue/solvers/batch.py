"""Many instances of one size at once: method `newton`, vectorised over the instances."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.certificates import certified_gap, relative_gap
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AccuracyCurve, Instance, ServiceLaw, require_instance
from cvxqueue.model.model import Model
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import frozen
from cvxqueue.numerics.checks import float_array
from cvxqueue.solution import allowed_tolerance
from cvxqueue.solvers.batch_solution import (
    ENTRIES,
    BatchSolution,
    Claims,
    claims_of,
    require_variants,
)
from cvxqueue.solvers.driver import tightest_tolerance
from cvxqueue.solvers.newton_on_prices import STILL, PriceSearch
from cvxqueue.solvers.registry import find_method
from cvxqueue.solvers.solve import allowed_iterations

# The variants that are solved are dropped once this share of the others is left.
_THIN_OUT_AT = 0.75
# Where the model of a variant has its token bounds.
_FIELDS = {"min_tokens": "lower", "max_tokens": "upper"}


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

    What is given takes the place of the instance's own; with a leading axis of length B, one for
    each variant. The answers are those of `solve` with method ``"newton"``, to rounding.

    Parameters
    ----------
    instance : Instance
        What all variants share.
    arrival_rate, accuracy_weight : array_like, shape () or (B,), optional
        As in `Instance`.
    probabilities, max_tokens, min_tokens, importance : array_like, shape (N,) or (B, N), optional
        As in `Instance`; the last three may be scalars.
    service : ServiceLaw, optional
        With arrays of shape (N,) or (B, N).
    accuracy : AccuracyCurve, optional
        With arrays of shape (N,) or (B, N).
    tolerance : float, optional
        Certified gap to reach, relative to α Σ π w p + T, at most 0.01; by default the least that
        float64 can prove, max(1e-12, 16 ε/(1 − ρ)), and 16 times that where curves have kinks.
    max_iterations : int, optional
        Limit on the passes over each variant.

    Returns
    -------
    BatchSolution
        Arrays with one entry for each variant. A variant that no allocation makes stable is marked
        as such, and the others are solved.

    Raises
    ------
    InvalidInputError
        If a value is not allowed, or the shapes do not fit.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> batch = cq.solve_batch(instance, arrival_rate=[0.1, 0.2, 0.4, 3.0])
    >>> batch.is_stable.tolist(), batch.tokens[1].round(2).tolist()
    ([True, True, True, False], [1694.69, 790.08])
    """
    require_instance(instance)
    if instance.constraints:
        raise InvalidInputError(
            f"solve_batch cannot keep {instance.constraints[0].label}: it takes no constraints; "
            "solve the variants one by one"
        )
    started = time.perf_counter()
    limit = allowed_iterations(find_method("newton"), max_iterations)
    given = None if tolerance is None else allowed_tolerance(tolerance)
    whole, count = _stacked(
        instance,
        {"arrival_rate": arrival_rate, "accuracy_weight": accuracy_weight},
        {
            "probabilities": probabilities,
            "max_tokens": max_tokens,
            "min_tokens": min_tokens,
            "importance": importance,
        },
        {"service": service, "accuracy": accuracy},
    )
    answers = _blank(count, instance.size)
    rows = max(1, ENTRIES // instance.size)
    for first in range(0, count, rows):
        places = slice(first, min(first + rows, count))
        part = {name: values[places] for name, values in answers.items()}
        _solve_rows(whole.rows(np.arange(count)[places]), given, limit, part)
    # What has just been proven is not computed again.
    return unchecked(
        BatchSolution,
        variants=whole,
        **{name: answers.pop(name) for name in ("tokens", "tolerance", "iterations")},
        claims=Claims(**{name: frozen(values) for name, values in answers.items()}),
        solve_time=time.perf_counter() - started,
    )


def _blank(count: int, size: int) -> dict[str, NDArray[Any]]:
    """What is said of variants that no allocation makes stable; the others are filled in."""
    return {
        "tokens": np.full((count, size), np.nan),
        "objective": np.full(count, -np.inf),
        "gap": np.full(count, np.inf),
        "scale": np.full(count, np.nan),
        "tolerance": np.full(count, np.nan),
        "utilization": np.full(count, np.nan),
        "mean_service_time": np.full(count, np.nan),
        "mean_waiting_time": np.full(count, np.inf),
        "iterations": np.zeros(count, dtype=np.int64),
    }


def _stacked(
    instance: Instance,
    by_instance: dict[str, ArrayLike | None],
    by_type: dict[str, ArrayLike | None],
    laws: dict[str, Any],
) -> tuple[Model, int]:
    """The model of all variants, checked, and their number."""
    size = instance.size
    fields: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in by_instance.items():
        array = float_array(name, getattr(instance, name) if value is None else value)
        fields[name] = array
        shapes[name] = array.shape
    for name, value in by_type.items():
        field = _FIELDS.get(name, name)
        array = (
            getattr(instance, field) if value is None else float_array(name, value, size, axes=2)
        )
        fields[field] = array
        shapes[name] = array.shape[:-1]
    for name, law in laws.items():
        own = getattr(instance, name)
        if law is not None and not isinstance(law, type(own)):
            raise InvalidInputError(
                f"{name} must be {type(own).__name__}, as in the instance, got {shown(law)}"
            )
        chosen = own if law is None else law.broadcast(size)
        fields[name] = chosen
        shapes[name] = chosen.shape[:-1]
    counts = {name: shape[0] for name, shape in shapes.items() if shape}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InvalidInputError(f"leading axes must have one length for all variants: {listing}")
    model = instance.model.with_(**fields)
    require_variants(model)
    count = next(iter(counts.values()), 1)
    return model.with_(arrival_rate=np.broadcast_to(model.arrival_rate, (count,))), count


def _solve_rows(
    model: Model, given: float | None, limit: int, answers: dict[str, NDArray[Any]]
) -> None:
    """Solve some variants, each as if it were alone, and write the answers in place."""
    rows = np.flatnonzero(model.lowest.idle > 0.0)
    answers["utilization"][:] = model.lowest.utilization
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
