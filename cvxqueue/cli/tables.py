"""The tables of ``cvxqueue solve``; they fit 80 columns, and only names are ever wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from cvxqueue.formatting import at_most, duration, fixed, plural, significant, token_decimals
from cvxqueue.solution import Solution
from cvxqueue.solvers import CrossValidation

if TYPE_CHECKING:
    from cvxqueue.integer import IntegerSolution

__all__ = ["method_table", "type_table"]

# Up to so many types a table can be read; of more, so many of the most frequent are shown.
_ALL_SHOWN = 40
_SHOWN = 20


def type_table(solution: Solution, integer: IntegerSolution | None) -> Table:
    """Return the answer by task type."""
    instance = solution.instance
    shown = np.arange(instance.size)
    if instance.size > _ALL_SHOWN:
        shown = np.sort(np.argsort(-instance.probabilities, kind="stable")[:_SHOWN])
    bounds = solution.token_bounds[shown]
    decimals = token_decimals(float(np.max(bounds)))
    table = _table(
        ("task type", "mix", "tokens", "the optimum lies in", "accuracy", "integer\ntokens")
    )
    for row, k in enumerate(shown.tolist()):
        low = fixed(bounds[row, 0], decimals, ROUND_FLOOR)
        high = fixed(bounds[row, 1], decimals, ROUND_CEILING)
        table.add_row(
            Text(instance.type_name(k)),
            f"{instance.probabilities[k]:.3g}",
            fixed(solution.tokens[k], decimals),
            f"[{low}, {high}]",
            f"{solution.accuracies[k]:.4f}",
            "–" if integer is None else integer.shown(k),
        )
    if shown.size < instance.size:
        table.caption = (
            f"the {shown.size} most frequent of {plural(instance.size, 'type')}; --json has all"
        )
    return table


def method_table(comparison: CrossValidation) -> Table:
    """Return the methods side by side."""
    table = _table(
        (
            "method",
            "status",
            "objective\n(s)",
            "relative\ngap",
            "tokens\noff by",
            "iter-\nations",
            "time",
        )
    )
    # Here the names are known and the status may be two words.
    table.columns[0].no_wrap = True
    table.columns[1].justify = "left"
    table.columns[1].no_wrap = False
    for row in comparison.rows():
        table.add_row(
            row["method"],
            Text(row["status"].replace("_", " "), "green" if row["status"] == "optimal" else "red"),
            significant(row["objective"], 9),
            at_most(row["relative_gap"]),
            at_most(row["token_difference"]),
            f"{row['iterations']:d}",
            duration(row["seconds"]),
        )
    return table


def _table(headers: Sequence[str]) -> Table:
    """Return an empty table of names on the left and numbers, never cut, beside them."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption_justify="left",
    )
    table.add_column(headers[0], overflow="fold")
    for header in headers[1:]:
        table.add_column(Text(header), justify="right", no_wrap=True, vertical="bottom")
    return table
