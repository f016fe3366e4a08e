"""Answers to many variants of an instance, and what is proven of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import certified_gap, certified_objective, relative_gap
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.model import Evaluation, assumed
from cvxqueue.model.model import Model
from cvxqueue.model.ranges import require_in_range
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, frozen, read_only
from cvxqueue.numerics.checks import require
from cvxqueue.solution import LARGEST_TOLERANCE

# Entries of an array by type that are worked on at a time: enough to make light of the calls.
ENTRIES = 1 << 16


class Claims(NamedTuple):
    """What is proven of the tokens of each variant, and what they do; see `BatchSolution`."""

    objective: FloatArray
    gap: FloatArray
    scale: FloatArray
    utilization: FloatArray
    mean_service_time: FloatArray
    mean_waiting_time: FloatArray


NOTHING = (-np.inf, np.inf, np.nan, np.nan, np.nan, np.inf)
"""The claims where nothing is proven."""


@quiet
def claims_of(point: Evaluation, gap: FloatArray | None = None) -> Claims:
    """Return what is claimed of a batch; nothing where tokens are outside the box, or no numbers.

    The certified gap, shape (B,), may be known.
    """
    model, tokens = point.model, point.tokens
    is_inside = ((tokens >= model.lower) & (tokens <= model.upper)).all(axis=-1)
    gap = certified_gap(point) if gap is None else gap
    times = point.mean_service_time, point.mean_waiting_time
    found = certified_objective(point), gap, point.scale, point.utilization, *times
    claims = Claims(*(np.where(is_inside, *pair) for pair in zip(found, NOTHING, strict=True)))
    return claims._replace(
        utilization=np.where(is_inside, point.utilization, model.lowest.utilization)
    )


def require_variants(model: Model) -> None:
    """Raise an error that names the first number of any variant that is out of range."""
    weights = model.accuracy_weight, model.importance
    require_in_range(model.arrival_rate, model.probabilities, *weights, model.lower, model.upper)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BatchSolution(ArrayData):
    """Answers to many variants of an instance; B variants, N types.

    Where no allocation is stable, the tokens are NaN, the objective −inf and the gap infinite, and
    the utilization is the least that there is, 1 or more. What is claimed follows from the data of
    the variants and the tokens; tokens outside the box prove nothing.

    Parameters
    ----------
    variants : Model
        The data of all variants, with an arrival rate for each.
    tokens : ndarray, shape (B, N)
        Thinking tokens of each type.
    tolerance : ndarray, shape (B,)
        Relative gap that each answer was held to, at most 0.01; NaN where none is stable.
    iterations : ndarray of int, shape (B,)
        Passes over the types.
    solve_time : float
        Seconds for all of them.
    """

    variants: Model
    tokens: FloatArray
    tolerance: FloatArray
    iterations: NDArray[np.int64]
    solve_time: float

    def __post_init__(self) -> None:
        if not isinstance(self.variants, Model):
            raise InvalidInputError(f"variants must be a Model, got {shown(self.variants)}")
        if self.variants.couplings or np.ndim(self.variants.arrival_rate) != 1:
            raise InvalidInputError(
                "variants must have an arrival rate each and no constraints, which a batch does "
                f"not keep, got {shown(self.variants)}; use certify for one instance"
            )
        require_variants(self.variants)
        count, size = np.size(self.variants.arrival_rate), self.variants.size
        tokens, tolerance = read_only(self.tokens), read_only(self.tolerance)
        if tokens.shape != (count, size) or tolerance.shape != (count,):
            raise InvalidInputError(
                f"tokens and tolerance must have shapes {(count, size)} and {(count,)}, got "
                f"{tokens.shape} and {tolerance.shape}"
            )
        is_allowed = np.isnan(tolerance) | ((tolerance > 0.0) & (tolerance <= LARGEST_TOLERANCE))
        require("tolerance", tolerance, is_allowed, f"must be > 0 and ≤ {LARGEST_TOLERANCE}")
        iterations = frozen(np.array(self.iterations, dtype=np.int64))
        vars(self).update(tokens=tokens, tolerance=tolerance, iterations=iterations)

    @cached_property
    def claims(self) -> Claims:
        """What is proven of each variant, and what else its tokens do: arrays of shape (B,)."""
        count, size = self.tokens.shape
        rows = max(1, ENTRIES // size)
        parts = [
            claims_of(self.variants.rows(which).evaluate(self.tokens[which]))
            for which in np.split(np.arange(count), range(rows, count, rows))
        ]
        return Claims(*(frozen(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)))

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the proofs take for granted of classes that are not the package's."""
        return assumed(self.variants)

    @property
    def objective(self) -> FloatArray:
        """Objective J, in seconds, rounded down: a proven lower bound, shape (B,)."""
        return self.claims.objective

    @property
    def gap(self) -> FloatArray:
        """Proven bound on the optimal objective less `objective`, in seconds, shape (B,)."""
        return self.claims.gap

    @property
    def scale(self) -> FloatArray:
        """What gaps are relative to, in seconds, shape (B,); see `Evaluation.scale`."""
        return self.claims.scale

    @property
    def utilization(self) -> FloatArray:
        """Fraction of time that the server works, shape (B,)."""
        return self.claims.utilization

    @property
    def mean_service_time(self) -> FloatArray:
        """Mean service time, in seconds, shape (B,)."""
        return self.claims.mean_service_time

    @property
    def mean_waiting_time(self) -> FloatArray:
        """Mean waiting time, in seconds, shape (B,)."""
        return self.claims.mean_waiting_time

    @property
    def upper_bound(self) -> FloatArray:
        """Proven upper bound on the optimal objective, in seconds, shape (B,); −inf if unstable."""
        return np.where(self.is_stable, self.objective, 0.0) + np.where(
            self.is_stable, self.gap, -np.inf
        )

    @property
    def relative_gap(self) -> FloatArray:
        """`gap` relative to `scale`, shape (B,)."""
        return relative_gap(self.gap, self.scale)

    @property
    def is_stable(self) -> NDArray[np.bool_]:
        """Whether some allocation is stable, shape (B,)."""
        return np.isfinite(self.scale)

    @property
    def is_optimal(self) -> NDArray[np.bool_]:
        """Whether the certified gap is within the tolerance, shape (B,)."""
        return self.relative_gap <= self.tolerance

    @property
    def mean_system_time(self) -> FloatArray:
        """Mean system time, in seconds, shape (B,)."""
        return self.mean_service_time + self.mean_waiting_time

    def __len__(self) -> int:
        return int(self.gap.size)

    def __repr__(self) -> str:
        return (
            f"BatchSolution({plural(len(self), 'variant')}, "
            f"{int(self.is_optimal.sum())} optimal, "
            f"{int((~self.is_stable).sum())} without a stable allocation"
            + (f", assumes={self.assumes})" if self.assumes else ")")
        )
