"""What can be said of an instance before any method runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cvxqueue.certificates import (
    Contraction,
    StepSize,
    StrongConcavity,
    contraction,
    step_size,
    strong_concavity,
)
from cvxqueue.errors import InfeasibleError, UnstableQueueError
from cvxqueue.findings import Finding, findings_table
from cvxqueue.formatting import at_least, at_most, plural
from cvxqueue.model import Instance, assumed, require_feasible, require_instance
from cvxqueue.model.feasibility import least_tokens_name
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.registry import find_method
from cvxqueue.solvers.solve import deadline_after
from cvxqueue.tables import Cell, Part, Report, Table

# Word and style of a finding. A certificate that does not hold leaves a question open; stability
# is decided either way, and constraints are but for the last digits of a floor.
_CERTIFIED: dict[bool | None, Cell] = {
    True: ("holds", "green"),
    False: ("not proven", "yellow"),
    None: ("assumed", "yellow"),
}
_DECIDED: dict[str, dict[bool | None, Cell]] = {
    "stability": {True: ("stable", "green"), False: ("unstable", "red")},
    "constraints": {
        True: ("feasible", "green"),
        False: ("infeasible", "red"),
        None: ("undecided", "yellow"),
    },
}
_STATUS = {True: "stable", False: "infeasible", None: "undecided"}


@dataclass(frozen=True, repr=False)
class InstanceCheck(Report):
    """What can be said of an instance beforehand.

    Attributes
    ----------
    instance : Instance
        What was checked.
    findings : tuple of Finding
        Stability; the constraints, where there are some; and where an allocation may satisfy them,
        whether best responses contract, the step size of the gradient, and strong concavity.
    is_feasible : bool or None
        Whether some allocation is stable and keeps the constraints; ``None`` where neither that nor
        the contrary was found.
    obstacle : str
        Why no allocation does; empty unless it is proven that none does.
    """

    instance: Instance
    findings: tuple[Finding, ...]
    is_feasible: bool | None
    obstacle: str

    @property
    def status(self) -> str:
        """``"stable"``, ``"infeasible"`` or ``"undecided"``."""
        return _STATUS[self.is_feasible]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, by subject; ``None`` for what is not finite."""
        return {
            "status": self.status,
            "instance": self.instance.name,
            "size": self.instance.size,
            **{found.key: found.to_dict() for found in self.findings},
            **({"error": self.obstacle} if self.obstacle else {}),
        }

    def __repr__(self) -> str:
        return f"InstanceCheck(status={self.status!r}, {plural(len(self.findings), 'finding')})"

    def _parts(self) -> Iterable[Part]:
        name = f"{self.instance.name}: " if self.instance.name else ""
        yield [(name, "bold"), f"a valid instance of {plural(self.instance.size, 'task type')}."]
        yield ""
        yield self.table()

    def table(self) -> Table:
        """Return the findings."""
        return findings_table(
            self.findings, lambda found: _DECIDED.get(found.subject, _CERTIFIED)[found.holds]
        )


@quiet
def check(instance: Instance, *, time_limit: float = 10.0) -> InstanceCheck:
    """Say what is certain before any method runs, and what that means for the methods.

    Parameters
    ----------
    instance : Instance
        What to check.
    time_limit : float, default 10
        Seconds after which it is left undecided whether the constraints can be kept together.

    Returns
    -------
    InstanceCheck
        Whether the queue can be stable and the constraints be kept, and which certificates hold
        (`cvxqueue.certificates`), each in plain words and in numbers.

    Raises
    ------
    InvalidInputError
        If it is no instance, or the limit is not > 0.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("one-type").instance
    >>> {found.subject: found.holds for found in cq.check(instance).findings}
    {'stability': True, 'contraction': False, 'step size': True, 'strong concavity': True}
    """
    require_instance(instance)
    deadline = deadline_after(time_limit)
    obstacle: InfeasibleError | None = None
    is_kept: bool | None = False
    try:
        require_feasible(instance)
        is_kept = require_attainable(instance.model, deadline) or None
    except InfeasibleError as found:
        obstacle = found
    error = "" if obstacle is None else str(obstacle)
    is_unstable = isinstance(obstacle, UnstableQueueError)
    findings = []
    # Where a floor on an accuracy is out of reach, there are no least tokens that could be stable.
    if is_unstable or instance.is_feasible:
        findings.append(_stability(instance))
    if instance.constraints and not is_unstable:
        findings.append(_constraints(instance, error, is_kept))
    if obstacle is None:
        step = step_size(instance)
        findings += [
            _contraction(contraction(instance), instance),
            _step_size(step, instance),
            _strong_concavity(strong_concavity(instance), step, instance),
        ]
        if told := assumed(instance):
            sentence = "; ".join(told)
            findings.append(Finding("assumptions", None, f"{sentence}.", {"assumes": list(told)}))
    return InstanceCheck(instance, tuple(findings), is_kept, error)


def _stability(instance: Instance) -> Finding:
    least = instance.least_utilization
    greatest = float(instance.evaluate(instance.upper).utilization)
    limit, bounds = instance.max_arrival_rate, least_tokens_name(instance)
    if instance.is_feasible:
        sentence = (
            f"At {bounds} the utilization is {least:.4g}, so stable allocations exist. They do "
            f"up to {at_least(limit, 6)} queries/s; this instance has {instance.arrival_rate:g}. "
        )
        sentence += (
            f"At max_tokens it is {greatest:.4g}: every allocation in the box is stable."
            if greatest < 1
            else f"At max_tokens it would be {greatest:.4g}: part of the box is unstable, and the "
            "methods keep out of it."
        )
    else:
        sentence = (
            f"At {bounds} the utilization is {least:.4g}, and must be below 1: no method can "
            f"help. Stable allocations exist below {at_least(limit, 6)} queries/s; this instance "
            f"has {instance.arrival_rate:g}."
        )
    numbers = {
        "arrival_rate": instance.arrival_rate,
        "max_arrival_rate": limit,
        "utilization_at_min_tokens": least,
        "utilization_at_max_tokens": greatest,
    }
    return Finding("stability", instance.is_feasible, sentence, numbers)


def _constraints(instance: Instance, error: str, is_kept: bool | None) -> Finding:  # noqa: FBT001
    labels = [constraint.label for constraint in instance.constraints]
    sentence = f"{'; '.join(labels)}. "
    if error:
        sentence += f"Not all can be kept: {error.removeprefix('constraints: ')}."
    elif is_kept:
        sentence += "All of them can be kept at once."
    else:
        sentence += (
            "No allocation was found that keeps them all, and no proof that there is none, in the "
            "time that there was: perhaps they miss each other by next to nothing. Relax one of "
            "them."
        )
    return Finding("constraints", is_kept, sentence, {"constraints": labels})


def _obstacle(method: str, instance: Instance) -> str:
    """Why a method cannot take the instance, as a sentence; empty where it can."""
    obstacle = find_method(method).obstacle(instance)
    return "" if obstacle is None else f"{obstacle[0].upper()}{obstacle[1:]}."


def _contraction(found: Contraction, instance: Instance) -> Finding:
    obstacle = _obstacle("fixed-point", instance)
    reason = found.reason or f"the bound on its slope is {at_most(found.value, 3)}, not below 1"
    if found.holds:
        sentence = (
            f"On {found.region}, the best-response map shrinks distances by the factor "
            f"{at_most(found.value, 3)} in a weighted maximum norm. "
        )
        sentence += obstacle or (
            "Method fixed-point converges there even in its plain form, damping=1."
        )
    elif obstacle:
        sentence = f"The best-response map is not proven to contract: {reason}. {obstacle}"
    else:
        sentence = (
            f"On {found.region}, the best-response map is not proven to contract: {reason}. The "
            "plain fixed point, damping=1, may cycle or lose stability. Method fixed-point "
            "backtracks by default and needs no contraction; nor do the other methods."
        )
    numbers = {
        "value": found.value,
        "row_sum": found.row_sum,
        # With constraints on all types together the optimum may lie outside.
        "region": None if instance.model.couplings else found.region,
    }
    return Finding("contraction", found.holds, sentence, numbers)


def _step_size(found: StepSize, instance: Instance) -> Finding:
    obstacle = _obstacle("projected-gradient", instance)
    if found.holds:
        sentence = (
            f"Among {found.region}, the curvature is at most {at_most(found.value, 3)} s per "
            "token²: the plain gradient step of one over this increases the objective and keeps "
            f"to that set, where the idle fraction is at least {at_least(found.least_idle, 3)}. "
        )
        sentence += obstacle or (
            "Method projected-gradient steps further, in a metric of its own for each type, and "
            "falls back on this bound."
        )
    else:
        sentence = f"No finite bound on the curvature: {found.reason or 'it overflows'}. "
        sentence += obstacle or (
            "Method projected-gradient has no step that is proven to increase the objective. Use "
            "newton."
        )
    names = "value", "diagonal", "level", "least_idle", "region"
    numbers = {name: getattr(found, name) for name in names}
    return Finding("step size", found.holds, sentence, numbers)


def _strong_concavity(found: StrongConcavity, step: StepSize, instance: Instance) -> Finding:
    if found.holds:
        sentence = (
            f"On {found.region}, the curvature is at least {at_least(found.value, 3)}/s in the "
            "metric of squared seconds of service: there is exactly one optimum."
        )
        if step.holds and not instance.model.couplings:
            # Both bounds hold, in the one metric, on the level set of the step; and where no
            # constraint couples the types, the step leads to the optimum.
            sentence += (
                f" The greatest there is {at_most(step.diagonal, 3)}/s, so a gradient step in "
                "this metric removes at least one part in "
                f"{at_most(step.diagonal / found.value)} of the distance to the optimal objective."
            )
    else:
        sentence = (
            "No positive bound on the curvature: the optimum need not be unique, and gradient "
            "methods may slow down. The certified gap does not depend on it."
        )
    numbers = {"value": found.value, "plain": found.plain, "region": found.region}
    return Finding("strong concavity", found.holds, sentence, numbers)
