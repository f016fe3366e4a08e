"""Measurements that are in memory already, as requests and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.columns import ANSWER_FIELDS, REQUEST_FIELDS, Field
from cvxqueue.fitting.marks import NEEDS_TOTAL, right_answers, total_of_marks
from cvxqueue.fitting.records import Answers, Requests, Source
from cvxqueue.fitting.units import since_first
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.suggest import nearest

__all__ = ["answers_from", "requests_from"]

_NAME = "data in memory"
_READERS = {"correct": right_answers}


def requests_from(given: Mapping[str, Any], argument: str, needs: tuple[str, ...]) -> Requests:
    """Return requests from columns by the names of the fields.

    Raises
    ------
    InvalidInputError
        If a field is unknown or missing, or a column holds what is not allowed.
    """
    _require_known(given, argument, REQUEST_FIELDS)
    for name in needs:
        if name not in given:
            raise InvalidInputError(f"{argument}: {name} is missing; given: {', '.join(given)}")
    arrays, types, rows = _columns(given, argument, REQUEST_FIELDS)
    source = Source(name=_NAME, format=argument, rows=rows)
    if "arrivals" in arrays:
        arrays["arrivals"] = since_first(argument, arrays["arrivals"])
    return Requests(source=source, types=types, **arrays)


def answers_from(given: Mapping[str, Any]) -> Answers:
    """Return answers from columns by the names of the fields.

    Raises
    ------
    InvalidInputError
        If a field is unknown or missing, or a column holds what is not allowed.
    """
    _require_known(given, "accuracy", ANSWER_FIELDS)
    if "tokens" not in given:
        raise InvalidInputError(f"accuracy: tokens is missing; given: {', '.join(given)}")
    if ("correct" in given) == ("accuracy" in given):
        raise InvalidInputError("accuracy: give correct or accuracy, and not both")
    arrays, types, rows = _columns(given, "accuracy", ANSWER_FIELDS)
    total = arrays.get("total")
    if "accuracy" in arrays:
        share = arrays["accuracy"]
    else:
        correct = arrays["correct"]
        total = total_of_marks(correct) if total is None else total
        if total is None:
            raise InvalidInputError(f"accuracy: {NEEDS_TOTAL}")
        require("accuracy: correct", correct, correct <= total, "must be at most total")
        share = read_only(correct / total)
    source = Source(name=_NAME, format="accuracy", rows=rows)
    return Answers(source, arrays["tokens"], share, total, types)


def _require_known(given: Mapping[str, Any], argument: str, fields: Mapping[str, Field]) -> None:
    for name in given:
        if name not in fields:
            raise InvalidInputError(
                f"{argument}: {shown(name)} is no field: {nearest(name, fields)}"
            )


def _columns(
    given: Mapping[str, Any], argument: str, fields: Mapping[str, Field]
) -> tuple[dict[str, FloatArray], tuple[str, ...] | None, int]:
    """Arrays of one length, in which a single number stands for all rows; types; that length."""
    types = given.get("types")
    if types is not None:
        if isinstance(types, str) or not isinstance(types, Iterable):
            raise InvalidInputError(
                f"{argument}: types must be a list of names, got {shown(types)}"
            )
        types = tuple(types)
        if not all(isinstance(name, str) and name.strip() for name in types):
            raise InvalidInputError(f"{argument}: types must be names, none of them empty")
    arrays = {
        name: _READERS.get(name, float_array)(f"{argument}: {name}", value)
        for name, value in given.items()
        if name != "types"
    }
    lengths = {array.size for array in arrays.values() if array.ndim} or {1}
    if types is not None:
        lengths.add(len(types))
    if len(lengths) > 1:
        raise InvalidInputError(
            f"{argument}: the columns must be of one length, got "
            f"{', '.join(str(length) for length in sorted(lengths))}"
        )
    rows = lengths.pop()
    for name, array in arrays.items():
        field = fields[name]
        is_inside = array > field.low if field.is_open else array >= field.low
        require(
            f"{argument}: {name}",
            array,
            is_inside & (array <= field.high),
            f"must be {field.allowed}",
        )
        arrays[name] = read_only(np.broadcast_to(array, (rows,)))
    return arrays, types, rows
