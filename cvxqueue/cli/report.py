"""What ``cvxqueue solve`` says around its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cvxqueue.cli.tables import method_table, type_table
from cvxqueue.formatting import at_least, at_most, plural
from cvxqueue.integer import IntegerSolution
from cvxqueue.solution import Solution
from cvxqueue.solvers import CrossValidation

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["answer_report"]

_VERDICTS = {
    "agree": ("agree", "green", "Every method is certified, and no two proofs contradict."),
    "undecided": (
        "undecided",
        "yellow",
        "No two proofs contradict, but not every method is certified within its tolerance.",
    ),
    "disagree": ("disagree", "red", "Two proofs contradict each other."),
}

_FOUND = {
    True: "exact: no integer allocation is better",
    False: "exact: the best found in time",
}

# Digits of an objective: the gap of a certified answer starts about here.
_DIGITS = 12


def answer_report(
    comparison: CrossValidation,
    integer: IntegerSolution | str,
    rounding: IntegerSolution | None = None,
) -> list[RenderableType]:
    """Return the parts of the report, in the order of reading."""
    best = comparison.best
    rounded = integer if isinstance(integer, IntegerSolution) else None
    parts: list[RenderableType] = [_heading(best), "", type_table(best, rounded), ""]
    parts += [_operation(best), "", Text("Methods", "bold"), method_table(comparison), ""]
    if len(comparison.solutions) > 1:
        parts += [_verdict(comparison), ""]
    parts += [Text(f"Certificate of the answer ({best.method})", "bold"), _certificate(best), ""]
    parts += [Text("Integer tokens", "bold")]
    parts += [Text(f"none: {integer}", "red") if rounded is None else _integers(rounded, rounding)]
    return parts


def _heading(best: Solution) -> Text:
    instance = best.instance
    name = f"{instance.name}: " if instance.name else ""
    return Text.assemble(
        (name, "bold"),
        f"{plural(instance.size, 'task type')}, {instance.arrival_rate:g} queries/s, "
        f"accuracy worth {instance.accuracy_weight:g} s",
    )


def _operation(best: Solution) -> Table:
    return _facts(
        ("mean accuracy", f"{best.mean_accuracy:.4f}"),
        ("utilization", f"{best.utilization:.4f}"),
        (
            "mean system time",
            f"{best.mean_system_time:.4g} s: waiting {best.mean_waiting_time:.4g} s, service "
            f"{best.mean_service_time:.4g} s",
        ),
        *_constraints(best),
    )


def _constraints(best: Solution) -> list[tuple[str, str]]:
    """Each constraint on all types together, and what its limit costs."""
    rows = []
    pairs = zip(best.instance.model.couplings, best.constraint_multipliers, strict=False)
    for coupling, price in pairs:
        worth = f"one unit of this limit is worth {price:.4g} s" if price > 0 else "has room"
        rows.append(("constraint", f"{coupling.label}: {worth}"))
    return rows


def _verdict(comparison: CrossValidation) -> Text:
    word, style, meaning = _VERDICTS[comparison.verdict]
    return Text.assemble("Verdict: ", (word, f"bold {style}"), f". {meaning}")


def _certificate(best: Solution) -> Table:
    return _facts(
        ("objective", f"{at_least(best.objective, _DIGITS)} s"),
        ("upper bound", f"{at_most(best.upper_bound, _DIGITS)} s: no allocation is better"),
        (
            "gap",
            f"{at_most(best.gap)} s, relative {at_most(best.relative_gap)} "
            f"(tolerance {best.tolerance:.2g})",
        ),
        (
            "stationarity",
            f"{at_most(best.stationarity)}: largest imbalance of a type's marginal "
            "benefit and cost",
        ),
    )


def _integers(integer: IntegerSolution, rounding: IntegerSolution | None) -> Table:
    rows = [
        ("method", _FOUND[integer.is_exact]),
        ("objective", f"{at_least(integer.objective, _DIGITS)} s"),
        (
            "upper bound",
            f"{at_most(integer.upper_bound, _DIGITS)} s: no integer allocation is better",
        ),
        ("gap", f"{at_most(integer.gap)} s, relative {at_most(integer.relative_gap)}"),
    ]
    if integer.continuous is not None:
        rows += [
            ("loss", f"{at_most(max(integer.loss, 0.0))} s against the continuous optimum"),
            ("loss bound", f"{at_most(integer.loss_bound)} s, proven"),
        ]
    if rounding is not None:
        repaired = ", after rounding down instead of up" if rounding.is_repaired else ""
        rows.append(("plain rounding", f"loses {at_most(max(rounding.loss, 0.0))} s{repaired}"))
    return _facts(*rows)


def _facts(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for label, text in rows:
        table.add_row(f"  {label}", Text(text))
    return table
