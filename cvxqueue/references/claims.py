"""What an answer claims, in numbers that are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from cvxqueue.certificates import Certificate
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.json_values import json_values
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import require_that, text_tuple
from cvxqueue.numerics.frames import column_array
from cvxqueue.solution import Solution, Status, allowed_tolerance

_STATUSES = {status.value: status.value for status in Status}
_STATUSES |= {"solved": Status.OPTIMAL.value, "infeasible": "infeasible"}
# What an answer has only where it is one in whole tokens.
_OF_WHOLE = ("is_exact", "domain", "domains")


class Claims:
    """What an answer claims; ``None`` where it says nothing."""

    def __init__(self, answer: Any, tolerance: float, *, integer: bool) -> None:
        require_that(isinstance(integer, bool), "integer", integer, "True or False")
        if isinstance(answer, Solution | IntegerSolution | Certificate):
            answer = answer.to_dict()
        table = answer if isinstance(answer, Mapping) else {"tokens": answer}
        if integer and isinstance(table.get("integer"), Mapping):
            table = table["integer"]
        self.is_whole = integer or not table.keys().isdisjoint(_OF_WHOLE)
        word = table.get("is_exact")
        require_that(isinstance(word, bool | None), "answer: is_exact", word, "true or false")
        self.is_exact = bool(word)
        self.domain, self.domains = map(json_values, map(table.get, ("domain", "domains")))
        self.digest, names = table.get("instance_digest"), table.get("names")
        is_text = isinstance(self.digest, str | None)
        require_that(is_text, "answer: instance_digest", self.digest, "a string")
        self.names = None if names is None else text_tuple("answer: names", names)
        numbers = (_number(table, it) for it in ("objective", "gap", "relative_gap", "upper_bound"))
        self.objective, self.gap, self.relative_gap, self.upper_bound = numbers
        given, word = _number(table, "tolerance"), table.get("status")
        self.tolerance = allowed_tolerance(tolerance if given is None else given)
        if word is self.gap is self.relative_gap is self.upper_bound is None:
            # Whoever hands in tokens says that they are the answer.
            word = Status.OPTIMAL.value
        self.status = None if word is None else _STATUSES.get(str(word).casefold(), "")
        if self.status == "":
            allowed = ", ".join(_STATUSES)
            raise InvalidInputError(f"answer: status = {shown(word)} must be one of {allowed}")
        self.tokens, self.token_bounds = _array(table, "tokens"), _array(table, "token_bounds")
        if self.tokens is None and self.status != "infeasible":
            raise InvalidInputError("answer has no tokens, which are what is graded")


def _number(table: Mapping[str, Any], name: str) -> float | None:
    array = _array(table, name, "a number")
    if array is not None and array.ndim:
        raise InvalidInputError(f"answer: {name} must be a number, got {shown(table[name])}")
    return None if array is None else float(array)


def _array(table: Mapping[str, Any], name: str, kind: str = "numbers") -> FloatArray | None:
    """Numbers, NaN where there is none."""
    if (value := table.get(name)) is None:
        return None
    with suppress(TypeError, OverflowError):
        array = column_array(value)
        if array.dtype.kind in "iuf":
            return np.asarray(np.ma.filled(array.astype(np.float64), np.nan))
    raise InvalidInputError(f"answer: {name} must be {kind}, got {shown(value)}")
