"""``cvxqueue solve``: the best certified answer, every method beside it, and the integers."""

from __future__ import annotations

import argparse
import math
from typing import Any

from cvxqueue.cli.output import progress, write, write_error, write_json
from cvxqueue.cli.picture import check_picture, save_picture
from cvxqueue.cli.reading import read_instance
from cvxqueue.cli.report import answer_report
from cvxqueue.errors import CvxqueueError
from cvxqueue.formatting import at_most
from cvxqueue.integer import IntegerSolution, plain_rounding, solve_integer
from cvxqueue.model import Instance
from cvxqueue.solvers import CrossValidation, Progress, methods, solve
from cvxqueue.solvers.registry import find_method

__all__ = ["run"]

# Seconds for each method that is only there for comparison: the first has the answer by then.
_COMPARISON_LIMIT = 10.0
# Seconds for the integers: instances at moderate load need a fraction of one.
_INTEGER_LIMIT = 3.0


def run(options: argparse.Namespace) -> int:
    """Solve, compare, round and print."""
    if options.method is not None:
        find_method(options.method)
    if options.plot is not None:
        check_picture(options.plot)
    instance = read_instance(options.file)
    names = [method.name for method in methods(instance)]
    if options.method is not None:
        names = [options.method]
    with progress(len(names) + 1) as step:
        solutions = []
        for position, name in enumerate(names):
            step(name)
            limit = options.time_limit or (math.inf if position == 0 else _COMPARISON_LIMIT)
            solutions.append(
                solve(
                    instance,
                    name,
                    tolerance=options.tolerance,
                    time_limit=limit,
                    # With a callback every iterate is certified, and the picture shows them all.
                    callback=None if options.plot is None else _go_on,
                    on_failure="return",
                )
            )
        comparison = CrossValidation(tuple(solutions))
        step("integers")
        integer = _integers(instance, options.time_limit or _INTEGER_LIMIT)
        rounded = None if isinstance(integer, str) else plain_rounding(integer)
    if options.plot is not None:
        save_picture(comparison, options.plot)
    failure = _failure(comparison)
    if options.json:
        write_json(_summary(comparison, integer, rounded, failure))
    else:
        write(*answer_report(comparison, integer, rounded))
    if failure is not None:
        write_error(failure)
    return 0 if failure is None else 1


def _go_on(_: Progress) -> bool:
    return False


def _integers(instance: Instance, time_limit: float) -> IntegerSolution | str:
    """Integer answer, or why there is none; the continuous one stands without it."""
    try:
        return solve_integer(instance, time_limit=time_limit)
    except CvxqueueError as error:
        return str(error)


def _integer_summary(
    integer: IntegerSolution | str, rounded: IntegerSolution | None
) -> dict[str, Any]:
    if isinstance(integer, str):
        return {"error": integer}
    rounding_loss = None if rounded is None else max(rounded.loss, 0.0)
    return {**integer.to_dict(), "rounding_loss": rounding_loss}


def _failure(comparison: CrossValidation) -> str | None:
    """Why the answer is not to be believed, or ``None``."""
    if comparison.verdict == "disagree":
        return (
            "two methods prove contradictory intervals: please report this instance and the "
            "output of `cvxqueue info`"
        )
    if any(solution.is_optimal for solution in comparison.solutions):
        return None
    best = comparison.best
    return (
        f"no certified answer: method {best.method!r} came nearest, with a relative gap of "
        f"{at_most(best.relative_gap)} for a tolerance of {best.tolerance:.3g}, and ended with "
        f"status {best.status.value!r} ({_advice(comparison)})"
    )


def _advice(comparison: CrossValidation) -> str:
    """What to do next at the command line, where the other methods may have been tried."""
    best = comparison.best
    advice = best.advice if len(comparison.solutions) == 1 else best.status.advice
    return advice.replace("time_limit", "--time-limit")


def _summary(
    comparison: CrossValidation,
    integer: IntegerSolution | str,
    rounded: IntegerSolution | None,
    failure: str | None,
) -> dict[str, Any]:
    best = comparison.best
    instance = best.instance
    summary: dict[str, Any] = {
        "instance": instance.name,
        **best.to_dict(),
        "names": [instance.type_name(k) for k in range(instance.size)],
        "integer": _integer_summary(integer, rounded),
        "methods": comparison.rows(),
        "verdict": comparison.verdict,
    }
    if failure is not None:
        summary["error"] = failure
        if comparison.verdict == "disagree":
            summary["status"] = comparison.verdict
    return summary
