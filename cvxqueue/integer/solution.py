"""The answer within domains: what it does, what it loses, and how far it can be from optimal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import certified_objective, rounding_allowance
from cvxqueue.integer.levels import level_data
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import ArrayData, FloatArray, read_only
from cvxqueue.model.domains import Domains, LevelMenu
from cvxqueue.model.plain import plain
from cvxqueue.solution import Solution

__all__ = ["IntegerSolution"]

# A table for people; the arrays hold the rest.
_TYPES_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IntegerSolution(ArrayData):
    """A stable allocation that its domains allow, with what is proven of it.

    Parameters
    ----------
    instance : Instance
        The instance that was solved.
    domains : Domains
        What each type may choose from.
    continuous : Solution or None
        The continuous answer that it is compared with; ``None`` where a type has levels, which have
        no tokens.
    method : str
        ``"exact"``, ``"neighbors"``, ``"descent"``, ``"nearest"`` or ``"floor"``.
    choice : ndarray, shape (N,)
        Thinking tokens of each type, or the position of its level.
    domain_gap : float
        Bound on the objective of every allocation that the domains allow less `objective`, in
        seconds, rounding included.
    neighbors_gap : float or None
        Bound on what any other combination of neighbors gains over `tokens`, in seconds, to the
        tolerances of HiGHS; ``None`` where the method does not compare them.
    is_exact : bool
        Whether the method proved within its tolerance, or within what rounding can do to the
        objective, what it is after: for ``"exact"`` that no allocation is better, for
        ``"neighbors"`` that no combination of neighbors is.
    is_repaired : bool
        Whether the nearest choices were unstable and the floor took their place.
    solve_time : float
        Seconds.
    """

    instance: Instance
    domains: Domains
    continuous: Solution | None
    method: str
    choice: FloatArray
    domain_gap: float
    neighbors_gap: float | None
    is_exact: bool
    is_repaired: bool
    solve_time: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "choice", read_only(self.choice))

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """Thinking tokens of each type, shape (N,); −1 for a type that has levels instead."""
        return self._counts(is_level=False)

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """Position of the level of each type, shape (N,); −1 for a type that has tokens."""
        return self._counts(is_level=True)

    def _counts(self, *, is_level: bool) -> NDArray[np.int64]:
        has_level = np.array([isinstance(domain, LevelMenu) for domain in self.domains])
        counts = np.where(has_level == is_level, self.choice, -1.0).astype(np.int64)
        counts.flags.writeable = False
        return counts

    @cached_property
    def evaluation(self) -> Evaluation:
        """The closed forms at the allocation."""
        if self.domains.has_levels:
            return Evaluation(level_data(self.instance, self.domains), self.choice)
        return self.instance.evaluate(self.choice)

    @property
    def objective(self) -> float:
        """Objective J in seconds, rounded down by `allowance`."""
        return float(certified_objective(self.evaluation))

    @cached_property
    def loss(self) -> float:
        """Continuous optimum less the objective, in seconds, without cancellation.

        Where the continuous tokens are in the domains it is zero up to `allowance`, of either sign.
        NaN without a continuous answer.
        """
        if self.continuous is None:
            return math.nan
        return float(self.evaluation.improvement(self.continuous.certificate.evaluation))

    @property
    def loss_bound(self) -> float:
        """Proven bound on the loss against the true continuous optimum, in seconds, or NaN."""
        if self.continuous is None:
            return math.nan
        return max(self.loss, 0.0) + self.continuous.gap

    @property
    def gap(self) -> float:
        """`upper_bound` − `objective`, in seconds: the most that any other allocation gains."""
        if self.continuous is None:
            return self.domain_gap
        return min(self.domain_gap, self.loss_bound + self.allowance)

    @property
    def relative_gap(self) -> float:
        """`gap` relative to α Σ π w p + T."""
        gap, scale = self.gap, float(self.evaluation.scale)
        if scale > 0.0:
            return gap / scale
        # No tokens, no base times and accuracy worth nothing.
        return math.inf if gap > 0.0 else 0.0

    @property
    def upper_bound(self) -> float:
        """Proven upper bound on the objective of every allocation in the domains, in seconds."""
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
        """Return plain Python values, ready for JSON; ``None`` for what is not finite."""
        summary = {
            "method": self.method,
            "tokens": self.tokens.tolist(),
            "levels": self.levels.tolist() if self.domains.has_levels else None,
            "objective": self.objective,
            "upper_bound": self.upper_bound,
            "gap": self.gap,
            "relative_gap": self.relative_gap,
            "loss": None if self.continuous is None else self.loss,
            "loss_bound": None if self.continuous is None else self.loss_bound,
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
        return plain(summary)

    def __repr__(self) -> str:
        loss = "" if self.continuous is None else f"loss={self.loss:.3g}, "
        return (
            f"IntegerSolution(method={self.method!r}, objective={self.objective:.9g}, "
            f"{loss}gap={self.gap:.3g})"
        )

    def _verdict(self) -> str:
        if self.method == "exact":
            if self.is_exact:
                return "no allocation in the domains is better"
            return f"the best found; another may gain {self.gap:.2g} s (raise time_limit)"
        if self.is_exact:
            return "the best combination of neighbors"
        if self.neighbors_gap is not None:
            return (
                "the best combination of neighbors found; another may gain "
                f"{self.neighbors_gap:.2g} s (raise time_limit)"
            )
        if self.is_repaired:
            return "rounded down, because the nearest choices are unstable"
        return {
            "floor": "rounded down",
            "nearest": "rounded to the nearest",
            "descent": "no single type can do better by moving to a neighbor",
        }[self.method]

    def _loss_line(self) -> str:
        if self.continuous is None:
            return f"objective {self.objective:.9g} s"
        return (
            f"objective {self.objective:.9g} s, loss {self.loss:.2g} s against the continuous "
            f"optimum (at most {self.loss_bound:.2g} s)"
        )

    def __str__(self) -> str:
        shown = range(min(self.instance.size, _TYPES_SHOWN))
        names = [self.instance.type_name(k) for k in shown]
        width = max(9, *(len(name) for name in names))
        lines = [
            f"{self.method}: {self._verdict()}",
            self._loss_line(),
            f"no allocation in the domains gains more than {self.gap:.2g} s",
            f"utilization {self.utilization:.6g}, mean system time {self.mean_system_time:.6g} s "
            f"(waiting {self.mean_waiting_time:.6g} s), mean accuracy {self.mean_accuracy:.6g}",
            "",
            f"{'task type':<{width}}  {'mix':>9}  {'tokens':>9}  {'continuous':>12}  "
            f"{'accuracy':>9}",
        ]
        lines += [
            f"{name:<{width}}  {self.instance.probabilities[k]:>9.4g}  {self.shown(k):>9}  "
            f"{self._continuous(k):>12}  {self.accuracies[k]:>9.4f}"
            for k, name in zip(shown, names, strict=True)
        ]
        if self.instance.size > _TYPES_SHOWN:
            lines.append(f"... and {self.instance.size - _TYPES_SHOWN} more types")
        return "\n".join(lines)

    def shown(self, k: int) -> str:
        """Tokens of type `k`, or its level, for a table."""
        return str(self.tokens[k]) if self.levels[k] < 0 else f"level {self.levels[k]}"

    def _continuous(self, k: int) -> str:
        return "–" if self.continuous is None else f"{self.continuous.tokens[k]:.3f}"
