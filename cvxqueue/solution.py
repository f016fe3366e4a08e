"""The answer of a method: tokens, what they do, and how far they can be from optimal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import (
    Certificate,
    certified_gap,
    certified_objective,
    relative_gap,
)
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_least, at_most
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arithmetic import quiet
from cvxqueue.model.arrays import (
    ArrayData,
    FloatArray,
    frozen,
    nonnegative_number,
    positive_number,
    read_only,
    require,
)
from cvxqueue.model.data import ModelData
from cvxqueue.model.plain import plain
from cvxqueue.shown import shown

__all__ = [
    "ENTRIES",
    "LARGEST_TOLERANCE",
    "BatchSolution",
    "Claims",
    "Ended",
    "Iterate",
    "Solution",
    "Status",
    "allowed_tolerance",
    "claims_of",
    "computed_status",
    "require_ended",
]


LARGEST_TOLERANCE = 0.01
"""A gap of more than one part in a hundred certifies nothing that deserves the word optimal."""


class Ended(Enum):
    """Why a method ended, which says nothing of the answer: that is for the certificate."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration_limit"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    DIVERGED = "diverged"
    NUMERICAL_ERROR = "numerical_error"
    STOPPED = "stopped"


class Status(Enum):
    """What an answer is: ``OPTIMAL`` by its certificate, otherwise why its method ended."""

    OPTIMAL = "optimal"
    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration_limit"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    DIVERGED = "diverged"
    NUMERICAL_ERROR = "numerical_error"
    STOPPED = "stopped"

    @property
    def advice(self) -> str:
        """What happened, and what to do next."""
        return _ADVICE[self]


_ADVICE = {
    Status.OPTIMAL: "the certified gap is within the tolerance",
    Status.CONVERGED: "the method was done, and the certified gap exceeds the tolerance; loosen it",
    Status.ITERATION_LIMIT: "the limit on the iterations was reached; raise max_iterations",
    Status.TIME_LIMIT: "the time limit was reached; raise time_limit",
    Status.STALLED: "no further progress; loosen the tolerance",
    Status.DIVERGED: "the iteration left the stability region",
    Status.NUMERICAL_ERROR: "the back end failed; see backend_status",
    Status.STOPPED: "the callback asked to stop",
}


def allowed_tolerance(value: Any, *, zero: bool = False) -> float:
    """Return a tolerance on a certified relative gap, or raise an error that says what may be one.

    Parameters
    ----------
    value : float
        More than 0, at most 0.01.
    zero : bool, default False
        Whether 0 is allowed as well, for what rounding alone can keep from it.
    """
    number = nonnegative_number("tolerance", value) if zero else positive_number("tolerance", value)
    if number > LARGEST_TOLERANCE:
        raise InvalidInputError(
            f"tolerance = {number!r} must be at most {LARGEST_TOLERANCE}: a larger relative gap "
            "certifies nothing"
        )
    return number


def computed_status(ended: Ended, *, is_optimal: bool) -> Status:
    """Return what an answer is: optimal if that is proven, otherwise why its method ended."""
    return Status.OPTIMAL if is_optimal else Status(ended.value)


def require_ended(ended: object) -> None:
    """Raise an error where why a method ended is not one of `Ended`."""
    if not isinstance(ended, Ended):
        allowed = ", ".join(f"Ended.{entry.name}" for entry in Ended)
        raise InvalidInputError(
            f"ended must be one of {allowed}, got {shown(ended)}: whether an answer is optimal "
            "follows from its certificate"
        )


# What else may help where a method did not reach its tolerance.
_OTHER_METHOD = {"newton": "conic"}


class Iterate(NamedTuple):
    """One row of the history of a solve."""

    iteration: int
    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Solution(ArrayData):
    """Answer of a method, graded by the certificate of the instance.

    Parameters
    ----------
    certificate : Certificate
        What is proven of the answer.
    method : str
        Name of the method.
    ended : Ended
        Why the method ended.
    tolerance : float
        Tolerance on the certified gap, relative to ``certificate.scale``; at most 0.01.
    backend_status : str
        What the solver behind the method said, word for word; empty for the package's own methods.
    iterations : int
        Iterations of the method, or of the solver behind it.
    setup_time, solve_time : float
        Seconds spent on building the problem, and on everything after.
    history : tuple of Iterate
        Objective, certified gap (s) and elapsed time (s) of the iterates that were certified: of
        ``"newton"`` those that it proposed as the answer, and all where there was a callback.
    """

    certificate: Certificate
    method: str
    ended: Ended
    tolerance: float
    backend_status: str
    iterations: int
    setup_time: float
    solve_time: float
    history: tuple[Iterate, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.certificate, Certificate):
            raise InvalidInputError(
                f"certificate must be a Certificate, got {shown(self.certificate)}"
            )
        require_ended(self.ended)
        history = tuple(Iterate(int(row[0]), *map(float, row[1:])) for row in self.history)
        vars(self).update(tolerance=allowed_tolerance(self.tolerance), history=history)

    @property
    def instance(self) -> Instance:
        """The instance that was solved."""
        return self.certificate.instance

    @property
    def is_optimal(self) -> bool:
        """Whether the certified gap is within the tolerance."""
        return self.relative_gap <= self.tolerance

    @property
    def status(self) -> Status:
        """``OPTIMAL`` where the certified gap is within the tolerance, otherwise `ended`."""
        return computed_status(self.ended, is_optimal=self.is_optimal)

    @property
    def advice(self) -> str:
        """What happened, and what to do next."""
        if self.status in (Status.OPTIMAL, Status.STOPPED):
            return self.status.advice
        if self.objective == -np.inf and self.status is Status.STALLED:
            return "no feasible point was found, and none may exist; relax a constraint"
        other = _OTHER_METHOD.get(self.method, "newton")
        advice = self.status.advice
        if self.status is Status.DIVERGED:
            # Other methods leave it only where the optimum is closer to its edge than a rounding.
            advice += "; use damping" if self.method == "fixed-point" else "; lower accuracy_weight"
        return f"{advice}, or use method {other!r}"

    @property
    def tokens(self) -> FloatArray:
        """Thinking tokens of each type, shape (N,)."""
        return self.certificate.tokens

    @property
    def objective(self) -> float:
        """Objective J, in seconds, rounded down: a proven lower bound on the optimal one."""
        return self.certificate.objective

    @property
    def upper_bound(self) -> float:
        """Proven upper bound on the optimal objective, in seconds."""
        return self.certificate.upper_bound

    @property
    def gap(self) -> float:
        """`upper_bound` − `objective`, in seconds."""
        return self.certificate.gap

    @property
    def relative_gap(self) -> float:
        """`gap` relative to α Σ π w p + T; where that is nothing, see `Evaluation.scale`."""
        return self.certificate.relative_gap

    @property
    def token_bounds(self) -> FloatArray:
        """Interval of each type that contains the optimal tokens, shape (N, 2)."""
        return self.certificate.token_bounds

    @property
    def lower_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≥ min_tokens, in seconds per token, shape (N,)."""
        return self.certificate.lower_multipliers

    @property
    def upper_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≤ max_tokens, in seconds per token, shape (N,)."""
        return self.certificate.upper_multipliers

    @property
    def constraint_multipliers(self) -> tuple[float, ...]:
        """What one unit more of each coupling constraint's limit gains, in seconds.

        See `Certificate.constraint_multipliers`.
        """
        return self.certificate.constraint_multipliers

    @property
    def stationarity(self) -> float:
        """Largest imbalance of a type's marginal benefit and cost, relative to the cost."""
        return self.certificate.stationarity

    @property
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer of each type, shape (N,)."""
        return self.certificate.evaluation.accuracies

    @property
    def mean_accuracy(self) -> float:
        """Plain mean accuracy Σ π p."""
        return float(self.certificate.evaluation.mean_accuracy)

    @property
    def utilization(self) -> float:
        """Fraction of time that the server works."""
        return float(self.certificate.evaluation.utilization)

    @property
    def mean_service_time(self) -> float:
        """Mean service time, in seconds."""
        return float(self.certificate.evaluation.mean_service_time)

    @property
    def mean_waiting_time(self) -> float:
        """Mean waiting time, in seconds."""
        return float(self.certificate.evaluation.mean_waiting_time)

    @property
    def mean_system_time(self) -> float:
        """Mean system time, in seconds."""
        return float(self.certificate.evaluation.mean_system_time)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; ``None`` for what is not finite."""
        summary = {
            "method": self.method,
            "status": self.status.value,
            "ended": self.ended.value,
            "backend_status": self.backend_status,
            "tolerance": self.tolerance,
            **self.certificate.to_dict(),
            "accuracies": self.accuracies.tolist(),
            "mean_accuracy": self.mean_accuracy,
            "utilization": self.utilization,
            "mean_service_time": self.mean_service_time,
            "mean_waiting_time": self.mean_waiting_time,
            "mean_system_time": self.mean_system_time,
            "iterations": self.iterations,
            "setup_time": self.setup_time,
            "solve_time": self.solve_time,
        }
        return plain(summary)

    def __repr__(self) -> str:
        return (
            f"Solution(method={self.method!r}, status={self.status.value!r}, "
            f"objective={self.objective:.9g}, relative_gap={self.relative_gap:.3g})"
        )

    def __str__(self) -> str:
        shown = range(min(self.instance.size, _TYPES_SHOWN))
        names = [self.instance.type_name(k) for k in shown]
        width = max(9, *(len(name) for name in names))
        lines = [
            f"{self.method}: {self.status.value} ({self.advice})",
            f"objective {at_least(self.objective, 9)} s, certified gap {at_most(self.gap)} s "
            f"(relative {at_most(self.relative_gap)})",
            f"utilization {self.utilization:.6g}, mean system time {self.mean_system_time:.6g} s "
            f"(waiting {self.mean_waiting_time:.6g} s), mean accuracy {self.mean_accuracy:.6g}",
            *(
                f"{coupling.label}: "
                + (f"one unit of this limit is worth {price:.6g} s" if price > 0 else "has room")
                for coupling, price in zip(
                    self.instance.couplings, self.constraint_multipliers, strict=False
                )
            ),
            "",
            f"{'task type':<{width}}  {'mix':>9}  {'tokens':>12}  {'accuracy':>9}",
        ]
        lines += [
            f"{name:<{width}}  {self.instance.probabilities[k]:>9.4g}  {self.tokens[k]:>12.3f}  "
            f"{self.accuracies[k]:>9.4f}"
            for k, name in zip(shown, names, strict=True)
        ]
        if self.instance.size > _TYPES_SHOWN:
            lines.append(f"... and {self.instance.size - _TYPES_SHOWN} more types")
        return "\n".join(lines)


# A table for people; the arrays hold the rest.
_TYPES_SHOWN = 20


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


@quiet
def claims_of(point: Evaluation, gap: FloatArray | None = None) -> Claims:
    """Return what is claimed of tokens; nothing where they are outside the box, or no numbers.

    Parameters
    ----------
    point : Evaluation
        Of a batch.
    gap : ndarray, shape (B,), optional
        The certified gap, where it is known.
    """
    data, tokens = point.instance, point.tokens
    is_inside = ((tokens >= data.lower) & (tokens <= data.upper)).all(axis=-1)
    gap = certified_gap(point) if gap is None else gap
    return Claims(
        np.where(is_inside, certified_objective(point), -np.inf),
        np.where(is_inside, gap, np.inf),
        np.where(is_inside, point.scale, np.nan),
        np.where(is_inside, point.utilization, data.lowest.utilization),
        np.where(is_inside, point.mean_service_time, np.nan),
        np.where(is_inside, point.mean_waiting_time, np.inf),
    )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BatchSolution(ArrayData):
    """Answers to many variants of an instance; B variants, N types.

    Where no allocation is stable, the tokens are NaN, the objective −inf and the gap infinite, and
    the utilization is the least that there is, 1 or more. What is claimed follows from the data of
    the variants and the tokens; tokens outside the box prove nothing.

    Parameters
    ----------
    variants : ModelData
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

    variants: ModelData
    tokens: FloatArray
    tolerance: FloatArray
    iterations: NDArray[np.int64]
    solve_time: float

    def __post_init__(self) -> None:
        if not isinstance(self.variants, ModelData):
            raise InvalidInputError(f"variants must be ModelData, got {shown(self.variants)}")
        if self.variants.couplings or np.ndim(self.variants.arrival_rate) != 1:
            raise InvalidInputError(
                "variants must have an arrival rate each and no constraints, which a batch does "
                f"not keep, got {shown(self.variants)}; use certify for one instance"
            )
        self.variants.require_allowed()
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
    def objective(self) -> FloatArray:
        """Objective J, in seconds, rounded down: a proven lower bound, shape (B,)."""
        return self.claims.objective

    @property
    def gap(self) -> FloatArray:
        """Proven bound on the optimal objective less `objective`, in seconds, shape (B,)."""
        return self.claims.gap

    @property
    def scale(self) -> FloatArray:
        """α Σ π w p + T, in seconds: what gaps are relative to, shape (B,)."""
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
            f"BatchSolution({len(self)} variant{'s' * (len(self) != 1)}, "
            f"{int(self.is_optimal.sum())} optimal, "
            f"{int((~self.is_stable).sum())} without a stable allocation)"
        )
