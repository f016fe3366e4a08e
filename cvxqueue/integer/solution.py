"""The answer in whole tokens: what it does, what it loses, and how far it can be from optimal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import certified_objective, rounding_allowance
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import ArrayData, FloatArray
from cvxqueue.solution import Solution

__all__ = ["IntegerSolution"]

# A table for people; the arrays hold the rest.
_TYPES_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IntegerSolution(ArrayData):
    """A stable allocation in whole tokens, with what is proven of it.

    Parameters
    ----------
    continuous : Solution
        The continuous answer that it is compared with.
    method : str
        ``"neighbors"``, ``"nearest"`` or ``"floor"``.
    tokens : ndarray of int64, shape (N,)
        Thinking tokens of each type.
    separable_gap : float
        Bound on the objective of every whole allocation less `objective`, from the convexity of T
        alone, in seconds.
    neighbors_gap : float or None
        Bound on what any other combination of floors and ceilings gains over `tokens`, in seconds,
        to the tolerances of HiGHS; ``None`` where the method does not compare them.
    is_exact : bool
        Whether `neighbors_gap` is within the tolerance, or within what rounding can do to the
        objective: the best combination was found.
    is_repaired : bool
        Whether the nearest whole numbers were unstable and the floor took their place.
    solve_time : float
        Seconds.
    """

    continuous: Solution
    method: str
    tokens: NDArray[np.int64]
    separable_gap: float
    neighbors_gap: float | None
    is_exact: bool
    is_repaired: bool
    solve_time: float

    def __post_init__(self) -> None:
        tokens = np.array(self.tokens, dtype=np.int64)
        tokens.flags.writeable = False
        object.__setattr__(self, "tokens", tokens)

    @property
    def instance(self) -> Instance:
        """The instance that was solved."""
        return self.continuous.instance

    @cached_property
    def evaluation(self) -> Evaluation:
        """The closed forms at `tokens`."""
        return self.instance.evaluate(self.tokens)

    @property
    def objective(self) -> float:
        """Objective J in seconds, rounded down by `allowance`."""
        return float(certified_objective(self.evaluation))

    @cached_property
    def loss(self) -> float:
        """Continuous optimum less the objective, in seconds, without cancellation.

        Where the continuous tokens are whole it is zero up to `allowance`, of either sign.
        """
        return float(self.evaluation.improvement(self.continuous.certificate.evaluation))

    @property
    def loss_bound(self) -> float:
        """Proven bound on the loss against the true continuous optimum, in seconds."""
        return max(self.loss, 0.0) + self.continuous.gap

    @property
    def gap(self) -> float:
        """`upper_bound` − `objective`, in seconds."""
        return min(self.separable_gap, self.loss_bound + self.allowance)

    @property
    def upper_bound(self) -> float:
        """Proven upper bound on the objective of every whole allocation, in seconds."""
        return self.objective + self.gap

    @property
    def allowance(self) -> float:
        """What rounding can have done to the objective, in seconds."""
        return float(rounding_allowance(self.evaluation))

    @property
    def accuracies(self) -> FloatArray:
        """Probability of a correct answer of each type, shape (N,)."""
        return self.evaluation.accuracies

    @property
    def mean_accuracy(self) -> float:
        """Plain mean accuracy Σ π p."""
        return float(self.evaluation.mean_accuracy)

    @property
    def utilization(self) -> float:
        """Fraction of time that the server works."""
        return float(self.evaluation.utilization)

    @property
    def mean_service_time(self) -> float:
        """Mean service time, in seconds."""
        return float(self.evaluation.mean_service_time)

    @property
    def mean_waiting_time(self) -> float:
        """Mean waiting time, in seconds."""
        return float(self.evaluation.mean_waiting_time)

    @property
    def mean_system_time(self) -> float:
        """Mean system time, in seconds."""
        return float(self.evaluation.mean_system_time)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain Python values, ready for JSON."""
        return {
            "method": self.method,
            "tokens": self.tokens.tolist(),
            "objective": self.objective,
            "upper_bound": self.upper_bound,
            "gap": self.gap,
            "loss": self.loss,
            "loss_bound": self.loss_bound,
            "neighbors_gap": self.neighbors_gap,
            "is_exact": self.is_exact,
            "is_repaired": self.is_repaired,
            "accuracies": self.accuracies.tolist(),
            "mean_accuracy": self.mean_accuracy,
            "utilization": self.utilization,
            "mean_service_time": self.mean_service_time,
            "mean_waiting_time": self.mean_waiting_time,
            "mean_system_time": self.mean_system_time,
            "solve_time": self.solve_time,
        }

    def __repr__(self) -> str:
        return (
            f"IntegerSolution(method={self.method!r}, objective={self.objective:.9g}, "
            f"loss={self.loss:.3g}, gap={self.gap:.3g})"
        )

    def _verdict(self) -> str:
        if self.is_exact:
            return "the best combination of floors and ceilings"
        if self.neighbors_gap is not None:
            return (
                "the best combination of floors and ceilings found; another may gain "
                f"{self.neighbors_gap:.2g} s (raise time_limit)"
            )
        if self.is_repaired:
            return "rounded down, because the nearest whole numbers are unstable"
        return "rounded down" if self.method == "floor" else "rounded to the nearest"

    def __str__(self) -> str:
        shown = range(min(self.instance.size, _TYPES_SHOWN))
        names = [self.instance.type_name(k) for k in shown]
        width = max(9, *(len(name) for name in names))
        lines = [
            f"{self.method}: {self._verdict()}",
            f"objective {self.objective:.9g} s, loss {self.loss:.2g} s against the continuous "
            f"optimum (at most {self.loss_bound:.2g} s)",
            f"no whole allocation gains more than {self.gap:.2g} s",
            f"utilization {self.utilization:.6g}, mean system time {self.mean_system_time:.6g} s "
            f"(waiting {self.mean_waiting_time:.6g} s), mean accuracy {self.mean_accuracy:.6g}",
            "",
            f"{'task type':<{width}}  {'mix':>9}  {'tokens':>9}  {'continuous':>12}  "
            f"{'accuracy':>9}",
        ]
        lines += [
            f"{name:<{width}}  {self.instance.probabilities[k]:>9.4g}  {self.tokens[k]:>9d}  "
            f"{self.continuous.tokens[k]:>12.3f}  {self.accuracies[k]:>9.4f}"
            for k, name in zip(shown, names, strict=True)
        ]
        if self.instance.size > _TYPES_SHOWN:
            lines.append(f"... and {self.instance.size - _TYPES_SHOWN} more types")
        return "\n".join(lines)
