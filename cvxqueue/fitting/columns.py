"""Columns of measurements: what they are called, what they may hold, and their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.units import UNITS, plain_name, spaced_name, stated_unit
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

__all__ = [
    "ANSWER_FIELDS",
    "NUMBER",
    "REQUEST_FIELDS",
    "Column",
    "Field",
    "clock_of",
    "find_columns",
]

# What tells a time.
NUMBER = "a number"
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Field:
    """Something that was measured."""

    meaning: str
    names: tuple[str, ...]
    allowed: str = ""
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    is_time: bool = False
    is_text: bool = False

    @property
    def is_moment(self) -> bool:
        """Whether it is a time since some beginning, and not one that something took."""
        return self.is_time and math.isinf(self.low)

    def parse(self, cell: Any, scale: float = 1.0) -> float | str:
        """Return the value of a cell, numbers multiplied by `scale`; a date has a unit of its own.

        Raises
        ------
        ValueError
            With what is wrong with it.
        """
        if self.is_text:
            text = str(cell).strip()
            if not text:
                raise ValueError("is empty")
            return text
        value = _number(cell, scale, is_moment=self.is_moment)
        is_inside = self.low < value if self.is_open else self.low <= value
        if not math.isfinite(value) or not is_inside or value > self.high:
            raise ValueError(f"= {shown(cell)} must be {self.allowed or 'finite'}")
        return value


@dataclass(frozen=True)
class Column:
    """A column that holds a field; its numbers are multiplied by `scale`."""

    name: str
    field: Field
    scale: float = 1.0
    has_unit: bool = False
    """Whether its name ends in a unit of time, or the name that was given does."""


_TYPE = Field(
    "task type",
    ("type", "task", "task_type", "category", "dataset", "benchmark"),
    is_text=True,
)
_TOKENS = (
    "tokens",
    "output_tokens",
    "generated_tokens",
    "generatedtokens",
    "completion_tokens",
    "thinking_tokens",
    "output_length",
    "output_len",
)

REQUEST_FIELDS = {
    "tokens": Field("tokens generated", _TOKENS, "≥ 0", 0.0),
    "seconds": Field(
        "time from start to end",
        ("seconds", "service_time", "total_time", "latency", "e2e_latency", "e2el", "duration"),
        "> 0 (a time)",
        0.0,
        is_open=True,
        is_time=True,
    ),
    "arrivals": Field(
        "when the request arrived or was sent",
        ("arrival", "arrivals", "arrival_time", "timestamp", "start", "start_time", "sent"),
        "a finite number of seconds or a date and time",
        is_time=True,
    ),
    "prompt_tokens": Field(
        "tokens of the prompt",
        ("prompt_tokens", "input_tokens", "contexttokens", "context_tokens", "input_length"),
        "≥ 0",
        0.0,
    ),
    "budgets": Field(
        "tokens allowed",
        ("budget", "budget_tokens", "token_budget", "max_tokens"),
        "> 0",
        0.0,
        is_open=True,
    ),
    "concurrency": Field(
        "requests served at a time",
        ("concurrency", "batch_or_concurrency", "concurrent_requests", "max_concurrency"),
        "≥ 1",
        1.0,
    ),
    "types": _TYPE,
}

ANSWER_FIELDS = {
    # What was used comes before what was allowed: the time of an answer follows the former.
    "tokens": Field(
        "tokens used",
        (*_TOKENS, "tokens_used", "mean_tokens_used", "budget_tokens", "budget", "token_budget"),
        "≥ 0",
        0.0,
    ),
    "correct": Field("right answers", ("correct", "right", "n_correct", "is_correct"), "≥ 0", 0.0),
    "total": Field(
        "answers",
        ("total", "n", "n_questions", "questions", "answers", "trials"),
        "> 0",
        0.0,
        is_open=True,
    ),
    "accuracy": Field(
        "fraction of right answers",
        ("accuracy", "acc", "score"),
        "in [0, 1] (a fraction, not a percentage)",
        0.0,
        1.0,
    ),
    "types": _TYPE,
}


def find_columns(
    fields: Mapping[str, Field],
    present: Iterable[str],
    given: Mapping[str, str] | None,
) -> dict[str, Column]:
    """Return the columns of the fields, by the names that were given and else by the usual ones.

    A column of times whose name is or ends in a unit from nanoseconds to days, such as ``_ms``,
    ``Us`` or ``(minutes)``, holds that unit. A name that was given may have the unit behind it,
    which that of the column lacks.

    Raises
    ------
    InvalidInputError
        If a given field or column does not exist.
    """
    columns = list(present)
    chosen = {}
    for name, column in (given or {}).items():
        if name not in fields:
            raise InvalidInputError(f"columns: {shown(name)} is no field: {nearest(name, fields)}")
        bare, _, ending = str(column).rpartition("_")
        if column in columns:
            chosen[name] = _column(column, fields[name])
        elif fields[name].is_time and f"_{ending}" in UNITS and bare in columns:
            chosen[name] = Column(bare, fields[name], UNITS[f"_{ending}"], has_unit=True)
        else:
            raise InvalidInputError(
                f"columns: there is no column {shown(column)} for {name}: "
                f"{nearest(column, columns)}"
            )
    usual = {
        spell(column): column for spell in (spaced_name, plain_name) for column in reversed(columns)
    }
    for name, field in fields.items():
        if name in chosen:
            continue
        endings = ("", *UNITS) if field.is_time else ("",)
        known = (key + end for key in field.names for end in endings)
        for column in (usual[key] for key in known if key in usual):
            chosen[name] = _column(column, field)
            break
    return chosen


def _column(column: str, field: Field) -> Column:
    unit = stated_unit(column) if field.is_time else None
    return Column(column, field, 1.0 if unit is None else unit, has_unit=unit is not None)


def clock_of(cell: Any) -> str:
    """Return, in words, what the time in a cell is told by; a column has one such clock."""
    try:
        float(cell)
    except ValueError:
        zone = datetime.fromisoformat(cell.strip()).tzinfo
        return "a date in a time zone" if zone else "a date without a time zone"
    return NUMBER


def _number(cell: Any, scale: float, *, is_moment: bool) -> float:
    if isinstance(cell, bool):
        return scale * float(cell)
    if isinstance(cell, int | float):
        try:
            return scale * float(cell)
        except OverflowError:
            return math.inf
    text = str(cell).strip()
    if not text or cell is None:
        raise ValueError("is empty")
    if text.lower() in _TRUTH:
        return scale * _TRUTH[text.lower()]
    try:
        # Python would read 1_000 as a number; other programs do not.
        return math.nan if "_" in text else scale * float(text)
    except ValueError:
        pass
    hint = "; write a decimal point" if _DECIMAL_COMMA.fullmatch(text) else ""
    if not is_moment:
        raise ValueError(f"= {shown(text)} is not a number{hint}")
    try:
        return _moment(text)
    except ValueError as error:
        raise ValueError(
            f"= {shown(text)} is neither a number nor a date and time{hint}"
        ) from error


def _moment(text: str) -> float:
    """Seconds of a date and time; without a time zone it is taken for UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
