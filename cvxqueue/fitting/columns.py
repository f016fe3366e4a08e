"""Columns in memory, as requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.fields import (
    ANSWER_FIELDS,
    REQUEST_FIELDS,
    Column,
    Field,
    find_columns,
    missing_column,
    require_field,
)
from cvxqueue.fitting.records import Answers, Requests, Source, one_answer_each
from cvxqueue.fitting.units import require_unit, since_first
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import float_array, require, text_tuple
from cvxqueue.numerics.frames import column_array, column_names
from cvxqueue.statistics.time_units import in_seconds

_NAME = "data in memory"
# Counts read from an accuracy of five decimals and a number of questions need not be whole.
_COUNT_ROUNDING = 1e-9


def requests_from(given: Any, argument: str, needs: tuple[str, ...]) -> Requests:
    """Return requests from columns in memory by the names of the fields, or from a frame."""
    given = _fields(given, f"{argument}: ", REQUEST_FIELDS, needs)
    arrays, types, rows = _columns(given, f"{argument}: ", REQUEST_FIELDS, needs)
    if "arrivals" in arrays:
        arrays["arrivals"] = since_first(argument, arrays["arrivals"])
    return Requests(Source(_NAME, argument, rows), types=types, **arrays)


def answers_from(given: Any, where: str = "accuracy: ") -> Answers:
    """Return answers from columns in memory, or from a frame; messages begin with `where`."""
    given = _fields(given, where, ANSWER_FIELDS, ("tokens",))
    arrays, types, rows = _columns(given, where, ANSWER_FIELDS, ("tokens",))
    if ("correct" in given) == ("accuracy" in given):
        raise InvalidInputError(
            f"{where}give correct (a count) or accuracy (a fraction), and not both"
        )
    total, share = arrays.get("total"), arrays.get("accuracy")
    if share is None:
        correct = arrays["correct"]
        total = one_answer_each(correct) if total is None else total
        if total is None:
            raise InvalidInputError(
                f"{where}correct needs total, the number of answers, unless each row is one answer "
                "that is right (1) or wrong (0)"
            )
        is_allowed = correct <= total * (1.0 + _COUNT_ROUNDING)
        require(f"{where}correct", correct, is_allowed, "must be at most total")
        share = read_only(np.minimum(correct / total, 1.0))
    return Answers(Source(_NAME, "accuracy", rows), arrays["tokens"], share, total, types)


def is_in_memory(given: Any) -> bool:
    """Whether measurements are in memory: a frame, or columns by the names of the fields."""
    return isinstance(given, Mapping) or bool(column_names(given))


def _fields(
    given: Any, where: str, fields: Mapping[str, Field], needs: tuple[str, ...]
) -> Mapping[str, Any]:
    """Columns by the fields that they hold: of a frame they are found as those of a file are."""
    if isinstance(given, Mapping):
        return given
    names = [name for name in column_names(given) if isinstance(name, str)]
    found = {}
    own = {field: field for field in fields if field in names}
    for field, column in find_columns(fields, names, own).items():
        values = given[column.name]
        if field not in needs and np.ma.getmaskarray(column_array(values)).all():
            # An optional column that is empty throughout is as good as none.
            continue
        if column.field.is_time:
            values = _scaled(where, field, values, column)
        found[field] = values
    for field in needs:
        if field not in found:
            by_field = f"give columns by field as {{{field!r}: frame[...]}}"
            raise InvalidInputError(where + missing_column((field,), fields, names, by_field))
    # As in a file, counted answers come before a fraction of them.
    return {name: it for name, it in found.items() if name != "accuracy" or "correct" not in found}


def _scaled(where: str, field: str, values: Any, column: Column) -> Any:
    """Times of a frame in seconds: numbers are in the unit that the name of their column states."""
    is_moment = column.field.is_moment
    seconds = in_seconds(f"{where}{field}", values, is_moment=is_moment)
    if seconds is not values:
        return seconds
    numbers = float_array(f"{where}{field}", values)
    if column.unit is None:
        require_unit(field, column.name, numbers, is_moment=is_moment)
        return numbers
    return numbers * column.unit


def _columns(
    given: Mapping[str, Any], where: str, fields: Mapping[str, Field], needs: tuple[str, ...]
) -> tuple[dict[str, FloatArray], tuple[str, ...] | None, int]:
    """Arrays of one length, in which a single number stands for all rows; types; that length."""
    for name in given:
        require_field(where, name, fields)
    for name in needs:
        if name not in given:
            raise InvalidInputError(
                f"{where}{name} is missing; given: {', '.join(given) or 'nothing'}"
            )
    types = None if given.get("types") is None else _names(given["types"], where)
    arrays = {
        name: float_array(f"{where}{name}", _as_numbers(f"{where}{name}", value, fields[name]))
        for name, value in given.items()
        if name != "types"
    }
    lengths = {name: array.size for name, array in arrays.items() if array.ndim}
    if types is not None:
        lengths["types"] = len(types)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidInputError(f"{where}the columns must be of one length: {listed}")
    rows = next(iter(lengths.values()), 1)
    for name, array in arrays.items():
        require(
            f"{where}{name}", array, fields[name].allows(array), f"must be {fields[name].allowed}"
        )
        arrays[name] = read_only(np.broadcast_to(array, (rows,)))
    return arrays, types, rows


def _as_numbers(name: str, given: Any, field: Field) -> Any:
    """Times in seconds, and what is right as numbers: true is one, false is none."""
    if field.is_time:
        return in_seconds(name, given, is_moment=field.is_moment)
    if field.is_truth and (raw := column_array(given)).dtype == np.bool_:
        return raw.astype(np.float64)
    return given


def _names(types: Any, where: str) -> tuple[str, ...]:
    names = text_tuple(f"{where}types", types)
    for position, name in enumerate(names):
        if not name.strip():
            raise InvalidInputError(f"{where}types[{position}] must be a name, and is empty")
    return names
