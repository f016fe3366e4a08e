"""What a case found, as a table for people and as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from tests.performance.timing import Spread, format_seconds


@dataclass(frozen=True)
class Target:
    """What a number should be at most or at least."""

    relation: Literal["≤", "≥"]
    bound: float

    def is_met(self, value: float) -> bool:
        """Tell whether a number is on the right side."""
        return value <= self.bound if self.relation == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.relation} {_number(self.bound)}"


@dataclass(frozen=True)
class Row:
    """One measured number.

    Parameters
    ----------
    measure
        What was measured.
    spread
        The number; ``None`` where it could not be measured, with the reason in `details`.
    unit
        What it counts.
    target
        What it should be, if anything.
    details
        What helps to read it.
    """

    measure: str
    spread: Spread | None
    unit: str = ""
    target: Target | None = None
    details: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; ``None`` where there is none, or no number."""
        if self.spread is None or self.target is None:
            return None
        return self.target.is_met(self.spread.median)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values; what is not finite becomes null."""
        spread = self.spread
        return {
            "measure": self.measure,
            "is_available": spread is not None,
            "median": None if spread is None else _finite(spread.median),
            "lower_quartile": None if spread is None else _finite(spread.lower),
            "upper_quartile": None if spread is None else _finite(spread.upper),
            "unit": self.unit,
            "target": None if self.target is None else str(self.target),
            "is_met": self.is_met,
            "details": self.details,
        }


@dataclass(frozen=True)
class Case:
    """A benchmark by name.

    Parameters
    ----------
    name
        Name on the command line.
    summary
        What it measures.
    run
        Measures it, given the number of repeats.
    """

    name: str
    summary: str
    run: Callable[[int], Sequence[Row]]


@dataclass(frozen=True)
class Result:
    """The rows of a case, and how long they took."""

    case: Case
    rows: Sequence[Row] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "case": self.case.name,
            "summary": self.case.summary,
            "seconds": self.seconds,
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> Table:
        """Return the result as a table."""
        table = Table(
            title=f"{self.case.name}: {self.case.summary} ({format_seconds(self.seconds)})",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("measure", ratio=4, overflow="fold")
        for header in ("median", "quartiles"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("unit", overflow="fold", max_width=16)
        table.add_column("target", justify="right", no_wrap=True)
        table.add_column("met", no_wrap=True)
        table.add_column("details", ratio=5, overflow="fold")
        for row in self.rows:
            spread = row.spread
            quartiles = "–"
            if spread is not None and spread.lower is not None and spread.upper is not None:
                quartiles = f"{_number(spread.lower)} – {_number(spread.upper)}"
            table.add_row(
                Text(row.measure),
                "not available" if spread is None else _number(spread.median),
                quartiles,
                Text(row.unit),
                "–" if row.target is None else str(row.target),
                {True: Text("yes", "green"), False: Text("no", "red"), None: Text("–")}[row.is_met],
                Text(row.details),
            )
        return table


def host_table(facts: dict[str, str]) -> Table:
    """Return the facts of the host as a table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    return table


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float) -> str:
    if math.isfinite(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    # A number that misses its target by a little should not look as if it met it.
    return f"{value:.4g}"
