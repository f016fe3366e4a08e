"""The answer of a method: tokens, what they do, and how far they can be from optimal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import Certificate
from cvxqueue.model import Instance
from cvxqueue.model.arrays import ArrayData, FloatArray
from cvxqueue.model.plain import plain

__all__ = ["BatchSolution", "Iterate", "Solution", "Status"]


class Status(Enum):
    """How a solve ended. Only the certificate can make it ``OPTIMAL``."""

    OPTIMAL = "optimal"
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
    Status.ITERATION_LIMIT: "the limit on the iterations was reached; raise max_iterations",
    Status.TIME_LIMIT: "the time limit was reached; raise time_limit",
    Status.STALLED: "no further progress; loosen the tolerance",
    Status.DIVERGED: "the iteration left the stability region; use damping",
    Status.NUMERICAL_ERROR: "the back end failed; see backend_status",
    Status.STOPPED: "the callback asked to stop",
}
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
    status : Status
        ``OPTIMAL`` iff the certified relative gap is within `tolerance`.
    tolerance : float
        Tolerance on the certified gap, relative to ``certificate.scale``.
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
    status: Status
    tolerance: float
    backend_status: str
    iterations: int
    setup_time: float
    solve_time: float
    history: tuple[Iterate, ...]

    @property
    def instance(self) -> Instance:
        """The instance that was solved."""
        return self.certificate.instance

    @property
    def is_optimal(self) -> bool:
        """Whether the certified gap is within the tolerance."""
        return self.status is Status.OPTIMAL

    @property
    def advice(self) -> str:
        """What happened, and what to do next."""
        if self.status in (Status.OPTIMAL, Status.STOPPED):
            return self.status.advice
        if self.objective == -np.inf and self.status is Status.STALLED:
            return "no feasible point was found, and none may exist; relax a constraint"
        other = _OTHER_METHOD.get(self.method, "newton")
        return f"{self.status.advice}, or use method {other!r}"

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
        """`gap` relative to α Σ π w p + T."""
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
            f"objective {self.objective:.9g} s, certified gap {self.gap:.2g} s "
            f"(relative {self.relative_gap:.2g})",
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


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BatchSolution(ArrayData):
    """Answers to many variants of an instance; B variants, N types.

    Where no allocation is stable, the tokens are NaN, the objective −inf and the gap infinite, and
    the utilization is the least that there is, 1 or more.

    Parameters
    ----------
    tokens : ndarray, shape (B, N)
        Thinking tokens of each type.
    objective : ndarray, shape (B,)
        Objective J, in seconds, rounded down: a proven lower bound on the optimal one.
    gap : ndarray, shape (B,)
        Proven bound on the optimal objective less `objective`, in seconds.
    scale : ndarray, shape (B,)
        α Σ π w p + T, in seconds: what gaps are relative to.
    tolerance : ndarray, shape (B,)
        Relative gap that each answer was held to.
    utilization : ndarray, shape (B,)
        Fraction of time that the server works.
    mean_service_time, mean_waiting_time : ndarray, shape (B,)
        In seconds.
    iterations : ndarray of int, shape (B,)
        Passes over the types.
    solve_time : float
        Seconds for all of them.
    """

    tokens: FloatArray
    objective: FloatArray
    gap: FloatArray
    scale: FloatArray
    tolerance: FloatArray
    utilization: FloatArray
    mean_service_time: FloatArray
    mean_waiting_time: FloatArray
    iterations: NDArray[np.int64]
    solve_time: float

    def __post_init__(self) -> None:
        for value in self._fields().values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def upper_bound(self) -> FloatArray:
        """Proven upper bound on the optimal objective, in seconds, shape (B,); −inf if unstable."""
        return np.where(self.is_stable, self.objective, 0.0) + np.where(
            self.is_stable, self.gap, -np.inf
        )

    @property
    def relative_gap(self) -> FloatArray:
        """`gap` relative to `scale`, shape (B,)."""
        relative: FloatArray = np.full_like(self.gap, np.inf)
        return np.divide(self.gap, self.scale, out=relative, where=self.is_stable)

    @property
    def is_stable(self) -> NDArray[np.bool_]:
        """Whether some allocation is stable, shape (B,)."""
        return np.isfinite(self.scale)

    @property
    def is_optimal(self) -> NDArray[np.bool_]:
        """Whether the certified gap is within the tolerance, shape (B,)."""
        return self.is_stable & (self.gap <= self.tolerance * self.scale)

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
