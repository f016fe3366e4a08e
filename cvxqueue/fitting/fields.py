"""What may be measured: the usual names of its columns, what they may hold, and their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT
from cvxqueue.statistics.time_units import SECONDS_IN
from cvxqueue.suggest import nearest

NUMBER = "a number"
"""What tells a time, where it is no date."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_TRUTH = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class Field:
    """Something that is measured: its usual names, and the numbers that it may be."""

    meaning: str
    names: str
    allowed: str = "finite"
    low: float = -math.inf
    high: float = math.inf
    is_time: bool = False
    is_text: bool = False
    is_truth: bool = False
    """Whether it may be true or false, too."""

    @property
    def is_moment(self) -> bool:
        """Whether it is a time since some beginning, and not one that something took."""
        return self.is_time and math.isinf(self.low)

    def allows(self, values: float | FloatArray) -> Any:
        """Whether numbers are within the ends of what is allowed."""
        return (self.low <= values) & (values <= self.high)

    def parse(self, cell: Any, scale: float = 1.0) -> tuple[float | str, str]:
        """Return the value of a cell, numbers times `scale`, and in words what told it.

        Or raise ValueError with its fault.
        """
        if self.is_text:
            if text := str(cell).strip():
                return text, "text"
            raise ValueError("is empty")
        value, clock = _number(cell, scale, self)
        if not math.isfinite(value) or not self.allows(value):
            raise ValueError(f"= {shown(cell)} must be {self.allowed}")
        return value, clock


class Column(NamedTuple):
    """A column that holds a field; `unit` is the seconds in the one that its name states."""

    name: str
    field: Field
    unit: float | None = None

    def is_empty(self, cells: Mapping[str, Any]) -> bool:
        """Whether a row has nothing in it."""
        cell = cells.get(self.name)
        return cell is None or not str(cell).strip()


# The least number above zero.
_POSITIVE = math.ulp(0.0)
_TYPE = Field("task type", "type task task_type category dataset benchmark", is_text=True)
_TOKENS = (
    "tokens output_tokens generated_tokens generatedtokens completion_tokens thinking_tokens "
    "output_length output_len"
)

REQUEST_FIELDS = {
    "tokens": Field("tokens generated", _TOKENS, "≥ 0", 0.0),
    "seconds": Field(
        "time from start to end",
        "seconds service_time total_time latency e2e_latency e2el duration",
        "> 0 (a time)",
        _POSITIVE,
        is_time=True,
    ),
    "arrivals": Field(
        "when the request arrived or was sent",
        "arrival arrivals arrival_time timestamp start start_time sent",
        "a finite number of seconds or a date and time",
        is_time=True,
    ),
    "prompt_tokens": Field(
        "tokens of the prompt",
        "prompt_tokens input_tokens contexttokens context_tokens input_length",
        "≥ 0",
        0.0,
    ),
    "budgets": Field(
        "tokens allowed", "budget budget_tokens token_budget max_tokens", "> 0", _POSITIVE
    ),
    "concurrency": Field(
        "requests served at a time",
        "concurrency batch_or_concurrency concurrent_requests max_concurrency",
        "≥ 1",
        1.0,
    ),
    "types": _TYPE,
}

# What was used comes before what was allowed: the time of an answer follows the former.
_USED = f"{_TOKENS} tokens_used mean_tokens_used budget_tokens budget token_budget"
ANSWER_FIELDS = {
    "tokens": Field("tokens used", _USED, "≥ 0", 0.0),
    "correct": Field(
        "right answers", "correct right n_correct is_correct", "≥ 0", 0.0, is_truth=True
    ),
    "total": Field(
        "answers",
        "total n n_questions questions answers trials",
        f"> 0 and ≤ {LARGEST_COUNT:g}",
        _POSITIVE,
        LARGEST_COUNT,
    ),
    "accuracy": Field(
        "fraction of right answers",
        "accuracy acc score",
        "in [0, 1] (a fraction, not a percentage)",
        0.0,
        1.0,
    ),
    "types": _TYPE,
}


def require_field(where: str, name: str, fields: Mapping[str, Field]) -> None:
    """Raise where a name is that of no field."""
    if name not in fields:
        raise InvalidInputError(f"{where}{shown(name)} is no field: {nearest(name, fields)}")


def missing_column(
    names: tuple[str, ...], fields: Mapping[str, Field], present: Iterable[str], otherwise: str
) -> str:
    """Return what is wrong where there is no column for a field, or for none of several."""
    missing = " or ".join(f"{name} ({fields[name].meaning})" for name in names)
    usual = [fields[name].names.split()[0] for name in names]
    return (
        f"no column for {missing}; name it {' or '.join(map(repr, usual))}, or {otherwise}: "
        f"{nearest(usual[0], present)}"
    )


def find_columns(
    fields: Mapping[str, Field], present: Iterable[str], given: Mapping[str, str]
) -> dict[str, Column]:
    """Return the columns of the fields, by the names that were given and else by the usual ones.

    A column of times whose name is or ends in a unit from nanoseconds to days, such as ``_ms``,
    ``Us`` or ``(minutes)``, holds that unit. A name that was given may have the unit behind it,
    which that of the column lacks. Beside a ``latency_max``, ``latency_min`` is in no minutes.
    """
    columns = list(present)
    spelled = {column: _by_capitals(column) for column in columns}
    least = {
        column
        for column, name in spelled.items()
        if name.endswith("_min") and f"{name[:-3]}max" in spelled.values()
    }
    chosen = {}
    for name, column in given.items():
        require_field("columns: ", name, fields)
        bare, _, ending = str(column).rpartition("_")
        if column in columns:
            chosen[name] = _column(column, fields[name], has_unit=column not in least)
        elif fields[name].is_time and ending in SECONDS_IN and bare in columns:
            chosen[name] = Column(bare, fields[name], SECONDS_IN[ending])
        else:
            raise InvalidInputError(
                f"columns: there is no column {shown(column)} for {name}: "
                f"{nearest(column, columns)}"
            )
    usual = {
        spell(column): column
        for spell in (_by_capitals, _plain)
        for column in reversed(columns)
        if column not in least
    }
    for name, field in fields.items():
        endings = ("", *(f"_{unit}" for unit in SECONDS_IN)) if field.is_time else ("",)
        known = (key + end for key in field.names.split() for end in endings)
        found = next((usual[key] for key in known if key in usual), None)
        if name not in chosen and found is not None:
            chosen[name] = _column(found, field)
    return chosen


def _column(column: str, field: Field, *, has_unit: bool = True) -> Column:
    """Column with the unit that its name is or ends in."""
    ending = _by_capitals(column).rpartition("_")[2]
    unit = SECONDS_IN.get(ending) if field.is_time and has_unit else None
    return Column(column, field, unit)


def _plain(column: str) -> str:
    """Name in lower case, its unit as a suffix: ``Latency (ms)`` → latency_ms."""
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def _by_capitals(column: str) -> str:
    """The same, words told apart by their capitals too: ``latencyMs`` → latency_ms."""
    return _plain(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column))


def _number(cell: Any, scale: float, field: Field) -> tuple[float, str]:
    """Number in a cell, or seconds of a date and time, which without a time zone is in UTC."""
    if isinstance(cell, int | float) and (field.is_truth or not isinstance(cell, bool)):
        try:
            return scale * float(cell), NUMBER
        except OverflowError:
            return math.inf, NUMBER
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise ValueError("is empty")
    try:
        # Python would read 1_000 as a number; other programs do not.
        known = _TRUTH if field.is_truth else {}
        value = math.nan if "_" in text else float(known.get(text.lower(), text))
        return scale * value, NUMBER
    except ValueError:
        pass
    hint = "; write a decimal point" if _DECIMAL_COMMA.fullmatch(text) else ""
    if not field.is_moment:
        raise ValueError(f"= {shown(text)} is not a number{hint}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"= {shown(text)} is neither a number nor a date and time{hint}"
        ) from error
    if moment.tzinfo:
        return moment.timestamp(), "a date in a time zone"
    return moment.replace(tzinfo=UTC).timestamp(), "a date without a time zone"
