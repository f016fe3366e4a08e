"""Columns of measurements: what they are called, what they may hold, and their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.suggest import nearest

__all__ = ["ANSWER_FIELDS", "REQUEST_FIELDS", "Column", "Field", "find_columns"]

_UNITS = {"": 1.0, "_s": 1.0, "_sec": 1.0, "_seconds": 1.0, "_ms": 1e-3}
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

    def parse(self, cell: Any) -> float | str:
        """Return the value of a cell.

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
        value = _number(cell, is_time=self.is_time and math.isinf(self.low))
        is_inside = self.low < value if self.is_open else self.low <= value
        if not math.isfinite(value) or not is_inside or value > self.high:
            raise ValueError(f"= {cell!r:.40} must be {self.allowed or 'finite'}")
        return value


@dataclass(frozen=True)
class Column:
    """A column that holds a field; its numbers are multiplied by `scale`."""

    name: str
    field: Field
    scale: float = 1.0


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

    A column of times whose name ends in ``_ms`` holds milliseconds; any other holds seconds.

    Raises
    ------
    InvalidInputError
        If a given field or column does not exist.
    """
    columns = list(present)
    chosen = {}
    for name, column in (given or {}).items():
        if name not in fields:
            raise InvalidInputError(f"columns: {name!r:.80} is no field: {nearest(name, fields)}")
        if column not in columns:
            raise InvalidInputError(
                f"columns: there is no column {column!r:.80} for {name}: "
                f"{nearest(str(column), columns)}"
            )
        chosen[name] = Column(column, fields[name], _scale(column, fields[name]))
    usual = {_plain(column): column for column in reversed(columns)}
    for name, field in fields.items():
        if name in chosen:
            continue
        endings = _UNITS if field.is_time else ("",)
        known = (key + end for key in field.names for end in endings)
        for column in (usual[key] for key in known if key in usual):
            chosen[name] = Column(column, field, _scale(column, field))
            break
    return chosen


def _plain(column: str) -> str:
    """A column's name in lower case, with its unit as a suffix: ``Latency (ms)`` → latency_ms."""
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def _scale(column: str, field: Field) -> float:
    return _UNITS["_ms"] if field.is_time and _plain(column).endswith("_ms") else 1.0


def _number(cell: Any, *, is_time: bool) -> float:
    if isinstance(cell, bool):
        return float(cell)
    if isinstance(cell, int | float):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
    text = str(cell).strip()
    if not text or cell is None:
        raise ValueError("is empty")
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        # Python would read 1_000 as a number; other programs do not.
        return math.nan if "_" in text else float(text)
    except ValueError:
        pass
    if not is_time:
        raise ValueError(f"= {text!r:.40} is not a number")
    return _moment(text)


def _moment(text: str) -> float:
    """Seconds of a date and time; without a time zone it is taken for UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"= {text!r:.40} is neither a number nor a date and time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
