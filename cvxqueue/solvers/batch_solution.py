"""Answers to many variants of an instance, and what is proven of each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import (
    Certificate,
    certified_gap,
    certified_objective,
    floors_by_rounding,
    lower_multipliers,
    relative_gap,
    upper_multipliers,
)
from cvxqueue.errors import InvalidInputError, UnstableQueueError
from cvxqueue.formatting import at_least, at_most, shown
from cvxqueue.json_values import Options
from cvxqueue.model import Evaluation, Instance, assumed, require_feasible
from cvxqueue.model.feasibility import least_tokens_name
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, forwarded, frozen, read_only
from cvxqueue.numerics.checks import require, whole_number
from cvxqueue.solution import LARGEST_TOLERANCE, Ended, Solution
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.variants import Variants
from cvxqueue.tables import Column, Part, Report, Table

if TYPE_CHECKING:
    from pandas import DataFrame

# So many columns of one parameter can be read in print.
TYPES_IN_PRINT = 6
LABELS = {
    "arrival_rate": "arrival rate (1/s)",
    "accuracy_weight": "accuracy weight (s)",
    "probabilities": "probability",
}


def parameter_label(name: str) -> str:
    """Return what a parameter is called in tables and pictures, with its unit."""
    return LABELS.get(name, name.replace("_", " "))


METRICS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "objective": ("objective (s)", lambda value: at_least(value, 9)),
    "gap": ("gap (s)", at_most),
    "is_optimal": ("optimal", str),
    "mean_accuracy": ("mean accuracy", "{:.4f}".format),
    "utilization": ("utilization", "{:.4f}".format),
    "mean_waiting_time": ("mean waiting time (s)", "{:.4g}".format),
    "mean_system_time": ("mean system time (s)", "{:.4g}".format),
}
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


def _claimed(name: str, meaning: str) -> cached_property[FloatArray]:
    """One of the claims as a property of the batch."""
    found: Any = property(attrgetter(f"claims.{name}"), doc=f"{meaning}, shape (...).")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BatchSolution(ArrayData, Report):
    """Answers to the variants of an instance on a grid of shape (...), of N types each.

    ``batch[k]``, and ``batch[i, j]`` on a grid of two axes, is the `Solution` of one variant, with
    a certificate of its own; iteration goes through all of them, last axis fastest. Of a variant
    without an allocation both raise what `solve` does: pick by `is_feasible` before.

    Where no allocation is stable, or none is known to keep the constraints, the objective is −inf
    and the gap infinite; where that is proven, the tokens are NaN, and so is what they would do,
    but the utilization, which is the least that there is, and the waiting time, which is infinite.
    What is claimed follows from the data of the variants, the tokens and the multipliers; tokens
    outside the box prove nothing.

    Parameters
    ----------
    variants : Variants
        The instance, and what varies.
    tokens : ndarray, shape (..., N)
        Thinking tokens of each type.
    tolerance : ndarray, shape (...)
        Relative gap that each answer was held to, at most 0.01; NaN where there is none.
    iterations : ndarray of int, shape (...)
        Passes over the types.
    max_iterations : int
        Limit on them.
    solve_time : float
        Seconds for all of them.
    multipliers : ndarray, shape (..., M), optional
        Of the excesses of the M constraints on all types together, as in `Certificate`; NaN where
        there is no answer.
    options : mapping of str to plain values
        The tolerance and the limit that the caller gave, as in `Solution`.
    """

    variants: Variants
    tokens: FloatArray
    tolerance: FloatArray
    iterations: NDArray[np.int64]
    max_iterations: int
    solve_time: float
    multipliers: FloatArray | None = None
    options: Mapping[str, Any] = Options()

    def __post_init__(self) -> None:
        if not isinstance(self.variants, Variants):
            raise InvalidInputError(
                f"variants must be Variants, got {shown(self.variants)}; use certify for one "
                "instance"
            )
        shape, couplings = self.shape, self.instance.model.couplings
        wanted = {"tokens": (*shape, self.instance.size), "tolerance": shape, "iterations": shape}
        if self.multipliers is not None:
            wanted["multipliers"] = (*shape, len(couplings))
        for name, needed in wanted.items():
            array = np.array(getattr(self, name), np.int64 if name == "iterations" else np.float64)
            if array.shape != needed:
                raise InvalidInputError(f"{name} must have shape {needed}, got {array.shape}")
            vars(self)[name] = frozen(array)
        tolerance = self.tolerance
        is_allowed = np.isnan(tolerance) | ((tolerance > 0.0) & (tolerance <= LARGEST_TOLERANCE))
        require("tolerance", tolerance, is_allowed, f"must be > 0 and ≤ {LARGEST_TOLERANCE}")
        limit = whole_number("max_iterations", self.max_iterations, least=1)
        vars(self).update(max_iterations=limit, options=Options(self.options))

    @property
    def instance(self) -> Instance:
        """What the variants share; where one has data of its own, these count."""
        return self.variants.instance

    shape = forwarded("variants", Variants.shape)
    parameters = forwarded("variants", Variants.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each type, or a numbered stand-in."""
        return tuple(self.instance.type_name(k) for k in range(self.instance.size))

    @property
    def _points(self) -> Iterator[Evaluation]:
        """The closed forms of the variants in rows, some thousand entries at a time."""
        model, size = self.variants.model, self.instance.size
        # What no tokens reach is not claimed of any.
        is_box = self.variants.reaches_floors[..., np.newaxis]
        tokens = np.where(is_box, self.tokens, np.nan).reshape(-1, size)
        rows = max(1, ENTRIES // size)
        for first in range(0, max(len(self), 1), rows):
            which = np.arange(first, min(first + rows, len(self)))
            yield model.rows(which).evaluate(tokens[which])

    def _gathered(self, values: Callable[[Evaluation], FloatArray]) -> FloatArray:
        """What `values` says of each variant whose tokens are in its box; NaN of the others."""
        found = np.concatenate([values(point) for point in self._points])
        is_known = np.isfinite(self.scale).reshape((-1, *[1] * (found.ndim - 1)))
        return read_only(np.where(is_known, found, np.nan).reshape((*self.shape, *found.shape[1:])))

    def _by_certificate(self, values: Callable[[Certificate], Any], size: int) -> FloatArray:
        """What the certificate of each variant says of its types, or of its constraints."""
        found = np.full((*self.shape, size), np.nan)
        # Where there is nothing to ask, no certificate is made.
        for place in np.argwhere(np.isfinite(self.scale)) if size else ():
            found[tuple(place)] = values(self._certificates[tuple(place)])
        return frozen(found)

    @cached_property
    def _certificates(self) -> dict[tuple[int, ...], Certificate]:
        return {place: self._certificate(place) for place in np.ndindex(self.shape)}

    def _certificate(self, place: tuple[int, ...]) -> Certificate:
        instance, multipliers = self.variants.at(place), None
        if self.multipliers is not None and not np.isnan(self.multipliers[place]).any():
            multipliers = self.multipliers[place]
        return Certificate(instance, self.tokens[place], multipliers)

    @cached_property
    def claims(self) -> Claims:
        """What is proven of each variant, and what else its tokens do: arrays of shape (...)."""
        if self.instance.model.couplings:
            reaches, found = self.variants.reaches_floors, self._certificates
            rows = [_certified_claims(found[it]) if reaches[it] else NOTHING for it in found]
            flat = Claims(*np.array(rows, dtype=np.float64).reshape(-1, len(NOTHING)).T)
            least = np.concatenate([point.model.lowest.utilization for point in self._points])
            is_known = np.isfinite(flat.utilization)
            flat = flat._replace(utilization=np.where(is_known, flat.utilization, least))
        else:
            parts = [claims_of(point) for point in self._points]
            flat = Claims(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        return Claims(*(read_only(array.reshape(self.shape)) for array in flat))

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the proofs take for granted: see `Certificate.assumes`; of any variant."""
        sentences = assumed(self.variants.model.with_(couplings=self.instance.constraints))
        if not self.instance.model.couplings:
            return sentences + floors_by_rounding(self.variants.model)
        more = (it for found in self._certificates.values() for it in found.assumes)
        return tuple(dict.fromkeys([*sentences, *more]))

    objective = _claimed("objective", "Objective J, in seconds, rounded down: a proven lower bound")
    gap = _claimed("gap", "Proven bound on the optimal objective less `objective`, in seconds")
    scale = _claimed("scale", "What gaps are relative to, in seconds; see `Evaluation.scale`")
    utilization = _claimed("utilization", "Fraction of time that the server works")
    mean_service_time = _claimed("mean_service_time", "Mean service time, in seconds")
    mean_waiting_time = _claimed("mean_waiting_time", "Mean waiting time, in seconds")

    @property
    def upper_bound(self) -> FloatArray:
        """Proven upper bound on the optimal objective, in seconds, shape (...).

        −inf where no allocation is stable, or none reaches an accuracy floor of its type.
        """
        is_empty = ~(self.is_stable & self.variants.reaches_floors)
        bound = np.where(self.is_feasible, self.objective + self.gap, np.inf)
        return np.where(is_empty, -np.inf, bound)

    @property
    def relative_gap(self) -> FloatArray:
        """`gap` relative to `scale`, shape (...)."""
        return relative_gap(self.gap, self.scale)

    @cached_property
    def is_stable(self) -> NDArray[np.bool_]:
        """Whether some allocation is stable, shape (...)."""
        idle = np.concatenate([point.model.lowest.idle for point in self._points])
        return frozen((idle > 0.0).reshape(self.shape))

    @property
    def is_feasible(self) -> NDArray[np.bool_]:
        """Whether the tokens are stable and keep the box and the constraints, shape (...).

        Where they are not although `is_stable`, the constraints are to blame.
        """
        return self.objective > -np.inf

    @property
    def is_optimal(self) -> NDArray[np.bool_]:
        """Whether the certified gap is within the tolerance, shape (...)."""
        return self.relative_gap <= self.tolerance

    @property
    def mean_system_time(self) -> FloatArray:
        """Mean system time, in seconds, shape (...)."""
        return self.mean_service_time + self.mean_waiting_time

    @cached_property
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer of each type, shape (..., N)."""
        return self._gathered(lambda point: point.accuracies)

    @cached_property
    def mean_accuracy(self) -> FloatArray:
        """Plain mean accuracy Σ π p, shape (...)."""
        return self._gathered(lambda point: point.mean_accuracy)

    @cached_property
    def lower_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≥ min_tokens, in seconds per token, shape (..., N)."""
        if self.instance.model.couplings:
            return self._by_certificate(lambda it: it.lower_multipliers, self.instance.size)
        return self._gathered(lower_multipliers)

    @cached_property
    def upper_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≤ max_tokens, in seconds per token, shape (..., N)."""
        if self.instance.model.couplings:
            return self._by_certificate(lambda it: it.upper_multipliers, self.instance.size)
        return self._gathered(upper_multipliers)

    @cached_property
    def constraint_multipliers(self) -> FloatArray:
        """What one unit more of each coupling constraint's limit gains, in seconds, shape (..., M).

        See `Certificate.constraint_multipliers`.
        """
        size = len(self.instance.model.couplings)
        return self._by_certificate(lambda it: it.constraint_multipliers, size)

    def table(self, *, by_type: bool = False) -> Table:
        """Return what was varied and what came of it, last axis of the grid fastest.

        Parameters
        ----------
        by_type : bool, default False
            A row for each variant and type, with its tokens, instead of one for each variant.
        """
        return self._table(by_type=by_type, most_types=self.instance.size)

    def _table(self, *, by_type: bool, most_types: int) -> Table:
        """The table; of more types than so many, what was varied of each is left out."""
        count, size = len(self), self.instance.size
        each = size if by_type else 1

        def of_variant(values: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(values.reshape(count), each)

        def of_type(values: NDArray[Any]) -> NDArray[Any]:
            return values.reshape(count * size)

        axes = [f"index {axis}" for axis in range(len(self.shape))]
        names = ["variant"] if len(axes) == 1 else axes
        places = zip(names, np.indices(self.shape), strict=True)
        columns = [Column(name, of_variant(place)) for name, place in places]
        for name, given in self.parameters.items():
            label = parameter_label(name)
            if not isinstance(given, np.ndarray):
                # The data of a law are its own to name.
                continue
            if given.shape == self.shape:
                columns.append(Column(label, of_variant(given)))
            elif by_type:
                columns.append(Column(label, of_type(given)))
            elif size <= most_types:
                by_name = zip(self.names, np.moveaxis(given, -1, 0), strict=True)
                columns += [Column(f"{label} of {who}", of_variant(it)) for who, it in by_name]
        if by_type:
            columns += [
                Column("task type", list(self.names) * count),
                Column("tokens", of_type(self.tokens), "{:.3f}".format),
                Column("accuracy", of_type(self.accuracies), "{:.4f}".format),
            ]
        columns += [
            Column(name, of_variant(getattr(self, metric)), show)
            for metric, (name, show) in METRICS.items()
        ]
        return Table(columns)

    def to_frame(self, *, by_type: bool = False) -> DataFrame:
        """Return the `table` as a pandas data frame, names and units in its columns.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        return self.table(by_type=by_type).to_frame()

    def _parts(self) -> Iterable[Part]:
        yield f"{self.variants.label} of {self.instance!r}"
        yield f"{int(self.is_optimal.sum())} optimal, {self._failures()}"
        yield from (f"assumed, and not proven: {sentence}" for sentence in self.assumes)
        yield ""
        yield self._table(by_type=False, most_types=TYPES_IN_PRINT)

    def __len__(self) -> int:
        return self.variants.count

    def __iter__(self) -> Iterator[Solution]:
        return map(self.__getitem__, np.ndindex(self.shape))

    @quiet
    def __getitem__(self, place: SupportsIndex | tuple[SupportsIndex, ...]) -> Solution:
        """Return the answer to one variant, by an index for each axis, with its own certificate.

        Its claims are those of the batch but for rounding. It has no history, and an equal share of
        the seconds of the batch. What has no allocation raises the error of `solve`.
        """
        where = self._place(place)
        certificate = self._certificate(where)
        instance = certificate.instance
        if np.isnan(self.tokens[where]).all() or not self.variants.reaches_floors[where]:
            require_feasible(instance)
            if not self.is_stable[where]:
                # By a rounding.
                name = least_tokens_name(instance)
                raise UnstableQueueError(
                    float(self.utilization[where]), instance.max_arrival_rate, name
                )
            require_attainable(instance.model)
        iterations = int(self.iterations[where])
        is_over = iterations >= self.max_iterations
        ended = Ended.ITERATION_LIMIT if is_over else Ended.STALLED
        return Solution(
            certificate=certificate,
            method="newton",
            ended=Ended.CONVERGED if self.is_optimal[where] else ended,
            tolerance=float(self.tolerance[where]),
            backend_status="",
            iterations=iterations,
            setup_time=0.0,
            solve_time=self.solve_time / len(self),
            history=(),
            options=self.options,
        )

    def _place(self, place: Any) -> tuple[int, ...]:
        """An index for each axis, counted from the beginning."""
        indices, shape = place if isinstance(place, tuple) else (place,), self.shape
        try:
            found = tuple(operator.index(index) for index in indices)
        except TypeError:
            raise InvalidInputError(
                f"index {shown(place)} must be a whole number for each axis of the grid of shape "
                f"{shape}"
            ) from None
        if len(found) != len(shape) or any(
            not -size <= index < size for index, size in zip(found, shape, strict=True)
        ):
            raise IndexError(f"index {shown(place)} is not in the grid of variants, shape {shape}")
        return tuple(index % size for index, size in zip(found, shape, strict=True))

    def __repr__(self) -> str:
        return (
            f"BatchSolution({self.variants.label}, {int(self.is_optimal.sum())} optimal, "
            f"{self._failures()}" + (f", assumes={self.assumes})" if self.assumes else ")")
        )

    def _failures(self) -> str:
        unkept = int((self.is_stable & ~self.is_feasible).sum())
        return f"{int((~self.is_stable).sum())} without a stable allocation" + (
            f", {unkept} with constraints not kept" if unkept else ""
        )


def _certified_claims(found: Certificate) -> tuple[float, ...]:
    """What a certificate claims of the very tokens that it was asked about."""
    if found.violation > 0.0:
        return NOTHING
    point = found.evaluation
    times = float(point.mean_service_time), float(point.mean_waiting_time)
    return found.objective, found.gap, found.scale, float(point.utilization), *times
