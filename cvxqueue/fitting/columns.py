"""Columns in memory, as requests and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.fields import ANSWER_FIELDS, REQUEST_FIELDS, Field, require_field
from cvxqueue.fitting.records import Answers, Requests, Source, one_answer_each
from cvxqueue.fitting.units import since_first
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.numerics.checks import float_array, require

_NAME = "data in memory"
# Counts read from an accuracy of five decimals and a number of questions need not be whole.
_COUNT_ROUNDING = 1e-9


def requests_from(given: Mapping[str, Any], argument: str, needs: tuple[str, ...]) -> Requests:
    """Return requests from columns in memory, by the names of the fields."""
    arrays, types, rows = _columns(given, f"{argument}: ", REQUEST_FIELDS, needs)
    if "arrivals" in arrays:
        arrays["arrivals"] = since_first(argument, arrays["arrivals"])
    return Requests(Source(_NAME, argument, rows), types=types, **arrays)


def answers_from(given: Mapping[str, Any], where: str = "accuracy: ") -> Answers:
    """Return answers from columns in memory; messages begin with `where`."""
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


def _columns(
    given: Mapping[str, Any], where: str, fields: Mapping[str, Field], needs: tuple[str, ...]
) -> tuple[dict[str, FloatArray], tuple[str, ...] | None, int]:
    """Arrays of one length, in which a single number stands for all rows; types; that length."""
    for name in given:
        require_field(where, name, fields)
    for name in needs:
        if name not in given:
            raise InvalidInputError(f"{where}{name} is missing; given: {', '.join(given)}")
    types = None if given.get("types") is None else _names(given["types"], where)
    arrays = {
        name: float_array(f"{where}{name}", _without_truth(value) if name == "correct" else value)
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


def _without_truth(given: Any) -> Any:
    """Right answers as numbers: true is one, false is none."""
    if isinstance(given, list | tuple) and {type(it) for it in given} <= {bool, np.bool_}:
        return [float(answer) for answer in given]
    # A mask stays, for the check of numbers to refuse.
    is_truth = isinstance(given, np.ndarray) and given.dtype == np.bool_
    return given.astype(np.float64) if is_truth else given


def _names(types: Any, where: str) -> tuple[str, ...]:
    if isinstance(types, str) or not isinstance(types, Iterable):
        raise InvalidInputError(f"{where}types must be a list of names, got {shown(types)}")
    names = tuple(types)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidInputError(f"{where}types must be names, none of them empty")
    return names
