"""The report of ``cvxqueue solve``; it fits 80 columns, and only names are ever wrapped."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cvxqueue.formatting import at_least, at_most, plural
from cvxqueue.integer import IntegerSolution
from cvxqueue.solution import Solution, limit_lines
from cvxqueue.solvers import CrossValidation
from cvxqueue.tables import Part, Report, Table, facts

# Up to so many types a table can be read; of more, so many of the most frequent are shown.
_ALL_SHOWN = 40
_SHOWN = 20

# Digits of an objective: the gap of a certified answer starts about here.
_DIGITS = 12


def answer_report(
    comparison: CrossValidation,
    integer: IntegerSolution | str,
    rounding: IntegerSolution | None = None,
) -> Iterator[Part | Report]:
    """Yield the parts of the report; `integer` may say why there is none, `rounding` is plain."""
    best = comparison.best
    instance = best.instance
    whole = integer if isinstance(integer, IntegerSolution) else None
    yield [
        (f"{instance.name}: " if instance.name else "", "bold"),
        f"{plural(instance.size, 'task type')}, {instance.arrival_rate:g} queries/s, "
        f"accuracy worth {instance.accuracy_weight:g} s",
    ]
    yield ""
    table, mix = answer_table(best, whole), instance.probabilities
    if mix.size <= _ALL_SHOWN:
        yield table
    else:
        yield table.take(np.sort(np.argsort(-mix, kind="stable")[:_SHOWN]).tolist())
        yield f"the {_SHOWN} most frequent of {plural(mix.size, 'type')}; --json and --csv have all"
    yield from ("", _operation(best), "", ("Methods", "bold"), comparison)
    yield from ("", (f"Certificate of the answer ({best.method})", "bold"))
    yield facts([*best.certificate.claims(), ("tolerance", f"relative {best.tolerance:.2g}")])
    yield from ("", ("Integer tokens", "bold"))
    yield (f"none: {integer}", "red") if whole is None else _integers(whole, rounding)


def answer_table(solution: Solution, integer: IntegerSolution | None) -> Table:
    """Return the answer by task type, with its whole tokens where there are some."""
    columns = list(solution.table().columns)
    if integer is not None:
        columns.append(integer.choice_column()._replace(name="integer tokens"))
    return Table(columns, most=_ALL_SHOWN)


def _operation(best: Solution) -> Table:
    """What the allocation does, and what the limit of each constraint on all types costs."""
    rows = [
        ("mean accuracy", f"{best.mean_accuracy:.4f}"),
        ("utilization", f"{best.utilization:.4f}"),
        (
            "mean system time",
            f"{best.mean_system_time:.4g} s: waiting {best.mean_waiting_time:.4g} s, service "
            f"{best.mean_service_time:.4g} s",
        ),
    ]
    return facts([*rows, *(("constraint", line) for line in limit_lines(best))])


def _integers(integer: IntegerSolution, rounding: IntegerSolution | None) -> Table:
    found = "no integer allocation is better"
    if not integer.is_exact:
        found = "" if integer.is_optimal else "the best found in time; "
        found += f"none gains more than {at_most(integer.gap)} s"
    rows = [
        ("method", f"exact: {found}"),
        ("objective", f"{at_least(integer.objective, _DIGITS)} s"),
        (
            "upper bound",
            f"{at_most(integer.upper_bound, _DIGITS)} s: no integer allocation is better",
        ),
        ("gap", f"{at_most(integer.gap)} s, relative {at_most(integer.relative_gap)}"),
    ]
    is_compared = math.isfinite(integer.loss_bound)
    if is_compared:
        rows += [
            ("loss", f"{at_most(max(integer.loss, 0.0))} s against the continuous optimum"),
            ("loss bound", f"{at_most(integer.loss_bound)} s, proven"),
        ]
    if rounding is not None and is_compared:
        repaired = ", after rounding down instead of up" if rounding.is_repaired else ""
        rows.append(("plain rounding", f"loses {at_most(max(rounding.loss, 0.0))} s{repaired}"))
    return facts(rows)
