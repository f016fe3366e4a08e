"""The instance: a mix of task types, a server, a queue, and what accuracy is worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.assumed import assumed
from cvxqueue.model.constraints import Constraint, CouplingConstraint, least_tokens
from cvxqueue.model.domains import Domain, Domains
from cvxqueue.model.model import Evaluation, Model
from cvxqueue.model.queue_formulas import PricedQueue, Queue
from cvxqueue.model.queues import FIFO
from cvxqueue.model.ranges import require_in_range
from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.numerics.array_data import InputData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import (
    ROUNDING_OF_ONE,
    float_array,
    number_array,
    real_number,
    require,
    require_that,
    text_tuple,
)
from cvxqueue.numerics.frames import column_names
from cvxqueue.tables import Column, Part, Report, Table

_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Instance(InputData, Report):
    """Task types that share one server, and what their accuracy is worth.

    The objective is J(l) = α Σ π w p(l) − T(l), to be maximised over min_tokens ≤ l ≤ max_tokens
    and ρ(l) < 1. It is concave there: strictly, except perhaps under `ProcessorSharing` where the
    accuracy of a type is not strictly concave or has no weight.

    Arrays and names may be columns of pandas, polars or Arrow, which are taken by row.

    Parameters
    ----------
    arrival_rate : float
        Poisson arrivals of all types together, λ > 0, per second.
    accuracy_weight : float
        Seconds of mean system time worth one unit of accuracy, α ≥ 0.
    max_tokens : array_like, shape () or (N,)
        Token caps L ≥ min_tokens.
    probabilities : array_like, shape (N,)
        Probability π_k > 0 that a query is of type k; they sum to 1 within 1e-9 and are not
        renormalised.
    service : ServiceLaw
        Service times by type.
    accuracy : AccuracyCurve
        Accuracy curves by type.
    min_tokens : array_like, shape () or (N,), default 0
        Least tokens, ≥ 0.
    importance : array_like, shape () or (N,), default 1
        Weight w_k ≥ 0 of each type's accuracy in the objective.
    queue : Queue, default ``FIFO()``
        How waiting depends on the service times.
    constraints : sequence of Constraint
        What an allocation must satisfy besides the box and stability.
    domains : Domains, Domain or sequence of Domain, optional
        What `solve_integer` may choose from: one for all types, or one for each; by default every
        whole number. Continuous methods do not look at it.
    names : sequence of str, optional
        Distinct names of the types.
    name, description : str
        What the instance is called, and what it shows.
    sources : sequence of str
        Where the numbers come from.

    Attributes
    ----------
    model : Model
        What the formulas need of it.
    lower, upper : ndarray, shape (N,)
        The box that the constraints leave of ``[min_tokens, max_tokens]``: what methods work in.

    Raises
    ------
    InvalidInputError
        If a value is missing, not finite, out of range or of the wrong length.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> instance
    Instance(2 types, arrival_rate=0.2, accuracy_weight=60)
    >>> round(float(instance.objective([500.0, 300.0])), 4)
    29.5031
    """

    arrival_rate: float
    accuracy_weight: float
    max_tokens: FloatArray
    probabilities: FloatArray
    service: ServiceLaw
    accuracy: AccuracyCurve
    min_tokens: FloatArray
    importance: FloatArray
    queue: Queue
    constraints: tuple[Constraint, ...]
    domains: Domains | None
    names: tuple[str, ...] | None
    name: str
    description: str
    sources: tuple[str, ...]

    def __init__(
        self,
        *,
        arrival_rate: float,
        accuracy_weight: float,
        max_tokens: ArrayLike,
        probabilities: ArrayLike,
        service: ServiceLaw,
        accuracy: AccuracyCurve,
        min_tokens: ArrayLike = 0.0,
        importance: ArrayLike = 1.0,
        queue: Queue | None = None,
        constraints: Sequence[Constraint] = (),
        domains: Domains | Domain | Sequence[Domain] | None = None,
        names: Sequence[str] | None = None,
        name: str = "",
        description: str = "",
        sources: Sequence[str] = (),
    ) -> None:
        def keep(field: str, value: object) -> None:
            object.__setattr__(self, field, value)

        keep("arrival_rate", real_number("arrival_rate", arrival_rate))
        keep("accuracy_weight", real_number("accuracy_weight", accuracy_weight))
        keep("probabilities", np.atleast_1d(float_array("probabilities", probabilities)))
        length = self.size
        keep("min_tokens", float_array("min_tokens", min_tokens, length))
        keep("max_tokens", float_array("max_tokens", max_tokens, length))
        keep("importance", float_array("importance", importance, length))
        weights = self.accuracy_weight, self.importance
        box = self.min_tokens, self.max_tokens
        require_in_range(self.arrival_rate, self.probabilities, *weights, *box)
        curve = "an accuracy curve such as SaturatingExponential"
        for field, law, base, kind in (
            ("service", service, ServiceLaw, "a service law such as AffineService"),
            ("accuracy", accuracy, AccuracyCurve, curve),
        ):
            require_that(isinstance(law, base), field, law, kind)
            data = law.broadcast(length)
            if len(data.shape) > 1:
                count = math.prod(data.shape[:-1])
                raise InvalidInputError(
                    f"{field} has data for a batch of {count} instances, and must be of one; use "
                    "solve_batch"
                )
            keep(field, data)
        if isinstance(queue, PricedQueue):
            raise InvalidInputError(
                "queue must be what queries meet, and has prices: those of accuracy_weight, "
                "importance and constraints are the instance's"
            )
        require_that(isinstance(queue, Queue | None), "queue", queue, "a queue such as FIFO()")
        keep("queue", FIFO() if queue is None else queue)
        if assumed(self):
            most = self.accuracy.value(self.max_tokens)
            is_probability = (most >= 0.0) & (most <= 1.0 + ROUNDING_OF_ONE)
            require("accuracy at max_tokens", most, is_probability, "must be a probability")

        keep("names", None if names is None else _distinct_names(names, length))
        keep("domains", None if domains is None else Domains.of(domains, length))
        keep("constraints", _checked_constraints(constraints, self))
        for field, text in (("name", name), ("description", description)):
            require_that(isinstance(text, str), field, text, "a string")
            keep(field, text)
        keep("sources", text_tuple("sources", sources))

    @cached_property
    def model(self) -> Model:
        """What the formulas need of the instance: its box is what the constraints leave of it."""
        couplings = [it for it in self.constraints if isinstance(it, CouplingConstraint)]
        (lower, rounding), upper = least_tokens(self), self.max_tokens
        if self.constraints:
            upper = np.minimum.reduce([upper, *(it.most_tokens(self) for it in couplings)])
            # Where they leave nothing, `require_feasible` says so.
            lower = np.minimum(lower, self.max_tokens)
            upper = np.maximum(lower, upper)
        return Model(
            arrival_rate=self.arrival_rate,
            accuracy_weight=self.accuracy_weight,
            probabilities=self.probabilities,
            importance=self.importance,
            lower=lower,
            upper=upper,
            lower_rounding=rounding,
            service=self.service,
            accuracy=self.accuracy,
            queue=self.queue,
            separable_costs=(),
            couplings=tuple(couplings),
        )

    @property
    def size(self) -> int:
        """Number of task types, N."""
        return int(self.probabilities.size)

    @property
    def lower(self) -> FloatArray:
        """Least tokens that the constraints leave of the box: what methods work from, (N,)."""
        return self.model.lower

    @property
    def upper(self) -> FloatArray:
        """Most tokens that the constraints leave of the box, shape (N,)."""
        return self.model.upper

    @property
    def least_utilization(self) -> float:
        """Utilization at `lower`; some allocation is stable iff it is below 1."""
        return float(self.model.lowest.utilization)

    @property
    def max_arrival_rate(self) -> float:
        """Supremum of the arrival rates at which some allocation is stable, per second."""
        mean = float(self.model.lowest.mean_service_time)
        return 1.0 / mean if mean > 0 else np.inf

    @property
    def is_feasible(self) -> bool:
        """Whether some allocation is stable."""
        return self.model.lowest.is_stable

    def type_name(self, position: int) -> str:
        """Name of a type, or a numbered stand-in where the instance gives none."""
        return f"type {position + 1}" if self.names is None else self.names[position]

    def evaluate(self, tokens: ArrayLike) -> Evaluation:
        """Return accuracies, utilization, times and all else that the model says of `tokens`.

        Parameters
        ----------
        tokens : array_like, shape (..., N)
            Copied, unless it is an array of float64 that nobody can write to.

        Returns
        -------
        Evaluation
            Its properties are computed when asked for. Times are infinite, and the objective −inf,
            where the queue is unstable.

        Raises
        ------
        InvalidInputError
            If they are not numbers, or the last axis is not N long.
        """
        return Evaluation(self.model, self._numbers("tokens", tokens))

    def _numbers(self, name: str, value: ArrayLike) -> NDArray[Any]:
        """Numbers of any size with one entry for each type in the last axis."""
        # Methods evaluate many points, and all that they hand over are such arrays.
        if type(value) is np.ndarray and value.dtype == _FLOAT64:
            array: NDArray[Any] = value
        else:
            require_type_order(name, value, self.names)
            array = number_array(name, value, f"numbers of shape (..., {self.size})")
        if array.shape[-1:] != (self.size,):
            raise InvalidInputError(
                f"{name} must have shape (..., {self.size}), one entry for each type, "
                f"got shape {array.shape}"
            )
        return array

    def objective(self, tokens: ArrayLike) -> FloatArray:
        """Objective J, in seconds; −inf where the queue is unstable.

        Parameters
        ----------
        tokens : array_like, shape (..., N)

        Returns
        -------
        ndarray, shape (...)
        """
        return self.evaluate(tokens).objective

    def gradient(self, tokens: ArrayLike) -> FloatArray:
        """Gradient of the objective, in seconds per token.

        Parameters
        ----------
        tokens : array_like, shape (..., N)

        Returns
        -------
        ndarray, shape (..., N)

        Raises
        ------
        InvalidInputError
            If the queue is unstable at some allocation.
        """
        return self._stable(tokens).gradient

    def hessian_product(self, tokens: ArrayLike, direction: ArrayLike) -> FloatArray:
        """Hessian of the objective times a direction, in O(N).

        The Hessian is diagonal plus rank two: the types meet in the two moments only.

        Parameters
        ----------
        tokens, direction : array_like, shape (..., N)

        Returns
        -------
        ndarray, shape (..., N)

        Raises
        ------
        InvalidInputError
            If the queue is unstable at some allocation, or the shapes do not fit.
        """
        point, along = self._stable(tokens), self._numbers("direction", direction)
        try:
            np.broadcast_shapes(point.tokens.shape, along.shape)
        except ValueError:
            raise InvalidInputError(
                f"direction must have shape ({self.size},) or {point.tokens.shape} as the tokens, "
                f"got shape {along.shape}"
            ) from None
        return point.hessian_product(along.astype(np.float64))

    def response(self, tokens: ArrayLike) -> FloatArray:
        """Best answer F(l) of each type to the marginal cost of its tokens at `tokens`.

        F is order-reversing. Without constraints on all types together, a fixed point is an
        optimum, and where curves are smooth the optimum is the only one. Where curves have kinks
        there may be none: an optimum may lie within a straight piece, and a response at its ends.

        Parameters
        ----------
        tokens : array_like, shape (..., N)

        Returns
        -------
        ndarray, shape (..., N)
            clip(argmax_v α π w p(v) − ∇T(l) · v, lower, upper)

        Raises
        ------
        InvalidInputError
            If the queue is unstable at some allocation.
        """
        return self._stable(tokens).response

    def _stable(self, tokens: ArrayLike) -> Evaluation:
        point = self.evaluate(tokens)
        if not (point.utilization > -np.inf).all():
            is_number = point.tokens > -np.inf
            require("tokens", point.tokens, is_number, "must be a number of tokens")
        if not point.is_stable:
            raise InvalidInputError(
                f"tokens make the queue unstable (utilization {np.max(point.utilization):.6g}, "
                "must be below 1): the objective is −inf there and has no derivatives"
            )
        return point

    def table(self) -> Table:
        """Return the task types, and what the ends of their boxes mean."""
        least, most = self.min_tokens, self.max_tokens
        return Table(
            [
                *type_columns(self),
                Column("importance", self.importance),
                Column("min tokens", least),
                Column("max tokens", most),
                Column("service time at min tokens (s)", self.service.mean(least)),
                Column("service time at max tokens (s)", self.service.mean(most)),
                Column("accuracy at min tokens", self.accuracy.value(least)),
                Column("accuracy at max tokens", self.accuracy.value(most)),
            ]
        )

    def _parts(self) -> Iterable[Part]:
        yield [
            (f"{self.name}: " if self.name else "", "bold"),
            f"{plural(self.size, 'task type')}, {self.arrival_rate:g} queries/s, "
            f"accuracy worth {self.accuracy_weight:g} s, {self.queue!r}",
        ]
        yield from (f"constraint: {constraint.label}" for constraint in self.constraints)
        yield ""
        yield self.table()

    def __repr__(self) -> str:
        label = f"{shown(self.name)}, " if self.name else ""
        return (
            f"Instance({label}{plural(self.size, 'type')}, "
            f"arrival_rate={self.arrival_rate:g}, accuracy_weight={self.accuracy_weight:g})"
        )


def require_type_order(name: str, value: Any, names: tuple[str, ...] | None) -> None:
    """Refuse a frame with a column for each type, by name, in another order than the types."""
    columns = column_names(value)
    if names is not None and set(columns) == set(names) and tuple(columns) != names:
        raise InvalidInputError(
            f"{name}: the columns {shown(columns)} are in another order than the types "
            f"{shown(list(names))}; put them in that of the types"
        )


def type_columns(instance: Instance) -> list[Column]:
    """Return name and probability of each type, for a table."""
    names = [instance.type_name(k) for k in range(instance.size)]
    return [
        Column("task type", names),
        Column("probability", instance.probabilities, "{:.3g}".format),
    ]


def _checked_constraints(constraints: Any, instance: Instance) -> tuple[Constraint, ...]:
    """Return constraints that fit an instance whose other fields are known."""
    is_list = isinstance(constraints, Sequence) and not isinstance(constraints, Constraint)
    require_that(is_list, "constraints", constraints, "a list of constraints")
    for place, constraint in enumerate(constraints):
        allowed = "a constraint such as MaxMeanSystemTime(2.0)"
        is_one = isinstance(constraint, Constraint)
        require_that(is_one, f"constraints[{place}]", constraint, allowed)
        constraint.require_allowed(instance)
    return tuple(constraints)


def _distinct_names(names: Sequence[str], length: int) -> tuple[str, ...]:
    kept = text_tuple("names", names)
    if len(kept) != length:
        raise InvalidInputError(
            f"names must have one entry for each of the {length} types, got {len(kept)}"
        )
    if "" in kept:
        raise InvalidInputError(Entry("names", (kept.index(""),)), " must not be empty")
    if len(set(kept)) != length:
        repeated = next(entry for entry in kept if kept.count(entry) > 1)
        raise InvalidInputError(f"names must be distinct, got {shown(repeated)} more than once")
    return kept


def require_instance(instance: object) -> None:
    """Raise an error where an argument called ``instance`` is none."""
    require_that(isinstance(instance, Instance), "instance", instance, "an Instance")
