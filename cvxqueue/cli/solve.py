"""``cvxqueue solve``: the best certified answer, every method beside it, and the integers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from cvxqueue.cli.answer import answer_report, answer_table
from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import progress, require_picture, show, write_error, write_picture
from cvxqueue.errors import CvxqueueError
from cvxqueue.formatting import at_most
from cvxqueue.integer import IntegerSolution, plain_rounding, solve_integer
from cvxqueue.sensitivities import sensitivity
from cvxqueue.solvers import CrossValidation, cross_validate, methods
from cvxqueue.solvers.registry import find_method

_Found = TypeVar("_Found")
# Seconds for the integers: instances at moderate load need a fraction of one.
_INTEGER_LIMIT = 3.0


def run(options: argparse.Namespace) -> int:
    """Solve, compare, round and print."""
    if options.method is not None:
        find_method(options.method)
    require_picture(options.plot)
    instance = read_instance(options.file)
    names = [options.method] if options.method else [each.name for each in methods(instance)]
    with progress(len(names) + 1) as step:
        comparison = cross_validate(
            instance,
            names,
            tolerance=options.tolerance,
            time_limit=options.time_limit,
            progress=step,
        )
        step("integers")
        limit = options.time_limit or _INTEGER_LIMIT
        integer = _or_reason(lambda: solve_integer(instance, time_limit=limit))
        rounded = None if isinstance(integer, str) else plain_rounding(integer)
    write_picture(options.plot, comparison)
    failure = _failure(comparison)
    summary = _summary(comparison, integer, rounded, failure)
    table = answer_table(comparison.best, None if isinstance(integer, str) else integer)
    report = [*answer_report(comparison, integer, rounded)]
    is_shown = True
    if options.sensitivities:
        best = comparison.best
        found = _or_reason(lambda: sensitivity(best)) if failure is None else failure
        report += ["", ("Sensitivities", "bold")]
        if isinstance(found, str):
            summary["sensitivities"] = {"error": found}
            report.append((f"none: {found}", "red"))
            failure = failure or f"no sensitivities: {found}"
            # Another table is not the one that was asked for.
            is_shown = not options.csv
        else:
            summary["sensitivities"], table = found.to_dict(), found.table()
            report.append(found)
    if is_shown:
        show(options, summary, table, *report)
    if failure is not None:
        write_error(failure)
    return 0 if failure is None else 1


def _or_reason(find: Callable[[], _Found]) -> _Found | str:
    """Return what is found, or why there is nothing; the continuous answer stands without it."""
    try:
        return find()
    except CvxqueueError as error:
        return str(error)


def _failure(comparison: CrossValidation) -> str | None:
    """Why the answer is not to be believed, or ``None``."""
    if comparison.outcome == "disagree":
        return (
            "two methods prove contradictory intervals: please report this instance and the "
            "output of `cvxqueue info`"
        )
    if any(solution.is_optimal for solution in comparison.solutions):
        return None
    best = comparison.best
    # Where the other methods have been tried, none of them is recommended.
    advice = best.advice if len(comparison.solutions) == 1 else best.status.advice
    return (
        f"no certified answer: method {best.method!r} came nearest, with a relative gap of "
        f"{at_most(best.relative_gap)} for a tolerance of {best.tolerance:.3g}, and ended with "
        f"status {best.status.value!r} ({advice.replace('time_limit', '--time-limit')})"
    )


def _summary(
    comparison: CrossValidation,
    integer: IntegerSolution | str,
    rounded: IntegerSolution | None,
    failure: str | None,
) -> dict[str, Any]:
    best = comparison.best
    whole: dict[str, Any] = {"error": integer}
    if not isinstance(integer, str):
        loss = None if rounded is None else max(rounded.loss, 0.0)
        whole = {**integer.to_dict(), "rounding_loss": loss}
    summary = {"instance": best.instance.name, **best.to_dict(), "integer": whole}
    summary |= comparison.to_dict()
    if failure is not None:
        summary["error"] = failure
        if comparison.outcome == "disagree":
            summary["status"] = comparison.outcome
    return summary
