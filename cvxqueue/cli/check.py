"""``cvxqueue check``: what can be said of an instance before any method runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from cvxqueue.certificates import (
    Contraction,
    StepSize,
    StrongConcavity,
    contraction,
    step_size,
    strong_concavity,
)
from cvxqueue.cli.output import write, write_error, write_json
from cvxqueue.cli.reading import read_instance
from cvxqueue.errors import InfeasibleError, UnstableQueueError
from cvxqueue.formatting import at_least, at_most, plural
from cvxqueue.model import Instance, require_feasible
from cvxqueue.model.feasibility import least_tokens_name
from cvxqueue.solvers.attainable import require_attainable
from cvxqueue.solvers.registry import find_method

__all__ = ["run"]


# Word and style of a finding. A certificate that does not hold leaves a question open; stability
# is decided either way, and constraints are but for the last digits of a floor.
_CERTIFIED: dict[bool | None, tuple[str, str]] = {
    True: ("holds", "green"),
    False: ("not proven", "yellow"),
}
_DECIDED: dict[str, dict[bool | None, tuple[str, str]]] = {
    "stability": {True: ("stable", "green"), False: ("unstable", "red")},
    "constraints": {
        True: ("feasible", "green"),
        False: ("infeasible", "red"),
        None: ("undecided", "yellow"),
    },
}


@dataclass(frozen=True)
class _Finding:
    """One thing found out: what it is about, whether it is good news, and what it means."""

    subject: str
    holds: bool | None
    sentence: str
    numbers: dict[str, Any]


def run(options: argparse.Namespace) -> int:
    """Check an instance and print what was found."""
    instance = read_instance(options.file)
    obstacle, is_kept = _feasibility(instance)
    error = None if obstacle is None else str(obstacle)
    is_unstable = isinstance(obstacle, UnstableQueueError)
    findings = []
    # Where a floor on an accuracy is out of reach, there are no least tokens that could be stable.
    if is_unstable or instance.is_feasible:
        findings.append(_stability(instance))
    if instance.constraints and not is_unstable:
        findings.append(_constraints(instance, error, is_kept))
    if error is None:
        step = step_size(instance)
        findings += [
            _contraction(contraction(instance), instance),
            _step_size(step, instance),
            _strong_concavity(strong_concavity(instance), step, instance),
        ]
    if options.json:
        summary: dict[str, Any] = {
            "status": {True: "stable", False: "infeasible", None: "undecided"}[is_kept],
            "instance": instance.name,
            "size": instance.size,
        }
        for finding in findings:
            entry = {"holds": finding.holds, "meaning": finding.sentence, **finding.numbers}
            summary[finding.subject.replace(" ", "_")] = entry
        write_json(summary if error is None else {**summary, "error": error})
    else:
        write(_heading(instance), _table(findings))
    if error is not None:
        write_error(error)
    return 0 if is_kept else 1


def _feasibility(instance: Instance) -> tuple[InfeasibleError | None, bool | None]:
    """Why no allocation satisfies the instance, and whether one does; ``None`` if unknown."""
    try:
        require_feasible(instance)
        return None, require_attainable(instance.model) or None
    except InfeasibleError as error:
        return error, False


def _heading(instance: Instance) -> Text:
    name = f"{instance.name}: " if instance.name else ""
    return Text.assemble(
        (name, "bold"), f"a valid instance of {plural(instance.size, 'task type')}.\n"
    )


def _table(findings: list[_Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        marks = _DECIDED.get(finding.subject, _CERTIFIED)
        table.add_row(
            Text(finding.subject, "bold"),
            Text(*marks[finding.holds]),
            Text(finding.sentence + "\n"),
        )
    return table


def _stability(instance: Instance) -> _Finding:
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
    return _Finding("stability", instance.is_feasible, sentence, numbers)


def _constraints(instance: Instance, error: str | None, is_kept: bool | None) -> _Finding:  # noqa: FBT001
    labels = [constraint.label for constraint in instance.constraints]
    sentence = f"{'; '.join(labels)}. "
    if error is not None:
        sentence += f"Not all can be kept: {error.removeprefix('constraints: ')}."
    elif is_kept:
        sentence += "All of them can be kept at once."
    else:
        sentence += (
            "No allocation was found that keeps them all, and no proof that there is none: they "
            "miss each other by next to nothing, if at all. Relax one of them."
        )
    return _Finding("constraints", is_kept, sentence, {"constraints": labels})


def _obstacle(method: str, instance: Instance) -> str:
    """Why a method cannot take the instance, as a sentence; empty where it can."""
    obstacle = find_method(method).obstacle(instance)
    return "" if obstacle is None else f"{obstacle[0].upper()}{obstacle[1:]}."


def _contraction(found: Contraction, instance: Instance) -> _Finding:
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
    return _Finding("contraction", found.holds, sentence, numbers)


def _step_size(found: StepSize, instance: Instance) -> _Finding:
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
    numbers = {
        "value": found.value,
        "diagonal": found.diagonal,
        "level": found.level,
        "least_idle": found.least_idle,
        "region": found.region,
    }
    return _Finding("step size", found.holds, sentence, numbers)


def _strong_concavity(found: StrongConcavity, step: StepSize, instance: Instance) -> _Finding:
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
    return _Finding("strong concavity", found.holds, sentence, numbers)
