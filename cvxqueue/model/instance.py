"""The instance: a mix of task types, a server, a queue, and what accuracy is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import Entry, InfeasibleError, InvalidInputError, UnstableQueueError
from cvxqueue.formatting import plural
from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.constraints import BoxConstraint, Constraint, CouplingConstraint
from cvxqueue.model.data import ModelData
from cvxqueue.model.domains import Domain, Domains
from cvxqueue.model.evaluation import Evaluation
from cvxqueue.model.queue import Queue
from cvxqueue.model.queues import FIFO
from cvxqueue.model.service import ServiceLaw
from cvxqueue.numerics.array_data import InputData
from cvxqueue.numerics.arrays import FloatArray, frozen_tuple, is_frozen, read_only
from cvxqueue.numerics.checks import float_array, number_array, real_number, text_tuple
from cvxqueue.shown import shown

__all__ = ["Instance", "Metrics", "require_instance"]

_FLOAT64 = np.dtype(np.float64)


class Metrics(NamedTuple):
    """What an operator would measure at an allocation; times in seconds."""

    objective: FloatArray
    """α Σ π w p − T, in seconds."""
    mean_accuracy: FloatArray
    """Σ π p: importance does not enter."""
    accuracies: FloatArray
    """Probability of a correct answer of each type, shape (..., N)."""
    utilization: FloatArray
    """Fraction of time that the server works."""
    mean_service_time: FloatArray
    """Mean of the service-time mixture."""
    service_time_second_moment: FloatArray
    """Second moment of the service-time mixture, in seconds²."""
    mean_waiting_time: FloatArray
    """Mean time between arrival and start of service."""
    mean_system_time: FloatArray
    """Mean time between arrival and departure."""

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen_tuple, (type(self), *self)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Instance(InputData, ModelData):
    """Task types that share one server, and what their accuracy is worth.

    The objective is J(l) = α Σ π w p(l) − T(l), to be maximised over min_tokens ≤ l ≤ max_tokens
    and ρ(l) < 1. It is concave there: strictly, except perhaps under `ProcessorSharing` where the
    accuracy of a type is not strictly concave or has no weight.

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
    # Only a Lagrangian has any.
    separable_costs = ()

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
        mix = float_array("probabilities", probabilities)
        length = mix.size
        keep("probabilities", mix if mix.ndim else float_array("probabilities", mix, 1))
        keep("min_tokens", float_array("min_tokens", min_tokens, length))
        keep("max_tokens", float_array("max_tokens", max_tokens, length))
        keep("importance", float_array("importance", importance, length))
        keep("lower", self.min_tokens)
        keep("upper", self.max_tokens)
        self.require_allowed()

        for field, law, kinds in (
            ("service", service, "a service law such as AffineService"),
            ("accuracy", accuracy, "an accuracy curve such as SaturatingExponential"),
        ):
            if isinstance(law, type) or not hasattr(law, "broadcast"):
                raise InvalidInputError(f"{field} must be {kinds}, got {shown(law)}")
            data = law.broadcast(length)
            if len(data.shape) > 1:
                raise InvalidInputError(
                    f"{field} has data for a batch of {data.shape[0]} instances, and must be of "
                    "one; use solve_batch"
                )
            keep(field, data)
        if queue is not None and (isinstance(queue, type) or not hasattr(queue, "prices")):
            raise InvalidInputError(f"queue must be a queue such as FIFO(), got {shown(queue)}")
        keep("queue", FIFO() if queue is None else queue)

        keep("names", None if names is None else _distinct_names(names, length))
        keep("domains", None if domains is None else Domains.of(domains, length))
        self._keep_constraints(constraints)
        for field, text in (("name", name), ("description", description)):
            if not isinstance(text, str):
                raise InvalidInputError(f"{field} must be a string, got {shown(text)}")
            keep(field, text)
        keep("sources", text_tuple("sources", sources))

    @cached_property
    def least_utilization(self) -> float:
        """Utilization at `lower`; some allocation is stable iff it is below 1."""
        return float(self.lowest.utilization)

    @cached_property
    def max_arrival_rate(self) -> float:
        """Supremum of the arrival rates at which some allocation is stable, per second."""
        mean = float(self.lowest.mean_service_time)
        return 1.0 / mean if mean > 0 else np.inf

    @property
    def least_tokens_name(self) -> str:
        """What sets the fewest tokens, as a message says it."""
        is_cut = bool((self.lower > self.min_tokens).any())
        return "min_tokens and the accuracy floors" if is_cut else "min_tokens"

    @property
    def is_feasible(self) -> bool:
        """Whether some allocation is stable."""
        return self.lowest.is_stable

    def require_feasible(self) -> None:
        """Raise unless some allocation is stable.

        Raises
        ------
        UnstableQueueError
            If the utilization at `lower` is 1 or more.
        InfeasibleError
            If no allocation satisfies one of the constraints; combinations that only together
            leave nothing are found by the methods.
        """
        for constraint in self.constraints:
            if isinstance(constraint, BoxConstraint):
                least = constraint.least_tokens(self)
                if (least > self.max_tokens).any():
                    shortfall = constraint.shortfall(self, int(np.argmax(least > self.max_tokens)))
                    raise InfeasibleError(f"constraints: {shortfall}")
        if not self.is_feasible:
            rate = self.max_arrival_rate
            raise UnstableQueueError(self.least_utilization, rate, self.least_tokens_name)
        greatest = self.evaluate(self.upper)
        others = [coupling for coupling in self.couplings if not coupling.is_floor]
        for coupling in self.couplings:
            # More tokens help a floor and nothing else.
            best = greatest if coupling.is_floor else self.lowest
            if coupling.excess(best) > coupling.allowance(best):
                if coupling.is_floor and not _is_allocation(greatest, others):
                    # How much less would do is for a method to say.
                    continue
                bound = "max_tokens" if coupling.is_floor else "the least tokens"
                # What unstable tokens reach is out of reach as well.
                more = "" if best.is_stable else ", and further, because these are unstable"
                raise InfeasibleError(
                    f"constraints: no allocation has {coupling.label}, not even at {bound}; "
                    f"{coupling.remedy(best)}{more}"
                )

    def _keep_constraints(self, constraints: Sequence[Constraint]) -> None:
        """Check the constraints and cut the box to what they leave of it."""
        if isinstance(constraints, Constraint) or not isinstance(constraints, Sequence):
            raise InvalidInputError(
                f"constraints must be a list of constraints, got {shown(constraints)}"
            )
        lower, upper = self.min_tokens, self.max_tokens
        for place, constraint in enumerate(constraints):
            if not isinstance(constraint, Constraint):
                raise InvalidInputError(
                    f"constraints[{place}] must be a constraint such as MaxMeanSystemTime(2.0), "
                    f"got {shown(constraint)}"
                )
            constraint.require_allowed(self)
            if isinstance(constraint, BoxConstraint):
                lower = np.maximum(lower, constraint.least_tokens(self))
            elif isinstance(constraint, CouplingConstraint):
                upper = np.minimum(upper, constraint.most_tokens(self))
        if constraints:
            # Where they leave nothing, `require_feasible` says so.
            lower = np.minimum(lower, self.max_tokens)
            for field, array in (("lower", lower), ("upper", np.maximum(lower, upper))):
                object.__setattr__(self, field, read_only(array))
        object.__setattr__(self, "constraints", tuple(constraints))
        couplings = tuple(c for c in constraints if isinstance(c, CouplingConstraint))
        object.__setattr__(self, "couplings", couplings)

    def type_name(self, position: int) -> str:
        """Name of a type, or a numbered stand-in where the instance gives none."""
        return f"type {position + 1}" if self.names is None else self.names[position]

    def evaluate(self, tokens: ArrayLike) -> Evaluation:
        """Return all closed forms at `tokens`, computed when asked for.

        Parameters
        ----------
        tokens : array_like, shape (..., N)
            Copied, unless it is an array of float64 that nobody can write to.

        Raises
        ------
        InvalidInputError
            If they are not numbers, or the last axis is not N long.
        """
        array = self._numbers("tokens", tokens)
        is_safe = array.dtype == _FLOAT64 and is_frozen(array)
        return Evaluation(self, array if is_safe else read_only(array))

    def _numbers(self, name: str, value: ArrayLike) -> NDArray[Any]:
        """Numbers of any size with one entry for each type in the last axis."""
        # Methods evaluate many points, and all that they hand over are such arrays.
        if type(value) is np.ndarray and value.dtype == _FLOAT64:
            array: NDArray[Any] = value
        else:
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

    def metrics(self, tokens: ArrayLike) -> Metrics:
        """Return accuracies, utilization and times at `tokens`.

        Parameters
        ----------
        tokens : array_like, shape (..., N)

        Returns
        -------
        Metrics
            Times are infinite, and the objective −inf, where the queue is unstable.
        """
        point = self.evaluate(tokens)
        return Metrics(*(getattr(point, field) for field in Metrics._fields))

    def _stable(self, tokens: ArrayLike) -> Evaluation:
        point = self.evaluate(tokens)
        if not point.is_stable:
            raise InvalidInputError(
                f"tokens make the queue unstable (utilization {np.max(point.utilization):.6g}, "
                "must be below 1): the objective is −inf there and has no derivatives"
            )
        return point

    def __repr__(self) -> str:
        label = f"{shown(self.name)}, " if self.name else ""
        return (
            f"Instance({label}{plural(self.size, 'type')}, "
            f"arrival_rate={self.arrival_rate:g}, accuracy_weight={self.accuracy_weight:g})"
        )


def _is_allocation(point: Evaluation, couplings: Sequence[CouplingConstraint]) -> bool:
    """Whether a point is stable and keeps some constraints."""
    return point.is_stable and all(
        coupling.excess(point) <= coupling.allowance(point) for coupling in couplings
    )


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
    if not isinstance(instance, Instance):
        raise InvalidInputError(f"instance must be an Instance, got {shown(instance)}")
