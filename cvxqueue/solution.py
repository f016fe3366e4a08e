"""The answer of a method: tokens, what they do, and how far they can be from optimal."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.certificates import Certificate, kept_by_rounding, relative_gap
from cvxqueue.errors import CvxqueueError, InvalidInputError
from cvxqueue.formatting import at_least, at_most, shown
from cvxqueue.json_values import Options, json_attributes
from cvxqueue.model import Evaluation, Instance, assumed
from cvxqueue.model.instance import type_columns
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, forwarded
from cvxqueue.numerics.checks import positive_number
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.tables import Column, Part, Report, Table

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


def allowed_tolerance(value: Any) -> float:
    """Return a tolerance on a certified relative gap, more than 0 and at most 0.01, or raise."""
    number = positive_number("tolerance", value)
    if number > LARGEST_TOLERANCE:
        raise InvalidInputError(
            f"tolerance = {number!r} must be at most {LARGEST_TOLERANCE}: a larger relative gap "
            "certifies nothing"
        )
    return number


def require_ended(ended: object) -> None:
    """Raise an error where why a method ended is not one of `Ended`."""
    if not isinstance(ended, Ended):
        allowed = ", ".join(f"Ended.{entry.name}" for entry in Ended)
        raise InvalidInputError(
            f"ended must be one of {allowed}, got {shown(ended)}: whether an answer is optimal "
            "follows from its certificate"
        )


# A relative gap of so much over the idle fraction is what rounding leaves, however long the search.
_TOTAL_ROUNDING = 16.0 * EPSILON
# What else may help where a method of the package did not reach its tolerance.
_OTHER_METHOD = {
    "newton": "conic",
    "conic": "newton",
    "fixed-point": "newton",
    "projected-gradient": "newton",
}


class Iterate(NamedTuple):
    """What was proven after so many iterations: shown to a callback, and kept in the history."""

    iteration: int
    """Iterations so far."""
    objective: float
    """J, in seconds."""
    gap: float
    """Proven bound on max J − objective, in seconds."""
    relative_gap: float
    """The gap relative to `Certificate.scale`."""
    seconds: float
    """Since the method began."""
    tokens: FloatArray | None = None
    """Of each type, shape (N,): for a callback; a history of all of them could fill the memory."""


MEANS = (
    *("accuracies", "mean_accuracy", "utilization"),
    *("mean_service_time", "mean_waiting_time", "mean_system_time"),
)
"""What an allocation does, for `to_dict`."""


def _number(name: str, doc: str) -> cached_property[float]:
    """Return a property of the evaluation as a number."""
    found: Any = property(lambda answer: float(getattr(answer.evaluation, name)), doc=doc)
    return found  # type: ignore[no-any-return]


class AllocationData(ArrayData, Report):
    """Base of answers that are one allocation: what it does, and what its gap makes of it."""

    instance: Instance
    evaluation: Evaluation
    ended: Ended
    tolerance: float

    @property
    @abstractmethod
    def gap(self) -> float:
        """Proven bound on what any other allocation gains, in seconds."""

    @property
    def relative_gap(self) -> float:
        """`gap` relative to α Σ π w p + T; where that is nothing, see `Evaluation.scale`."""
        return float(relative_gap(self.gap, self.evaluation.scale))

    @property
    def is_optimal(self) -> bool:
        """Whether the proven gap is within the tolerance."""
        return self.relative_gap <= self.tolerance

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the proof takes for granted: see `Certificate.assumes`."""
        return assumed(self.instance) + kept_by_rounding(self.evaluation)

    @property
    def status(self) -> Status:
        """``OPTIMAL`` where the proven gap is within the tolerance, otherwise `ended`."""
        return Status.OPTIMAL if self.is_optimal else Status(self.ended.value)

    accuracies = forwarded("evaluation", Evaluation.accuracies)

    mean_accuracy = _number("mean_accuracy", "Plain mean accuracy Σ π p.")
    utilization = _number("utilization", "Fraction of time that the server works.")
    mean_service_time = _number("mean_service_time", "Mean service time, in seconds.")
    mean_waiting_time = _number("mean_waiting_time", "Mean waiting time, in seconds.")
    mean_system_time = _number("mean_system_time", "Mean system time, in seconds.")

    def _means_line(self) -> str:
        return (
            f"utilization {self.utilization:.6g}, mean system time {self.mean_system_time:.6g} s "
            f"(waiting {self.mean_waiting_time:.6g} s), mean accuracy {self.mean_accuracy:.6g}"
        )

    def _by_type(self, *columns: Column) -> Table:
        """A table of the types: their names, their mix, and what is said of them."""
        return Table(
            [
                *type_columns(self.instance),
                *columns,
                Column("accuracy", self.accuracies, "{:.4f}".format),
            ]
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Solution(AllocationData):
    """Answer of a method, graded by the certificate of the instance.

    Parameters
    ----------
    certificate : Certificate
        What is proven of the answer.
    method : str
        Name of the method; of a callable its own, which is never one of the package's.
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
        The iterates that were certified, without their tokens: of ``"newton"`` those that it
        proposed as the answer, and all where there was a callback. Gaps and seconds as here.
    options : mapping of str to plain values
        What the caller gave besides the method, read-only: its own options, tolerance and limits,
        without callbacks. Of what is no number and no text, as a start, a text; of text at most 80
        characters.
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
    options: Mapping[str, Any] = Options()

    def __post_init__(self) -> None:
        if not isinstance(self.certificate, Certificate):
            raise InvalidInputError(
                f"certificate must be a Certificate, got {shown(self.certificate)}"
            )
        require_ended(self.ended)
        history = tuple(
            Iterate._make((int(row[0]), *map(float, row[1:5]), None)) for row in self.history
        )
        if not isinstance(self.options, Mapping):
            raise InvalidInputError(f"options must be a mapping, got {shown(self.options)}")
        vars(self).update(
            tolerance=allowed_tolerance(self.tolerance),
            history=history,
            options=Options(self.options),
        )

    @property
    def instance(self) -> Instance:  # type: ignore[override]
        """The instance that was solved."""
        return self.certificate.instance

    evaluation = forwarded("certificate", Certificate.evaluation)
    tokens = forwarded("certificate", Certificate.tokens)
    objective = forwarded("certificate", Certificate.objective)
    upper_bound = forwarded("certificate", Certificate.upper_bound)
    gap = forwarded("certificate", Certificate.gap)
    token_bounds = forwarded("certificate", Certificate.token_bounds)
    lower_multipliers = forwarded("certificate", Certificate.lower_multipliers)
    upper_multipliers = forwarded("certificate", Certificate.upper_multipliers)
    constraint_multipliers = forwarded("certificate", Certificate.constraint_multipliers)
    stationarity = forwarded("certificate", Certificate.stationarity)

    @property
    def advice(self) -> str:
        """What happened, and what to do next."""
        if self.status in (Status.OPTIMAL, Status.STOPPED):
            return self.status.advice
        if self.objective == -np.inf and self.status is Status.STALLED:
            return "no feasible point was found, and none may exist; relax a constraint"
        happened, _, remedy = self.status.advice.partition("; ")
        if (
            remedy.startswith("raise")
            and self.relative_gap * self.evaluation.idle <= _TOTAL_ROUNDING
        ):
            remedy = "loosen the tolerance"
        other = _OTHER_METHOD.get(self.method)
        if remedy.startswith("loosen") and self.relative_gap > LARGEST_TOLERANCE:
            # No tolerance is so loose: what float64 cannot tell apart there is to be avoided.
            remedy = "lower accuracy_weight or arrival_rate"
        if self.status is Status.DIVERGED:
            # Ours leave it only where the optimum is closer to its edge than a rounding.
            remedy = "use damping" if self.method == "fixed-point" else "lower accuracy_weight"
        if other is None and remedy.startswith("lower"):
            # Somebody's own method may fail for reasons of its own.
            return f"{happened}; use method 'newton'"
        return f"{happened}; {remedy}, or use method {other or 'newton'!r}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; ``None`` for what is not finite."""
        names = ("method", "options", "status", "ended", "backend_status", "tolerance")
        about = json_attributes(self, names)
        effort = json_attributes(self, (*MEANS, "iterations", "setup_time", "solve_time"))
        return about | self.certificate.to_dict() | effort

    def __repr__(self) -> str:
        return (
            f"Solution(method={self.method!r}, status={self.status.value!r}, "
            f"objective={self.objective:.9g}, relative_gap={self.relative_gap:.3g})"
        )

    def _parts(self) -> Iterable[Part]:
        yield f"{self.method}: {self.status.value} ({self.advice})"
        yield (
            f"objective {at_least(self.objective, 9)} s, certified gap {at_most(self.gap)} s "
            f"(relative {at_most(self.relative_gap)})"
        )
        yield from assumption_lines(self)
        yield self._means_line()
        yield from limit_lines(self)
        yield ""
        yield self.table()

    def table(self) -> Table:
        """Return the answer by task type."""
        return self._by_type(*self.certificate.token_columns())


def assumption_lines(answer: AllocationData) -> list[str]:
    """Return what the proof of an answer takes for granted, as a text says it."""
    return [f"assumed, and not proven: {sentence}" for sentence in answer.assumes]


def limit_lines(solution: Solution) -> Iterator[str]:
    """Yield what the limit of each constraint on all types together costs."""
    couplings, excesses = solution.instance.model.couplings, solution.certificate.excesses
    for coupling, price, excess in zip(
        couplings, solution.constraint_multipliers, excesses, strict=False
    ):
        state = "is not kept" if excess > 0.0 and solution.objective == -np.inf else "has room"
        worth = f"one unit of this limit is worth {price:.6g} s"
        yield f"{coupling.label}: {worth if price > 0.0 else state}"


def run_names(solutions: Sequence[Solution]) -> list[str]:
    """Return the method of each answer; of several runs of one, with the options that differ.

    Runs that differ in none are numbered.
    """
    runs: dict[str, list[Options]] = {}
    for answer in solutions:
        runs.setdefault(answer.method, []).append(Options(answer.options))
    names = []
    for answer in solutions:
        others = runs[answer.method]
        own = [
            f"{name}={value}"
            for name, value in answer.options.items()
            if any(name not in other or other[name] != value for other in others)
        ]
        name = answer.method + (f" ({', '.join(own)})" if own else "")
        names.append(name.replace("\n", r"\n"))
    counts, seen = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] += f" ({seen[name]})" if counts[name] > 1 else ""
    return names


class ConvergenceError(CvxqueueError, RuntimeError):
    """A method stopped without a certified answer.

    Attributes
    ----------
    solution : Solution
        The best answer that the method reached, with its certificate.
    """

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        super().__init__(
            f"method {solution.method!r} stopped with status {solution.status.value!r} "
            f"({solution.advice}); best certified relative gap {at_most(solution.relative_gap)}, "
            f"tolerance {solution.tolerance:.3g}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.solution,)
